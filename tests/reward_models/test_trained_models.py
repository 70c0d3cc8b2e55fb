"""Adapters and whole models as reward models: fitted, saved, averaged, and taken to plain transformers and peft."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from torch import Tensor

from reward_models.backbone import Backbone
from reward_models.errors import ArtifactError, InvalidInput, NonFinite
from reward_models.fit_plan import GradientSettings
from reward_models.full_model import FullMembers, FullModel, fit_full
from reward_models.gradient_fitting import GradientStep
from reward_models.lora_model import LoraMembers, LoraModel, fit_lora
from reward_models.member_export import adapter_tokenizer, export_full_member, export_lora_member
from reward_models.pairs import EncodedPairs, encode_pairs
from reward_models.reward_model import AbstractRewardModel, load_reward_model
from reward_models.stacked_adapters import AdapterSettings
from reward_models.weight_averaging import averaged

# peft asks transformers for a property by its old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

SETTINGS = GradientSettings(epochs=2, batch_size=8, learning_rate=0.01)
ADAPTERS = AdapterSettings(members=2, rank=2)
PROMPTS = ["Say: ", "Say: ", "Tell me ", ""]
TEXTS = ["yes", "no, thank you", "a story!", "x"]

Backbones = Callable[..., Backbone]


def comparisons(backbone: Backbone, count: int = 40) -> EncodedPairs:
    """Texts of the letters a and b; the one with more of a is better."""
    generator = torch.Generator().manual_seed(0)
    letters = torch.randint(2, (2, count, 4), generator=generator)
    sides = [["".join("ab"[letter] for letter in row) for row in side] for side in letters.tolist()]
    encoded = [backbone.encode(["go "] * count, side) for side in sides]
    counts = letters.sum(dim=2).double()
    labels = 0.5 + 0.5 * torch.sign(counts[1] - counts[0])
    return EncodedPairs(*encoded, labels=labels, weights=torch.ones(count, dtype=torch.float64))


def lora(backbone: Backbone, *, settings: GradientSettings = SETTINGS) -> LoraModel:
    pairs, generator = comparisons(backbone), torch.Generator().manual_seed(1)
    return fit_lora(backbone, pairs, adapters=ADAPTERS, settings=settings, generator=generator).model


def full(backbone: Backbone, *, shared_head: bool = False, settings: GradientSettings = SETTINGS) -> FullModel:
    pairs, generator = comparisons(backbone), torch.Generator().manual_seed(1)
    return fit_full(backbone, pairs, members=2, settings=settings, generator=generator, shared_head=shared_head).model


def made_up(backbone: Backbone, kind: str) -> LoraModel | FullModel:
    """A model that was not fitted, with large weights, so that an error anywhere shows."""
    generator = torch.Generator().manual_seed(3)
    offsets, temperature = torch.tensor([1.5, -0.5]), 0.7
    if kind == "full":
        whole = FullMembers.start(backbone, members=2, generator=generator)
        with torch.no_grad():
            for part in whole.parameters().values():
                part.add_(0.1 * torch.randn(part.shape, generator=generator)).requires_grad_(False)
        return FullModel(whole, offsets, temperature)
    members = LoraMembers.start(backbone, settings=ADAPTERS, generator=generator)
    for part in members.parameters().values():
        part.add_(0.3 * torch.randn(part.shape, generator=generator))
    return LoraModel(members, offsets, temperature)


@pytest.mark.parametrize("kind", ["lora", "full"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_preferences_are_learned_and_the_backbone_is_not_changed(
    kind: str, family: str, tiny_backbone: Backbones
) -> None:
    backbone = tiny_backbone(family)
    before = {name: value.clone() for name, value in backbone.model.state_dict().items()}
    settings = GradientSettings(epochs=12, batch_size=8, learning_rate=0.02, held_out_share=0.2, patience=12)
    pairs, generator = comparisons(backbone, 80), torch.Generator().manual_seed(1)
    if kind == "lora":
        fit = fit_lora(backbone, pairs, adapters=ADAPTERS, settings=settings, generator=generator)
    else:
        fit = fit_full(backbone, pairs, members=2, settings=settings, generator=generator)
    assert fit.record.held_out_after is not None
    # Ties, of which there are a quarter, count one half.
    assert fit.record.held_out_after.accuracy > 0.75
    scores = fit.model.scores(["go "] * 3, ["aaaa", "abab", "bbbb"]).mean(dim=0)
    assert scores[0] > scores[1] > scores[2]
    assert all(torch.equal(value, before[name]) for name, value in backbone.model.state_dict().items())
    assert not any(part.requires_grad for part in fit.model.trained.parameters().values())


def test_all_layers_can_be_adapted(tiny_backbone: Backbones) -> None:
    backbone, generator = tiny_backbone("gpt2"), torch.Generator().manual_seed(1)
    adapters = AdapterSettings(members=2, rank=2, layers=(0, 1))
    fit = fit_lora(backbone, comparisons(backbone), adapters=adapters, settings=SETTINGS, generator=generator)
    assert all(up.abs().amax(dim=(1, 2)).min() > 0.0 for up in fit.model.trained.adapters.up.values())


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_fit_is_centred_and_repeats_itself(kind: str, tiny_backbone: Backbones) -> None:
    backbone = tiny_backbone("llama")
    whole = GradientSettings(epochs=2, batch_size=8, learning_rate=0.01, held_out_share=0.0)
    one, same = (lora(backbone, settings=whole) if kind == "lora" else full(backbone, settings=whole) for _ in "12")
    for left, right in zip(one.trained.parameters().values(), same.trained.parameters().values(), strict=True):
        assert torch.equal(left, right)
    pairs = comparisons(backbone)
    rows = pairs.rows(range(len(pairs)))
    scores = one.trained.raw_scores(rows.first + rows.second) - one.offsets[:, None]
    assert scores.mean(dim=1).abs().max().item() < 1e-5


@pytest.mark.parametrize("kind", ["lora", "full"])
@pytest.mark.parametrize("stop", [2, 6])
def test_an_interrupted_fit_goes_on_to_the_last_bit(
    kind: str, stop: int, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    """Also where only some of the states that enter the adapted layers are stored, so that batches differ."""
    backbone, path = tiny_backbone("llama"), tmp_path / "fit.checkpoint"
    pairs = comparisons(backbone)
    settings = GradientSettings(epochs=2, batch_size=8, learning_rate=0.01, checkpoint_every=2)

    def fit(checkpoint: Path | None, on_step: Callable[[GradientStep], None] | None = None) -> LoraModel | FullModel:
        generator = torch.Generator().manual_seed(1)
        shared = {"settings": settings, "generator": generator, "checkpoint": checkpoint, "on_step": on_step}
        if kind == "full":
            return fit_full(backbone, pairs, members=2, **shared).model  # type: ignore[arg-type]
        return fit_lora(backbone, pairs, adapters=ADAPTERS, store=4000, **shared).model  # type: ignore[arg-type]

    def interrupt(step: GradientStep) -> None:
        if step.step == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(path, interrupt)
    again, whole = fit(path), fit(None)
    for one, other in zip(again.trained.parameters().values(), whole.trained.parameters().values(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(again.offsets, whole.offsets) and again.temperature == whole.temperature


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_scores_are_raw_scores_less_the_offset_over_the_temperature(kind: str, tiny_backbone: Backbones) -> None:
    backbone = tiny_backbone("llama")
    model = made_up(backbone, kind)
    raw = model.trained.raw_scores(backbone.encode(PROMPTS, TEXTS).tokens)
    expected = (raw - torch.tensor([[1.5], [-0.5]])) / 0.7
    torch.testing.assert_close(model.scores(PROMPTS, TEXTS), expected, rtol=1e-5, atol=1e-5)
    assert (model.members, model.kind) == (2, kind)
    torch.testing.assert_close(model.estimate(PROMPTS, TEXTS).mean, expected.mean(dim=0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_saved_model_comes_back_bit_for_bit_and_damage_is_noticed(
    kind: str, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    backbone = tiny_backbone("llama")
    model = made_up(backbone, kind)
    folder = tmp_path / "model"
    if isinstance(model, LoraModel):
        model.save(folder, include_backbone=True)
    else:
        model.save(folder)
    loaded: AbstractRewardModel = load_reward_model(folder)
    assert type(loaded) is type(model)
    assert torch.equal(loaded.scores(PROMPTS, TEXTS), model.scores(PROMPTS, TEXTS))
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} <= {".json", ".safetensors", ".jinja"}
    weights = folder / "members.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ArtifactError, match=r"is not the file that config\.json describes"):
        load_reward_model(folder)
    weights.write_bytes(data)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"temperature": -1.0}))
    with pytest.raises(ArtifactError, match="usable"):
        load_reward_model(folder)


def test_adapters_are_loaded_onto_a_backbone_that_is_there_already(tiny_backbone: Backbones, tmp_path: Path) -> None:
    backbone = tiny_backbone("gpt2")
    backbone.model.save_pretrained(tmp_path / "base")
    backbone.tokenizer.save_pretrained(tmp_path / "base")
    named = Backbone.load(tmp_path / "base", max_length=64)
    model = made_up(named, "lora")
    model.save(tmp_path / "model")
    assert not (tmp_path / "model" / "trunk").exists()
    loaded = load_reward_model(tmp_path / "model", backbone=backbone)
    assert isinstance(loaded, LoraModel) and loaded.trained.backbone.model is backbone.model
    assert torch.equal(loaded.scores(PROMPTS, TEXTS), model.scores(PROMPTS, TEXTS))
    with pytest.raises(ArtifactError, match="other weights"):
        load_reward_model(tmp_path / "model", backbone=tiny_backbone("gpt2", seed=5))


def test_the_average_of_members_that_differ_in_their_heads_is_the_mean_of_their_scores(
    tiny_backbone: Backbones,
) -> None:
    """Trunks that are equal make the score linear in what differs: the average member is the mean of the members."""
    backbone = tiny_backbone("llama")
    start = FullMembers.start(backbone, members=3, shared_head=True, generator=torch.Generator().manual_seed(0))
    start.heads.add_(torch.randn(3, 16, generator=torch.Generator().manual_seed(1)))
    model = FullModel(start, torch.tensor([1.0, 2.0, -6.0]), 0.5)
    merged = averaged(model)
    assert merged.members == 1
    expected = model.scores(PROMPTS, TEXTS).mean(dim=0, keepdim=True)
    torch.testing.assert_close(merged.scores(PROMPTS, TEXTS), expected, rtol=1e-5, atol=1e-4)


def test_every_weight_of_an_average_is_the_mean_of_the_members(tiny_backbone: Backbones) -> None:
    model = full(tiny_backbone("gpt2"), shared_head=True)
    merged, members = averaged(model), [backbone.model.state_dict() for backbone in model.trained.backbones]
    differ = 0
    for name, value in merged.trained.backbones[0].model.state_dict().items():
        torch.testing.assert_close(value, (members[0][name] + members[1][name]) / 2.0, rtol=1e-5, atol=1e-7)
        differ += int(not torch.equal(members[0][name], members[1][name]))
    assert differ > 20
    torch.testing.assert_close(merged.trained.heads[0], model.trained.heads.mean(dim=0))


def test_members_of_different_starts_are_not_averaged(tiny_backbone: Backbones) -> None:
    with pytest.raises(InvalidInput, match="2 different weights"):
        averaged(full(tiny_backbone("llama")))


PLAIN = """
import json, sys, warnings
warnings.simplefilter("ignore")
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer
torch.set_num_threads(1)
texts, found = json.loads(sys.argv[1]), {}
for name, base in json.loads(sys.argv[2]).items():
    tokenizer = AutoTokenizer.from_pretrained(name)
    if base:
        model = AutoModelForSequenceClassification.from_pretrained(
            base, num_labels=1, pad_token_id=tokenizer.pad_token_id, dtype="float32"
        )
        model = PeftModel.from_pretrained(model, name).eval()
    else:
        model = AutoModelForSequenceClassification.from_pretrained(name)
    with torch.no_grad():
        found[name] = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits[:, 0].tolist()
print(json.dumps(found))
"""


def test_a_fresh_process_with_plain_libraries_gives_the_same_scores(tiny_backbone: Backbones, tmp_path: Path) -> None:
    """Padded together, with eos = pad and a tokenizer that ends texts with it; exact where the family has room."""
    expected, bases = {}, {}
    for family in ("llama", "gpt2"):
        base = tmp_path / f"{family}-base"
        made = tiny_backbone(family, pad="</s>", ends="</s>", begins="<s>")
        made.model.save_pretrained(base)
        made.tokenizer.save_pretrained(base)
        backbone = Backbone.load(base, max_length=64)
        for kind in ("lora", "full"):
            model, folder = made_up(backbone, kind), tmp_path / f"{family}-{kind}"
            if isinstance(model, LoraModel):
                exported = export_lora_member(model, 1, folder)
            else:
                exported = export_full_member(model, 1, folder)
            # The constant is -offset / temperature = 0.5 / 0.7 where the last normalisation has no bias.
            assert exported.constant == pytest.approx(0.5 / 0.7 if family == "llama" else 0.0)
            expected[str(folder)] = model.scores(PROMPTS, TEXTS)[1] - exported.constant
            bases[str(folder)] = str(base) if kind == "lora" else None
            card = (folder / "README.md").read_text()
            assert ("score_constant" in card or "to get the scores" in card) == (family == "llama")
            assert str(tmp_path) not in card
    texts = [prompt + text for prompt, text in zip(PROMPTS, TEXTS, strict=True)]
    found = run_plain(texts, bases)
    for name, scores in expected.items():
        torch.testing.assert_close(torch.tensor(found[name]), scores, rtol=1e-6, atol=3e-6)


@pytest.mark.parametrize("chat", [False, True])
def test_the_code_on_a_member_s_card_scores_as_it_was_fitted(
    tiny_backbone: Backbones, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chat: bool
) -> None:
    backbone = tiny_backbone("gpt2", pad="</s>")
    backbone.tokenizer.chat_template = "{% for each in messages %}w1 {{ each['content'] }} w2 {% endfor %}"
    model = made_up(backbone, "full")
    assert isinstance(model, FullModel)
    export_full_member(model, 0, tmp_path / "one", chat=chat)
    card = (tmp_path / "one" / "README.md").read_text()
    monkeypatch.chdir(tmp_path / "one")
    names: dict[str, object] = {"prompt": PROMPTS[0], "completion": TEXTS[0]}
    exec(card.split("```python\n")[1].split("```")[0], names)
    plain = float(model.scores([PROMPTS[0]], [TEXTS[0]])[0])
    asked, answered = {"role": "user", "content": PROMPTS[0]}, {"role": "assistant", "content": TEXTS[0]}
    messages = float(model.scores([[asked]], [[answered]])[0])
    assert abs(plain - messages) > 1e-3
    assert float(names["score"]) == pytest.approx(messages if chat else plain, abs=1e-5)  # type: ignore[arg-type]
    assert ("fitted on chats" in card) == chat


def run_plain(texts: list[str], bases: dict[str, str | None]) -> dict[str, list[float]]:
    command = [sys.executable, "-c", PLAIN, json.dumps(texts), json.dumps(bases)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_what_no_classifier_can_express_says_so(tiny_backbone: Backbones, tmp_path: Path) -> None:
    for model in (made_up(tiny_backbone("bert"), "lora"), made_up(tiny_backbone("bert"), "full")):
        with pytest.raises(InvalidInput, match=r"more than a linear layer .* model\.save"):
            if isinstance(model, LoraModel):
                export_lora_member(model, 0, tmp_path / "one")
            else:
                export_full_member(model, 0, tmp_path / "one")
    with pytest.raises(InvalidInput, match="give a number from 0 to 1"):
        export_lora_member(lora(tiny_backbone("llama")), 2, tmp_path / "one")
    assert not (tmp_path / "one").exists()


def test_an_adapter_pads_with_a_token_that_no_text_ends_with(tiny_backbone: Backbones) -> None:
    for pad, expected in (("<pad>", "<pad>"), ("</s>", "<s>"), (None, "<s>")):
        assert adapter_tokenizer(tiny_backbone("llama", pad=pad).tokenizer, max_length=9).pad_token == expected


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_numbers_that_cannot_score_are_refused(kind: str, tiny_backbone: Backbones) -> None:
    model = made_up(tiny_backbone("llama"), kind)
    with pytest.raises(InvalidInput, match="temperature"):
        type(model)(model.trained, model.offsets, 0.0)  # type: ignore[arg-type]
    with pytest.raises(NonFinite, match="offset"):
        type(model)(model.trained, torch.tensor([0.0, float("nan")]), 1.0)  # type: ignore[arg-type]
    model.trained.heads[0, 0] = float("inf")
    with pytest.raises(NonFinite, match="fit the members again"):
        type(model)(model.trained, model.offsets, 1.0)  # type: ignore[arg-type]


def rows() -> Dataset:
    return Dataset.from_dict(
        {
            "prompt": ["go ", "go "] * 3,
            "first": ["aa", "ab", "aaa", "ba", "aa", "b" * 80],
            "second": ["bb", "bb", "b", "bb", "ab", "a"],
            "label": [1.0, 1.0, 1.0, 1.0, 0.5, 0.0],
            "weight": [1.0, 2.0, 1.0, 1.0, 1.0, 0.5],
            "margin": [None, 0.5, None, None, None, None],
            "group": ["x", "x", "y", None, None, "x"],
        }
    )


@pytest.mark.parametrize("on_disk", [True, False])
def test_a_data_set_is_tokenised_once_and_read_by_the_row(
    on_disk: bool, tiny_backbone: Backbones, tmp_path: Path
) -> None:
    backbone = tiny_backbone("llama")
    cache = tmp_path / "tokens.arrow" if on_disk else None
    pairs = encode_pairs(rows(), backbone, cache=cache)
    expected = backbone.encode(["go "] * 2, ["aaa", "aa"]).tokens
    assert pairs.rows([2, 0]).first == expected
    assert len(pairs) == 6
    assert pairs.cut == 1
    assert pairs.labels.tolist() == [1.0, 1.0, 1.0, 1.0, 0.5, 0.0]
    assert pairs.weights.tolist() == [1.0, 2.0, 1.0, 1.0, 1.0, 0.5]
    assert pairs.margins is not None and pairs.margins.tolist() == [0.0, 0.5, 0.0, 0.0, 0.0, 0.0]
    assert pairs.groups is not None and pairs.groups.tolist() == [0, 0, 1, 2, 2, 0]
    assert [Path(file["filename"]) for file in pairs.dataset.cache_files] == ([cache] if on_disk else [])


def test_a_fit_from_the_disk_is_the_fit_from_memory(tiny_backbone: Backbones, tmp_path: Path) -> None:
    backbone, tensors = tiny_backbone("llama"), []
    mapped = encode_pairs(rows(), backbone, cache=tmp_path / "tokens.arrow")
    everything = mapped.rows(range(6))
    sides = [backbone.encode(["go "] * 6, rows()[side]) for side in ("first", "second")]
    assert [side.tokens for side in sides] == list(everything)
    memory = EncodedPairs(
        sides[0], sides[1], mapped.labels, mapped.weights, margins=mapped.margins, groups=mapped.groups
    )
    for pairs in (mapped, memory):
        generator = torch.Generator().manual_seed(0)
        tensors.append(fit_lora(backbone, pairs, adapters=ADAPTERS, settings=SETTINGS, generator=generator).model)
    assert torch.equal(tensors[0].trained.heads, tensors[1].trained.heads)
    assert torch.equal(tensors[0].offsets, tensors[1].offsets)


def test_answers_that_no_loss_can_use_are_refused(tiny_backbone: Backbones) -> None:
    backbone = tiny_backbone("llama")
    side, ones = backbone.encode(["a", "b"], ["c", "d"]), torch.ones(2)

    def pairs(labels: Tensor = ones, weights: Tensor = ones, margins: Tensor | None = None) -> EncodedPairs:
        return EncodedPairs(side, side, labels=labels, weights=weights, margins=margins)

    for wrong in ({"labels": 2.0 * ones}, {"weights": -ones}, {"margins": -ones}):
        with pytest.raises(InvalidInput, match="negative"):
            pairs(**wrong)
    with pytest.raises(NonFinite):
        pairs(weights=torch.tensor([1.0, float("inf")]))
    with pytest.raises(InvalidInput, match="lacks the columns"):
        encode_pairs(rows().remove_columns("first"), backbone)
