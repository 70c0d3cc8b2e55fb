"""Fit a reward model of the configured kind to answers."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from reward_models.backbone import Backbone
from reward_models.fit_plan import GradientSettings
from reward_models.fitting import FitSettings, FitStep, fit
from reward_models.full_model import FullFit, fit_full
from reward_models.gradient_fitting import GradientStep
from reward_models.lora_model import LoraFit, fit_lora
from reward_models.pairs import EncodedPairs
from reward_models.stacked_adapters import AdapterSettings
from rrm.config import RewardSection
from rrm.errors import RunError
from rrm.rewards.answers import Answers
from rrm.rewards.models import AbstractRewards, HeadsRewards, TextRewards, spoken


class Stage(NamedTuple):
    """Where a fit is."""

    words: str
    done: int
    """Steps."""
    total: int | None
    """Of them; None where that is not known."""


Watch = Callable[[Stage], None]
"""Told where a fit is; may raise to stop it."""

LORA_RATE = 1e-3
"""First step size of adapters."""
FULL_RATE = 1e-4
"""First step size of whole models."""
FEWEST_APART = 24
"""Answers that a fit by gradient keeps apart at least, as long as they are not more than a third of all."""
CHECKPOINT_EVERY = 20
"""Steps of a fit by gradient that a kill can cost."""

_STAGES = {"choose": "choosing the strength", "fit": "fitting the members", "calibrate": "calibrating"}


@dataclass(frozen=True)
class Unseen:
    """How a fitted model does on answers that its members did not see, kept apart or by folds."""

    answers: int
    accuracy: float
    """Agreement, ties one half."""
    loss: float
    """Log loss, nats an answer."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A fitted reward model and how it was made."""

    rewards: AbstractRewards
    comparisons: int
    """What it was fitted to."""
    unseen: Unseen
    """On answers among those."""
    record: Mapping[str, object]
    """What was chosen and measured, ready for JSON."""


def fit_rewards(
    answers: Answers,
    *,
    settings: RewardSection,
    generator: torch.Generator,
    backbone: Callable[[], Backbone],
    chat: bool,
    checkpoint: Path,
    watch: Watch | None = None,
) -> Fitted:
    """Fit to answers. Equal answers, settings and generators give equal models.

    `backbone` gives members that read texts what they start from; with `chat` they read them as messages. A fit by
    gradient keeps where it stands in the file `checkpoint`, and goes on from there after a kill, also from its end;
    heads are fitted too quickly for that.
    """
    if settings.kind == "heads":
        return _heads(answers, settings, generator, watch)
    return _by_gradient(answers, settings, generator, backbone(), chat, checkpoint, watch)


def _heads(answers: Answers, settings: RewardSection, generator: torch.Generator, watch: Watch | None) -> Fitted:
    names = tuple(settings.features)

    def on_step(step: FitStep) -> None:
        if watch is not None:
            watch(Stage(_STAGES[step.stage], step.iteration, None))

    result = fit(
        answers.first.joined(names),
        answers.second.joined(names),
        answers.labels,
        feature_names=names,
        settings=FitSettings(members=settings.members, rater_error=settings.rater_error),
        generator=generator,
        on_step=on_step,
        # With a single document there is nothing to keep together.
        groups=answers.groups if len(answers.groups.unique()) > 1 else None,
    )
    held_out = result.record.held_out_after
    return Fitted(
        rewards=HeadsRewards(result.ensemble),
        comparisons=result.record.comparisons,
        unseen=Unseen(result.record.comparisons, held_out.accuracy, held_out.loss),
        record=asdict(result.record),
    )


def _by_gradient(
    answers: Answers,
    settings: RewardSection,
    generator: torch.Generator,
    backbone: Backbone,
    chat: bool,
    checkpoint: Path,
    watch: Watch | None,
) -> Fitted:
    pairs = EncodedPairs(
        first=backbone.encode(*spoken(answers.first.prompts, answers.first.completions, chat=chat)),
        second=backbone.encode(*spoken(answers.second.prompts, answers.second.completions, chat=chat)),
        labels=answers.labels,
        weights=torch.ones_like(answers.labels),
        # With a single document there is nothing to keep together.
        groups=answers.groups if len(answers.groups.unique()) > 1 else None,
    )

    def on_step(step: GradientStep) -> None:
        if watch is not None:
            loss = sum(step.losses) / len(step.losses)
            watch(Stage(f"step {step.step} of {step.steps}, loss {loss:.2f}", step.step, step.steps))

    result: LoraFit | FullFit
    if settings.kind == "lora":
        result = fit_lora(
            backbone,
            pairs,
            adapters=_adapters(backbone, settings),
            settings=_steps(settings, len(answers), learning_rate=LORA_RATE),
            generator=generator,
            checkpoint=checkpoint,
            on_step=on_step,
        )
    else:
        result = fit_full(
            backbone,
            pairs,
            members=settings.members,
            settings=_steps(settings, len(answers), learning_rate=FULL_RATE),
            generator=generator,
            checkpoint=checkpoint,
            on_step=on_step,
        )
    record, held_out = result.record, result.record.held_out_after
    if held_out is None:
        raise RunError("A fit by gradient kept nothing apart to test itself on; this is a fault of the program.")
    return Fitted(
        rewards=TextRewards(result.model, chat=chat),
        comparisons=record.comparisons + record.held_out_comparisons,
        unseen=Unseen(record.held_out_comparisons, held_out.accuracy, held_out.loss),
        record={**asdict(record), "cut": pairs.first.cut + pairs.second.cut},
    )


def _steps(settings: RewardSection, answers: int, *, learning_rate: float) -> GradientSettings:
    return GradientSettings(
        epochs=settings.epochs,
        learning_rate=learning_rate,
        rater_error=settings.rater_error,
        # A tenth of few answers would be too few to find a temperature by.
        held_out_share=min(1.0 / 3.0, max(0.1, FEWEST_APART / answers)),
        checkpoint_every=CHECKPOINT_EVERY,
    )


def _adapters(backbone: Backbone, settings: RewardSection) -> AdapterSettings:
    """Adapters of the configured rank in the upper layers, at least in one."""
    count = int(backbone.model.config.get_text_config().num_hidden_layers)
    adapted = max(1, round(settings.lora_layers * count))
    return AdapterSettings(
        members=settings.members,
        rank=settings.lora_rank,
        alpha=2 * settings.lora_rank,
        layers=tuple(range(count - adapted, count)),
    )
