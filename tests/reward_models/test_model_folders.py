"""A folder that is no model is told from one that is by a sentence that names the cause, before weights are loaded."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from reward_models.backbone import Backbone
from reward_models.errors import ArtifactError, InvalidInput
from reward_models.loading import load_model
from reward_models.model_hub import is_path
from reward_models.reference import Reference


@pytest.fixture(scope="module")
def whole(
    tiny_model: Callable[..., PreTrainedModel],
    tiny_tokenizer: Callable[..., PreTrainedTokenizerFast],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A causal language model that can be read."""
    folder = tmp_path_factory.mktemp("models") / "llama"
    tiny_model("llama", causal=True).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def model(whole: Path, tmp_path: Path) -> Path:
    """A copy, to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


def configure(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def remove(folder: Path, *names: str) -> None:
    for pattern in names:
        for path in folder.glob(pattern):
            path.unlink()


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    remove(folder, "*.safetensors")


def gguf(folder: Path) -> None:
    remove(folder, "*")
    (folder / "model.Q4_K_M.gguf").write_bytes(b"GGUF")


def truncated(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def not_fetched(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


def in_shards(folder: Path, *, given: int) -> None:
    """Weights in two files, of which the first are there."""
    weights = load_file(folder / "model.safetensors")
    remove(folder, "model.safetensors")
    names = [f"model-{number:05}-of-00002.safetensors" for number in (1, 2)]
    places = {name: names[place % 2] for place, name in enumerate(sorted(weights))}
    for file in names[:given]:
        save_file({name: weights[name] for name in places if places[name] == file}, folder / file, {"format": "pt"})
    index = {"metadata": {"total_size": 0}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def adapter(folder: Path) -> None:
    remove(folder, "config.json", "model.safetensors")
    (folder / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": "tiny-base", "peft_type": "LORA"})
    )


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda folder: remove(folder, "*"), "has no config.json; give the folder of a Hugging Face model"),
    "no config": (lambda folder: remove(folder, "config.json"), r"has weights \(model.safetensors\) and no config"),
    "tokenizer only": (lambda folder: remove(folder, "*config.json", "model*"), "holds a tokenizer and no model"),
    "no weights": (lambda folder: remove(folder, "model*"), r"no weights \(expected model.safetensors, found none\)"),
    "pickle": (pickled, r"weights are pickled \(pytorch_model.bin\), and a pickle can run code.*save_pretrained"),
    "gguf": (gguf, "holds GGUF weights"),
    "cut off": (truncated, "s model.safetensors is cut off or damaged .*; copy it again"),
    "not fetched": (not_fetched, "s model.safetensors is a note of git-lfs"),
    "a shard missing": (lambda folder: in_shards(folder, given=1), "names model-00002-of-00002.safetensors, which is"),
    "an index cut off": (
        lambda folder: (in_shards(folder, given=2), (folder / "model.safetensors.index.json").write_text("{")),
        "s model.safetensors.index.json is damaged",
    ),
    "an adapter": (adapter, "holds an adapter for tiny-base, no model; load that, .*Policy.load_adapter"),
    "config no JSON": (lambda folder: (folder / "config.json").write_text('{"a"'), r"s config.json is no JSON \(.*1"),
    "config a list": (lambda folder: (folder / "config.json").write_text("[1]"), "s config.json is a list"),
    "no type": (lambda folder: (folder / "config.json").write_text("{}"), "names no model_type.*load_reward_model"),
    "unheard of": (lambda folder: configure(folder, model_type="zebra"), "model_type 'zebra' is unknown to the inst"),
    "code of its own": (
        lambda folder: configure(folder, model_type="zebra", auto_map={"AutoConfig": "configuration_zebra.Zebra"}),
        "model_type 'zebra' needs code from its own folder, which is never run",
    ),
}


@pytest.mark.parametrize(("damage", "said"), DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("kind", [Backbone, Reference])
def test_the_cause_is_named(
    kind: type[Backbone] | type[Reference], damage: Callable[[Path], object], said: str, model: Path
) -> None:
    damage(model)
    with pytest.raises(ArtifactError, match=f"no model could be read from '{model}': it.*{said}") as caught:
        kind.load(model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {"architectures": ["T5Model"], "model_type": "t5", "is_encoder_decoder": True},
            "a T5Model, an encoder-decoder",
        ),
        # Read as a decoder it would load without a word, and without what its decoder looks at.
        (
            {"architectures": ["BartModel"], "model_type": "bart", "is_encoder_decoder": True},
            "a BartModel, an encoder-",
        ),
        ({"architectures": ["BertForMaskedLM"], "model_type": "bert"}, "a BertForMaskedLM, an encoder"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "a LlamaForSequenceClassification, a classifier"),
        ({"architectures": None, "model_type": "vit"}, "a vit model;"),
    ],
)
def test_another_kind_of_model_is_no_language_model(config: dict[str, Any], said: str, model: Path) -> None:
    configure(model, **config)
    with pytest.raises(ArtifactError, match=f"it holds {said}.*expected a causal language model"):
        Reference.load(model)


def test_weights_in_shards_are_read(model: Path, whole: Path) -> None:
    in_shards(model, given=2)
    one, other = (Reference.load(folder).model.state_dict() for folder in (model, whole))
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_code_beside_a_known_model_is_not_run(model: Path, tmp_path: Path) -> None:
    configure(model, auto_map={"AutoConfig": "configuration_zebra.Zebra", "AutoModelForCausalLM": "zebra.Zebra"})
    for name in ("configuration_zebra.py", "zebra.py"):
        (model / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert type(Reference.load(model).model).__name__ == "LlamaForCausalLM"
    assert not (tmp_path / "ran").exists()


def test_a_model_without_a_tokenizer_is_named(model: Path) -> None:
    remove(model, "tok*")
    with pytest.raises(ArtifactError, match=f"no tokenizer could be read from '{model}': it has none"):
        Backbone.load(model)
    (model / "tokenizer.json").write_text("{")
    with pytest.raises(ArtifactError, match=f"no tokenizer could be read from '{model}' "):
        Backbone.load(model)


def test_the_folder_below_that_is_meant_is_named(model: Path) -> None:
    with pytest.raises(ArtifactError, match=r"has no config.json; .*\(there is one in its folder 'model'\)"):
        Backbone.load(model.parent)


def test_a_file_of_a_model_is_not_its_folder(model: Path) -> None:
    with pytest.raises(ArtifactError, match="it is a file; give the folder"):
        Backbone.load(model / "model.safetensors")


@pytest.mark.parametrize(
    "source",
    [
        "/abs/path",
        "./x",
        "../x",
        "~/x",
        "runs/x/models",
        "runs/",
        "C:\\models\\x",
        "a b",
        Path("gpt2"),
        Path("org/model"),
    ],
)
def test_what_looks_like_a_path_is_never_asked_for_on_the_hub(
    source: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")  # beside it there is nothing, whatever lies beside the project
    assert is_path(source)
    with pytest.raises(ArtifactError, match="it does not exist; give the folder"):
        load_model(AutoModel, source, dtype=torch.float32)


@pytest.mark.parametrize("source", ["gpt2", "org/model", "Qwen/Qwen2.5-0.5B_x"])
def test_a_name_is_a_path_only_where_there_is_such_a_folder(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert not is_path(source)
    Path(source).mkdir(parents=True)
    assert is_path(source)


def test_a_tilde_is_the_home_folder(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(model.parent))
    assert load_model(AutoModelForCausalLM, "~/model", dtype=torch.float32).name_or_path == str(model)


@pytest.mark.parametrize("device", ["cuda", "nonsense"])
def test_a_device_that_cannot_be_used_is_named(device: str, model: Path) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(InvalidInput, match=f"'{device}' is no device that can be used here"):
        Backbone.load(model, device=device)
