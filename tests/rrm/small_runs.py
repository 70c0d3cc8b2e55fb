"""Runs small enough for tests: the shipped base, few documents, few steps."""

from pathlib import Path

from rrm.opening import open_workbench
from rrm.rounds import climb
from rrm.starting import start_run

SMALL = (
    "run.levels=2",
    "run.threads=1",
    "sampling.train_documents=12",
    "sampling.validation_documents=8",
    "sampling.test_documents=12",
    "judging.judgements_per_round=30",
    "judging.validation_judgements=12",
    "judging.promotion_judgements=8",
    "reward.members=2",
    "reward.acquisition=spread",
    "agent.steps=4",
    "agent.prompts_per_step=2",
    "agent.group=3",
    "agent.checkpoint_every=1",
)


def climbed(folder: Path, *overrides: str) -> Path:
    """A small run, climbed as far as it goes."""
    start_run(folder, [*SMALL, *overrides])
    go_on(folder)
    return folder


def go_on(folder: Path) -> None:
    """Climb as far as it goes, from wherever the run is."""
    with open_workbench(folder) as bench:
        climb(bench)
