"""Objectives compared on one reward model: the run is only read, and what is finished is not done again."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest
import torch

from agents.objectives.rloo import RLOO
from agents.policy import Policy
from agents.regularizer import AdaptivePenalty, FixedPenalty
from agents.rollout import rollout
from agents.sources import OnPolicy, generator_of
from agents.training import StepRecord, TrainSettings, train
from reward_models.errors import ArtifactError, InvalidInput
from rrm.contest.contest import Terms, compare, setting_of, settings_for
from rrm.contest.examined_training import CHECKPOINT, FILE_NAME, examined_training
from rrm.contest.examining import COMPLETIONS, Examiner, Gold
from rrm.contest.result import Contest
from rrm.contest.trajectory import Examination
from rrm.errors import ConfigurationError, RunError
from rrm.opening import open_workbench
from rrm.starting import start_run
from rrm.store.artifacts import file_digests
from rrm.store.run import DATABASE_FILE, LOCK_FILE
from rrm.tasks.task import Split
from rrm.workbench import Workbench
from tests.rrm.small_runs import SMALL

TERMS = Terms(objectives=("rloo",), seeds=2, steps=3, kl=0.1)


@contextmanager
def opened(folder: Path) -> Iterator[Workbench]:
    with open_workbench(folder, exclusive=False) as bench:
        yield bench


def contents(folder: Path) -> tuple[dict[str, str], str]:
    """Digests of a run's files but for the lock, the comparison and the database, and all rows of that."""
    beside = {DATABASE_FILE, f"{DATABASE_FILE}-wal", f"{DATABASE_FILE}-shm", LOCK_FILE}
    files = {
        name: value
        for name, value in file_digests(folder).items()
        if name not in beside and not name.startswith("compare/")
    }
    with closing(sqlite3.connect(folder / DATABASE_FILE)) as connection:
        return files, "\n".join(connection.iterdump())


@dataclass(frozen=True)
class Done:
    """A comparison that was made, in a run of its own."""

    folder: Path
    before: tuple[dict[str, str], str]
    found: Contest


@pytest.fixture(scope="module")
def done(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = Path(shutil.copytree(finished, tmp_path_factory.mktemp("contest") / "run"))
    before = contents(folder)
    with opened(folder) as bench:
        return Done(folder, before, compare(bench, TERMS))


def kept(folder: Path) -> dict[Path, int]:
    """The files of trainings and pools, and when they were written."""
    names = (FILE_NAME, "pools-*.safetensors")
    return {path: path.stat().st_mtime_ns for name in names for path in (folder / "compare").rglob(name)}


def test_the_run_is_only_read(done: Done) -> None:
    assert contents(done.folder) == done.before
    assert not list((done.folder / "compare").rglob(CHECKPOINT))


def test_what_is_finished_is_not_done_again_and_results_go_where_they_are_wanted(done: Done, tmp_path: Path) -> None:
    files = kept(done.folder)
    assert len(files) == 4  # two seeds, trained and searched
    with opened(done.folder) as bench:
        again = compare(bench, TERMS, out=tmp_path / "out")
    assert kept(done.folder) == files
    assert again.to_json() == done.found.to_json()
    assert json.loads(again.json_path.read_text()) == again.to_json()
    assert again.figure_path == tmp_path / "out" / "compare.png" and again.figure_path.stat().st_size > 1000


def test_the_result_says_everything(done: Done) -> None:
    written = json.loads((done.folder / "compare" / "compare.json").read_text())
    assert written["setting"]["kl"] == 0.1 and written["setting"]["steps"] == 3
    found = done.found.trajectories["rloo"]
    assert written["trajectories"]["rloo"] == [[asdict(one) for one in way.examinations] for way in found]
    assert [row["name"] for row in written["standings"]] == ["rloo", "best of 2", "quantilizer"]
    # The base is examined first: it has moved nowhere. Then every step, as there are fewer than examinations.
    assert [one.step for one in found[0].examinations] == [0, 1, 2, 3]
    assert found[0].examinations[0].kl == pytest.approx(0.0, abs=1e-5)
    # Seeds begin at the same examination and part ways.
    assert found[0].examinations[0] == found[1].examinations[0]
    assert found[0].end != found[1].end


def test_other_terms_do_not_meet_the_trainings_of_these(copied: Path) -> None:
    # Two steps: in the first one KL is 0 and has no gradient, so that its price is no matter.
    short = Terms(objectives=("rloo",), seeds=1, steps=2, kl=0.1)
    with opened(copied) as bench:
        steered = compare(bench, short)
        priced = compare(bench, replace(short, beta=5.0))
        with pytest.raises(RunError, match="No reward model is fitted at level 0, round 7"):
            compare(bench, short, level=0, round=7)
    assert steered.trajectories["rloo"][0].end != priced.trajectories["rloo"][0].end
    assert len([path for path in (copied / "compare").iterdir() if path.is_dir()]) == 2


def test_all_that_a_training_depends_on_names_its_folder(finished: Path) -> None:
    """Another reward model under the same name, another way to be conservative, another step size."""
    with opened(finished) as bench:
        model = bench.reward_model(0, 0)
        same, changed = replace(model, created_at="later"), replace(model, files={"heads.safetensors": "0" * 64})
        cautious = bench.config.reward.model_copy(update={"coefficient": 2.0})
        slower = bench.config.agent.model_copy(update={"learning_rate": 1e-4})
        other = bench.config.agent.model_copy(update={"objective": "ppo", "kl_target": 9.0})
        settings = [
            setting_of(replace(bench, config=bench.config.model_copy(update=update)), TERMS, model)
            for update in ({"reward": cautious}, {"agent": slower}, {"agent": other})
        ]
        plain = setting_of(bench, TERMS, model)
        assert plain == setting_of(bench, TERMS, same) == settings[2]
        assert plain not in (settings[0], settings[1], setting_of(bench, TERMS, changed))


def test_a_run_without_a_reward_model_is_one_sentence(tmp_path: Path) -> None:
    start_run(tmp_path / "run", list(SMALL))
    with opened(tmp_path / "run") as bench, pytest.raises(RunError, match=r"No reward model is fitted at level 0 of"):
        compare(bench, TERMS)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"objectives": ("rloo", "magic")}, "No objective is called 'magic'; choose of rloo"),
        ({"objectives": ()}, "none was given"),
        ({"objectives": ("rloo", "rloo")}, "Name each objective once"),
        ({"objectives": ("rloo",), "kl": 0.0}, "KL above 0"),
        ({"objectives": ("rloo",), "kl": 40.0}, "would need more than"),
    ],
)
def test_terms_that_cannot_be_met_are_refused(asked: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Terms(**asked)  # type: ignore[arg-type]


def test_an_objective_that_does_not_go_with_the_run_is_refused_before_anything_is_trained(copied: Path) -> None:
    """The small run has groups of three, which four buckets do not divide; DPO has no aim at beta = 0."""
    with opened(copied) as bench:
        with pytest.raises(ConfigurationError, match="reward_conditioned cannot be trained with the agent settings"):
            compare(bench, Terms(objectives=("rloo", "reward_conditioned"), seeds=1, steps=1, kl=0.1))
        with pytest.raises(ConfigurationError, match=r"online_dpo cannot be trained.* beta must be above 0"):
            compare(bench, Terms(objectives=("rloo", "online_dpo"), seeds=1, steps=1, kl=0.1, beta=0.0))
    assert not (copied / "compare").exists()


def test_a_price_of_zero_is_steered_from_above_zero(finished: Path) -> None:
    with opened(finished) as bench:
        free = replace(
            bench, config=bench.config.model_copy(update={"agent": bench.config.agent.model_copy(update={"beta": 0.0})})
        )
        assert settings_for(free, TERMS, "online_dpo").beta == AdaptivePenalty().beta
        assert settings_for(free, replace(TERMS, beta=0.7), "online_dpo").beta == 0.7
        assert settings_for(bench, TERMS, "ppo").beta == bench.config.agent.beta


def test_all_are_steered_or_all_pay_one_price() -> None:
    assert TERMS.regularizer(0.3) == AdaptivePenalty(beta=0.3, target=0.1)
    assert Terms(objectives=("rloo",), beta=0.2).regularizer(0.3) == FixedPenalty(0.2)


class Small:
    """A training of a few steps on two documents, with everything that it needs."""

    def __init__(self, bench: Workbench) -> None:
        documents = bench.documents(split=Split.TEST, level=0, count=2)
        self.base = bench.base
        self.prompts = [bench.task.prompt(document) for document in documents]
        self.gold = Gold(bench.task, documents)
        self.examiner = Examiner(bench.base, self.prompts, proxy=self.gold, gold=self.gold, max_new_tokens=12, seed=3)

    def train(self, policy: Policy, folder: Path, *, stop_after: int = 100, steps: int = 4) -> list[Examination]:
        def watch(record: StepRecord, _: Examination) -> None:
            if record.step + 1 > stop_after:
                raise KeyboardInterrupt

        found = examined_training(
            policy,
            **self.parts(steps),  # type: ignore[arg-type]
            examiner=self.examiner,
            every=2,
            folder=folder,
            on_step=watch,
        )
        return list(found.examinations)

    def parts(self, steps: int) -> dict[str, object]:
        return {
            "source": OnPolicy(self.prompts, self.gold, prompts_per_step=2, group=4, max_new_tokens=12),
            "objective": RLOO(),
            "regularizer": FixedPenalty(0.1),
            "settings": TrainSettings(steps=steps, checkpoint_every=1),
            "seed": 5,
        }


def weights(policy: Policy) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in policy.model.parameters()])


def test_examinations_change_nothing_in_a_training(finished: Path, tmp_path: Path) -> None:
    with opened(finished) as bench:
        small = Small(bench)
        examined, alone = bench.base.copy(), bench.base.copy()
        steps = [one.step for one in small.train(examined, tmp_path / "a", steps=3)]
        train(alone, bench.base, **small.parts(3))  # type: ignore[arg-type]
    assert steps == [0, 2, 3]  # and after the last step, whatever the distance
    assert torch.equal(weights(examined), weights(alone))


def test_an_interrupted_training_ends_as_if_it_had_not_been(finished: Path, tmp_path: Path) -> None:
    with opened(finished) as bench:
        small = Small(bench)
        whole = small.train(bench.base.copy(), tmp_path / "whole")
        for stop in (2, 3):
            with pytest.raises(KeyboardInterrupt):
                small.train(bench.base.copy(), tmp_path / "cut", stop_after=stop)
        resumed = bench.base.copy()
        assert small.train(resumed, tmp_path / "cut") == whole
        # Finished: it is read, and the policy that is handed in stays as it is.
        untouched = bench.base.copy()
        assert small.train(untouched, tmp_path / "cut") == whole
        assert torch.equal(weights(untouched), weights(bench.base))
    assert not (tmp_path / "cut" / CHECKPOINT).exists()


def test_a_damaged_record_of_a_training_is_named(finished: Path, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('{"finished": true}')
    with opened(finished) as bench, pytest.raises(ArtifactError, match="is no record of a training"):
        Small(bench).train(bench.base.copy(), tmp_path)


def test_an_examination_is_what_the_samples_say(finished: Path) -> None:
    """One prompt at a time through the task and the policy's own figures: the sums add up to the means."""
    with opened(finished) as bench:
        small = Small(bench)
        document = bench.documents(split=Split.TEST, level=0, count=1)[0]
        one = Examiner(
            bench.base,
            small.prompts[:1],
            proxy=lambda rollouts: rollouts.samples.mask.sum(dim=1).double(),
            gold=small.gold,
            max_new_tokens=12,
            seed=3,
        )
        drawn = rollout(
            bench.base,
            bench.base,
            small.prompts[:1],
            group=COMPLETIONS,
            max_new_tokens=12,
            generator=generator_of("examination", seed=3, number=0),
        )
        texts = drawn.samples.completions
        golds = [bench.task.gold(document, text).utility for text in texts]
        found = one(bench.base, step=7)
    assert found.step == 7
    assert found.gold == pytest.approx(sum(golds) / COMPLETIONS)
    assert found.proxy == found.tokens == pytest.approx(float(drawn.samples.mask.sum()) / COMPLETIONS)
    assert found.distinct == len(set(texts)) / COMPLETIONS
    assert found.entropy == pytest.approx(float(drawn.entropy.sum() / drawn.samples.mask.sum()))


def test_gold_is_of_the_document_of_the_prompt(finished: Path) -> None:
    """The same texts are worth something else under another document's prompt."""
    with opened(finished) as bench:
        documents = bench.documents(split=Split.TEST, level=0, count=2)
        small = Small(bench)
        drawn = rollout(
            bench.base,
            bench.base,
            small.prompts,
            group=3,
            max_new_tokens=24,
            generator=torch.Generator().manual_seed(0),
        )
        owners = [document for document in documents for _ in range(3)]
        expected = [
            bench.task.gold(document, text).utility
            for document, text in zip(owners, drawn.samples.completions, strict=True)
        ]
        swapped = [
            bench.task.gold(document, text).utility
            for document, text in zip(owners[::-1], drawn.samples.completions, strict=True)
        ]
        assert small.gold(drawn).tolist() == pytest.approx(expected)
    assert expected != swapped
