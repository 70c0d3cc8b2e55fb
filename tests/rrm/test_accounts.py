"""Accounts: names, passwords, roles, and that somebody is left who can decide."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from reward_models.errors import InvalidInput
from rrm.errors import NotAllowed
from rrm.people.accounts import (
    LOCAL,
    Person,
    Role,
    account,
    accounts,
    add_account,
    check_password,
    ensure_rater,
    has_accounts,
    known,
    require_lead,
    set_active,
    set_password,
    set_role,
    usable_name,
)
from rrm.people.passwords import hashed, matches
from rrm.store import Run, raters, verify
from tests.rrm.store_samples import NOON, small_run

PASSWORD = "correct horse"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with small_run(tmp_path / "run") as run:
        yield run


def lead(run: Run, name: str = "Dana") -> Person:
    return add_account(run, name=name, password=PASSWORD, role=Role.LEAD, now=NOON)


def test_a_run_without_accounts_has_one_local_lead(run: Run) -> None:
    assert not has_accounts(run) and LOCAL.is_lead
    ensure_rater(run, LOCAL)
    ensure_rater(run, LOCAL)
    assert [rater.name for rater in raters(run) if rater.id == LOCAL.rater_id] == ["You"]


def test_an_account_is_a_rater_with_a_password(run: Run) -> None:
    dana = lead(run)
    assert has_accounts(run) and [each.person for each in accounts(run)] == [dana]
    assert check_password(run, "Dana", PASSWORD) == dana
    assert check_password(run, "Dana", PASSWORD + "!") is None
    assert check_password(run, "Erik", PASSWORD) is None
    assert dana.rater_id in {rater.id for rater in raters(run)}
    assert not verify(run.folder)


def test_the_store_holds_no_password(run: Run) -> None:
    dana = lead(run)
    stored = known(run, "Dana")
    assert stored is not None and stored.password.startswith("scrypt$") and PASSWORD not in stored.password
    other = add_account(run, name="Erik", password=PASSWORD, role=Role.RATER, now=NOON)
    found = known(run, "Erik")
    assert found is not None and found.password != stored.password, "each has a salt of its own"
    assert other != dana


def test_a_password_may_be_typed_with_composed_or_decomposed_characters(run: Run) -> None:
    dana = add_account(run, name="Dana", password="K\u00e4sebrot!", role=Role.LEAD, now=NOON)
    assert check_password(run, "Dana", "Ka\u0308sebrot!") == dana


@pytest.mark.parametrize("password", ["", "seven77", "a" * 1001])
def test_a_password_has_a_length(run: Run, password: str) -> None:
    with pytest.raises(InvalidInput, match="at least 8"):
        add_account(run, name="Dana", password=password, role=Role.LEAD, now=NOON)
    assert not has_accounts(run)


def test_the_parameters_of_a_hash_are_stored_with_it() -> None:
    salt, digest = "AAAAAAAAAAAAAAAAAAAAAA==", "e3+6ujhnj5ycGvNhs+KzvcSn0lxg4lVpzwoPmnoOmdw="
    assert not matches("somebody", f"scrypt$1024$8$1${salt}${digest}"), "another cost is read, not assumed"
    assert matches(PASSWORD, hashed(PASSWORD))


@pytest.mark.parametrize(
    "name", ["", "   ", "a" * 41, "a:b", "a\nb", "a\u202eb", "a\u200bb", "\u2028", "a\x00", "\ud800"]
)
def test_a_name_can_be_seen_as_it_is(run: Run, name: str) -> None:
    with pytest.raises(InvalidInput):
        add_account(run, name=name, password=PASSWORD, role=Role.LEAD, now=NOON)


@pytest.mark.parametrize("name", ["<b>Dana</b>", "שירה", "O'Brien; DROP TABLE accounts", "李 小龙", "a" * 40])
def test_a_name_may_hold_any_visible_character(run: Run, name: str) -> None:
    assert lead(run, name).name == name
    assert [each.person.name for each in accounts(run)] == [name]


def test_a_name_is_taken_in_every_case_and_spelling(run: Run) -> None:
    lead(run, "Jos\u00e9")
    for name in ("jose\u0301", "JOS\u00c9", " Jos\u00e9 "):
        assert check_password(run, name, PASSWORD) is not None
        with pytest.raises(InvalidInput, match="taken"):
            lead(run, name)
    assert usable_name(" jose\u0301 ") == "jos\u00e9"


def test_the_first_account_is_a_lead(run: Run) -> None:
    with pytest.raises(InvalidInput, match="the first must be a lead"):
        add_account(run, name="Erik", password=PASSWORD, role=Role.RATER, now=NOON)
    assert not has_accounts(run)


def test_the_last_lead_stays(run: Run) -> None:
    dana = lead(run)
    for change in (
        lambda: set_role(run, rater_id=dana.rater_id, role=Role.RATER, now=NOON),
        lambda: set_active(run, rater_id=dana.rater_id, active=False, now=NOON),
    ):
        with pytest.raises(InvalidInput, match="last lead"):
            change()
    assert account(run, dana.rater_id).active and account(run, dana.rater_id).person.is_lead
    lead(run, "Erik")
    set_role(run, rater_id=dana.rater_id, role=Role.RATER, now=NOON)
    assert account(run, dana.rater_id).person.role is Role.RATER


def test_who_may_not_sign_in_any_more_has_no_right_password(run: Run) -> None:
    lead(run)
    erik = lead(run, "Erik")
    set_active(run, rater_id=erik.rater_id, active=False, now=NOON)
    assert check_password(run, "Erik", PASSWORD) is None
    set_active(run, rater_id=erik.rater_id, active=True, now=NOON)
    assert check_password(run, "Erik", PASSWORD) == erik


def test_a_password_can_be_set_anew(run: Run) -> None:
    dana = lead(run)
    set_password(run, rater_id=dana.rater_id, password="another one", now=NOON)
    assert check_password(run, "Dana", PASSWORD) is None
    assert check_password(run, "Dana", "another one") == dana
    with pytest.raises(InvalidInput, match="no account"):
        set_password(run, rater_id="person-unknown", password=PASSWORD, now=NOON)


def test_only_a_lead_may_decide() -> None:
    require_lead(LOCAL, "decide")
    with pytest.raises(NotAllowed, match="only a lead may decide"):
        require_lead(Person("erik", "Erik", Role.RATER), "decide")
