"""A policy survives its folder, and says in one sentence what a folder lacks."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from agents.policy import Policy
from reward_models.errors import ArtifactError, InvalidInput


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
    with pytest.raises(ArtifactError, match="No causal language model could be read from") as caught:
        Policy.load(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_weights_are_named(make_policy: Callable[..., Policy], tmp_path: Path) -> None:
    make_policy(1).save(tmp_path / "policy")
    weights = tmp_path / "policy" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ArtifactError, match="No causal language model"):
        Policy.load(tmp_path / "policy")
