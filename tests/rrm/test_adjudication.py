"""Adjudication: which comparisons wait for it, who may settle them, and what fits use from then on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from reward_models.errors import InvalidInput
from rrm.errors import NotAllowed
from rrm.judging.adjudication import adjudicate, disputed, disputed_ids
from rrm.judging.final import final_answers
from rrm.judging.queue import answer, draw, undo
from rrm.judging.remarks import remarks
from rrm.judging.reveals import reveal
from rrm.people.accounts import LOCAL, Person, Role
from rrm.people.exclusions import leave_out
from rrm.store import Choice, Purpose, Run, Stage, StoredAid, live_judgements, put_aids, register_artifact, verify
from rrm.store.artifacts import stale_judgements
from rrm.store.records import ArtifactKind
from tests.rrm.store_samples import NOON, small_run

ERIK = Person("erik", "Erik", Role.RATER)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with small_run(tmp_path / "run", raters_planned=2) as run:
        yield run


def say(run: Run, rater: str, *choices: Choice, aided: bool = False, **details: object) -> None:
    """Answer the next comparisons; the aided answer is the given one, the one alone is the opposite."""
    for choice in choices:
        leased = draw(run, rater_id=rater, level=0, round=0, purpose=Purpose.TRAIN, now=NOON)
        assert leased is not None
        if aided:
            opposite = Choice.SECOND if choice is Choice.FIRST else Choice.FIRST
            answer(run, leased.lease_id, stage=Stage.ALONE, choice=opposite, now=NOON)
        stage = Stage.AIDED if aided else Stage.ALONE
        answer(run, leased.lease_id, stage=stage, choice=choice, now=NOON, comment=f"{rater} says", details=details)


def counted(run: Run, purpose: Purpose = Purpose.TRAIN) -> list[tuple[str, str, str]]:
    found = final_answers(run, level=0, round=0, purpose=purpose)
    return [(each.comparison_id, each.rater_id, each.choice.value) for each in found]


def test_only_what_raters_answered_differently_waits(run: Run) -> None:
    say(run, "ann", Choice.FIRST, Choice.FIRST, Choice.TIE)
    assert disputed_ids(run) == []
    say(run, "ben", Choice.FIRST, Choice.SECOND, Choice.BOTH_BAD)
    assert disputed_ids(run) == ["p1"], "a tie and both bad mean the same to a fit"


def test_undecided_and_skipped_answers_dispute_nothing(run: Run) -> None:
    say(run, "ann", Choice.FIRST, Choice.CANNOT_TELL, Choice.SKIP)
    say(run, "ben", Choice.CANNOT_TELL, Choice.SECOND, Choice.SECOND)
    assert disputed_ids(run) == []


def test_nothing_waits_while_somebody_is_still_to_be_asked(tmp_path: Path) -> None:
    """The lead could be the third one, and nobody sees what others said before answering."""
    with small_run(tmp_path / "three", raters_planned=3) as run:
        say(run, "ann", Choice.FIRST)
        say(run, "ben", Choice.SECOND)
        assert disputed_ids(run) == [] and remarks(run, by=LOCAL) == []
        say(run, "cal", Choice.SECOND)
        assert disputed_ids(run) == ["p0"] and len(remarks(run, by=LOCAL)) == 3


def test_what_is_left_out_or_not_blind_disputes_nothing(run: Run) -> None:
    say(run, "ann", Choice.FIRST)
    say(run, "ben", Choice.SECOND, unblinded=True)
    assert disputed_ids(run) == []
    say(run, "ann", Choice.FIRST)
    say(run, "ben", Choice.SECOND)
    assert disputed_ids(run) == ["p1"]
    leave_out(run, rater_id="ben", left_out=True, reason="clicks at random", by=LOCAL, now=NOON)
    assert disputed_ids(run) == []


def test_a_lead_sees_everybodys_answer_and_a_rater_does_not(run: Run) -> None:
    say(run, "ann", Choice.FIRST)
    say(run, "ben", Choice.SECOND)
    seen = disputed(run, "p0", by=LOCAL)
    assert [(each.rater, each.choice, each.comment) for each in seen.answers] == [
        ("Ann", Choice.FIRST, "ann says"),
        ("Ben", Choice.SECOND, "ben says"),
    ]
    assert (seen.first, seen.second, seen.source) == ("Brief 0, 0", "Brief 0, 1", "Log 0")
    for refused in (
        lambda: disputed(run, "p0", by=ERIK),
        lambda: adjudicate(run, "p0", choice=Choice.FIRST, by=ERIK, now=NOON),
        lambda: remarks(run, by=ERIK),
    ):
        with pytest.raises(NotAllowed):
            refused()


def test_the_leads_answer_stands_for_all(run: Run) -> None:
    say(run, "ann", Choice.FIRST, Choice.FIRST)
    say(run, "ben", Choice.SECOND, Choice.FIRST)
    assert len(counted(run)) == 4
    adjudicate(run, "p0", choice=Choice.SECOND, by=LOCAL, now=NOON, comment="entry 3 says so")
    assert disputed_ids(run) == []
    assert counted(run) == [("p1", "ann", "first"), ("p1", "ben", "first"), ("p0", "local", "second")]
    assert len(live_judgements(run)) == 4, "the raters' answers stay what they are"
    assert not verify(run.folder)


def test_a_settlement_can_be_repeated_changed_and_taken_back(run: Run) -> None:
    say(run, "ann", Choice.FIRST)
    say(run, "ben", Choice.SECOND)
    first = adjudicate(run, "p0", choice=Choice.SECOND, by=LOCAL, now=NOON)
    assert adjudicate(run, "p0", choice=Choice.SECOND, by=LOCAL, now=NOON) == first
    changed = adjudicate(run, "p0", choice=Choice.FIRST, by=LOCAL, now=NOON)
    assert changed.supersedes == first.id and counted(run) == [("p0", "local", "first")]
    assert undo(run, rater_id="local", now=NOON) is None, "the undo of the labeling card is for what one judged oneself"
    for settled in (changed, first):
        undo(run, rater_id="local", judgement_id=settled.id, now=NOON)
    assert disputed_ids(run) == ["p0"] and len(counted(run)) == 2


def test_a_settlement_says_which_guidelines_the_lead_had(run: Run) -> None:
    say(run, "ann", Choice.FIRST)
    say(run, "ben", Choice.SECOND)
    settled = adjudicate(run, "p0", choice=Choice.SECOND, by=LOCAL, now=NOON, guidelines="0" * 64)
    assert settled.details == {"guidelines": "0" * 64}


def test_what_a_lead_settled_who_is_left_out_waits_again(run: Run) -> None:
    ben = Person("ben", "Ben", Role.LEAD)
    say(run, "ann", Choice.FIRST)
    say(run, "cal", Choice.SECOND)
    adjudicate(run, "p0", choice=Choice.SECOND, by=ben, now=NOON)
    assert disputed_ids(run) == []
    leave_out(run, rater_id="ben", left_out=True, reason="has left", by=LOCAL, now=NOON)
    assert disputed_ids(run) == ["p0"]


def test_a_lead_who_was_told_who_wrote_what_settles_it_unblinded(run: Run) -> None:
    ben = Person("ben", "Ben", Role.LEAD)
    say(run, "ann", Choice.FIRST, Choice.FIRST)
    say(run, "ben", Choice.SECOND, Choice.SECOND)
    assert not adjudicate(run, "p0", choice=Choice.TIE, by=ben, now=NOON).details
    for own in live_judgements(run, rater_id="ben"):
        reveal(run, own.lease_id, rater_id="ben", now=NOON)
    for settled in ("p0", "p1"):
        assert adjudicate(run, settled, choice=Choice.FIRST, by=ben, now=NOON).details == {"unblinded": True}


def test_a_lead_who_cannot_tell_either_takes_the_comparison_out(run: Run) -> None:
    say(run, "ann", Choice.FIRST)
    say(run, "ben", Choice.SECOND)
    adjudicate(run, "p0", choice=Choice.CANNOT_TELL, by=LOCAL, now=NOON)
    assert counted(run) == [] and disputed_ids(run) == []
    for nothing in (Choice.SKIP, Choice.UNDO):
        with pytest.raises(InvalidInput, match="settles nothing"):
            adjudicate(run, "p0", choice=nothing, by=LOCAL, now=NOON)
    with pytest.raises(InvalidInput, match="no comparison"):
        adjudicate(run, "p99", choice=Choice.FIRST, by=LOCAL, now=NOON)


def test_with_aids_the_settlement_is_the_aided_answer(tmp_path: Path) -> None:
    with small_run(tmp_path / "aided", aids_planned=True, raters_planned=2) as run:
        put_aids(run, [StoredAid("a", 0, 0, "base", "part-briefs", "#1 fire", comparison_id="p0", part_position=0)])
        say(run, "ann", Choice.FIRST, aided=True)
        say(run, "ben", Choice.SECOND, aided=True)
        assert disputed_ids(run) == ["p0"]
        settled = adjudicate(run, "p0", choice=Choice.FIRST, by=LOCAL, now=NOON)
        assert settled.stage is Stage.AIDED and settled.aids_seen
        assert counted(run) == [("p0", "local", "first")]


def test_a_model_that_used_an_answer_names_it_and_tells_when_it_was_settled_otherwise(run: Run, tmp_path: Path) -> None:
    say(run, "ann", Choice.FIRST)
    say(run, "ben", Choice.SECOND)
    settled = adjudicate(run, "p0", choice=Choice.SECOND, by=LOCAL, now=NOON)
    (run.models / "m").mkdir()
    (run.models / "m" / "weights").write_bytes(b"w")
    register_artifact(
        run,
        id="m",
        kind=ArtifactKind.REWARD_MODEL,
        level=0,
        round=0,
        folder="models/m",
        settings={},
        judgements=final_answers(run, level=0, round=0, purpose=Purpose.TRAIN),
        now=NOON,
    )
    assert stale_judgements(run, "m") == 0
    adjudicate(run, "p0", choice=Choice.TIE, by=LOCAL, now=NOON)
    assert stale_judgements(run, "m") == 1
    assert settled.id and not verify(run.folder)


def test_flags_and_comments_come_newest_first(run: Run) -> None:
    say(run, "ann", Choice.FIRST)
    say(run, "ben", Choice.SECOND, flagged=True)
    assert [(each.rater, each.flagged, each.comment) for each in remarks(run, by=LOCAL)] == [
        ("Ben", True, "ben says"),
        ("Ann", False, "ann says"),
    ]
