"""Looking at a run without changing it."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from ui import failures
from ui.commands.shared import AsJson, RunFolder, show

if TYPE_CHECKING:
    from rrm.status import Status


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.command()(status)
    app.command()(verify)


def status(folder: RunFolder, as_json: AsJson = False) -> None:
    """Show where a run stands: what is done, at work or failed, and how many judgements it still needs."""
    from rrm.status import status as look

    found = look(folder)
    show(found.to_json(), as_json=as_json, text=_status_text(found))


def verify(folder: RunFolder, as_json: AsJson = False) -> None:
    """Check that a run is whole: the database, each text, the chain of judgements, each model file.

    Leaves with exit code 1 and names the first wrong thing if it is not.
    """
    from rrm.store.verify import verify as check

    findings = check(folder)
    if as_json:
        typer.echo(json.dumps({"whole": not findings, "findings": [asdict(finding) for finding in findings]}, indent=2))
    elif not findings:
        typer.echo(f"{folder} is whole: its database, texts, judgements and model files are what they were.")
    else:
        others = f" ({len(findings) - 1} more: `--json` lists all)" if len(findings) > 1 else ""
        failures.report(f"{folder} is not whole: {findings[0].message}{others}")
    if findings:
        raise typer.Exit(failures.FAILED)


def _status_text(found: "Status") -> str:
    if not found.started:
        return f"{found.folder} is configured (seed {found.seed}) and not started. Go on with: rrm round {found.folder}"
    lines = [f"{found.folder}, seed {found.seed}", "", "level  round  step                  status"]
    for step in found.steps:
        remark = {"running": f" (last sign of life {step.heartbeat_at})", "failed": f": {step.error}"}
        lines.append(f"{step.level:5}  {step.round:5}  {step.name:20}  {step.status}{remark.get(step.status, '')}")
    if found.judgements:
        lines += ["", "level  round  judgements            given"]
    for count in found.judgements:
        kind = f"{count.purpose}, {count.stage}"
        asked = f" of {count.needed}" if count.needed else ""
        lines.append(f"{count.level:5}  {count.round:5}  {kind:20}  {count.given}{asked}")
    if found.missing_judgements:
        lines += ["", f"It waits for {found.missing_judgements} judgements."]
    return "\n".join(lines)
