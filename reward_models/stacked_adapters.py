"""K LoRA adapters over one trunk, all of them in one forward pass.

A LoRA adapter adds to a linear layer  x W^T  the product  (alpha / rank) x A^T B^T  with A (rank, in) and B (out, rank)
(Hu et al. 2021). K of them are kept stacked, A (K, rank, in) and B (K, out, rank), and added by one batched product a
layer. The trunk below the first adapted layer is the same for all members, so it runs once on B sequences; there the
hidden states, masks and positions are repeated, and the layers above run on K x B sequences. With adapters in the upper
quarter of the layers, five members cost about twice one.

Everything is done by hooks that live for one pass: any Hugging Face encoder or decoder with one list of layers will do,
and the trunk itself stays as it was for whoever shares it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from reward_models.backbone import model_inputs
from reward_models.errors import InvalidInput
from reward_models.trunk_states import Entering, layer_list, without_layers_below


@dataclass(frozen=True, kw_only=True)
class AdapterSettings:
    """Shape of the adapters. Raises InvalidInput for a setting out of range."""

    members: int = 5
    """Number of adapters, K."""
    rank: int = 8
    """Inner width r of the product B A."""
    alpha: int = 16
    """The product is scaled by alpha / rank."""
    layers: tuple[int, ...] | None = None
    """Which layers are adapted, counted from 0; none means the upper quarter, at least one. Upper ones are cheap."""
    targets: tuple[str, ...] | None = None
    """Names of the linear layers inside a layer; none means what peft adapts in this family of models."""

    def __post_init__(self) -> None:
        if self.members < 1 or self.rank < 1 or self.alpha < 1:
            raise InvalidInput(
                f"members is {self.members}, rank {self.rank}, alpha {self.alpha}; give at least 1 of each"
            )


@dataclass(frozen=True, eq=False)
class StackedAdapters:
    """K adapters on the same linear layers of a trunk, by the name of the layer within it."""

    down: dict[str, Float[Tensor, "members rank _"]]
    """A of every adapted linear layer, (members, rank, in)."""
    up: dict[str, Float[Tensor, "members _ rank"]]
    """B of every adapted linear layer, (members, out, rank); 0 at the start, so that nothing is changed yet."""
    alpha: int
    """The product is scaled by alpha / rank."""

    def __post_init__(self) -> None:
        shapes = {tuple(part.shape[:2]) for part in self.down.values()}
        others = {(part.shape[0], part.shape[2]) for part in self.up.values()}
        if not self.down or self.down.keys() != self.up.keys() or len(shapes | others) != 1:
            raise InvalidInput(
                f"adapters have (members, rank) {sorted(shapes)} below and {sorted(others)} above on layers "
                f"{sorted(self.down)} and {sorted(self.up)}; give one number of each on the same layers"
            )

    @property
    def members(self) -> int:
        """Number of adapters, K."""
        return next(iter(self.down.values())).shape[0]

    @property
    def rank(self) -> int:
        """Inner width r."""
        return next(iter(self.down.values())).shape[1]

    @classmethod
    def start(
        cls, trunk: PreTrainedModel, *, settings: AdapterSettings, generator: torch.Generator
    ) -> "StackedAdapters":
        """Adapters as peft starts them, in the trunk's precision: A uniform within 1 / sqrt(in), B zero.

        Raises InvalidInput for a layer that the trunk does not have, or where no linear layer has one of the names.
        """
        down, up = {}, {}
        for name in adapted_names(trunk, layers=settings.layers, targets=settings.targets):
            module = trunk.get_submodule(name)
            inputs, outputs = _features(module)
            drawn = torch.rand(settings.members, settings.rank, inputs, generator=generator)
            weight = module.weight
            assert isinstance(weight, Tensor)
            down[name] = ((2.0 * drawn - 1.0) / math.sqrt(inputs)).to(weight)
            up[name] = torch.zeros(settings.members, outputs, settings.rank).to(weight)
        return cls(down=down, up=up, alpha=settings.alpha)

    def lowest(self, trunk: PreTrainedModel) -> int:
        """The first layer that is adapted; below it all members are alike."""
        prefix = layer_list(trunk)[0]
        return min(int(name.removeprefix(f"{prefix}.").split(".")[0]) for name in self.down)

    def hidden(
        self,
        trunk: PreTrainedModel,
        tokens: Int[Tensor, "sequences time"],
        mask: Bool[Tensor, "sequences time"],
        *,
        entering: Entering | None = None,
    ) -> Float[Tensor, "members sequences time width"]:
        """Last hidden states of every member, with a gradient to the adapters if they ask for one.

        `entering` is what enters the first adapted layer, if it is known: then the layers below do not run.
        """
        lowest = self.lowest(trunk)
        with ExitStack() as stack:
            if entering is not None:
                stack.enter_context(without_layers_below(trunk, lowest, parts=entering.parts))
            known = None if entering is None else entering.states
            stack.enter_context(_attached(self, trunk, lowest=lowest, sequences=tokens.shape[0], entering=known))
            states: Tensor = trunk(**model_inputs(trunk, tokens, mask)).last_hidden_state
        return states.reshape(self.members, *tokens.shape, -1)


def adapted_names(
    trunk: PreTrainedModel, *, layers: Sequence[int] | None = None, targets: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Names, within the trunk, of the linear layers that are adapted; arguments and errors as in `AdapterSettings`."""
    prefix, blocks = layer_list(trunk)
    count = len(blocks)
    chosen = tuple(range(count - max(1, count // 4), count)) if layers is None else tuple(layers)
    if not chosen or not all(0 <= layer < count for layer in chosen):
        raise InvalidInput(f"layers is {chosen}, the trunk has {count}; give some of 0 to {count - 1}")
    family = str(trunk.config.model_type)
    wanted = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(family) if targets is None else targets
    if wanted is None:
        raise InvalidInput(f"no linear layers are known for models of type {family}; name them in `targets`")
    names = tuple(
        f"{prefix}.{layer}.{name}"
        for layer in sorted(set(chosen))
        for name, module in blocks[layer].named_modules()
        if isinstance(module, nn.Linear | Conv1D) and name.rsplit(".", 1)[-1] in wanted
    )
    if not names:
        raise InvalidInput(f"no linear layer of layers {chosen} is called {list(wanted)}; see model.named_modules()")
    return names


@contextmanager
def _attached(
    adapters: StackedAdapters, trunk: PreTrainedModel, *, lowest: int, sequences: int, entering: Tensor | None
) -> Iterator[None]:
    """The trunk with all adapters in it, for one pass over that many sequences."""
    upper = list(layer_list(trunk)[1])[lowest:]
    handles = [
        block.register_forward_pre_hook(
            _repeat(adapters.members, sequences, entry=block is upper[0], entering=entering), with_kwargs=True
        )
        for block in upper
    ]
    handles += [trunk.get_submodule(name).register_forward_hook(_add(adapters, name)) for name in adapters.down]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _repeat(members: int, sequences: int, *, entry: bool, entering: Tensor | None) -> Any:
    """A hook that repeats what a layer is given for each member.

    States arrive repeated at all layers but the `entry`, where those that are known stand in for what arrives; masks
    and positions arrive once per sequence at each. What has a first axis of 1 is broadcast and may stay.
    """

    def repeated(value: Any) -> Any:
        if isinstance(value, Tensor) and value.ndim > 1 and value.shape[0] == sequences > 1:
            return value.repeat(members, *[1] * (value.ndim - 1))
        if isinstance(value, tuple):
            return tuple(repeated(part) for part in value)
        return value

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
        named = dict(kwargs)
        states = args[0] if args else named.pop("hidden_states")
        if entry:
            states = states if entering is None else entering
            states = states.repeat(members, *[1] * (states.ndim - 1))
        return (states, *repeated(args[1:])), {name: repeated(value) for name, value in named.items()}

    return hook


def _add(adapters: StackedAdapters, name: str) -> Any:
    """A hook that adds every member's product to what a linear layer gives for its share of the batch."""
    down, up, scale = adapters.down[name], adapters.up[name], adapters.alpha / adapters.rank

    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        inner = args[0].reshape(adapters.members, -1, down.shape[2]) @ down.mT
        sums = torch.baddbmm(output.reshape(adapters.members, -1, up.shape[1]), inner, up.mT, alpha=scale)
        return sums.reshape(output.shape)

    return hook


def _features(module: nn.Module) -> tuple[int, int]:
    """Width of the input and of the output; GPT-2 keeps its weights the other way round."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    one, other = weight.shape
    return (one, other) if isinstance(module, Conv1D) else (other, one)
