"""What best-of-n really earns as it trusts a learned reward further: one model against conservative ensembles.

On the embedded task. The pools are completions of test documents by the shipped base model. Every seed fits its reward
models on comparisons of training documents of its own, labelled by the gold difference (sharp, as Gao et al. 2023), of
which 0% or 25% are flipped (Coste et al. 2024). There are two baselines without an ensemble: `one model`, fitted on all
comparisons of its seed, and `members alone`, the average of the curves of the ensemble's members, each by itself: the
strict one and that of Coste et al. And there are two kinds of ensembles: members that read the `same features` and
differ by bootstrap weights and random starts, as a run fits them, and members that read `random halves` of the hidden
features (and all likelihood statistics) and differ by bootstrap weights as well. Best-of-n is the unbiased estimate
from the pool; gains are over n = 1 and averaged over documents; intervals are Student's t over seeds. The law
d (alpha - beta d) is fitted on n <= 256 of the average curve and tested on larger n.
Run: python -m benchmarks.overoptimization [--quick] [--seeds 20] [--documents 40] [--cache FOLDER] [--figures FOLDER]
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from benchmarks.completion_pools import Pool, pools
from benchmarks.overoptimization_curves import (
    REWARDS,
    SIZES,
    Curves,
    Lead,
    best_of_n_curves,
    curves_of,
    finding,
    summary_of,
)
from benchmarks.overoptimization_figure import draw
from benchmarks.overoptimization_models import (
    COMPARISONS_A_DOCUMENT,
    FEATURES,
    KINDS,
    Kind,
    comparisons,
    ensemble_scores,
    one_model,
)
from rrm.figures import save_figure
from rrm.statistics import Estimate
from rrm.tasks.task import Split

LEVEL = 1
FLIPS = (0.0, 0.25)
COMPLETIONS_A_TRAINING_DOCUMENT = 8
TRAINING_FROM = 2000
"""First training document; those before it belonged to the development of this benchmark."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--documents", type=int, default=40, help="test documents, 4,096 completions each")
    parser.add_argument("--training-documents", type=int, default=80, help="of each seed, two comparisons each")
    parser.add_argument("--members", type=int, default=20)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS[:1], help="ensembles; halves take long")
    parser.add_argument("--quick", action="store_true", help="two seeds, four documents, no figures")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "rrm-benchmarks")
    parser.add_argument("--figures", type=Path, help="folder for overoptimization.png and overoptimization.json")
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    seeds, documents = (2, 4) if wanted.quick else (wanted.seeds, wanted.documents)
    tested = _pools(Split.TEST, first=0, count=documents, samples=max(SIZES), cache=wanted.cache)
    found = {
        flips: measure(
            tested,
            flips=flips,
            seeds=seeds,
            documents=wanted.training_documents,
            members=wanted.members,
            kinds=wanted.kinds,
            cache=wanted.cache,
        )
        for flips in FLIPS
    }
    for flips, by_kind in found.items():
        for kind, curves in by_kind.items():
            show(curves, flips=flips, title=f"gold over n = 1, {flips:.0%} flipped, {kind}")
    summary = {
        "level": LEVEL,
        "documents": documents,
        "samples": max(SIZES),
        "seeds": seeds,
        "comparisons": wanted.training_documents * COMPARISONS_A_DOCUMENT,
        "members": wanted.members,
        "flips": {
            f"{flips:.2f}": {kind: summary_of(curves, flips=flips) for kind, curves in by_kind.items()}
            for flips, by_kind in found.items()
        },
    }
    if wanted.figures is not None and not wanted.quick:
        wanted.figures.mkdir(parents=True, exist_ok=True)
        save_figure(draw(found), wanted.figures / "overoptimization.png")
        curves_found = {
            f"{flips:.2f}": {kind: curves_of(curves) for kind, curves in by_kind.items()}
            for flips, by_kind in found.items()
        }
        whole = summary | {"sizes": SIZES, "curves": curves_found}
        (wanted.figures / "overoptimization.json").write_text(json.dumps(whole, indent=1) + "\n")
    print(json.dumps(summary))


def measure(
    tested: Sequence[Pool],
    *,
    flips: float,
    seeds: int,
    documents: int,
    members: int,
    kinds: Sequence[Kind],
    cache: Path,
) -> dict[Kind, Curves]:
    """Fit each seed's reward models and let best-of-n choose by every reward."""
    found: dict[Kind, list[tuple[Tensor, Tensor]]] = {kind: [] for kind in kinds}
    for seed in track(range(seeds), description=f"{flips:.0%} flipped", transient=True):
        learned = _pools(
            Split.TRAIN,
            first=TRAINING_FROM + seed * documents,
            count=documents,
            samples=COMPLETIONS_A_TRAINING_DOCUMENT,
            cache=cache,
        )
        seen = comparisons(learned, flips=flips, generator=torch.Generator().manual_seed(seed))
        one = one_model(seen, seed=seed)
        for kind in kinds:
            scores = ensemble_scores(kind, seen, members=members, l2=one.record.l2, seed=seed)
            curves = [best_of_n_curves(pool, one.ensemble, scores) for pool in tested]
            gold, proxy = zip(*curves, strict=True)
            found[kind].append((torch.stack(gold).mean(dim=0), torch.stack(proxy).mean(dim=0)))
    return {
        kind: Curves(gold=torch.stack([gold for gold, _ in of]), proxy=torch.stack([proxy for _, proxy in of]))
        for kind, of in found.items()
    }


def _pools(split: Split, *, first: int, count: int, samples: int, cache: Path) -> list[Pool]:
    return pools(split=split, level=LEVEL, first=first, count=count, samples=samples, features=FEATURES, cache=cache)


def show(curves: Curves, *, flips: float, title: str) -> None:
    table = Table(
        "reward",
        "n = 16",
        "n = 256",
        f"n = {max(SIZES):,}",
        "peak (n)",
        "lost since",
        "over one model",
        "over members alone",
        title=title,
    )
    for reward in REWARDS:
        gains, one = curves.gains(reward).mean(dim=0), finding(reward, curves, flips=flips)
        table.add_row(
            reward,
            f"{gains[SIZES.index(16)]:.2f}",
            f"{gains[SIZES.index(256)]:.2f}",
            _text(one.gain),
            f"{one.peak:.2f} ({one.peak_at:,})",
            _text(one.lost),
            _lead_text(one.over_one),
            _lead_text(one.over_alone),
        )
    Console(width=170).print(table)


def _text(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return f"{found.mean:.2f}"
    return f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _lead_text(found: Lead) -> str:
    return f"{_text(found.difference)}" + ("" if found.ratio is None else f", x {found.ratio:.2f}")


if __name__ == "__main__":
    main()
