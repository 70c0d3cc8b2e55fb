"""The shared preference data of people, for benchmarks: comparisons, votes, and a matrix of features for both sides.

The folder is that of the environment variable RRM_SHARED_DATA. Its files hold one comparison a line, with `group`
(topic, question or opening: comparisons of one group belong on one side of a fold) and `votes` (one a rater).
"""

import gzip
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

NAMES = ("ukpconvarg1", "crowdrag25", "hh-helpful-base", "hh-harmless-base", "finegrained-rlhf")
WITH_PROMPT = frozenset({"hh-harmless-base"})
"""Where a completion is read after its dialogue; elsewhere it is read alone."""
_LABELS = {"a": 1.0, "b": 0.0, "tie": 0.5}


@dataclass(frozen=True)
class HumanComparison:
    """Two texts, and what each rater said of them."""

    group: str
    first: str
    second: str
    votes: tuple[float, ...]
    """One a rater: 1 the first is better, 0 the second, 0.5 a tie."""

    @property
    def label(self) -> float:
        return sum(self.votes) / len(self.votes)


def shared_data() -> Path:
    """The folder of RRM_SHARED_DATA."""
    folder = os.environ.get("RRM_SHARED_DATA")
    if folder is None or not Path(folder).is_dir():
        raise SystemExit(f"RRM_SHARED_DATA is {folder!r}; set it to the folder that holds preferences/*.jsonl.gz")
    return Path(folder)


def human_comparisons(name: str) -> list[HumanComparison]:
    """All comparisons of a data set whose two texts differ; equal texts say nothing about either."""
    with gzip.open(shared_data() / "preferences" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [_comparison(row, with_prompt=name in WITH_PROMPT) for row in rows if row["a"] != row["b"]]


def _comparison(row: Mapping[str, object], *, with_prompt: bool) -> HumanComparison:
    first, second = (f"{row['prompt']}\n\nAssistant: {row[side]}" if with_prompt else str(row[side]) for side in "ab")
    votes = row["votes"]
    assert isinstance(votes, list)
    return HumanComparison(str(row["group"]), first, second, tuple(_LABELS[vote["pref"]] for vote in votes))


def texts(comparisons: Sequence[HumanComparison]) -> list[str]:
    """Each text once, in the order of its first appearance."""
    return list(dict.fromkeys(text for one in comparisons for text in (one.first, one.second)))


@dataclass(frozen=True, eq=False)
class Preferences:
    """Comparisons as tensors."""

    first: Float[Tensor, "comparisons features"]
    second: Float[Tensor, "comparisons features"]
    labels: Float[Tensor, " comparisons"]
    """Mean of the votes."""
    votes: Int[Tensor, " comparisons"]
    """How many."""
    groups: Int[Tensor, " comparisons"]
    """Number of the group."""


def as_tensors(comparisons: Sequence[HumanComparison], features: Float[Tensor, "texts features"]) -> Preferences:
    """With the features of `texts(comparisons)`, in that order."""
    place = {text: index for index, text in enumerate(texts(comparisons))}
    names = {name: index for index, name in enumerate(dict.fromkeys(one.group for one in comparisons))}
    return Preferences(
        first=features[[place[one.first] for one in comparisons]],
        second=features[[place[one.second] for one in comparisons]],
        labels=torch.tensor([one.label for one in comparisons], dtype=torch.float64),
        votes=torch.tensor([len(one.votes) for one in comparisons]),
        groups=torch.tensor([names[one.group] for one in comparisons]),
    )
