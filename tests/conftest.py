"""What every test process has: one torch thread, no network, a home folder of its own.

Nothing of the four packages is imported here, so that the type-checking import hook sees them first.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOME = Path(tempfile.mkdtemp(prefix="rrm-tests-"))

os.environ.update(
    HOME=str(HOME),
    HF_HOME=str(HOME / "huggingface"),
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    HF_DATASETS_OFFLINE="1",
    TRANSFORMERS_OFFLINE="1",
    GRADIO_ANALYTICS_ENABLED="False",
    TOKENIZERS_PARALLELISM="false",
    OMP_NUM_THREADS="1",
    MPLBACKEND="Agg",
    NO_COLOR="1",
)
# Processes that tests begin find our modules compiled, even where the machine is set not to keep such files.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Matplotlib reads all fonts of the machine once; that list is kept between test runs.
os.environ.setdefault("MPLCONFIGDIR", str(ROOT / ".cache" / "matplotlib"))


def pytest_configure(config: pytest.Config) -> None:
    import torch

    torch.set_num_threads(1)


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(HOME, ignore_errors=True)


def pytest_report_header(config: pytest.Config) -> str:
    import torch
    import transformers

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"torch {torch.__version__}, transformers {transformers.__version__}, {device}, one thread a process, offline"
    )


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder that holds `pyproject.toml`."""
    return ROOT


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run that has been played to its end. Only to be read; who writes into it takes a copy."""
    from tests.rrm.small_runs import climbed

    return climbed(tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture
def forked_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of sessions that this test starts are forks, which had to import nothing."""
    from rrm.sessions import launching
    from tests.nursery import forked

    monkeypatch.setattr(launching, "spawn_worker", forked)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data that `RRM_SHARED_DATA` names; tests that need it are skipped where none is named."""
    folder = os.environ.get("RRM_SHARED_DATA")
    if folder is None:
        pytest.skip("RRM_SHARED_DATA is not set; it names the folder of shared data")
    assert Path(folder).is_dir(), f"RRM_SHARED_DATA names {folder}, which is no folder"
    return Path(folder)
