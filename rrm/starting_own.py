"""The beginning of a run on your own model and text: everything is read once, so that what is wrong shows now."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reward_models.errors import ArtifactError, InvalidInput
from reward_models.preference_data import PreferenceData
from rrm.config import FILE_NAME, Configuration
from rrm.config_file import default_config, toml_value
from rrm.import_report import ImportReport
from rrm.imported_places import split_of_group
from rrm.imported_rows import RowRejected, imported_row
from rrm.importing import import_rows, read_judgements
from rrm.opening import base_policy
from rrm.preparing import Prepared, keep_texts, prepare_texts, reader
from rrm.progress import AbstractProgress
from rrm.run_folder import open_run_folder
from rrm.starting import GUIDELINES_FILE, refuse_replacing, start_run
from rrm.store import utc_now
from rrm.store.run import DATABASE_FILE
from rrm.tasks.document import Document
from rrm.tasks.task import Split
from rrm.texts.prompts import TOO_LONG, prompt_document
from rrm.texts.store import TEXTS_FILE
from rrm.texts.text_report import TextTally

LARGE = 50_000_000
"""Parameters from which on adapters are trained instead of all weights."""

DEFAULTS = (
    "judging.rater=people",
    "judging.judgements_per_round=200",
    "judging.validation_judgements=40",
    "judging.promotion_judgements=40",
    "sampling.train_documents=200",
    "sampling.validation_documents=40",
    "sampling.test_documents=40",
    "sampling.max_new_tokens=64",
)
"""What people can do in an afternoon, where the embedded task has simulated readers who never tire."""
LARGE_DEFAULTS = ("agent.weights=lora", "agent.learning_rate=1e-4")
"""For a model that is too large to be trained whole beside its own gradients."""


@dataclass(frozen=True)
class OwnMaterial:
    """What a run of one's own begins with; exactly one of documents, prompts and preferences."""

    model: str
    """A local folder or the name of a model on the hub."""
    documents: str | None = None
    prompts: str | None = None
    preferences: str | None = None
    column: str | None = None
    encoding: str | None = None
    """Of text files that are not UTF-8."""
    guidelines: Path | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("documents", "prompts", "preferences") if getattr(self, name) is not None]
        if len(given) != 1:
            raise InvalidInput(
                f"A run works on documents, prompts or preferences; {' and '.join(given) or 'none of them'} came, give "
                "one of them beside the model."
            )
        if self.preferences is not None and self.column is not None:
            raise InvalidInput(
                f"The column {self.column!r} came with preferences, whose columns are known by their names: prompt, "
                "chosen and rejected; first, second and label; or votes. Rename them in the data, and leave it out."
            )

    @property
    def source(self) -> str:
        """What is read; a path of this machine in full, so that the run does not depend on where it is opened."""
        found = self.documents or self.prompts or self.preferences
        assert found is not None  # checked when it was made
        return _in_full(found)

    def settings(self) -> list[str]:
        """What it says, as settings."""
        values = {
            "run.task": "documents" if self.documents is not None else "prompts",
            "text.source": self.source,
            "text.column": self.column or "",
            "text.encoding": self.encoding or "",
            "model.base": _in_full(self.model),
        }
        return [f"{name}={toml_value(value)}" for name, value in values.items()]


@dataclass(frozen=True)
class Started:
    """A run that has begun."""

    config: Configuration
    parameters: int
    """Of the base model."""
    prepared: Prepared
    imported: ImportReport | None
    """Where it began with preferences."""


def start_own_run(
    folder: Path, material: OwnMaterial, overrides: Sequence[str] = (), *, progress: AbstractProgress
) -> Started:
    """Make a run of your own: load the model once, read and cut the text, import preferences if these are the text.

    Settings that are not given are chosen by the size of the model. Whatever is refused leaves nothing behind, and what
    the folder held stays. Raises ConfigurationError, ArtifactError and InvalidInput, each naming what is wrong.
    """
    folder = folder.resolve()  # "." has no name, and what becomes of it is made beside it
    wanted = [*DEFAULTS, *material.settings()]
    if material.documents is None:
        wanted.append("run.levels=1")
    # Once with small settings, to see the model before anything is written.
    policy = base_policy(_in_full(material.model), default_config([*wanted, *overrides]))
    parameters = sum(part.numel() for part in policy.model.parameters())
    wanted = [*wanted, *(LARGE_DEFAULTS if parameters >= LARGE else ()), *overrides]
    if (folder / FILE_NAME).exists() or (folder.exists() and not folder.is_dir()):
        start_run(folder, wanted)  # which says what is wrong with that
    own = () if material.guidelines is None else (GUIDELINES_FILE,)
    with _appearing_whole(folder, TEXTS_FILE, DATABASE_FILE, *own) as place:
        config = start_run(place, wanted, guidelines=material.guidelines)
        if material.preferences is None:
            return Started(config, parameters, prepare_texts(place, config), imported=None)
        found = read_judgements(material.source, seed=config.run.seed, encoding=material.encoding)
        prepared = _keep_prompts(place, config, found)
        with open_run_folder(place) as opened:
            imported = import_rows(opened.run, opened.task, found, now=utc_now(), progress=progress)
        return Started(config, parameters, prepared, imported)


def _keep_prompts(folder: Path, config: Configuration, found: PreferenceData) -> Prepared:
    """The prompts of preference data as those that agents are trained on, divided as their judgements will be."""
    reads, tally = reader(config), TextTally()
    trees: dict[Split, list[Document]] = {split: [] for split in Split}
    seen: set[str] = set()
    refused = ""
    for row in found.dataset:
        try:
            given = imported_row(row)
        except RowRejected as error:
            refused = refused or str(error)
            continue  # the import counts it, and says why
        if given.prompt in seen:
            continue
        seen.add(given.prompt)
        document = prompt_document(given.prompt)
        if not given.prompt.strip():
            tally.reject(document.id, "empty", "is empty, so that nothing can be asked of an agent")
        elif not reads.fits(given.prompt):
            tally.reject(document.id, TOO_LONG, "is longer than what the model reads beside its answer")
        else:
            tally.accept(len(given.prompt.split()))
            trees[split_of_group(given.group, seed=config.run.seed)].append(document)
    if refused and not seen:
        raise ArtifactError(f"no row of {config.text.source} is an answer that a run can keep; of the first, {refused}")
    return keep_texts(folder, config, trees, tally.report(config.text.source))


@contextmanager
def _appearing_whole(folder: Path, *names: str) -> Iterator[Path]:
    """A place to make a run in, whose files appear in the folder together at the end, or not at all, also after a kill.

    What the folder held before stays: ConfigurationError if one of these names, which a run has, is there.
    """
    place = folder.parent / f".{folder.name}.partial"
    _clear_away(place, folder)
    refuse_replacing(folder, *names)
    try:
        yield place
        _move_in(place, folder)
    finally:
        _clear_away(place, folder)


def _move_in(place: Path, folder: Path) -> None:
    """Each file gets its name in the folder beside the one in the place; run.toml, by which a run is known, moves last.

    So a kill leaves either a run.toml in the place, and then what is linked in the folder is not used by anybody yet
    and known as what the place holds, or it has moved, and the run is whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(place.iterdir()):
        # The only folder is that of the models, of which there are none yet.
        if path.name != FILE_NAME and not (path.is_dir() and (folder / path.name).is_dir()):
            _link(path, folder)
    (place / FILE_NAME).rename(folder / FILE_NAME)


def _link(path: Path, folder: Path) -> None:
    try:
        os.link(path, folder / path.name)
    except OSError:
        refuse_replacing(folder, path.name)
        # No folder can be linked, and some file systems know no links: there, the beginning that follows on a kill in
        # mid-move names what is there, rather than taking it away.
        path.rename(folder / path.name)


def _clear_away(place: Path, folder: Path) -> None:
    """Take away the place, and before it what a move that did not end has left in the folder."""
    if (place / FILE_NAME).exists() and not (folder / FILE_NAME).exists():
        for path in place.iterdir():
            left = folder / path.name
            if left.is_file() and left.samefile(path):
                left.unlink()
    shutil.rmtree(place, ignore_errors=True)


def _in_full(source: str) -> str:
    """A path that is there in full; the name of something on the hub as it is."""
    return str(Path(source).resolve()) if Path(source).exists() else source
