"""The language models that a saved reward model rests on: named by where they came from and a digest of their weights.

A reward model is small and its trunk is not, so a folder usually names the trunk: a path or a name on the Hub, together
with a digest, so that other weights under that name are noticed and never scored with. On request the trunk is copied
into the folder, which then stands alone.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import torch

from reward_models.backbone import Backbone
from reward_models.errors import ArtifactError, InvalidInput
from reward_models.loading import is_pooler
from reward_models.reference import Reference

Trunk = Backbone | Reference
"""A model without a head, or with its language head."""
KINDS: Mapping[str, type[Backbone] | type[Reference]] = MappingProxyType({"backbone": Backbone, "reference": Reference})


@dataclass(frozen=True, kw_only=True)
class TrunkRecord:
    """One trunk as `config.json` names it."""

    kind: Literal["backbone", "reference"]
    """Whether it is read without its language head or with it."""
    source: str
    """A folder or a name on the Hub; for a copy, the folder inside the model's own."""
    copied: bool
    """Whether the weights lie inside the model's folder."""
    digest: str
    """`weights_digest` of the trunk."""
    max_length: int
    """Where sequences are cut."""
    dtype: str
    """Precision of the weights, as torch names it."""


def record_trunk(trunk: Trunk, folder: Path, *, name: str, copy: bool) -> dict[str, object]:
    """The JSON record of a trunk; with `copy`, its weights and tokenizer are written below `folder` under `name`.

    Raises InvalidInput for a trunk that came from no folder and is not to be copied.
    """
    source = str(trunk.model.name_or_path)
    if copy:
        trunk.model.save_pretrained(folder / name)
        trunk.tokenizer.save_pretrained(folder / name)
    elif not source:
        raise InvalidInput(
            "the backbone was made in memory, so a saved model could not name it; save with include_backbone=True"
        )
    elif Path(source).is_dir():
        source = str(Path(source).resolve())
    record = TrunkRecord(
        kind="backbone" if isinstance(trunk, Backbone) else "reference",
        source=name if copy else source,
        copied=copy,
        digest=weights_digest(trunk.model),
        max_length=trunk.max_length,
        dtype=str(trunk.model.dtype).removeprefix("torch."),
    )
    return asdict(record)


def restore_trunk(config: Mapping[str, object], folder: Path, *, given: Sequence[Trunk] = ()) -> Trunk:
    """The trunk of one record; as `restore_trunks`."""
    return restore_trunks([config], folder, given=given)[0]


def restore_trunks(
    configs: Sequence[Mapping[str, object]], folder: Path, *, given: Sequence[Trunk] = ()
) -> list[Trunk]:
    """The trunks of records: one of those given where the weights are the same, else read from where a record says.

    Raises ArtifactError for a record that is not one, a trunk that cannot be read, other weights than were recorded, or
    a given trunk that none of the records names.
    """
    records = [_parse(config, folder) for config in configs]
    known = {(type(trunk), weights_digest(trunk.model)): trunk for trunk in given}
    if not set(known) <= {(KINDS[record.kind], record.digest) for record in records}:
        sources = ", ".join(f"'{record.source}'" for record in records)
        raise ArtifactError(f"{folder} rests on {sources}, and what was given has other weights; give that one")
    found: list[Trunk] = []
    for record in records:
        trunk = known.get((KINDS[record.kind], record.digest)) or _load(record, folder)
        found.append(replace(trunk, max_length=record.max_length))
    return found


def weights_digest(model: torch.nn.Module) -> str:
    """SHA-256 over the names, shapes, types and values of a model's weights, without an encoder's unread pooler."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if not is_pooler(name):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _load(record: TrunkRecord, folder: Path) -> Trunk:
    kind = KINDS[record.kind]
    source = folder / record.source if record.copied else record.source
    try:
        trunk = kind.load(source, max_length=record.max_length, dtype=getattr(torch, record.dtype))
    except ArtifactError as error:
        raise ArtifactError(
            f"{folder} rests on a {record.kind} that is not to be had: {error}; if it lies elsewhere, load it "
            "there and hand it over as backbone="
        ) from error
    if weights_digest(trunk.model) != record.digest:
        raise ArtifactError(
            f"the weights of '{source}' are not those that {folder} was fitted on (sha256 differs); restore them, "
            "give the backbone from another place, or refit"
        )
    return trunk


def _parse(config: Mapping[str, object], folder: Path) -> TrunkRecord:
    try:
        record = TrunkRecord(
            kind="backbone" if config["kind"] == "backbone" else "reference",
            source=str(config["source"]),
            copied=bool(config["copied"]),
            digest=str(config["digest"]),
            max_length=int(str(config["max_length"])),
            dtype=str(config["dtype"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{folder} names its backbone wrongly ({error!r}); restore config.json or refit") from error
    if not isinstance(getattr(torch, record.dtype, None), torch.dtype):
        raise ArtifactError(f"{folder} names the precision '{record.dtype}', which torch does not know; restore it")
    return record
