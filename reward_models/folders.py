"""Folders on disk that appear complete or not at all, and the `config.json` in each that says what it holds."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reward_models.errors import ArtifactError

CONFIG_FILE = "config.json"


@contextmanager
def whole_folder(folder: Path, *, what: str) -> Iterator[Path]:
    """Give an empty folder to fill, which takes the given name once the block has ended without an error.

    A folder of that name is replaced, with all that was in it; killed between the two renames, neither name holds a
    half-written one. All files reach the disk before the name does. `what` names the thing for whoever reads the error:
    ArtifactError if the disk refuses.
    """
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    replaced = folder.with_name(f".{folder.name}.{os.getpid()}.replaced")
    try:
        for leftover in (partial, replaced):
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        _flush(partial)
        if folder.exists():
            folder.rename(replaced)
        partial.rename(folder)
    except ArtifactError:
        raise
    except OSError as error:
        if replaced.exists() and not folder.exists():
            replaced.rename(folder)
        raise ArtifactError(
            f"could not save {what} to {folder}: {error}; check the disk and its permissions"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(replaced, ignore_errors=True)


def write_config(folder: Path, config: Mapping[str, object]) -> None:
    """Write `config.json`; numbers in it must be finite."""
    (folder / CONFIG_FILE).write_bytes(json.dumps(config, indent=2, allow_nan=False).encode())


def read_config(folder: Path, *, version: int, writer: str) -> dict[str, Any]:
    """Read `config.json` of a folder that `writer` wrote.

    Raises ArtifactError if it is missing, is not JSON, or states another format version.
    """
    path = folder / CONFIG_FILE
    try:
        config = json.loads(read_file(path, writer=writer))
    except ValueError as error:
        raise ArtifactError(f"{path} is not JSON ({error}); restore it or refit") from error
    found = config.get("format_version") if isinstance(config, dict) else None
    if found != version or not isinstance(config, dict):
        raise ArtifactError(
            f"{path} has format version {found}, expected {version}; give a folder that {writer} wrote, "
            "or update the package"
        )
    return config


def read_file(path: Path, *, writer: str) -> bytes:
    """Contents of a file in a folder that `writer` wrote; ArtifactError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error}); give the folder that {writer} wrote") from error


def _flush(folder: Path) -> None:
    """Wait until the disk has every file, so that no name can outlive its contents in a power cut."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
