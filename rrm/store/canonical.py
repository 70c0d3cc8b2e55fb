"""One spelling of a JSON value, and sha256 over text: what every digest of the store is made of."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from reward_models.errors import InvalidInput


def canonical_json(value: object) -> str:
    """Write a value as JSON in the one way that two equal values share: keys sorted, no spaces, no NaN or infinity."""
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"{value!r:.200} cannot be stored as JSON ({error}); give finite numbers, text, lists, maps"
        ) from error


def read_object(text: str) -> Mapping[str, object]:
    """Read back a JSON object that `canonical_json` wrote."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise InvalidInput(f"expected a JSON object, got {text[:80]!r}")
    return value


def sha256_text(text: str) -> str:
    """The sha256 of a text's UTF-8 bytes, in hexadecimal; a lone surrogate has no UTF-8 -> InvalidInput."""
    try:
        return hashlib.sha256(text.encode("utf-8")).hexdigest()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"the text holds a lone surrogate at position {error.start}; it is not valid Unicode"
        ) from error


def sha256_file(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def derived_id(*parts: str | int) -> str:
    """A short id that depends on nothing but its parts, so that a call repeated after a kill finds its own row."""
    return sha256_text(canonical_json(list(parts)))[:32]
