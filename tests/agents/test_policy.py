"""A policy survives its folder, and says in one sentence what a folder lacks."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from agents.policy import Policy
from agents.rollout import sample
from reward_models.errors import ArtifactError, InvalidInput
from tests.agents.conftest import word_tokenizer


def test_a_saved_policy_loads_with_equal_weights_and_tokens(make_policy: Callable[..., Policy], tmp_path: Path) -> None:
    policy = make_policy(5)
    policy.save(tmp_path / "deep" / "policy")
    loaded = Policy.load(tmp_path / "deep" / "policy")
    weights = loaded.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in policy.model.state_dict().items())
    assert loaded.encode_completion("w3 w1") == [3, 1, 0]
    assert (loaded.eos_id, loaded.pad_id) == (policy.eos_id, policy.pad_id) == (0, 0)
    assert not loaded.model.training


def test_saving_again_replaces_the_folder_and_leaves_nothing_beside_it(
    make_policy: Callable[..., Policy], tmp_path: Path
) -> None:
    folder = tmp_path / "policy"
    make_policy(1).save(folder)
    (folder / "stale.txt").write_text("from before")
    second = make_policy(2)
    second.save(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]
    assert not (folder / "stale.txt").exists()
    loaded = Policy.load(folder).model.state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in second.model.state_dict().items())


def test_a_failed_save_leaves_the_old_folder(make_policy: Callable[..., Policy], tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    policy = make_policy(1)
    policy.save(folder)
    broken = make_policy(2)
    broken.model.config.unwritable = object()  # config.json cannot hold it
    with pytest.raises(TypeError):
        broken.save(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]
    loaded = Policy.load(folder).model.state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in policy.model.state_dict().items())


def test_a_copy_has_weights_of_its_own(make_policy: Callable[..., Policy]) -> None:
    policy = make_policy(1)
    twin = policy.copy()
    before = policy.model.lm_head.weight.clone()
    with torch.no_grad():
        twin.model.lm_head.weight.add_(1.0)
    assert torch.equal(policy.model.lm_head.weight, before)


def test_a_completion_ends_with_the_end_token_and_decodes_up_to_it(make_policy: Callable[..., Policy]) -> None:
    policy = make_policy(1)
    assert policy.encode_completion("") == [0]
    assert policy.decode([4, 2, 0, 5, 0]) == "w4 w2"
    assert policy.decode([4, 2]) == "w4 w2"
    assert policy.decode([0]) == ""


def test_a_prompt_is_not_closed(make_policy: Callable[..., Policy]) -> None:
    """Tokenizers that end every text with the end token would make the policy continue after an end."""
    assert make_policy(1).encode_prompt("w2 </s>") == [2]


def test_a_prompt_without_tokens_is_refused(make_policy: Callable[..., Policy]) -> None:
    with pytest.raises(InvalidInput, match="at least one"):
        make_policy(1).encode_prompt("  ")


def test_a_tokenizer_without_end_is_refused(make_policy: Callable[..., Policy]) -> None:
    policy = make_policy(1)
    endless = PreTrainedTokenizerFast(tokenizer_object=policy.tokenizer.backend_tokenizer)
    with pytest.raises(InvalidInput, match="end-of-sequence"):
        Policy(policy.model, endless)


@pytest.mark.parametrize(
    "config", [None, {}, {"model_type": "llama"}, {"model_type": "vit"}, {"model_type": "unheard-of"}]
)
def test_what_is_no_causal_language_model_is_named(tmp_path: Path, config: dict[str, str] | None) -> None:
    """No config, a config of nothing, a model without weights, an image model, an unknown architecture."""
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match="no model could be read from") as caught:
        Policy.load(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_weights_are_named(make_policy: Callable[..., Policy], tmp_path: Path) -> None:
    make_policy(1).save(tmp_path / "policy")
    weights = tmp_path / "policy" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ArtifactError, match="no model could be read from"):
        Policy.load(tmp_path / "policy")


TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "<{{ message.role }}> {{ message.content }} <turn> {% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
SPECIAL = ["<turn>", "<user>", "<assistant>", "<s>"]


def chat_policy(make_policy: Callable[..., Policy], *, chat: bool = True) -> Policy:
    """Words w1 to w7; 8 ends a turn, 9 and 10 open one, 11 begins a text, which the template leaves out."""
    policy = make_policy(1, vocabulary=12)
    tokenizer = word_tokenizer(8)
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL})
    tokenizer.chat_template = TEMPLATE
    return Policy(policy.model, tokenizer, chat=chat)


def test_a_prompt_goes_through_a_chat_template_only_if_asked(make_policy: Callable[..., Policy]) -> None:
    plain, chat = chat_policy(make_policy, chat=False), chat_policy(make_policy)
    assert plain.encode_prompt("w1 w2") == [1, 2]
    # <user> w1 w2 <turn> <assistant>
    assert chat.encode_prompt("w1 w2") == [9, 1, 2, 8, 10]
    assert chat.encode_completion("w3") == plain.encode_completion("w3") == [3, 0]
    messages = [
        {"role": "user", "content": "w1"},
        {"role": "assistant", "content": "w2"},
        {"role": "user", "content": "w3"},
    ]
    for policy in (plain, chat):
        assert policy.encode_prompt(messages) == [9, 1, 8, 10, 2, 8, 9, 3, 8, 10]
    assert chat.copy().encode_prompt("w1") == [9, 1, 8, 10]


def test_a_condition_is_said_by_the_user(make_policy: Callable[..., Policy]) -> None:
    """Many templates refuse a system role, as this one does."""
    chat = chat_policy(make_policy).conditioned("w7 ")
    assert chat.encode_prompt("w1") == [9, 7, 1, 8, 10]
    asked = [{"role": "assistant", "content": "w4"}, {"role": "user", "content": "w1"}]
    assert chat.encode_prompt(asked) == [10, 4, 8, 9, 7, 1, 8, 10]
    assert asked[1]["content"] == "w1"
    with pytest.raises(InvalidInput, match="refuses messages with the roles"):
        chat.encode_prompt([{"role": "system", "content": "w7"}, {"role": "user", "content": "w1"}])


def test_a_templated_prompt_may_end_with_the_end_token(make_policy: Callable[..., Policy]) -> None:
    """Some templates end a turn with it and open no answer; the model expects it there."""
    chat = chat_policy(make_policy)
    chat.tokenizer.chat_template = "{% for message in messages %}{{ message.content }} </s>{% endfor %}"
    assert chat.encode_prompt("w1 w2") == [1, 2, 0]


def test_a_template_is_never_invented(make_policy: Callable[..., Policy]) -> None:
    policy = make_policy(1)
    with pytest.raises(InvalidInput, match="no chat template"):
        Policy(policy.model, policy.tokenizer, chat=True)
    with pytest.raises(InvalidInput, match="no chat template"):
        policy.encode_prompt([{"role": "user", "content": "w1"}])
    with pytest.raises(InvalidInput, match="at least one"):
        chat_policy(make_policy).encode_prompt([])


@torch.no_grad()
def test_every_stop_token_ends_a_completion(make_policy: Callable[..., Policy]) -> None:
    policy = chat_policy(make_policy)
    assert policy.stop_ids == (0,)
    # The end of the text, the end of a turn, an ordinary word, and a number that is no token.
    policy.model.generation_config.eos_token_id = [0, 8, 3, 99]
    policy = Policy(policy.model, policy.tokenizer)
    assert policy.stop_ids == (0, 8) and policy.eos_id == 0
    assert policy.decode([4, 3, 8, 5]) == policy.decode([4, 3, 0, 5]) == "w4 w3"
    drawn = sample(policy, ["w1 w2"], group=400, max_new_tokens=6, generator=torch.Generator().manual_seed(0))
    ended_by = set()
    for tokens, counts in zip(drawn.tokens.tolist(), drawn.mask.tolist(), strict=True):
        length = sum(counts)
        assert counts == [True] * length + [False] * (len(counts) - length)
        assert not {0, 8} & set(tokens[: length - 1])
        if length < 6:
            ended_by.add(tokens[length - 1])
    assert ended_by == {0, 8}
    policy.model.generation_config.eos_token_id = 8
    assert Policy(policy.model, policy.tokenizer).stop_ids == (0, 8)


def test_loading_says_in_which_type_and_for_which_prompts(make_policy: Callable[..., Policy], tmp_path: Path) -> None:
    policy = chat_policy(make_policy, chat=False)
    policy.model.generation_config.eos_token_id = [0, 8]
    half = policy.copy()
    half.model.to(torch.bfloat16)
    half.save(tmp_path / "half")
    # What is stored in bfloat16 is trained in float32, unless asked otherwise.
    loaded = Policy.load(tmp_path / "half")
    assert loaded.model.dtype == torch.float32 and not loaded.chat and loaded.stop_ids == (0, 8)
    assert loaded.encode_prompt("w1") == [1]
    kept = Policy.load(tmp_path / "half", dtype=torch.bfloat16, device="cpu", chat=True)
    assert kept.model.dtype == torch.bfloat16 and kept.device == torch.device("cpu")
    assert kept.encode_prompt("w1") == [9, 1, 8, 10]


def test_weights_that_are_missing_are_not_made_up(make_policy: Callable[..., Policy], tmp_path: Path) -> None:
    make_policy(1).save(tmp_path / "policy")
    weights = tmp_path / "policy" / "model.safetensors"
    stored = load_file(weights)
    save_file({name: value for name, value in stored.items() if "layers.1.mlp" not in name}, weights, {"format": "pt"})
    with pytest.raises(ArtifactError, match="lacks weights"):
        Policy.load(tmp_path / "policy")


def test_the_context_ends_where_positions_change_their_meaning(make_policy: Callable[..., Policy]) -> None:
    """LongRoPE turns the positions of a text otherwise once it is long, the earlier tokens' too."""
    policy = make_policy(1)
    assert policy.context == 32 and policy.width == 16
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 8}
    factors = {"short_factor": [1.0] * 4, "long_factor": [8.0] * 4, "factor": 4.0}
    config = LlamaConfig(
        vocab_size=8,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=32,
        rope_parameters=rope | factors,
    )
    turned = Policy(LlamaForCausalLM(config), word_tokenizer(8))
    with torch.no_grad():
        for parameter in turned.model.parameters():
            parameter.normal_(0.0, 0.5, generator=torch.Generator().manual_seed(0))
    assert turned.context == 8
    with torch.no_grad():
        rows = [turned.model(input_ids=torch.tensor([[1, 2, 3, *[4] * more]])).logits[0, 2] for more in (0, 5, 6)]
    torch.testing.assert_close(rows[0], rows[1], atol=1e-6, rtol=1e-6)
    assert float((rows[0] - rows[2]).abs().max()) > 1e-2
    with pytest.raises(InvalidInput, match="context of 8"):
        sample(turned, ["w1 w2 w3"], group=1, max_new_tokens=6, generator=torch.Generator().manual_seed(0))
