"""Your own text as a task: documents that were cut into trees beforehand, or plain prompts. Nothing is known of them.

Everything comes from the run's folder (`rrm.texts.store` writes it there once), so that a run stays what it was when
the files that it came from change or go.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Literal, final

from reward_models.errors import InvalidInput
from rrm.config import Configuration
from rrm.tasks.document import Document
from rrm.tasks.task import AbstractTask, Split

DOCUMENT_TEMPLATE = "{text}\n\nSummary of the text above, in a few sentences:\n"
"""What a model reads of a document, where nothing else is asked for."""
PROMPT_TEMPLATE = "{text}"
"""A prompt as it stands."""

_GUIDELINES = {
    "documents": """Which summary would you rather be given instead of the text?

A good summary says what matters most in the text, nothing that the text does not say, and is short. A false statement
is worse than a gap. Where the text is long, look up what the two summaries disagree about.""",
    "prompts": """Which answer is better: more helpful, truer, and no longer than it needs to be?

If one of them says something false or harmful, the other one is better.""",
}


@final
class OwnText(AbstractTask):
    """Trees of text by split. A document of height k is worked on at level k; parts never leave their tree's split."""

    def __init__(
        self,
        trees: Mapping[Split, Sequence[Document]],
        *,
        name: Literal["documents", "prompts"],
        levels: int,
        template: str = "",
        guidelines: str = "",
    ) -> None:
        """Of these trees; an empty `template` or `guidelines` takes ours."""
        self.name = name
        self.levels = levels
        self._template = template or (DOCUMENT_TEMPLATE if name == "documents" else PROMPT_TEMPLATE)
        self._guidelines = guidelines or _GUIDELINES[name]
        self._documents: dict[tuple[Split, int], tuple[Document, ...]] = {
            (split, level): tuple(
                node for tree in trees.get(split, ()) for node in _nodes(tree) if node.height == level
            )
            for split in Split
            for level in range(levels)
        }
        self._places = {
            document.id: (split, level, place)
            for (split, level), found in self._documents.items()
            for place, document in enumerate(found)
        }

    def guidelines(self, level: int) -> str:
        """The same at every level."""
        return self._guidelines

    def guidelines_of_all_levels(self) -> str:
        """The one text."""
        return self._guidelines

    def size(self, *, split: Split, level: int) -> int:
        """How many documents of this height there are."""
        return len(self._documents.get((split, level), ()))

    def document(self, *, split: Split, level: int, index: int) -> Document:
        """The document at this place."""
        found = self._documents.get((split, level), ())
        if not 0 <= index < len(found):
            raise InvalidInput(
                f"There is no {split.value} document {index} at level {level}: your text has {len(found)} there, "
                "counted from 0."
            )
        return found[index]

    def place(self, document_id: str) -> tuple[Split, int, int] | None:
        """Split, level and place of a document; None for one that is not of this task."""
        return self._places.get(document_id)

    def named(self, name: str) -> Sequence[Document]:
        """The document of this id; else those of this title or these words: none, one, or several."""
        if name not in self._places:
            return tuple(self._named.get(_words(name), ()))
        split, level, place = self._places[name]
        return (self._documents[split, level][place],)

    @cached_property
    def _named(self) -> Mapping[str, list[Document]]:
        """Documents by their titles and by their words, whatever white space stands between them."""
        found: dict[str, list[Document]] = {}
        for documents in self._documents.values():
            for document in documents:
                for name in {_words(document.title), _words(document.text)}:
                    found.setdefault(name, []).append(document)
        return found

    def prompt(self, document: Document) -> str:
        """The template around the whole text."""
        return self._template.replace("{text}", document.text)

    def prompt_of_parts(self, document: Document, briefs: Sequence[str]) -> str:
        """The template around what was written of each part, in the order of the parts."""
        return self._template.replace("{text}", "\n\n".join(brief.strip() for brief in briefs))

    def base_model(self) -> None:
        """None: whoever brings text brings a model."""
        return


def own_text(trees: Mapping[Split, Sequence[Document]], config: Configuration, *, guidelines: str = "") -> OwnText:
    """The configured task over these trees."""
    name: Literal["documents", "prompts"] = "prompts" if config.run.task == "prompts" else "documents"
    return OwnText(trees, name=name, levels=config.run.levels, template=config.text.template, guidelines=guidelines)


def _words(text: str) -> str:
    return " ".join(text.split())


def _nodes(tree: Document) -> list[Document]:
    """The tree and everything below it, in reading order."""
    return [tree, *(node for part in tree.parts for node in _nodes(part))]
