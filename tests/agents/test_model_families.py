"""Any causal language model is a policy: each family, tiny and random, against plain passes of its own, row by row."""

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from transformers import (
    BertConfig,
    BertLMHeadModel,
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MptConfig,
    MptForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    RwkvConfig,
    RwkvForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from agents import shared_prompt
from agents.batch import Batch
from agents.divergence import entropy, exact_kl
from agents.learner import Learner
from agents.objectives.rloo import RLOO
from agents.passes import WindowedPrefill, can_share, prefill
from agents.plain_passes import PlainPrefill
from agents.policy import Policy
from agents.regularizer import FixedPenalty
from agents.rollout import Rollouts, Samples, greedy, rollout, sample, trace
from agents.sources import OnPolicy
from agents.training import TrainSettings, train
from reward_models.errors import InvalidInput
from tests.agents.conftest import word_tokenizer

PROMPTS = ["w1 w2 w3 w4 w3", "w2", "w3 w3"]
GROUP, TIME, VOCABULARY = 5, 4, 6
END = {"bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0}
SIZE = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, **END}
ROTARY = {**SIZE, "intermediate_size": 24, "num_key_value_heads": 1, "max_position_embeddings": 32}


def mistral(window: int) -> PreTrainedModel:
    return MistralForCausalLM(MistralConfig(**ROTARY, head_dim=8, sliding_window=window))


def gemma() -> PreTrainedModel:
    """Caps so low that they bend every logit, one layer of two with a window."""
    caps = {"attn_logit_softcapping": 1.0, "final_logit_softcapping": 2.0, "query_pre_attn_scalar": 8}
    config = Gemma2Config(**ROTARY, **caps, head_dim=8, sliding_window=6)
    return Gemma2ForCausalLM(config)


def gemma3() -> PreTrainedModel:
    """One layer of two with a window, each kind of layer with rotations of its own."""
    kinds = ["sliding_attention", "full_attention"]
    config = Gemma3TextConfig(**ROTARY, head_dim=8, query_pre_attn_scalar=8, sliding_window=6, layer_types=kinds)
    return Gemma3ForCausalLM(config)


def gpt_neo() -> PreTrainedModel:
    """One layer looks at the last four places of its row only."""
    layers = {"num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]], "window_size": 4}
    size = {"vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 24, "max_position_embeddings": 32}
    return GPTNeoForCausalLM(GPTNeoConfig(**size, **layers, **END))


def opt() -> PreTrainedModel:
    """Hidden states are wider than what the output layer reads."""
    return OPTForCausalLM(OPTConfig(**SIZE, ffn_dim=24, max_position_embeddings=32, word_embed_proj_dim=8))


FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**ROTARY)),
    "llama with a tied head": lambda: LlamaForCausalLM(LlamaConfig(**ROTARY, tie_word_embeddings=True)),
    "llama with rows that are no token": lambda: LlamaForCausalLM(LlamaConfig(**(ROTARY | {"vocab_size": 9}))),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**ROTARY, head_dim=8)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, **END)),
    "gpt-neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SIZE, intermediate_size=24, max_position_embeddings=32)),
    "gpt-neo": gpt_neo,
    "opt": opt,
    "mistral with a wide window": lambda: mistral(16),
    "mistral with a window within the completions": lambda: mistral(7),
    "mistral with a window within a prompt": lambda: mistral(3),
    "gemma2": gemma,
    "gemma3": gemma3,
    "bloom": lambda: BloomForCausalLM(BloomConfig(vocab_size=VOCABULARY, hidden_size=16, n_layer=2, n_head=2, **END)),
    "mpt": lambda: MptForCausalLM(MptConfig(vocab_size=VOCABULARY, d_model=16, n_layers=2, n_heads=2, **END)),
    "mamba": lambda: MambaForCausalLM(
        MambaConfig(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, state_size=4, **END)
    ),
    "rwkv": lambda: RwkvForCausalLM(
        RwkvConfig(vocab_size=VOCABULARY, context_length=32, hidden_size=16, num_hidden_layers=2, **END)
    ),
}
WINDOWED = {name for name in FAMILIES if name.startswith(("mistral", "gemma"))}
PLAIN = {"gpt-neo", "bloom", "mpt", "mamba", "rwkv", "mistral with a window within a prompt"}


def noise(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_policy(family: str, seed: int = 0) -> Policy:
    model = FAMILIES[family]()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0.0, 0.4, generator=noise(seed))
    return Policy(model, word_tokenizer(VOCABULARY))


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


PlainLogits = Callable[[Policy, Sequence[int], Sequence[int]], Tensor]


def plain_rows(policy: Policy, plain_logits: PlainLogits, samples: Samples) -> Tensor:
    """Plain logits of every sampled sequence, padding included."""
    rows = enumerate(samples.tokens.tolist())
    return torch.stack([plain_logits(policy, samples.prompt_tokens[row // GROUP], tokens) for row, tokens in rows])


def test_prompts_are_shared_where_the_model_allows_it(family: str) -> None:
    policy = random_policy(family)
    read = prefill(policy.model, [policy.encode_prompt(prompt) for prompt in PROMPTS], pad_id=policy.pad_id)
    windowed = WindowedPrefill if family in WINDOWED else shared_prompt.Prefill
    assert type(read) is (PlainPrefill if family in PLAIN else windowed)


@torch.no_grad()
def test_what_acts_is_what_the_model_says(family: str, plain_logits: PlainLogits) -> None:
    """Whatever the settings for generation say, which these models carry as chat models do."""
    policy, reference = random_policy(family), random_policy(family, seed=1)
    policy.model.generation_config.update(do_sample=True, top_k=1, temperature=0.1, repetition_penalty=9.0)
    found = rollout(policy, reference, PROMPTS, group=GROUP, max_new_tokens=TIME, generator=noise(3))
    samples, mask = found.samples, found.samples.mask
    logits = plain_rows(policy, plain_logits, samples)
    expected = torch.log_softmax(logits, dim=-1)
    assert samples.distributions is not None
    torch.testing.assert_close(samples.distributions[mask], expected[mask], atol=1e-5, rtol=1e-5)
    chosen = expected.gather(-1, samples.tokens[..., None])[..., 0].masked_fill(~mask, 0.0)
    torch.testing.assert_close(samples.log_probabilities, chosen, atol=1e-5, rtol=1e-5)
    reference_logits = plain_rows(reference, plain_logits, samples)
    off = ~mask
    torch.testing.assert_close(found.kl, exact_kl(logits, reference_logits).masked_fill(off, 0.0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.entropy, entropy(logits).masked_fill(off, 0.0), atol=1e-5, rtol=1e-5)
    assert float(found.kl.max()) > 0.1 and len({tuple(row) for row in samples.tokens.tolist()}) > 3


def test_the_gradient_is_that_of_the_plain_computation(family: str, plain_logits: PlainLogits) -> None:
    policy, reference = random_policy(family), random_policy(family, seed=1)
    learner = Learner(policy, reference, learning_rate=1e-3)
    found = learner.sample(PROMPTS, group=GROUP, max_new_tokens=TIME, generator=noise(3))
    reading = learner.read(Batch(found, rewards=torch.zeros_like(found.kl), beta=0.1))
    plain = torch.log_softmax(plain_rows(policy, plain_logits, found.samples), dim=-1)
    weights = torch.randn(plain.shape, generator=noise(4)) * found.samples.mask[..., None]
    named = {name: one for name, one in policy.model.named_parameters() if not is_unused(family, name)}
    gradients = torch.autograd.grad((reading.distributions * weights).mean(), list(named.values()))
    expected = torch.autograd.grad((plain * weights).mean(), list(named.values()))
    for name, one, other in zip(named, gradients, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4, msg=name)
    assert max(float(one.abs().max()) for one in expected) > 1e-2


@torch.no_grad()
def test_greedy_and_reading_take_the_same_probabilities(family: str, plain_logits: PlainLogits) -> None:
    policy = random_policy(family)
    for prompt, text in zip(PROMPTS, greedy(policy, PROMPTS, max_new_tokens=TIME), strict=True):
        tokens: list[int] = []
        while len(tokens) < TIME and 0 not in tokens:
            logits = plain_logits(policy, policy.encode_prompt(prompt), [*tokens, 0])
            tokens.append(int(logits[-1].argmax()))
        assert text == policy.decode(tokens)
    read = trace(policy, PROMPTS, [["w3 w1", ""], ["w2", "w2 w4"], ["w1", "w1 w1"]])
    assert read.hidden.shape == (6, 3, policy.width)
    logits = plain_logits(policy, policy.encode_prompt("w2"), [2, 4, 0])
    expected = torch.log_softmax(logits, dim=-1).gather(-1, torch.tensor([[2], [4], [0]]))[:, 0]
    torch.testing.assert_close(read.log_probabilities[3], expected, atol=1e-5, rtol=1e-5)


def test_an_adapter_trains_in_every_family(family: str) -> None:
    base = random_policy(family)
    policy = base.with_lora(rank=2, generator=noise(0))
    wake(policy)
    learner = Learner(policy, policy.without_adapter(), learning_rate=1e-3)
    found = learner.sample(PROMPTS, group=GROUP, max_new_tokens=TIME, generator=noise(3))
    assert float(found.kl.max()) > 1e-3
    plain = rollout(base, base, PROMPTS, group=GROUP, max_new_tokens=TIME, generator=noise(3)).reference_logits
    torch.testing.assert_close(plain[:, 0], found.reference_logits[:, 0], atol=1e-5, rtol=1e-5)
    learner.read(Batch(found, rewards=torch.zeros_like(found.kl), beta=0.1)).kl.sum().backward()
    assert all(float(one.grad.abs().max()) > 0 for one in learner.parameters if one.grad is not None)
    assert all(one.grad is not None for one in learner.parameters)
    assert all(one.grad is None for one in base.model.parameters())


@pytest.mark.parametrize(
    ("family", "lora"),
    [
        ("llama", True),
        ("mamba", True),
        *((one, False) for one in ("llama", "qwen3", "gpt2", "gemma3", "mamba", "rwkv")),
    ],
)
def test_reinforcement_learning_goes_from_the_reference_towards_the_reward(family: str, lora: bool) -> None:
    """Before the first step the policy is its reference; then w3, which alone is rewarded, becomes more likely."""
    base = random_policy(family)
    policy = base.with_lora(rank=2, generator=noise(0)) if lora else base
    reference = policy.without_adapter() if lora else base.copy()
    source = OnPolicy(prompts=PROMPTS, reward=w3s, prompts_per_step=3, group=16, max_new_tokens=TIME)
    settings = TrainSettings(steps=6, learning_rate=0.02)
    task = {"source": source, "objective": RLOO(), "regularizer": FixedPenalty(0.01), "settings": settings}
    records = train(policy, reference, **task, seed=0)
    assert abs(records[0].kl) < 1e-5 < records[1].kl
    assert all(math.isfinite(value) for one in records for value in (one.kl, one.reward, one.entropy))
    drawn = {"group": 64, "max_new_tokens": TIME}
    after, before = (w3s(rollout(one, one, PROMPTS, **drawn, generator=noise(1))).mean() for one in (policy, reference))
    assert float(after) > float(before) + 0.05


def w3s(rollouts: Rollouts) -> Tensor:
    """How many of the words of each completion are w3."""
    return torch.tensor([float(text.split().count("w3")) for text in rollouts.samples.completions])


@torch.no_grad()
def test_rows_that_are_no_token_count_and_read_as_nothing() -> None:
    """Nine rows and six tokens: what the model says of the other three is part of its distribution."""
    policy = random_policy("llama with rows that are no token")
    drawn = sample(policy, PROMPTS, group=40, max_new_tokens=TIME, generator=noise(0))
    beyond = (drawn.tokens > 5) & drawn.mask
    assert bool(beyond.any())
    row = int(beyond.any(dim=1).nonzero()[0])
    words = [f"w{token}" for token in drawn.tokens[row].tolist() if 0 < token < 6]
    assert drawn.completions[row] == " ".join(words)
    assert policy.decode([2, 8, 3]) == "w2 w3"


@torch.no_grad()
def test_a_window_is_shared_up_to_its_last_token() -> None:
    """A window of 7 holds a prompt of 5 and 2 new tokens, not 3."""
    model = random_policy("mistral with a window within the completions").model
    assert can_share(model, 7) and not can_share(model, 8)
    read = prefill(model, [[1, 2, 3, 4, 3]], pad_id=0)
    assert isinstance(read, WindowedPrefill)
    assert isinstance(read.for_completions(model, 2), shared_prompt.Prefill)
    assert isinstance(read.for_completions(model, 3), PlainPrefill)


def test_attention_that_takes_no_mask_of_places_is_not_shared() -> None:
    model = random_policy("llama").model
    assert can_share(model, 30)
    model.config._attn_implementation = "flex_attention"
    assert not can_share(model, 30)


@pytest.mark.parametrize(
    "build",
    [
        lambda: BertLMHeadModel(
            BertConfig(vocab_size=6, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
        ),
        lambda: T5ForConditionalGeneration(T5Config(vocab_size=6, d_model=8, d_kv=4, d_ff=8, num_layers=1)),
    ],
)
def test_what_reads_ahead_is_refused(build: Callable[[], PreTrainedModel]) -> None:
    with pytest.raises(InvalidInput, match="causal language model"):
        Policy(build(), word_tokenizer(6))


def wake(policy: Policy) -> None:
    """Adapters that do something: B is 0 at first."""
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0.0, 0.3, generator=noise(7))


def is_unused(family: str, name: str) -> bool:
    """Weights that no logit depends on: MPT's biases of norms are only there for old checkpoints."""
    return family == "mpt" and name.endswith("norm.bias")
