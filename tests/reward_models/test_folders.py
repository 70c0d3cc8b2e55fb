from pathlib import Path

import pytest

from reward_models.errors import ArtifactError
from reward_models.folders import read_config, whole_folder, write_config


def test_a_folder_appears_when_the_block_has_ended(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "one"
    with whole_folder(folder, what="it") as partial:
        (partial / "below").mkdir()
        (partial / "below" / "file").write_text("new")
        assert not folder.exists()
    assert (folder / "below" / "file").read_text() == "new"
    assert [path.name for path in folder.parent.iterdir()] == ["one"]


def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    for text in ("old", "new"):
        try:
            with whole_folder(folder, what="it") as partial:
                (partial / "file").write_text(text)
                if text == "new":
                    raise KeyError("halfway")
        except KeyError:
            pass
    assert (folder / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_disk_that_refuses_the_name_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with whole_folder(tmp_path / "one", what="it") as partial:
        (partial / "file").write_text("old")
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path.name.endswith(".partial"):
            raise OSError("no space")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(ArtifactError, match="no space"), whole_folder(tmp_path / "one", what="it"):
        pass
    assert (tmp_path / "one" / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_what_was_there_is_replaced_whole(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with whole_folder(tmp_path / "one", what="it") as partial:
            (partial / name).touch()
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["second"]
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_disk_that_refuses_is_named_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(ArtifactError, match=r"^could not save the thing to .*file/one: .*check the disk"),
        whole_folder(tmp_path / "file" / "one", what="the thing"),
    ):
        pass
    # One folder inside another: the first message is the one that is heard.
    with (
        pytest.raises(ArtifactError, match=r"^could not save the inner"),
        whole_folder(tmp_path / "outer", what="the outer"),
        whole_folder(tmp_path / "file" / "one", what="the inner"),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_config_comes_back_if_its_version_is_known(tmp_path: Path) -> None:
    write_config(tmp_path, {"format_version": 3, "value": [1, None]})
    assert read_config(tmp_path, version=3, writer="us") == {"format_version": 3, "value": [1, None]}
    with pytest.raises(ArtifactError, match="format version 3, expected 4; give a folder that us wrote"):
        read_config(tmp_path, version=4, writer="us")
    with pytest.raises(ValueError, match="JSON"):
        write_config(tmp_path, {"value": float("nan")})
