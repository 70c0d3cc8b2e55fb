"""Why a folder is no model that can be read: found out before anything heavy is loaded, and said in one sentence.

Weights are safetensors, because a pickle can run code; the code of a model is what `transformers` has, because code out
of a folder is never run.
"""

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES

from reward_models.errors import ArtifactError

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
ADAPTER = "adapter_config.json"
_TOKENIZER = re.compile(r"tokenizer|vocab|spiece|sentencepiece|tekken|merges|bpe|.*\.tiktoken$|.*\.model$")
_PICKLED = re.compile(r".*\.(bin|pt|pth|pkl|ckpt)$")
_GIT_LFS = b"version https://git-lfs"


def check_folder(folder: Path, *, causal: bool) -> None:
    """Raise ArtifactError with the cause if no model can be read from a path; `causal` asks for a language head."""
    cause = _cause(folder, causal=causal)
    if cause is not None:
        raise ArtifactError(f"no model could be read from '{folder}': {cause}")


def has_tokenizer(files: Collection[str]) -> bool:
    """Whether one of these file names is that of a tokenizer."""
    return any(_TOKENIZER.match(name) for name in files)


def lacking(files: Collection[str]) -> str | None:
    """What keeps files of these names from being a model, and what to do; None if nothing does."""
    weights = sorted(name for name in files if name.endswith(".safetensors"))
    pickled = sorted(name for name in files if _PICKLED.match(name) and name != "training_args.bin")
    if CONFIG not in files:
        if any(name.endswith(".gguf") for name in files):
            return "it holds GGUF weights, which other programs read; give the safetensors folder they were made from"
        if weights or pickled:
            return f"it has weights ({(weights or pickled)[0]}) and no {CONFIG}; copy that from the same model"
        if has_tokenizer(files):
            return f"it holds a tokenizer and no model; give a folder that has {CONFIG} and weights beside it"
        return f"it has no {CONFIG}; give the folder of a Hugging Face model, or its name on the Hub"
    if WEIGHTS in files or INDEX in files:
        return None
    if pickled:
        return (
            f"its weights are pickled ({pickled[0]}), and a pickle can run code, so only safetensors are read; convert "
            "it where you trust it: AutoModelForCausalLM.from_pretrained(it).save_pretrained(new folder)"
        )
    named = f"{weights[0]}, which no {INDEX} names" if weights else "none"
    return f"it has a {CONFIG} and no weights (expected {WEIGHTS}, found {named}); copy them from the same model"


def read_config(folder: Path) -> dict[str, Any] | str:
    """The object in `config.json`, or why there is none."""
    try:
        found = json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError) as error:
        return f"its {CONFIG} is no JSON ({error}); restore that file"
    return found if isinstance(found, dict) else f"its {CONFIG} is a {type(found).__name__}; expected an object"


def unusable(config: Mapping[str, Any], *, causal: bool) -> str | None:
    """Why a model of this configuration is not to be had here; None if it is."""
    kind = config.get("model_type")
    if kind is None:
        return f"its {CONFIG} names no model_type; give a model (load_reward_model reads the folders of reward models)"
    if kind not in CONFIG_MAPPING:
        if config.get("auto_map"):
            return f"its model_type {kind!r} needs code from its own folder, which is never run; give another model"
        return f"its model_type {kind!r} is unknown to the installed transformers; update that, or give another model"
    if not causal:
        return None
    wanted = "expected a causal language model, which writes a text token by token (Llama, Qwen, GPT-2, Mamba, ...)"
    if config.get("is_encoder_decoder"):
        return f"it holds {_named(config)}, an encoder-decoder; {wanted}"
    if "Classification" in _named(config):
        return f"it holds {_named(config)}, a classifier; {wanted}"
    # An encoder reads what comes after a token, unless it is told not to.
    if kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not config.get("is_decoder"):
        return f"it holds {_named(config)}, an encoder; {wanted}"
    return None if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES else f"it holds {_named(config)}; {wanted}"


def adapter_base(folder: Path) -> str:
    """What an adapter's own configuration says that it belongs to."""
    try:
        return str(json.loads((folder / ADAPTER).read_bytes())["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError):
        return "a model that it does not name"


def _cause(folder: Path, *, causal: bool) -> str | None:
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        return f"it {what}; give the folder that holds {CONFIG}, weights and tokenizer, or a name on the Hub"
    files = {path.name for path in folder.iterdir()}
    if ADAPTER in files:
        return (
            f"it holds an adapter for {adapter_base(folder)}, no model; load that, and put the adapter on with "
            "Policy.load_adapter(folder, base)"
        )
    cause = lacking(files)
    if cause is not None:
        below = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
        return cause + (f" (there is one in its folder '{below[0]}')" if below and CONFIG not in files else "")
    config = read_config(folder)
    return config if isinstance(config, str) else unusable(config, causal=causal) or _damage(folder, files)


def _damage(folder: Path, files: Collection[str]) -> str | None:
    """What is wrong with the weights on disk, of which only the headers are read."""
    try:
        shards = _shards(folder) if WEIGHTS not in files else [WEIGHTS]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"its {INDEX} is damaged ({error!r}); restore that file"
    for name in shards:
        if name not in files:
            return f"its {INDEX} names {name}, which is not there; copy all weights"
        with (folder / name).open("rb") as file:
            if file.read(len(_GIT_LFS)) == _GIT_LFS:
                return f"its {name} is a note of git-lfs and not the weights; fetch them with 'git lfs pull'"
        try:
            with safe_open(folder / name, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            return f"its {name} is cut off or damaged ({error}); copy it again"
    return None


def _shards(folder: Path) -> list[str]:
    return sorted({str(name) for name in json.loads((folder / INDEX).read_bytes())["weight_map"].values()})


def _named(config: Mapping[str, Any]) -> str:
    """The class that wrote the configuration, or else its family."""
    named = config.get("architectures")
    found = named[0] if isinstance(named, list) and named else f"{config.get('model_type')} model"
    return f"a {found}"
