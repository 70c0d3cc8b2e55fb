"""Trees in a file: a line that says what they are and proves that they are whole, then one tree a line."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from reward_models.errors import ArtifactError, InvalidInput
from rrm.tasks.document import Document
from rrm.tasks.task import Split

TEXTS_FILE = "texts.jsonl"
"""The texts of a run, in its folder."""
FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class TreesHeader:
    """How the trees came about."""

    levels: int
    """Heights that were asked for."""
    leaf_tokens: int
    """Tokens of a leaf, at most."""
    fan_out: int
    """Parts of a document, at most."""
    seed: int
    """What divided them into splits."""
    source: str
    """Where the texts came from."""


@dataclass(frozen=True)
class StoredTrees:
    """What a file of trees holds."""

    header: TreesHeader
    trees: dict[Split, tuple[Document, ...]]
    """The trees of each split in the order in which they were written; a split without trees is there, and empty."""


class _Header(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    format_version: int
    levels: int
    leaf_tokens: int
    fan_out: int
    seed: int
    source: str
    trees: int
    sha256: str


class _Node(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    id: str
    title: str
    text: str
    parts: list["_Node"] = []

    def document(self) -> Document:
        return Document(self.id, self.title, self.text, tuple(part.document() for part in self.parts))


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid")

    split: Split
    tree: _Node


def write_trees(path: Path, trees: Mapping[Split, Sequence[Document]], *, header: TreesHeader) -> None:
    """Write trees to a file that is there whole or not at all, and on the disk when this returns.

    Raises ArtifactError if the disk refuses, InvalidInput for a text that no file can hold.
    """
    lines = [_line_of(split, tree) for split in Split for tree in trees.get(split, ())]
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line)
    first = {"format_version": FORMAT_VERSION, **asdict(header), "trees": len(lines), "sha256": digest.hexdigest()}
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.writelines([json.dumps(first, ensure_ascii=False).encode() + b"\n", *lines])
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ArtifactError(
            f"could not save the texts to {path}: {error}; check the disk and its permissions"
        ) from error


def read_trees(path: Path) -> StoredTrees:
    """Read what `write_trees` wrote.

    Raises ArtifactError, which names the line, if the file is missing, cut off, changed or of another version.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error}); it holds the texts of the run: restore it") from error
    first, _, body = data.partition(b"\n")
    header = _header(path, first)
    if hashlib.sha256(body).hexdigest() != header.sha256:
        raise ArtifactError(f"{path} is not as it was written: {_difference(body, header.trees)}; restore the file")
    trees: dict[Split, list[Document]] = {split: [] for split in Split}
    for number, line in enumerate(body.splitlines(), 2):
        found = _line(path, number, line)
        trees[found.split].append(found.tree.document())
    told = TreesHeader(**header.model_dump(exclude={"format_version", "trees", "sha256"}))
    return StoredTrees(told, {split: tuple(found) for split, found in trees.items()})


def _line_of(split: Split, tree: Document) -> bytes:
    try:
        return json.dumps({"split": str(split), "tree": _node(tree)}, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"The text {tree.title!r} holds half a character (U+{ord(error.object[error.start]):04X}); write it whole."
        ) from error


def _node(document: Document) -> dict[str, Any]:
    node: dict[str, Any] = {"id": document.id, "title": document.title, "text": document.text}
    return node | ({"parts": [_node(part) for part in document.parts]} if document.parts else {})


def _header(path: Path, line: bytes) -> _Header:
    try:
        version = json.loads(line).get("format_version")
    except (ValueError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{path}, line 1 is no header of texts ({error}); restore the file") from error
    if version != FORMAT_VERSION:
        raise ArtifactError(
            f"{path}, line 1 states the format version {version!r}, expected {FORMAT_VERSION}; update the program"
        )
    try:
        return _Header.model_validate_json(line)
    except ValidationError as error:
        raise ArtifactError(f"{path}, line 1 is no header of texts ({_told(error)}); restore the file") from error


def _line(path: Path, number: int, line: bytes) -> _Line:
    try:
        return _Line.model_validate_json(line)
    except ValidationError as error:
        raise ArtifactError(f"{path}, line {number} is no tree ({_told(error)}); restore the file") from error


def _difference(body: bytes, trees: int) -> str:
    """What differs, as far as that can be told: the first line that is no JSON, or how many there are."""
    lines = body.splitlines()
    for number, line in enumerate(lines, 2):
        try:
            json.loads(line)
        except (ValueError, RecursionError):
            return f"line {number} is damaged"
    return f"it has {len(lines)} trees, not {trees}" if len(lines) != trees else "some line of it was changed"


def _told(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the line'}: {first['msg']}"
