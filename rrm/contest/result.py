"""What a contest of objectives found: one standing an objective, as JSON, and as a table for a terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rrm.contest.searching import SearchPoint
from rrm.contest.trajectory import Trajectory
from rrm.statistics import Estimate, estimate

YARDSTICK = "rloo"
"""The objective that the others are compared with, seed by seed."""


@dataclass(frozen=True)
class Standing:
    """One way to use the reward; means over seeds, with 95% intervals."""

    name: str
    reached: int
    """Seeds that stood at the wanted KL; only they count in `gold` and `proxy`."""
    gold: Estimate | None
    """Gold at the wanted KL; None where no seed stood there."""
    proxy: Estimate | None
    over_yardstick: Estimate | None
    """Gold at the wanted KL less that of the yardstick, within seeds that have both."""
    end_gold: Estimate
    """Gold after the last step."""
    end_proxy: Estimate
    kl: Estimate
    """KL after the last step, in nats."""
    entropy: float | None
    """Of the next token after the last step, in nats; None for search, which has no distribution of its own."""
    distinct: float | None
    """Share of different texts after the last step."""
    seconds: float
    """Of one training, or of drawing and scoring a pool."""

    def to_json(self) -> dict[str, object]:
        """Names and numbers; null where a figure has no meaning."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: value.to_json() if isinstance(value, Estimate) else value for name, value in found.items()}

    def row(self, kl: float) -> dict[str, object]:
        """For a terminal."""
        return {
            "objective": self.name,
            f"gold at {kl:g} nats": _text(self.gold),
            f"over {YARDSTICK}": _text(self.over_yardstick),
            "proxy there": _text(self.proxy),
            "seeds there": self.reached,
            "gold at the end": _text(self.end_gold),
            "KL at the end": _text(self.kl),
            "entropy": self.entropy,
            "distinct": self.distinct,
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class Contest:
    """Every objective on one reward model."""

    folder: Path
    """Where compare.json and compare.png lie."""
    setting: Mapping[str, object]
    """What all had in common."""
    kl: float
    """The wanted KL in nats."""
    trajectories: Mapping[str, Sequence[Trajectory]]
    """One a seed, by objective."""
    search: Mapping[str, Sequence[SearchPoint]]
    """One a seed, by method at the wanted KL."""
    search_seconds: float
    best_of: Sequence[SearchPoint]
    """Best-of-n over n, meant over seeds."""

    @property
    def json_path(self) -> Path:
        """For programs."""
        return self.folder / "compare.json"

    @property
    def figure_path(self) -> Path:
        """Gold and proxy against sqrt(KL)."""
        return self.folder / "compare.png"

    def standings(self) -> list[Standing]:
        """The objectives, then search."""
        trained = [self._trained(name) for name in self.trajectories]
        return trained + [self._searched(name) for name in self.search]

    def to_json(self) -> dict[str, object]:
        """Everything that was found."""
        return {
            "setting": dict(self.setting),
            "standings": [standing.to_json() for standing in self.standings()],
            "trajectories": {
                name: [[asdict(one) for one in trajectory.examinations] for trajectory in found]
                for name, found in self.trajectories.items()
            },
            "best_of_n": [asdict(point) for point in self.best_of],
        }

    def table(self) -> list[dict[str, object]]:
        """One row a standing."""
        return [standing.row(self.kl) for standing in self.standings()]

    def _trained(self, name: str) -> Standing:
        found = self.trajectories[name]
        there = [one for trajectory in found if (one := trajectory.at_kl(self.kl)) is not None]
        ends = [trajectory.end for trajectory in found]
        return Standing(
            name=name,
            reached=len(there),
            gold=_estimate([one.gold for one in there]),
            proxy=_estimate([one.proxy for one in there]),
            over_yardstick=self._over_yardstick(name),
            end_gold=estimate([end.gold for end in ends]),
            end_proxy=estimate([end.proxy for end in ends]),
            kl=estimate([end.kl for end in ends]),
            entropy=_mean([end.entropy for end in ends]),
            distinct=_mean([end.distinct for end in ends]),
            seconds=_mean([trajectory.seconds for trajectory in found]),
        )

    def _searched(self, name: str) -> Standing:
        found = self.search[name]
        gold, proxy = estimate([one.gold for one in found]), estimate([one.proxy for one in found])
        return Standing(
            name=name,
            reached=len(found),
            gold=gold,
            proxy=proxy,
            over_yardstick=self._over([one.gold for one in found]),
            end_gold=gold,
            end_proxy=proxy,
            kl=estimate([one.kl for one in found]),
            entropy=None,
            distinct=None,
            seconds=self.search_seconds,
        )

    def _over_yardstick(self, name: str) -> Estimate | None:
        return None if name == YARDSTICK else self._over(self._golds(name))

    def _over(self, golds: Sequence[float | None]) -> Estimate | None:
        if YARDSTICK not in self.trajectories:
            return None
        pairs = zip(golds, self._golds(YARDSTICK), strict=True)
        return _estimate([ours - theirs for ours, theirs in pairs if ours is not None and theirs is not None])

    def _golds(self, name: str) -> list[float | None]:
        there = [trajectory.at_kl(self.kl) for trajectory in self.trajectories[name]]
        return [None if one is None else one.gold for one in there]


def _estimate(values: Sequence[float]) -> Estimate | None:
    return estimate(values) if values else None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _text(found: Estimate | None) -> str | None:
    if found is None:
        return None
    if found.low is None or found.high is None:
        return f"{found.mean:.2f}"
    return f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"
