"""Where a run stands: what is configured, what is done or at work, and which judgements it still needs."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rrm.config import FILE_NAME
from rrm.config_file import read_config
from rrm.store.records import JudgementCount, Step
from rrm.store.run import DATABASE_FILE, Run
from rrm.store.status import judgement_counts
from rrm.store.steps import steps


@dataclass(frozen=True, slots=True)
class Status:
    """Where a run stands."""

    folder: Path
    seed: int
    started: bool
    """Whether anything was computed; before that there is only the configuration."""
    steps: tuple[Step, ...]
    """In the order in which they were begun."""
    judgements: tuple[JudgementCount, ...]
    """Given and needed, for each level, round, purpose and stage."""

    @property
    def missing_judgements(self) -> int:
        """How many of the judgements that were asked for are still to be given."""
        return sum(max(0, count.needed - count.given) for count in self.judgements)

    def to_json(self) -> dict[str, Any]:
        """The same for a program; the results of the steps are left to the report."""
        return {
            "folder": str(self.folder),
            "seed": self.seed,
            "started": self.started,
            "missing_judgements": self.missing_judgements,
            "steps": [{name: value for name, value in asdict(step).items() if name != "result"} for step in self.steps],
            "judgements": [asdict(count) for count in self.judgements],
        }


def status(folder: Path) -> Status:
    """Look at a run without changing it; raises RunMissing, RunCorrupt or SchemaTooNew, ConfigurationError."""
    if (folder / FILE_NAME).is_file() and not (folder / DATABASE_FILE).exists():
        seed = read_config(folder / FILE_NAME).run.seed
        return Status(folder=folder, seed=seed, started=False, steps=(), judgements=())
    with Run.open(folder) as run:
        return Status(
            folder=folder,
            seed=run.seed,
            started=True,
            steps=tuple(steps(run)),
            judgements=tuple(judgement_counts(run)),
        )
