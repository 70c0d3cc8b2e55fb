"""What the forms of the room People do: each calls one function of `rrm` and says in a sentence what came of it."""

from collections.abc import Callable

from reward_models.errors import InvalidInput, RrmError
from rrm.judging.adjudication import adjudicate
from rrm.judging.guidelines import edit_guidelines, guidelines_now
from rrm.people.accounts import (
    Person,
    Role,
    account,
    add_account,
    has_accounts,
    require_lead,
    set_active,
    set_password,
    set_role,
)
from rrm.people.exclusions import leave_out
from rrm.people.sign_ins import person_with_password
from rrm.store import Choice, utc_now
from ui.page.context import Page
from ui.page.rendering import render

Said = tuple[str, bool]
"""The sentence as HTML, and whether it was done."""


def attempt(page: Page, work: Callable[[], str]) -> Said:
    """Do something; a refusal becomes a sentence, and what was typed stays where it is."""
    without_accounts = not has_accounts(page.run)
    try:
        done = work()
    except RrmError as error:
        return render("people_said.html", {"problem": sentence(str(error))}), False
    sign_in = without_accounts and has_accounts(page.run)
    return render("people_said.html", {"problem": None, "done": done, "sign_in": sign_in}), True


def sentence(text: str) -> str:
    """A message of an error as a sentence."""
    begun = f"{text[:1].upper()}{text[1:]}"
    return begun if begun.endswith((".", "!", "?")) else f"{begun}."


def add(page: Page, by: Person, *, name: str, password: str, role: str) -> Said:
    """Add an account."""

    def work() -> str:
        require_lead(by, "add somebody")
        added = add_account(page.run, name=name, password=password, role=Role(role), now=utc_now())
        return f"Added {added.name}, a {added.role.value}. Tell them their password yourself."

    return attempt(page, work)


def reset_password(page: Page, by: Person, *, rater_id: str | None, password: str) -> Said:
    """Set somebody's password anew."""

    def work() -> str:
        require_lead(by, "set a password anew")
        person = account(page.run, _chosen(rater_id)).person
        set_password(page.run, rater_id=person.rater_id, password=password, now=utc_now())
        return f"{person.name} has a new password and is signed out everywhere."

    return attempt(page, work)


def change_role(page: Page, by: Person, *, rater_id: str | None, role: str) -> Said:
    """Make somebody a rater or a lead."""

    def work() -> str:
        require_lead(by, "change a role")
        person = account(page.run, _chosen(rater_id)).person
        set_role(page.run, rater_id=person.rater_id, role=Role(role), now=utc_now())
        return f"{person.name} is a {role} now."

    return attempt(page, work)


def open_or_close(page: Page, by: Person, *, rater_id: str | None, active: bool) -> Said:
    """Close an account, or open it again."""

    def work() -> str:
        require_lead(by, "close an account")
        person = account(page.run, _chosen(rater_id)).person
        set_active(page.run, rater_id=person.rater_id, active=active, now=utc_now())
        return f"{person.name} {'may sign in again' if active else 'cannot sign in any more'}."

    return attempt(page, work)


def leave_out_or_take_in(page: Page, by: Person, *, rater_id: str | None, left_out: bool, reason: str) -> Said:
    """Leave a rater's answers out of fits from now on, or take them in again."""

    def work() -> str:
        leave_out(page.run, rater_id=_chosen(rater_id), left_out=left_out, reason=reason, by=by, now=utc_now())
        return (
            "Their answers are left out of what is fitted and decided from now on; what was fitted before keeps them."
            if left_out
            else "Their answers count again from now on."
        )

    return attempt(page, work)


def settle(page: Page, by: Person, *, comparison_id: str | None, choice: Choice, comment: str) -> Said:
    """Adjudicate the comparison that is shown."""

    def work() -> str:
        if comparison_id is None:
            raise InvalidInput("nothing waits to be settled; load the page anew to see what came in since")
        adjudicate(
            page.run,
            comparison_id,
            choice=choice,
            by=by,
            now=utc_now(),
            comment=comment.strip(),
            guidelines=guidelines_now(page.run, page.task).sha256,
        )
        return "Settled."

    return attempt(page, work)


def write_guidelines(page: Page, by: Person, *, text: str) -> Said:
    """Let other guidelines hold from now on."""

    def work() -> str:
        edit_guidelines(page.run, page.task, text=text, by=by, now=utc_now())
        return "Saved. They hold from the next comparison on, and earlier answers keep the version they had."

    return attempt(page, work)


def change_own_password(page: Page, by: Person, *, old: str, new: str) -> Said:
    """Change the password of whoever asks, who has to know the old one."""

    def work() -> str:
        if person_with_password(page.run, name=by.name, password=old, now=utc_now()) != by:
            raise InvalidInput("this is not your password now; check it and try again")
        set_password(page.run, rater_id=by.rater_id, password=new, now=utc_now())
        return "Changed. Sign in with it on the next page you open."

    return attempt(page, work)


def _chosen(rater_id: str | None) -> str:
    if not rater_id:
        raise InvalidInput("nobody is chosen; choose a name first")
    return rater_id
