"""Signing in, and the door that every request passes: who is asking, and may they come in.

Without accounts only this machine comes in. With accounts everything but the sign-in page needs a person: the browser's
cookie, or name and password with each request of a program (HTTP Basic). What changes something is refused when
another website sent it.
"""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

import fastapi
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool

from rrm.errors import NotAllowed, RunError
from rrm.people.accounts import has_accounts
from rrm.people.sign_ins import SECONDS, sign_in_with_password, sign_out
from rrm.store.times import utc_now
from ui.page.context import Page
from ui.page.door import Door, cookie_name, person_of
from ui.page.rendering import render

__all__ = ["NotSignedIn", "install", "own_path", "person_of"]

HERE = Path(__file__).parent

_LONGEST_FORM = 20_000

_DARK = (
    "if (new URLSearchParams(location.search).get('__theme') === 'dark' || "
    "matchMedia('(prefers-color-scheme: dark)').matches) document.body.classList.add('dark')"
)

_DOCUMENT = Markup(
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Sign in · rrm</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" content="no-referrer">'
    # Without it a browser asks for an icon, and is told to sign in first.
    '<link rel="icon" href="data:,">'
    "<style>{style}</style></head><body>{body}<script>{script}</script></body></html>"
)


class NotSignedIn(RunError):
    """Nobody is signed in where somebody must be."""


@dataclass(frozen=True, slots=True)
class _Form:
    """What somebody typed."""

    name: str = ""
    password: str = ""
    next: str = "/"


def install(app: fastapi.FastAPI, page: Page) -> None:
    """Add the sign-in page and put the door before everything else of the application."""

    @app.get("/sign-in", include_in_schema=False)
    def show(request: fastapi.Request, next: str = "/") -> Response:
        if person_of(page, request) is not None:
            return _go(request, next)
        return _sign_in_page(page, request, _Form(next=next))

    @app.post("/sign-in", include_in_schema=False)
    async def submit(request: fastapi.Request) -> Response:
        form = _read(await _body(request))
        return await run_in_threadpool(_signed_in, page, request, form)

    @app.post("/sign-out", include_in_schema=False)
    def leave(request: fastapi.Request) -> Response:
        sign_out(page.run, request.cookies.get(cookie_name(page), ""))
        gone = _go(request, "/")
        gone.delete_cookie(cookie_name(page), path=_root(request) or "/", httponly=True, samesite="lax")
        return gone

    app.add_middleware(Door, page=page)


def own_path(next: str) -> str:
    """Where to go after signing in: a path of this page; anything else is the main page."""
    # With one slash in front it has neither a scheme nor a host, and can always be taken apart.
    if not next.isprintable() or "\\" in next or not next.startswith("/") or next.startswith("//"):
        return "/"
    return "/" if urlsplit(next).path == "/sign-in" else next


def _signed_in(page: Page, request: fastapi.Request, form: _Form) -> Response:
    if not has_accounts(page.run):
        return _go(request, form.next)
    try:
        found = sign_in_with_password(page.run, name=form.name, password=form.password, now=utc_now())
    except NotAllowed as error:
        return _sign_in_page(page, request, form, problem=f"{str(error).capitalize()}.", status=429)
    except RunError as error:
        return _sign_in_page(page, request, form, problem=f"{error}.", status=503)
    if found is None:
        wrong = "This name and password do not belong together. Check both and try again."
        return _sign_in_page(page, request, form, problem=wrong, status=401)
    there = _go(request, form.next)
    there.set_cookie(
        cookie_name(page),
        found.token,
        max_age=int(SECONDS),
        path=_root(request) or "/",
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return there


def _sign_in_page(
    page: Page, request: fastapi.Request, form: _Form, *, problem: str | None = None, status: int = 200
) -> Response:
    body = render(
        "sign_in.html",
        {
            "run": page.folder.resolve().name,
            "problem": problem,
            "action": f"{_root(request)}/sign-in",
            "name": form.name,
            "next": own_path(form.next),
        },
    )
    style = "".join((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "sign_in.css"))
    document = _DOCUMENT.format(style=Markup(style), body=Markup(body), script=Markup(_DARK))
    return HTMLResponse(document, status_code=status, headers={"Cache-Control": "no-store"})


def _go(request: fastapi.Request, next: str) -> Response:
    return RedirectResponse(quote(_root(request) + own_path(next), safe="/?&=%#+:,;@~"), status_code=303)


def _root(request: fastapi.Request) -> str:
    return str(request.scope.get("root_path", "")).rstrip("/")


async def _body(request: fastapi.Request) -> bytes:
    received = b""
    async for chunk in request.stream():
        received += chunk
        if len(received) > _LONGEST_FORM:
            return b""
    return received


def _read(body: bytes) -> _Form:
    given = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    return _Form(name=given.get("name", ""), password=given.get("password", ""), next=given.get("next", "/"))
