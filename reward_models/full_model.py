"""Members that are whole models: each a copy of a small backbone, trained from there with a head of its own.

A member's score is (w_k . h_k - offset_k) / temperature, with h_k the pooled last hidden state of its own copy. The
folder:

    config.json           the kind, the temperature, what each member started from, and the members' trunks
    members.safetensors   heads and offsets
    trunks/0, ...         the members' own copies, each a Hugging Face folder without a head
"""

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from reward_models.backbone import Backbone, Pooling, batch, hidden_states, last_state, mean_state
from reward_models.conversations import Conversation
from reward_models.errors import ArtifactError, InvalidInput, NonFinite
from reward_models.fit_plan import GradientSettings
from reward_models.folders import read_config, read_file, whole_folder, write_config
from reward_models.gradient_fitting import GradientRecord, GradientStep, fit_members
from reward_models.pairs import PairSource
from reward_models.reward_model import FORMAT_VERSION, AbstractRewardModel, Kind
from reward_models.trained_members import check_scale, freeze, scaled, score_tokens, start_heads
from reward_models.trunks import record_trunk, restore_trunk, weights_digest

TENSORS_FILE = "members.safetensors"
BATCH_SIZE = 32
"""Sequences that are scored at a time."""


@dataclass(frozen=True, eq=False)
class FullMembers:
    """Whole models with heads, as a loop over gradients sees them."""

    backbones: tuple[Backbone, ...]
    """Each member's own trunk; tokenizer and length are common."""
    heads: Float[Tensor, "members width"]
    """w_k."""
    starts: tuple[str, ...]
    """A digest of the weights, head included, that each member was started from."""
    pooling: Pooling = "last"
    """Which tokens' state a head reads."""

    def __post_init__(self) -> None:
        count = len(self.backbones)
        if count < 1 or len(self.starts) != count or self.heads.shape != (count, self.backbones[0].width):
            raise InvalidInput(
                f"{count} trunks, {len(self.starts)} starts and heads {tuple(self.heads.shape)} came; give one of each "
                "per member, at least one, and heads as wide as the trunks"
            )

    @classmethod
    def start(
        cls,
        backbone: Backbone,
        *,
        members: int,
        generator: torch.Generator,
        shared_head: bool = False,
        pooling: Pooling = "last",
    ) -> "FullMembers":
        """Copies of the backbone with heads drawn for each member, or with `shared_head` one head drawn for all.

        Different heads make members that know better what they do not know; only members with one start may later be
        averaged into one model.
        """
        if members < 1:
            raise InvalidInput(f"members is {members}; give at least 1")
        heads = start_heads(backbone, members=1 if shared_head else members, generator=generator)
        heads = heads.repeat(members, 1) if shared_head else heads
        trunk = weights_digest(backbone.model)
        starts = tuple(hashlib.sha256(trunk.encode() + head.cpu().numpy().tobytes()).hexdigest() for head in heads)
        copies = tuple(
            Backbone(copy.deepcopy(backbone.model), backbone.tokenizer, backbone.max_length) for _ in range(members)
        )
        return cls(backbones=copies, heads=heads, starts=starts, pooling=pooling)

    @property
    def members(self) -> int:
        """Number of members, K."""
        return len(self.backbones)

    def parameters(self) -> dict[str, Tensor]:
        """All that is trained: the heads, and every weight of member k as `member_k.NAME`."""
        own = {
            f"member_{k}.{name}": parameter
            for k, backbone in enumerate(self.backbones)
            for name, parameter in backbone.model.named_parameters()
        }
        return {"heads": self.heads, **own}

    def raw_scores(self, tokens: Sequence[Sequence[int]]) -> Float[Tensor, "members sequences"]:
        """Every member's raw score, one member after the other."""
        shared = self.backbones[0]
        ids, mask = batch(tokens, pad_id=shared.pad_id, device=shared.model.device)
        pool = {"last": last_state, "mean": mean_state}[self.pooling]
        states = [pool(hidden_states(backbone.model, ids, mask), mask) for backbone in self.backbones]
        return torch.einsum("kbw,kw->kb", torch.stack(states), self.heads.to(states[0]))


@dataclass(frozen=True, eq=False)
class FullModel(AbstractRewardModel):
    """Fitted whole models. Raises InvalidInput or NonFinite for numbers that cannot score."""

    trained: FullMembers
    """Trunks and heads."""
    offsets: Float[Tensor, " members"]
    """Each member's mean raw score over the training completions."""
    temperature: float
    """Divides every score, so that sigmoid of the mean score difference is a calibrated probability."""

    def __post_init__(self) -> None:
        check_scale(self.trained.members, self.offsets, self.temperature)
        if not all(bool(torch.isfinite(part).all()) for part in self.trained.parameters().values()):
            raise NonFinite("a weight of a member is not finite; fit the members again")

    @property
    def members(self) -> int:
        """Number of members, K."""
        return self.trained.members

    @property
    def kind(self) -> Kind:
        """`full`."""
        return "full"

    def scores(
        self, prompts: Sequence[Conversation], completions: Sequence[Conversation]
    ) -> Float[Tensor, "members sequences"]:
        """Every member's score of every completion; errors as in `Backbone.encode`."""
        tokens = self.trained.backbones[0].encode(prompts, completions).tokens
        with torch.no_grad():
            raw = score_tokens(self.trained, tokens, batch_size=BATCH_SIZE)
        return scaled(raw.float().cpu(), self.offsets, self.temperature)

    def save(self, folder: Path) -> None:
        """Write the folder described above, which stands alone; a folder of that name is replaced.

        Raises ArtifactError if the disk refuses.
        """
        parts = {"heads": self.trained.heads, "offsets": self.offsets}
        tensors = save_tensors({name: part.detach().cpu().contiguous() for name, part in parts.items()})
        with whole_folder(Path(folder), what="the reward model") as partial:
            trunks = [
                record_trunk(backbone, partial, name=f"trunks/{k}", copy=True)
                for k, backbone in enumerate(self.trained.backbones)
            ]
            config = {
                "format_version": FORMAT_VERSION,
                "kind": self.kind,
                "members": self.members,
                "pooling": self.trained.pooling,
                "temperature": self.temperature,
                "starts": list(self.trained.starts),
                "sha256": hashlib.sha256(tensors).hexdigest(),
                "trunks": trunks,
            }
            (partial / TENSORS_FILE).write_bytes(tensors)
            write_config(partial, config)

    @classmethod
    def load(cls, folder: Path) -> "FullModel":
        """Read what `save` wrote, bit for bit. Raises ArtifactError if a file is missing or damaged."""
        config = read_config(folder, version=FORMAT_VERSION, writer="a reward model's save")
        data = read_file(folder / TENSORS_FILE, writer="a reward model's save")
        if hashlib.sha256(data).hexdigest() != config.get("sha256"):
            raise ArtifactError(f"{folder / TENSORS_FILE} is not the file that config.json describes; restore both")
        try:
            trunks = [restore_trunk(record, folder) for record in config["trunks"]]
            tensors = load_tensors(data)
            trained = FullMembers(
                backbones=tuple(trunk for trunk in trunks if isinstance(trunk, Backbone)),
                heads=tensors["heads"],
                starts=tuple(str(start) for start in config["starts"]),
                pooling="mean" if config["pooling"] == "mean" else "last",
            )
            freeze(trained.parameters())
            return cls(trained, tensors["offsets"], float(config["temperature"]))
        except (SafetensorError, KeyError, TypeError, ValueError, NonFinite) as error:
            raise ArtifactError(f"{folder} does not hold usable members ({error!r}); restore it or refit") from error


class FullFit(NamedTuple):
    """A fitted model and how it went."""

    model: FullModel
    """The members."""
    record: GradientRecord
    """Losses, held-out figures, temperature."""


def fit_full(
    backbone: Backbone,
    pairs: PairSource,
    *,
    members: int,
    settings: GradientSettings,
    generator: torch.Generator,
    shared_head: bool = False,
    pooling: Pooling = "last",
    checkpoint: Path | None = None,
    on_step: Callable[[GradientStep], None] | None = None,
) -> FullFit:
    """Train K whole copies of a small backbone on comparisons; the backbone itself is not changed.

    `shared_head` as in `FullMembers.start`; other arguments and errors as in `fit_members`.
    """
    trained = FullMembers.start(
        backbone, members=members, generator=generator, shared_head=shared_head, pooling=pooling
    )
    fit = fit_members(trained, pairs, settings=settings, generator=generator, checkpoint=checkpoint, on_step=on_step)
    freeze(trained.parameters())
    return FullFit(model=FullModel(trained, fit.offsets, fit.temperature), record=fit.record)
