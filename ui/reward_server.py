"""The reward server: a run's reward model over HTTP, for trainers that run elsewhere.

    POST /score         completions of prompts
    POST /get_reward    the protocol of OpenRLHF's remote reward models
    GET  /health        whether it is there; the only path that needs no token

What is refused is said in one sentence, as {"error": ...}.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import fastapi
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from reward_models.errors import InvalidInput, RrmError
from reward_models.reward_function import RewardFunction
from rrm.serving.queries import ENDS, Opening
from rrm.serving.requests import Limits, RemoteRequest, Request, ScoreRequest, TooLarge, parsed, remote_reward, score
from ui import failures


class WrongToken(RrmError):
    """The request has no token, or another one."""


@dataclass(frozen=True)
class Offered:
    """What a server answers with."""

    rewards: RewardFunction
    token: str
    ends: Sequence[str] = ENDS
    """Texts of the tokens that end a completion, for queries."""
    opening: Opening | None = None
    """The chat template that the model puts around a prompt itself, for queries."""
    limits: Limits = field(default_factory=Limits)


def make_app(offered: Offered) -> fastapi.FastAPI:
    """The application, to be served by uvicorn or any other ASGI server; without an access log, as URLs hold tokens."""
    app = fastapi.FastAPI(title="rrm rewards", docs_url=None, redoc_url=None, openapi_url=None)
    # One request at a time goes through the model; the others wait here, in the order in which they came.
    turn = asyncio.Lock()
    remote = partial(remote_reward, offered.rewards, limits=offered.limits, ends=offered.ends, opening=offered.opening)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/score")
    async def score_completions(request: fastapi.Request) -> JSONResponse:
        answer = partial(score, offered.rewards, limits=offered.limits)
        return await _said(lambda: _answer(request, ScoreRequest, answer, offered=offered, turn=turn))

    @app.post("/get_reward")
    async def get_reward(request: fastapi.Request) -> JSONResponse:
        return await _said(lambda: _answer(request, RemoteRequest, remote, offered=offered, turn=turn))

    @app.exception_handler(HTTPException)
    async def not_found(request: fastapi.Request, error: HTTPException) -> JSONResponse:
        sentence = "this server answers POST /score, POST /get_reward and GET /health"
        return _refusal(sentence, error.status_code, headers=error.headers)

    return app


async def _answer(
    request: fastapi.Request,
    kind: type[Request],
    answer: Callable[[Request], BaseModel],
    *,
    offered: Offered,
    turn: asyncio.Lock,
) -> JSONResponse:
    _check_token(request, offered.token)
    asked = parsed(kind, await _body(request, most=offered.limits.size))
    async with turn:
        reply = await run_in_threadpool(answer, asked)
    return JSONResponse(reply.model_dump())


def _check_token(request: fastapi.Request, token: str) -> None:
    """OpenRLHF sends no headers, so the token may stand in the address as well; WrongToken unless it is the one."""
    scheme, _, shown = request.headers.get("authorization", "").partition(" ")
    given = shown.strip() if scheme.lower() == "bearer" else request.query_params.get("token", "")
    if not hmac.compare_digest(given.encode(), token.encode()):
        raise WrongToken(
            "the token is missing or wrong; send the header `Authorization: Bearer TOKEN`, or ?token=TOKEN behind the "
            "address, with what the server printed when it started"
        )


async def _body(request: fastapi.Request, *, most: int) -> bytes:
    """The body; TooLarge as soon as more has come than is allowed. Uvicorn throws the rest away."""
    kept = bytearray()
    async for chunk in request.stream():
        kept += chunk
        if len(kept) > most:
            raise TooLarge(f"the body has more than {most} bytes, which are the most; send several requests")
    return bytes(kept)


async def _said(answer: Callable[[], Awaitable[JSONResponse]]) -> JSONResponse:
    """The answer, or in one sentence why there is none."""
    try:
        return await answer()
    except WrongToken as error:
        return _refusal(str(error), 401, headers={"WWW-Authenticate": "Bearer"})
    except ClientDisconnect:
        return _refusal("the request ended before its body", 400)
    except RrmError as error:
        # Said here as well: trainers tend to log the status, and not the sentence.
        status = 413 if isinstance(error, TooLarge) else 422 if isinstance(error, InvalidInput) else 500
        failures.report(f"{status}: {error}")
        return _refusal(str(error), status)
    except Exception as error:
        sentence, _ = failures.explain(error)
        failures.report(sentence)
        return _refusal("an error inside the server kept it from answering; it has said there which", 500)


def _refusal(sentence: str, status: int, *, headers: Mapping[str, str] | None = None) -> JSONResponse:
    text = f"{sentence[:1].upper()}{sentence[1:]}"
    body = {"error": text if text.endswith((".", "!", "?")) else f"{text}."}
    return JSONResponse(body, status_code=status, headers=headers)
