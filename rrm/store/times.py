"""Times as text of one fixed width in UTC, so that the order of the text is the order of the times.

The clock is read in one place, `utc_now`, by the outermost caller; every function of the store takes `now`.
"""

from datetime import UTC, datetime, timedelta

from reward_models.errors import InvalidInput


def utc_now() -> str:
    """The time of the machine's clock, such as `2026-01-02T03:04:05.678901Z`."""
    return _written(datetime.now(UTC))


def timestamp(text: str) -> str:
    """Bring an ISO-8601 time with an offset into the one form that is stored; without an offset -> InvalidInput."""
    return _written(_read(text))


def later(text: str, seconds: float) -> str:
    """The time that lies `seconds` after the given one (before it where negative)."""
    return _written(_read(text) + timedelta(seconds=seconds))


def _read(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(f"{text!r} is not an ISO-8601 time; give one like 2026-01-02T03:04:05Z") from error
    if time.tzinfo is None:
        raise InvalidInput(f"the time {text!r} has no offset from UTC; give one like 2026-01-02T03:04:05Z")
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise InvalidInput(f"the time {text!r} lies outside the years 1 to 9999 in UTC; give another") from error


def _written(time: datetime) -> str:
    return time.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
