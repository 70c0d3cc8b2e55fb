"""LoRA adapters inside a causal language model: put in, switched off for a while, written, read, and merged.

The model stays what `transformers` made of it; peft replaces its linear layers by ones that add  (alpha / rank) B A x
to what they gave. With B = 0 at the start the model is what it was. Switched off, it is bit for bit the model below,
so one model in memory is both a policy and its reference.

LoRA: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models".
"""

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import LoraConfig, PeftConfig, TaskType
from peft.functional import (
    cast_adapter_dtype,
    get_peft_model_state_dict,
    inject_adapter_in_model,
    set_peft_model_state_dict,
)
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from reward_models.errors import ArtifactError, InvalidInput
from reward_models.loading import first_line
from reward_models.model_card import base_name

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
NAME = "default"
"""peft's own name for an only adapter."""
PREFIX = "base_model.model."
"""What peft writes before the names of all weights."""
NOT_ADAPTED = {"out_proj", "conv1d", "dt_proj"}
"""Layers of recurrent mixers (Mamba) whose weights are read past the layer itself, and so past its adapter."""


def has_adapter(model: PreTrainedModel) -> bool:
    """Whether there is an adapter in the model, switched on or off."""
    return bool(model._hf_peft_config_loaded)


def on_shared_weights(model: PreTrainedModel) -> PreTrainedModel:
    """A model of its own whose weights are frozen and lie where the given one's do: no second copy in memory."""
    shared = {id(one): nn.Parameter(one.detach(), requires_grad=False) for one in model.parameters()}
    return copy.deepcopy(model, memo=dict(shared))


def add_lora(
    model: PreTrainedModel, *, rank: int, alpha: int, targets: Sequence[str] | None, generator: torch.Generator
) -> None:
    """Put fresh adapters of float32 into the linear layers called `targets` (all but the output layer, if None).

    A is uniform within 1 / sqrt(inputs), drawn in the order of the model's layers; B is 0. Only they require a gradient
    afterwards. Raises `InvalidInput` for an unusable rank or alpha, or if no linear layer has such a name.
    """
    if rank < 1 or alpha < 1:
        raise InvalidInput(f"An adapter needs rank and alpha >= 1, got rank {rank} and alpha {alpha}.")
    names = _linear_layers(model, targets)
    turned = {isinstance(model.get_submodule(name), Conv1D) for name in names}
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM, r=rank, lora_alpha=alpha, target_modules=names, fan_in_fan_out=turned == {True}
    )
    _inject(model, config)
    with torch.no_grad():
        # B is 0 already; A was drawn from global randomness.
        for name, weight in model.named_parameters():
            if "lora_A" in name:
                uniform = torch.rand(weight.shape, generator=generator, device=generator.device)
                weight.copy_((2 * uniform - 1) / math.sqrt(weight.shape[1]))


@contextmanager
def switched(model: PreTrainedModel, *, on: bool) -> Iterator[None]:
    """The adapters of the model on or off in the block, and as they were after it; nothing else about them changes."""
    # All layers stand alike, so the first one says how.
    first = next(_layers(model), None) if has_adapter(model) else None
    differs = first is not None and first.disable_adapters == on
    if differs:
        _switch(model, on=on)
    try:
        yield
    finally:
        if differs:
            _switch(model, on=not on)


def write_adapter(model: PreTrainedModel, folder: Path) -> None:
    """Write the adapter as peft does; the base model is named by its name on the Hub or the last part of its path."""
    (name,) = model.peft_config
    config = copy.deepcopy(model.peft_config[name])
    assert isinstance(config, LoraConfig)  # nothing else is put in here
    config.base_model_name_or_path = base_name(str(model.name_or_path))
    # In a stable order, where peft keeps a set.
    config.target_modules = sorted(config.target_modules or ())
    # "auto" would ask the Hub whether the vocabulary was changed; it was not.
    weights = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    stored = {f"{PREFIX}{name}": value.detach().cpu().contiguous() for name, value in weights.items()}
    save_file(stored, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    config.save_pretrained(str(folder))


def read_adapter(model: PreTrainedModel, folder: Path) -> None:
    """Put the LoRA adapter that peft or `write_adapter` wrote into the model; only it requires a gradient afterwards.

    Raises `ArtifactError` if there is none, it is damaged, or it is not of such a model.
    """
    try:
        config = PeftConfig.from_pretrained(str(folder))
        stored = load_file(folder / WEIGHTS_FILE)
        if not isinstance(config, LoraConfig):
            raise ValueError(f"it is a {type(config).__name__}, expected LoRA")
        _inject(model, config)
        expected = get_peft_model_state_dict(model, adapter_name=NAME, save_embedding_layers=False)
        given = {name.removeprefix(PREFIX): value for name, value in stored.items()}
        different = sorted(
            name for name in expected.keys() | given.keys() if _shape(expected, name) != _shape(given, name)
        )
        if different:
            raise ValueError(f"its weights {', '.join(different[:3])} do not fit the model")
        set_peft_model_state_dict(model, given, adapter_name=NAME)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ArtifactError(
            f"No adapter could be read from '{folder}' onto a {type(model).__name__} ({first_line(error)}). Expected "
            f"{CONFIG_FILE} and {WEIGHTS_FILE} of a LoRA adapter for this base model; check the path and the base."
        ) from error


def merged(model: PreTrainedModel, *, on: bool) -> PreTrainedModel:
    """A plain model with weights of its own and no adapter: with the adapter added into them, or without it."""
    found = copy.deepcopy(model)
    for name, layer in [(name, part) for name, part in found.named_modules() if isinstance(part, BaseTunerLayer)]:
        if on:
            layer.merge()
        parent, _, child = name.rpartition(".")
        setattr(found.get_submodule(parent), child, layer.get_base_layer())
    del found.peft_config
    found._hf_peft_config_loaded = False
    return found.requires_grad_(True)


def _inject(model: PreTrainedModel, config: LoraConfig) -> None:
    """Put fresh adapters in, without a trace on global randomness, which peft would draw them from."""
    devices = [model.device] if model.device.type == "cuda" else []
    model.requires_grad_(False)
    with torch.random.fork_rng(devices=devices):
        inject_adapter_in_model(config, model, NAME)
    model._hf_peft_config_loaded = True
    cast_adapter_dtype(model, NAME)
    for layer in list(_layers(model)):
        layer.set_adapter(NAME)
    model.eval()


def _layers(model: PreTrainedModel) -> Iterator[BaseTunerLayer]:
    return (module for module in model.modules() if isinstance(module, BaseTunerLayer))


def _switch(model: PreTrainedModel, *, on: bool) -> None:
    # peft freezes what it switches off and thaws what it switches on; what is trained must not depend on that.
    asked = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    for layer in list(_layers(model)):
        layer.enable_adapters(on)
    for parameter, requires_grad in asked:
        parameter.requires_grad_(requires_grad)


def _linear_layers(model: PreTrainedModel, targets: Sequence[str] | None) -> list[str]:
    output = model.get_output_embeddings()
    linear = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not output
    ]
    refused = NOT_ADAPTED if model._is_stateful else set()
    last = {name: name.rpartition(".")[2] for name in linear}
    names = [name for name in linear if (last[name] not in refused if targets is None else last[name] in targets)]
    if not names:
        raise InvalidInput(
            f"No linear layer is called {list(targets or [])}; this model has {sorted(set(last.values()))}."
        )
    return names


def _shape(weights: dict[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(weights[name].shape) if name in weights else None
