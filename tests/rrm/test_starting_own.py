"""Runs of one's own begin: what is chosen by itself, what is refused, and that refusals leave nothing behind."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from agents.policy import Policy
from reward_models.errors import ArtifactError, InvalidInput, RrmError
from rrm import starting_own
from rrm.config_file import read_config
from rrm.errors import ConfigurationError
from rrm.preparing import reader
from rrm.progress import SilentProgress
from rrm.run_folder import open_run_folder
from rrm.starting import start_run
from rrm.starting_own import OwnMaterial, start_own_run
from rrm.store import documents, live_judgements
from rrm.tasks.own_text import OwnText
from rrm.tasks.task import Split
from rrm.texts.prompts import read_prompts
from tests.rrm.own_runs import MODEL, SMALL, own_configuration, preference_lines, start, stories_file


def test_documents_make_a_run_whose_texts_and_guidelines_lie_in_it(tmp_path: Path) -> None:
    rules = tmp_path / "rules.md"
    rules.write_text("# Prefer what is *short*.", encoding="utf-8")
    source = stories_file(tmp_path / "stories.jsonl", sentences=24)
    material = OwnMaterial(model=str(MODEL), documents=str(source), guidelines=rules)
    started = start(tmp_path / "run", material, "run.levels=2", "text.leaf_tokens=200")
    assert started.prepared.report.read == 5
    # 666 tokens a story are two trees of up to four parts each.
    assert sum(sizes[1] for sizes in started.prepared.sizes.values()) == 10
    assert started.config.agent.weights == "full"
    source.unlink()
    rules.unlink()
    with open_run_folder(tmp_path / "run") as opened:
        assert opened.task.guidelines(0) == "# Prefer what is *short*."
        assert opened.task.document(split=Split.TRAIN, level=1, index=0).text
        assert opened.config == read_config(tmp_path / "run" / "run.toml") == started.config


def test_prompts_that_the_model_cannot_read_are_counted_and_left_out(tmp_path: Path) -> None:
    lines = ["Say hello.", "Say hello.", "", "word " * 2000, *(f"Count to {n}." for n in range(9))]
    (tmp_path / "prompts.txt").write_text("\n".join(lines), encoding="utf-8")
    started = start(tmp_path / "run", OwnMaterial(model=str(MODEL), prompts=str(tmp_path / "prompts.txt")))
    report = started.prepared.report
    # An empty line of a text file is no prompt, so that twelve were given.
    assert (report.given, report.read, report.rejected) == (12, 10, 2)
    assert dict(report.rejected_by_kind) == {"longer than the model reads": 1, "said before": 1}
    assert started.config.run.levels == 1


def test_preferences_bring_their_prompts_and_their_answers(tmp_path: Path) -> None:
    rows = [{"prompt": f"Ask {n}?", "chosen": "yes", "rejected": f"no {n}", "rater": "ann"} for n in range(30)]
    source = preference_lines([*rows, {"prompt": " ", "chosen": "a", "rejected": "b"}], tmp_path / "rows.jsonl")
    started = start(tmp_path / "run", OwnMaterial(model=str(MODEL), preferences=str(source)))
    assert started.imported is not None
    with open_run_folder(tmp_path / "run") as opened:
        assert len(live_judgements(opened.run)) == started.imported.judgements == 31
        task = opened.task
        assert isinstance(task, OwnText)
        # The prompts that agents are trained on are those whose judgements are learned from.
        train = {
            task.document(split=Split.TRAIN, level=0, index=n).id for n in range(task.size(split=Split.TRAIN, level=0))
        }
        assert {one.id for one in documents(opened.run, split="train") if one.task == "prompts"} == train
    assert started.prepared.report.read == 30


def test_the_encoding_of_old_files_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_bytes("\n".join(f"Café {n}?" for n in range(9)).encode("latin-1"))
    material = OwnMaterial(model=str(MODEL), prompts=str(tmp_path / "prompts.txt"))
    with pytest.raises(ArtifactError, match=r"no text in UTF-8.*name its encoding \(--encoding\)"):
        start(tmp_path / "run", material)
    start(tmp_path / "run", replace(material, encoding="latin-1"))
    with open_run_folder(tmp_path / "run") as opened:
        assert opened.task.document(split=Split.TRAIN, level=0, index=0).text.startswith("Café ")
    old = tmp_path / "rows.csv"
    old.write_bytes(("prompt,chosen,rejected\n" + "".join(f"Café {n}?,oui,non\n" for n in range(9))).encode("latin-1"))
    begun = start(tmp_path / "votes", OwnMaterial(model=str(MODEL), preferences=str(old), encoding="latin-1"))
    assert begun.imported is not None and begun.imported.judgements == 9


def test_a_large_model_is_trained_by_adapters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting_own, "LARGE", 1000)
    (tmp_path / "prompts.txt").write_text("\n".join(f"Say {n}." for n in range(9)), encoding="utf-8")
    material = OwnMaterial(model=str(MODEL), prompts=str(tmp_path / "prompts.txt"))
    started = start(tmp_path / "adapters", material)
    assert (started.config.agent.weights, started.config.agent.learning_rate) == ("lora", 1e-4)
    assert start(tmp_path / "whole", material, "agent.weights=full").config.agent.weights == "full"


@pytest.mark.parametrize(
    ("name", "content", "kind", "said"),
    [
        ("none.txt", None, ArtifactError, "none.txt"),
        ("empty.txt", "", ArtifactError, "no prompt|no row|no text"),
        ("binary.txt", b"\x00\xff\xfe\x81", ArtifactError, "binary.txt"),
        ("two.txt", "one\n", ConfigurationError, "too little text: .*give at least two different prompts"),
    ],
)
def test_what_cannot_be_read_is_named_and_nothing_is_left(
    tmp_path: Path, name: str, content: str | bytes | None, kind: type[RrmError], said: str
) -> None:
    source = tmp_path / name
    if content is not None:
        source.write_bytes(content.encode() if isinstance(content, str) else content)
    material = OwnMaterial(model=str(MODEL), prompts=str(source))
    with pytest.raises(kind, match=said):
        start_own_run(tmp_path / "run", material, SMALL, progress=SilentProgress())
    assert not (tmp_path / "run").exists()


def test_what_a_chat_template_says_takes_room_from_the_text(tmp_path: Path) -> None:
    """600 words of a system message leave a model of 1,024 tokens less than half of them for a prompt."""
    shutil.copytree(MODEL, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    tokenizer.chat_template = "be " * 600 + "{% for one in messages %}{{ one.content }}{% endfor %}"
    tokenizer.save_pretrained(tmp_path / "model")
    base = {"base": str(tmp_path / "model")}
    plain, chat = (reader(own_configuration(model=base | {"chat": chat})) for chat in ("off", "auto"))
    assert plain.room is not None and chat.room is not None
    assert plain.room - chat.room >= 600
    policy = Policy.load(tmp_path / "model", chat=True)
    longest = max((text for n in range(600) if chat.fits(text := "fire " * n)), key=len)
    assert len(policy.encode_prompt(longest)) + own_configuration().sampling.max_new_tokens <= 1024


def test_levels_that_the_text_was_not_cut_for_are_refused(tmp_path: Path) -> None:
    source = stories_file(tmp_path / "stories.jsonl", sentences=24)
    start(
        tmp_path / "run", OwnMaterial(model=str(MODEL), documents=str(source)), "run.levels=2", "text.leaf_tokens=200"
    )
    said = "run.levels is 3, but the text of this run was cut for 2 levels"
    with pytest.raises(ConfigurationError, match=said), open_run_folder(tmp_path / "run", overrides=["run.levels=3"]):
        pass


def test_a_line_of_prompts_ends_where_a_line_ends_and_holds_text(tmp_path: Path) -> None:
    """Python takes ten characters for the end of a line; a prompt keeps all of them but the usual ones."""
    lines = ["one\u2028and\x0ctwo\x85three", "four\r", "no\x00text", "five"]
    (tmp_path / "prompts.txt").write_bytes("\n".join(lines).encode())
    found, report = read_prompts(tmp_path / "prompts.txt", fits=lambda _: True)
    assert [one.text for one in found] == [lines[0], "four", "five"]
    assert dict(report.rejected_by_kind) == {"not text": 1}


def test_a_model_that_is_none_is_named_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="stories"):
        start(tmp_path / "run", OwnMaterial(model=str(tmp_path / "stories"), prompts=str(_one_line(tmp_path))))
    assert not (tmp_path / "run").exists()


def test_a_run_is_about_one_kind_of_text() -> None:
    with pytest.raises(InvalidInput, match="documents and prompts came"):
        OwnMaterial(model="m", documents="a", prompts="b")
    with pytest.raises(InvalidInput, match="none of them came"):
        OwnMaterial(model="m")


def _one_line(folder: Path) -> Path:
    path = folder / "one.txt"
    path.write_text("only this", encoding="utf-8")
    return path


def test_what_keeps_all_judgements_from_being_read_is_said(tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("question,good,bad\n" + "".join(f"Ask {n}?,yes,no\n" for n in range(30)), encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"none of the 30 rows of .*rows.csv can be read as a judgement; .*chosen"):
        start(tmp_path / "run", OwnMaterial(model=str(MODEL), preferences=str(table)))
    unsure: list[dict[str, object]] = [
        {"prompt": f"Ask {n}?", "first": "yes", "second": "no", "label": 0.7} for n in range(30)
    ]
    source = preference_lines(unsure, tmp_path / "unsure.jsonl")
    with pytest.raises(ArtifactError, match=r"unsure.jsonl is an answer that a run can keep; of the first, .* 0.7"):
        start(tmp_path / "run", OwnMaterial(model=str(MODEL), preferences=str(source)))
    assert not (tmp_path / "run").exists()


def test_a_column_goes_with_texts_and_not_with_judgements() -> None:
    with pytest.raises(InvalidInput, match=r"column 'question' came with preferences.*Rename them"):
        OwnMaterial(model="m", preferences="rows.csv", column="question")


def test_guidelines_that_are_no_text_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    rules = tmp_path / "rules.md"
    rules.write_bytes("Préfère ce qui est court.".encode("latin-1"))
    material = OwnMaterial(model=str(MODEL), preferences=str(_rows_file(tmp_path)), guidelines=rules)
    with pytest.raises(ConfigurationError, match=r"rules.md cannot be read as UTF-8 text .* save them as UTF-8"):
        start(tmp_path / "run", material)
    with pytest.raises(ConfigurationError, match="cannot be read as UTF-8 text"):
        start_run(tmp_path / "run", guidelines=rules)
    assert {path.name for path in tmp_path.iterdir()} == {"rules.md", "rows.jsonl"}


def _rows_file(folder: Path) -> Path:
    rows: list[dict[str, object]] = [{"prompt": f"Ask {n}?", "chosen": "a", "rejected": "b"} for n in range(30)]
    return preference_lines(rows, folder / "rows.jsonl")
