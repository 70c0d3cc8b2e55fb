"""The documentation says what the code does, and its links lead somewhere."""

import importlib.util
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.main import get_command

from rrm.config import section_models
from rrm.store import Run
from ui.cli import app

LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
SQL = re.compile(r"^```sql\n(.*?)^```", re.MULTILINE | re.DOTALL)
SKIPPED = {".venv", ".cache", "runs", "build", "node_modules"}


@pytest.fixture(scope="module")
def generator(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", repository / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pages(root: Path) -> list[Path]:
    found = (path for path in root.rglob("*.md") if not SKIPPED & set(path.relative_to(root).parts))
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(root).parts))


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings make: lower case, punctuation dropped, blanks as hyphens."""
    headings = re.findall(r"^#+ +(.+)$", FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def dead_links(page: Path) -> list[str]:
    dead = []
    for link in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
        target, _, anchor = link.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        file = page if not target else page.parent / target
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            dead.append(link)
    return dead


def test_the_generated_pages_are_up_to_date(generator: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert generator.main(["--check"]) == 0, capsys.readouterr().err


def test_a_stale_page_is_noticed(generator: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "DOCS", tmp_path)
    assert generator.main(["--check"]) == 1
    assert generator.main(["--write"]) == 0
    assert generator.main(["--check"]) == 0
    (tmp_path / "commands.md").write_text("out of date")
    assert generator.main(["--check"]) == 1


def test_every_command_and_option_is_documented(repository: Path) -> None:
    page = (repository / "docs" / "commands.md").read_text("utf-8")
    group: Any = get_command(app)
    for name, command in group.commands.items():
        assert f"\n## rrm {name}\n" in page
        section = page.split(f"\n## rrm {name}\n")[1].split("\n## ")[0]
        for parameter in command.params:
            assert (parameter.help or "").strip(), f"rrm {name}: {parameter.name} has no help text"
            assert all(option in section for option in parameter.opts if option.startswith("-"))


def test_every_setting_is_documented(repository: Path) -> None:
    page = (repository / "docs" / "configuration.md").read_text("utf-8")
    for name, model in section_models().items():
        section = page.split(f"\n## [{name}]\n")[1].split("\n## ")[0]
        for key, field in model.model_fields.items():
            assert f"| `{key}` |" in section
            assert field.description and field.description in section


def test_every_table_of_a_run_is_documented(repository: Path, tmp_path: Path) -> None:
    Run.create(tmp_path, seed=0, configuration={}, now="2026-01-02T12:00:00Z").close()
    page = (repository / "docs" / "run-folder.md").read_text("utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    with closing(sqlite3.connect(tmp_path / "run.db")) as connection:
        kept = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'"
        assert sorted(listed) == sorted(name for (name,) in connection.execute(kept))
        examples = SQL.findall(page)
        assert len(examples) >= 5
        for example in examples:
            connection.execute(example)


def test_links_lead_somewhere(repository: Path) -> None:
    found = pages(repository)
    assert repository / "README.md" in found
    dead = {str(page.relative_to(repository)): links for page in found if (links := dead_links(page))}
    assert not dead


def test_a_dead_link_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A heading\n[good](#a-heading) [here](page.md) [gone](missing.md) [no](page.md#nowhere)\n")
    assert dead_links(page) == ["missing.md", "page.md#nowhere"]
