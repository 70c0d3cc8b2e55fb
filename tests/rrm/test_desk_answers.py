"""Answers at the desk: stored once however often they are sent, taken back without limit, not blind after a reveal."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from reward_models.errors import InvalidInput
from rrm.judging.answering import TakenBack
from rrm.judging.cards import Card
from rrm.judging.desk import Desk
from rrm.judging.details import GivenAnswer, GivenChange
from rrm.judging.export import export_lines
from rrm.judging.guidelines import guidelines_now
from rrm.judging.sides import Side
from rrm.store import Choice, Run, Stage, get_text, live_judgements, verify
from rrm.store.run import Run as OpenRun
from tests.rrm.desks import desk, draw, give, given
from tests.rrm.store_samples import NOON, seconds, small_run
from tests.ui.page.filled_runs import people_run


def count(run: Run) -> int:
    return int(run.database["judgements"].count)


def full_answer(card: Card) -> GivenAnswer:
    return replace(
        given(card), strength=2, comment="Ω — why", flagged=True, shown_at=seconds(1), milliseconds=4200,
    )  # fmt: skip


def test_an_answer_keeps_all_that_was_sent(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        ann = desk(run)
        card = draw(ann)[0]
        outcome = ann.answer([full_answer(card)], now=seconds(5))[0]
        stored = live_judgements(run)[0]
        assert (outcome.saved, outcome.judgement_id, outcome.aids) == (True, stored.id, None)
        assert stored.comment == "Ω — why"
        assert stored.details == {
            "strength": 2, "flagged": True, "milliseconds": 4200, "guidelines": card.guidelines,
        }  # fmt: skip
        assert get_text(run, card.guidelines) == guidelines_now(run, ann.task).text
        assert (stored.shown_at, stored.decided_at) == ("2026-01-02T12:00:01.000000Z", "2026-01-02T12:00:05.000000Z")


def test_strength_belongs_to_a_side_only(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        ann = desk(run)
        answer = replace(given(draw(ann)[0], Side.TIE), strength=2)
        assert ann.answer([answer], now=NOON)[0].saved
        assert "strength" not in live_judgements(run)[0].details


def test_the_same_event_again_changes_nothing(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        ann = desk(run)
        card = draw(ann)[0]
        outcomes = [ann.answer([full_answer(card)], now=seconds(at))[0] for at in (1, 2, 3)]
        assert outcomes[0] == outcomes[1] == outcomes[2]
        undone = [ann.undo(undo_id="undo-press", now=seconds(at), judgement_id=outcomes[0].id) for at in (4, 5)]
        assert undone[0] == undone[1] and undone[0].saved
        late = ann.answer([full_answer(card)], now=seconds(6))[0]
        assert late.saved and live_judgements(run) == []
        assert count(run) == 2


def test_one_refused_answer_does_not_stop_the_others(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=4) as run:
        ann = desk(run)
        one, two, three, four = draw(ann, 4)
        give(ann, two, Side.LEFT)
        outcomes = ann.answer(
            [
                given(one),
                given(two, Side.RIGHT, id="another-press"),
                replace(given(three), comment="x" * 5001),
                replace(given(three), id="bad-time", shown_at="yesterday"),
                replace(given(three), id="bad-text", comment="\ud800"),
                replace(given(three), id="bad-stage", stage=Stage.AIDED),
                replace(given(three), id="no-lease", lease_id="none"),
                given(four),
            ],
            now=NOON,
        )
        assert [each.saved for each in outcomes] == [True, False, False, False, False, False, False, True]
        for outcome, words in zip(
            outcomes[1:7],
            [
                "answered this comparison already (left)",
                "5001 characters",
                "ISO-8601",
                "surrogate",
                "no aids planned",
                "no lease",
            ],
            strict=True,
        ):
            assert outcome.refused is not None and words in outcome.refused
            assert outcome.refused.endswith(".")
        assert len(live_judgements(run)) == 3
    assert verify(tmp_path) == []


def test_undo_goes_back_to_the_first_answer_and_the_cards_come_again(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=8) as run:
        ann, ben = desk(run), desk(run, "ben")
        give(ben, draw(ben)[0])
        cards = draw(ann, 7)
        for card in cards:
            assert ann.answer([replace(full_answer(card), side=Side.RIGHT)], now=NOON)[0].saved
        for number, card in enumerate(reversed(cards)):
            outcome = ann.undo(undo_id=f"undo-{number}", now=seconds(number))
            assert outcome.card == card
            assert outcome.taken_back == TakenBack(side=Side.RIGHT, comment="Ω — why", flagged=True)
        nothing = ann.undo(undo_id="undo-none", now=seconds(99))
        assert not nothing.saved and "left to take back" in str(nothing.refused)
        assert len(live_judgements(run)) == 1
        assert ann.answer([given(cards[0], Side.TIE, id="another-answer")], now=seconds(200))[0].saved


def test_an_undone_card_is_in_the_hands_of_the_tab_that_asked(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=1) as run:
        one, other = desk(run, tab="one"), desk(run, tab="other")
        card = draw(one)[0]
        give(one, card)
        assert other.undo(undo_id="undo-other", now=NOON).card == card
        assert one.next_cards(count=1, holding=[card.lease_id], now=NOON).lost == (card.lease_id,)
        assert other.next_cards(count=1, holding=[card.lease_id], now=NOON).lost == ()


def test_nobody_takes_back_anothers_answer(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=2) as run:
        ann, ben = desk(run), desk(run, "ben")
        outcome = give(ann, draw(ann)[0])
        refused = ben.undo(undo_id="undo-anns", judgement_id=outcome.id, now=NOON)
        assert not refused.saved and "each takes back their own" in str(refused.refused)
        changed = ben.change(GivenChange("change-anns", outcome.id, Side.TIE), now=NOON)
        assert not changed.saved and "another rater" in str(changed.refused)
        assert ann.undo(undo_id="undo-mine", now=NOON).saved
        stolen = ben.undo(undo_id="undo-mine", now=NOON)
        assert not stolen.saved and "another rater" in str(stolen.refused)


def test_undo_of_an_aided_answer_comes_back_with_the_aids_and_then_alone(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=1, aids_planned=True) as run:
        ann = desk(run)
        card = draw(ann)[0]
        give(ann, card, Side.LEFT)
        give(ann, card, Side.RIGHT, stage=Stage.AIDED)
        aided = ann.undo(undo_id="undo-aided", now=NOON).card
        assert aided is not None and (aided.stage, aided.aids) == (Stage.AIDED, ())
        alone = ann.undo(undo_id="undo-alone", now=NOON).card
        assert alone is not None and (alone.stage, alone.aids) == (Stage.ALONE, None)


def test_a_skip_before_the_aids_ends_the_sitting_and_one_undo_takes_all_of_it_back(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=1, aids_planned=True) as run:
        ann = desk(run)
        card = draw(ann)[0]
        assert give(ann, card, Side.SKIP).aids is None
        assert [each.choice for each in live_judgements(run)] == [Choice.SKIP, Choice.SKIP]
        assert "is judged" in str(ann.next_cards(count=1, now=NOON).empty)
        for _ in range(2):
            back = ann.undo(undo_id="undo-skip", now=NOON)
            assert back.card == card
        assert live_judgements(run) == []


def test_a_skip_before_the_aids_is_taken_back_by_the_id_that_the_page_knows(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=1, aids_planned=True) as run:
        ann = desk(run)
        card = draw(ann)[0]
        skipped = give(ann, card, Side.SKIP).judgement_id
        for _ in range(2):
            back = ann.undo(undo_id="undo-skip", judgement_id=skipped, now=NOON)
            assert back.saved, back.refused
            assert back.card == card
        assert live_judgements(run) == []
        outcome = ann.answer([given(card, Side.LEFT, id="answer-after-all")], now=NOON)[0]
        assert outcome.saved, outcome.refused


def test_aids_are_marked_by_their_key_and_kept_by_their_id(tmp_path: Path) -> None:
    folder = people_run(tmp_path / "run", comparisons=1, level=1)
    with OpenRun.open(folder) as run:
        ann = desk(run)
        card = draw(ann)[0]
        early = replace(given(card), aid_marks={"x": "valid"})
        assert "before it none was shown" in str(ann.answer([early], now=NOON)[0].refused)
        aids = give(ann, card).aids
        assert aids is not None
        final = replace(given(card, stage=Stage.AIDED), aid_marks={"unknown": "valid"})
        assert "marks no aid" in str(ann.answer([final], now=NOON)[0].refused)
        wrong = replace(final, aid_marks={aids[0].key: "perhaps"})
        assert "marks no aid" in str(ann.answer([wrong], now=NOON)[0].refused)
        marked = replace(final, aid_marks={aids[0].key: "valid", aids[1].key: "invalid"})
        assert ann.answer([marked], now=NOON)[0].saved
        document = leased_document(ann, card)
        assert live_judgements(run)[-1].details["aid_marks"] == {
            f"{document}/aid-0": "valid", f"{document}/aid-1": "invalid",
        }  # fmt: skip


def leased_document(at_desk: Desk, card: Card) -> str:
    from rrm.store.leases import leased

    return leased(at_desk.run, [card.lease_id])[0].comparison.document_id


def test_who_wrote_what_is_told_only_after_the_final_answer(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=1, aids_planned=True) as run:
        ann = desk(run)
        card = draw(ann)[0]
        with pytest.raises(InvalidInput, match="after the final answer"):
            ann.reveal(card.lease_id, now=NOON)
        give(ann, card)
        with pytest.raises(InvalidInput, match="after the final answer"):
            ann.reveal(card.lease_id, now=NOON)
        give(ann, card, stage=Stage.AIDED)
        told = ann.reveal(card.lease_id, now=NOON)
        assert told == ann.reveal(card.lease_id, now=seconds(9))
        assert (told.level, told.round, told.left) == (0, 0, "base (before any training)")
        assert "at random" in told.reason
        with pytest.raises(InvalidInput, match="another rater"):
            desk(run, "ben").reveal(card.lease_id, now=NOON)


def test_answers_after_a_reveal_are_kept_as_unblinded(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=2) as run:
        ann = desk(run)
        card, other = draw(ann, 2)
        outcome = give(ann, card, Side.LEFT)
        give(ann, other)
        assert "unblinded" not in live_judgements(run)[0].details
        before = ann.change(GivenChange("change-one", outcome.id, Side.TIE), now=seconds(1))
        ann.reveal(card.lease_id, now=seconds(2))
        after = ann.change(
            GivenChange("change-two", str(before.judgement_id), Side.RIGHT, comment="now"), now=seconds(3)
        )
        assert after.saved
        entry = ann.history()[0]
        assert (entry.side, entry.changed, entry.unblinded, entry.comment) == (Side.RIGHT, True, True, "now")
        assert ann.undo(undo_id="undo-change", now=seconds(4)).card is None
        assert [each.unblinded for each in ann.history()] == [False, False]
        assert ann.undo(undo_id="undo-two", judgement_id=before.id, now=seconds(5)).saved
        assert ann.undo(undo_id="undo-three", judgement_id=outcome.id, now=seconds(6)).card == card
        again = replace(given(card, Side.RIGHT), id="answer-again")
        assert ann.answer([again], now=seconds(7))[0].saved
        assert live_judgements(run)[-1].details["unblinded"] is True
        assert "unblinded" not in live_judgements(run)[0].details


def test_a_change_keeps_what_was_said_of_the_aids(tmp_path: Path) -> None:
    folder = people_run(tmp_path / "run", comparisons=1, level=1)
    with OpenRun.open(folder) as run:
        ann = desk(run)
        card = draw(ann)[0]
        aids = give(ann, card).aids
        assert aids is not None
        final = replace(given(card, stage=Stage.AIDED), aid_marks={aids[0].key: "invalid"})
        ann.answer([final], now=NOON)
        marks = live_judgements(run)[-1].details["aid_marks"]
        assert ann.change(GivenChange("change-it", final.id, Side.RIGHT), now=NOON).saved
        assert live_judgements(run)[-1].details["aid_marks"] == marks


def test_history_is_paged_newest_first_and_is_ones_own(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=7, raters_planned=2) as run:
        ann, ben = desk(run), desk(run, "ben")
        for number, card in enumerate(draw(ann, 5)):
            give(ann, card, Side.RIGHT, at=number + 1)
        give(ben, draw(ben)[0])
        first = ann.history(count=3)
        second = ann.history(count=3, before=first[-1].position)
        assert [entry.title for entry in (*first, *second)] == [f"Shift {number}" for number in (4, 3, 2, 1, 0)]
        assert ann.history(before=second[-1].position) == []
        entry = first[0]
        card = ann.card(entry.lease_id)
        assert (entry.left, entry.right) == (card.left, card.right)
        assert (entry.side, entry.changed, entry.unblinded, entry.revealed) == (Side.RIGHT, False, False, None)
        ann.reveal(entry.lease_id, now=NOON)
        shown = ann.history()[0].revealed
        assert shown is not None and shown.right == "base (before any training)"
        assert [each.title for each in ben.history()] == ["Shift 0"]


def test_history_has_both_answers_of_an_aided_sitting(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=2, aids_planned=True) as run:
        ann = desk(run)
        done, begun = draw(ann, 2)
        give(ann, done, Side.LEFT)
        give(ann, done, Side.RIGHT, stage=Stage.AIDED)
        give(ann, begun, Side.LEFT)
        assert [(each.side_alone, each.side) for each in ann.history()] == [(Side.LEFT, Side.RIGHT)]


def test_the_export_has_every_judgement_with_its_texts(tmp_path: Path) -> None:
    folder = people_run(tmp_path / "run", comparisons=3, level=1)
    with OpenRun.open(folder) as run:
        ann = desk(run)
        cards = draw(ann, 3)
        for card in cards:
            give(ann, card)
        ann.undo(undo_id="undo-last", now=seconds(1))
        lines = [json.loads(line) for line in export_lines(run)]
        assert [line["position"] for line in lines] == [1, 2, 3, 4]
        assert [line["live"] for line in lines] == [True, True, False, False]
        for line, card in zip(lines, cards, strict=False):
            assert {line["first"], line["second"]} == {card.left, card.right}
            assert (line["first"] == card.left) == line["first_on_left"] == (line["choice"] == "first")
            assert line["prompt"].startswith(card.source)
            assert (line["rater_id"], line["rater"], line["purpose"], line["level"]) == ("ann", "Ann", "train", 1)
            assert len(line["aids"]) == 3 and line["details"]["guidelines"] == card.guidelines


def test_a_long_export_comes_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rrm.judging.export.CHUNK", 2)
    with small_run(tmp_path, comparisons=5) as run:
        ann = desk(run)
        for card in draw(ann, 5):
            give(ann, card)
        assert [json.loads(line)["position"] for line in export_lines(run)] == [1, 2, 3, 4, 5]
