"""What to do: reward models learned from preferences, with honest uncertainty.

From completions to a reward, in the order of the files: `trace` and `features` (what a reference model saw), then
`preferences` (what people answered), `losses`, `fitting` (with `standardisation`, `newton`, `cross_validation`),
`ensemble`, `estimate` (one reward out of many members), `calibration` (is it true?), `acquisition` (what to ask next).
Nothing here knows of runs, tasks or pages.

The names below are imported from their files when they are first asked for, so that a program which only needs
`reward_models.errors` does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reward_models.acquisition import Selected, select
    from reward_models.ensemble import Ensemble
    from reward_models.errors import ArtifactError, InvalidInput, NonFinite, RrmError
    from reward_models.estimate import RewardEstimate
    from reward_models.features import extract
    from reward_models.fitting import FitRecord, FitResult, FitSettings, FitStep, HeldOut, fit
    from reward_models.preferences import Comparison, Preference
    from reward_models.trace import CompletionTrace

__all__ = [
    "ArtifactError",
    "Comparison",
    "CompletionTrace",
    "Ensemble",
    "FitRecord",
    "FitResult",
    "FitSettings",
    "FitStep",
    "HeldOut",
    "InvalidInput",
    "NonFinite",
    "Preference",
    "RewardEstimate",
    "RrmError",
    "Selected",
    "extract",
    "fit",
    "select",
]

_FILES = {
    "acquisition": ("Selected", "select"),
    "ensemble": ("Ensemble",),
    "errors": ("ArtifactError", "InvalidInput", "NonFinite", "RrmError"),
    "estimate": ("RewardEstimate",),
    "features": ("extract",),
    "fitting": ("FitRecord", "FitResult", "FitSettings", "FitStep", "HeldOut", "fit"),
    "preferences": ("Comparison", "Preference"),
    "trace": ("CompletionTrace",),
}

# A type checker reads the imports above; with this function it would take any name for one of ours.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import the file that a name of this package comes from (PEP 562)."""
        for file, names in _FILES.items():
            if name in names:
                return getattr(import_module(f"{__name__}.{file}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """What the package offers, also before it is imported."""
    return sorted({*globals(), *__all__})
