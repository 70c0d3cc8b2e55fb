"""Sessions whose members read texts, that choose what is asked, and that pay a cautious reward."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rrm.errors import Stopped
from rrm.judging.queue import answer, draw_any
from rrm.opening import open_workbench
from rrm.own_text import score
from rrm.progress import AbstractProgress
from rrm.sessions import SessionKind, create_session, session_points
from rrm.sessions.changes import Changes
from rrm.sessions.choices import settings_in_words
from rrm.sessions.current import make_current, predictions_of, waiting
from rrm.sessions.learning import POINTS_BY_GRADIENT, shares
from rrm.sessions.reward_model import LAST_FIT, work_on_reward_model
from rrm.sessions.settings import checked_settings
from rrm.store import Choice, Purpose, Stage, artifact, comparison, utc_now
from rrm.store.waiting import reasons
from tests.rrm.session_runs import SETTINGS
from tests.rrm.test_sessions_learning import done, judge
from tests.ui.page.filled_runs import people_run

LORA: dict[str, object] = {"kind": "lora", "members": 2, "epochs": 4}


class Watching(AbstractProgress):
    """Keeps what it is shown, and stops where it is told to."""

    def __init__(self, stop: Callable[[str, int], bool] = lambda task, done: False) -> None:
        self.stop, self.task, self.done = stop, "", 0
        self.seen: list[tuple[str, int, int | None]] = []

    def start(self, task: str, total: int | None = None) -> None:
        self.task, self.done = task, 0
        self.seen.append((task, 0, total))

    def advance(self, count: int = 1) -> None:
        self.done += count
        self.seen.append((self.task, self.done, None))

    def note(self, text: str) -> None:
        if self.stop(self.task, self.done):
            raise Stopped("enough")

    def finish(self, summary: str = "") -> None:
        pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return people_run(tmp_path / "run", comparisons=120, documents=30)


def test_a_session_of_adapters_is_watched_stopped_resumed_and_asked(folder: Path) -> None:
    stopped = Watching(lambda task, done: task == LAST_FIT and done == 3)
    with open_workbench(folder, progress=stopped) as bench:
        judge(bench.run, 60)
        made = create_session(
            bench.run, kind=SessionKind.REWARD_MODEL, level=0, round=0, settings={**SETTINGS, **LORA},
            started_by="local", now=utc_now(),
        )  # fmt: skip
        with pytest.raises(Stopped):
            work_on_reward_model(bench, made)
        # Its last fit has a bar with a known end, and the shares before it are kept.
        assert any(task == LAST_FIT and total and total > 4 for task, _, total in stopped.seen)
        assert len(session_points(bench.run, made.id)) == len(shares(48, kind="lora")) - 1
    with open_workbench(folder, progress=(resumed := Watching())) as bench:
        result = work_on_reward_model(bench, made)
        # It goes on from the end of the first pass, not from the start.
        begun = [done for task, done, _ in resumed.seen if task == LAST_FIT and done]
        assert begun[0] > 1 and begun[-1] > begun[0]
        whole, _ = done(bench, **LORA)
        assert artifact(bench.run, made.id).files == artifact(bench.run, whole.id).files
        points = [point.record for point in session_points(bench.run, whole.id)]
        assert [point["judgements"] for point in points] == shares(48, kind="lora")
        assert result["honesty"] is not None and result["held_out"] is not None
        # What it went on from is larger than the model, and not needed any more.
        assert list((folder / "sessions").rglob("fit-*")) == []
        make_current(bench.run, whole.id, by="local", now=utc_now())
    first, second = score(folder, "#1 fire, pump 3.", ["#1 fire", "#2 jam"], level=0)
    assert first.mean != second.mean and first.conservative == pytest.approx(first.mean - 0.5 * first.spread, rel=1e-4)


def test_a_session_after_heads_compares_adapters_with_them_without_held_out_answers(folder: Path) -> None:
    with open_workbench(folder) as bench:
        judge(bench.run, 60, purposes=(Purpose.TRAIN,))
        first, _ = done(bench)
        make_current(bench.run, first.id, by="local", now=utc_now())
        _, told = done(bench, **LORA)
        changes = Changes.from_json(told["changes"])
        assert changes.before == first.id and changes.cross_validated
        # A third is kept apart where there are few: 16 of 48, as far as documents divide so.
        assert 8 <= changes.held_out <= 24
        assert told["held_out"] is None and told["honesty"] is None
        assert told["before"]["asked"] == []


def test_what_is_asked_follows_the_session_s_own_rule(folder: Path) -> None:
    with open_workbench(folder) as bench:
        judge(bench.run, 30)
        made, told = done(bench, acquisition="bald", random_share=0.5, diversity=1.0)
        assert told["before"] is None
        predicted = {one.comparison_id: one for one in predictions_of(bench.run, made.id)}
        waits = [identifier for _, identifier in waiting(bench.run, tuple(predicted))[0]]
        assert sorted(predicted[one].order for one in waits) == list(range(len(waits)))  # type: ignore[type-var]
        assert all(one.order is None for one in predicted.values() if one.comparison_id not in waits)
        make_current(bench.run, made.id, by="local", now=utc_now())
        found = list(reasons(bench.run, waits).values())
        # Half of each block of twenty, and of the last one half, rounded up.
        assert found.count("random") == -(-len(waits) // 2) and set(found) == {"random", "bald"}
        # What is answered now was chosen by that model, and the next session says how it did on it.
        train = [one for one in draw_any(bench.run, rater_id="ann", count=120, now=utc_now())
                 if one.comparison.purpose is Purpose.TRAIN][:30]  # fmt: skip
        for one in train:
            answer(bench.run, one.lease_id, stage=Stage.ALONE, choice=Choice.FIRST, now=utc_now())
        _, told = done(bench)
        asked = {part["name"]: part["comparisons"] for part in told["before"]["asked"]}
        assert told["before"]["model"] == made.id
        assert asked == {"random": 15, "bald": 15} or sum(asked.values()) == 30
        assert {comparison(bench.run, one.comparison.id).round for one in train} == {0}


def test_the_agreement_of_the_reward_is_that_of_its_ranking(folder: Path) -> None:
    with open_workbench(folder) as bench:
        # Answers that contradict each other leave the members unsure.
        judge(bench.run, 60)
        judge(bench.run, 60, shorter=False)
        _, plain = done(bench, conservative="mean")
        _, cautious = done(bench, conservative="lower", coefficient=30.0)
        assert plain["changes"]["accuracy_of_reward"] == pytest.approx(plain["changes"]["accuracy_after"])
        assert cautious["changes"]["accuracy_after"] == plain["changes"]["accuracy_after"]
        assert cautious["changes"]["accuracy_of_reward"] != plain["changes"]["accuracy_of_reward"]


def test_a_fit_by_gradient_has_fewer_points() -> None:
    assert shares(800, kind="full") == [100, 200, 400, 800]
    assert len(shares(800, kind="lora")) == POINTS_BY_GRADIENT < len(shares(800))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {},
            (
                "3 heads that read how likely the words are, what the text says (summed); ",
                "asks by disagreement, 20% at random",
                "disagreement, c = 0.5",
            ),
        ),
        ({"kind": "lora"}, ("3 LoRA adapters that read the texts themselves; ",)),
        ({"acquisition": "random", "conservative": "min"}, ("asks at random", "reward: lowest of the members")),
        ({"acquisition": "bald", "diversity": 0.5}, ("by expected information, varied by 0.5, 20% at random",)),
    ],
)
def test_settings_are_told_in_words(settings: dict[str, object], said: tuple[str, ...]) -> None:
    words = settings_in_words(checked_settings({**SETTINGS, **settings}))
    assert all(part in words for part in said), words
