"""Which texts train, which validate and which test: by a hash of their names, whatever their order."""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence

from reward_models.errors import InvalidInput
from rrm.tasks.task import Split

SHARES = (0.7, 0.15, 0.15)
"""Of training, validation and test."""
_ORDER = (Split.TRAIN, Split.VALIDATION, Split.TEST)


def split_of(key: str, *, seed: int, shares: tuple[float, float, float] = SHARES) -> Split:
    """The split of one text. Raises InvalidInput if the shares are not positive numbers that sum to 1."""
    _check(shares)
    place = _place(key, seed)
    return Split.TRAIN if place < shares[0] else Split.VALIDATION if place < shares[0] + shares[1] else Split.TEST


def assign(keys: Sequence[str], *, seed: int, shares: tuple[float, float, float] = SHARES) -> dict[str, Split]:
    """The split of each of many texts: that of `split_of`, but no split stays empty if there are three keys or more.

    An empty split takes, from the one that has most more than its share, the key that hashes nearest to it; of two
    keys one is for training and one for validation, and a single one is for training. The result does not depend on
    the order of the keys. Raises InvalidInput for impossible shares, or if a key comes twice.
    """
    _check(shares)
    if len(set(keys)) < len(keys):
        twice = next(key for key, count in Counter(keys).items() if count > 1)
        raise InvalidInput(f"The key {twice!r} comes twice; give each text a name of its own.")
    found = {key: split_of(key, seed=seed, shares=shares) for key in keys}
    edges = dict(zip(_ORDER, (0.0, shares[0], shares[0] + shares[1]), strict=True))
    share = dict(zip(_ORDER, shares, strict=True))
    for split in _ORDER[: len(keys)]:
        if split not in found.values():
            donor = _donor(found.values(), share)
            found[_nearest(found, donor, edges[split], seed)] = split
    return found


def _donor(found: Iterable[Split], share: dict[Split, float]) -> Split:
    counts = Counter(found)
    spare = [split for split in _ORDER if counts[split] > 1] or [split for split in _ORDER if counts[split]]
    # Later splits give first: a single key must end in training, not leave it.
    return max(reversed(spare), key=lambda split: counts[split] - share[split] * counts.total())


def _nearest(found: dict[str, Split], donor: Split, edge: float, seed: int) -> str:
    return min(
        (key for key, split in found.items() if split is donor),
        key=lambda key: (abs(_place(key, seed) - edge), key),
    )


def _place(key: str, seed: int) -> float:
    """A number in [0, 1) that only the key and the seed decide."""
    digest = hashlib.sha256(f"{seed}\n{key}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8]) / 2**64


def _check(shares: tuple[float, float, float]) -> None:
    possible = all(math.isfinite(share) and share > 0 for share in shares) and abs(sum(shares) - 1) < 1e-6
    if len(shares) != 3 or not possible:
        raise InvalidInput(f"The shares of training, validation and test are {shares}; give three that sum to 1.")
