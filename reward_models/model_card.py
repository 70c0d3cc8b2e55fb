"""The README.md beside exported weights: what they are, how to score with them, what was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from huggingface_hub import ModelCard, ModelCardData

LICENSE_NOTE = "The weights stand under the licence of the base model, and of the judgements that they were fitted on."


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What a card says. Nothing in it may name a place on one machine."""

    title: str
    """The heading."""
    summary: str
    """What the model is, in a sentence or two."""
    base_model: str
    """Name of the base model on the Hub, or of its folder; `base_name` makes it from a path."""
    usage: str
    """Python that scores a text."""
    library: Literal["transformers", "peft"] = "transformers"
    """What the usage needs."""
    notes: tuple[str, ...] = ()
    """What a user must know: one paragraph each."""
    figures: Mapping[str, object] = field(default_factory=dict)
    """What was measured, by name; empty for no table."""


def write_model_card(folder: Path, facts: CardFacts) -> None:
    """Write README.md with the front matter that the Hub reads. A reward is no probability: the card says so."""
    data = ModelCardData(
        library_name=facts.library,
        pipeline_tag="text-classification",
        tags=["reward-model", "preference", "uncertainty"],
        base_model=facts.base_model or None,
    )
    parts = [
        facts.summary,
        "Higher is better. A score is in logits: the sigmoid of the difference of two completions' scores is the "
        "probability that the first is better. A single score has no meaning on its own.",
        f"```python\n{facts.usage.strip()}\n```",
        *facts.notes,
    ]
    save_card(folder, data, title=facts.title, parts=parts, figures=facts.figures)


def save_card(
    folder: Path, data: ModelCardData, *, title: str, parts: Sequence[str], figures: Mapping[str, object]
) -> None:
    """Write README.md: front matter, a heading, paragraphs, what was measured (if anything was), and the licence."""
    paragraphs = [f"# {title}", *parts, *([_table(figures)] if figures else []), LICENSE_NOTE]
    text = "\n\n".join(part.strip() for part in paragraphs if part.strip())
    ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}\n", ignore_metadata_errors=False).save(folder / "README.md")


def base_name(source: str) -> str:
    """How a card names a base model: by its name on the Hub, or by the last part of a path."""
    path = Path(source)
    return source if source.count("/") == 1 and not path.is_absolute() and not path.exists() else path.name


def _table(figures: Mapping[str, object]) -> str:
    rows = [f"| {name} | {_number(value)} |" for name, value in figures.items()]
    return "\n".join(["| measured | |", "|---|---|", *rows])


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
