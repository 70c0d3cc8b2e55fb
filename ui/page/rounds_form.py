"""The form of the room Rounds: what the agent of a round maximises, what holds it to the base, and for how long."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from rrm.agent_words import HORIZONS, OBJECTIVES, REGULARIZERS, WEIGHTS, matters
from rrm.config import AgentSection
from ui.page.train_form import listed

CHOSEN = ("objective", "regularizer", "weights")
"""The controls by which others matter or not."""


class AgentForm:
    """The controls, in the order in which they stand."""

    def __init__(self, settings: AgentSection) -> None:
        """Lay them out with what the run is configured for; they come into sight where there is something to choose."""
        self._defaults = settings
        self.controls: dict[str, Any] = {}
        with gr.Accordion("How the agent learns", open=False, elem_classes="rrm-form", visible=False) as self.whole:
            self._main(settings)
            with gr.Accordion("Rarely changed", open=False):
                self._rare(settings)

    def connect(self) -> None:
        """Show only what matters for what is chosen."""
        chosen = [self.controls[name] for name in CHOSEN]
        shown = [self.controls[name] for name in _matters(self._defaults)]
        for control in chosen:
            control.input(
                self._on_choice, chosen, shown, show_progress="hidden", api_visibility="private", concurrency_limit=None
            )

    @property
    def parts(self) -> list[Any]:
        """Everything that `updates` changes, in that order."""
        return [self.whole, *self.controls.values()]

    def updates(self, settings: AgentSection | None, *, visible: bool) -> list[Any]:
        """The form with these settings filled in; None leaves what somebody is filling in as it is."""
        if settings is None:
            return [gr.update(visible=visible), *[gr.skip()] * len(self.controls)]
        shown = _matters(settings)
        values = [gr.update(value=getattr(settings, name), visible=shown.get(name, True)) for name in self.controls]
        return [gr.update(visible=visible), *values]

    def settings(self, values: Sequence[Any]) -> dict[str, object]:
        """What was filled in, as settings of an agent; `values` in the order of the controls."""
        given = dict(zip(self.controls, values, strict=True))
        # What is not shown was not chosen.
        shown = matters(**{name: str(given[name]) for name in CHOSEN})
        usual = {**self._defaults.model_dump(), "horizon": "completion"}
        return {name: value if shown.get(name, True) else usual[name] for name, value in given.items()}

    def _on_choice(self, objective: str, regularizer: str, weights: str) -> list[Any]:
        visible = matters(objective=objective, regularizer=regularizer, weights=weights)
        return [gr.update(visible=shown) for shown in visible.values()]

    def _main(self, settings: AgentSection) -> None:
        shown = _matters(settings)
        self.controls["objective"] = gr.Dropdown(
            listed(OBJECTIVES),
            value=settings.objective,
            label="What it learns from",
            info="Left alone, all of this is as the run is configured, or as it was chosen last.",
        )
        self.controls["regularizer"] = gr.Radio(
            listed(REGULARIZERS),
            value=settings.regularizer,
            label="What a nat away from the base costs",
            info="Nats (of KL) measure how far its completions have moved from what the untrained base would write.",
        )
        self.controls["beta"] = gr.Number(
            settings.beta, label="Price of a nat (beta)", info="Reward that a nat must bring."
        )
        self.controls["kl_target"] = gr.Number(
            settings.kl_target, label="The KL that it goes to, in nats a completion", visible=shown["kl_target"]
        )
        self.controls["budget"] = gr.Number(
            settings.budget,
            label="Hard budget of one completion, in nats; 0: none",
            info="Whatever it has learned, no completion spends more.",
        )
        self.controls["steps"] = gr.Number(settings.steps, precision=0, label="Steps of training")

    def _rare(self, settings: AgentSection) -> None:
        shown = _matters(settings)
        self.controls["horizon"] = gr.Radio(
            listed(HORIZONS), value=settings.horizon, label="What a token is credited with", visible=shown["horizon"]
        )
        self.controls["weights"] = gr.Radio(listed(WEIGHTS), value=settings.weights, label="What is trained")
        self.controls["lora_rank"] = gr.Number(
            settings.lora_rank, precision=0, label="Rank of the adapters", visible=shown["lora_rank"]
        )
        self.controls["total_variation"] = gr.Number(
            settings.total_variation, label="Hard limit of the total variation of one completion; 0: none"
        )
        self.controls["learning_rate"] = gr.Number(settings.learning_rate, label="Learning rate")
        self.controls["prompts_per_step"] = gr.Number(settings.prompts_per_step, precision=0, label="Prompts in a step")
        self.controls["group"] = gr.Number(settings.group, precision=0, label="Completions of each prompt (group)")


def _matters(settings: AgentSection) -> dict[str, bool]:
    return matters(objective=settings.objective, regularizer=settings.regularizer, weights=settings.weights)
