"""Your own text on its way into a run: read once, cut to the size of the model, divided, kept in the run's folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from agents.model_settings import context_of
from reward_models.conversations import opened
from reward_models.errors import ArtifactError
from reward_models.loading import first_line, load_tokenizer
from rrm.config import Configuration
from rrm.errors import ConfigurationError
from rrm.tasks.document import Document
from rrm.tasks.own_text import DOCUMENT_TEMPLATE, PROMPT_TEMPLATE, OwnText, own_text
from rrm.tasks.task import Split
from rrm.texts.prompts import read_prompts
from rrm.texts.reading import read_texts
from rrm.texts.source_text import SourceText
from rrm.texts.splits import assign
from rrm.texts.store import TEXTS_FILE, TreesHeader, write_trees
from rrm.texts.text_report import TextReport
from rrm.texts.trees import grow_trees

READABLE_TOKENS = 700
"""Longest part at level 0 where nothing is set: what a person reads in a minute or two."""
SPARE_TOKENS = 48
"""Kept free in a model's context."""
FEWEST = 3
"""Texts of which one can be held out for validation, and one for tests."""
FEWEST_TOKENS = 32
"""A part that is shorter than this tells nothing."""


@dataclass(frozen=True)
class Prepared:
    """What a run works on, as it was prepared."""

    report: TextReport
    sizes: dict[str, tuple[int, ...]]
    """Documents by split, from level 0 up."""

    def text(self) -> str:
        """For a person."""
        rows = [f"  {split}: " + ", ".join(f"{n} at level {level}" for level, n in enumerate(counts))
                for split, counts in self.sizes.items()]  # fmt: skip
        return "\n".join([self.report.text(), "Documents:", *rows])


def prepare_texts(folder: Path, config: Configuration) -> Prepared:
    """Read the configured text and write it into the folder of a run.

    Raises ArtifactError where the text, or the model's settings and tokenizer, cannot be read, ConfigurationError where
    there is too little text for the levels, or the model's context has no room.
    """
    source, column, encoding = config.text.source, config.text.column or None, config.text.encoding or None
    if config.run.task == "prompts":
        prompts, report = read_prompts(source, column=column, encoding=encoding, fits=reader(config).fits)
        groups: Mapping[str, Sequence[Document]] = {prompt.id: [prompt] for prompt in prompts}
    else:
        reading = read_texts(source, column=column, encoding=encoding)
        report, groups = reading.report, grown(reading.texts, config)
    splits = assign(list(groups), seed=config.run.seed)
    trees = {
        split: [tree for key, found in groups.items() if splits[key] is split for tree in found] for split in Split
    }
    return keep_texts(folder, config, trees, report)


def keep_texts(
    folder: Path, config: Configuration, trees: Mapping[Split, Sequence[Document]], report: TextReport
) -> Prepared:
    """Write trees into the folder of a run. Raises ConfigurationError where there are too few for the levels."""
    task = own_text(trees, config)
    _check_enough(task, config)
    header = TreesHeader(
        levels=config.run.levels,
        leaf_tokens=config.text.leaf_tokens,
        fan_out=config.text.fan_out,
        seed=config.run.seed,
        source=config.text.source,
    )
    write_trees(folder / TEXTS_FILE, trees, header=header)
    sizes = {split.value: tuple(task.size(split=split, level=level) for level in range(task.levels)) for split in Split}
    return Prepared(report=report, sizes=sizes)


@dataclass(frozen=True)
class Reader:
    """What the base model can read, by its settings and its tokenizer; its weights are not loaded."""

    count: Callable[[str], int]
    """Tokens of a text."""
    context: int | None
    """Longest prompt with its completion, in tokens; None where the model states no limit."""
    around: int
    """Tokens that go with every prompt: the templates (of the task, of chats), a completion, and some to spare."""

    @property
    def room(self) -> int | None:
        """Tokens that are left for a text."""
        return None if self.context is None else self.context - self.around

    def fits(self, text: str) -> bool:
        """Whether a text can be read whole."""
        return self.room is None or self.count(text) <= self.room


def reader(config: Configuration) -> Reader:
    """What the configured base reads. Raises ArtifactError where it is no causal language model with a tokenizer."""
    tokenizer = load_tokenizer(config.model.base)

    def count(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    template = config.text.template or (PROMPT_TEMPLATE if config.run.task == "prompts" else DOCUMENT_TEMPLATE)
    empty = template.replace("{text}", "")
    if config.model.chat == "on" or (config.model.chat == "auto" and tokenizer.chat_template):
        # What a chat template says beside the user, which can be a long message of the system.
        empty = opened(tokenizer, [{"role": "user", "content": empty}]).text
    around = count(empty) + config.sampling.max_new_tokens + SPARE_TOKENS
    return Reader(count=count, context=_context(config.model.base), around=around)


def grown(texts: Sequence[SourceText], config: Configuration) -> dict[str, tuple[Document, ...]]:
    """The trees of each text by its name, cut so that every prompt of level 0 fits the model.

    Of fewer than three texts each tree stands for itself, so that there is something to hold out.
    """
    reads = reader(config)
    found = {
        text.name: grow_trees(
            text,
            levels=config.run.levels,
            leaf_tokens=_leaf_tokens(config, reads),
            fan_out=config.text.fan_out,
            count=reads.count,
        )
        for text in texts
    }
    return found if len(found) >= FEWEST else {tree.id: (tree,) for trees in found.values() for tree in trees}


def _leaf_tokens(config: Configuration, reads: Reader) -> int:
    """The longest part in tokens: as configured, else what fits the model and a person reads in a minute or two."""
    wanted, room, written = config.text.leaf_tokens, reads.room, config.sampling.max_new_tokens
    if room is None:
        return wanted or READABLE_TOKENS
    if room < max(wanted, FEWEST_TOKENS):
        raise ConfigurationError(
            f"{config.model.base} reads {reads.context} tokens, of which the template and a completion take "
            f"{reads.around}, so {max(0, room)} are left for a part; lower sampling.max_new_tokens or text.leaf_tokens"
        )
    if config.run.levels > 1 and config.text.fan_out * written > room:
        raise ConfigurationError(
            f"what is written of {config.text.fan_out} parts, up to {written} tokens each, does not fit the {room} "
            f"tokens that {config.model.base} has left for it; lower text.fan_out or sampling.max_new_tokens"
        )
    return wanted or min(room, READABLE_TOKENS)


def _context(source: str) -> int | None:
    """How far a model reads, by its settings: its weights are not loaded."""
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(source))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError) as error:
        raise ArtifactError(
            f"no causal language model could be read from '{source}' ({first_line(error)}); give a Hugging Face "
            "folder, or the name of such a model that the Hub can send"
        ) from error
    return context_of(model)


def _check_enough(task: OwnText, config: Configuration) -> None:
    """ConfigurationError unless every level has documents to train on and to hold out."""
    for level in range(task.levels):
        for split in (Split.TRAIN, Split.VALIDATION):
            if not task.size(split=split, level=level):
                has = ", ".join(f"{task.size(split=one, level=level)} {one.value}" for one in Split)
                raise ConfigurationError(
                    f"{config.text.source} has too little text: at level {level} there are {has} documents, and "
                    f"training and validation need at least one each; {_remedy(config, level)}"
                )


def _remedy(config: Configuration, level: int) -> str:
    if config.run.task != "documents":
        return "give at least two different prompts"
    return "give more text, or cut it finer with text.leaf_tokens" + (", or lower run.levels" if level else "")
