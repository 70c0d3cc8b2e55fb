"""What plain `transformers` makes of an exported member, in a process that never heard of this package."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from reward_models.backbone import Backbone
from reward_models.ensemble import Ensemble
from reward_models.errors import ArtifactError, InvalidInput
from reward_models.export import export_member, linear_head
from reward_models.heads_model import FeaturesModel, HeadsModel
from reward_models.sequence_classifier import check_equal, classifier_tokenizer, make_classifier
from reward_models.text_features import HiddenStates

# The second ends as a chat does, with the end-of-sequence token, which can be the padding too; the last is cut.
TEXTS = [("What is it? ", "A cat."), ("Hi", "yes</s>"), ("", "b"), ("Tell me of the sea. ", "Deep."), ("a" * 60, "end")]
CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "yes"}]

PLAIN = """
import json, sys
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

assert not any(name.split(".")[0] == "reward_models" for name in sys.modules)
torch.set_num_threads(1)
folders, texts, chat = json.load(sys.stdin)
found = {}
for folder in folders:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    def score(batch, **options):
        with torch.no_grad():
            tokens = tokenizer(batch, truncation=True, return_tensors="pt", **options)
            return model(**tokens).logits[:, 0].tolist()
    found[folder] = {
        "together": score(texts, padding=True),
        "alone": [score([text])[0] for text in texts],
        "chat": score([tokenizer.apply_chat_template(chat, tokenize=False)], add_special_tokens=False)[0],
        "outputs": model.config.num_labels,
        "constant": model.config.score_constant,
    }
print(json.dumps(found))
"""


def ensemble_over(states: Tensor, *, members: int = 3) -> Ensemble:
    """Random heads, standardised on states as a fit would."""
    generator = torch.Generator().manual_seed(0)
    return Ensemble(
        weights=torch.randn(members, states.shape[1], generator=generator, dtype=torch.float64) * 0.3,
        feature_mean=states.double().mean(dim=0) + 0.5,
        feature_scale=states.double().std(dim=0) + 0.5,
        temperature=1.3,
        feature_names=(),
    )


def model_over(backbone: Backbone) -> HeadsModel:
    prompts, completions = zip(*TEXTS, strict=True)
    return HeadsModel(backbone, ensemble_over(backbone.pooled(backbone.encode(prompts, completions), pooling="last")))


def in_plain_transformers(folders: list[Path]) -> dict[str, dict[str, object]]:
    """Scores of the exported folders, from a fresh process in another folder."""
    sent = json.dumps(
        [[str(folder) for folder in folders], [prompt + completion for prompt, completion in TEXTS], CHAT]
    )
    result = subprocess.run(
        [sys.executable, "-c", PLAIN], input=sent, capture_output=True, text=True, check=False, cwd=folders[0].parent
    )
    assert result.returncode == 0, result.stderr
    found: dict[str, dict[str, object]] = json.loads(result.stdout)
    return found


@dataclass(frozen=True)
class Case:
    """One exported member, what it should score, and what it did."""

    expected: Tensor
    chat: float
    constant: float
    plain: dict[str, object]
    folder: Path


CASES = [
    (family, pad, member)
    for family in ("llama", "qwen2", "gpt2")
    for pad in (None, "</s>", "<pad>")
    for member in (1, "mean")
]


@pytest.fixture(scope="module")
def exported(
    tiny_backbone: Callable[..., Backbone], tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[object, ...], Case]:
    """All cases, scored by one fresh process."""
    root, expected, folders = tmp_path_factory.mktemp("exported"), {}, {}
    prompts, completions = zip(*TEXTS, strict=True)
    for place, (family, pad, member) in enumerate(CASES):
        model = model_over(tiny_backbone(family, pad=pad, max_length=40))
        record = export_member(model, member, root / str(place), figures={"accuracy": 0.71234567})
        scores, chat = model.scores(prompts, completions), model.scores([CHAT[:1]], [CHAT[1:]])
        of_member = [part.mean(dim=0) if member == "mean" else part[int(member)] for part in (scores, chat)]
        expected[family, pad, member] = (*of_member, record.constant)
        folders[family, pad, member] = record.folder
    plain = in_plain_transformers(list(folders.values()))
    return {
        case: Case(scores, float(chat), constant, plain[str(folders[case])], folders[case])
        for case, (scores, chat, constant) in expected.items()
    }


@pytest.mark.parametrize("case", CASES, ids=str)
def test_plain_transformers_gives_the_same_scores(
    case: tuple[object, ...], exported: dict[tuple[object, ...], Case]
) -> None:
    found = exported[case]
    assert float(found.expected.std()) > 0.1
    for way in ("together", "alone"):
        scores = torch.tensor(found.plain[way]) + found.constant
        torch.testing.assert_close(scores, found.expected, atol=1e-6, rtol=1e-6)
    assert found.plain["chat"] + found.constant == pytest.approx(found.chat, abs=1e-6)
    assert (found.plain["outputs"], found.plain["constant"]) == (1, found.constant)
    # Only a normalisation with a bias can take the constant up.
    assert (found.constant == 0.0) == (case[0] == "gpt2")


def test_the_folder_says_what_it_is(exported: dict[tuple[object, ...], Case]) -> None:
    found = exported["llama", "</s>", 1]
    names = {path.name for path in found.folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md"} <= names
    card = (found.folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\npipeline_tag: text-classification\ntags:\n- reward-model")
    assert "member 1 of an ensemble of 3 linear heads" in card
    assert "| accuracy | 0.7123 |" in card
    assert f"Add {found.constant!r}" in card
    assert str(found.folder.parent) not in card
    assert "the mean of an ensemble" in (exported["gpt2", None, "mean"].folder / "README.md").read_text()
    card = (exported["gpt2", None, "mean"].folder / "README.md").read_text()
    assert "score_constant" not in card
    assert "also holds the constant term" in card


def test_the_code_on_the_card_scores(exported: dict[tuple[object, ...], Case], monkeypatch: pytest.MonkeyPatch) -> None:
    found = exported["gpt2", "</s>", "mean"]
    code = (found.folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(found.folder)
    names: dict[str, object] = dict(zip(("prompt", "completion"), TEXTS[0], strict=True))
    exec(code, names)
    assert float(names["score"]) == pytest.approx(float(found.expected[0]), abs=1e-6)


def test_padding_gets_a_token_of_its_own_only_where_it_has_none(exported: dict[tuple[object, ...], Case]) -> None:
    for family in ("llama", "gpt2"):
        for pad, expected in ((None, ("<|pad|>", 106)), ("</s>", ("<|pad|>", 106)), ("<pad>", ("<pad>", 1))):
            folder = exported[family, pad, 1].folder
            tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
            config = json.loads((folder / "config.json").read_text())
            assert (tokenizer["pad_token"], config["pad_token_id"]) == expected
            assert (tokenizer["padding_side"], tokenizer["truncation_side"]) == ("right", "left")
            assert config["vocab_size"] == max(106, expected[1] + 1)


def test_exporting_changes_nothing_in_the_model(tiny_backbone: Callable[..., Backbone], tmp_path: Path) -> None:
    model = model_over(tiny_backbone("gpt2", pad=None))
    before = {name: value.clone() for name, value in model.backbone.model.state_dict().items()}
    export_member(model, 0, tmp_path / "one")
    after = model.backbone.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert (model.backbone.tokenizer.pad_token, len(model.backbone.tokenizer)) == (None, 106)


def test_a_head_folds_as_computed_by_hand() -> None:
    # w / (scale T) = (4 / (2 * 0.5), 3 / (3 * 0.5)) = (4, 2); c = -(4 * 1 + 2 * -1) = -2.
    # The other head is its negative.
    weights = torch.tensor([[4.0, 3.0], [-4.0, -3.0]], dtype=torch.float64)
    mean, scale = torch.tensor([1.0, -1.0]).double(), torch.tensor([2.0, 3.0]).double()
    ensemble = Ensemble(weights, mean, scale, 0.5, ())
    weight, constant = linear_head(ensemble, 0)
    assert (weight.tolist(), constant) == ([4.0, 2.0], -2.0)
    weight, constant = linear_head(ensemble, "mean")
    assert (weight.tolist(), constant) == ([0.0, 0.0], 0.0)


def test_a_head_that_is_flat_exports_as_its_constant(tiny_backbone: Callable[..., Backbone], tmp_path: Path) -> None:
    backbone = tiny_backbone("gpt2")
    flat = Ensemble(torch.zeros(1, 16).double(), torch.ones(16).double(), torch.ones(16).double(), 1.0, ())
    assert export_member(HeadsModel(backbone, flat), 0, tmp_path / "flat").constant == 0.0


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_an_encoder_is_sent_to_the_documented_folder(
    family: str, tiny_backbone: Callable[..., Backbone], tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match=r"more than a linear layer.*model\.save\(folder\).*load_reward_model"):
        export_member(model_over(tiny_backbone(family)), 0, tmp_path / "one")
    assert not list(tmp_path.iterdir())


def test_features_that_no_classifier_reads_are_sent_there_too(
    tiny_backbone: Callable[..., Backbone], tmp_path: Path
) -> None:
    model = model_over(tiny_backbone("llama"))
    for other in (
        HeadsModel(model.backbone, model.ensemble, "mean"),
        FeaturesModel(HiddenStates(model.backbone, layers=(1,)), model.ensemble),
    ):
        with pytest.raises(InvalidInput, match=r"not the last token's hidden state alone.*model\.save\(folder\)"):
            export_member(other, 0, tmp_path / "one")
    with pytest.raises(InvalidInput, match="member is 3; give 'mean' or a number from 0 to 2"):
        export_member(model, 3, tmp_path / "one")
    assert not list(tmp_path.iterdir())


def test_a_classifier_that_scores_otherwise_is_noticed(tiny_backbone: Callable[..., Backbone]) -> None:
    model = model_over(tiny_backbone("llama"))
    trunk = model.backbone.model
    weight, constant = linear_head(model.ensemble, 0)
    tokenizer = classifier_tokenizer(model.backbone.tokenizer, max_length=64)
    classifier = make_classifier(trunk, tokenizer, weight)
    check_equal(classifier, trunk, weight, constant, left=constant, length=64)
    with pytest.raises(ArtifactError, match="LlamaForSequenceClassification does not score as"):
        check_equal(classifier, trunk, weight, constant, left=constant + 0.1, length=64)
    with torch.no_grad():
        classifier.model.norm.weight[0] *= 1.1
    with pytest.raises(ArtifactError, match="does not score as"):
        check_equal(classifier, trunk, weight, constant, left=constant, length=64)


def test_a_tokenizer_that_would_come_back_as_another_is_refused(
    tiny_backbone: Callable[..., Backbone], tmp_path: Path
) -> None:
    # Beside a Qwen2 model, `AutoTokenizer` reads a tokenizer of words as one of bytes.
    model = model_over(tiny_backbone("qwen2", begins="<s>"))
    with pytest.raises(ArtifactError, match="back as a Qwen2Tokenizer with other tokens"):
        export_member(model, 0, tmp_path / "one")
    assert not list(tmp_path.iterdir())


def test_half_precision_exports_too(tiny_backbone: Callable[..., Backbone], tmp_path: Path) -> None:
    made = tiny_backbone("llama")
    made.model.save_pretrained(tmp_path / "base")
    made.tokenizer.save_pretrained(tmp_path / "base")
    half = Backbone.load(tmp_path / "base", dtype=torch.bfloat16)
    export_member(model_over(half), "mean", tmp_path / "one")
    assert json.loads((tmp_path / "one" / "config.json").read_text())["dtype"] == "bfloat16"
    card = (tmp_path / "one" / "README.md").read_text()
    assert "base_model: base\n" in card
    assert os.sep + "base" not in card
