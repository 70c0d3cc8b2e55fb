"""Runs on text of one's own, small enough for tests: stories made here, and the shipped base as the model brought."""

import json
from collections.abc import Sequence
from pathlib import Path

from rrm.config import Configuration
from rrm.progress import SilentProgress
from rrm.starting_own import OwnMaterial, Started, start_own_run
from rrm.tasks.own_text import OwnText
from rrm.tasks.shiftlog.task import Shiftlog
from rrm.tasks.task import Split
from rrm.texts.source_text import plain_text
from rrm.texts.trees import grow_trees

MODEL = Shiftlog(seed=0).base_model()
LIKED = ("fire", "leak")
SMALL = (
    "run.threads=1",
    "judging.rater=taste",
    f"judging.taste={json.dumps(LIKED)}",
    "sampling.train_documents=6",
    "sampling.validation_documents=4",
    "sampling.test_documents=4",
    "sampling.max_new_tokens=12",
    "judging.judgements_per_round=24",
    "judging.validation_judgements=8",
    "judging.promotion_judgements=6",
    "reward.members=2",
    "agent.steps=2",
    "agent.prompts_per_step=2",
    "agent.group=2",
    "agent.bf16=false",
)


def story(number: int, *, sentences: int = 60) -> str:
    """Sentences that no other story has, four to a paragraph."""
    said = [
        f"In story {number} pump {place} had a leak, and crew {place * number} wrote it down."
        for place in range(sentences)
    ]
    return "\n\n".join(" ".join(said[begin : begin + 4]) for begin in range(0, sentences, 4))


def stories_file(path: Path, *, count: int = 5, sentences: int = 60) -> Path:
    """A data set of stories, one a line."""
    rows = [
        json.dumps({"title": f"Story {number}", "text": story(number, sentences=sentences)}) for number in range(count)
    ]
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def own_documents(*, levels: int = 3, template: str = "") -> OwnText:
    """The task over five stories: three to train on, one to hold out and one for tests."""
    splits = (Split.TRAIN, Split.TRAIN, Split.TRAIN, Split.VALIDATION, Split.TEST)
    trees: dict[Split, list[object]] = {split: [] for split in Split}
    for number, split in enumerate(splits):
        text = plain_text(story(number), name=f"story {number}", title=f"Story {number}")
        trees[split] += grow_trees(
            text, levels=levels, leaf_tokens=60, fan_out=8, count=lambda words: len(words.split())
        )
    return OwnText(trees, name="documents", levels=levels, template=template)  # type: ignore[arg-type]


def start(folder: Path, material: OwnMaterial, *overrides: str) -> Started:
    """A small run of one's own."""
    return start_own_run(folder, material, [*SMALL, *overrides], progress=SilentProgress())


def preference_lines(rows: Sequence[dict[str, object]], path: Path) -> Path:
    """A JSONL file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def own_configuration(**sections: dict[str, object]) -> Configuration:
    """A configuration on your own text, with these sections on top."""
    given: dict[str, dict[str, object]] = {
        "run": {"task": "documents", "threads": 1},
        "model": {"base": str(MODEL)},
        "text": {"source": "stories.jsonl"},
        "judging": {"rater": "people"},
    }
    return Configuration.model_validate(
        {name: given.get(name, {}) | sections.get(name, {}) for name in {*given, *sections}}
    )
