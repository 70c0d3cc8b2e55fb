"""Rewards of a batch as plain numbers: what a trainer is given, here or by a server."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rewards:
    """One number of each kind for each completion, in the order in which they were asked for; all finite, in logits."""

    rewards: tuple[float, ...]
    """What training is paid: the conservative reward that was chosen."""
    mean: tuple[float, ...]
    """Mean score of the members, for reports."""
    spread: tuple[float, ...]
    """Standard deviation between the members, at least 0."""

    def log(self, log_metric: object, *, name: str) -> None:
        """Log means over the batch as `NAME/mean` and `NAME/spread`, if `log_metric` is the function that TRL gives.

        That takes a name and a number. Of an empty batch there is nothing to say.
        """
        if callable(log_metric) and self.rewards:
            log_metric(f"{name}/mean", sum(self.mean) / len(self.mean))
            log_metric(f"{name}/spread", sum(self.spread) / len(self.spread))
