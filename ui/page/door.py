"""The door: every request passes it before anything of the application sees it."""

import base64
import hmac
import ipaddress
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import SplitResult, quote, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rrm.errors import NotAllowed, RunError
from rrm.people.accounts import LOCAL, Person, has_accounts, known
from rrm.people.sign_ins import person_with_password, who
from rrm.store.run import Run
from rrm.store.times import utc_now
from ui.page.context import Page

PERSON = "rrm_person"
"""Where the door writes who is asking, in the state of the request."""

OPEN_PATHS = ("/sign-in", "/sign-out")

LARGEST_BODY = 32 * 2**20
"""Bytes of one request; what is sent is held in memory, and no page sends nearly as much."""

_READING = ("GET", "HEAD", "OPTIONS")
_PROGRAMS = ("/api/", "/gradio_api/")

# Gradio takes files from whoever may come in, and this page has no use for any.
_FILES = ("/gradio_api/upload", "/gradio_api/process_recording", "/gradio_api/stream")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request does not come in."""

    status: int
    sentence: str


class Door:
    """Lets people in, and sends everybody else to the sign-in page."""

    def __init__(self, app: ASGIApp, page: Page) -> None:
        """Stand before an application."""
        self._app = app
        self._page = page
        self._programs = _Programs(page.run)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through with the person in its state, or answer it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            found = await self._decide(HTTPConnection(scope))
        except NotAllowed as error:
            found = Refusal(429, f"{str(error).capitalize()}.")
        except RunError as error:
            found = Refusal(503, f"{error}.")
        if isinstance(found, Refusal):
            await _answer(HTTPConnection(scope), found)(scope, receive, send)
            return
        if found is not None:
            scope.setdefault("state", {})[PERSON] = found
        await self._app(scope, receive, _unframed(send))

    async def _decide(self, asking: HTTPConnection) -> Person | Refusal | None:
        """The person who comes in, None for what is open to everybody, or why not."""
        if asking.scope["method"] not in _READING and is_from_elsewhere(asking.headers):
            return Refusal(403, "Another website sent this; open the page itself and do it there.")
        if _length(asking.headers) > LARGEST_BODY:
            return Refusal(413, f"This is too large; a request holds at most {LARGEST_BODY} bytes.")
        if any(part in _path(asking) for part in _FILES):
            return Refusal(403, "This page takes no files.")
        if not has_accounts(self._page.run):
            return LOCAL if is_local(asking) else Refusal(403, _NO_ACCOUNTS)
        if _path(asking) in OPEN_PATHS:
            return None
        return await self._person(asking) or Refusal(401, "Nobody is signed in; sign in and try again.")

    async def _person(self, asking: HTTPConnection) -> Person | None:
        return person_of(self._page, asking) or await self._programs.person(asking.headers.get("authorization", ""))


def person_of(page: Page, asking: HTTPConnection) -> Person | None:
    """Who is asking: the person that the door found, or whose cookie this is; the local one without accounts."""
    found = asking.scope.get("state", {}).get(PERSON)
    if isinstance(found, Person):
        return found
    if not has_accounts(page.run):
        return LOCAL
    token = asking.cookies.get(cookie_name(page))
    return who(page.run, token, utc_now()) if token else None


def cookie_name(page: Page) -> str:
    """The name of the run's cookie. Browsers share cookies among all ports of a machine, so each run has its own."""
    return f"rrm_{sha256(str(page.folder.resolve()).encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"


_NO_ACCOUNTS = (
    "This page has no accounts yet, so it only opens on the machine it runs on, under its own address. "
    "Add a lead there, under People or with `rrm people RUN add NAME --role lead`, and sign in."
)


class _Programs:
    """Names and passwords that came with requests. What was right lately is remembered, as checking takes long."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        # One at a time, so that a program's first requests, sent at once, do not look like many guesses.
        self._one_at_a_time = threading.Lock()

    async def person(self, authorization: str) -> Person | None:
        """The person of an HTTP Basic header, or None."""
        given = _basic(authorization)
        return None if given is None else await run_in_threadpool(self._checked, *given)

    def _checked(self, name: str, password: str) -> Person | None:
        with self._one_at_a_time:
            stored = known(self._run, name)
            secret = stored.password if stored and stored.active else ""
            # With the stored hash in it, what is remembered ends with the password.
            words = "\0".join([name, password, secret]).encode("utf-8", "replace")
            seal = hmac.digest(self._key, words, "sha256")
            if stored is not None and seal in self._right:
                return stored.person
            found = person_with_password(self._run, name=name, password=password, now=utc_now())
            if found is not None:
                self._remember(seal)
            return found

    def _remember(self, seal: bytes) -> None:
        self._right[seal] = None
        while len(self._right) > 100:
            self._right.popitem(last=False)


def is_from_elsewhere(headers: Headers) -> bool:
    """Whether a browser says that another website sent a request; programs say nothing about it."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    if origin is None:
        return False
    own = {headers.get("host", ""), headers.get("x-forwarded-host", "").split(",")[0].strip()}
    return _split(origin).netloc not in own - {""}


def is_local(asking: HTTPConnection) -> bool:
    """Whether a request comes from this machine and by a name that only it has.

    A name with a dot may belong to a website that points it at this machine, to be taken for its own page.
    """
    # Another address of this machine is where a proxy, or a forwarded port, is reached from elsewhere.
    host = _split(f"//{asking.headers.get('host', '')}").hostname
    if host is None:
        return False
    address = _address(host)
    named_here = "." not in host if address is None else address.is_loopback
    client = _address(asking.client.host) if asking.client else None
    return named_here and (client is None or client.is_loopback)


def _split(address: str) -> SplitResult:
    """The parts of an address; one that cannot be read has none."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _length(headers: Headers) -> int:
    given = headers.get("content-length", "")
    return int(given) if given.isascii() and given.isdigit() else 0


def _unframed(send: Send) -> Send:
    """No other website may show this page inside its own and have its buttons pressed unseen."""

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (b"x-frame-options", b"DENY")]}
        await send(message)

    return answer


def _basic(authorization: str) -> tuple[str, str] | None:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded, validate=True).decode("utf-8").partition(":")
    except ValueError:
        return None
    return (name, password) if colon else None


def _path(asking: HTTPConnection) -> str:
    root = str(asking.scope.get("root_path", "")).rstrip("/")
    path = str(asking.scope["path"])
    return path.removeprefix(root) if root and path.startswith(f"{root}/") else path


def _answer(asking: HTTPConnection, refusal: Refusal) -> ASGIApp:
    path = _path(asking)
    wants_page = asking.scope["method"] in _READING and "text/html" in asking.headers.get("accept", "")
    if not wants_page or path.startswith(_PROGRAMS):
        # A browser would ask for name and password in a window of its own if it saw the header.
        programs = {} if "sec-fetch-site" in asking.headers else {"WWW-Authenticate": 'Basic realm="rrm"'}
        headers = programs if refusal.status == 401 else {}
        return JSONResponse({"error": refusal.sentence}, status_code=refusal.status, headers=headers)
    if refusal.status != 401:
        return PlainTextResponse(refusal.sentence, status_code=refusal.status)
    query = str(asking.scope.get("query_string", b""), "latin-1")
    root = str(asking.scope.get("root_path", "")).rstrip("/")
    return RedirectResponse(f"{root}/sign-in?next={quote(path + (f'?{query}' if query else ''))}", status_code=303)
