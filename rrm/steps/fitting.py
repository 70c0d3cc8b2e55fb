"""Fit: an ensemble of reward models learns from the final answers of a level."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rrm.errors import RunError
from rrm.judging.final import final_answers
from rrm.orders import call
from rrm.rewards.answers import Answers, answers_to
from rrm.rewards.fitting import Fitted, fit_rewards
from rrm.rewards.models import AbstractRewards, features_read
from rrm.rewards.records import before_record, held_out_record
from rrm.steps.reading import read_asked
from rrm.store import ArtifactKind, Judgement, Purpose, comparison, register_artifact, utc_now
from rrm.tasks.task import Split
from rrm.workbench import Workbench, artifact_id


def fit_reward_model(bench: Workbench, *, level: int, round: int) -> Mapping[str, object]:
    """Fit on all training judgements of the level so far; figures come from the held-out ones."""
    settings = bench.config.reward
    identifier = artifact_id("reward-model", level, round)
    bench.progress.start("fit", settings.members)
    before = bench.rewards(bench.reward_model(level, round - 1)) if round > 0 else None
    names = tuple(dict.fromkeys((*features_read(settings), *(before.reads if before is not None else ()))))
    judged = final_judgements(bench, level=level, last_round=round, purpose=Purpose.TRAIN)
    answers = answers_of(bench, judged, level=level, split=Split.TRAIN, names=names)
    if settings.kind != "heads":  # which are fitted too quickly to be worth dividing
        call("fit", level=level, round=round)
    fitted = _fit(bench, answers, level=level, round=round)
    held_out = final_judgements(bench, level=level, last_round=round, purpose=Purpose.VALIDATION)
    unseen = answers_of(bench, held_out, level=level, split=Split.VALIDATION, names=names)
    folder = bench.model_folder(identifier)
    fitted.rewards.save(folder)
    record = {
        "fit": fitted.record,
        **held_out_record(bench.run, fitted.rewards, unseen),
        "before": None if before is None else _before(bench, before, answers, unseen, level=level, round=round),
    }
    register_artifact(
        bench.run,
        id=identifier,
        kind=ArtifactKind.REWARD_MODEL,
        level=level,
        round=round,
        folder=str(folder.relative_to(bench.run.folder)),
        settings=bench.config.reward.model_dump(mode="json"),
        judgements=judged,
        now=utc_now(),
    )
    _unfinished(bench, identifier).unlink(missing_ok=True)
    bench.progress.finish()
    return record


def fit_beside(bench: Workbench, *, level: int, round: int) -> None:
    """What a process beside the main one does for a fit by gradient; nothing is kept of it."""
    judged = final_judgements(bench, level=level, last_round=round, purpose=Purpose.TRAIN)
    _fit(bench, answers_of(bench, judged, level=level, split=Split.TRAIN, names=()), level=level, round=round)


def _fit(bench: Workbench, answers: Answers, *, level: int, round: int) -> Fitted:
    return fit_rewards(
        answers,
        settings=bench.config.reward,
        generator=bench.generator("fit", level, round),
        backbone=bench.backbone,
        chat=bench.base.chat,
        checkpoint=_unfinished(bench, artifact_id("reward-model", level, round)),
        watch=lambda stage: bench.progress.note(stage.words),
    )


def _unfinished(bench: Workbench, identifier: str) -> Path:
    """Where a fit keeps how far it is."""
    return bench.run.folder / "checkpoints" / f"{identifier}.safetensors"


def _before(
    bench: Workbench, before: AbstractRewards, answers: Answers, held_out: Answers, *, level: int, round: int
) -> Mapping[str, object]:
    """How the model of the round before does on what was asked in this one."""
    new, unseen = (one.where(lambda asked: asked.round == round) for one in (answers, held_out))
    return before_record(bench.run, artifact_id("reward-model", level, round - 1), before, asked=new, held_out=unseen)


def final_judgements(bench: Workbench, *, level: int, last_round: int, purpose: Purpose) -> list[Judgement]:
    """The answers of a level up to a round that count, as `rrm.judging.final` says, round by round."""
    return [
        judgement
        for round in range(last_round + 1)
        for judgement in final_answers(bench.run, level=level, round=round, purpose=purpose)
    ]


def answers_of(
    bench: Workbench, judged: Sequence[Judgement], *, level: int, split: Split, names: Sequence[str]
) -> Answers:
    """Judged comparisons as a reward model reads them; without any there is nothing to fit or measure -> RunError."""
    if not judged:
        raise RunError(
            f"Level {level} has no {split.value} answers that count: all were skipped, undecided or left out. "
            "Judge some more, or take a rater in again under People."
        )
    asked = [comparison(bench.run, judgement.comparison_id) for judgement in judged]
    return answers_to(asked, judged, read_asked(bench, asked, level=level, split=split, names=names))
