"""A reward model as a reward function of TRL: by hand, and inside the real trainers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from reward_models.backbone import Backbone
from reward_models.conversations import Conversation
from reward_models.ensemble import Ensemble
from reward_models.errors import InvalidInput, NonFinite
from reward_models.estimate import Conservative, RewardEstimate
from reward_models.heads_model import HeadsModel
from reward_models.reward_function import RewardFunction
from reward_models.reward_model import AbstractScorer

TEXTS = ["What is it? ", "Tell me. ", "a", "The sea: "]
CHATS = [[{"role": "user", "content": text}] for text in TEXTS]


class Table(AbstractScorer):
    """Scores that stand in a table: a column for each completion, found by its text."""

    def __init__(self, scores: dict[str, Sequence[float]]) -> None:
        self.table = scores

    @property
    def members(self) -> int:
        return len(next(iter(self.table.values())))

    def scores(self, prompts: Sequence[Conversation], completions: Sequence[Conversation]) -> torch.Tensor:
        return torch.tensor([self.table[str(text)] for text in completions]).T


TABLE = Table({"a": (1.0, 3.0), "b": (-2.0, -2.0), "c": (0.0, 4.0)})


@pytest.mark.parametrize(
    ("conservative", "coefficient", "expected"),
    [
        # Members 1 and 3: mean 2, spread 1; twice -2: mean -2, spread 0; 0 and 4: mean 2, spread 2, variance 4.
        ("mean", 9.0, [2.0, -2.0, 2.0]),
        ("min", 9.0, [1.0, -2.0, 0.0]),
        ("lower", 0.5, [1.5, -2.0, 1.0]),
        ("uwo", 0.25, [1.75, -2.0, 1.0]),
        # -log((exp(-1) + exp(-3)) / 2) = 1 - log((1 + exp(-2)) / 2) = 1.566219; -log((1 + exp(-4)) / 2) = 0.674997
        ("entropic", 1.0, [1.566219, -2.0, 0.674997]),
    ],
)
def test_the_reward_is_the_one_that_was_chosen(
    conservative: Conservative, coefficient: float, expected: list[float]
) -> None:
    function = RewardFunction(TABLE, conservative=conservative, coefficient=coefficient, name="ours")
    assert function.__name__ == "ours"
    # In the order of the completions, not of the table.
    found = function(["p", "p", "p"], ["c", "a", "b"], completion_ids=[[1], [2], [3]], answer=["x", "y", "z"])
    assert found == pytest.approx([expected[2], expected[0], expected[1]], abs=1e-5)
    assert all(type(reward) is float for reward in found)


def test_mean_and_spread_are_logged_where_there_is_a_log() -> None:
    logged: dict[str, float] = {}
    RewardFunction(TABLE, name="ours")(["p", "p", "p"], ["a", "b", "c"], log_metric=logged.__setitem__)
    assert logged == pytest.approx({"ours/mean": 2.0 / 3.0, "ours/spread": 1.0})


def test_mean_and_spread_come_with_the_rewards() -> None:
    found = RewardFunction(TABLE, conservative="min").score(["p", "p"], ["c", "b"])
    assert (found.rewards, found.mean, found.spread) == ((0.0, -2.0), (2.0, -2.0), (2.0, 0.0))


def test_of_nothing_there_are_no_rewards() -> None:
    logged: dict[str, float] = {}
    assert RewardFunction(TABLE)([], [], log_metric=logged.__setitem__) == []
    assert not logged


def test_what_cannot_be_rewarded_is_refused() -> None:
    with pytest.raises(InvalidInput, match="1 prompts and 2 completions"):
        RewardFunction(TABLE)(["p"], ["a", "b"])
    with pytest.raises(InvalidInput, match="two lists"):
        RewardFunction(TABLE)("pp", "ab")
    with pytest.raises(InvalidInput, match="deviations is -1"):
        RewardFunction(TABLE, conservative="lower", coefficient=-1.0)
    with pytest.raises(InvalidInput, match="temperature is 0"):
        RewardFunction(TABLE, conservative="entropic", coefficient=0.0)


def test_there_is_never_a_reward_that_is_not_finite() -> None:
    with pytest.raises(NonFinite, match="member's score"):
        RewardFunction(Table({"a": (1.0, float("nan"))}))(["p"], ["a"])
    # Finite scores whose squared distance is not: (1e30)^2 is beyond float32.
    far = Table({"a": (-1e30, 1e30)})
    for conservative in ("uwo", "lower", "mean"):
        with pytest.raises(NonFinite, match=r"up to 1e\+30 are finite, but not what follows"):
            RewardFunction(far, conservative=conservative)(["p"], ["a"])


def ensemble() -> Ensemble:
    generator = torch.Generator().manual_seed(5)
    return Ensemble(
        weights=torch.randn(3, 16, generator=generator, dtype=torch.float64),
        feature_mean=torch.zeros(16, dtype=torch.float64),
        feature_scale=torch.ones(16, dtype=torch.float64),
        temperature=2.0,
        feature_names=(),
    )


def by_hand(backbone: Backbone, prompt: Any, completion: Any) -> RewardEstimate:
    """w_k . state / temperature at the last token of the text that the tokenizer makes of the pair."""
    if isinstance(prompt, str):
        tokens = backbone.tokenizer(prompt + completion)["input_ids"]
    else:
        text = backbone.tokenizer.apply_chat_template([*prompt, *completion], tokenize=False)
        tokens = backbone.tokenizer(text, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        state = backbone.model(input_ids=torch.tensor([tokens])).last_hidden_state[0, -1].double()
    return RewardEstimate((ensemble().weights @ state / 2.0)[:, None])


# TRL 1.16 uses a name that transformers calls deprecated.
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize(
    ("trainer_class", "config_class", "prompts"),
    [(GRPOTrainer, GRPOConfig, TEXTS), (RLOOTrainer, RLOOConfig, CHATS)],
    ids=["GRPO on texts", "RLOO on messages"],
)
def test_what_trl_logs_are_the_rewards_of_the_model(
    trainer_class: Any,
    config_class: Any,
    prompts: list[Any],
    tiny_backbone: Callable[..., Backbone],
    tiny_model: Callable[..., PreTrainedModel],
    tiny_tokenizer: Callable[..., PreTrainedTokenizerFast],
    tmp_path: Path,
) -> None:
    backbone = tiny_backbone("llama", seed=1)
    ours = RewardFunction(HeadsModel(backbone, ensemble(), "last"), coefficient=0.5, name="ours")
    seen: list[tuple[Any, Any]] = []

    def keep(prompts: list[Any], completions: list[Any], **columns: object) -> list[float]:
        seen.extend(zip(prompts, completions, strict=True))
        return [0.0] * len(completions)

    tiny_model("llama", causal=True).save_pretrained(tmp_path / "policy")
    trainer = trainer_class(
        model=str(tmp_path / "policy"),
        processing_class=tiny_tokenizer(),
        reward_funcs=[ours, keep],
        train_dataset=datasets.Dataset.from_dict({"prompt": prompts, "label": [1, 2, 3, 4]}),
        args=config_class(
            output_dir=str(tmp_path),
            per_device_train_batch_size=4,
            num_generations=2,
            max_completion_length=6,
            max_steps=2,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            bf16=False,
            seed=3,
        ),
    )
    trainer.train()
    steps = [entry for entry in trainer.state.log_history if "reward" in entry]
    assert len(steps) == 2
    assert len(seen) == 8
    for step, pairs in zip(steps, (seen[:4], seen[4:]), strict=True):
        expected = [by_hand(backbone, prompt, completion) for prompt, completion in pairs]
        rewards = torch.cat([one.mean - 0.5 * one.spread for one in expected])
        assert len(set(rewards.tolist())) > 1
        assert step["rewards/ours/mean"] == pytest.approx(float(rewards.mean()), abs=1e-5)
        assert step["rewards/ours/std"] == pytest.approx(float(rewards.std()), abs=1e-5)
        assert step["reward"] == pytest.approx(float(rewards.mean()), abs=1e-5)
        assert step["ours/mean"] == pytest.approx(float(torch.cat([one.mean for one in expected]).mean()), abs=1e-5)
        assert step["ours/spread"] == pytest.approx(float(torch.cat([one.spread for one in expected]).mean()), abs=1e-5)
