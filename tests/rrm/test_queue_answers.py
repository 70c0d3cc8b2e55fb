"""Answers, changes and undo: appended, repeated without harm, taken back without limit."""

import sqlite3
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reward_models.errors import InvalidInput
from rrm.judging.queue import answer, answer_many, change, draw, draw_many, live_judgements, undo
from rrm.store import Answer, Choice, Judgement, JudgementCount, Leased, Purpose, Run, Stage, judgement_counts, verify
from tests.rrm.store_samples import NOON, seconds, small_run

ANSWERS = [choice for choice in Choice if choice is not Choice.UNDO]


def lease(run: Run, rater: str = "ann", *, at: float = 0) -> Leased:
    leased = draw(run, rater_id=rater, level=0, round=0, purpose=Purpose.TRAIN, now=seconds(at))
    assert leased is not None
    return leased


def rows(run: Run) -> int:
    return int(run.database["judgements"].count)


def test_an_answer_is_stored_as_given(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        leased = lease(run)
        given = answer(
            run,
            leased.lease_id,
            stage=Stage.ALONE,
            choice=Choice.BOTH_BAD,
            comment="Neither names the leak — 漏れ",
            shown_at=seconds(1),
            details={"strength": 2, "aids": {"critique": "invalid"}},
            judgement_id="press-1",
            now=seconds(4),
        )
        assert live_judgements(run) == [given]
        assert (given.id, given.position, given.comparison_id, given.rater_id) == ("press-1", 1, "p0", "ann")
        assert (given.choice, given.comment) == (Choice.BOTH_BAD, "Neither names the leak — 漏れ")
        assert (given.shown_at, given.decided_at) == ("2026-01-02T12:00:01.000000Z", "2026-01-02T12:00:04.000000Z")
        assert given.details == {"strength": 2, "aids": {"critique": "invalid"}}
        assert (given.supersedes, given.aids_seen, given.repeat) == (None, False, 0)


def test_the_same_answer_again_is_one_judgement(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        leased = lease(run)
        first = answer(run, leased.lease_id, stage=Stage.ALONE, choice=Choice.FIRST, judgement_id="press", now=NOON)
        for identity in ("press", "another press", None):
            again = answer(
                run, leased.lease_id, stage=Stage.ALONE, choice=Choice.FIRST, judgement_id=identity, now=seconds(1)
            )
            assert again == first
        for identity in ("press", "another press", None):
            with pytest.raises(InvalidInput, match="change or undo it"):
                answer(run, leased.lease_id, stage=Stage.ALONE, choice=Choice.TIE, judgement_id=identity, now=NOON)
        assert rows(run) == 1
        with pytest.raises(InvalidInput, match="no lease"):
            answer(run, "nothing", stage=Stage.ALONE, choice=Choice.FIRST, now=NOON)
        with pytest.raises(InvalidInput, match="undo is not an answer"):
            answer(run, lease(run).lease_id, stage=Stage.ALONE, choice=Choice.UNDO, now=NOON)


def test_alone_first_and_then_aided(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=2, aids_planned=True) as run:
        leased = lease(run)
        with pytest.raises(InvalidInput, match="that comes first"):
            answer(run, leased.lease_id, stage=Stage.AIDED, choice=Choice.FIRST, now=NOON)
        alone = answer(run, leased.lease_id, stage=Stage.ALONE, choice=Choice.FIRST, now=NOON)
        resumed = draw(run, rater_id="ann", level=0, round=0, purpose=Purpose.TRAIN, now=seconds(1), resume=True)
        assert resumed is not None and resumed.lease_id == leased.lease_id and resumed.answered_alone
        aided = answer(run, leased.lease_id, stage=Stage.AIDED, choice=Choice.SECOND, now=seconds(2))
        assert (alone.aids_seen, aided.aids_seen) == (False, True)
        assert lease(run).comparison.id == "p1"
        assert live_judgements(run, stage=Stage.AIDED) == [aided]
        assert live_judgements(run, stage=Stage.ALONE, rater_id="ann") == [alone]
        assert live_judgements(run, rater_id="ben") == live_judgements(run, level=1) == []
        assert judgement_counts(run) == [
            JudgementCount(0, 0, Purpose.TRAIN, Stage.ALONE, 1, 2),
            JudgementCount(0, 0, Purpose.TRAIN, Stage.AIDED, 1, 2),
        ]


def test_no_aided_answer_without_aids(tmp_path: Path) -> None:
    with small_run(tmp_path) as run, pytest.raises(InvalidInput, match="no aids planned"):
        answer(run, lease(run).lease_id, stage=Stage.AIDED, choice=Choice.FIRST, now=NOON)


def test_a_batch_is_all_or_nothing(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        good, other = lease(run), lease(run)
        with pytest.raises(InvalidInput):
            answer_many(
                run,
                [
                    Answer(good.lease_id, Stage.ALONE, Choice.FIRST),
                    Answer(other.lease_id, Stage.AIDED, Choice.FIRST),
                ],
                now=NOON,
            )
        assert rows(run) == 0


def test_the_chain_is_the_same_in_two_runs(tmp_path: Path) -> None:
    def judged(folder: Path, *, batch: bool) -> list[Judgement]:
        with small_run(folder, comparisons=8, aids_planned=True) as run:
            leased = draw_many(run, rater_id="ann", level=0, round=0, purpose=Purpose.TRAIN, count=8, now=NOON)
            given = [Answer(each.lease_id, stage, Choice.SECOND) for each in leased for stage in Stage]
            if batch:
                return answer_many(run, given, now=NOON)
            return [answer(run, each.lease_id, stage=each.stage, choice=each.choice, now=NOON) for each in given]

    assert judged(tmp_path / "a", batch=True) == judged(tmp_path / "b", batch=False)


def test_changing_an_answer(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        old = answer(run, lease(run).lease_id, stage=Stage.ALONE, choice=Choice.FIRST, now=NOON)
        new = change(run, old.id, choice=Choice.SECOND, now=seconds(5), comment="misread")
        assert (new.supersedes, new.lease_id, live_judgements(run)) == (old.id, old.lease_id, [new])
        assert change(run, old.id, choice=Choice.SECOND, now=seconds(9), comment="misread") == new
        with pytest.raises(InvalidInput, match="change or undo it"):
            change(run, old.id, choice=Choice.TIE, now=seconds(9))
        newest = change(run, new.id, choice=Choice.FIRST, now=seconds(10), new_id="press")
        assert change(run, new.id, choice=Choice.FIRST, now=seconds(11), new_id="press") == newest
        with pytest.raises(InvalidInput, match="does not count any more"):
            change(run, old.id, choice=Choice.TIE, now=seconds(12))
        with pytest.raises(InvalidInput, match="undo is not an answer"):
            change(run, newest.id, choice=Choice.UNDO, now=seconds(12))
        assert rows(run) == 3
    assert verify(tmp_path) == []


def test_undo_goes_back_to_the_first(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        given = [
            answer(run, lease(run).lease_id, stage=Stage.ALONE, choice=Choice.FIRST, now=seconds(n)) for n in range(3)
        ]
        for expected in reversed(given):
            done = undo(run, rater_id="ann", now=seconds(9))
            assert done is not None
            assert (done.undone, done.judgement.supersedes) == (expected, expected.id)
            assert done.leased.comparison.id == expected.comparison_id
        assert undo(run, rater_id="ann", now=seconds(9)) is None
        assert live_judgements(run) == []
        # The comparisons are in the rater's hands again, and may be answered anew.
        again = answer(run, given[0].lease_id, stage=Stage.ALONE, choice=Choice.TIE, now=seconds(10))
        assert again.id != given[0].id
        assert live_judgements(run) == [again]
        assert rows(run) == 7
    assert verify(tmp_path) == []


def test_undo_of_a_change_lets_the_old_answer_count_again(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=1) as run:
        old = answer(run, lease(run).lease_id, stage=Stage.ALONE, choice=Choice.FIRST, now=NOON)
        new = change(run, old.id, choice=Choice.TIE, now=seconds(1))
        done = undo(run, rater_id="ann", now=seconds(2))
        assert done is not None and done.undone == new
        assert live_judgements(run) == [old]
        assert draw(run, rater_id="ann", level=0, round=0, purpose=Purpose.TRAIN, now=seconds(3)) is None
        again = change(run, old.id, choice=Choice.SECOND, now=seconds(4))
        assert live_judgements(run) == [again]
    assert verify(tmp_path) == []


def test_undo_pressed_twice_with_one_id_is_one_undo(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        first, second = (
            answer(run, lease(run).lease_id, stage=Stage.ALONE, choice=Choice.FIRST, now=NOON) for _ in range(2)
        )
        done = undo(run, rater_id="ann", now=seconds(1), undo_id="press")
        assert undo(run, rater_id="ann", now=seconds(2), undo_id="press") == done
        named = undo(run, rater_id="ann", now=seconds(3), judgement_id=second.id)
        assert named == done
        assert live_judgements(run) == [first]
        with pytest.raises(InvalidInput, match="each takes back their own"):
            undo(run, rater_id="ben", now=seconds(4), judgement_id=first.id)
        with pytest.raises(InvalidInput, match="id of an answer"):
            undo(run, rater_id="ann", now=seconds(4), undo_id=first.id)


def test_undo_of_aided_and_alone(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=1, aids_planned=True) as run:
        leased = lease(run)
        alone = answer(run, leased.lease_id, stage=Stage.ALONE, choice=Choice.FIRST, now=NOON)
        answer(run, leased.lease_id, stage=Stage.AIDED, choice=Choice.FIRST, now=NOON)
        with pytest.raises(InvalidInput, match="take that one back first"):
            undo(run, rater_id="ann", now=seconds(1), judgement_id=alone.id)
        for answered_alone in (True, False):
            done = undo(run, rater_id="ann", now=seconds(1))
            assert done is not None and done.leased.answered_alone is answered_alone
        # Given anew, the unassisted answer comes from a rater who has seen the aids, and says so.
        again = answer(run, leased.lease_id, stage=Stage.ALONE, choice=Choice.SECOND, now=seconds(2))
        assert again.aids_seen


def test_an_undone_comparison_comes_back_when_its_lease_runs_out(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=1) as run:
        answer(run, lease(run).lease_id, stage=Stage.ALONE, choice=Choice.FIRST, now=NOON)
        undo(run, rater_id="ann", now=seconds(1), lease_seconds=50.0)
        assert draw(run, rater_id="ben", level=0, round=0, purpose=Purpose.TRAIN, now=seconds(50)) is None
        assert lease(run, "ben", at=51).comparison.id == "p0"


def test_a_person_can_read_the_judgements_in_the_file(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        old = answer(run, lease(run).lease_id, stage=Stage.ALONE, choice=Choice.FIRST, now=NOON)
        change(run, old.id, choice=Choice.TIE, comment="both cite it", now=seconds(1))
    connection = sqlite3.connect(tmp_path / "run.db")
    columns = "title, prompt, first, second, rater, choice, comment, live"
    found = connection.execute(f"SELECT {columns} FROM judgements_readable ORDER BY position").fetchall()
    connection.close()
    shown = ("Shift 0", "Brief this: Log 0", "Brief 0, 0", "Brief 0, 1", "Ann")
    assert found == [(*shown, "first", "", 0), (*shown, "tie", "both cite it", 1)]


class Press(NamedTuple):
    """What somebody at the page does next."""

    action: str
    rater: str
    choice: Choice
    comment: str


PRESSES = st.lists(
    st.builds(
        Press,
        action=st.sampled_from(["answer", "answer", "answer", "undo", "change"]),
        rater=st.sampled_from(["ann", "ben"]),
        choice=st.sampled_from(ANSWERS),
        comment=st.text(max_size=5),
    ),
    max_size=25,
)


def test_whatever_is_pressed_the_store_agrees_with_a_list_of_stacks(tmp_path_factory: pytest.TempPathFactory) -> None:
    @settings(max_examples=25, deadline=None)
    @given(PRESSES)
    def check(presses: list[Press]) -> None:
        folder = tmp_path_factory.mktemp("run")
        # The model: for each rater what they did, last thing last, as (comparison, answer before, answer).
        history: dict[str, list[tuple[str, Choice | None, Choice]]] = {"ann": [], "ben": []}
        counted: dict[tuple[str, str], Choice] = {}
        with small_run(folder, comparisons=4, raters_planned=2) as run:
            for press in presses:
                mine = history[press.rater]
                if press.action == "answer":
                    held = draw(
                        run, rater_id=press.rater, level=0, round=0, purpose=Purpose.TRAIN, now=NOON, resume=True
                    )
                    assert (held is None) == (len({key for key in counted if key[0] == press.rater}) == 4)
                    if held is None:
                        continue
                    name = held.comparison.id
                    assert (press.rater, name) not in counted
                    answer(run, held.lease_id, stage=Stage.ALONE, choice=press.choice, comment=press.comment, now=NOON)
                    mine.append((name, None, press.choice))
                    counted[press.rater, name] = press.choice
                elif press.action == "change" and mine:
                    name = mine[-1][0]
                    old = next(
                        each for each in live_judgements(run, rater_id=press.rater) if each.comparison_id == name
                    )
                    change(run, old.id, choice=press.choice, comment=press.comment, now=NOON)
                    mine.append((name, old.choice, press.choice))
                    counted[press.rater, name] = press.choice
                elif press.action == "undo":
                    done = undo(run, rater_id=press.rater, now=NOON)
                    assert (done is None) == (not mine)
                    if done is None:
                        continue
                    name, before, after = mine.pop()
                    assert (done.undone.comparison_id, done.undone.choice) == (name, after)
                    if before is None:
                        del counted[press.rater, name]
                    else:
                        counted[press.rater, name] = before
                assert {(each.rater_id, each.comparison_id): each.choice for each in live_judgements(run)} == counted
        assert verify(folder) == []

    check()
