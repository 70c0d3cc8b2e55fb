"""What the packages offer, and that asking for little loads little."""

import subprocess
import sys

import pytest

import reward_models

HEAVY = "{'torch', 'transformers', 'scipy', 'sklearn', 'pandas', 'gradio', 'datasets', 'peft', 'matplotlib'}"


def test_every_exported_name_is_there() -> None:
    for name in reward_models.__all__:
        assert getattr(reward_models, name).__name__ == name
    assert set(reward_models.__all__) <= set(dir(reward_models))


def test_names_come_from_one_place() -> None:
    from reward_models import Ensemble, fit
    from reward_models.ensemble import Ensemble as same_ensemble
    from reward_models.fitting import fit as same_fit

    assert Ensemble is same_ensemble
    assert fit is same_fit


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'fitt'"):
        reward_models.__getattr__("fitt")
    with pytest.raises(ImportError):
        exec("from reward_models import fitt")


@pytest.mark.parametrize("module", ["reward_models", "agents", "rrm", "rrm.errors", "rrm.progress", "ui.cli"])
def test_light_modules_load_nothing_heavy(module: str) -> None:
    """`rrm --help` and the errors answer at once because heavy libraries are imported where they are used."""
    script = f"import sys, {module}; print(sorted({HEAVY} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
