"""What the room People shows, as HTML and as states of its controls."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from rrm.judging.adjudication import disputed, disputed_ids
from rrm.judging.guidelines import guidelines_versions
from rrm.judging.reliability import reliability_and_by_rater
from rrm.judging.remarks import remarks
from rrm.people.accounts import Person, has_accounts
from rrm.people.overview import Figures, Overview, overview
from rrm.watching.memory import Memory
from ui.page.context import Page
from ui.page.rendering import render

WORDS = {
    "first": "First is better",
    "second": "Second is better",
    "tie": "Tie",
    "both_bad": "Both bad",
    "cannot_tell": "Can’t tell",
    "skip": "Skipped",
}
"""Answers where the two completions stand in the order of the store."""


@dataclass(frozen=True)
class PeopleRoom:
    """What the parts of the room share."""

    page: Page
    memory: Memory[Figures]

    def figures(self, person: Person) -> str:
        """Who judges and how well, as this person may see it."""
        found = self._overview(person)
        return render(
            "people.html",
            {
                "accounts": has_accounts(self.page.run),
                "lead": person.is_lead,
                "rows": found.rows,
                "everybody": found.everybody,
            },
        )

    def choices(self, person: Person) -> dict[str, Any]:
        """Everybody who can be changed or left out; nobody for a rater."""
        rows = self._overview(person).rows if person.is_lead else ()
        return dict(gr.update(choices=[(row.name, row.rater_id) for row in rows]))

    def guidelines(self) -> str:
        """The guidelines that hold, and the earlier ones."""
        *earlier, now = guidelines_versions(self.page.run, self.page.task)
        return render("people_guidelines.html", {"now": now, "earlier": earlier[::-1]})

    def remarks(self, person: Person) -> str:
        """What raters flagged and wrote; for leads."""
        return render("people_remarks.html", {"remarks": remarks(self.page.run, by=person), "words": WORDS})

    def disputed(self, person: Person, *, after: str | None = None) -> tuple[str | None, str, dict[str, Any]]:
        """The next comparison to settle, after another one if that is to wait: its id, its HTML, the controls."""
        waiting = disputed_ids(self.page.run)
        place = waiting.index(after) + 1 if after in waiting else 0
        chosen = waiting[place % len(waiting)] if waiting else None
        shown = None if chosen is None else disputed(self.page.run, chosen, by=person)
        html = render("people_disputed.html", {"disputed": shown, "waiting": len(waiting), "words": WORDS})
        return chosen, html, visible(chosen is not None)

    def _overview(self, person: Person) -> Overview:
        figures = self.memory.recall("reliability", lambda: reliability_and_by_rater(self.page.run))
        return overview(self.page.run, by=person, figures=figures)


def visible(wanted: bool) -> dict[str, Any]:
    """Show or hide a control."""
    return dict(gr.update(visible=wanted))


def heading(title: str, text: str = "") -> str:
    """A heading above controls."""
    return render("people_heading.html", {"title": title, "text": text})
