from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from reward_models.backbone import Backbone
from reward_models.conversations import Conversation
from reward_models.errors import ArtifactError, InvalidInput, NonFinite
from reward_models.features import STATISTICS
from reward_models.reference import Reference
from reward_models.text_features import (
    CompletionFeatures,
    FunctionFeatures,
    HiddenStates,
    SideBySide,
    TextFeatures,
    load_features,
)
from reward_models.trunks import Trunk

PROMPTS = ["What is it? ", "a", "Tell me of the sea. "]
COMPLETIONS = ["A cat.", "no", "It is deep, and it is cold."]


def lengths(prompts: Sequence[Conversation], completions: Sequence[Conversation]) -> Tensor:
    return torch.tensor(
        [[len(prompt), len(completion)] for prompt, completion in zip(prompts, completions, strict=True)]
    )


@pytest.fixture
def make_reference(
    tiny_model: Callable[..., PreTrainedModel], tiny_tokenizer: Callable[..., PreTrainedTokenizerFast]
) -> Callable[..., Reference]:
    def make(family: str = "llama", *, max_length: int = 64, begins: str | None = None) -> Reference:
        model = tiny_model(family, causal=True)
        return Reference(model=model, tokenizer=tiny_tokenizer(begins=begins), max_length=max_length)

    return make


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_named_layers_stand_side_by_side(family: str, pooling: str, tiny_backbone: Callable[..., Backbone]) -> None:
    backbone = tiny_backbone(family)
    found = HiddenStates(backbone, pooling=pooling, layers=(0, -1, 1), batch_size=2)(PROMPTS, COMPLETIONS)
    for row, tokens in zip(found, backbone.encode(PROMPTS, COMPLETIONS).tokens, strict=True):
        with torch.no_grad():
            output = backbone.model(input_ids=torch.tensor([tokens]), output_hidden_states=True)
        states = [output.hidden_states[layer][0] for layer in (0, 2, 1)]
        expected = torch.cat([state[-1] if pooling == "last" else state.mean(dim=0) for state in states])
        torch.testing.assert_close(row, expected, atol=1e-5, rtol=1e-5)
    # The last layer is the final state.
    last = HiddenStates(backbone, pooling=pooling)(PROMPTS, COMPLETIONS)
    torch.testing.assert_close(found[:, 16:32], last, atol=1e-5, rtol=1e-5)


def test_layers_that_are_not_there_are_named(tiny_backbone: Callable[..., Backbone]) -> None:
    with pytest.raises(InvalidInput, match=r"layers \[3, -4\] do not exist.*0 \(the embeddings\) to 2"):
        HiddenStates(tiny_backbone("llama"), layers=(0, 3, -4))


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
def test_statistics_are_those_of_the_completion_alone(family: str, make_reference: Callable[..., Reference]) -> None:
    reference = make_reference(family, begins="<s>")
    found = CompletionFeatures(reference, batch_size=2)(PROMPTS, COMPLETIONS)
    assert found.shape == (3, len(STATISTICS))
    for row, prompt, completion in zip(found.tolist(), PROMPTS, COMPLETIONS, strict=True):
        # By hand: <s> prompt, then the completion and the end, each token's log-probability from the state before it.
        before = [2, *reference.tokenizer(prompt, add_special_tokens=False)["input_ids"]]
        after = [*reference.tokenizer(completion, add_special_tokens=False)["input_ids"], 0]
        with torch.no_grad():
            logits = reference.model(input_ids=torch.tensor([[*before, *after]])).logits[0]
        every = torch.log_softmax(logits, dim=-1)
        values = [float(every[len(before) - 1 + place, token]) for place, token in enumerate(after)]
        assert row[:4] == pytest.approx([sum(values) / len(values), sum(values), min(values), len(values)], abs=1e-4)


def test_messages_count_from_the_first_token_of_the_answer(make_reference: Callable[..., Reference]) -> None:
    reference = make_reference()
    found = reference.encode([{"role": "user", "content": "Hi"}], [{"role": "assistant", "content": "yes"}])
    assert reference.tokenizer.decode(found.tokens[: found.start]) == "<user> H i </s> <assistant>"
    assert reference.tokenizer.decode(found.tokens[found.start :]) == "y e s </s>"


def test_a_completion_is_closed_once(make_reference: Callable[..., Reference]) -> None:
    reference = make_reference()
    assert reference.encode("a", "b").tokens == reference.encode("a", "b</s>").tokens
    # A prompt that the tokenizer closed goes on.
    assert reference.encode("a</s>", "b").tokens == reference.encode("a", "b").tokens


def test_all_features_of_a_trace_are_at_hand(
    make_reference: Callable[..., Reference], tiny_model: Callable[..., PreTrainedModel]
) -> None:
    reference = make_reference("gpt2")
    found = CompletionFeatures(reference, names=("last_hidden", "mean_hidden"))(PROMPTS, COMPLETIONS)
    for row, prompt, completion in zip(found, PROMPTS, COMPLETIONS, strict=True):
        tokens, start = reference.encode(prompt, completion)
        with torch.no_grad():
            states = reference.model.transformer(input_ids=torch.tensor([tokens])).last_hidden_state[0]
        torch.testing.assert_close(row, torch.cat([states[-1], states[start:].mean(dim=0)]), atol=1e-5, rtol=1e-5)


def test_a_long_prompt_is_cut_and_a_long_completion_refused(make_reference: Callable[..., Reference]) -> None:
    reference = make_reference(max_length=6, begins="<s>")
    decode = reference.tokenizer.decode
    # <s> a b c d x y </s>: the end and the completion stay, then <s>, then what is left of the prompt.
    assert decode(reference.encode("abcd", "xy").tokens) == "<s> c d x y </s>"
    assert decode(reference.encode("abcd", "vwxy").tokens) == "<s> v w x y </s>"
    assert reference.encode("abcd", "vwxy").start == 1
    with pytest.raises(InvalidInput, match="a completion has 6 tokens and the reference reads 6"):
        reference.encode("abcd", "uvwxy")


def test_a_reference_takes_no_more_than_it_has_positions(make_reference: Callable[..., Reference]) -> None:
    with pytest.raises(InvalidInput, match="max_length is 65; this model takes from 2 to 64"):
        make_reference(max_length=65)


def test_a_first_token_needs_something_before_it(make_reference: Callable[..., Reference]) -> None:
    reference = make_reference()
    # The beginning token stands in for a prompt.
    assert reference.encode("", "x").tokens == (2, reference.tokenizer.convert_tokens_to_ids("x"), 0)
    reference.tokenizer.bos_token = None
    with pytest.raises(InvalidInput, match="nothing stands before a completion"):
        reference.encode("", "x")


def test_parts_stand_side_by_side_in_their_order(tiny_backbone: Callable[..., Backbone]) -> None:
    hidden, function = HiddenStates(tiny_backbone("llama")), FunctionFeatures(lengths)
    found = SideBySide((function, hidden))(PROMPTS, COMPLETIONS)
    assert found[:, :2].tolist() == [[12.0, 6.0], [1.0, 2.0], [20.0, 27.0]]
    assert torch.equal(found[:, 2:], hidden(PROMPTS, COMPLETIONS))
    with pytest.raises(InvalidInput, match="at least one"):
        SideBySide(())


@pytest.mark.parametrize(
    ("function", "error", "said"),
    [
        (lambda prompts, completions: torch.zeros(2, 3), InvalidInput, r"gave \(2, 3\).*\(3, features\)"),
        (lambda prompts, completions: torch.full((3, 1), torch.nan), NonFinite, "not finite"),
    ],
)
def test_what_a_function_gives_is_checked(function: Callable[..., Tensor], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        FunctionFeatures(function)(PROMPTS, COMPLETIONS)


def test_a_description_makes_equal_features(
    tiny_backbone: Callable[..., Backbone], make_reference: Callable[..., Reference]
) -> None:
    backbone, reference = tiny_backbone("gpt2"), make_reference("gpt2")
    parts: tuple[TextFeatures, ...] = (
        HiddenStates(backbone, pooling="mean", layers=(1, -1)),
        CompletionFeatures(reference, names=("mean_hidden", "likelihood_statistics")),
        HiddenStates(backbone),
    )
    trunks: list[Trunk] = []
    description = SideBySide(parts).describe(trunks)
    # Two parts read one backbone, which is named once.
    assert trunks == [backbone, reference]
    again = load_features(description, trunks)
    assert torch.equal(again(PROMPTS, COMPLETIONS), SideBySide(parts)(PROMPTS, COMPLETIONS))


def test_a_function_cannot_be_saved() -> None:
    with pytest.raises(InvalidInput, match="a folder holds no code; save the `ensemble` alone"):
        SideBySide((FunctionFeatures(lengths),)).describe([])


@pytest.mark.parametrize(
    "description",
    [
        {},
        {"type": "hidden_states"},
        {"type": "hidden_states", "trunk": 7, "pooling": "last", "layers": []},
        {"type": "hidden_states", "trunk": 0, "pooling": "last", "layers": ["x"]},
        {"type": "hidden_states", "trunk": 0, "pooling": "first", "layers": []},
        {"type": "completion", "trunk": 0, "names": ["likelihood_statistics"]},
        {"type": "side_by_side", "parts": [3]},
        {"type": "side_by_side", "parts": []},
        {"type": "unheard of", "trunk": 0},
    ],
)
def test_a_damaged_description_is_refused(
    description: dict[str, object], tiny_backbone: Callable[..., Backbone]
) -> None:
    with pytest.raises(ArtifactError, match="a saved description of features"):
        load_features(description, [tiny_backbone("llama")])
