"""Transcripts as HTML: the marked text, and a page of its own that needs nothing else. All model text is escaped."""

from collections.abc import Sequence
from html import escape
from math import exp
from pathlib import Path
from string import Template

from rrm.figures import as_page_svg
from rrm.transcripts import SHADES, Transcript, about, in_words, percent, quoted, visible
from rrm.watching.pictures_of_training import spending_figure
from rrm.writing import write_whole


def marked(found: Transcript) -> str:
    """The text of a completion, each token marked by what it cost: classes `kl0` to `kl4`, the figures as a title."""
    tokens = (
        f'<span class="kl{token.shade}" title="{escape(about(token))}">{escape(token.shown)}</span>'
        for token in found.tokens
    )
    return f'<p class="spent" dir="auto">{"".join(tokens)}</p>'


def token_rows(found: Transcript) -> list[tuple[str, str, str, str, str, str]]:
    """Every token with its figures: name, nats, nats so far, probability, the base's, entropy."""
    return [
        (
            token.quoted,
            f"{token.kl:.3f}",
            f"{running:.2f}",
            percent(exp(token.log_probability)),
            percent(exp(token.base_log_probability)),
            f"{token.entropy:.2f}",
        )
        for token, running in zip(found.tokens, found.running, strict=True)
    ]


def alternatives(found: Transcript) -> list[tuple[str, str, str]]:
    """For each of the costliest tokens: its name and cost, the likeliest of the agent, the likeliest of the base."""
    rows: list[tuple[str, str, str]] = []
    for place, token in ((place, found.tokens[place]) for place in found.costliest if found.tokens[place].shade):
        by_base = sorted(token.alternatives, key=lambda one: -one.base_probability)
        count = (len(token.alternatives) + 1) // 2
        rows.append(
            (
                f"{token.quoted}, token {place + 1}: {about(token)}",
                ", ".join(f"{quoted(one.name)} {percent(one.probability)}" for one in token.alternatives[:count]),
                ", ".join(f"{quoted(one.name)} {percent(one.base_probability)}" for one in by_base[:count]),
            )
        )
    return rows


def legend() -> tuple[str, ...]:
    """What the shades 0 to 4 mean, in nats."""
    return (
        f"below {SHADES[0]:g} nats",
        *(f"from {limit:g}" for limit in SHADES),
    )


def write_page(path: Path, found: Sequence[Transcript], *, title: str) -> None:
    """Write the page, whole or not at all."""
    write_whole(path, page(found, title=title).encode())


def page(found: Sequence[Transcript], *, title: str) -> str:
    """One self-contained page with every transcript, its curve and its numbers."""
    said = f"Nats spent along the tokens of {len(found)} completions"
    return Template((Path(__file__).parent / "transcript.html").read_text(encoding="utf-8")).substitute(
        title=escape(visible(title)),
        legend="".join(f'<li><span class="kl{shade}">{words}</span></li>' for shade, words in enumerate(legend())),
        figure=as_page_svg(spending_figure(found), description=said),
        transcripts="\n".join(_section(one, number) for number, one in enumerate(found, start=1)),
    )


def _section(found: Transcript, number: int) -> str:
    name = f"completion-{number}"
    return (
        f'<section aria-labelledby="{name}"><h2 id="{name}">Completion {number}, by {escape(visible(found.agent))}</h2>'
        f"<p>{escape(in_words(found))}</p>{marked(found)}"
        f"{_alternatives(found)}"
        f"<details><summary>Every token</summary>{_tokens(found)}</details>"
        f'<details><summary>What it read</summary><pre dir="auto">{escape(visible(found.prompt))}</pre></details>'
        "</section>"
    )


def _alternatives(found: Transcript) -> str:
    rows = alternatives(found)
    heads = ("Token", "Likeliest for the agent", "Likeliest for the base")
    return f"<h3>Where most was spent</h3>{_table(heads, rows, name='Where most was spent', numbers=0)}" if rows else ""


def _tokens(found: Transcript) -> str:
    heads = ("Token", "Nats", "So far", "Probability", "Under the base", "Entropy")
    return _table(heads, token_rows(found), name="Every token", numbers=5)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, name: str, numbers: int) -> str:
    """A table whose last columns are numbers; where it is too wide, keys scroll it too."""
    places = ["" if place < len(heads) - numbers else ' class="number"' for place in range(len(heads))]
    head = "".join(f'<th scope="col"{place}>{name}</th>' for place, name in zip(places, heads, strict=True))
    body = "".join(f"<tr>{_cells(row, places)}</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{name}">{table}</div>'


def _cells(row: Sequence[str], places: Sequence[str]) -> str:
    return "".join(f"<td{place}>{escape(cell)}</td>" for place, cell in zip(places, row, strict=True))
