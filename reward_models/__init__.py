"""What to do: reward models learned from preferences, with honest uncertainty.

From answers to a reward, in the order of the work: `preference_data` (reading them), `conversations` and `backbone`
(texts to vectors), `text_features`, `trace` and `features` (what a member reads), `losses`, `fitting` (linear heads) or
`lora_model` and `full_model` (members trained by gradient), `estimate` (one reward out of many members), `calibration`
and `honesty` (is it true, and does it know when it is not?), `acquisition` (what to ask next), `export` and
`member_export` (formats of the ecosystem), `reward_function` and `remote_reward` (rewards for other trainers). Nothing
here knows of runs, tasks or pages.

The names below are imported from their files when they are first asked for, so that a program which only needs
`reward_models.errors` does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reward_models.acquisition import Selected, select
    from reward_models.backbone import Backbone
    from reward_models.ensemble import Ensemble
    from reward_models.errors import ArtifactError, InvalidInput, NonFinite, RrmError
    from reward_models.estimate import RewardEstimate, bounded
    from reward_models.export import export_member
    from reward_models.features import extract
    from reward_models.fit_plan import GradientSettings
    from reward_models.fitting import FitRecord, FitResult, FitSettings, FitStep, HeldOut, fit
    from reward_models.full_model import FullModel, fit_full
    from reward_models.heads_model import FeaturesModel, HeadsModel
    from reward_models.honesty import HonestyReport
    from reward_models.lora_model import LoraModel, fit_lora
    from reward_models.member_export import export_full_member, export_lora_member
    from reward_models.pairs import EncodedPairs, encode_pairs
    from reward_models.preference_data import PreferenceData, preference_tensors, read_preferences
    from reward_models.reference import Reference
    from reward_models.remote_reward import RemoteReward
    from reward_models.reward_function import RewardFunction
    from reward_models.reward_model import AbstractRewardModel, load_reward_model
    from reward_models.stacked_adapters import AdapterSettings
    from reward_models.text_features import CompletionFeatures, FunctionFeatures, HiddenStates, SideBySide
    from reward_models.trace import CompletionTrace
    from reward_models.weight_averaging import averaged

__all__ = [
    "AbstractRewardModel",
    "AdapterSettings",
    "ArtifactError",
    "Backbone",
    "CompletionFeatures",
    "CompletionTrace",
    "EncodedPairs",
    "Ensemble",
    "FeaturesModel",
    "FitRecord",
    "FitResult",
    "FitSettings",
    "FitStep",
    "FullModel",
    "FunctionFeatures",
    "GradientSettings",
    "HeadsModel",
    "HeldOut",
    "HiddenStates",
    "HonestyReport",
    "InvalidInput",
    "LoraModel",
    "NonFinite",
    "PreferenceData",
    "Reference",
    "RemoteReward",
    "RewardEstimate",
    "RewardFunction",
    "RrmError",
    "Selected",
    "SideBySide",
    "averaged",
    "bounded",
    "encode_pairs",
    "export_full_member",
    "export_lora_member",
    "export_member",
    "extract",
    "fit",
    "fit_full",
    "fit_lora",
    "load_reward_model",
    "preference_tensors",
    "read_preferences",
    "select",
]

_FILES = {
    "acquisition": ("Selected", "select"),
    "backbone": ("Backbone",),
    "ensemble": ("Ensemble",),
    "errors": ("ArtifactError", "InvalidInput", "NonFinite", "RrmError"),
    "estimate": ("RewardEstimate", "bounded"),
    "export": ("export_member",),
    "features": ("extract",),
    "fit_plan": ("GradientSettings",),
    "fitting": ("FitRecord", "FitResult", "FitSettings", "FitStep", "HeldOut", "fit"),
    "full_model": ("FullModel", "fit_full"),
    "heads_model": ("FeaturesModel", "HeadsModel"),
    "honesty": ("HonestyReport",),
    "lora_model": ("LoraModel", "fit_lora"),
    "member_export": ("export_full_member", "export_lora_member"),
    "pairs": ("EncodedPairs", "encode_pairs"),
    "preference_data": ("PreferenceData", "preference_tensors", "read_preferences"),
    "reference": ("Reference",),
    "remote_reward": ("RemoteReward",),
    "reward_function": ("RewardFunction",),
    "reward_model": ("AbstractRewardModel", "load_reward_model"),
    "stacked_adapters": ("AdapterSettings",),
    "text_features": ("CompletionFeatures", "FunctionFeatures", "HiddenStates", "SideBySide"),
    "trace": ("CompletionTrace",),
    "weight_averaging": ("averaged",),
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
