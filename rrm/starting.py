"""The beginning of a run: a folder with a commented configuration, for a person to change before anything is done."""

from collections.abc import Sequence
from pathlib import Path

from rrm.config import FILE_NAME, Configuration
from rrm.config_file import default_config, write_config
from rrm.errors import ConfigurationError


def start_run(folder: Path, overrides: Sequence[str] = ()) -> Configuration:
    """Make the folder and write its `run.toml`: the defaults with overrides such as `run.seed=7` on top.

    An existing configuration is never replaced: raises ConfigurationError. Refused settings leave nothing behind.
    """
    path = folder / FILE_NAME
    if path.exists():
        raise ConfigurationError(f"{path} exists already; edit it, or name another folder")
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"{folder} is a file, but a run is a folder; name another one")
    config = default_config(overrides)
    folder.mkdir(parents=True, exist_ok=True)
    write_config(path, config)
    return config
