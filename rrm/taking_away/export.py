"""Everything of a run in one folder, for tools that know nothing of runs."""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from rrm.errors import RunError
from rrm.judging.export import export_lines
from rrm.taking_away.database import one_moment
from rrm.taking_away.models import TakenModel, write_models
from rrm.taking_away.preferences import WrittenAnswers, write_preferences
from rrm.workbench import Workbench

_README = """# {title}

| | |
|---|---|
| `preferences/` | the {preferences} answers that count as prompt, chosen, rejected, and the {ties} ties; \
`load_dataset`, TRL and `rrm import` read it |
| `judgements.jsonl` | every answer that was ever given, taken back or not, with all that is known of it |
| `run.db` | the run's database without accounts: `datasette run.db -m metadata.json` |
| `reward-models/`, `agents/` | the models below, each with its card |

{models}
"""


@dataclass(frozen=True)
class Export:
    """What was written."""

    folder: Path
    answers: WrittenAnswers
    models: tuple[TakenModel, ...]

    def to_json(self) -> dict[str, object]:
        """For a program."""
        return asdict(self) | {"folder": str(self.folder)}


def export_run(bench: Workbench, folder: Path, *, models: bool = True) -> Export:
    """Write a run's answers, database and (unless `models` is False) models into a folder that is new or empty.

    All of it is one moment of the run, even while somebody judges. The folder appears complete or not at all. Raises
    RunError for one that holds something, or that this process is in, ArtifactError where a model of the run is
    damaged.
    """
    folder = folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} holds something already; name a new folder, or empty that one.")
    if folder == Path.cwd():
        raise RunError(
            "An export takes the place of its folder, so it cannot be the one that you are in; name another."
        )
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with one_moment(bench.run, partial) as moment:
            answers = write_preferences(moment, partial / "preferences")
            with (partial / "judgements.jsonl").open("w", encoding="utf-8") as file:
                file.writelines(export_lines(moment))
            taken = tuple(write_models(bench, partial, moment=moment)) if models else ()
        listed = "\n".join(f"- `{one.folder}`: {one.what}" for one in taken)
        text = _README.format(
            title=bench.run.folder.resolve().name, preferences=answers.preferences, ties=answers.ties, models=listed
        )
        (partial / "README.md").write_text(text, encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Export(folder=folder, answers=answers, models=taken)
