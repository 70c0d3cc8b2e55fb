"""What best-of-n would earn, from one pool of scored samples, without drawing n samples ever again.

Best-of-n draws n completions and keeps the one that a reward model (the proxy) scores highest. With N >= n samples of
one prompt, the mean over all subsets of size n of the value of the kept one is an unbiased estimate, and far less noisy
than one draw (Nakano et al. 2021, appendix I; Gao et al. 2023, "Scaling laws for reward model overoptimization").
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from reward_models.errors import InvalidInput, NonFinite


def best_of_n(
    scores: Float[Tensor, "*#batch samples"], values: Float[Tensor, "*#batch samples"], *, sizes: Sequence[int]
) -> Float64[Tensor, "*batch sizes"]:
    """Expected value of the best of n by score, for each n of `sizes`.

        E_n = sum_{i = n..N} C(i - 1, n - 1) / C(N, n) * v_(i)

    with v_(i) the value of the sample that has the i-th lowest of the N scores. Samples of equal score are taken with
    equal chance: each of them counts with their mean value. Unbiased for samples drawn independently; every batch
    entry (a member, a prompt) is a pool of its own. The proxy's own curve has the scores for values.

    Raises InvalidInput for no sizes, a size outside 1..N or batches that do not fit together, NonFinite for a score or
    value that is not finite.
    """
    scores, values = _checked(scores, values, sizes)
    order = scores.argsort(dim=-1)
    kept = _mean_over_ties(scores.gather(-1, order), values.gather(-1, order))
    return kept @ rank_weights(scores.shape[-1], sizes).T.to(kept)


def rank_weights(samples: int, sizes: Sequence[int]) -> Float64[Tensor, "sizes samples"]:
    """C(i - 1, n - 1) / C(N, n): the chance that the i-th lowest of N samples is the best of n drawn without repeats.

    By way of log-gamma, so that N and n may be tens of thousands.
    """
    rank = torch.arange(1, samples + 1, dtype=torch.float64)
    n = torch.tensor(list(sizes), dtype=torch.float64)[:, None]
    # C(i - 1, n - 1) is 0 below rank n; there any finite number may stand in the logarithm.
    reached = rank >= n
    below = torch.where(reached, rank - n, torch.zeros_like(rank - n))
    log_ways = torch.lgamma(rank) - torch.lgamma(n) - torch.lgamma(below + 1.0)
    log_all = math.lgamma(samples + 1.0) - torch.lgamma(n + 1.0) - torch.lgamma(samples - n + 1.0)
    return torch.where(reached, (log_ways - log_all).exp(), torch.zeros_like(log_ways))


def best_of_n_kl(size: int) -> float:
    """KL(best-of-n || the policy) = log n - (n - 1) / n  nats: exact where no two samples tie, else an upper bound.

    Beirami et al. 2024 prove the bound. Raises InvalidInput below 1.
    """
    if size < 1:
        raise InvalidInput(f"best of {size} samples does not exist; give at least 1")
    return math.log(size) - (size - 1) / size


def best_of_n_distance(size: int) -> float:
    """The d = sqrt(KL) of best-of-n, the scale on which Gao et al. found simple laws. Raises InvalidInput below 1."""
    return math.sqrt(best_of_n_kl(size))


def _mean_over_ties(
    scores: Float[Tensor, "*batch samples"], values: Float[Tensor, "*batch samples"]
) -> Float[Tensor, "*batch samples"]:
    """Each value replaced by the mean over the samples of its score; scores stand in rising order."""
    differs = scores[..., 1:] != scores[..., :-1]
    group = torch.nn.functional.pad(differs.long().cumsum(dim=-1), (1, 0))
    sums = torch.zeros_like(values).scatter_add(-1, group, values)
    counts = torch.zeros_like(values).scatter_add(-1, group, torch.ones_like(values))
    return (sums / counts.clamp(min=1.0)).gather(-1, group)


def _checked(scores: Tensor, values: Tensor, sizes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Both in float64 and of one shape. Scores keep their own ties: float32 to float64 is exact."""
    try:
        scores, values = torch.broadcast_tensors(scores.double(), values.double())
    except RuntimeError as error:
        raise InvalidInput(
            f"scores {tuple(scores.shape)} and values {tuple(values.shape)} do not fit together; give one value per "
            "sample, with batches that are equal or broadcast"
        ) from error
    samples = scores.shape[-1] if scores.ndim else 0
    if not sizes or not all(1 <= size <= samples for size in sizes):
        raise InvalidInput(
            f"sizes are {list(sizes)} with {samples} samples; give one or more of 1 to {samples}, or draw more samples"
        )
    if not (bool(torch.isfinite(scores).all()) and bool(torch.isfinite(values).all())):
        raise NonFinite("a score or value is not finite; find its origin before measuring")
    return scores, values
