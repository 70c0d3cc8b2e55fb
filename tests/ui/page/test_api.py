"""The interface for programs: typed, idempotent, by cookie or HTTP Basic, and every refusal one sentence."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastapi
import pytest
from starlette.testclient import TestClient

from rrm.people.accounts import Role, add_account
from rrm.run_folder import RunFolder, open_run_folder
from rrm.store import live_judgements, utc_now, verify
from tests.ui.page.filled_runs import people_run
from ui.page import api, signing_in
from ui.page.context import Page

ID = "press-{:04d}"


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[RunFolder]:
    folder = people_run(tmp_path / "run", comparisons=10, level=1)
    with open_run_folder(folder) as found:
        yield found


@pytest.fixture
def client(opened: RunFolder) -> TestClient:
    return client_of(opened)


def client_of(opened: RunFolder) -> TestClient:
    """A client of the interface alone, behind the door, without the page around it."""
    page = Page(folder=opened.run.folder, run=opened.run, task=opened.task, config=opened.config)
    app = fastapi.FastAPI()
    app.include_router(api.router(page))
    signing_in.install(app, page)
    return TestClient(app)


def post(client: TestClient, path: str, **body: object) -> Any:
    reply = client.post(f"/api/{path}", json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def answer(card: Any, number: int, **more: object) -> dict[str, object]:
    return {"id": ID.format(number), "lease_id": card["lease_id"], "choice": "left", **more}


def error_of(reply: Any, status: int) -> str:
    assert reply.status_code == status, reply.text
    assert set(reply.json()) == {"error"}
    sentence = reply.json()["error"]
    assert "Traceback" not in sentence and sentence.endswith(".")
    return str(sentence)


def test_a_program_judges_undoes_changes_and_reads_its_history(client: TestClient, opened: RunFolder) -> None:
    came = post(client, "next", count=3)
    assert set(came) == {"cards", "lost", "progress", "empty", "elsewhere"}
    assert came["progress"] == {"given": 0, "needed": 10, "mine_today": 0, "median_seconds": None}
    one, two, _ = came["cards"]
    alone = post(client, "answer", answers=[answer(one, 1), answer(two, 2, choice="skip")])["answers"]
    assert [each["saved"] for each in alone] == [True, True]
    aid = alone[0]["aids"][0]
    assert set(aid) == {"key", "about", "lines"} and set(aid["lines"][0]) == {"text", "verified", "source_lines"}
    final = answer(one, 3, stage="aided", choice="right", strength=2, comment="it is", flagged=True)
    final |= {"aid_marks": {aid["key"]: "invalid"}, "milliseconds": 1500, "shown_at": utc_now()}
    assert post(client, "answer", answers=[final, final])["answers"][1]["saved"]
    newest, oldest = client.get("/api/history").json()["entries"]
    assert (newest["side"], newest["side_alone"], newest["strength"], newest["flagged"]) == ("right", "left", 2, True)
    assert oldest["side"] == "skip"
    page = client.get("/api/history", params={"before": newest["position"], "count": 1}).json()["entries"]
    assert page == [oldest]
    told = post(client, "reveal", lease_id=one["lease_id"])
    assert told["level"] == 1 and {told["left"], told["right"]} == {"agent", "base (before any training)"}
    change = {"id": ID.format(4), "judgement_id": newest["judgement_id"], "choice": "tie"}
    assert post(client, "change", **change)["saved"]
    changed = client.get("/api/history").json()["entries"][0]
    assert (changed["side"], changed["changed"], changed["unblinded"]) == ("tie", True, True)
    undone = post(client, "undo", id=ID.format(5))
    assert undone["saved"] and undone["taken_back"]["side"] == "tie" and undone["card"] is None
    assert live_judgements(opened.run)[-1].details["milliseconds"] == 1500
    assert verify(opened.run.folder) == []


def test_a_card_on_the_wire_names_nothing_hidden(client: TestClient) -> None:
    card = post(client, "next")["cards"][0]
    assert set(card) == {
        "lease_id", "title", "source", "left", "right", "aids_planned", "stage", "aids", "guidelines",
    }  # fmt: skip
    text = json.dumps({name: value for name, value in card.items() if name not in ("source", "left", "right")})
    for secret in ("level", "round", "agent", "base", "score", "random", "purpose", "train", "repeat", "collapse"):
        assert secret not in text
    assert client.get("/api/card", params={"lease_id": card["lease_id"]}).json() == card


@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        ("next", {"count": 21}, "count"),
        ("next", {"holding": ["x"] * 101}, "holding"),
        ("next", {"unknown": 1}, "unknown"),
        ("answer", {"answers": [{"id": "short", "lease_id": "x", "choice": "left"}]}, "answers.0.id"),
        ("answer", {"answers": [{"id": ID, "lease_id": "x", "choice": "first"}]}, "answers.0"),
        ("answer", {"answers": [answer({"lease_id": "x"}, 1, strength=3)]}, "answers.0.strength"),
        ("answer", {"answers": [answer({"lease_id": "x"}, 1, shown_at="2026-01-02T03:04:05")]}, "answers.0.shown_at"),
        ("answer", {"answers": [answer({"lease_id": "x"}, 1, comment="x" * 200_001)]}, "answers.0.comment"),
        ("answer", {"answers": [answer({"lease_id": "x"}, 1, milliseconds=-1)]}, "answers.0.milliseconds"),
        ("answer", {"answers": [answer({"lease_id": "x"}, n) for n in range(101)]}, "answers"),
        ("undo", {}, "id"),
        ("change", {"id": ID.format(1), "judgement_id": "x"}, "choice"),
    ],
)
def test_what_no_page_sends_is_refused_in_one_sentence(
    client: TestClient, path: str, body: dict[str, object], place: str
) -> None:
    assert place in error_of(client.post(f"/api/{path}", json=body), 422).lower()


def test_broken_json_and_unknown_things_are_refused_in_one_sentence(client: TestClient) -> None:
    error_of(client.post("/api/next", content=b"{", headers={"Content-Type": "application/json"}), 422)
    assert "no lease" in error_of(client.post("/api/reveal", json={"lease_id": "x"}), 400)
    assert "no lease" in error_of(client.get("/api/card", params={"lease_id": "x"}), 400)
    assert "format" in error_of(client.get("/api/export", params={"format": "csv"}), 422)
    assert "before" in error_of(client.get("/api/history", params={"before": 10**30}), 422).lower()
    assert "years 1 to 9999" in error_of(client.post("/api/next", json={"since": "0001-01-01T00:00:00+01:00"}), 400)


def test_a_comment_that_is_too_long_is_refused_by_itself(client: TestClient, opened: RunFolder) -> None:
    one, two = post(client, "next", count=2)["cards"]
    long, good = post(client, "answer", answers=[answer(one, 1, comment="x" * 5001), answer(two, 2)])["answers"]
    assert (long["saved"], good["saved"]) == (False, True)
    assert "5001 characters" in long["refused"]
    assert len(live_judgements(opened.run)) == 1


def test_guidelines_and_who_is_asking(client: TestClient, opened: RunFolder) -> None:
    card = post(client, "next")["cards"][0]
    guidelines = client.get("/api/guidelines").json()
    assert guidelines["sha256"] == card["guidelines"] and "Grave" in guidelines["text"]
    me = client.get("/api/me").json()
    assert (me["rater_id"], me["name"], me["role"]) == ("local", "You", "lead")
    assert client_of(opened).get("/api/me").json() == me


def test_the_export_is_one_object_a_line(client: TestClient) -> None:
    cards = post(client, "next", count=2)["cards"]
    post(client, "answer", answers=[answer(card, number) for number, card in enumerate(cards)])
    reply = client.get("/api/export?format=jsonl")
    assert reply.headers["content-type"].startswith("application/x-ndjson")
    assert 'filename="judgements.jsonl"' in reply.headers["content-disposition"]
    assert [json.loads(line)["rater"] for line in reply.text.splitlines()] == ["You", "You"]


def test_with_accounts_each_speaks_for_themselves(opened: RunFolder) -> None:
    lead = add_account(opened.run, name="Lea", password="a long password", role=Role.LEAD, now=utc_now())
    add_account(opened.run, name="Ann", password="another password", role=Role.RATER, now=utc_now())
    client = client_of(opened)
    assert client.post("/api/next", json={}).status_code == 401
    client.auth = ("Ann", "another password")
    card = post(client, "next")["cards"][0]
    assert "only a lead" in error_of(client.get("/api/export"), 403)
    assert "signed in now" in error_of(client.post("/api/next", json={"rater_id": lead.rater_id}), 409)
    client.auth = ("Lea", "a long password")
    refused = post(client, "answer", answers=[answer(card, 1)])["answers"][0]
    assert not refused["saved"] and "another rater" in refused["refused"]
    error_of(client.get("/api/card", params={"lease_id": card["lease_id"]}), 400)
    assert client.get("/api/export").status_code == 200
    client.auth = ("Lea", "wrong")
    assert client.get("/api/export").status_code == 401


def test_the_interface_describes_itself(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) >= {
        f"/api/{name}" for name in ("next", "answer", "undo", "change", "reveal", "history", "guidelines", "export")
    }
    answers = described["components"]["schemas"]["AnswerBody"]["properties"]
    assert set(answers) >= {"id", "lease_id", "stage", "choice", "strength", "comment", "aid_marks"}
