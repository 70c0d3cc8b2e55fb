"""Comparisons as tokens, the form in which a loop over gradients reads them: from memory, or a few rows at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from datasets import Dataset
from jaxtyping import Float, Int
from torch import Tensor

from reward_models.backbone import Backbone, Encoded
from reward_models.errors import InvalidInput, NonFinite
from reward_models.preference_data import preference_tensors

Tokens = tuple[tuple[int, ...], ...]


class PairTokens(NamedTuple):
    """The tokens of some comparisons, without padding."""

    first: Tokens
    """Prompt and first completion of each."""
    second: Tokens
    """Prompt and second completion of each."""


@runtime_checkable
class PairSource(Protocol):
    """What a loop over gradients reads comparisons from: answers at once, which are small, tokens by the row."""

    @property
    def labels(self) -> Float[Tensor, " comparisons"]:
        """Probability that the first is better: 1, 0, or 0.5 for a tie."""

    @property
    def weights(self) -> Float[Tensor, " comparisons"]:
        """How many judgements each counts for; 0 leaves it out."""

    @property
    def margins(self) -> Float[Tensor, " comparisons"] | None:
        """By how much the better completion should lead, at least 0."""

    @property
    def groups(self) -> Int[Tensor, " comparisons"] | None:
        """Comparisons of one group are held out together; none means that each is a group."""

    def __len__(self) -> int:
        """Number of comparisons."""

    def rows(self, indices: Sequence[int]) -> PairTokens:
        """Tokens of these comparisons, in this order."""


@dataclass(frozen=True, eq=False)
class EncodedPairs:
    """Comparisons in memory. Raises InvalidInput or NonFinite for answers that no loss can use."""

    first: Encoded
    """Prompts with first completions."""
    second: Encoded
    """Prompts with second completions."""
    labels: Float[Tensor, " comparisons"]
    """Probability that the first is better: 1, 0, or 0.5 for a tie."""
    weights: Float[Tensor, " comparisons"]
    """How many judgements each counts for; 0 leaves it out."""
    margins: Float[Tensor, " comparisons"] | None = None
    """By how much the better completion should lead, at least 0."""
    groups: Int[Tensor, " comparisons"] | None = None
    """Comparisons of one group are held out together; none means that each is a group."""

    def __post_init__(self) -> None:
        if len(self.first) != len(self.second):
            raise InvalidInput(
                f"{len(self.first)} first and {len(self.second)} second completions; give as many of each"
            )
        check_answers(len(self.first), self)

    def __len__(self) -> int:
        """Number of comparisons."""
        return len(self.first)

    def rows(self, indices: Sequence[int]) -> PairTokens:
        """Tokens of these comparisons, in this order."""
        first, second = (tuple(side.tokens[index] for index in indices) for side in (self.first, self.second))
        return PairTokens(first=first, second=second)


@dataclass(frozen=True, eq=False)
class MappedPairs:
    """Comparisons on disk: tokens stay in a memory-mapped `datasets.Dataset` until a batch asks for them."""

    dataset: Dataset
    """Columns `first_tokens` and `second_tokens`, as `encode_pairs` writes them."""
    labels: Float[Tensor, " comparisons"]
    """Probability that the first is better: 1, 0, or 0.5 for a tie."""
    weights: Float[Tensor, " comparisons"]
    """How many judgements each counts for; 0 leaves it out."""
    margins: Float[Tensor, " comparisons"] | None = None
    """By how much the better completion should lead, at least 0."""
    groups: Int[Tensor, " comparisons"] | None = None
    """Comparisons of one group are held out together; none means that each is a group."""
    cut: int = 0
    """How many sequences were too long and lost tokens from the left of the prompt."""

    def __post_init__(self) -> None:
        check_answers(len(self.dataset), self)

    def __len__(self) -> int:
        """Number of comparisons."""
        return len(self.dataset)

    def rows(self, indices: Sequence[int]) -> PairTokens:
        """Tokens of these comparisons, in this order; only they are read."""
        found = self.dataset[list(indices)]
        first, second = (tuple(map(tuple, found[column])) for column in ("first_tokens", "second_tokens"))
        return PairTokens(first=first, second=second)


def encode_pairs(dataset: Dataset, backbone: Backbone, *, cache: Path | None = None) -> MappedPairs:
    """Tokenise a data set of preferences, as `preference_data.read_preferences` gives it.

    Tokens go into the Arrow file `cache`, which is written anew, a batch of rows at a time; without it they stay in
    memory. A sequence that is too long is cut by the backbone, and counted. Raises InvalidInput for a missing column
    or an answer that no loss can use.
    """
    missing = {"prompt", "first", "second", "label", "weight", "margin", "group"} - set(dataset.column_names)
    if missing:
        raise InvalidInput(f"the data set lacks the columns {sorted(missing)}; read it with read_preferences")

    def encoded(rows: Mapping[str, Any]) -> dict[str, Any]:
        first, second = (backbone.encode(rows["prompt"], rows[side]) for side in ("first", "second"))
        # The count of a batch stands in its first row.
        counts = [first.cut + second.cut] + [0] * (len(first) - 1)
        return {"first_tokens": list(first.tokens), "second_tokens": list(second.tokens), "cut": counts}

    texts = dataset.select_columns(["prompt", "first", "second"])
    tokens = texts.map(
        encoded,
        batched=True,
        remove_columns=texts.column_names,
        keep_in_memory=cache is None,
        cache_file_name=None if cache is None else str(cache),
        load_from_cache_file=False,
        # Otherwise the whole backbone would be hashed for a name.
        new_fingerprint="encoded",
    )
    answers = preference_tensors(dataset)
    return MappedPairs(
        dataset=tokens.select_columns(["first_tokens", "second_tokens"]),
        labels=answers.labels,
        weights=answers.weights,
        margins=answers.margins,
        groups=answers.groups,
        cut=sum(tokens["cut"]),
    )


def check_answers(comparisons: int, source: "EncodedPairs | MappedPairs") -> None:
    """Raise InvalidInput or NonFinite unless there is a usable label, weight, margin and group per comparison."""
    given = {"labels": source.labels, "weights": source.weights, "margins": source.margins, "groups": source.groups}
    parts = {name: part for name, part in given.items() if part is not None}
    wrong = {name: tuple(part.shape) for name, part in parts.items() if part.shape != (comparisons,)}
    if wrong:
        raise InvalidInput(f"there are {comparisons} comparisons and {wrong}; give one number of each per comparison")
    if not all(bool(torch.isfinite(part).all()) for part in parts.values()):
        raise NonFinite("a label, weight or margin is not finite; find the row that it came from")
    negative = any(bool((part < 0.0).any()) for part in (source.weights, source.margins) if part is not None)
    if negative or bool(((source.labels < 0.0) | (source.labels > 1.0)).any()):
        raise InvalidInput(
            "a label lies outside [0, 1], or a weight or margin is negative; 1 means the first is better, 0.5 a tie"
        )
