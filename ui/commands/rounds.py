"""Working on a run: a whole round, or one up to the step that is named."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ui.commands.shared import AsJson, RunFolder, Settings, show
from ui.progress import RichProgress

if TYPE_CHECKING:
    from rrm.rounds import RoundResult
    from rrm.workbench import Workbench

AtLevel = Annotated[
    int | None,
    typer.Option("--level", help="Work at this level; left out: at the first round that is not over.", min=0),
]
AtRound = Annotated[int | None, typer.Option("--round", help="With `--level`: the round at it (0 if left out).", min=0)]


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command(name="round")(whole_round)
    app.command()(sample)
    app.command()(fit)
    app.command()(train)


def whole_round(
    folder: RunFolder,
    level: AtLevel = None,
    round_: AtRound = None,
    every: Annotated[bool, typer.Option("--all", help="Play every round of every level, from the bottom up.")] = False,
    promoted: Annotated[
        bool | None,
        typer.Option(
            "--approve/--refuse", help="Decide on the promotion that waits (rounds.promotion = 'ask'); do nothing else."
        ),
    ] = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Play one round: sample, select, assist, judge, fit, optimise, evaluate, promote.

    Every finished step is kept: kill it at any moment, run the same command again, and it goes on to the same result.
    Where people judge, it stops when judgements are missing and says how many; that is no failure (exit code 0).
    """
    _one_of(every=every, decided=promoted is not None, placed=level is not None or round_ is not None)
    if every:
        _work_everywhere(folder, settings=settings, as_json=as_json)
    elif promoted is not None:
        _decide(folder, promoted=promoted, settings=settings, as_json=as_json)
    else:
        _work(folder, level=level, round_=round_, until="promote", settings=settings, as_json=as_json)


def sample(
    folder: RunFolder,
    level: AtLevel = None,
    round_: AtRound = None,
    completions: Annotated[
        str | None,
        typer.Option(
            help="First put these beside what agents write: a data set with the columns completion, document and by.",
            show_default=False,
        ),
    ] = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Begin a round: sample completions of fresh documents and select the comparisons to judge.

    Steps that are done already are not done again. With `--completions`, what people or other models wrote comes into
    the same comparisons: `document` names a document by its id, its title or its whole text. Such completions can be
    given for any level whose comparisons are not chosen yet.
    """
    _check_placed(level, round_)
    if completions is not None:
        _give(folder, completions, round_=round_ or 0)
    _work(folder, level=level, round_=round_, until="select", settings=settings, as_json=as_json)


def fit(
    folder: RunFolder,
    level: AtLevel = None,
    round_: AtRound = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a round until its reward ensemble is fitted to the judgements.

    What comes before (sample, select, assist, judge) is done first where it is not done. If people still have to
    judge, it stops there and says how many judgements are missing.
    """
    _work(folder, level=level, round_=round_, until="fit", settings=settings, as_json=as_json)


def train(
    folder: RunFolder,
    level: AtLevel = None,
    round_: AtRound = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a round until its agent is trained on the reward, near the base model.

    What comes before is done first where it is not done; a training that was killed goes on from its last checkpoint.
    """
    _work(folder, level=level, round_=round_, until="optimise", settings=settings, as_json=as_json)


def rounds_json(folder: Path, results: Sequence["RoundResult"], *, over: bool) -> dict[str, Any]:
    """How far rounds have come, for a program: `over` is whether every round of the run is."""
    rounds = [asdict(result) | {"finished": _is_over(result)} for result in results]
    return {"folder": str(folder), "over": over, "rounds": rounds}


def rounds_text(folder: Path, results: Sequence["RoundResult"], *, over: bool) -> str:
    """How far rounds have come, and the command that goes on."""
    lines = [_round_text(folder, result) for result in results]
    if over:
        lines.append(f"Every round of this run is over. See what came of it: rrm report {folder}")
    elif results and _is_over(results[-1]):
        lines.append(f"Go on with the next round: rrm round {folder}")
    return "\n".join(lines)


def _work(
    folder: Path,
    *,
    level: int | None,
    round_: int | None,
    until: str,
    settings: list[str] | None,
    as_json: bool,
) -> None:
    from rrm.joint import took_part
    from rrm.opening import open_workbench
    from rrm.orders import leading
    from rrm.rounds import next_round, play_round

    _check_placed(level, round_)
    if took_part(folder, overrides=settings or []):
        return
    with (
        leading(),
        RichProgress() as progress,
        open_workbench(folder, overrides=settings or [], progress=progress) as bench,
    ):
        place = (level, round_ or 0) if level is not None else next_round(bench)
        results = [play_round(bench, level=place[0], round=place[1], until=until)] if place is not None else []
        over = next_round(bench) is None
    _show(folder, results, over=over, as_json=as_json)


def _check_placed(level: int | None, round_: int | None) -> None:
    if level is None and round_ is not None:
        raise typer.BadParameter("--round says which round at a level, so it needs --level.")


def _give(folder: Path, source: str, *, round_: int) -> None:
    from rrm.given_completions import give_completions
    from rrm.run_folder import open_run_folder

    with open_run_folder(folder) as opened:
        found = give_completions(opened.run, opened.task, source, round=round_)
    typer.echo(found.text(), err=True)


def _work_everywhere(folder: Path, *, settings: list[str] | None, as_json: bool) -> None:
    from rrm.joint import took_part
    from rrm.opening import open_workbench
    from rrm.orders import leading
    from rrm.rounds import climb, next_round

    if took_part(folder, overrides=settings or []):
        return
    with (
        leading(),
        RichProgress() as progress,
        open_workbench(folder, overrides=settings or [], progress=progress) as bench,
    ):
        results = climb(bench)
        over = next_round(bench) is None
    _show(folder, results, over=over, as_json=as_json)


def _decide(folder: Path, *, promoted: bool, settings: list[str] | None, as_json: bool) -> None:
    from rrm.opening import open_workbench
    from rrm.rounds import decide, next_round

    with open_workbench(folder, overrides=settings or []) as bench:
        level, round_ = _undecided(bench)
        decide(bench, level=level, round=round_, promoted=promoted)
        over = next_round(bench) is None
    verdict = "promoted" if promoted else "refused"
    text = f"Level {level}, round {round_}: the new agent is {verdict}."
    show(
        {"folder": str(folder), "level": level, "round": round_, "promoted": promoted, "over": over},
        as_json=as_json,
        text=f"{text}\n{rounds_text(folder, [], over=True) if over else f'Go on with: rrm round {folder}'}",
    )


def _undecided(bench: "Workbench") -> tuple[int, int]:
    from rrm.errors import RunError
    from rrm.rounds import next_round

    place = next_round(bench)
    if place is None:
        raise RunError("Every round of this run is over, so no promotion waits for a decision.")
    return place


def _show(folder: Path, results: Sequence["RoundResult"], *, over: bool, as_json: bool) -> None:
    show(rounds_json(folder, results, over=over), as_json=as_json, text=rounds_text(folder, results, over=over))


def _is_over(result: "RoundResult") -> bool:
    """A round that was played up to an earlier step waits for nobody, and is not over."""
    return result.finished and "promote" in result.steps


def _round_text(folder: Path, result: "RoundResult") -> str:
    place = f"Level {result.level}, round {result.round}"
    if result.waiting:
        return f"{place} waits for {result.waiting} judgements. Go on when they are given: rrm round {folder}"
    if result.waiting_for_decision:
        verdict = result.steps["promote"]
        return (
            f"{place} waits for a decision: the new agent won {_percent(verdict.get('win_rate'))} of "
            f"{verdict.get('judgements')} held-out judgements. rrm round {folder} --approve, or --refuse"
        )
    if "promote" in result.steps:
        return f"{place} is over: {_verdict_text(result.steps['promote'])}"
    done = ", ".join(result.steps)
    return f"{place}: done so far are {done}. Go on with: rrm round {folder}"


def _verdict_text(record: Any) -> str:
    beats = "the new agent beats the one before it" if record.get("beats") else "the new agent does not clearly win"
    return (
        f"{beats} ({_percent(record.get('win_rate'))} of {record.get('judgements')} held-out judgements, "
        f"95% interval {_percent(record.get('low'))} to {_percent(record.get('high'))})."
    )


def _percent(value: object) -> str:
    return f"{value:.0%}" if isinstance(value, float) else "none"


def _one_of(*, every: bool, decided: bool, placed: bool) -> None:
    if every + decided + placed > 1:
        raise typer.BadParameter("--all, --approve or --refuse, and --level with --round exclude each other; give one.")
