"""Fit: an ensemble of reward models learns from the final answers of a level."""

from collections.abc import Mapping
from dataclasses import asdict

import torch

from reward_models.calibration import accuracy, brier, ece, fit_temperature, probabilities, spearman
from reward_models.ensemble import Ensemble
from reward_models.fitting import FitSettings, fit
from reward_models.losses import bradley_terry
from rrm.errors import RunError
from rrm.judging.final import final_answers
from rrm.steps.reading import features_of
from rrm.store import (
    ArtifactKind,
    Judgement,
    Purpose,
    comparison,
    label_of,
    register_artifact,
    utc_now,
)
from rrm.tasks.task import Split
from rrm.workbench import Workbench, artifact_id

Pairs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Features of the first and of the second completions, (comparisons, features) each, and labels (comparisons,)."""


def fit_reward_model(bench: Workbench, *, level: int, round: int) -> Mapping[str, object]:
    """Fit on all training judgements of the level so far; figures come from the held-out ones."""
    settings = bench.config.reward
    identifier = artifact_id("reward-model", level, round)
    bench.progress.start("fit", settings.members)
    judged = final_judgements(bench, level=level, last_round=round, purpose=Purpose.TRAIN)
    first, second, labels = pairs(bench, judged, level=level, split=Split.TRAIN)
    result = fit(
        first,
        second,
        labels,
        feature_names=tuple(settings.features),
        settings=FitSettings(members=settings.members, rater_error=settings.rater_error),
        generator=bench.generator("fit", level, round),
    )
    held_out = final_judgements(bench, level=level, last_round=round, purpose=Purpose.VALIDATION)
    unseen = pairs(bench, held_out, level=level, split=Split.VALIDATION)
    folder = bench.model_folder(identifier)
    result.ensemble.save(folder)
    record = {
        "fit": asdict(result.record),
        "held_out": held_out_figures(result.ensemble, unseen),
        "held_out_predictions": held_out_predictions(result.ensemble, unseen),
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
    bench.progress.finish()
    return record


def final_judgements(bench: Workbench, *, level: int, last_round: int, purpose: Purpose) -> list[Judgement]:
    """The answers of a level up to a round that count, as `rrm.judging.final` says, round by round."""
    return [
        judgement
        for round in range(last_round + 1)
        for judgement in final_answers(bench.run, level=level, round=round, purpose=purpose)
    ]


def pairs(bench: Workbench, judged: list[Judgement], *, level: int, split: Split) -> Pairs:
    """What the reward model sees of judged comparisons; without any there is nothing to fit or measure -> RunError."""
    if not judged:
        raise RunError(
            f"Level {level} has no {split.value} answers that count: all were skipped, undecided or left out. "
            "Judge some more, or take a rater in again under People."
        )
    asked = [comparison(bench.run, judgement.comparison_id) for judgement in judged]
    features: dict[str, torch.Tensor] = {}
    for round in sorted({one.round for one in asked}):
        features |= features_of(bench, level=level, round=round, split=split)
    return (
        torch.stack([features[one.first_completion_id] for one in asked]),
        torch.stack([features[one.second_completion_id] for one in asked]),
        torch.tensor([label_of(judgement.choice) for judgement in judged], dtype=torch.float64),
    )


def held_out_figures(ensemble: Ensemble, held_out: Pairs) -> dict[str, object]:
    """How well the ensemble predicts judgements that it never saw."""
    first, second, labels = held_out
    members = (ensemble.scores(first) - ensemble.scores(second)).double()
    differences = members.mean(dim=0)
    predicted = probabilities(differences)
    # From the scores: a probability that rounds to 0 or 1 would have an infinite loss, which no record can hold.
    loss = bradley_terry(differences, torch.zeros_like(differences), labels)
    spread = torch.sigmoid(members).std(dim=0, correction=0)
    return {
        "comparisons": len(labels),
        "accuracy": accuracy(predicted, labels),
        "nll": float(loss.mean()),
        "brier": brier(predicted, labels),
        "ece": ece(predicted, labels),
        "temperature": fit_temperature(differences, labels),
        "spread_error_spearman": spearman(spread, (predicted - labels).abs()),
    }


def held_out_predictions(ensemble: Ensemble, held_out: Pairs) -> list[list[float]]:
    """For each held-out judgement the predicted probability that the first is better, and the label."""
    first, second, labels = held_out
    differences = (ensemble.scores(first) - ensemble.scores(second)).double().mean(dim=0)
    found: list[list[float]] = torch.stack([probabilities(differences), labels], dim=1).tolist()
    return found
