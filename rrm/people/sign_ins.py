"""Who is signed in: a secret in the person's browser, its sha256 in the store, for thirty days.

Guessing is slowed down for each name by itself: after a few wrong passwords the name has to wait, longer each time.
"""

import secrets
from dataclasses import dataclass

from rrm.errors import NotAllowed
from rrm.people.accounts import Person, Role, check_password, known, rater_id_of
from rrm.store.canonical import sha256_text
from rrm.store.run import Run
from rrm.store.times import later, timestamp
from rrm.store.transaction import execute, rows

SECONDS = 30 * 24 * 3600.0
"""How long a person stays signed in."""

FREE_ATTEMPTS = 10
"""Wrong passwords for a name before it has to wait."""

LONGEST_WAIT = 60.0

_WHO = """SELECT accounts.rater_id, raters.name, accounts.role FROM sign_ins
    JOIN accounts ON accounts.rater_id = sign_ins.rater_id JOIN raters ON raters.id = sign_ins.rater_id
    WHERE token_sha256 = ? AND expires_at > ? AND active = 1"""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Somebody who gave the right password."""

    person: Person
    token: str
    """The secret that stands for the password from now on."""


def sign_in_with_password(run: Run, *, name: str, password: str, now: str) -> SignedIn | None:
    """Sign somebody in; None if name and password do not belong together.

    A name that was tried too often has to wait -> NotAllowed.
    """
    person = person_with_password(run, name=name, password=password, now=now)
    return None if person is None else SignedIn(person, sign_in(run, person, now))


def person_with_password(run: Run, *, name: str, password: str, now: str) -> Person | None:
    """The person of a name and password, as `check_password`, for strangers: too many guesses -> NotAllowed."""
    counter = _counter(run, name)
    # Every try counts before it is checked, so that guesses sent at once are counted too.
    with run.transaction():
        _refuse_while_waiting(run, counter, now)
        _count(run, counter, now)
    person = check_password(run, name, password)
    if person is not None:
        with run.transaction():
            execute(run.database, "DELETE FROM wrong_passwords WHERE name = ?", (counter,))
    return person


def sign_in(run: Run, person: Person, now: str) -> str:
    """Sign a person in and return the secret for their browser; what ran out is cleared away."""
    token = secrets.token_urlsafe(32)
    with run.transaction():
        execute(run.database, "DELETE FROM sign_ins WHERE expires_at <= ?", (timestamp(now),))
        execute(
            run.database,
            "INSERT INTO sign_ins (token_sha256, rater_id, created_at, expires_at) VALUES (?, ?, ?, ?)",
            (sha256_text(token), person.rater_id, timestamp(now), later(now, SECONDS)),
        )
    return token


def who(run: Run, token: str, now: str) -> Person | None:
    """The person that a secret stands for; None if it is unknown, ran out, or they may not sign in any more."""
    if not token.isascii():
        return None
    found = rows(run.database, _WHO, (sha256_text(token), timestamp(now)))
    if not found:
        return None
    return Person(str(found[0]["rater_id"]), str(found[0]["name"]), Role(str(found[0]["role"])))


def sign_out(run: Run, token: str) -> None:
    """Forget one secret."""
    if token.isascii():
        with run.transaction():
            execute(run.database, "DELETE FROM sign_ins WHERE token_sha256 = ?", (sha256_text(token),))


def _refuse_while_waiting(run: Run, counter: str, now: str) -> None:
    query = "SELECT 1 FROM wrong_passwords WHERE name = ? AND wait_until > ?"
    if rows(run.database, query, (counter, timestamp(now))):
        raise NotAllowed(f"too many wrong passwords for this name; try again in {LONGEST_WAIT:.0f} seconds")


def _count(run: Run, counter: str, now: str) -> None:
    found = rows(run.database, "SELECT failures FROM wrong_passwords WHERE name = ?", (counter,))
    tries = 1 + int(found[0]["failures"] or 0) if found else 1
    wait = min(LONGEST_WAIT, 2.0 ** min(tries - FREE_ATTEMPTS, 10)) if tries >= FREE_ATTEMPTS else 0.0
    execute(
        run.database,
        """INSERT INTO wrong_passwords (name, failures, wait_until) VALUES (?, ?, ?)
        ON CONFLICT (name) DO UPDATE SET failures = excluded.failures, wait_until = excluded.wait_until""",
        (counter, tries, later(now, wait)),
    )


def _counter(run: Run, name: str) -> str:
    # Unknown names share a few thousand counters: they wait like known ones, and cannot fill the database.
    rater_id = rater_id_of(name)
    return rater_id if known(run, name) else f"unknown-{rater_id[-3:]}"
