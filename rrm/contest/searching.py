"""What search in the base's own completions makes of the same reward: the marks that every training is held against.

From one pool of completions of each prompt, best-of-n is known at every n, and so is a quantilizer (one of the best
share q at random) at every q, without a draw of its own for each.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float64
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from agents.policy import Policy
from agents.search.best_of_n import BestOfN
from agents.search.quantilizer import Quantilizer
from agents.search.search import candidates
from agents.sources import Reward
from reward_models.best_of_n import best_of_n, best_of_n_kl
from reward_models.errors import ArtifactError, InvalidInput
from rrm.writing import write_whole

SMALLEST, LARGEST = 64, 1024
"""Fewest and most completions in the pool of a prompt."""


@dataclass(frozen=True, eq=False)
class Pools:
    """Completions of the base for every prompt, scored."""

    proxy: Float64[Tensor, "prompts samples"]
    gold: Float64[Tensor, "prompts samples"]
    seconds: float
    """What it took to draw and score them."""


@dataclass(frozen=True)
class SearchPoint:
    """A way to choose among the base's completions; means over prompts."""

    kl: float
    """Upper bound of KL(chosen || base) in nats, exact where no two completions score alike."""
    gold: float
    proxy: float


def nearest_size(kl: float) -> int:
    """The n whose KL log n - (n - 1)/n is nearest to this one; InvalidInput if a pool cannot hold it."""
    largest = LARGEST // 2
    if kl > best_of_n_kl(largest):
        raise InvalidInput(
            f"best-of-n at {kl} nats would need more than {largest} completions of a prompt; choose at most "
            f"{best_of_n_kl(largest):.1f} nats."
        )
    return min(range(1, largest + 1), key=lambda size: abs(best_of_n_kl(size) - kl))


def pool_size(kl: float) -> int:
    """Completions of a prompt that are enough for best-of-n and for a quantilizer at this KL."""
    return min(LARGEST, max(SMALLEST, 4 * nearest_size(kl), math.ceil(8 * math.exp(kl))))


def pools(
    base: Policy, prompts: Sequence[str], *, proxy: Reward, gold: Reward, size: int, max_new_tokens: int, seed: int
) -> Pools:
    """`size` completions of each prompt."""
    began = time.perf_counter()
    generator = torch.Generator().manual_seed(seed)
    scores: list[Tensor] = []
    golds: list[Tensor] = []
    for drawn, rewards in candidates(
        base, prompts, proxy, generator, reference=base, n=size, max_new_tokens=max_new_tokens
    ):
        scores.append(rewards.double().cpu())
        golds.append(gold(drawn).double().cpu().view(-1, size))
    return Pools(proxy=torch.cat(scores), gold=torch.cat(golds), seconds=time.perf_counter() - began)


def write_pools(found: Pools, path: Path) -> None:
    """Keep pools in a safetensors file."""
    seconds = torch.tensor(found.seconds, dtype=torch.float64)
    write_whole(path, save({"proxy": found.proxy, "gold": found.gold, "seconds": seconds}))


def read_pools(path: Path) -> Pools | None:
    """What `write_pools` kept; None if there is nothing, ArtifactError for a damaged file."""
    if not path.exists():
        return None
    try:
        tensors = load_file(path)
        return Pools(proxy=tensors["proxy"], gold=tensors["gold"], seconds=float(tensors["seconds"]))
    except (SafetensorError, KeyError, ValueError) as error:
        raise ArtifactError(f"'{path}' is no readable pool ({error}); delete it to draw anew.") from error


def best_of(drawn: Pools, size: int) -> SearchPoint:
    """Best-of-n by proxy: the unbiased estimate from the pool."""
    gold, proxy = (float(best_of_n(drawn.proxy, values, sizes=[size]).mean()) for values in (drawn.gold, drawn.proxy))
    return SearchPoint(kl=BestOfN(n=size).certificate.kl, gold=gold, proxy=proxy)


def quantilized(drawn: Pools, kl: float) -> SearchPoint:
    """The quantilizer with q = exp(-kl): the mean over the best k = ceil(q N) of the pool, at log(N / k) nats."""
    search = Quantilizer(q=math.exp(-kl), n=drawn.proxy.shape[1])
    best = drawn.proxy.argsort(dim=1, descending=True, stable=True)[:, : search.kept]
    gold, proxy = (float(values.gather(1, best).mean()) for values in (drawn.gold, drawn.proxy))
    return SearchPoint(kl=search.certificate.kl, gold=gold, proxy=proxy)
