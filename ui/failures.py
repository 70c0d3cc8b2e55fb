"""What a person reads when a command fails: one sentence and an exit code, never a traceback.

Exit codes: 0 done; 1 the command could not do it and says why; 2 the command line was not understood;
70 an error inside rrm; 130 interrupted.
"""

import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

from reward_models.errors import RrmError
from rrm.errors import DiskFull

FAILED = 1
INTERNAL = 70
INTERRUPTED = 130

INTERRUPTED_SENTENCE = "Interrupted. Nothing that was finished is lost: the same command goes on from there."
DISK_FULL_SENTENCE = (
    "The disk, or your quota on it, is full; what was finished before is safe. "
    "Make room, then run the same command again: it goes on from there."
)


def explain(error: Exception) -> tuple[str, int]:
    """The sentence and the exit code for an error that reached the command line."""
    if is_disk_full(error):
        detail = f" ({error})" if isinstance(error, DiskFull) else ""
        return DISK_FULL_SENTENCE + detail, FAILED
    if isinstance(error, RrmError):
        return _sentence(str(error)), FAILED
    if isinstance(error, PermissionError | FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return _sentence(f"{error.filename}: {error.strerror}" if error.filename else str(error)), FAILED
    return _unexpected(error), INTERNAL


def is_disk_full(error: BaseException) -> bool:
    """Whether a full disk is behind an error; libraries wrap it, so the chain and its texts are looked at."""
    for link in _chain(error):
        if isinstance(link, DiskFull):
            return True
        if isinstance(link, OSError) and link.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(link) or "database or disk is full" in str(link):
            return True
    return False


def report(sentence: str) -> None:
    """Say a sentence on standard error, whatever state that is in."""
    try:
        print(sentence, file=sys.stderr, flush=True)
    except OSError:
        return  # nobody listens any more; the exit code still tells


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _sentence(text: str) -> str:
    one_line = " ".join(text.split()) or "The command failed without a reason."
    return one_line if one_line.endswith((".", "!", "?")) else one_line + "."


def _unexpected(error: Exception) -> str:
    what = f"An error inside rrm stopped this command ({type(error).__name__}: {_shortened(str(error))})."
    try:
        path = _write_traceback(error)
    except OSError:
        return f"{what} The traceback could not be written to {tempfile.gettempdir()}."
    return f"{what} The traceback is in {path}; please send it with a bug report. What was finished is kept."


def _write_traceback(error: Exception) -> Path:
    handle, name = tempfile.mkstemp(prefix="rrm-error-", suffix=".txt")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(f"command: {' '.join(sys.argv)}\n\n")
        file.writelines(traceback.format_exception(error))
    return Path(name)


def _shortened(text: str, limit: int = 160) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= limit else one_line[: limit - 3] + "..."
