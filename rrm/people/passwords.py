"""Passwords: kept as salted scrypt hashes beside the parameters they were made with, compared in constant time."""

import base64
import hashlib
import hmac
import secrets
import unicodedata

from reward_models.errors import InvalidInput

SHORTEST = 8
LONGEST = 1000
_COST, _BLOCK, _PARALLEL = 2**14, 8, 5
_MEMORY = 64 * 2**20

NOBODYS = f"scrypt${_COST}${_BLOCK}${_PARALLEL}${'A' * 22}==${'A' * 43}="
"""A hash that no password has; checking it costs what checking any costs, so that an unknown name takes as long."""


def hashed(password: str) -> str:
    """The text that is stored for a password; one that is too short or too long -> InvalidInput."""
    normal = _normal(password)
    if not SHORTEST <= len(normal) <= LONGEST:
        raise InvalidInput(
            f"a password of {len(normal)} characters came; it needs at least {SHORTEST} (and at most {LONGEST})"
        )
    salt = secrets.token_bytes(16)
    digest = _scrypt(normal, salt, _COST, _BLOCK, _PARALLEL)
    encoded = (base64.b64encode(part).decode("ascii") for part in (salt, digest))
    return "$".join(["scrypt", str(_COST), str(_BLOCK), str(_PARALLEL), *encoded])


def matches(password: str, stored: str) -> bool:
    """Whether a password is the one that was stored."""
    _, cost, block, parallel, salt, digest = stored.split("$")
    found = _scrypt(_normal(password)[:LONGEST], base64.b64decode(salt), int(cost), int(block), int(parallel))
    return hmac.compare_digest(found, base64.b64decode(digest))


def _scrypt(password: str, salt: bytes, cost: int, block: int, parallel: int) -> bytes:
    words = password.encode("utf-8", "replace")
    return hashlib.scrypt(words, salt=salt, n=cost, r=block, p=parallel, maxmem=_MEMORY, dklen=32)


def _normal(password: str) -> str:
    # The same keys give composed or decomposed characters, depending on the system they are pressed on.
    return unicodedata.normalize("NFC", password)
