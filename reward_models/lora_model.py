"""Members that are LoRA adapters with a linear head each, over one frozen trunk, trained in one pass.

A member's raw score of a text is  w_k . h_k,  with h_k the pooled last hidden state of the trunk with adapter k in it.
Its score is (raw - offset_k) / temperature, where the offset is its mean over the training completions. The folder:

    config.json           the kind, the shape of the adapters, the temperature, and the trunk (place and digest)
    members.safetensors   adapters, heads and offsets
    trunk/                the trunk itself, only where it was asked for
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from reward_models.backbone import Backbone, Pooling, batch, last_state, mean_state
from reward_models.conversations import Conversation
from reward_models.errors import ArtifactError, InvalidInput, NonFinite
from reward_models.fit_plan import GradientSettings
from reward_models.folders import read_config, read_file, whole_folder, write_config
from reward_models.gradient_fitting import GradientRecord, GradientStep, fit_members
from reward_models.pairs import PairSource
from reward_models.reward_model import FORMAT_VERSION, AbstractRewardModel, Kind
from reward_models.stacked_adapters import AdapterSettings, StackedAdapters
from reward_models.trained_members import check_scale, freeze, scaled, score_tokens, start_heads
from reward_models.trunk_states import TrunkStates
from reward_models.trunks import record_trunk, restore_trunk

TENSORS_FILE = "members.safetensors"
STORE = 2**30
"""Bytes that a fit may use for the states that enter the first adapted layer: 1 GiB."""
BATCH_SIZE = 32
"""Sequences that are scored at a time."""


@dataclass(frozen=True, eq=False)
class LoraMembers:
    """Adapters and heads over a trunk, as a loop over gradients sees them."""

    backbone: Backbone
    """The trunk that they share; it is frozen."""
    adapters: StackedAdapters
    """One for each member."""
    heads: Float[Tensor, "members width"]
    """w_k."""
    pooling: Pooling = "last"
    """Which tokens' state a head reads."""
    states: TrunkStates | None = None
    """What enters the first adapted layer, stored while a fit lasts; none, and the whole trunk runs each time."""

    def __post_init__(self) -> None:
        expected = (self.adapters.members, self.backbone.width)
        if self.heads.shape != expected:
            raise InvalidInput(f"heads are {tuple(self.heads.shape)}; expected (members, width) = {expected}")
        self.backbone.model.requires_grad_(False)

    @classmethod
    def start(
        cls,
        backbone: Backbone,
        *,
        settings: AdapterSettings,
        generator: torch.Generator,
        pooling: Pooling = "last",
    ) -> "LoraMembers":
        """Adapters that change nothing yet, and heads drawn for each member; errors as in `StackedAdapters.start`."""
        adapters = StackedAdapters.start(backbone.model, settings=settings, generator=generator)
        heads = start_heads(backbone, members=settings.members, generator=generator)
        return cls(backbone=backbone, adapters=adapters, heads=heads, pooling=pooling)

    @property
    def members(self) -> int:
        """Number of members, K."""
        return self.adapters.members

    def parameters(self) -> dict[str, Tensor]:
        """All that is trained; every tensor has the members as its first axis."""
        named = {"down": self.adapters.down, "up": self.adapters.up}
        stacked = {f"{part}.{name}": tensor for part, tensors in named.items() for name, tensor in tensors.items()}
        return {"heads": self.heads, **stacked}

    def raw_scores(self, tokens: Sequence[Sequence[int]]) -> Float[Tensor, "members sequences"]:
        """Every member's raw score, in one pass."""
        model = self.backbone.model
        ids, mask = batch(tokens, pad_id=self.backbone.pad_id, device=model.device)
        entering = None if self.states is None else self.states.of(tokens)
        hidden = self.adapters.hidden(model, ids, mask, entering=entering)
        pool = {"last": last_state, "mean": mean_state}[self.pooling]
        states = pool(hidden.flatten(end_dim=1), mask.repeat(self.members, 1)).unflatten(0, (self.members, len(tokens)))
        return torch.einsum("kbw,kw->kb", states, self.heads.to(states))


@dataclass(frozen=True, eq=False)
class LoraModel(AbstractRewardModel):
    """Fitted adapters and heads. Raises InvalidInput or NonFinite for numbers that cannot score."""

    trained: LoraMembers
    """Trunk, adapters and heads."""
    offsets: Float[Tensor, " members"]
    """Each member's mean raw score over the training completions."""
    temperature: float
    """Divides every score, so that sigmoid of the mean score difference is a calibrated probability."""

    def __post_init__(self) -> None:
        check_scale(self.trained.members, self.offsets, self.temperature)
        if not all(bool(torch.isfinite(part).all()) for part in self.trained.parameters().values()):
            raise NonFinite("a weight of an adapter or head is not finite; fit the members again")

    @property
    def members(self) -> int:
        """Number of adapters, K."""
        return self.trained.members

    @property
    def kind(self) -> Kind:
        """`lora`."""
        return "lora"

    def scores(
        self, prompts: Sequence[Conversation], completions: Sequence[Conversation]
    ) -> Float[Tensor, "members sequences"]:
        """Every member's score of every completion; errors as in `Backbone.encode`."""
        tokens = self.trained.backbone.encode(prompts, completions).tokens
        with torch.no_grad():
            raw = score_tokens(self.trained, tokens, batch_size=BATCH_SIZE)
        return scaled(raw.float().cpu(), self.offsets, self.temperature)

    def save(self, folder: Path, *, include_backbone: bool = False) -> None:
        """Write the folder described above; with `include_backbone`, the trunk too, and it stands alone.

        A folder of that name is replaced. Raises InvalidInput for a backbone made in memory that is not included;
        ArtifactError if the disk refuses.
        """
        parts = {**self.trained.parameters(), "offsets": self.offsets}
        tensors = save_tensors({name: part.detach().cpu().contiguous() for name, part in parts.items()})
        with whole_folder(Path(folder), what="the reward model") as partial:
            config = {
                "format_version": FORMAT_VERSION,
                "kind": self.kind,
                "members": self.members,
                "rank": self.trained.adapters.rank,
                "alpha": self.trained.adapters.alpha,
                "adapted": sorted(self.trained.adapters.down),
                "pooling": self.trained.pooling,
                "temperature": self.temperature,
                "sha256": hashlib.sha256(tensors).hexdigest(),
                "trunk": record_trunk(self.trained.backbone, partial, name="trunk", copy=include_backbone),
            }
            (partial / TENSORS_FILE).write_bytes(tensors)
            write_config(partial, config)

    @classmethod
    def load(cls, folder: Path, *, backbone: Backbone | None = None) -> "LoraModel":
        """Read what `save` wrote, bit for bit; `backbone` stands in for the trunk if it has the same weights.

        Raises ArtifactError if a file or the trunk is missing, damaged, or not what it was.
        """
        config = read_config(folder, version=FORMAT_VERSION, writer="a reward model's save")
        data = read_file(folder / TENSORS_FILE, writer="a reward model's save")
        if hashlib.sha256(data).hexdigest() != config.get("sha256"):
            raise ArtifactError(f"{folder / TENSORS_FILE} is not the file that config.json describes; restore both")
        try:
            trunk = restore_trunk(config["trunk"], folder, given=[backbone] if backbone is not None else [])
            if not isinstance(trunk, Backbone):
                raise InvalidInput("the trunk is recorded as one with a language head")
            tensors = {name: part.to(trunk.model.device) for name, part in load_tensors(data).items()}
            down, up = (_below(tensors, part) for part in ("down", "up"))
            adapters = StackedAdapters(down=down, up=up, alpha=int(config["alpha"]))
            pooling: Pooling = "mean" if config["pooling"] == "mean" else "last"
            trained = LoraMembers(backbone=trunk, adapters=adapters, heads=tensors["heads"], pooling=pooling)
            return cls(trained, tensors["offsets"].cpu(), float(config["temperature"]))
        except (SafetensorError, KeyError, TypeError, ValueError, NonFinite) as error:
            raise ArtifactError(f"{folder} does not hold usable adapters ({error!r}); restore it or refit") from error


class LoraFit(NamedTuple):
    """A fitted model and how it went."""

    model: LoraModel
    """The members."""
    record: GradientRecord
    """Losses, held-out figures, temperature."""


def fit_lora(
    backbone: Backbone,
    pairs: PairSource,
    *,
    adapters: AdapterSettings,
    settings: GradientSettings,
    generator: torch.Generator,
    pooling: Pooling = "last",
    store: int = STORE,
    checkpoint: Path | None = None,
    on_step: Callable[[GradientStep], None] | None = None,
) -> LoraFit:
    """Train K adapters with their heads on comparisons, in one pass for all; arguments and errors as in `fit_members`.

    The trunk is frozen and not changed. What its lower layers give for the texts is computed once and kept, in at most
    `store` bytes. Equal inputs and generator give equal members on one device.
    """
    trained = LoraMembers.start(backbone, settings=adapters, generator=generator, pooling=pooling)
    fast, lowest = trained, trained.adapters.lowest(backbone.model)
    if lowest > 0:
        states = TrunkStates(backbone, lowest)
        states.keep(pairs, limit=store, batch_size=2 * settings.batch_size)
        fast = replace(trained, states=states)
    fit = fit_members(fast, pairs, settings=settings, generator=generator, checkpoint=checkpoint, on_step=on_step)
    freeze(trained.parameters())
    return LoraFit(model=LoraModel(trained, fit.offsets, fit.temperature), record=fit.record)


def _below(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """The tensors whose name begins with `part`, without it."""
    return {name.removeprefix(f"{part}."): tensor for name, tensor in tensors.items() if name.startswith(f"{part}.")}
