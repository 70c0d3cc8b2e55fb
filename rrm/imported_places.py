"""Where judgements from elsewhere belong: a document of the task, or one that comes with them."""

from rrm.imported_rows import ImportedRow, RowRejected
from rrm.judging.imported import REASON
from rrm.store import Run, StoredDocument, documents
from rrm.store_documents import stored_document
from rrm.tasks.document import Document
from rrm.tasks.own_text import OwnText
from rrm.tasks.task import AbstractTask, Split
from rrm.texts.prompts import prompt_document
from rrm.texts.splits import split_of

HELD_OUT = 0.2
"""Share of the groups of imported prompts whose judgements are held out, where the task does not say."""
_SHARES = (1.0 - HELD_OUT, HELD_OUT / 2, HELD_OUT / 2)


class ImportedPlaces:
    """Which document a prompt is, and where it belongs."""

    def __init__(self, run: Run, task: AbstractTask, *, level: int) -> None:
        self._level, self._seed = level, run.seed
        own = task if isinstance(task, OwnText) else None
        self._own = {} if own is None else _held(own, level=level)
        self._kept = set() if own is None else _kept_for_tests(own)
        self._others = {each.id: each for each in documents(run) if each.task == REASON}

    def document(self, given: ImportedRow) -> StoredDocument:
        """The task's document with this prompt, else one of its own; a group is never divided.

        Raises RowRejected for what reports are about.
        """
        if not self._kept.isdisjoint((given.prompt, given.group)):
            raise RowRejected("its prompt is kept for tests, which nothing is fitted to")
        if (found := self._found(given)) is not None:
            return found[0]
        made = prompt_document(given.prompt)
        identifier = f"{REASON}-{self._level}-{made.id}"
        if identifier not in self._others:
            # An export names the document where the data named no group: it was the prompt, and that is divided alike.
            group = given.prompt if given.group == identifier else given.group
            self._others[identifier] = StoredDocument(
                id=identifier,
                task=REASON,
                level=self._level,
                split=split_of_group(group, seed=self._seed).value,
                position=len(self._others),
                title=made.title,
                text=given.prompt,
            )
        return self._others[identifier]

    def prompt(self, given: ImportedRow) -> str:
        """What both completions answer, in the words that agents read: within the template, where there is one."""
        found = self._found(given)
        return given.prompt if found is None or given.prompt not in self._own else found[1]

    def _found(self, given: ImportedRow) -> tuple[StoredDocument, str] | None:
        # The group of an exported answer is its document, which its prompt is not where it was read by its parts.
        return self._own.get(given.prompt, self._own.get(given.group))


def split_of_group(group: str, *, seed: int) -> Split:
    """Whether judgements of a group are learned from or held out."""
    return Split.TRAIN if split_of(group, seed=seed, shares=_SHARES) is Split.TRAIN else Split.VALIDATION


def _held(task: OwnText, *, level: int) -> dict[str, tuple[StoredDocument, str]]:
    """The documents of a level to learn from and to hold out, with their prompts, by all that may name them."""
    found: dict[str, tuple[StoredDocument, str]] = {}
    for split in (Split.TRAIN, Split.VALIDATION):
        for place, document in enumerate(_documents(task, split=split, level=level)):
            stored = stored_document(task, document, split=split, level=level, place=place)
            found |= dict.fromkeys(_names(task, document), (stored, task.prompt(document)))
    return found


def _kept_for_tests(task: OwnText) -> set[str]:
    """What may name a document for tests, of whatever level: it is learned from at none."""
    return {
        name
        for level in range(task.levels)
        for document in _documents(task, split=Split.TEST, level=level)
        for name in _names(task, document)
    }


def _documents(task: OwnText, *, split: Split, level: int) -> list[Document]:
    return [
        task.document(split=split, level=level, index=place) for place in range(task.size(split=split, level=level))
    ]


def _names(task: OwnText, document: Document) -> tuple[str, str, str]:
    return document.text, task.prompt(document), document.id
