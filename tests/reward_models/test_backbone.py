"""A score is a property of its own text: neither batch size, padding nor neighbours may show in it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast, T5Config, T5Model

from reward_models.backbone import Backbone, batch, hidden_states, last_state, mean_state, model_inputs
from reward_models.errors import ArtifactError, InvalidInput, NonFinite

FAMILIES = ["llama", "qwen2", "gpt2", "bert", "roberta"]
PROMPTS = ["What is it? ", "a", "Tell me of the sea. ", "", [{"role": "user", "content": "Hi"}], "1 + 1 = "]
COMPLETIONS = ["A cat.", "", "It is deep, and it is cold.", "b", "yes", "2"]


def alone(backbone: Backbone, tokens: tuple[int, ...]) -> Tensor:
    """The plain computation: one sequence, no padding, no mask, no positions given."""
    with torch.no_grad():
        states: Tensor = backbone.model(input_ids=torch.tensor([tokens])).last_hidden_state[0]
    return states


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pad", [None, "</s>", "<pad>"], ids=["no pad", "eos is pad", "own pad"])
def test_a_state_is_that_of_the_text_alone(
    family: str, pad: str | None, tiny_backbone: Callable[..., Backbone]
) -> None:
    # Every text ends with the end-of-sequence token, which in one case is the padding token too.
    backbone = tiny_backbone(family, pad=pad, begins="<s>", ends="</s>")
    encoded = backbone.encode(PROMPTS, COMPLETIONS)
    last = torch.stack([alone(backbone, row)[-1] for row in encoded.tokens])
    mean = torch.stack([alone(backbone, row).mean(dim=0) for row in encoded.tokens])
    assert float(last.std(dim=0).max()) > 0.05
    for size in (1, 2, 3, 6):
        torch.testing.assert_close(
            backbone.pooled(encoded, pooling="last", batch_size=size), last, atol=1e-5, rtol=1e-5
        )
        torch.testing.assert_close(
            backbone.pooled(encoded, pooling="mean", batch_size=size), mean, atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_neighbours_do_not_show(family: str, tiny_backbone: Callable[..., Backbone]) -> None:
    backbone = tiny_backbone(family, pad="</s>", ends="</s>")
    few = backbone.pooled(backbone.encode(PROMPTS[:2], COMPLETIONS[:2]), pooling="last")
    many = backbone.encode([*PROMPTS[2:], *PROMPTS[1::-1]], [*COMPLETIONS[2:], *COMPLETIONS[1::-1]])
    torch.testing.assert_close(backbone.pooled(many, pooling="last")[-2:].flip(0), few, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_side_that_a_tokenizer_pads_changes_nothing(family: str, tiny_backbone: Callable[..., Backbone]) -> None:
    found = []
    for side in ("left", "right"):
        backbone = tiny_backbone(family, padding_side=side)
        found.append(backbone.pooled(backbone.encode(PROMPTS, COMPLETIONS), pooling="last"))
    assert torch.equal(*found)


def test_a_mask_made_from_the_padding_token_would_show(tiny_backbone: Callable[..., Backbone]) -> None:
    # What the tests above guard against: with eos = pad, such a mask hides the end of every text.
    backbone = tiny_backbone("llama", pad="</s>", ends="</s>")
    encoded = backbone.encode(PROMPTS[:1], COMPLETIONS[:1])
    tokens, _ = batch(encoded.tokens, pad_id=0)
    with torch.no_grad():
        wrong = last_state(hidden_states(backbone.model, tokens, tokens != 0), tokens != 0)
    assert float((wrong - backbone.pooled(encoded, pooling="last")).abs().max()) > 0.1


def test_a_batch_is_padded_on_the_right_and_masked_by_length() -> None:
    tokens, mask = batch([[5, 9], [9, 9, 9], [7]], pad_id=9)
    assert tokens.tolist() == [[5, 9, 9], [9, 9, 9], [7, 9, 9]]
    assert mask.tolist() == [[True, True, False], [True, True, True], [True, False, False]]


def test_pooling_is_that_computed_by_hand() -> None:
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [torch.nan, 9.0]], [[4.0, 4.0], [0.0, 1.0], [5.0, 1.0]]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert last_state(hidden, mask).tolist() == [[3.0, 6.0], [5.0, 1.0]]
    assert mean_state(hidden, mask).tolist() == [[2.0, 4.0], [3.0, 2.0]]


def test_positions_are_given_unless_the_model_counts_from_its_padding(
    tiny_model: Callable[..., PreTrainedModel],
) -> None:
    tokens, mask = batch([[5, 6, 7], [8]], pad_id=1)
    assert model_inputs(tiny_model("llama"), tokens, mask)["position_ids"].tolist() == [[0, 1, 2], [0, 1, 2]]
    assert "position_ids" not in model_inputs(tiny_model("roberta"), tokens, mask)


def test_states_have_gradients_where_they_are_wanted(tiny_model: Callable[..., PreTrainedModel]) -> None:
    tokens, mask = batch([[5, 6, 7], [8]], pad_id=1)
    assert hidden_states(tiny_model("llama"), tokens, mask).requires_grad


def test_cuts_are_counted(tiny_backbone: Callable[..., Backbone]) -> None:
    backbone = tiny_backbone("gpt2", max_length=8)
    encoded = backbone.encode(["a" * 3, "b" * 9, "c"], ["x" * 5, "y" * 4, "z" * 9])
    assert [len(row) for row in encoded.tokens] == [8, 8, 8]
    assert (encoded.cut, encoded.completions_cut, len(encoded)) == (2, 1, 3)


def test_what_cannot_be_encoded_is_named(tiny_backbone: Callable[..., Backbone]) -> None:
    backbone = tiny_backbone("llama")
    with pytest.raises(InvalidInput, match="2 prompts and 1 completions"):
        backbone.encode(["a", "b"], ["c"])
    with pytest.raises(InvalidInput, match="two lists"):
        backbone.encode("ab", "cd")
    with pytest.raises(InvalidInput, match=r"\[1\] have no tokens"):
        backbone.encode(["a", ""], ["b", ""])
    with pytest.raises(InvalidInput, match="batch_size is 0"):
        backbone.pooled(backbone.encode(["a"], ["b"]), pooling="last", batch_size=0)


def test_a_state_that_is_not_finite_is_named(tiny_backbone: Callable[..., Backbone]) -> None:
    backbone = tiny_backbone("llama")
    broken = backbone.tokenizer.convert_tokens_to_ids("!")
    with torch.no_grad():
        backbone.model.get_input_embeddings().weight[broken] = torch.inf
    with pytest.raises(NonFinite, match=r"sequences \[1\]"):
        backbone.pooled(backbone.encode(["a", "a!"], ["b", "b"]), pooling="mean")


def save(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast | None) -> Path:
    model.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("family", "causal"),
    [*((family, False) for family in FAMILIES), *((family, True) for family in ("llama", "qwen2", "gpt2"))],
)
def test_a_folder_is_read_as_its_trunk(
    family: str,
    causal: bool,
    tiny_backbone: Callable[..., Backbone],
    tiny_model: Callable[..., PreTrainedModel],
    tmp_path: Path,
) -> None:
    saved = tiny_backbone(family, pad=None, begins=None if family == "qwen2" else "<s>")
    source = tiny_model(family, causal=True) if causal else saved.model
    loaded = Backbone.load(save(tmp_path, source, saved.tokenizer))
    assert (loaded.max_length, loaded.pad_id, loaded.width) == (64, 0, 16)
    assert not loaded.model.training
    same = Backbone(model=source.base_model, tokenizer=saved.tokenizer, max_length=64)
    encoded = loaded.encode(PROMPTS, COMPLETIONS)
    assert encoded.tokens == same.encode(PROMPTS, COMPLETIONS).tokens
    assert torch.equal(loaded.pooled(encoded, pooling="last"), same.pooled(encoded, pooling="last"))


def test_length_and_precision_are_as_asked(tiny_backbone: Callable[..., Backbone], tmp_path: Path) -> None:
    saved = tiny_backbone("llama")
    folder = save(tmp_path, saved.model, saved.tokenizer)
    loaded = Backbone.load(folder, max_length=10, dtype=torch.bfloat16, device="cpu")
    assert (loaded.max_length, loaded.model.dtype) == (10, torch.bfloat16)
    assert loaded.pooled(loaded.encode(["a"], ["b"]), pooling="last").dtype == torch.float32
    with pytest.raises(InvalidInput, match="max_length is 65; this model takes from 2 to 64"):
        Backbone.load(folder, max_length=65)
    saved.tokenizer.model_max_length = 12
    saved.tokenizer.save_pretrained(folder)
    assert Backbone.load(folder).max_length == 12


def test_positions_kept_for_padding_are_not_counted(tiny_backbone: Callable[..., Backbone]) -> None:
    # 66 positions, of which 0 and 1 are RoBERTa's own.
    with pytest.raises(InvalidInput, match="takes from 2 to 64"):
        tiny_backbone("roberta", max_length=65)


def test_an_encoder_decoder_is_refused(tiny_tokenizer: Callable[..., PreTrainedTokenizerFast]) -> None:
    config = T5Config(vocab_size=106, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, decoder_start_token_id=0)
    with pytest.raises(InvalidInput, match="T5Model is an encoder-decoder"):
        Backbone(model=T5Model(config), tokenizer=tiny_tokenizer(), max_length=8)


def _more_tokens(folder: Path) -> None:
    added = PreTrainedTokenizerFast.from_pretrained(folder)
    added.add_tokens(["<new>"])
    added.save_pretrained(folder)


def _drop_a_layer(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a layer missing": (_drop_a_layer, "lacks weights of a LlamaModel"),
    "another tokenizer": (_more_tokens, "has 107 tokens, and its model 106"),
}


@pytest.mark.parametrize(("damage", "said"), DAMAGES.values(), ids=DAMAGES)
def test_a_folder_that_is_no_model_says_what_it_lacks(
    damage: Callable[[Path], None], said: str, tiny_backbone: Callable[..., Backbone], tmp_path: Path
) -> None:
    saved = tiny_backbone("llama")
    folder = save(tmp_path / "model", saved.model, saved.tokenizer)
    damage(folder)
    with pytest.raises(ArtifactError, match=said):
        Backbone.load(folder)


def test_a_name_that_cannot_be_fetched_is_said(tmp_path: Path) -> None:
    # The tests run offline: a name on the Hub is not to be had.
    with pytest.raises(ArtifactError, match=r"no model could be read from 'nobody/nothing'.*forbids the network"):
        Backbone.load("nobody/nothing")
