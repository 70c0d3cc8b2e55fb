"""kill -9 of the page at random moments while people and programs answer: nothing shown as saved is lost or doubled.

Two people answer by keys in a real browser (one of them in two tabs), eight programs answer over HTTP as eight further
raters, and the page is killed and started again at the same port. Keys are pressed while it is down as well. Each kill
waits for answers that are on their way and then up to the time that a write takes: it is inside a write if a request
with answers was sent and not acknowledged. Right after it the store tells which of those answers were committed and
which were not.
Run: python -m benchmarks.page_kills [--trials 50] [--seed 0]
"""

import argparse
import json
import random
import tempfile
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from rrm.people.accounts import Role, add_account
from rrm.store import Run, utc_now, verify
from rrm.store.leases import LEASE_SECONDS
from rrm.store.times import later
from rrm.store.transaction import rows, rows_in
from tests.ui.page.browser import CHROMIUM, FLAGS, Served, serving
from tests.ui.page.filled_runs import people_run

_STORED = "SELECT id FROM judgements WHERE id IN ({})"
_DOUBLED = """SELECT 1 FROM live_judgements WHERE repeat = 0
    GROUP BY comparison_id, rater_id, stage HAVING count(*) > 1"""

PASSWORD = "a long enough password"
PROGRAMS = 8
MOST = 5
"""How many times the trials there may be until one of them is inside a write."""
WRITE_SECONDS = 0.005
"""About what an answer takes from being sent to being acknowledged."""
KEYS = ("1", "2", "3", "4", "0")
WATCH_STORAGE = """(() => {
    const set = Storage.prototype.setItem;
    Storage.prototype.setItem = function (key, value) {
        if (this === window.localStorage && key.includes(":outbox:")) window.pressed(key, value);
        return set.call(this, key, value);
    };
})()"""


@dataclass
class Seen:
    """What the raters saw, whatever the store says."""

    pressed: set[str] = field(default_factory=set)
    """Ids of answers that a key made."""
    sent: set[str] = field(default_factory=set)
    """Ids of answers that were sent at least once."""
    saved: set[str] = field(default_factory=set)
    """Ids that the page or the program was told are saved."""
    refused: dict[str, str] = field(default_factory=dict)
    shown: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    """Rater and lease: the tabs that were given it."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def outcomes(self, answers: list[dict[str, Any]]) -> None:
        with self.lock:
            for one in answers:
                if one["saved"]:
                    self.saved.add(one["id"])
                else:
                    self.refused[one["id"]] = str(one["refused"])

    def cards(self, rater: str, tab: str, cards: list[dict[str, Any]]) -> None:
        with self.lock:
            for card in cards:
                self.shown.setdefault((rater, card["lease_id"]), set()).add(tab)

    def on_the_way(self) -> set[str]:
        with self.lock:
            return self.sent - self.saved - set(self.refused)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = people_run(Path(scratch) / "run", comparisons=1000 + 150 * wanted.trials, documents=200, raters=10)
        with Run.open(folder) as run:
            for name in ("ann", "ben", *(f"program {number}" for number in range(PROGRAMS))):
                role = Role.LEAD if name == "ann" else Role.RATER
                add_account(run, name=name, password=PASSWORD, role=role, now=utc_now())
        seen = Seen()
        kills = _trials(folder, seen, trials=wanted.trials, dice=random.Random(wanted.seed))
        figures = {**kills, **_checked(folder, seen)}
    table = Table("figure", "value")
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), str(value))
    Console().print(table)
    print(json.dumps(figures))


def _trials(folder: Path, seen: Seen, *, trials: int, dice: random.Random) -> Counter[str]:
    from playwright.sync_api import sync_playwright

    kills: Counter[str] = Counter()
    ended = threading.Event()
    with serving(folder) as served, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        tabs = _tabs(browser, served, seen)
        programs = [
            threading.Thread(target=_program, args=(served.url, f"program {number}", seen, ended, number))
            for number in range(PROGRAMS)
        ]
        for program in programs:
            program.start()
        try:
            while kills["trials"] < trials or (not kills["kills_inside_writes"] and kills["trials"] < MOST * trials):
                kills.update(_trial(served, tabs, seen, dice))
                if kills["trials"] % 7 == 0:
                    dice.choice(tabs).reload()
        finally:
            ended.set()
        for program in programs:
            program.join()
        _wait_until_sent(tabs)
        browser.close()
    return kills


def _trial(served: Served, tabs: list[Any], seen: Seen, dice: random.Random) -> dict[str, int]:
    """Press keys for a while, kill the page in the middle of it, press on, start it again; what the kill hit."""
    until = time.monotonic() + dice.uniform(0.3, 2.0)
    while time.monotonic() < until:
        _press(tabs, dice)
    _press(tabs, dice)
    _wait_for_a_write(tabs, seen, dice)
    served.kill()
    hit = seen.on_the_way()
    with Run.open(served.folder) as run:
        committed = {str(row["id"]) for row in rows_in(run.database, _STORED, sorted(hit))}
    for _ in range(4):
        _press(tabs, dice)
    served.restart()
    return {
        "trials": 1,
        "kills_inside_writes": int(bool(hit)),
        "committed_and_not_acknowledged": len(committed),
        "not_committed": len(hit - committed),
    }


def _wait_for_a_write(tabs: list[Any], seen: Seen, dice: random.Random) -> None:
    """Return somewhere within a write: on a fast machine hardly any moment is, so a kill at any moment tests little."""
    until = time.monotonic() + 10
    while not seen.on_the_way() and time.monotonic() < until:
        tabs[0].wait_for_timeout(1)
    time.sleep(dice.uniform(0, WRITE_SECONDS))


def _press(tabs: list[Any], dice: random.Random) -> None:
    tab = dice.choice(tabs)
    tab.keyboard.press(dice.choice(KEYS) if dice.random() < 0.92 else "u")
    tab.wait_for_timeout(dice.uniform(5, 60))


def _tabs(browser: Any, served: Served, seen: Seen) -> list[Any]:
    """Ann in two tabs of one browser, Ben in one of another."""
    tabs: list[Any] = []
    for name, count in (("ann", 2), ("ben", 1)):
        context = browser.new_context()
        context.expose_function("pressed", lambda key, value: _note_pressed(seen, value))
        context.add_init_script(WATCH_STORAGE)
        for number in range(count):
            page = context.new_page()
            page.on("request", lambda request: _note_request(seen, request))
            page.on("response", lambda reply, tab=f"{name} {number}", rater=name: _note_reply(seen, rater, tab, reply))
            page.goto(served.url + "/sign-in" if number == 0 else served.url)
            if number == 0:
                page.fill("input[name=name]", name)
                page.fill("input[name=password]", PASSWORD)
                page.keyboard.press("Enter")
            page.locator("[data-lease]").first.wait_for()
            tabs.append(page)
    return tabs


def _note_pressed(seen: Seen, value: str) -> None:
    event = json.loads(value)
    if event["kind"] == "answer":
        with seen.lock:
            seen.pressed.add(event["body"]["id"])


def _note_request(seen: Seen, request: Any) -> None:
    if request.url.endswith("/api/answer"):
        with seen.lock:
            seen.sent.update(answer["id"] for answer in request.post_data_json["answers"])


def _note_reply(seen: Seen, rater: str, tab: str, reply: Any) -> None:
    if reply.status != 200 or not reply.url.endswith(("/api/answer", "/api/next")):
        return
    try:
        said = reply.json()
    except Exception:  # the page was killed while it answered: the browser has no body either
        return
    if reply.url.endswith("/api/answer"):
        seen.outcomes(said["answers"])
    else:
        seen.cards(rater, tab, said["cards"])


def _program(url: str, name: str, seen: Seen, ended: threading.Event, seed: int) -> None:
    """Draw, answer, and send again whatever was not acknowledged, until told to end."""
    dice = random.Random(seed)
    with httpx.Client(base_url=url, timeout=10) as client:
        _insist(lambda: client.post("/sign-in", data={"name": name, "password": PASSWORD}))
        while not ended.is_set():
            cards = _insist(lambda: client.post("/api/next", json={"count": 2, "tab": name})).json()["cards"]
            seen.cards(name, name, cards)
            answers = [
                {"id": uuid.uuid4().hex, "lease_id": card["lease_id"], "choice": dice.choice(("left", "right", "tie"))}
                for card in cards
            ]
            with seen.lock:
                seen.pressed.update(answer["id"] for answer in answers)
                seen.sent.update(answer["id"] for answer in answers)
            body = {"tab": name, "answers": answers}
            seen.outcomes(_insist(lambda body=body: client.post("/api/answer", json=body)).json()["answers"])
            ended.wait(dice.uniform(0.1, 0.5))


def _insist(send: Any) -> httpx.Response:
    """Send until there is an answer, as any client of a server that may be killed must."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            reply: httpx.Response = send()
            if reply.status_code < 400:
                return reply
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("the page did not come back")


def _wait_until_sent(tabs: list[Any]) -> None:
    for tab in tabs:
        tab.wait_for_function(
            "() => !Object.keys(localStorage).some((key) => key.includes(':outbox:'))", timeout=120_000
        )


def _checked(folder: Path, seen: Seen) -> dict[str, object]:
    with Run.open(folder) as run:
        stored = Counter(str(row["id"]) for row in rows(run.database, "SELECT id FROM judgements"))
        doubled = rows(run.database, _DOUBLED)
        held = rows(run.database, "SELECT comparison_id FROM leases WHERE state = 'open'")
        now = later(utc_now(), LEASE_SECONDS + 1)
        still = rows(run.database, "SELECT 1 FROM leases WHERE state = 'open' AND expires_at > ?", (now,))
    kept_alive = seen.pressed - set(stored) - set(seen.refused)
    return {
        "answers_pressed": len(seen.pressed),
        "shown_as_saved": len(seen.saved),
        "saved_but_lost": len(seen.saved - set(stored)),
        "pressed_but_lost": len(kept_alive),
        "refused": len(seen.refused),
        "doubled": len(doubled) + sum(number > 1 for number in stored.values()),
        "given_to_two_tabs": sum(len(tabs) > 1 for tabs in seen.shown.values()),
        "leases_open": len(held),
        "leases_open_after_their_time": len(still),
        "verified": not verify(folder),
    }


if __name__ == "__main__":
    main()
