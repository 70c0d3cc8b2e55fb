"""A short slice of the long check: the page is killed while people and programs answer; nothing is lost or doubled."""

import json
import sys

import pytest

from benchmarks import page_kills
from tests.ui.page.browser import chromium


def test_nothing_is_lost_or_doubled_when_the_page_is_killed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with chromium():  # skips where there is none
        pass
    monkeypatch.setattr(sys, "argv", ["page_kills", "--trials", "3", "--seed", "1"])
    page_kills.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["kills_inside_writes"] > 0
    # How many answers there are depends on the machine; with eight programs and three tabs there are always some.
    assert found["answers_pressed"] == found["shown_as_saved"] > 10
    wrong = ("saved_but_lost", "pressed_but_lost", "refused", "doubled", "given_to_two_tabs")
    assert {name: found[name] for name in wrong} == dict.fromkeys(wrong, 0)
    assert found["leases_open_after_their_time"] == 0
    assert found["verified"] is True
