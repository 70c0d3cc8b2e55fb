"""The configuration on disk: read `run.toml`, lay flags on top, write it with its sentences as comments."""

import difflib
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rrm.config import Configuration, section_models
from rrm.errors import ConfigurationError


def read_config(path: Path, overrides: Sequence[str] = ()) -> Configuration:
    """Read a `run.toml` and lay overrides such as `agent.steps=40` on top.

    Keys that the file leaves out have their defaults. Raises ConfigurationError, in one sentence that names the file
    or flag, for a file that is missing or no TOML, an unknown key (with the nearest known one) or an impossible value.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigurationError(f"there is no configuration {path}; `rrm init` writes one") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML ({error}); correct that line") from error
    return configure(_overlaid(values, overrides), source=str(path))


def default_config(overrides: Sequence[str] = ()) -> Configuration:
    """The defaults with overrides such as `agent.steps=40` on top."""
    return configure(_overlaid({}, overrides), source="the flags")


def configure(values: Mapping[str, Any], *, source: str) -> Configuration:
    """Validate nested values; raises ConfigurationError in one sentence per fault, naming `source`."""
    try:
        return Configuration.model_validate(dict(values))
    except ValidationError as error:
        faults = "; ".join(_explain(dict(fault)) for fault in error.errors())
        raise ConfigurationError(f"in {source}: {faults}") from error


def write_config(path: Path, config: Configuration | None = None) -> None:
    """Write a commented TOML file, whole or not at all (a temporary file beside it, then a rename)."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(config_text(config or Configuration()))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def config_text(config: Configuration) -> str:
    """The configuration as TOML; above each key stands the sentence that describes it."""
    lines = ["# The configuration of this run. Flags such as `--set agent.steps=40` go on top of it."]
    for name, model in section_models().items():
        lines += ["", f"[{name}]  # {model.__doc__}"]
        values = getattr(config, name)
        for key, field in model.model_fields.items():
            value = getattr(values, key)
            entry = f"# {key} = ..." if value is None else f"{key} = {toml_value(value)}"
            lines += [f"# {field.description}", entry]
    return "\n".join(lines) + "\n"


def toml_value(value: object) -> str:
    """One value as TOML. Its strings are those of JSON without surrogate pairs and with DEL escaped."""
    if isinstance(value, tuple | list):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, bool | int | float | str):
        return json.dumps(value, allow_nan=False, ensure_ascii=False).replace("\x7f", "\\u007f")
    raise ConfigurationError(f"{value!r} is a {type(value).__name__}, which a configuration cannot hold")


def _overlaid(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    for override in overrides:
        dotted, equals, text = override.partition("=")
        section, dot, key = dotted.strip().partition(".")
        if not (equals and dot and key):
            raise ConfigurationError(f"--set got {override!r}, but a setting is written section.key=value")
        if not isinstance(values.setdefault(section, {}), dict):
            raise ConfigurationError(f"{section} is not a section, so {dotted.strip()} cannot be set")
        values[section][key] = _flag_value(text.strip())
    return values


def _flag_value(text: str) -> Any:
    """A flag's value: TOML where it is TOML, so that 3, 0.1, true and ["a"] keep their type, else plain text."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if set(parsed) == {"value"} else text


def _explain(fault: dict[str, Any]) -> str:
    """One fault that pydantic found, as a clause that says what came, what was expected and what to do."""
    location = [str(part) for part in fault["loc"]]
    if fault["type"] == "extra_forbidden":
        return _unknown(location)
    expected = str(fault["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    sections = section_models()
    if len(location) < 2:
        return f"[{location[0]}]: {expected}" if location else expected
    field = sections[location[0]].model_fields.get(location[1])
    meaning = f" ({field.description.rstrip('.')})" if field is not None and field.description else ""
    return f"{'.'.join(location)} is {_shown(fault['input'])}, but {expected}{meaning}"


def _shown(value: object) -> str:
    return json.dumps(value, default=str)


def _unknown(location: list[str]) -> str:
    """An unknown key, and the known one that was probably meant: in its section first, then anywhere."""
    sections = section_models()
    if len(location) == 1:
        near = difflib.get_close_matches(location[0], sections, n=1)
        homes = [name for name, model in sections.items() if location[0] in model.model_fields]
        if homes:
            return f"{location[0]} stands outside of its section; write it under [{homes[0]}]"
        advice = f"did you mean [{near[0]}]?" if near else f"the sections are {', '.join(sections)}"
        return f"unknown section [{location[0]}]; {advice}"
    section, key = location[0], location[1]
    homes = [name for name, model in sections.items() if key in model.model_fields]
    if homes:
        return f"unknown key {section}.{key}; did you mean {homes[0]}.{key}?"
    known = {f"{name}.{other}": other for name, model in sections.items() for other in model.model_fields}
    here = difflib.get_close_matches(key, sections[section].model_fields, n=1)
    anywhere = difflib.get_close_matches(key, known.values(), n=1)
    if here:
        return f"unknown key {section}.{key}; did you mean {section}.{here[0]}?"
    if anywhere:
        meant = next(dotted for dotted, other in known.items() if other == anywhere[0])
        return f"unknown key {section}.{key}; did you mean {meant}?"
    return f"unknown key {section}.{key}; [{section}] has {', '.join(sections[section].model_fields)}"
