"""The arms of a study: what they share, who answers in each, and that each is an ordinary run."""

import shutil
from pathlib import Path

import pytest

from rrm.arms import JUDGING, Arm, ArmLevel, GoldRater, begin_ladder, copy_run, play_arm, prepare_trunk
from rrm.config import FILE_NAME
from rrm.config_file import read_config
from rrm.errors import ConfigurationError
from rrm.judging.raters import AssistantAlone, Question, SimulatedReader
from rrm.opening import open_workbench
from rrm.progress import SilentProgress
from rrm.store import Run, StoredCompletion, artifacts, completions, live_judgements, steps
from rrm.store.verify import verify
from rrm.tasks.document import Document
from rrm.tasks.shiftlog.task import Shiftlog
from rrm.tasks.task import AbstractTask, Split
from rrm.workbench import BASE
from tests.rrm.small_runs import SMALL

SILENT = SilentProgress()
Played = dict[Arm, tuple[ArmLevel, ...]]


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trunk, and level 0 played on a copy of it."""
    folder = tmp_path_factory.mktemp("study")
    prepare_trunk(folder / "trunk", overrides=SMALL, progress=SILENT)
    begin_ladder(folder / "level-0", trunk=folder / "trunk", progress=SILENT)
    return folder


@pytest.fixture(scope="module")
def played(ladder: Path) -> Played:
    """Two arms, climbed: one that begins with level 0 as it was played, and one that begins with the trunk."""
    return {
        arm: play_arm(arm, ladder / arm.value, begun=ladder / begun, progress=SILENT)
        for arm, begun in ((Arm.ASSISTED, "level-0"), (Arm.GOLD, "trunk"))
    }


def base_samples(folder: Path) -> list[StoredCompletion]:
    """What the base wrote of training and validation documents, at all levels."""
    with Run.open(folder) as run:
        return [one for level in (0, 1) for one in completions(run, level=level, round=0, agent_id=BASE)]


def test_arms_share_what_the_base_wrote_bit_for_bit(ladder: Path, played: Played) -> None:
    shared = base_samples(ladder / "trunk")
    # 12 training and 8 validation documents with 4 completions each, at 2 levels.
    assert len(shared) == 2 * (12 + 8) * 4
    identifiers = {one.id for one in shared}
    for arm in played:
        assert [one for one in base_samples(ladder / arm.value) if one.id in identifiers] == shared


def test_arms_share_the_measured_briefs(ladder: Path, played: Played) -> None:
    results = []
    for name in ("trunk", *(arm.value for arm in played)):
        with Run.open(ladder / name) as run:
            results.append([one.result for one in steps(run) if one.name == "test-base"])
    assert len(results[0]) == 2
    assert results[1:] == results[:1] * 2
    for level in (0, 1):
        assert played[Arm.GOLD][level].base == played[Arm.ASSISTED][level].base
        assert played[Arm.GOLD][level].comparisons == played[Arm.ASSISTED][level].comparisons


def test_level_0_is_the_same_in_all_arms_but_gold(ladder: Path, played: Played) -> None:
    def answers(name: str) -> list[tuple[str, str, str]]:
        with Run.open(ladder / name) as run:
            return [(one.comparison_id, one.rater_id, one.choice) for one in live_judgements(run, level=0)]

    assert answers("level-0") == answers(Arm.ASSISTED.value)
    assert {rater for _, rater, _ in answers("level-0")} == {"reader"}
    assert {rater for _, rater, _ in answers(Arm.GOLD.value)} == {"gold"}


def test_gold_is_always_right(played: Played) -> None:
    assert [level.label_accuracy for level in played[Arm.GOLD]] == [1.0, 1.0]
    assert all(0.0 < level.label_accuracy < 1.0 for level in played[Arm.ASSISTED])


def test_every_arm_is_a_whole_run(ladder: Path, played: Played) -> None:
    for name in ("trunk", "level-0", *(arm.value for arm in played)):
        assert verify(ladder / name) == []
    with Run.open(ladder / Arm.GOLD.value) as run:
        assert {one.id for one in artifacts(run)} == {
            "reward-model-0-0", "agent-0-0", "reward-model-1-0", "agent-1-0",
        }  # fmt: skip


def test_an_arm_played_again_says_the_same_and_does_nothing(ladder: Path, played: Played) -> None:
    def done(folder: Path) -> list[object]:
        with Run.open(folder) as run:
            return steps(run)  # type: ignore[return-value]

    before = done(ladder / Arm.ASSISTED.value)
    again = play_arm(Arm.ASSISTED, ladder / Arm.ASSISTED.value, begun=ladder / "level-0", progress=SILENT)
    assert again == played[Arm.ASSISTED]
    prepare_trunk(ladder / "trunk", overrides=SMALL, progress=SILENT)
    assert [one.finished_at for one in done(ladder / Arm.ASSISTED.value)] == [one.finished_at for one in before]  # type: ignore[attr-defined]


def test_a_gold_run_opened_by_hand_waits_for_people(ladder: Path, played: Played) -> None:
    with open_workbench(ladder / Arm.GOLD.value) as bench:
        assert bench.rater is None
        assert bench.assistant(1) is None


def test_no_configuration_can_name_the_gold_rater(tmp_path: Path, ladder: Path) -> None:
    with pytest.raises(ConfigurationError, match="simulated"):
        read_config(ladder / "trunk" / FILE_NAME, ["judging.rater=gold"])


@pytest.mark.parametrize(
    ("arm", "rater", "assistant"),
    [
        (Arm.ALONE, SimulatedReader, None),
        (Arm.ASSISTANT, AssistantAlone, "agent"),
        (Arm.ASSISTED, SimulatedReader, "agent"),
        (Arm.UNTRAINED, SimulatedReader, BASE),
        (Arm.GOLD, type(None), None),
    ],
)
def test_who_answers_and_who_helps(arm: Arm, rater: type, assistant: str | None, ladder: Path, tmp_path: Path) -> None:
    copy_run(ladder / "level-0", tmp_path / "arm", JUDGING[arm])
    with open_workbench(tmp_path / "arm") as bench:
        assert type(bench.rater) is rater
        expected = bench.incumbent(0) if assistant == "agent" else assistant
        assert bench.assistant(1) == expected
        assert bench.assistant(0) is None


def test_a_copy_is_whole_or_not_there(ladder: Path, tmp_path: Path) -> None:
    """What a killed copy left behind is thrown away, and a copy that is there is left as it is."""
    (tmp_path / ".arm.partial").mkdir()
    (tmp_path / ".arm.partial" / "left").write_text("behind")
    copy_run(ladder / "trunk", tmp_path / "arm", ["judging.aid=none"])
    assert [path.name for path in tmp_path.iterdir()] == ["arm"]
    assert not (tmp_path / "arm" / "left").exists()
    assert read_config(tmp_path / "arm" / FILE_NAME).judging.aid == "none"
    assert read_config(ladder / "trunk" / FILE_NAME).judging.aid == "part-briefs"
    (tmp_path / "arm" / "mine").write_text("stays")
    copy_run(ladder / "trunk", tmp_path / "arm", [])
    assert (tmp_path / "arm" / "mine").exists()
    shutil.rmtree(tmp_path / "arm")


def test_the_gold_rater_prefers_what_is_worth_more() -> None:
    """Of two lines about a fire the true one is worth (3 - 0.1) / 2, the false one (0 - 2 - 0.1) / 2."""
    task: AbstractTask = Shiftlog(seed=0)
    document = Document(id="shift", title="Shift", text="Day 1, early shift.\n#1 fire, pump 3. Seen.")
    question = Question(document, "#1 fire", "#1 injury")
    assert GoldRater(task).probability(question) == 1.0
    assert GoldRater(task).probability(question.swap()) == 0.0
    assert GoldRater(task).probability(Question(document, "", "All is well.")) == 0.5
    assert task.document(split=Split.TEST, level=0, index=0) == Shiftlog(seed=0).document(
        split=Split.TEST, level=0, index=0
    )
