"""The door and the sign-in page, over HTTP against the real application."""

import base64
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fastapi
import httpx
import pytest
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from rrm.people.accounts import LOCAL, Role, add_account, set_active, set_password
from rrm.people.sign_ins import FREE_ATTEMPTS
from rrm.run_folder import RunFolder, open_run_folder
from rrm.store import Run, utc_now
from tests.ui.page.browser import SECONDS, serving
from tests.ui.page.filled_runs import people_run
from ui.page import api, signing_in
from ui.page.context import Page
from ui.page.door import LARGEST_BODY, cookie_name
from ui.page.signing_in import own_path, person_of

PASSWORD = "correct horse"
HTML = {"accept": "text/html,application/xhtml+xml"}
PAGES = ("/", "/people", "/practice", "/watch", "/train", "/rounds")


@pytest.fixture(scope="module")
def kept_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[fastapi.FastAPI]:
    """One application for all tests that have no accounts."""
    folder = people_run(tmp_path_factory.mktemp("page") / "run", comparisons=3)
    with open_run_folder(folder) as opened:
        yield application(opened)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[RunFolder]:
    with open_run_folder(people_run(tmp_path / "run", comparisons=3)) as opened:
        yield opened


def application(opened: RunFolder) -> fastapi.FastAPI:
    """The page without the rooms, which Gradio serves: any other path answers with who the door let in."""
    page, app = page_of(opened), fastapi.FastAPI()
    app.include_router(api.router(page))
    signing_in.install(app, page)

    @app.get("/{path:path}")
    def room(request: fastapi.Request, path: str) -> str:
        return page.person(request).name

    return app


def client(
    app: fastapi.FastAPI, *, base: str = "http://127.0.0.1:7860", peer: str = "127.0.0.1", root_path: str = ""
) -> TestClient:
    return TestClient(app, base_url=base, client=(peer, 50000), root_path=root_path, follow_redirects=False)


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def with_lead(opened: RunFolder, name: str = "Dana") -> TestClient:
    add_account(opened.run, name=name, password=PASSWORD, role=Role.LEAD, now=utc_now())
    return client(application(opened))


def signed_in(browser: TestClient, name: str = "Dana", **more: str) -> TestClient:
    answer = browser.post("/sign-in", data={"name": name, "password": PASSWORD, **more})
    assert answer.status_code == 303, answer.text
    return browser


def test_without_accounts_whoever_sits_at_the_machine_comes_in(kept_app: fastapi.FastAPI) -> None:
    browser = client(kept_app)
    for path in PAGES:
        assert browser.get(path, headers=HTML).status_code == 200
    assert browser.get("/api/me").json()["rater_id"] == LOCAL.rater_id
    assert browser.get("/sign-in").headers["location"] == "/"
    assert browser.post("/sign-in", data={"name": "a", "password": "b"}).headers["location"] == "/"


@pytest.mark.parametrize(
    "base, peer, comes_in",
    [
        ("http://localhost:7860", "127.0.0.1", True),
        ("http://[::1]:7860", "::1", True),
        ("http://evil.example:7860", "127.0.0.1", False),
        ("http://127.0.0.1:7860", "192.0.2.7", False),
        ("http://192.0.2.7:7860", "2001:db8::1", False),
        ("http://192.0.2.7:7860", "127.0.0.1", False),
    ],
)
def test_without_accounts_nobody_else_does(kept_app: fastapi.FastAPI, base: str, peer: str, comes_in: bool) -> None:
    """Neither another machine, nor a website whose name was pointed at this one."""
    answer = client(kept_app, base=base, peer=peer).get("/people", headers=HTML)
    assert answer.status_code == (200 if comes_in else 403)
    if not comes_in:
        assert "rrm people RUN add NAME --role lead" in answer.text


def test_a_host_that_cannot_be_read_is_not_this_machine(kept_app: fastapi.FastAPI) -> None:
    assert client(kept_app).get("/people", headers={"host": "["}).status_code == 403


def test_with_accounts_every_path_needs_a_person(opened: RunFolder) -> None:
    browser = with_lead(opened)
    for path in PAGES:
        answer = browser.get(path, headers=HTML)
        assert answer.status_code == 303 and answer.headers["location"] == f"/sign-in?next={path}"
    for path in ("/api/me", "/gradio_api/info", "/theme.css", "/openapi.json", "/nothing", "/favicon.ico"):
        answer = browser.get(path)
        assert answer.status_code == 401 and "sign in" in answer.json()["error"], path
    assert browser.post("/gradio_api/queue/join", json={}).status_code == 401
    assert browser.post("/api/next", json={}).status_code == 401
    with pytest.raises(WebSocketDisconnect) as refused, browser.websocket_connect("/anything"):
        pass
    assert refused.value.code == 1008


def test_the_right_password_opens_the_page_that_was_asked_for(opened: RunFolder) -> None:
    browser = with_lead(opened)
    answer = browser.post("/sign-in", data={"name": " DANA ", "password": PASSWORD, "next": "/people?a=1&b=2"})
    assert answer.status_code == 303 and answer.headers["location"] == "/people?a=1&b=2"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "Path=/" in cookie and "Secure" not in cookie
    assert browser.get("/people", headers=HTML).status_code == 200
    assert browser.get("/api/me").json()["name"] == "Dana"
    assert browser.get("/sign-in").headers["location"] == "/"


def test_over_https_the_cookie_stays_there(opened: RunFolder) -> None:
    with_lead(opened)
    browser = client(application(opened), base="https://label.example")
    answer = browser.post("/sign-in", data={"name": "Dana", "password": PASSWORD})
    assert "Secure" in answer.headers["set-cookie"]


def test_a_wrong_password_keeps_the_name_and_says_what_to_do(opened: RunFolder) -> None:
    browser = with_lead(opened)
    name = '"><img src=x onerror=alert(1)>'
    answer = browser.post("/sign-in", data={"name": name, "password": "wrong", "next": "/people"})
    assert answer.status_code == 401 and "do not belong together" in answer.text
    assert "<img" not in answer.text and "&lt;img src=x" in answer.text
    assert 'value="/people"' in answer.text and "wrong" not in answer.text
    assert browser.get("/api/me").status_code == 401


def test_too_many_guesses_have_to_wait(opened: RunFolder) -> None:
    browser = with_lead(opened)
    for _ in range(FREE_ATTEMPTS):
        assert browser.post("/sign-in", data={"name": "Dana", "password": "wrong"}).status_code == 401
    for _ in range(4):
        answer = browser.post("/sign-in", data={"name": "Dana", "password": "wrong"})
    assert answer.status_code == 429 and "Too many wrong passwords" in answer.text and 'value="Dana"' in answer.text
    assert browser.get("/api/me", headers=basic("Dana", PASSWORD)).status_code == 429


@pytest.mark.parametrize("form", [b"", b"\xff\xfe=%zz", b"name=" + b"a" * 50_000, b"name=\xed\xa0\x80&password=x"])
def test_whatever_is_sent_there_is_no_error_inside(opened: RunFolder, form: bytes) -> None:
    answer = with_lead(opened).post("/sign-in", content=form)
    assert answer.status_code == 401


def test_a_store_that_is_locked_is_said_in_a_sentence(tmp_path: Path) -> None:
    folder = people_run(tmp_path / "run", comparisons=1)
    with open_run_folder(folder) as opened, Run.open(folder, timeout=0.01) as impatient:
        add_account(opened.run, name="Dana", password=PASSWORD, role=Role.LEAD, now=utc_now())
        browser = client(application(replace(opened, run=impatient)))
        with opened.run.transaction():
            answer = browser.post("/sign-in", data={"name": "Dana", "password": PASSWORD})
        assert answer.status_code == 503 and "locked" in answer.text and 'value="Dana"' in answer.text
        signed_in(browser)


def test_signing_out_ends_it(opened: RunFolder) -> None:
    browser = signed_in(with_lead(opened))
    token = browser.cookies[cookie_name(page_of(opened))]
    answer = browser.post("/sign-out")
    assert answer.status_code == 303 and answer.headers["location"] == "/"
    browser.cookies.set(cookie_name(page_of(opened)), token)
    assert browser.get("/api/me").status_code == 401


def test_a_password_that_was_reset_and_a_closed_account_end_it_too(opened: RunFolder) -> None:
    browser = signed_in(with_lead(opened))
    erik = add_account(opened.run, name="Erik", password=PASSWORD, role=Role.RATER, now=utc_now())
    other = signed_in(client(browser.app), "Erik")  # type: ignore[arg-type]
    set_active(opened.run, rater_id=erik.rater_id, active=False, now=utc_now())
    assert other.get("/api/me").status_code == 401 and browser.get("/api/me").status_code == 200
    dana = browser.get("/api/me").json()["rater_id"]
    set_password(opened.run, rater_id=dana, password="another one", now=utc_now())
    assert browser.get("/api/me").status_code == 401


def test_programs_give_name_and_password_with_each_request(opened: RunFolder) -> None:
    browser = with_lead(opened)
    assert browser.get("/api/me", headers=basic("Dana", PASSWORD)).json()["name"] == "Dana"
    assert browser.get("/api/me", headers=basic("Dana", PASSWORD)).status_code == 200
    for wrong in (
        basic("Dana", "wrong"),
        basic("Nobody", PASSWORD),
        {"Authorization": "Basic %%%"},
        {"Authorization": "Bearer x"},
    ):
        answer = browser.get("/api/me", headers=wrong)
        assert answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Basic")
    dana = browser.get("/api/me", headers=basic("Dana", PASSWORD)).json()["rater_id"]
    set_password(opened.run, rater_id=dana, password="another one", now=utc_now())
    assert browser.get("/api/me", headers=basic("Dana", PASSWORD)).status_code == 401, "nothing old is remembered"


def test_a_browser_is_not_asked_for_a_password_in_a_window_of_its_own(opened: RunFolder) -> None:
    answer = with_lead(opened).get("/api/me", headers={"sec-fetch-site": "same-origin"})
    assert answer.status_code == 401 and "www-authenticate" not in answer.headers


@pytest.mark.parametrize(
    "headers, refused",
    [
        ({}, False),
        ({"sec-fetch-site": "same-origin"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": "cross-site"}, True),
        ({"sec-fetch-site": "same-site"}, True),
        ({"origin": "http://127.0.0.1:7860"}, False),
        ({"origin": "http://evil.example"}, True),
        ({"origin": "http://127.0.0.1:9999"}, True),
        ({"origin": "null"}, True),
        ({"origin": "http://["}, True),
        ({"origin": "https://label.example", "x-forwarded-host": "label.example"}, False),
    ],
)
def test_what_another_website_sends_is_refused(
    kept_app: fastapi.FastAPI, headers: dict[str, str], refused: bool
) -> None:
    answer = client(kept_app).post("/api/next", json={"count": 0}, headers=headers)
    assert answer.status_code == (403 if refused else 200), answer.text


@pytest.mark.parametrize(
    "wanted, path",
    [
        ("/people", "/people"),
        ("/people?x=%2F&y=1", "/people?x=%2F&y=1"),
        ("https://evil.example/", "/"),
        ("//evil.example", "/"),
        ("//[", "/"),
        ("/\\evil.example", "/"),
        ("///evil.example", "/"),
        ("/\tevil", "/"),
        ("javascript:alert(1)", "/"),
        ("people", "/"),
        ("", "/"),
        ("/sign-in?next=/", "/"),
        ("http:/x", "/"),
    ],
)
def test_after_signing_in_one_stays_on_this_page(wanted: str, path: str) -> None:
    assert own_path(wanted) == path


def test_no_other_website_shows_the_page_inside_its_own(kept_app: fastapi.FastAPI) -> None:
    assert client(kept_app).get("/people", headers=HTML).headers["x-frame-options"] == "DENY"


def test_a_request_that_would_fill_the_memory_is_refused_unread(kept_app: fastapi.FastAPI) -> None:
    answer = client(kept_app).post("/api/next", json={}, headers={"content-length": str(LARGEST_BODY + 1)})
    assert answer.status_code == 413 and "too large" in answer.json()["error"]


def test_behind_a_prefix_everything_keeps_to_it(opened: RunFolder) -> None:
    add_account(opened.run, name="Dana", password=PASSWORD, role=Role.LEAD, now=utc_now())
    browser = client(application(opened), root_path="/rrm")
    answer = browser.get("/people", headers=HTML)
    assert answer.headers["location"] == "/rrm/sign-in?next=/people"
    page = browser.get("/sign-in?next=/people")
    assert 'action="/rrm/sign-in"' in page.text
    answer = browser.post("/sign-in", data={"name": "Dana", "password": PASSWORD, "next": "/people"})
    assert answer.headers["location"] == "/rrm/people" and "Path=/rrm" in answer.headers["set-cookie"]


def test_each_run_has_a_cookie_of_its_own(opened: RunFolder, tmp_path: Path) -> None:
    """A browser sends its cookies to every port of a machine."""
    with open_run_folder(people_run(tmp_path / "other", comparisons=1)) as other:
        assert cookie_name(page_of(opened)) != cookie_name(page_of(other))


def test_the_person_is_known_outside_of_the_door_too(opened: RunFolder) -> None:
    page = page_of(opened)
    browser = signed_in(with_lead(opened))
    cookie = f"{cookie_name(page)}={browser.cookies[cookie_name(page)]}"
    asking = fastapi.Request({"type": "http", "headers": [(b"cookie", cookie.encode())]})
    found = person_of(page, asking)
    assert found is not None and found.name == "Dana" and page.person(asking) == found
    assert person_of(page, fastapi.Request({"type": "http", "headers": []})) is None


def test_the_real_page_lets_nobody_in_without_a_person(tmp_path: Path) -> None:
    """All that Gradio serves is behind the door too."""
    folder = people_run(tmp_path / "run", comparisons=1)
    with open_run_folder(folder) as opened:
        add_account(opened.run, name="Dana", password=PASSWORD, role=Role.LEAD, now=utc_now())
    with serving(folder) as served, httpx.Client(base_url=served.url, timeout=SECONDS) as browser:
        for path in (*PAGES, "/config", "/gradio_api/info", "/theme.css", "/gradio_api/heartbeat/x", "/openapi.json"):
            assert browser.get(path).status_code == 401, path
        for path in PAGES:
            assert browser.get(path, headers=HTML).headers["location"] == f"/sign-in?next={path}"
        assert browser.post("/gradio_api/run/predict", json={"data": [], "fn_index": 0}).status_code == 401
        assert browser.post("/sign-in", data={"name": "Dana", "password": PASSWORD}).status_code == 303
        for path in PAGES:
            assert browser.get(path, headers=HTML).status_code == 200, path
        # Gradio takes and gives files on paths of its own; here it does neither, for nobody.
        for path in ("upload", "process_recording", "stream/x"):
            assert browser.post(f"/gradio_api/{path}", files={"files": ("x.html", b"x")}).status_code == 403, path
        for name in ("run.db", "run.toml"):
            assert browser.get(f"/gradio_api/file={folder / name}").status_code == 403, name


def page_of(opened: RunFolder) -> Page:
    return Page(folder=opened.run.folder, run=opened.run, task=opened.task, config=opened.config)
