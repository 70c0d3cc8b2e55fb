"""The form of the room Train: what a session is to do. What is rarely changed stands behind a second disclosure."""

from collections.abc import Mapping
from typing import Any, cast

import gradio as gr

from rrm.config import RewardSection
from rrm.sessions.choices import ACQUISITIONS, CONSERVATIVE, FEATURES, KINDS, WITHOUT_COEFFICIENT, Choices

PERCENT = frozenset({"rater_error", "random_share", "lora_layers"})
"""Settings that are shares, which people give in 100."""


class Form:
    """The controls, in the order in which they stand."""

    def __init__(self, settings: RewardSection) -> None:
        """Lay them out with what the run is configured for."""
        self._defaults = settings
        self.controls: dict[str, Any] = {}
        with gr.Accordion("Settings", open=False, elem_classes="rrm-form"):
            self._main(settings)
            with gr.Accordion("Rarely changed", open=False):
                self._rare(settings)

    def connect(self) -> None:
        """Show only what matters for what is chosen."""
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
        names = ("kind", "conservative", "acquisition", "diversity")
        chosen = [self.controls[name] for name in names]
        shown = [self.controls[name] for name in shown_for(*(getattr(self._defaults, name) for name in names))]
        for name in names:
            self.controls[name].input(self._on_choice, chosen, shown, **quiet)

    def settings(self, values: tuple[Any, ...]) -> dict[str, object]:
        """What was filled in, as a session's settings; `values` in the order of the controls."""
        given = dict(zip(self.controls, values, strict=True))
        for name in PERCENT:
            given[name] = given[name] and given[name] / 100
        if given["kind"] != "heads" and not given["features"]:
            given["features"] = list(self._defaults.features)
        return given

    def _on_choice(self, kind: str, conservative: str, acquisition: str, diversity: float | None) -> list[Any]:
        visible = shown_for(kind, conservative, acquisition, diversity)
        return [gr.update(visible=shown) for shown in visible.values()]

    def _main(self, settings: RewardSection) -> None:
        shown = self._shown(settings)
        self.controls["kind"] = gr.Radio(listed(KINDS), value=settings.kind, label="What a member is")
        self.controls["members"] = gr.Number(
            settings.members,
            precision=0,
            label="Members of the ensemble, 1 to 64",
            info="Their disagreement is the doubt.",
        )
        self.controls["features"] = gr.CheckboxGroup(
            listed(FEATURES),
            value=list(settings.features),
            label="What heads read of a text",
            info="Adapters and whole models read the text itself.",
            visible=shown["features"],
        )
        self.controls["acquisition"] = gr.Dropdown(
            listed(ACQUISITIONS),
            value=settings.acquisition,
            label="What is asked first, once it is current",
        )
        self.controls["conservative"] = gr.Dropdown(
            listed(CONSERVATIVE), value=settings.conservative, label="The reward that its members make together"
        )
        self.controls["coefficient"] = gr.Number(
            settings.coefficient, label="How cautious: c", visible=shown["coefficient"]
        )

    def _rare(self, settings: RewardSection) -> None:
        shown = self._shown(settings)
        self.controls["rater_error"] = gr.Number(
            in_100(settings.rater_error), label="Answers that are taken to be careless, in 100"
        )
        self.controls["random_share"] = gr.Number(
            in_100(settings.random_share),
            label="Questions that are drawn at random all the same, in 100",
            info="They show what choosing gains.",
            visible=shown["random_share"],
        )
        self.controls["diversity"] = gr.Number(
            settings.diversity,
            label="How much a question loses that resembles others, 0 to 1",
            visible=shown["diversity"],
        )
        self.controls["lora_rank"] = gr.Number(
            settings.lora_rank, precision=0, label="Rank of the adapters", visible=shown["lora_rank"]
        )
        self.controls["lora_layers"] = gr.Number(
            in_100(settings.lora_layers),
            label="Layers with adapters, in 100, from the top",
            visible=shown["lora_layers"],
        )
        self.controls["epochs"] = gr.Number(
            settings.epochs, precision=0, label="Passes over the judgements, at most", visible=shown["epochs"]
        )

    def _shown(self, settings: RewardSection) -> Mapping[str, bool]:
        return shown_for(settings.kind, settings.conservative, settings.acquisition, settings.diversity)


def shown_for(kind: str, conservative: str, acquisition: str, diversity: float | None) -> dict[str, bool]:
    """Which controls matter for what is chosen; the others of the form always do."""
    return {
        "features": kind == "heads" or bool(diversity),
        "coefficient": conservative not in WITHOUT_COEFFICIENT,
        "random_share": acquisition != "random",
        "diversity": acquisition != "random",
        "lora_rank": kind == "lora",
        "lora_layers": kind == "lora",
        "epochs": kind != "heads",
    }


def in_100(share: float) -> float:
    """A share as people give it; 0.07 is a little more than 7 hundredths in binary."""
    return round(100 * share, 9)


def listed(choices: Choices) -> list[tuple[str, str | int | float]]:
    """Choices as Gradio's controls want them."""
    return cast("list[tuple[str, str | int | float]]", list(choices))
