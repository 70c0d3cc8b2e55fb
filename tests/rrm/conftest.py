"""A copy of the run that has been played to its end, for tests that work on one."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(finished, tmp_path / "copied"))
