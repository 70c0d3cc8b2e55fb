"""Signing in: what the browser holds, how long, and how guessing is slowed down."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rrm.errors import NotAllowed
from rrm.people.accounts import Person, Role, add_account, set_active, set_password, set_role
from rrm.people.sign_ins import (
    FREE_ATTEMPTS,
    LONGEST_WAIT,
    SECONDS,
    person_with_password,
    sign_in,
    sign_in_with_password,
    sign_out,
    who,
)
from rrm.store import Run
from rrm.store.times import later
from rrm.store.transaction import rows
from tests.rrm.store_samples import NOON, small_run

PASSWORD = "correct horse"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with small_run(tmp_path / "run") as run:
        yield run


@pytest.fixture
def dana(run: Run) -> Person:
    return add_account(run, name="Dana", password=PASSWORD, role=Role.LEAD, now=NOON)


def test_a_secret_stands_for_the_person_for_thirty_days(run: Run, dana: Person) -> None:
    found = sign_in_with_password(run, name="dana", password=PASSWORD, now=NOON)
    assert found is not None and found.person == dana
    assert who(run, found.token, later(NOON, SECONDS - 1)) == dana
    assert who(run, found.token, later(NOON, SECONDS)) is None
    assert who(run, found.token + "x", NOON) is None and who(run, "", NOON) is None and who(run, "é", NOON) is None


def test_the_store_keeps_only_a_digest_of_the_secret(run: Run, dana: Person) -> None:
    token = sign_in(run, dana, NOON)
    stored = rows(run.database, "SELECT * FROM sign_ins")[0]
    assert token not in {str(value) for value in stored.values()} and len(str(stored["token_sha256"])) == 64


def test_signing_out_ends_one_secret_and_no_other(run: Run, dana: Person) -> None:
    first, second = sign_in(run, dana, NOON), sign_in(run, dana, NOON)
    sign_out(run, first)
    sign_out(run, "é")
    assert who(run, first, NOON) is None and who(run, second, NOON) == dana


def test_another_password_signs_out_everywhere(run: Run, dana: Person) -> None:
    token = sign_in(run, dana, NOON)
    set_password(run, rater_id=dana.rater_id, password="another one", now=NOON)
    assert who(run, token, NOON) is None


def test_who_may_not_sign_in_any_more_is_out_at_once(run: Run, dana: Person) -> None:
    erik = add_account(run, name="Erik", password=PASSWORD, role=Role.RATER, now=NOON)
    token = sign_in(run, erik, NOON)
    set_active(run, rater_id=erik.rater_id, active=False, now=NOON)
    assert who(run, token, NOON) is None
    assert who(run, sign_in(run, erik, NOON), NOON) is None, "nor with a sign-in that was under way"
    set_active(run, rater_id=erik.rater_id, active=True, now=NOON)
    assert who(run, token, NOON) is None, "the old secret does not come back to life"


def test_a_changed_role_holds_at_once(run: Run, dana: Person) -> None:
    erik = add_account(run, name="Erik", password=PASSWORD, role=Role.RATER, now=NOON)
    token = sign_in(run, erik, NOON)
    set_role(run, rater_id=erik.rater_id, role=Role.LEAD, now=NOON)
    found = who(run, token, NOON)
    assert found is not None and found.role is Role.LEAD


def test_what_ran_out_is_cleared_away(run: Run, dana: Person) -> None:
    sign_in(run, dana, NOON)
    sign_in(run, dana, later(NOON, SECONDS + 1))
    assert len(rows(run.database, "SELECT * FROM sign_ins")) == 1


@pytest.mark.parametrize("name", ["Dana", "Nobody"])
def test_a_name_that_is_guessed_at_has_to_wait_longer_and_longer(run: Run, dana: Person, name: str) -> None:
    for _ in range(FREE_ATTEMPTS):
        assert person_with_password(run, name=name, password="wrong", now=NOON) is None
    with pytest.raises(NotAllowed, match="too many wrong passwords"):
        person_with_password(run, name=name, password=PASSWORD, now=NOON)
    assert person_with_password(run, name=name, password="wrong", now=later(NOON, 2.0)) is None
    with pytest.raises(NotAllowed):
        person_with_password(run, name=name, password="wrong", now=later(NOON, 3.0))
    right = person_with_password(run, name=name, password=PASSWORD, now=later(NOON, 3.0 + LONGEST_WAIT))
    assert right == (dana if name == "Dana" else None)


def test_waiting_concerns_one_name_and_ends_with_the_right_password(run: Run, dana: Person) -> None:
    add_account(run, name="Erik", password=PASSWORD, role=Role.RATER, now=NOON)
    for _ in range(FREE_ATTEMPTS):
        person_with_password(run, name="Dana", password="wrong", now=NOON)
    assert person_with_password(run, name="Erik", password=PASSWORD, now=NOON) is not None
    soon = later(NOON, 2 * LONGEST_WAIT)
    assert person_with_password(run, name="Dana", password=PASSWORD, now=soon) == dana
    assert person_with_password(run, name="Dana", password="wrong", now=soon) is None
    assert person_with_password(run, name="Dana", password=PASSWORD, now=soon) == dana


def test_names_that_nobody_has_do_not_fill_the_store(run: Run, dana: Person) -> None:
    from rrm.people.sign_ins import _counter

    assert len({_counter(run, f"nobody {number}") for number in range(20_000)}) <= 4096
