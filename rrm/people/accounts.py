"""Accounts: the people who may judge, and the leads among them.

A run without accounts has one local person, who is a lead. With the first account, everybody has to sign in.
"""

import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from reward_models.errors import InvalidInput
from rrm.errors import NotAllowed
from rrm.people.passwords import NOBODYS, hashed, matches
from rrm.store.canonical import derived_id
from rrm.store.comparisons import put_rater
from rrm.store.records import Rater, RaterKind
from rrm.store.run import Run
from rrm.store.texts import one
from rrm.store.times import timestamp
from rrm.store.transaction import Row, execute, rows

LONGEST_NAME = 40

_ACCOUNTS = "SELECT accounts.*, raters.name FROM accounts JOIN raters ON raters.id = rater_id"


class Role(StrEnum):
    """What somebody may do."""

    RATER = "rater"
    """Judge, and look."""
    LEAD = "lead"
    """Also start and stop what computes, decide about promotions, and look after raters."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who uses the page."""

    rater_id: str
    name: str
    role: Role

    @property
    def is_lead(self) -> bool:
        """Whether this person may also decide."""
        return self.role is Role.LEAD


LOCAL = Person(rater_id="local", name="You", role=Role.LEAD)
"""Whoever sits at the machine of a run without accounts."""


class Account(NamedTuple):
    """A person as the run knows them."""

    person: Person
    active: bool
    """Whether they may sign in."""
    created_at: str


class Known(NamedTuple):
    """What is stored for a name."""

    person: Person
    password: str
    """The salted hash."""
    active: bool


def add_account(run: Run, *, name: str, password: str, role: Role, now: str) -> Person:
    """Add a person; a name that is taken or unusable, or a short password -> InvalidInput. The first must be a lead."""
    person = Person(rater_id=rater_id_of(name), name=usable_name(name), role=role)
    secret = hashed(password)
    time = timestamp(now)
    with run.transaction():
        if role is not Role.LEAD and not has_accounts(run):
            raise InvalidInput(f"{person.name!r} would be the only account, and a rater; the first must be a lead")
        if rows(run.database, "SELECT 1 FROM accounts WHERE rater_id = ?", (person.rater_id,)):
            raise InvalidInput(f"the name {person.name!r} is taken; choose another one (case makes no difference)")
        ensure_rater(run, person)
        execute(
            run.database,
            """INSERT INTO accounts (rater_id, role, password, active, created_at, changed_at)
            VALUES (?, ?, ?, 1, ?, ?)""",
            (person.rater_id, role.value, secret, time, time),
        )
    return person


def set_password(run: Run, *, rater_id: str, password: str, now: str) -> None:
    """Give an account another password; whoever is signed in with it is signed out."""
    secret = hashed(password)
    with run.transaction():
        _change(run, rater_id, "password", secret, now)
        _sign_out_everywhere(run, rater_id)
        execute(run.database, "DELETE FROM wrong_passwords WHERE name = ?", (rater_id,))


def set_role(run: Run, *, rater_id: str, role: Role, now: str) -> None:
    """Make somebody a rater or a lead; the last lead stays one (else InvalidInput)."""
    with run.transaction():
        _change(run, rater_id, "role", role.value, now)
        _refuse_without_lead(run)


def set_active(run: Run, *, rater_id: str, active: bool, now: str) -> None:
    """Let somebody sign in again, or no more; the last lead stays (else InvalidInput)."""
    with run.transaction():
        _change(run, rater_id, "active", int(active), now)
        _refuse_without_lead(run)
        if not active:
            _sign_out_everywhere(run, rater_id)


def accounts(run: Run) -> list[Account]:
    """All accounts, by name."""
    found = rows(run.database, f"{_ACCOUNTS} ORDER BY name, rater_id")
    return [Account(_person(row), bool(row["active"]), str(row["created_at"])) for row in found]


def account(run: Run, rater_id: str) -> Account:
    """One account; an unknown one -> InvalidInput."""
    row = one(rows(run.database, f"{_ACCOUNTS} WHERE rater_id = ?", (rater_id,)), "account", rater_id)
    return Account(_person(row), bool(row["active"]), str(row["created_at"]))


def account_of(run: Run, name: str) -> Account:
    """The account of a name, in whatever case it is typed; an unknown one -> InvalidInput."""
    found = rows(run.database, f"{_ACCOUNTS} WHERE rater_id = ?", (rater_id_of(name),))
    row = one(found, "account", name)
    return Account(_person(row), bool(row["active"]), str(row["created_at"]))


def has_accounts(run: Run) -> bool:
    """Whether people sign in here; without accounts there is only the local person."""
    return bool(rows(run.database, "SELECT 1 FROM accounts LIMIT 1"))


def known(run: Run, name: str) -> Known | None:
    """What is stored for a name, in whatever case and spelling it is typed."""
    found = rows(run.database, f"{_ACCOUNTS} WHERE rater_id = ?", (rater_id_of(name),))
    return Known(_person(found[0]), str(found[0]["password"]), bool(found[0]["active"])) if found else None


def check_password(run: Run, name: str, password: str) -> Person | None:
    """The person of a name and password, or None; an unknown name takes as long as a wrong password."""
    found = known(run, name)
    right = matches(password, found.password if found else NOBODYS)
    return found.person if found and right and found.active else None


def ensure_rater(run: Run, person: Person) -> None:
    """Let the store know a person as a rater; call it before they are given a comparison."""
    if not rows(run.database, "SELECT 1 FROM raters WHERE id = ?", (person.rater_id,)):
        put_rater(run, Rater(person.rater_id, person.name, RaterKind.PERSON))


def require_lead(person: Person, to: str) -> None:
    """Refuse what only leads may do; `to` is a phrase such as `approve a promotion`. Raises NotAllowed."""
    if not person.is_lead:
        raise NotAllowed(f"{person.name} is a rater, and only a lead may {to}; ask one of them")


def usable_name(name: str) -> str:
    """A name as it is kept: without space around it, composed characters; an unusable one -> InvalidInput."""
    normal = unicodedata.normalize("NFC", name).strip()
    if not 1 <= len(normal) <= LONGEST_NAME:
        raise InvalidInput(f"a name of {len(normal)} characters came; it needs 1 to {LONGEST_NAME}")
    # A colon would end the name in HTTP Basic; what cannot be seen would let one name pass for another.
    if ":" in normal or any(_is_invisible(character) for character in normal):
        raise InvalidInput(f"the name {normal!r} holds a colon or a character that cannot be seen; leave it out")
    return normal


def rater_id_of(name: str) -> str:
    """The id that a name has in the store; the same for every case and compatible spelling of it."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).strip().casefold())
    # What is no valid Unicode is nobody's name.
    folded = folded.encode("utf-8", "replace").decode("utf-8")
    return f"person-{derived_id('person', folded)[:12]}"


def _is_invisible(character: str) -> bool:
    return character != " " and unicodedata.category(character)[0] in "CZ"


def _person(row: Row) -> Person:
    return Person(rater_id=str(row["rater_id"]), name=str(row["name"]), role=Role(str(row["role"])))


def _change(run: Run, rater_id: str, column: str, value: str | int, now: str) -> None:
    account(run, rater_id)
    execute(
        run.database,
        f"UPDATE accounts SET {column} = ?, changed_at = ? WHERE rater_id = ?",
        (value, timestamp(now), rater_id),
    )


def _refuse_without_lead(run: Run) -> None:
    if not rows(run.database, "SELECT 1 FROM accounts WHERE role = 'lead' AND active = 1"):
        raise InvalidInput("this is the last lead who can sign in; make somebody else a lead first")


def _sign_out_everywhere(run: Run, rater_id: str) -> None:
    execute(run.database, "DELETE FROM sign_ins WHERE rater_id = ?", (rater_id,))
