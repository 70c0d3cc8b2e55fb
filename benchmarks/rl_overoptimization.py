"""What reinforcement learning really earns as it moves from the base: one reward model against conservative rewards.

The sibling of `benchmarks.overoptimization`, with RLOO in place of best-of-n. On the embedded task: every seed fits its
reward models on comparisons of its own, labelled by the gold difference, a share of them flipped (25%, as in Coste et
al. 2024), and trains an agent from the base on each reward at each price of a nat. A reward is `one model`, fitted on
all comparisons, or the mean, the lower bound (mean - 2 spread) or the minimum of an ensemble; each is brought to mean 0
and standard deviation 1 over the base's completions of its training documents, so that a price (beta) means the same
for all. Agents are examined on test documents: gold, reward, exact KL. A reward loses gold where the mean gold over
seeds ends more than TOLERANCE below its highest; the price that it needs is the smallest of the grid without that.

Trainings are kept in --cache as they end, so that the command goes on after a kill; results are written after each
seed, and with --finished whatever is there is shown and nothing trained.
Run: python -m benchmarks.rl_overoptimization [--quick] [--finished] [--seeds 3] [--cache FOLDER] [--figures FOLDER]
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from agents.objectives.rloo import RLOO
from agents.policy import Policy
from agents.regularizer import FixedPenalty
from agents.rollout import Rollouts
from agents.sources import OnPolicy, Reward, digest
from agents.training import TrainSettings
from benchmarks.completion_pools import MAX_NEW_TOKENS, Pool, pools
from benchmarks.overoptimization_models import FEATURES, Comparisons, comparisons
from benchmarks.rl_overoptimization_curves import Cells, lost, needed, rl_law
from benchmarks.rl_overoptimization_figure import draw
from reward_models.ensemble import Ensemble
from reward_models.estimate import RewardEstimate
from reward_models.fitting import FitSettings, fit
from rrm.contest.examined_training import examined_training, finished_training
from rrm.contest.examining import Examiner, Gold
from rrm.figures import save_figure
from rrm.statistics import Estimate, estimate
from rrm.tasks.shiftlog.task import Shiftlog
from rrm.tasks.task import Split, documents

LEVEL = 1
TRAINING_FROM = 2000
"""First document that comparisons are of, as in the sibling."""
PROMPTS_FROM = 6000
"""First document that agents are trained on."""
REWARDS = ("one model", "lower 2", "min", "mean")
BETAS = (0.0, 0.01, 0.05, 0.2, 1.0)
EVERY = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=36)
    parser.add_argument("--documents", type=int, default=32, help="test documents, four completions each")
    parser.add_argument("--training-documents", type=int, default=80, help="of each seed, two comparisons each")
    parser.add_argument("--prompts", type=int, default=200, help="documents that agents are trained on")
    parser.add_argument("--flips", type=float, default=0.25)
    parser.add_argument("--members", type=int, default=20)
    parser.add_argument("--betas", nargs="+", type=float, default=BETAS)
    parser.add_argument("--rewards", nargs="+", choices=REWARDS, default=REWARDS)
    parser.add_argument("--quick", action="store_true", help="one seed, two betas, eight steps")
    parser.add_argument("--finished", action="store_true", help="train nothing; show what is there")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "rrm-benchmarks")
    parser.add_argument("--figures", type=Path, help="folder for rl_overoptimization.png and rl_overoptimization.json")
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    if wanted.quick:
        wanted.seeds, wanted.steps, wanted.betas = 1, 8, (0.0, 0.2)
    found: Cells = {(reward, beta): [] for reward in wanted.rewards for beta in wanted.betas}
    for seed in range(wanted.seeds):
        train_seed(seed, wanted, found)
        report(found, wanted)
    show(found)
    print(json.dumps(summary(found, wanted)))


def train_seed(seed: int, wanted: argparse.Namespace, found: Cells) -> None:
    """Every reward at every price, from one set of comparisons; adds a trajectory to each cell."""
    task = Shiftlog(seed=0)
    base = Policy.load(task.base_model())
    test = documents(task, split=Split.TEST, level=LEVEL, count=wanted.documents)
    train = documents(task, split=Split.TRAIN, level=LEVEL, count=wanted.prompts, first=PROMPTS_FROM)
    rewards = {} if wanted.finished else rewards_of(seed, wanted)
    for (name, beta), trajectories in found.items():
        folder = wanted.cache / "rl-overoptimization" / identity(wanted) / f"{name}-{beta:g}-{seed}".replace(" ", "-")
        if wanted.finished:
            if (one := finished_training(folder)) is not None:
                trajectories.append(one)
            continue
        reward = rewards[name]
        trajectories.append(
            examined_training(
                base.copy(),
                source=OnPolicy(
                    [task.prompt(document) for document in train],
                    reward,
                    prompts_per_step=6,
                    group=8,
                    max_new_tokens=MAX_NEW_TOKENS,
                ),
                objective=RLOO(),
                regularizer=FixedPenalty(beta),
                settings=TrainSettings(steps=wanted.steps, learning_rate=1e-3, bfloat16=True),
                seed=seed,
                examiner=Examiner(
                    base,
                    [task.prompt(document) for document in test],
                    proxy=reward,
                    gold=Gold(task, test),
                    max_new_tokens=MAX_NEW_TOKENS,
                    seed=0,
                ),
                every=EVERY,
                folder=folder,
            )
        )
        end = trajectories[-1].end
        print(f"seed {seed}, {name}, beta {beta:g}: gold {end.gold:+.2f}, reward {end.proxy:+.2f}, KL {end.kl:.2f}")


def identity(wanted: argparse.Namespace) -> str:
    names = ("steps", "documents", "training_documents", "prompts", "flips", "members")
    return digest([LEVEL, *(getattr(wanted, name) for name in names)])[:12]


def rewards_of(seed: int, wanted: argparse.Namespace) -> dict[str, Reward]:
    """The rewards of a seed, each with mean 0 and standard deviation 1 over the base's completions."""
    learned = pools(
        split=Split.TRAIN,
        level=LEVEL,
        first=TRAINING_FROM + seed * wanted.training_documents,
        count=wanted.training_documents,
        samples=8,
        features=FEATURES,
        cache=wanted.cache,
    )
    seen = comparisons(learned, flips=wanted.flips, generator=torch.Generator().manual_seed(seed))
    one = fitted(seen, FitSettings(members=1, bootstrap=False), seed=seed)
    many = fitted(seen, FitSettings(members=wanted.members), seed=seed)
    return {
        "one model": Normalised(one, "mean", learned),
        **{name: Normalised(many, name, learned) for name in REWARDS[1:]},
    }


def fitted(seen: Comparisons, settings: FitSettings, *, seed: int) -> Ensemble:
    return fit(
        seen.first,
        seen.second,
        seen.labels,
        feature_names=FEATURES,
        settings=settings,
        generator=torch.Generator().manual_seed(seed),
        groups=seen.groups,
    ).ensemble


class Normalised:
    """A reward in standard deviations of the base's completions."""

    def __init__(self, ensemble: Ensemble, aggregate: str, learned: Sequence[Pool]) -> None:
        self._ensemble, self._aggregate = ensemble, aggregate
        drawn = torch.cat([pool.features[pool.drawn] for pool in learned]).double()
        scores = self._one(ensemble.scores(drawn))
        self._mean, self._deviation = scores.mean(), scores.std()

    def __call__(self, rollouts: Rollouts) -> Tensor:
        scores = self._one(self._ensemble.score_trace(rollouts.reference))
        return (scores - self._mean) / self._deviation

    def _one(self, members: Tensor) -> Tensor:
        found = RewardEstimate(members)
        match self._aggregate:
            case "lower 2":
                return found.lower(2.0)
            case "min":
                return found.min
            case _:
                return found.mean


def summary(found: Cells, wanted: argparse.Namespace) -> dict[str, object]:
    settings = ("seeds", "steps", "documents", "training_documents", "prompts", "flips", "members")
    return {
        "level": LEVEL,
        **{name: getattr(wanted, name) for name in settings},
        "cells": [
            {
                "reward": reward,
                "beta": beta,
                "seeds": len(trajectories),
                "gold": estimate([one.end.gold for one in trajectories]).to_json(),
                "kl": estimate([one.end.kl for one in trajectories]).to_json(),
                "lost": lost(trajectories).to_json(),
            }
            for (reward, beta), trajectories in found.items()
            if trajectories
        ],
        "needed": needed(found),
        "law": {reward: rl_law(trajectories) for (reward, beta), trajectories in found.items() if beta == 0.0},
    }


def report(found: Cells, wanted: argparse.Namespace) -> None:
    """Write what there is so far."""
    if wanted.figures is None or wanted.quick or not any(found.values()):
        return
    wanted.figures.mkdir(parents=True, exist_ok=True)
    curves = [
        {"reward": reward, "beta": beta, "trainings": [[asdict(at) for at in one.examinations] for one in trajectories]}
        for (reward, beta), trajectories in found.items()
    ]
    whole = summary(found, wanted) | {"curves": curves}
    (wanted.figures / "rl_overoptimization.json").write_text(json.dumps(whole, indent=1) + "\n")
    save_figure(draw(found), wanted.figures / "rl_overoptimization.png")


def show(found: Cells) -> None:
    base = [one.examinations[0].gold for trajectories in found.values() for one in trajectories]
    if not base:
        return
    table = Table(
        "reward",
        "beta",
        "gold",
        "KL",
        "reward at the end",
        "lost since the peak",
        title=f"gold of the base {base[0]:.2f}",
    )
    for (reward, beta), trajectories in found.items():
        if trajectories:
            ends = [one.end for one in trajectories]
            table.add_row(
                reward,
                f"{beta:g}",
                *(_text(estimate([getattr(end, name) for end in ends])) for name in ("gold", "kl", "proxy")),
                _text(lost(trajectories)),
            )
    Console(width=130).print(table)


def _text(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return f"{found.mean:.2f}"
    return f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"


if __name__ == "__main__":
    main()
