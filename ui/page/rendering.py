"""Records to HTML by templates that escape everything: model text and rater text are shown, never run."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

NOTHING = "–"
"""What stands where there is no figure."""


def render(template: str, data: Mapping[str, object]) -> str:
    """The HTML of a template in `ui/page/templates` with this data, in the wrapper that carries the page's style."""
    return Markup('<div class="rrm">{}</div>').format(Markup(_environment().get_template(template).render(data)))


def percent(value: float | None) -> str:
    """A share as people read it: 0.931 is 93%."""
    return NOTHING if value is None else f"{100 * value:.0f}%"


def figure(value: float | None, digits: int = 2) -> str:
    """A number with as many digits as it deserves."""
    return NOTHING if value is None else f"{value:.{digits}f}".replace("-", "−")


def count(value: int | None) -> str:
    """A whole number, thousands apart."""
    return NOTHING if value is None else f"{value:,}".replace(",", "\u202f")


def duration(seconds: float | None) -> str:
    """Seconds as people say them: 80 is `1 min 20 s`."""
    if seconds is None:
        return NOTHING
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def time(text: str | None) -> str:
    """An ISO-8601 time as day and minute, in UTC."""
    if text is None:
        return NOTHING
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%-d %b, %H:%M")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=percent, figure=figure, count=count, duration=duration, time=time, none=lambda value: value or NOTHING
    )
    return environment
