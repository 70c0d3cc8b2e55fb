"""The beginning of a run: a folder with a commented configuration, and your own text if it is about that."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from rrm.config import FILE_NAME, Configuration
from rrm.config_file import default_config, write_config
from rrm.errors import ConfigurationError

GUIDELINES_FILE = "guidelines.md"
"""What raters of a run are told, where it brings its own."""


def start_run(folder: Path, overrides: Sequence[str] = (), *, guidelines: Path | None = None) -> Configuration:
    """Make the folder and write its `run.toml`: the defaults with overrides such as `run.seed=7` on top.

    `guidelines`, a Markdown file, is copied beside it. What is there already is never replaced: raises
    ConfigurationError, as for guidelines that are no text. What is refused leaves nothing behind.
    """
    path = folder / FILE_NAME
    if path.exists():
        raise ConfigurationError(f"{path} exists already; edit it, or name another folder")
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"{folder} is a file, but a run is a folder; name another one")
    own = [] if guidelines is None else [f"text.guidelines={GUIDELINES_FILE}"]
    config = default_config([*overrides, *own])
    if guidelines is not None:
        _check_text(guidelines)
        refuse_replacing(folder, GUIDELINES_FILE)
    folder.mkdir(parents=True, exist_ok=True)
    if guidelines is not None:
        shutil.copyfile(guidelines, folder / GUIDELINES_FILE)
    write_config(path, config)
    return config


def refuse_replacing(folder: Path, *names: str) -> None:
    """ConfigurationError if a folder holds one of these, which a run there would have to replace."""
    for name in names:
        # A link to nothing is something as well.
        if (folder / name).exists() or (folder / name).is_symlink():
            raise ConfigurationError(
                f"{folder / name} exists already, and a run in this folder has its own {name}; move it elsewhere, or "
                "name another folder"
            )


def _check_text(guidelines: Path) -> None:
    if not guidelines.is_file():
        raise ConfigurationError(f"there is no file {guidelines} with guidelines; give a Markdown file")
    try:
        guidelines.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"the guidelines {guidelines} cannot be read as UTF-8 text ({error}); save them as UTF-8"
        ) from error
