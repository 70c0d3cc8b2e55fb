"""The desk: cards that tell nothing they must not, tabs that never share a comparison, and repeats that stay silent."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pytest

from reward_models.errors import InvalidInput
from rrm.judging.sides import Side, choice_of, side_of
from rrm.run_folder import open_run_folder
from rrm.store import Choice, Purpose, Run, Stage, StoredAid, live_judgements, put_aids
from rrm.store.leases import leased
from tests.rrm.desks import desk, draw, give, given
from tests.rrm.store_samples import NOON, seconds, small_run
from tests.ui.page.filled_runs import people_run


@pytest.mark.parametrize("on_left", [True, False])
def test_sides_and_choices_are_each_others_inverse(on_left: bool) -> None:
    assert {side_of(choice_of(side, first_on_left=on_left), first_on_left=on_left) for side in Side} == set(Side)
    for side in Side:
        assert side_of(choice_of(side, first_on_left=on_left), first_on_left=on_left) is side
    assert choice_of(Side.LEFT, first_on_left=on_left) is (Choice.FIRST if on_left else Choice.SECOND)
    with pytest.raises(InvalidInput, match="no side"):
        side_of(Choice.UNDO, first_on_left=on_left)


def test_the_stored_choice_is_the_text_that_was_on_that_side(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=20) as run:
        ann = desk(run)
        cards = draw(ann, 20)
        lefts = {card.lease_id: card.left for card in cards}
        for card in cards:
            give(ann, card, Side.LEFT)
        assert {each.choice for each in live_judgements(run)} == {Choice.FIRST, Choice.SECOND}
        for judgement in live_judgements(run):
            lease = leased(run, [judgement.lease_id])[0]
            chosen = lease.first_text if judgement.choice is Choice.FIRST else lease.second_text
            assert chosen == lefts[judgement.lease_id]


def test_a_card_tells_nothing_that_it_must_not(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=1, aids_planned=True) as run:
        put_aids(run, [StoredAid("secret-agent-aid", 0, 0, "agent-x", "part-briefs", "#1 fire", document_id="d0")])
        card = draw(desk(run))[0]
        assert set(asdict(card)) == {
            "lease_id", "title", "source", "left", "right", "aids_planned", "stage", "aids", "guidelines",
        }  # fmt: skip
        assert card.aids is None
        assert card.stage is Stage.ALONE
        told = str(asdict(card))
        for secret in ("agent-x", "base", "train", "random", "fire", "c0-0", "p0"):
            assert secret not in told


def test_aids_come_with_the_answer_given_alone(tmp_path: Path) -> None:
    people_run(tmp_path / "run", comparisons=2, level=1)
    with open_run_folder(tmp_path / "run") as opened:
        ann = desk(opened.run)
        card = draw(ann)[0]
        aids = give(ann, card, Side.RIGHT).aids
        assert aids is not None
        assert [aid.about for aid in aids] == ["Day 1, early shift", "Day 1, late shift", "Day 1, night shift"] or all(
            aid.about.startswith("Day") for aid in aids
        )
        source = card.source.split("\n")
        for aid in aids:
            true, invented = aid.lines
            assert (true.verified, invented.verified) == (True, False)
            assert [source[place].startswith(true.text) for place in true.source_lines] == [True]
            assert invented.source_lines == ()
            assert "agent" not in str(asdict(aid))
        again = ann.next_cards(count=0, holding=[card.lease_id], restore=True, now=NOON).cards
        assert [(each.stage, each.aids) for each in again] == [(Stage.AIDED, aids)]
        give(ann, card, Side.LEFT, stage=Stage.AIDED)
        assert [each.aids_seen for each in live_judgements(opened.run)] == [False, True]


def test_an_aid_about_an_entry_that_says_otherwise_points_at_it(tmp_path: Path) -> None:
    people_run(tmp_path / "run", comparisons=1, level=1)
    with open_run_folder(tmp_path / "run") as opened:
        ann = desk(opened.run)
        card = draw(ann)[0]
        place, line = next((place, line) for place, line in enumerate(card.source.split("\n")) if line.startswith("#"))
        wrong = f"{line.split(' ')[0]} no such thing\nSome remark."
        comparison = leased(opened.run, [card.lease_id])[0].comparison.id
        put_aids(opened.run, [StoredAid("own", 1, 0, "base", "critique", wrong, comparison_id=comparison)])
        aids = give(ann, card).aids
        assert aids is not None
        first, remark = aids[-1].lines
        assert aids[-1].about == ""
        assert (first.verified, first.source_lines) == (False, (place,))
        assert (remark.verified, remark.source_lines) == (None, ())


def test_two_tabs_are_never_given_the_same(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=12) as run:
        one, other = desk(run, tab="one"), desk(run, tab="other")
        first, second = draw(one, 5), draw(other, 5)
        assert not {card.lease_id for card in first} & {card.lease_id for card in second}
        assert len(draw(one, 5)) == 2
        nothing = other.next_cards(count=5, now=NOON)
        assert nothing.elsewhere
        assert nothing.empty is not None and "another window" in nothing.empty


def test_a_reload_gets_back_what_its_tab_held_and_another_tab_does_not(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=6) as run:
        one, other = desk(run, tab="one"), desk(run, tab="other")
        held = draw(one, 4)
        ids = [card.lease_id for card in held]
        again = one.next_cards(count=0, holding=ids, restore=True, now=seconds(10))
        assert (again.cards, again.lost) == (tuple(held), ())
        stolen = other.next_cards(count=0, holding=ids, restore=True, now=seconds(10))
        assert (stolen.cards, stolen.lost) == ((), tuple(ids))
        strangers = desk(run, "ben", tab="one").next_cards(count=0, holding=ids, restore=True, now=seconds(10))
        assert (strangers.cards, strangers.lost) == ((), tuple(ids))


def test_a_dead_tab_frees_its_comparisons_in_time_and_learns_it_when_it_wakes(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=2) as run:
        one, other = desk(run, tab="one"), desk(run, tab="other")
        held = [card.lease_id for card in draw(one, 2)]
        assert draw(other, 2, at=299) == []
        taken = [card.lease_id for card in draw(other, 1, at=301)]
        assert taken == held[:1]
        woken = one.next_cards(count=0, holding=held, restore=True, now=seconds(302))
        assert [card.lease_id for card in woken.cards] == held[1:]
        assert woken.lost == (held[0],)


def test_a_sign_of_life_keeps_what_is_held(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=1) as run:
        ann, ben = desk(run), desk(run, "ben")
        held = [card.lease_id for card in draw(ann)]
        ann.next_cards(count=0, holding=held, now=seconds(200))
        assert draw(ben, at=400) == []
        assert len(draw(ben, at=501)) == 1
        assert ann.next_cards(count=0, holding=held, now=seconds(502)).lost == tuple(held)


def test_what_a_closed_tab_held_can_be_brought_here(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=2) as run:
        one, other = desk(run, tab="one"), desk(run, tab="other")
        held = draw(one, 2)
        brought = other.next_cards(count=10, take_over=True, now=seconds(1))
        assert sorted(brought.cards, key=str) == sorted(held, key=str)
        assert one.next_cards(count=0, holding=[card.lease_id for card in held], now=seconds(2)).lost
        assert draw(one, 2, at=3) == []


def test_what_was_answered_is_no_longer_held(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=1) as run:
        ann = desk(run)
        card = draw(ann)[0]
        give(ann, card)
        assert ann.next_cards(count=0, holding=[card.lease_id, "unknown"], now=NOON).lost == (card.lease_id, "unknown")


def test_why_there_is_nothing_to_do(tmp_path: Path) -> None:
    with Run.create(tmp_path / "empty", seed=0, configuration={}, now=NOON) as run:
        assert "Start a round" in str(desk(run).next_cards(count=1, now=NOON).empty)
    with small_run(tmp_path / "two", comparisons=1, raters_planned=2) as run:
        ann, ben = desk(run), desk(run, "ben")
        assert ann.next_cards(count=1, now=NOON).empty is None
        give(ann, draw(desk(run, tab="other"), at=400)[0])
        assert "other raters" in str(ann.next_cards(count=1, now=NOON).empty)
        give(ben, draw(ben)[0])
        assert "is judged" in str(ann.next_cards(count=1, now=NOON).empty)
        assert ann.next_cards(count=0, now=NOON).empty is None


def test_no_rater_sees_anothers_card(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=1) as run:
        card = draw(desk(run))[0]
        assert desk(run).card(card.lease_id) == card
        with pytest.raises(InvalidInput, match="another rater"):
            desk(run, "ben").card(card.lease_id)
        refused = desk(run, "ben").answer([given(card)], now=NOON)[0]
        assert not refused.saved and "another rater" in str(refused.refused)
        assert live_judgements(run) == []


def test_about_the_right_share_comes_again_silently_with_sides_swapped(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=200) as run:
        ann = desk(run, repeat_share=0.2)
        shown: dict[str, list[tuple[str, str]]] = {}
        order: list[str] = []
        while cards := draw(ann, 3):
            assert len(cards) <= 3
            for card in cards:
                give(ann, card, Side.TIE)
                shown.setdefault(card.title, []).append((card.left, card.right))
                order.append(card.title)
        again = {title: pairs for title, pairs in shown.items() if len(pairs) > 1}
        assert 15 <= len(again) <= 60
        # A repeat comes at any place of what is asked for, not always after the new ones.
        assert {place % 3 for title in again for place in [len(order) - 1 - order[::-1].index(title)]} == {0, 1, 2}
        assert len(shown) == 200
        for pairs in again.values():
            assert len(pairs) == 2
            assert pairs[0] == pairs[1][::-1]
        for title in again:
            first, second = (place for place, each in enumerate(order) if each == title)
            assert second - first > 5
        assert Counter(each.repeat for each in live_judgements(run, repeats=True)) == {0: 200, 1: len(again)}
        assert len(live_judgements(run)) == 200


def test_nothing_comes_again_that_was_revealed_or_skipped_or_too_soon(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=60) as run:
        ann = desk(run, repeat_share=0.5)
        for card in draw(ann, 10):
            give(ann, card, Side.SKIP)
        for card in draw(ann, 20)[:10]:
            give(ann, card)
            ann.reveal(card.lease_id, now=NOON)
        while cards := draw(ann, 2, at=400):
            for card in cards:
                give(ann, card, at=400)
        again = [each for each in live_judgements(run, repeats=True) if each.repeat]
        firsts = {each.comparison_id: each for each in live_judgements(run)}
        assert again
        for judgement in again:
            first = firsts[judgement.comparison_id]
            assert first.choice is not Choice.SKIP
            assert "unblinded" not in judgement.details
            assert judgement.position - first.position > 9


def test_progress_towards_the_goal(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=4, raters_planned=2) as run:
        ann, ben = desk(run), desk(run, "ben")
        assert asdict(ann.pace(since=NOON)) == {"given": 0, "needed": 8, "mine_today": 0, "median_seconds": None}
        for number, card in enumerate(draw(ann, 3)):
            answer = given(card)
            timed = type(answer)(**{**asdict(answer), "milliseconds": 1000 * (number + 1), "side": Side.TIE})
            assert ann.answer([timed], now=seconds(number))[0].saved
        give(ben, draw(ben)[0])
        assert asdict(ann.pace(since=NOON)) == {"given": 4, "needed": 8, "mine_today": 3, "median_seconds": 2.0}
        assert ann.pace(since=seconds(1)).mine_today == 2
        ann.undo(undo_id="undo-one", now=seconds(5))
        assert (ann.pace(since=NOON).given, ann.pace(since=NOON).mine_today) == (3, 2)


def test_every_answer_moves_the_goal_by_one_whatever_it_is(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=40) as run:
        ann = desk(run, repeat_share=0.3)
        seen: list[int] = []
        while (at := ann.pace(since=NOON)).given < at.needed - 12:
            assert at.needed == 52
            seen.append(at.given)
            (card,) = draw(ann)
            give(ann, card, at=len(seen))
        assert seen == list(range(40))
        assert any(each.repeat for each in live_judgements(run, repeats=True))


def test_progress_is_about_what_is_asked_now(tmp_path: Path) -> None:
    with small_run(tmp_path, comparisons=1) as run:
        ann = desk(run)
        give(ann, draw(ann)[0])
        assert asdict(ann.pace(since=NOON)) == {"given": 0, "needed": 0, "mine_today": 1, "median_seconds": None}
        assert live_judgements(run, purpose=Purpose.TRAIN)
