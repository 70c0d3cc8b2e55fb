"""The shape of the house: four floors, every room opens, and nothing is ever unpickled."""

import ast
import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = ("ui", "rrm", "agents", "reward_models")
UNPICKLING_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNPICKLING_CALLS = {"torch.load", "torch.save", "pandas.read_pickle", "pd.read_pickle", "numpy.save", "np.save"}


def linted(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter with the repository's contract on the packages below `folder`."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()", "--no-cache"]
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def source_files(root: Path) -> list[Path]:
    return [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]


def module_names(root: Path) -> list[str]:
    found = pkgutil.walk_packages([str(root)], onerror=lambda name: None)
    return sorted(module.name for module in found if module.name.split(".")[0] in PACKAGES)


def unpickling(source: str) -> list[str]:
    """Every import or call in a source text that reads or writes pickled objects."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names if name.name.split(".")[0] in UNPICKLING_MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in UNPICKLING_MODULES:
            found.append(str(node.module))
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in UNPICKLING_CALLS:
            found.append(ast.unparse(node))
    return found


def test_imports_go_down_only(repository: Path) -> None:
    result = linted(repository)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "KEPT" in result.stdout


def test_an_upward_import_is_noticed(repository: Path, tmp_path: Path) -> None:
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
    (tmp_path / "pyproject.toml").write_text((repository / "pyproject.toml").read_text())
    assert linted(tmp_path).returncode == 0
    (tmp_path / "reward_models" / "__init__.py").write_text("import rrm\n")
    result = linted(tmp_path)
    assert result.returncode == 1
    assert "reward_models is not allowed to import rrm" in result.stdout


@pytest.mark.parametrize("package", PACKAGES)
def test_the_packages_are_ours(package: str, repository: Path) -> None:
    """Another distribution installs a package called `agents`; with both, one would hide the other."""
    found = importlib.import_module(package).__file__
    assert found is not None
    assert Path(found).resolve() == (repository / package / "__init__.py").resolve()


def test_every_folder_with_code_is_a_package(repository: Path) -> None:
    missing = {path.parent for path in source_files(repository) if not (path.parent / "__init__.py").is_file()}
    assert not missing


def test_every_module_imports(repository: Path) -> None:
    names = module_names(repository)
    assert set(PACKAGES) <= set(names)
    for name in names:
        importlib.import_module(name)


def test_nothing_is_unpickled(repository: Path) -> None:
    found = {str(path): names for path in source_files(repository) if (names := unpickling(path.read_text("utf-8")))}
    assert not found


@pytest.mark.parametrize(
    "source", ["import pickle", "from dill import loads", "import torch\ntorch.load('x')", "import joblib as j"]
)
def test_unpickling_is_recognised(source: str) -> None:
    assert unpickling(source)
