"""A real pretrained model, which none of us made: 260,000 parameters, trained on children's stories."""

import json
import random
from pathlib import Path

import pytest
import torch

from agents.policy import Policy
from agents.rollout import greedy, rollout, sample, trace
from reward_models import Backbone, FitSettings, HeadsModel, HiddenStates, fit
from reward_models.errors import InvalidInput

LILY = "Once upon a time, there was a little girl named Lily"
GOES_ON = ". She loved to play outside in the park. One day, she saw a big, red ball."


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data / "models" / "stories260k"


@pytest.fixture(scope="module")
def storyteller(folder: Path) -> Policy:
    return Policy.load(folder)


@pytest.fixture(scope="module")
def openings(shared_data: Path) -> list[str]:
    """The first eight words of real stories."""
    lines = (shared_data / "prompts" / "tinystories.jsonl").read_text("utf-8").splitlines()[:160]
    return [" ".join(json.loads(line)["text"].split()[:8]) for line in lines]


def noise(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_it_tells_the_story_that_its_card_promises(storyteller: Policy) -> None:
    (story,) = greedy(storyteller, [LILY], max_new_tokens=40)
    assert story.startswith(GOES_ON)
    assert (storyteller.context, storyteller.vocabulary, storyteller.eos_id) == (512, 512, 2)


def test_an_adapter_tells_the_same_until_it_is_trained(storyteller: Policy, tmp_path: Path) -> None:
    adapted = storyteller.with_lora(rank=4, generator=noise(0))
    assert greedy(adapted, [LILY], max_new_tokens=40) == greedy(storyteller, [LILY], max_new_tokens=40)
    with torch.no_grad():
        for name, parameter in adapted.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0.0, 0.05, generator=noise(1))
    (told,) = greedy(adapted, [LILY], max_new_tokens=40)
    assert not told.startswith(GOES_ON)
    assert greedy(adapted.without_adapter(), [LILY], max_new_tokens=40)[0].startswith(GOES_ON)
    adapted.save(tmp_path / "adapter")
    assert greedy(Policy.load_adapter(tmp_path / "adapter", storyteller), [LILY], max_new_tokens=40) == (told,)


@torch.no_grad()
def test_its_text_costs_what_transformers_says(storyteller: Policy) -> None:
    """The mean loss that the model computes of labels, by itself, over the completion and its end."""
    read = trace(storyteller, [LILY], [[GOES_ON]])
    prompt, completion = storyteller.encode_prompt(LILY), storyteller.encode_completion(GOES_ON)
    labels = torch.tensor([[-100] * len(prompt) + completion])
    loss = storyteller.model(input_ids=torch.tensor([prompt + completion]), labels=labels).loss
    assert float(-read.log_probabilities[read.mask].mean()) == pytest.approx(float(loss), abs=1e-5)
    # Greedy text is likely: without the end, which is not, less than a nat a token.
    assert float(-read.log_probabilities[read.mask][:-1].mean()) < 1.0


def test_what_it_wrote_is_read_as_it_was_written(storyteller: Policy, openings: list[str]) -> None:
    """Its tokenizer writes a space before every text, and drops the first one of what it decodes."""
    assert storyteller.encode_completion(". She") != storyteller.encode_completion(" . She")
    assert storyteller.decode(storyteller.encode_completion(" She")) == " She"
    found = sample(storyteller, openings[:20], group=2, max_new_tokens=12, generator=noise(0))
    assert sum(text.startswith(" ") for text in found.completions) > 10
    same = 0
    for text, tokens, mask in zip(found.completions, found.tokens, found.mask, strict=True):
        again = storyteller.encode_completion(text)
        assert storyteller.decode(again) == text
        drawn = [token for token in tokens[mask].tolist() if token != storyteller.eos_id]
        same += again[:-1] == drawn
    # A word can be written in several ways, and rarely is in any but the tokenizer's.
    assert same >= 36


def test_a_half_precise_model_is_the_same_storyteller(folder: Path, storyteller: Policy, openings: list[str]) -> None:
    half = Policy.load(folder, dtype=torch.bfloat16)
    found = rollout(half, storyteller, openings[:8], group=2, max_new_tokens=16, generator=noise(0))
    assert found.kl.dtype == torch.float32
    # bfloat16 has 8 bits: the two differ, by a thousandth of a nat a token.
    assert 1e-7 < float(found.kl[found.samples.mask].mean()) < 5e-3
    again = rollout(storyteller, storyteller, openings[:2], group=2, max_new_tokens=16, generator=noise(0))
    assert float(again.kl.abs().max()) < 1e-6


def test_a_prompt_beyond_its_context_is_refused_with_the_numbers(storyteller: Policy) -> None:
    prompt = "Lily saw a cat. " * 100
    length = len(storyteller.encode_prompt(prompt))
    with pytest.raises(InvalidInput, match=f"A prompt of {length} tokens and 8 new ones do not fit .* context of 512"):
        sample(storyteller, [prompt], group=1, max_new_tokens=8, generator=noise(0))


def test_as_a_backbone_it_learns_to_prefer_stories_to_shuffled_words(folder: Path, openings: list[str]) -> None:
    backbone = Backbone.load(folder)
    shuffled = []
    for text in openings:
        words = text.split()
        random.Random(text).shuffle(words)
        shuffled.append(" ".join(words))
    states, empty = HiddenStates(backbone, pooling="mean"), [""] * len(openings)
    first, second = states(empty, openings), states(empty, shuffled)
    fitted, held_out = slice(0, 100), slice(100, None)
    labels = torch.ones(len(openings[fitted]), dtype=torch.float64)
    result = fit(
        first[fitted],
        second[fitted],
        labels,
        torch.ones_like(labels),
        groups=torch.arange(len(labels)),
        feature_names=(),
        settings=FitSettings(members=3),
        generator=noise(0),
    )
    model = HeadsModel(backbone, result.ensemble, "mean")
    better, worse = (model.scores(empty[held_out], side[held_out]).mean(dim=0) for side in (openings, shuffled))
    assert float((better > worse).double().mean()) > 0.8


def test_a_text_beyond_its_context_is_cut_and_counted(folder: Path) -> None:
    encoded = Backbone.load(folder).encode(["Lily saw a cat. " * 100, "Lily"], ["She smiled.", "She smiled."])
    assert (len(encoded.tokens[0]), encoded.cut, encoded.completions_cut) == (512, 1, 0)
