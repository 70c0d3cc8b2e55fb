"""Figures against gold: the comparisons they rest on, the numbers by hand, and that measuring is done once."""

from collections.abc import Iterator
from pathlib import Path
from typing import final

import pytest

from rrm import measuring
from rrm.judging.raters import AbstractRater, Question
from rrm.measuring import MARGIN, measure_level
from rrm.opening import open_workbench
from rrm.store import documents
from rrm.tasks.document import Document
from rrm.tasks.shiftlog.task import Shiftlog
from rrm.tasks.task import Split
from rrm.workbench import Workbench

SHIFT = Document(
    id="shift",
    title="Shift",
    text="Day 1, early shift.\n#1 fire, pump 3. Seen.\n#2 jam, tank 1. Seen.\n#3 greasing, kiln 2. Seen.",
)


@final
class Sure(AbstractRater):
    """Says `first` with a chance that it reads off the first aid, and 0.8 without aids."""

    id = "sure"

    def probability(self, question: Question) -> float:
        return 0.8 if question.aids is None else float(question.aids[0])

    def settings(self) -> dict[str, object]:
        return {}


@pytest.fixture
def bench(copied: Path) -> Iterator[Workbench]:
    with open_workbench(copied) as opened:
        yield opened


def asked(identifier: str, *, first_is_better: bool) -> measuring.TestComparison:
    document = Document(id=identifier, title="", text="#1 fire, pump 3. Seen.")
    return measuring.TestComparison(document, "#1 fire", "#1 injury", first_is_better)


def test_a_rater_is_as_good_as_its_mean_chance_to_be_right() -> None:
    """A chance of 0.8 for the first, which is better twice of three times: (0.8 + 0.8 + 0.2) / 3 = 0.6."""
    questions = [asked(name, first_is_better=better) for name, better in (("a", True), ("b", True), ("c", False))]
    found = measuring.rater_figures(Sure(), questions, None)
    assert found is not None and found.n == 3
    assert found.accuracy == pytest.approx(0.6)
    # Aids belong to documents: 0.5 right on a, 0.9 on b, and 1 - 0.1 on c.
    aided = measuring.rater_figures(Sure(), questions, {"a": ("0.5",), "b": ("0.9", "0"), "c": ("0.1",)})
    assert aided is not None and aided.accuracy == pytest.approx((0.5 + 0.9 + 0.9) / 3)


def test_without_comparisons_there_is_no_figure() -> None:
    assert measuring.rater_figures(Sure(), [], None) is None


def test_what_briefs_are_worth(bench: Workbench) -> None:
    """Of SHIFT the best brief is worth (3 + 1 - 0.2) / 2 = 1.9; a wrong line (0 - 2 - 0.1) / 2 = -1.05.

    Mean gold of four briefs (1, -1.05 / 1.9, 0, 1), and one invented claim of five.
    """
    texts = [("#1 fire\n#2 jam", "#1 injury"), ("", "#1 fire\n#2 jam")]
    found = measuring.policy_figures(bench, [SHIFT, SHIFT], texts, kl=0.25)
    assert (found.gold, found.invented, found.kl) == pytest.approx(((2 - 1.05 / 1.9) / 4, 1 / 5, 0.25))
    assert measuring.policy_figures(bench, [SHIFT], [("",)], kl=0.0).invented == 0.0


def test_comparisons_are_pairs_of_the_base_that_differ_clearly(bench: Workbench) -> None:
    task = Shiftlog(seed=bench.seed)
    places = bench.documents(split=Split.TEST, level=1, count=bench.config.sampling.test_documents)
    texts = measuring.test_texts(bench, level=1)
    found = {(one.document.id, one.first, one.second): one for one in measuring.test_comparisons(bench, level=1)}
    for document, group in zip(places, texts, strict=True):
        assert len(group) == 4
        for first, second in ((group[0], group[1]), (group[2], group[3])):
            difference = task.gold(document, first).utility - task.gold(document, second).utility
            one = found.pop((document.id, first, second), None)
            assert (one is not None) == (abs(difference) >= MARGIN)
            assert one is None or one.first_is_better == (difference > 0)
    assert not found


def test_a_level_is_measured_once(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = [measure_level(bench, level=level) for level in (0, 1)]

    def refuse(*_: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(Shiftlog, "gold", refuse)
    assert [measure_level(bench, level=level) for level in (0, 1)] == measured


def test_what_is_measured_of_a_level(bench: Workbench) -> None:
    bottom, above = (measure_level(bench, level=level) for level in (0, 1))
    # Level 0 has no help, so there is nothing to say of it.
    assert [name for name, one in bottom.rater.items() if one is None] == ["assistant", "assisted"]
    assert all(one is not None and 0.0 <= one.accuracy <= 1.0 and one.n > 0 for one in above.rater.values())
    for level in (bottom, above):
        base, agent = level.policy["base"], level.policy["agent"]
        assert base is not None and agent is not None
        assert base.kl == 0.0 < agent.kl
        assert all(one.gold <= 1.0 and 0.0 <= one.invented <= 1.0 for one in (base, agent))
        assert set(level.reward_model) == {"accuracy", "ece", "spread_error_spearman", "gold_accuracy"}


def test_test_documents_never_enter_the_store(bench: Workbench) -> None:
    for level in (0, 1):
        measure_level(bench, level=level)
        assert documents(bench.run, level=level, split=Split.TEST.value) == []
