"""Models and tokenizers out of Hugging Face folders or from the Hub; refused where they are not what they claim."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from reward_models.errors import ArtifactError, InvalidInput
from reward_models.model_folders import check_folder, has_tokenizer
from reward_models.model_hub import cached_folder, is_network, is_path, why

LONGEST = 2048
"""Tokens of a sequence where neither the tokenizer nor the model states a limit."""


class Loaded(NamedTuple):
    """What it takes to read texts."""

    model: PreTrainedModel
    """On the device that was asked for."""
    tokenizer: PreTrainedTokenizerBase
    """The model's own."""
    max_length: int
    """Longest sequence in tokens."""


def load(
    auto: type[AutoModel | AutoModelForCausalLM],
    source: str | Path,
    *,
    max_length: int | None,
    dtype: torch.dtype,
    device: torch.device | str | None,
) -> Loaded:
    """A model with its tokenizer; without `max_length`, what both state; errors as in the two functions below.

    Raises InvalidInput for a device that is not there or has too little memory.
    """
    model = load_model(auto, source, dtype=dtype)
    tokenizer = load_tokenizer(source, model)
    if device is not None:
        _move(model, device)
    return Loaded(model, tokenizer, longest(model, tokenizer) if max_length is None else max_length)


def load_model(
    auto: type[AutoModel | AutoModelForCausalLM], source: str | Path, *, dtype: torch.dtype
) -> PreTrainedModel:
    """The model that `auto` makes of a local folder or of a name on the Hub, as the environment allows.

    A path is a path: the Hub is asked for names only. Weights are safetensors, and code that comes with a model is
    never run. Raises ArtifactError if there is none, it is not such a model, or some of its weights are missing, which
    would silently be random.
    """
    place = _place(source)
    if isinstance(place, Path):
        check_folder(place, causal=auto is AutoModelForCausalLM)
    try:
        loaded: Any = auto.from_pretrained(
            str(place),
            dtype=dtype,
            output_loading_info=True,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=isinstance(place, Path),
        )
        model, info = loaded
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError) as error:
        if isinstance(place, str) and is_network(error):
            raise ArtifactError(why(place, error)) from error
        raise ArtifactError(
            f"no model could be read from '{source}' ({first_line(error)}); give a Hugging Face folder with "
            "config.json, weights and tokenizer files, or the name of such a model that the Hub can send"
        ) from error
    missing = sorted(str(name) for name in info["missing_keys"] if not is_pooler(str(name)))
    if missing:
        raise ArtifactError(
            f"'{source}' lacks weights of a {type(model).__name__} ({', '.join(missing[:3])}), which would be random; "
            "give a complete model of that kind"
        )
    if not isinstance(model, PreTrainedModel):
        raise ArtifactError(f"'{source}' holds a {type(model).__name__}; give an encoder or a decoder")
    if not is_path(source):
        # Also of what lies in the cache: its folder means nothing on another machine.
        model.name_or_path = str(source)
    return model


def load_tokenizer(source: str | Path, model: PreTrainedModel | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer beside a model; ArtifactError if there is none or it has tokens that the model does not know."""
    place = _place(source)
    if isinstance(place, Path) and not has_tokenizer([path.name for path in place.glob("*")]):
        raise ArtifactError(
            f"no tokenizer could be read from '{source}': it has none (expected tokenizer.json or the like); save the "
            "model's own tokenizer beside its weights"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(place), trust_remote_code=False, local_files_only=isinstance(place, Path)
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, AttributeError) as error:
        raise ArtifactError(
            f"no tokenizer could be read from '{source}' ({first_line(error)}); save the model's own tokenizer beside "
            "its weights"
        ) from error
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise ArtifactError(f"'{source}' holds a {type(tokenizer).__name__}, which is no tokenizer")
    embeddings = None if model is None else model.get_input_embeddings()
    rows = int(embeddings.weight.shape[0]) if isinstance(embeddings, torch.nn.Embedding) else len(tokenizer)
    if not 0 < len(tokenizer) <= rows:
        raise ArtifactError(
            f"the tokenizer of '{source}' has {len(tokenizer)} tokens, and its model {rows}; save the model's own "
            "tokenizer beside its weights"
        )
    return tokenizer


def longest(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """The shorter of what the model and the tokenizer state; `LONGEST` where neither does."""
    # A tokenizer that states no limit gives 10^30.
    stated = [positions(model), int(tokenizer.model_max_length)]
    return min([limit for limit in stated if limit is not None and limit < 10**9], default=LONGEST)


def check_length(model: PreTrainedModel, max_length: int) -> None:
    """Raise InvalidInput for a length that the model has no positions for, or that leaves no room for a text."""
    limit = positions(model)
    if max_length < 2 or (limit is not None and max_length > limit):
        raise InvalidInput(f"max_length is {max_length}; this model takes from 2 to {limit or 'any number of'} tokens")


def positions(model: PreTrainedModel) -> int | None:
    """How many tokens the model has positions for; None where it states no limit."""
    stated = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if not isinstance(stated, int) or stated < 1:
        return None
    reserved = padding_position(model)
    return stated if reserved is None else stated - reserved - 1


def padding_position(model: torch.nn.Module) -> int | None:
    """The position that a model keeps for padding, as RoBERTa does; such a model counts its positions itself."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            return module.padding_idx
    return None


def _place(source: str | Path) -> Path | str:
    """Where a model lies on this machine, or the name by which the Hub sends it."""
    return Path(source).expanduser() if is_path(source) else cached_folder(str(source)) or str(source)


def _move(model: PreTrainedModel, device: torch.device | str) -> None:
    try:
        torch.nn.Module.to(model, device)
    except torch.OutOfMemoryError as error:
        size = sum(one.numel() * one.element_size() for one in model.parameters()) / 2**30
        raise InvalidInput(
            f"'{device}' has no room for a model of {size:.1f} GiB; give a smaller model, bfloat16, or the CPU"
        ) from error
    # A build of torch without the device says so in an assertion.
    except (RuntimeError, AssertionError) as error:
        raise InvalidInput(
            f"'{device}' is no device that can be used here ({first_line(error)}); give another one, or 'cpu'"
        ) from error


def is_pooler(name: str) -> bool:
    """Whether a weight belongs to an encoder's pooler, which nothing here reads and many checkpoints lack."""
    return name.startswith("pooler.") or ".pooler." in name


def first_line(error: BaseException) -> str:
    """First line of a message; the name of the error if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
