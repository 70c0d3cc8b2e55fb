"""The guidelines that raters follow: the task's own until a lead edits them; every version is kept.

A judgement carries the sha256 of the version its rater could read, so that answers by other guidelines can be told
apart later.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from reward_models.errors import InvalidInput
from rrm.errors import RunCorrupt
from rrm.people.accounts import Person, require_lead
from rrm.store.canonical import sha256_text
from rrm.store.run import Run, get_value, set_value
from rrm.store.texts import get_text, put_text
from rrm.store.times import timestamp
from rrm.tasks.task import AbstractTask

LONGEST = 20_000
_KEY = "guidelines"


@dataclass(frozen=True, slots=True)
class Guidelines:
    """What raters are told."""

    text: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Version:
    """The guidelines as they were from some time on."""

    guidelines: Guidelines
    by: str | None
    """Name of the lead who wrote it; None for the task's own text."""
    at: str | None


def guidelines_now(run: Run, task: AbstractTask) -> Guidelines:
    """The guidelines that hold now; a text that was never edited is kept in the store with the first answer to it."""
    return guidelines_versions(run, task)[-1].guidelines


def guidelines_versions(run: Run, task: AbstractTask) -> list[Version]:
    """All versions, oldest first; the first is the task's own text."""
    own = task.guidelines_of_all_levels()
    versions = [Version(Guidelines(own, sha256_text(own)), by=None, at=None)]
    for edit in _edits(run):
        digest = str(edit["sha256"])
        versions.append(Version(Guidelines(get_text(run, digest), digest), by=str(edit["by"]), at=str(edit["at"])))
    return versions


def edit_guidelines(run: Run, task: AbstractTask, *, text: str, by: Person, now: str) -> Guidelines:
    """Let other guidelines hold from now on; leads only (NotAllowed). The text that holds already changes nothing."""
    require_lead(by, "edit the guidelines")
    new = "\n".join(line.rstrip() for line in text.strip().splitlines())
    if not 1 <= len(new) <= LONGEST:
        raise InvalidInput(f"guidelines of {len(new)} characters came; write 1 to {LONGEST}")
    with run.transaction():
        now_holding = guidelines_now(run, task)
        if new == now_holding.text:
            return now_holding
        # The text that answers so far refer to is kept with the run, even if the task has another one some day.
        put_text(run, now_holding.text)
        digest = put_text(run, new)
        edit = {"sha256": digest, "by": by.name, "at": timestamp(now)}
        set_value(run, _KEY, [*_edits(run), edit])
    return Guidelines(new, digest)


def _edits(run: Run) -> list[Mapping[str, object]]:
    stored = get_value(run, _KEY) or []
    if not (isinstance(stored, list) and all(isinstance(edit, dict) for edit in stored)):
        raise RunCorrupt("the run's guidelines are not a list of versions; restore the run folder from a copy")
    return cast(list[Mapping[str, object]], stored)
