import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from reward_models.backbone import Backbone
from reward_models.ensemble import Ensemble
from reward_models.errors import ArtifactError, InvalidInput
from reward_models.heads_model import FeaturesModel, HeadsModel
from reward_models.reference import Reference
from reward_models.reward_model import load_reward_model
from reward_models.text_features import CompletionFeatures, FunctionFeatures, HiddenStates, SideBySide, TextFeatures
from reward_models.trunks import weights_digest

PROMPTS = ["What is it? ", "a", "Tell me of the sea. ", [{"role": "user", "content": "Hi"}]]
COMPLETIONS = ["A cat.", "no", "It is deep, and it is cold.", "yes"]


def ensemble_over(width: int, *, members: int = 3) -> Ensemble:
    generator = torch.Generator().manual_seed(width)
    return Ensemble(
        weights=torch.randn(members, width, generator=generator, dtype=torch.float64),
        feature_mean=torch.randn(width, generator=generator, dtype=torch.float64),
        feature_scale=torch.rand(width, generator=generator, dtype=torch.float64) + 0.5,
        temperature=1.7,
        feature_names=(),
    )


@pytest.fixture
def saved_backbone(tiny_backbone: Callable[..., Backbone], tmp_path: Path) -> Backbone:
    """A backbone that came from a folder."""
    made = tiny_backbone("llama")
    made.model.save_pretrained(tmp_path / "base")
    made.tokenizer.save_pretrained(tmp_path / "base")
    return Backbone.load(tmp_path / "base", max_length=20)


def test_scores_are_those_of_the_heads_on_the_state_of_each_text(tiny_backbone: Callable[..., Backbone]) -> None:
    backbone, ensemble = tiny_backbone("gpt2"), ensemble_over(16)
    model = HeadsModel(backbone, ensemble, "last")
    found = model.scores(PROMPTS, COMPLETIONS)
    for place, tokens in enumerate(backbone.encode(PROMPTS, COMPLETIONS).tokens):
        with torch.no_grad():
            state = backbone.model(input_ids=torch.tensor([tokens])).last_hidden_state[0, -1].double()
        expected = ensemble.weights @ ((state - ensemble.feature_mean) / ensemble.feature_scale) / 1.7
        torch.testing.assert_close(found[:, place].double(), expected, atol=1e-5, rtol=1e-5)
    assert (model.members, model.kind, found.dtype) == (3, "heads", torch.float32)
    torch.testing.assert_close(model.estimate(PROMPTS, COMPLETIONS).mean, found.mean(dim=0))


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_a_model_that_names_its_backbone_scores_as_before(
    pooling: str, saved_backbone: Backbone, tmp_path: Path
) -> None:
    model = HeadsModel(saved_backbone, ensemble_over(16), pooling)
    model.save(tmp_path / "reward")
    assert {path.name for path in (tmp_path / "reward").iterdir()} == {"config.json", "ensemble"}
    assert {path.name for path in tmp_path.iterdir()} == {"base", "reward"}
    loaded = load_reward_model(tmp_path / "reward")
    assert isinstance(loaded, HeadsModel)
    assert (loaded.pooling, loaded.backbone.max_length) == (pooling, 20)
    assert torch.equal(loaded.scores(PROMPTS, COMPLETIONS), model.scores(PROMPTS, COMPLETIONS))


def test_a_model_with_its_backbone_inside_stands_alone(tiny_backbone: Callable[..., Backbone], tmp_path: Path) -> None:
    model = HeadsModel(tiny_backbone("qwen2", max_length=30), ensemble_over(16))
    model.save(tmp_path / "first", include_backbone=True)
    (tmp_path / "first").rename(tmp_path / "moved")
    assert str(tmp_path) not in (tmp_path / "moved" / "config.json").read_text()
    loaded = load_reward_model(tmp_path / "moved")
    assert torch.equal(loaded.scores(PROMPTS, COMPLETIONS), model.scores(PROMPTS, COMPLETIONS))


def test_a_backbone_at_hand_stands_in_for_one_that_has_moved(saved_backbone: Backbone, tmp_path: Path) -> None:
    model = HeadsModel(saved_backbone, ensemble_over(16))
    model.save(tmp_path / "reward")
    (tmp_path / "base").rename(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match=r"no model could be read from '.*base'.*backbone="):
        load_reward_model(tmp_path / "reward")
    # Where sequences are cut is the model's business, not that of whoever loads it.
    moved = Backbone.load(tmp_path / "elsewhere", max_length=50)
    loaded = load_reward_model(tmp_path / "reward", backbone=moved)
    assert torch.equal(loaded.scores(PROMPTS, COMPLETIONS), model.scores(PROMPTS, COMPLETIONS))
    assert isinstance(loaded, HeadsModel)
    assert loaded.backbone.model is moved.model


def test_other_weights_under_the_same_name_are_noticed(
    saved_backbone: Backbone, tiny_backbone: Callable[..., Backbone], tmp_path: Path
) -> None:
    HeadsModel(saved_backbone, ensemble_over(16)).save(tmp_path / "reward")
    other = tiny_backbone("llama", seed=1)
    with pytest.raises(ArtifactError, match=r"rests on '.*base', and what was given has other weights"):
        load_reward_model(tmp_path / "reward", backbone=other)
    other.model.save_pretrained(tmp_path / "base")
    with pytest.raises(ArtifactError, match=r"the weights of '.*base' are not those"):
        load_reward_model(tmp_path / "reward")


def test_one_named_layer_comes_back_as_that_layer(saved_backbone: Backbone, tmp_path: Path) -> None:
    model = FeaturesModel(HiddenStates(saved_backbone, layers=(1,)), ensemble_over(16))
    model.save(tmp_path / "reward")
    loaded = load_reward_model(tmp_path / "reward")
    assert torch.equal(loaded.scores(PROMPTS, COMPLETIONS), model.scores(PROMPTS, COMPLETIONS))


def test_features_of_two_models_side_by_side_come_back(
    saved_backbone: Backbone,
    tiny_model: Callable[..., PreTrainedModel],
    tiny_tokenizer: Callable[..., PreTrainedTokenizerFast],
    tmp_path: Path,
) -> None:
    reference = Reference(model=tiny_model("gpt2", causal=True), tokenizer=tiny_tokenizer(), max_length=64)
    features = SideBySide(
        (
            HiddenStates(saved_backbone, layers=(0, 1)),
            CompletionFeatures(reference),
            HiddenStates(saved_backbone, "mean"),
        )
    )
    model = FeaturesModel(features, ensemble_over(16 * 2 + 7 + 16))
    model.save(tmp_path / "reward", include_backbone=True)
    assert sorted(path.name for path in (tmp_path / "reward" / "trunks").iterdir()) == ["0", "1"]
    loaded = load_reward_model(tmp_path / "reward", backbone=saved_backbone)
    assert torch.equal(loaded.scores(PROMPTS, COMPLETIONS), model.scores(PROMPTS, COMPLETIONS))


def test_what_cannot_be_saved_leaves_nothing_behind(tiny_backbone: Callable[..., Backbone], tmp_path: Path) -> None:
    cases: list[tuple[TextFeatures, str]] = [
        (FunctionFeatures(lambda prompts, completions: torch.zeros(len(prompts), 16)), "a folder holds no code"),
        (HiddenStates(tiny_backbone("llama")), "made in memory.*include_backbone=True"),
    ]
    for features, said in cases:
        with pytest.raises(InvalidInput, match=said):
            FeaturesModel(features, ensemble_over(16)).save(tmp_path / "reward")
    assert not list(tmp_path.iterdir())


def test_a_digest_knows_names_shapes_and_values(tiny_model: Callable[..., PreTrainedModel]) -> None:
    first, again, other = tiny_model("bert"), tiny_model("bert"), tiny_model("bert", seed=1)
    assert weights_digest(first) == weights_digest(again) != weights_digest(other)
    # A pooler that nobody reads is often made anew at each loading.
    with torch.no_grad():
        again.pooler.dense.weight.add_(1.0)
    assert weights_digest(first) == weights_digest(again)
    with torch.no_grad():
        again.encoder.layer[1].output.dense.bias[0] += 1e-6
    assert weights_digest(first) != weights_digest(again)


def _edit(key: str, value: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))

    return edit


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "nothing there": (shutil.rmtree, "cannot be read"),
    "config cut": (lambda folder: (folder / "config.json").write_text("{") and None, "is not JSON"),
    "config a list": (lambda folder: (folder / "config.json").write_text("[]") and None, "format version None"),
    "newer format": (_edit("format_version", 2), "format version 2, expected 1"),
    "unknown kind": (_edit("kind", "forest"), "the kind 'forest', expected 'heads', 'lora' or 'full'"),
    "no features": (_edit("features", None), "does not say what its features are"),
    "no trunks": (_edit("trunks", []), "description of features is damaged"),
    "trunk garbled": (_edit("trunks", [{"kind": "backbone"}]), "names its backbone wrongly"),
    "no heads": (lambda folder: shutil.rmtree(folder / "ensemble"), "cannot be read"),
}


@pytest.mark.parametrize(("damage", "said"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_folder_says_what_is_wrong(
    damage: Callable[[Path], None], said: str, saved_backbone: Backbone, tmp_path: Path
) -> None:
    HeadsModel(saved_backbone, ensemble_over(16)).save(tmp_path / "reward")
    damage(tmp_path / "reward")
    with pytest.raises(ArtifactError, match=said):
        load_reward_model(tmp_path / "reward")


def test_an_ensemble_without_its_features_is_told_apart(tmp_path: Path) -> None:
    ensemble_over(4).save(tmp_path / "heads")
    with pytest.raises(ArtifactError, match=r"an ensemble without its features is read with Ensemble\.load"):
        load_reward_model(tmp_path / "heads")
