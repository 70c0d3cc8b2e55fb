"""What can be chosen for the training of an agent, in words, with the names that the settings have."""

from rrm.config import WHOLE_COMPLETIONS, AgentSection
from rrm.sessions.choices import Choices

OBJECTIVES: Choices = (
    ("RLOO: each completion against the others of its prompt", "rloo"),
    ("REINFORCE: each completion against a plain baseline", "reinforce"),
    ("Actor-critic: each token against what a critic expects", "actor_critic"),
    ("PPO: several clipped updates on each batch", "ppo"),
    ("GRPO: the same, scaled within the completions of a prompt", "grpo"),
    ("Natural gradient: steps measured by what they change", "natural_gradient"),
    ("TRPO: the same, with a line search", "trpo"),
    ("Online DPO: pairs of its own completions, compared by the reward", "online_dpo"),
    ("DPO: the judged comparisons, without a reward model", "dpo"),
    ("Distribution matching: completions weighed towards the optimum", "distribution_matching"),
    ("Supervised: the best of the base's completions, imitated", "supervised"),
    ("Reward-conditioned: completions behind words on how good they are", "reward_conditioned"),
)
REGULARIZERS: Choices = (
    ("Fixed price", "fixed"),
    ("Adaptive price, towards a KL", "adaptive"),
    ("Fixed price, and an end at a KL", "early_stop"),
)
HORIZONS: Choices = (
    ("All that follows it", "completion"),
    ("Only what it adds itself (myopic)", "myopic"),
)
WEIGHTS: Choices = (
    ("The whole model", "full"),
    ("LoRA adapters on it", "lora"),
)


def named(choices: Choices, name: str) -> str:
    """The words of a choice; its name where it has none."""
    return next((words for words, known in choices if known == name), name)


def objective_in_words(settings: AgentSection) -> str:
    """The objective's own name, such as `PPO`."""
    return named(OBJECTIVES, settings.objective).partition(":")[0]


def agent_in_words(settings: AgentSection) -> str:
    """What an agent is trained with, as a phrase."""
    parts = [objective_in_words(settings), *_price_in_words(settings)]
    if settings.budget:
        parts.append(f"never more than {settings.budget:g} nats a completion")
    if settings.total_variation:
        parts.append(f"never more than {settings.total_variation:g} of total variation a completion")
    if settings.horizon == "myopic":
        parts.append("each token for what it adds itself")
    if settings.weights == "lora":
        parts.append(f"LoRA adapters of rank {settings.lora_rank}")
    return "; ".join([*parts, f"{settings.steps} steps"])


def matters(*, objective: str, regularizer: str, weights: str) -> dict[str, bool]:
    """Which settings matter for what is chosen; those that it does not name always do."""
    return {
        "kl_target": regularizer != "fixed",
        "horizon": objective not in WHOLE_COMPLETIONS,
        "lora_rank": weights == "lora",
    }


def _price_in_words(settings: AgentSection) -> list[str]:
    """What holds it to the base: a price, and a KL where there is one to reach."""
    match settings.regularizer:
        case "fixed":
            return [f"a nat costs {settings.beta:g}"]
        case "adaptive":
            return [f"a nat costs at first {settings.beta:g}, towards {settings.kl_target:g} nats a completion"]
        case "early_stop":
            return [f"a nat costs {settings.beta:g}", f"it ends at {settings.kl_target:g} nats a completion"]
