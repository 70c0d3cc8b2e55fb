"""Raters that answer at once: the contract that all keep, and what each makes of a question."""

import inspect

import pytest

from reward_models.errors import InvalidInput
from rrm.judging import raters, taste
from rrm.judging.raters import AbstractRater, AssistantAlone, Question, SimulatedReader
from rrm.judging.reader import TEMPERATURE, read
from rrm.judging.taste import TasteRater, liked_words
from rrm.tasks.document import Document
from rrm.tasks.task import AbstractKnownTask
from tests.rrm.contracts import NoGold, RaterContract

TASK = NoGold(seed=0)
SHIFT = Document(
    id="shift",
    title="Shift",
    text="Day 1, early shift.\n#1 fire, pump 3. Seen.\n#2 jam, tank 1. Seen.\n#3 greasing, kiln 2. Seen.",
)


class TestSimulatedReaderIsARater(RaterContract):
    def rater(self, task: AbstractKnownTask) -> AbstractRater:
        return SimulatedReader(task)


class TestAReaderInAHurryIsARater(RaterContract):
    def rater(self, task: AbstractKnownTask) -> AbstractRater:
        return SimulatedReader(task, budget=30)


class TestAssistantAloneIsARater(RaterContract):
    def rater(self, task: AbstractKnownTask) -> AbstractRater:
        return AssistantAlone(task)


class TestTasteIsARater(RaterContract):
    def rater(self, task: AbstractKnownTask) -> AbstractRater:
        return TasteRater(("fire", "nothing"))


def test_every_rater_is_held_to_the_contract() -> None:
    written = {
        one for module in (raters, taste) for _, one in inspect.getmembers(module, inspect.isclass)
        if issubclass(one, AbstractRater) and not inspect.isabstract(one)
    }  # fmt: skip
    held = {type(contract().rater(TASK)) for contract in RaterContract.__subclasses__()}
    assert written == held
    assert len({one.id for one in written}) == len(written)


def test_swapping_a_question_exchanges_the_completions_and_nothing_else() -> None:
    question = Question(SHIFT, "a", "b", aids=("c",), more_to_come=True)
    assert question.swap() == Question(SHIFT, "b", "a", aids=("c",), more_to_come=True)
    assert question.swap().swap() == question


@pytest.mark.parametrize("aids", [None, (), ("#1 fire",)])
@pytest.mark.parametrize("more_to_come", [False, True])
def test_the_reader_reads_what_is_shown_within_its_budget(aids: tuple[str, ...] | None, more_to_come: bool) -> None:
    question = Question(SHIFT, "#1 fire", "#1 fire\n#3 injury", aids=aids, more_to_come=more_to_come)
    for budget in (0, 6, 11, 100):
        expected = read(TASK, SHIFT, "#1 fire", "#1 fire\n#3 injury", aids=aids, budget=budget, skim=more_to_come)
        assert SimulatedReader(TASK, budget=budget).probability(question) == expected.probability


def test_the_reader_takes_the_budget_of_its_task_unless_it_has_one() -> None:
    assert SimulatedReader(TASK).settings() == {"budget": TASK.reading_budget, "temperature": TEMPERATURE}
    assert SimulatedReader(TASK, budget=0).settings() == {"budget": 0, "temperature": TEMPERATURE}


@pytest.mark.parametrize(
    ("first", "second", "aids", "probability"),
    [
        ("#1 fire\n#2 jam", "#1 fire", ("#1 fire", "#2 jam"), 1.0),  # two claims supported against one
        ("#1 fire", "#1 fire\n#2 jam", ("#1 fire", "#2 jam"), 0.0),
        ("#1 fire", "#2 jam", ("#1 fire", "#2 jam"), 0.5),  # one against one, whatever they weigh
        ("#2 jam\n#2 jam", "#1 fire", ("#1 fire\n#2 jam",), 0.5),  # said twice is supported once
        ("#3 injury", "#1 fire", ("#3 injury",), 1.0),  # an invention that the assistant shares: nobody looks it up
        ("#1 fire", "", ("",), 0.5),  # an assistant with nothing to say
        ("#1 fire", "", None, 0.5),  # no assistant
    ],
)
def test_the_assistant_by_itself(first: str, second: str, aids: tuple[str, ...] | None, probability: float) -> None:
    assert AssistantAlone(TASK).probability(Question(SHIFT, first, second, aids=aids)) == probability


def test_taste_counts_whole_words_once_each_and_answers_by_the_lead() -> None:
    assert liked_words("A Fire; the fire, wildfire. Nothing!", ("fire", "nothing", "jam")) == 2
    rater = TasteRater(("fire", "jam"))
    # One word more is 1.5 logits: 1 / (1 + e^-1.5) = 0.8176.
    assert rater.probability(Question(SHIFT, "fire", "calm")) == pytest.approx(0.8176, abs=1e-4)
    assert rater.probability(Question(SHIFT, "fire jam", "calm")) == pytest.approx(0.9526, abs=1e-4)
    with pytest.raises(InvalidInput, match="at least one word"):
        TasteRater(())
