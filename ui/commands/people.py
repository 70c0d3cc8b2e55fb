"""People: the accounts of a run, looked after from the command line."""

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ui.commands.shared import AsJson, RunFolder, show

if TYPE_CHECKING:
    from rrm.people.accounts import Account
    from rrm.store import Run


RoleName = Literal["rater", "lead"]


class Action(StrEnum):
    """What to do."""

    LIST = "list"
    ADD = "add"
    PASSWORD = "password"
    ROLE = "role"
    CLOSE = "close"
    OPEN = "open"


def register(app: typer.Typer) -> None:
    """Add this command to the application."""
    app.command()(people)


def people(
    folder: RunFolder,
    action: Annotated[Action, typer.Argument(metavar="[ACTION]", help="list, add, password, role, close or open.")] = (
        Action.LIST
    ),
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Whose account; not for list.", show_default=False)
    ] = None,
    role: Annotated[RoleName | None, typer.Option(help="For add and role: rater or lead.", show_default=False)] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input instead of asking for it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the accounts of a run, add one, set a password or a role anew, close an account or open it again.

    A rater judges and looks; a lead also decides. The first account must be a lead's; from then on everybody signs in,
    and `rrm ui --host` may listen beyond this machine. Passwords are asked for, so that no history keeps them.
    """
    from rrm.people.accounts import accounts
    from rrm.run_folder import open_run_folder

    if action is not Action.LIST and name is None:
        raise typer.BadParameter(f"{action.value} needs a name: rrm people {folder} {action.value} NAME")
    with open_run_folder(folder) as opened:
        done = "" if name is None else _do(opened.run, action, name, role, password_stdin=password_stdin)
        found = accounts(opened.run)
        show(_as_json(found), as_json=as_json, text=done or _list_text(found, str(folder)))


def _do(run: "Run", action: Action, name: str, role: RoleName | None, *, password_stdin: bool) -> str:
    """Change one account and say what was done."""
    from rrm.people.accounts import Role, account_of, add_account, set_active, set_password, set_role
    from rrm.store import utc_now

    if action is Action.LIST:
        raise typer.BadParameter("list takes no name")
    if action is Action.ADD:
        added = add_account(
            run, name=name, password=_password(password_stdin), role=Role(role or "rater"), now=utc_now()
        )
        return f"Added {added.name} ({added.role.value})."
    person = account_of(run, name).person
    if action is Action.PASSWORD:
        set_password(run, rater_id=person.rater_id, password=_password(password_stdin), now=utc_now())
        return f"{person.name} has a new password and is signed out everywhere."
    if action is Action.ROLE:
        if role is None:
            raise typer.BadParameter("role needs --role rater or --role lead")
        set_role(run, rater_id=person.rater_id, role=Role(role), now=utc_now())
        return f"{person.name} is a {role} now."
    set_active(run, rater_id=person.rater_id, active=action is Action.OPEN, now=utc_now())
    return f"{person.name} {'may sign in again' if action is Action.OPEN else 'cannot sign in any more'}."


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))


def _as_json(found: "list[Account]") -> list[dict[str, object]]:
    return [
        {
            "rater_id": one.person.rater_id,
            "name": one.person.name,
            "role": one.person.role.value,
            "active": one.active,
            "created_at": one.created_at,
        }
        for one in found
    ]


def _list_text(found: "list[Account]", folder: str) -> str:
    if not found:
        return f"No accounts: whoever sits at this machine is a lead. Add one: rrm people {folder} add NAME --role lead"
    lines = [f"{one.person.role.value:5}  {'' if one.active else '(closed) '}{one.person.name}" for one in found]
    return "\n".join(lines)
