"""Sends the records of a training to TensorBoard, Weights & Biases and the like, under the field's usual names.

The trackers are those of `accelerate`; which of them there are, and how they are spelled, is what `report_to` means
everywhere in this field. Nothing is imported, written or sent unless one of them is named.

    field of StepRecord         name                          what it is
    reward                      objective/scores              mean reward, without the price of KL
    kl                          objective/kl                  mean exact KL(policy || reference) of a sequence, nats
    beta                        objective/kl_coef             price of a nat
    - beta x kl                 objective/non_score_reward    what the price of KL takes away
    reward - beta x kl          objective/rlhf_reward         what is maximised
    entropy                     objective/entropy             mean entropy of the next token, nats
    gold                        objective/gold                mean true worth, where it was given
    mean_tokens                 completions/mean_length
    distinct                    completions/distinct          share of different texts behind one prompt
    gradient_norm               policy/gradient_norm          before clipping
    seconds                     time/step                     wall time
    measures[name]              policy/name                   figures of the objective
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers

from agents.training import StepRecord
from reward_models.errors import InvalidInput

NAMES = {
    "reward": "objective/scores",
    "kl": "objective/kl",
    "beta": "objective/kl_coef",
    "entropy": "objective/entropy",
    "gold": "objective/gold",
    "mean_tokens": "completions/mean_length",
    "distinct": "completions/distinct",
    "gradient_norm": "policy/gradient_norm",
    "seconds": "time/step",
}
"""Where the fields of a record go."""
PACKAGES = {"tensorboard": "tensorboardX", "comet_ml": "comet-ml"}
"""What to install, where it is not called like the tracker."""


class Reporter:
    """Open trackers; `train(..., on_step=reporter.on_step)`. A context manager that closes them.

    A step that a resumed training does again is logged again under its own number.
    """

    def __init__(
        self,
        report_to: str | Sequence[str],
        folder: str | Path,
        run_name: str,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        """Open the named trackers: "none", "all" (of those installed), or names such as "tensorboard" and "wandb".

        TensorBoard and others that keep files write to `folder`/`run_name`; Weights & Biases takes `run_name` as the
        project. `settings` are stored with the run. Raises `InvalidInput` if a name is unknown or a package is missing.
        """
        names = tracker_names(report_to)
        self._trackers: list[GeneralTracker] = []
        try:
            for name in names:
                self._trackers.append(_opened(name, Path(folder), run_name))
                if settings:
                    self._trackers[-1].store_init_configuration(plain_settings(settings))
        except BaseException:
            self.close()
            raise

    def on_step(self, record: StepRecord) -> None:
        """Log one step."""
        values = scalars(record)
        for tracker in self._trackers:
            tracker.log(values, step=record.step)

    def close(self) -> None:
        """Finish what is open; a second time does nothing."""
        while self._trackers:
            self._trackers.pop().finish()

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def scalars(record: StepRecord) -> dict[str, float]:
    """A record under the names above; what was not measured is left out."""
    values = {name: getattr(record, field) for field, name in NAMES.items() if getattr(record, field) is not None}
    price = record.beta * record.kl
    values |= {"objective/non_score_reward": -price, "objective/rlhf_reward": record.reward - price}
    return values | {f"policy/{name}": value for name, value in record.measures.items()}


def tracker_names(report_to: str | Sequence[str]) -> tuple[str, ...]:
    """The trackers that are meant, each once; `InvalidInput` for one that is unknown or not installed."""
    given = (report_to,) if isinstance(report_to, str) else tuple(report_to)
    installed = [str(name) for name in get_available_trackers()]
    if given in {(), ("none",)}:
        return ()
    if given == ("all",):
        return tuple(installed)
    for name in given:
        if name not in LOGGER_TYPE_TO_CLASS:
            known = ", ".join(sorted(LOGGER_TYPE_TO_CLASS))
            raise InvalidInput(f"report_to is 'none', 'all' or any of {known}; got {name!r}.")
        if name not in installed:
            package = PACKAGES.get(name, name)
            raise InvalidInput(f"report_to {name!r} needs a package that is missing: pip install {package}.")
    return tuple(dict.fromkeys(given))


def plain_settings(settings: Mapping[str, object], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Settings as trackers take them: one flat table of numbers and texts; names of nested ones joined by a dot."""
    flat: dict[str, bool | int | float | str] = {}
    for name, value in settings.items():
        if is_dataclass(value) and not isinstance(value, type):
            value = {field.name: getattr(value, field.name) for field in fields(value)}
        if isinstance(value, Mapping):
            flat |= plain_settings(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value if isinstance(value, bool | int | float | str) else str(value)
    return flat


def _opened(name: str, folder: Path, run_name: str) -> GeneralTracker:
    kind: Any = LOGGER_TYPE_TO_CLASS[name]
    tracker: GeneralTracker = kind(run_name, str(folder)) if kind.requires_logging_directory else kind(run_name)
    tracker.start()
    return tracker
