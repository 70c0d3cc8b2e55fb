"""A small run that has been played to its end: made once, for all tests that look at one."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small run. Only to be read; `copied` is for tests that work on it."""
    from tests.rrm.small_runs import climbed

    return climbed(tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(finished, tmp_path / "copied"))
