"""What can be chosen for a reward model, in words, with the names that the settings have."""

from collections.abc import Mapping, Sequence

from rrm.config import RewardSection

Choices = Sequence[tuple[str, str]]
"""Words, and the name they stand for."""

KINDS: Choices = (
    ("Heads on what the base model reads: seconds", "heads"),
    ("LoRA adapters on the base model: minutes", "lora"),
    ("A copy of the base model each: longest", "full"),
)
FEATURES: Choices = (
    ("How likely the words are", "likelihood_statistics"),
    ("What the text says (summed)", "summed_hidden"),
    ("What the text says (mean)", "mean_hidden"),
    ("Where the text ends up", "last_hidden"),
)
ACQUISITIONS: Choices = (
    ("What the members disagree about", "spread"),
    ("What most is expected to be learned from (BALD)", "bald"),
    ("What two members, drawn anew, decide differently", "double_thompson"),
    ("Anything, at random", "random"),
)
CONSERVATIVE: Choices = (
    ("Mean less c × disagreement", "lower"),
    ("Mean of the members", "mean"),
    ("Lowest of the members", "min"),
    ("Between lowest and mean (entropic, temperature c)", "entropic"),
    ("Mean less c × variance", "uwo"),
)
WITHOUT_COEFFICIENT = frozenset({"mean", "min"})
"""Rewards that have no c."""

_KINDS: Mapping[str, str] = {"heads": "heads", "lora": "LoRA adapters", "full": "whole models"}
_ASKED: Mapping[str, str] = {
    "spread": "by disagreement",
    "bald": "by expected information",
    "double_thompson": "by two drawn members",
    "random": "at random",
}


def members_in_words(settings: RewardSection) -> str:
    """Such as `5 heads`."""
    return f"{settings.members} {_KINDS[settings.kind]}"


def reads_in_words(settings: RewardSection) -> str:
    """What the members read of a completion."""
    if settings.kind != "heads":
        return "The texts themselves"
    return ", ".join(words for words, name in FEATURES if name in settings.features)


def asks_in_words(settings: RewardSection) -> str:
    """What is asked next, once the model is the current one."""
    if settings.acquisition == "random":
        return "at random"
    varied = f", varied by {settings.diversity:g}" if settings.diversity else ""
    return f"{_ASKED[settings.acquisition]}{varied}, {100 * settings.random_share:.0f}% at random"


def reward_in_words(settings: RewardSection) -> str:
    """How the members become one reward."""
    words = next(words for words, name in CONSERVATIVE if name == settings.conservative)
    return words if settings.conservative in WITHOUT_COEFFICIENT else f"{words}, c = {settings.coefficient:g}"


def settings_in_words(settings: RewardSection) -> str:
    """What a session was started with."""
    return (
        f"{members_in_words(settings)} that read {_lower(reads_in_words(settings))}; "
        f"{100 * settings.rater_error:.0f}% of answers taken to be careless; asks {asks_in_words(settings)}; "
        f"reward: {_lower(reward_in_words(settings))}"
    )


def _lower(words: str) -> str:
    """Words of a list within a sentence."""
    return ", ".join(part[:1].lower() + part[1:] for part in words.split(", "))
