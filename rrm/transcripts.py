"""Completions with what each token cost: the records, what people are told of them, and those that a run keeps.

The cost of a token is the exact KL(policy || base) of its next-token distribution, in nats. It is spent whichever token
is then drawn, so a token that the base finds likely can be dear, and one that it finds unlikely can be cheap.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import accumulate
from math import ceil, exp
from pathlib import Path
from typing import Any
from unicodedata import category

from rrm.errors import RunCorrupt
from rrm.store.artifacts import artifacts
from rrm.store.records import Artifact, ArtifactKind
from rrm.store.run import Run

SHADES = (0.02, 0.1, 0.3, 1.0)
"""Nats from which a token is shown one shade stronger; they are the same everywhere, so that shades can be compared."""

_JOINERS = "\u200c\u200d"


@dataclass(frozen=True, slots=True)
class Alternative:
    """A token that could have stood there."""

    name: str
    probability: float
    """Under the policy, as it acted."""
    base_probability: float


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a completion; probabilities in nats."""

    piece: str
    """Its part of the text; empty for the end of a completion, and for a part of a character that a later one ends."""
    name: str
    """How it is called by itself."""
    kl: float
    """Exact KL(policy || base) of the distribution that it was drawn from."""
    log_probability: float
    """Under the policy, as it acted."""
    base_log_probability: float
    entropy: float
    """Of the distribution that it was drawn from."""
    alternatives: tuple[Alternative, ...] = ()
    """The likeliest tokens under the policy and under the base; only of the costliest tokens."""

    @property
    def shade(self) -> int:
        """How dear it was, from 0 (next to nothing) to 4, by `SHADES`."""
        return sum(self.kl >= limit for limit in SHADES)

    @property
    def shown(self) -> str:
        """What people see of it: ends of lines too."""
        return visible(self.piece).replace("\n", "↵\n") if self.piece else f"⟨{visible(self.name)}⟩"

    @property
    def quoted(self) -> str:
        """Its name on one line, with its blanks."""
        return quoted(self.name)


@dataclass(frozen=True)
class Transcript:
    """One completion of an agent, token by token."""

    agent: str
    prompt: str
    text: str
    """Equal to the pieces of its tokens, joined."""
    tokens: tuple[Token, ...]
    """The end-of-sequence token included, where it ended by itself."""
    budget: float | None = None
    """The hard limit of its KL in nats, where the agent has one."""

    @property
    def total(self) -> float:
        """The KL of the whole completion, in nats."""
        return sum(token.kl for token in self.tokens)

    @cached_property
    def running(self) -> tuple[float, ...]:
        """What had been spent after each token, in nats."""
        return tuple(accumulate(token.kl for token in self.tokens))

    @property
    def entropy(self) -> float:
        """Mean entropy of the next token, in nats."""
        return sum(token.entropy for token in self.tokens) / len(self.tokens)

    @cached_property
    def costliest(self) -> tuple[int, ...]:
        """Places of the dearest tenth of its tokens (at least one), the dearest first."""
        places = sorted(range(len(self.tokens)), key=lambda place: (-self.tokens[place].kl, place))
        return tuple(places[: ceil(len(places) / 10)])

    @property
    def share_of_costliest(self) -> float | None:
        """The share of the KL that the costliest tenth of the tokens took; None where next to nothing was spent."""
        spent = sum(self.tokens[place].kl for place in self.costliest)
        return spent / self.total if self.total >= SHADES[0] else None

    def to_json(self) -> dict[str, Any]:
        """For programs, with the sums beside the tokens."""
        sums = {"total": self.total, "entropy": self.entropy, "share_of_costliest": self.share_of_costliest}
        return {**asdict(self), **sums, "running": list(self.running), "costliest": list(self.costliest)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Transcript":
        """Read back; what can be computed is computed again."""
        tokens = (
            Token(**{**token, "alternatives": tuple(Alternative(**each) for each in token["alternatives"])})
            for token in stored["tokens"]
        )
        return cls(stored["agent"], stored["prompt"], stored["text"], tuple(tokens), stored["budget"])


def visible(text: str) -> str:
    """Text whose controls are shown and do nothing: terminals obey them, and some turn the direction of writing."""
    return "".join(_picture(letter) if _is_control(letter) else letter for letter in text)


def quoted(name: str) -> str:
    """The name of a token on one line, with its blanks."""
    return visible(json.dumps(name, ensure_ascii=False))


def in_words(found: Transcript) -> str:
    """What a completion cost, as a sentence."""
    tokens = "1 token" if len(found.tokens) == 1 else f"{len(found.tokens)} tokens"
    count = f"{len(found.costliest)} costliest" if len(found.costliest) > 1 else "costliest"
    dear = found.share_of_costliest is not None and len(found.tokens) > 1
    dearest = f"; the {count} took {found.share_of_costliest:.0%} of it" if dear else ""
    budget = "" if found.budget is None else f" of a budget of {found.budget:g}"
    return f"{found.total:.2f} nats{budget} over {tokens}{dearest}; mean entropy {found.entropy:.2f} nats."


def about(token: Token) -> str:
    """What one token cost, for a label."""
    return (
        f"{token.kl:.2f} nats; probability {percent(exp(token.log_probability))}, under the base "
        f"{percent(exp(token.base_log_probability))}; entropy {token.entropy:.2f}"
    )


def percent(share: float) -> str:
    """A probability as people read it; a small one by its first two digits."""
    if share < 1e-5:
        return "<0.001%"
    if share < 0.0995:
        return f"{100 * share:.2g}%"
    return f"{share:.0%}" if share < 0.985 else f"{share:.1%}"


def newest_agents(run: Run) -> dict[int, Artifact]:
    """The agent of each level that was trained last."""
    return {found.level: found for found in artifacts(run, kind=ArtifactKind.AGENT)}


def transcripts_file(run: Run, agent: str) -> Path:
    """Where a run keeps the transcripts of an agent: beside its folder, whose files never change."""
    return run.models / f"{agent}.transcripts.json"


def stored_transcripts(run: Run, agent: str) -> tuple[Transcript, ...]:
    """What was kept of an agent when its training ended; nothing of agents of older versions.

    Raises RunCorrupt where the file is damaged.
    """
    path = transcripts_file(run, agent)
    try:
        return tuple(Transcript.from_json(each) for each in json.loads(path.read_bytes()))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunCorrupt(
            f"{path.name} cannot be read ({type(error).__name__}); `rrm inspect RUN {agent}` shows new transcripts"
        ) from error


def written_transcripts(found: tuple[Transcript, ...]) -> bytes:
    """Transcripts as the file has them."""
    return json.dumps([each.to_json() for each in found], allow_nan=False).encode()


def _is_control(letter: str) -> bool:
    return letter not in ("\n", "\t", *_JOINERS) and category(letter) in ("Cc", "Cf", "Cs")


def _picture(letter: str) -> str:
    code = ord(letter)
    return chr(0x2400 + code) if code < 0x20 else f"⟨U+{code:04X}⟩"
