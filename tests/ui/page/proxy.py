"""A small reverse proxy: shows another server below a prefix, as nginx with `location /rrm/` does."""

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import fastapi
import httpx
import uvicorn
from fastapi.responses import Response, StreamingResponse

from ui.page.listening import listen

SKIPPED = {"host", "content-length", "transfer-encoding", "connection"}


@contextmanager
def proxied(target: str, *, prefix: str) -> Iterator[str]:
    """Serve `target` below `prefix` on a port of its own, and give its address without a slash at the end."""
    bound = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(_proxy(target, prefix), log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}{prefix}"
    finally:
        server.should_exit = True
        thread.join()
        bound.close()


def _proxy(target: str, prefix: str) -> fastapi.FastAPI:
    @asynccontextmanager
    async def living(app: fastapi.FastAPI) -> AsyncIterator[None]:
        async with httpx.AsyncClient(base_url=target, timeout=None) as client:
            app.state.client = client
            yield

    app = fastapi.FastAPI(lifespan=living)

    @app.get("/favicon.ico")
    async def icon() -> Response:
        # A browser asks the host itself for an icon, whatever lies below the prefix.
        return Response(status_code=204)

    @app.api_route(f"{prefix}/{{path:path}}", methods=["GET", "POST"])
    async def forward(path: str, request: fastapi.Request) -> Response:
        client: httpx.AsyncClient = app.state.client
        sent = client.build_request(
            request.method,
            f"/{path}?{request.url.query}",
            headers=[(name, value) for name, value in request.headers.items() if name not in SKIPPED]
            + [("x-forwarded-host", request.headers["host"]), ("x-forwarded-proto", "http")],
            content=await request.body(),
        )
        answer = await client.send(sent, stream=True)
        headers = {name: value for name, value in answer.headers.items() if name not in SKIPPED}
        return StreamingResponse(answer.aiter_raw(), status_code=answer.status_code, headers=headers)

    return app
