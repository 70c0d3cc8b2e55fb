"""What every room of the page works with: one run, and who is asking."""

from dataclasses import dataclass
from pathlib import Path

import fastapi
import gradio as gr

from rrm.config import Configuration
from rrm.people.accounts import LOCAL, Person
from rrm.store import Run
from rrm.tasks.task import AbstractTask


@dataclass(frozen=True)
class Page:
    """One run, opened without the lock of those that compute on it: the page only asks, answers and starts workers."""

    folder: Path
    run: Run
    task: AbstractTask
    config: Configuration

    def person(self, request: gr.Request | fastapi.Request) -> Person:
        """Who is asking; `install` of `ui.page.signing_in` has turned away whoever may not.

        Raises NotSignedIn where a request came past that, which only a mistake of ours can bring about.
        """
        from ui.page.signing_in import NotSignedIn, person_of

        inner = request.request if isinstance(request, gr.Request) else request
        found = person_of(self, inner) if inner is not None else LOCAL
        if found is None:
            raise NotSignedIn("Nobody is signed in; sign in and try again.")
        return found
