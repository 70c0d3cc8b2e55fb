"""Features of a completion under the reference model: what a linear reward head reads.

The choice is an inductive bias. An invented claim shows as one very unlikely token, which `likelihood_statistics` sees
at once and a hidden state does not; a reward made only of likelihood prefers whatever is typical, which hidden states
correct. So features are chosen by name, and heads choose among them.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor

from reward_models.errors import InvalidInput, NonFinite
from reward_models.trace import CompletionTrace

SURPRISE_THRESHOLDS = (1.0, 2.0, 4.0)
"""Surprise in nats above which a token adds to the excess sums."""

STATISTICS = (
    "mean log-probability",
    "summed log-probability",
    "minimum log-probability",
    "number of tokens",
    *(f"surprise above {threshold:g} nats, summed" for threshold in SURPRISE_THRESHOLDS),
)
"""What the columns of `likelihood_statistics` are, in their order."""


def likelihood_statistics(trace: CompletionTrace) -> Float[Tensor, "sequences statistics"]:
    """Seven statistics of the token log-probabilities, in the order of `STATISTICS`.

    With l_t the log-probability of token t in nats: mean l_t, sum l_t, min l_t, the number of tokens, and the excess
    sums  sum_t max(0, -l_t - c)  for c in `SURPRISE_THRESHOLDS`. The excess sums count how often and how far a
    completion leaves what the reference expects, without charging it for its many ordinary tokens as the sum does.

    Raises InvalidInput for a completion without tokens, NonFinite if a counted log-probability is not finite.
    """
    tokens = _token_counts(trace)
    values = trace.log_probabilities.to(_at_least_single(trace.log_probabilities)).masked_fill(~trace.mask, 0.0)
    _require_finite(values, name="log-probability")
    total = values.sum(dim=1)
    minimum = values.masked_fill(~trace.mask, torch.inf).amin(dim=1)
    # Padding is 0 here, and max(0, 0 - c) = 0 for every positive threshold: it adds nothing.
    excess = [(-values - threshold).clamp(min=0.0).sum(dim=1) for threshold in SURPRISE_THRESHOLDS]
    counts = tokens.to(values.dtype)
    return torch.stack([total / counts, total, minimum, counts, *excess], dim=1)


def summed_hidden(trace: CompletionTrace) -> Float[Tensor, "sequences width"]:
    """Sum of the hidden states of the tokens that count: a linear head on it is a sum of per-token rewards."""
    _token_counts(trace)
    return _counted_hidden(trace).sum(dim=1)


def mean_hidden(trace: CompletionTrace) -> Float[Tensor, "sequences width"]:
    """Mean of the hidden states of the tokens that count: content without length."""
    return _counted_hidden(trace).sum(dim=1) / _token_counts(trace)[:, None]


def last_hidden(trace: CompletionTrace) -> Float[Tensor, "sequences width"]:
    """Hidden state at the last token that counts: what a sequence classifier of the ecosystem reads."""
    _token_counts(trace)
    positions = torch.arange(trace.mask.shape[1], device=trace.mask.device)
    last = (positions * trace.mask).argmax(dim=1)
    rows = torch.arange(len(trace), device=trace.mask.device)
    return _counted_hidden(trace)[rows, last]


Extractor = Callable[[CompletionTrace], Tensor]

EXTRACTORS: Mapping[str, Extractor] = MappingProxyType(
    {
        "likelihood_statistics": likelihood_statistics,
        "summed_hidden": summed_hidden,
        "mean_hidden": mean_hidden,
        "last_hidden": last_hidden,
    }
)
"""The names that `extract` knows; a name is that of its function."""


def check_names(names: tuple[str, ...]) -> None:
    """Raise InvalidInput unless names are known, different from one another, and at least one."""
    unknown = [name for name in names if name not in EXTRACTORS]
    if unknown or not names or len(set(names)) != len(names):
        raise InvalidInput(
            f"feature names are {names!r}; give each at most once, out of {', '.join(sorted(EXTRACTORS))}"
        )


def extract(trace: CompletionTrace, names: tuple[str, ...]) -> Float[Tensor, "sequences features"]:
    """The named features side by side, in the order of the names.

    Raises InvalidInput for a name that is unknown or given twice and for a completion without tokens, NonFinite if the
    reference produced a value that is not finite.
    """
    check_names(names)
    return torch.cat([EXTRACTORS[name](trace) for name in names], dim=1)


def _at_least_single(values: Tensor) -> torch.dtype:
    """Half-precision passes are summed in single precision: a sum over a hundred bfloat16 states loses two digits."""
    return torch.promote_types(values.dtype, torch.float32)


def _token_counts(trace: CompletionTrace) -> Tensor:
    counts = trace.mask.sum(dim=1)
    empty = (counts == 0).nonzero().flatten().tolist()
    if empty:
        raise InvalidInput(
            f"completions {empty[:5]} have no token that counts (mask all False); keep the end-of-sequence one at least"
        )
    return counts


def _counted_hidden(trace: CompletionTrace) -> Tensor:
    hidden = trace.hidden.to(_at_least_single(trace.hidden)).masked_fill(~trace.mask[:, :, None], 0.0)
    _require_finite(hidden, name="hidden state")
    return hidden


def _require_finite(values: Tensor, *, name: str) -> None:
    if not bool(torch.isfinite(values).all()):
        rows = (~torch.isfinite(values)).flatten(start_dim=1).any(dim=1).nonzero().flatten().tolist()
        raise NonFinite(
            f"the reference gave a {name} that is not finite for completions {rows[:5]}; run it in float32, or "
            "check its weights"
        )
