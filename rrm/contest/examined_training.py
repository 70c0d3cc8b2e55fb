"""A training that is examined as it goes, and that a kill costs no more than the steps since its last checkpoint."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agents.objectives.objective import AbstractObjective
from agents.policy import Policy
from agents.regularizer import AbstractRegularizer
from agents.sources import AbstractSource
from agents.training import StepRecord, TrainSettings, train
from reward_models.errors import ArtifactError
from rrm.contest.examining import Examiner
from rrm.contest.trajectory import Examination, Trajectory
from rrm.writing import write_whole

FILE_NAME = "trajectory.json"
CHECKPOINT = "checkpoint"


def examined_training(
    policy: Policy,
    *,
    source: AbstractSource,
    objective: AbstractObjective,
    regularizer: AbstractRegularizer,
    settings: TrainSettings,
    seed: int,
    examiner: Examiner,
    every: int,
    folder: Path,
    on_step: Callable[[StepRecord, Examination], None] | None = None,
) -> Trajectory:
    """Train `policy` in place and examine it before the first step, every so many steps, and after the last.

    A training that is finished in `folder` is only read, and `policy` stays as it was; one that was interrupted goes
    on. `folder` must belong to this training alone: an interrupted one with other settings -> ArtifactError. `on_step`
    gets the record of each step with the last examination.
    """
    done = finished_training(folder)
    if done is not None:
        return done
    kept = _read(folder)
    found = {one.step: one for one in ([] if kept is None else _trajectory(kept).examinations)}
    if 0 not in found:
        found[0] = examiner(policy, step=0)

    def look(record: StepRecord) -> None:
        step = record.step + 1
        if step % every == 0 or step == settings.steps:
            found[step] = examiner(policy, step=step)
            # Before the checkpoint of this step: whatever is after an examination on disk can be done again.
            _write(folder, _kept(found, seconds=0.0, finished=False))
        if on_step is not None:
            on_step(record, found[max(found)])

    records = train(
        policy,
        examiner.base,
        source=source,
        objective=objective,
        regularizer=regularizer,
        settings=settings,
        seed=seed,
        checkpoint=folder / CHECKPOINT,
        on_step=look,
    )
    if records and len(records) not in found:
        # The regularizer ended the training between two examinations.
        found[len(records)] = examiner(policy, step=len(records))
    whole = _kept(found, seconds=sum(record.seconds for record in records), finished=True)
    _write(folder, whole)
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
    return _trajectory(whole)


def finished_training(folder: Path) -> Trajectory | None:
    """What a training in this folder came to; None if it is not over. Raises ArtifactError if its file is damaged."""
    kept = _read(folder)
    return _trajectory(kept) if kept is not None and kept["finished"] else None


def _kept(found: dict[int, Examination], *, seconds: float, finished: bool) -> dict[str, Any]:
    """What the file of a training holds."""
    rows = [asdict(found[step]) for step in sorted(found)]
    return {"finished": finished, "seconds": seconds, "examinations": rows}


def _trajectory(kept: dict[str, Any]) -> Trajectory:
    return Trajectory(tuple(Examination(**row) for row in kept["examinations"]), kept["seconds"])


def _write(folder: Path, kept: dict[str, Any]) -> None:
    text = json.dumps(kept, indent=1, allow_nan=False)
    write_whole(folder / FILE_NAME, f"{text}\n".encode())


def _read(folder: Path) -> dict[str, Any] | None:
    path = folder / FILE_NAME
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        _trajectory(found)
        return {"finished": bool(found["finished"]), **found}
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"'{path}' is no record of a training ({error}); delete it to train anew.") from error
