"""Write the two reference pages from the code: `commands.md` from the Typer app, `configuration.md` from the models.

python docs/generate.py --write     after a change of a command, an option or a setting
python docs/generate.py --check     exit code 1 if a page is not what the code says (part of `make lint`)
"""

import inspect
import sys
from pathlib import Path
from typing import Any, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from typer.main import get_command

from rrm.config import section_models
from rrm.config_file import toml_value
from ui.cli import app

DOCS = Path(__file__).parent
GENERATED = "<!-- Written by docs/generate.py; change the code, then run `python docs/generate.py --write`. -->"


def commands_page() -> str:
    """Every command with its arguments and options."""
    group: Any = get_command(app)
    lines = ["# Commands", "", GENERATED, "", _paragraphs(group.help), "", _paragraphs(group.epilog), ""]
    lines += [f"- [`rrm {name}`](#rrm-{name}): {_first_sentence(command)}" for name, command in group.commands.items()]
    for name, command in group.commands.items():
        lines += ["", f"## rrm {name}", "", _paragraphs(command.help), ""]
        arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
        usage = " ".join(["rrm", name, *(_usage(argument) for argument in arguments), "[OPTIONS]"])
        lines += [f"    {usage}", "", "| | meaning | default |", "|---|---|---|"]
        lines += [_parameter_row(parameter) for parameter in command.params]
        lines += ["| `--help` | Explain the command and leave. | |"]
    return "\n".join(lines) + "\n"


def configuration_page() -> str:
    """Every section and key of `run.toml` with its default and its limits."""
    lines = [
        "# Configuration",
        "",
        GENERATED,
        "",
        "A run has one configuration, the file `run.toml` in its folder; `rrm init` writes it with these sentences as",
        "comments. A key that is left out has its default, an unknown one is refused. Flags go on top, for any key",
        "`--set section.key=value`.",
    ]
    for name, model in section_models().items():
        lines += ["", f"## [{name}]", "", inspect.getdoc(model) or "", "", "| key | default | allowed | meaning |"]
        lines += ["|---|---|---|---|"]
        for key, field in model.model_fields.items():
            default = "" if field.default is None else f"`{toml_value(field.default)}`"
            lines.append(f"| `{key}` | {default} | {_allowed(field)} | {field.description} |")
    return "\n".join(lines) + "\n"


def _paragraphs(text: str | None) -> str:
    return inspect.cleandoc(text or "").replace("\f", "")


def _first_sentence(command: Any) -> str:
    return _paragraphs(command.help).split("\n\n")[0].replace("\n", " ")


def _usage(argument: Any) -> str:
    return str(argument.make_metavar(None)) if argument.metavar is None else str(argument.metavar)


def _parameter_row(parameter: Any) -> str:
    is_option = parameter.param_type_name == "option"
    names = ", ".join(parameter.opts + parameter.secondary_opts) if is_option else _usage(parameter)
    value = f" {parameter.metavar}" if is_option and parameter.metavar else ""
    shown = parameter.default if isinstance(parameter.default, int | float | str | Path) else None
    default = "" if shown is None or isinstance(shown, bool) else f"`{shown}`"
    meaning = " ".join((parameter.help or "").split()).replace("|", "\\|")
    return f"| `{names}{value}` | {meaning} | {default} |"


def _allowed(field: Any) -> str:
    """The type or the choices, and the limits."""
    kind, bounds = field.annotation, list(field.metadata)
    if get_origin(kind) is not None and str in {type(choice) for choice in get_args(kind)}:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    words = {"int": "whole number", "float": "number", "bool": "`true` or `false`"}
    named = [words[inner.__name__] for inner in (kind, *get_args(kind)) if getattr(inner, "__name__", "") in words]
    signs = {Ge: ("≥", "ge"), Gt: ("&gt;", "gt"), Le: ("≤", "le"), Lt: ("&lt;", "lt")}
    for bound in bounds:
        if type(bound) in signs:
            sign, attribute = signs[type(bound)]
            named.append(f"{sign} {getattr(bound, attribute)}")
        elif isinstance(bound, MinLen):
            named.append(f"list of names, at least {bound.min_length}")
    return ", ".join(named)


def main(arguments: list[str]) -> int:
    """Write or check both pages; returns the exit code."""
    if arguments not in (["--write"], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    stale = []
    for name, page in (("commands.md", commands_page()), ("configuration.md", configuration_page())):
        path = DOCS / name
        if arguments == ["--write"]:
            path.write_text(page, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != page:
            stale.append(f"docs/{name}")
    if stale:
        print(f"{', '.join(stale)}: not what the code says; run `python docs/generate.py --write`.", file=sys.stderr)
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
