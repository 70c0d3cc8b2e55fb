"""A run taken away: what comes out is what went in, and what is private stays."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from peft import PeftConfig, PeftModel
from transformers import AutoModelForCausalLM

from reward_models.preference_data import read_preferences
from rrm.errors import RunError
from rrm.import_report import ImportReport
from rrm.importing import import_preferences, read_judgements
from rrm.opening import open_workbench
from rrm.people.accounts import Role, add_account
from rrm.people.sign_ins import sign_in
from rrm.progress import SilentProgress
from rrm.rounds import play_round
from rrm.starting_own import OwnMaterial
from rrm.store import Run, Stage, live_judgements
from rrm.store.canonical import sha256_text
from rrm.taking_away.database import PRIVATE, write_database
from rrm.taking_away.export import export_run
from rrm.taking_away.preferences import ANSWERS, TIES, preference_rows, write_preferences
from rrm.tasks.document import Document
from rrm.tasks.own_text import OwnText
from rrm.tasks.task import Split
from tests.rrm.own_runs import MODEL, preference_lines, start
from tests.rrm.store_samples import NOON

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
NO_TASK = OwnText({}, name="prompts", levels=1)
PASSWORD = "correct horse battery"


def filled(folder: Path, source: Path) -> Run:
    """A run with nothing but imported answers."""
    run = Run.create(folder, seed=0, configuration={}, now=NOON)
    import_preferences(run, NO_TASK, source, now=NOON, progress=SilentProgress())
    return run


def said(rows: Iterable[dict[str, object]]) -> Counter[tuple[object, ...]]:
    """What rows say, whichever side a text stands on and however a tie is ordered."""
    found: Counter[tuple[object, ...]] = Counter()
    for row in rows:
        if "chosen" in row:
            texts: tuple[object, ...] = (row["chosen"], row["rejected"], 1)
        else:
            texts = (*sorted((str(row["first"]), str(row["second"]))), 0.5)
        found[(row["prompt"], *texts, row["rater"], row["group"], row["comment"], row["purpose"])] += 1
    return found


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Answers of three raters about four prompts in two groups, with ties, comments and a strength."""
    lines: list[dict[str, object]] = []
    for n in range(12):
        one: dict[str, object] = {
            "prompt": f"Prompt {n % 4}?",
            "rater": f"rater {n // 4}",
            "group": f"g{n % 2}",
            "id": f"row-{n}",
        }
        better = {"chosen": f"good {n % 4} <b>&", "rejected": f"bad {n % 4}", "comment": f"because {n}", "strength": 2}
        alike = {"first": f"good {n % 4} <b>&", "second": f"bad {n % 4}", "label": 0.5}
        lines.append(one | (alike if n % 5 == 0 else better))
    return preference_lines(lines, tmp_path / "rows.jsonl")


def test_what_comes_out_and_in_again_is_equal(rows: Path, tmp_path: Path) -> None:
    first = filled(tmp_path / "first", rows)
    written = write_preferences(first, tmp_path / "out")
    assert (written.preferences, written.ties) == (9, 3)
    second = filled(tmp_path / "second", tmp_path / "out")
    assert said(preference_rows(second)) == said(preference_rows(first))
    assert sum(said(preference_rows(first)).values()) == 12
    write_preferences(second, tmp_path / "again")
    for name in (ANSWERS, TIES):
        assert sorted(_texts_of(tmp_path / "out" / name)) == sorted(_texts_of(tmp_path / "again" / name))


def test_human_judgements_come_out_and_in_again_equal(shared_data: Path, tmp_path: Path) -> None:
    first = filled(tmp_path / "first", shared_data / "preferences" / "squality-humaneval.jsonl.gz")
    write_preferences(first, tmp_path / "out")
    second = filled(tmp_path / "second", tmp_path / "out")
    assert said(preference_rows(second)) == said(preference_rows(first))
    assert len(live_judgements(second)) == len(live_judgements(first)) > 800


def test_a_run_knows_what_it_exported(copied: Path, tmp_path: Path) -> None:
    """All levels, rounds and purposes, at whatever level its own answers are given to it again."""
    with open_workbench(copied) as bench:
        written = write_preferences(bench.run, tmp_path / "out")
        before = len(live_judgements(bench.run, repeats=True))
        for level in (0, 1):
            found = import_preferences(
                bench.run, bench.task, tmp_path / "out", now=NOON, progress=SilentProgress(), level=level
            )
            assert (found.judgements, found.refused) == (0, ())
            assert found.known == found.read.given == written.preferences + written.ties > 0
            assert found.train == sum(row["purpose"] == "train" for row in preference_rows(bench.run))
        assert len(live_judgements(bench.run, repeats=True)) == before


def test_levels_come_out_and_in_again_each_by_its_own_name(tmp_path: Path) -> None:
    task = OwnText({}, name="documents", levels=2)
    first, second = (Run.create(tmp_path / name, seed=0, configuration={}, now=NOON) for name in ("first", "second"))

    def bring(run: Run, source: Path, level: int) -> ImportReport:
        return import_preferences(run, task, source, now=NOON, progress=SilentProgress(), level=level)

    for level, count in ((0, 2), (1, 6)):
        rows: list[dict[str, object]] = [
            {"prompt": f"Prompt {level}.{n}?", "chosen": "a", "rejected": "b", "rater": "ann"} for n in range(count)
        ]
        bring(first, preference_lines(rows, tmp_path / "rows.jsonl"), level)
    write_preferences(first, tmp_path / "out")
    found = [bring(second, tmp_path / "out", level) for level in (0, 1, 0)]
    refused = (("it is of level 1, and this import is for level 0; import again with --level 1", 6),)
    # What is there by its name is known, whatever level is asked for.
    assert [(one.judgements, one.known, one.refused) for one in found] == [(2, 0, refused), (6, 2, ()), (0, 8, ())]
    assert said(preference_rows(second)) == said(preference_rows(first))
    assert Counter(row["level"] for row in preference_rows(second)) == {0: 2, 1: 6}


def test_a_document_that_was_read_by_its_parts_is_the_same_one_again(tmp_path: Path) -> None:
    """The prompt of such an answer is no text of the task; its document is named beside it."""
    leaf = Document(id="leaf", title="leaf", text="Some words.")
    tree = Document(id="tree", title="tree", text="Some words. And more.", parts=(leaf,))
    task = OwnText({Split.VALIDATION: [tree]}, name="documents", levels=2)
    row: dict[str, object] = {"prompt": "A brief.", "chosen": "a", "rejected": "b", "group": "tree", "rater": "ann"}
    run = Run.create(tmp_path / "run", seed=0, configuration={}, now=NOON)
    rows = preference_lines([row | {"judgement": "j1", "level": 1}], tmp_path / "rows.jsonl")
    import_preferences(run, task, rows, now=NOON, progress=SilentProgress(), level=1)
    (again,) = preference_rows(run)
    assert {name: again[name] for name in row} == row
    assert (again["document"], again["level"], again["purpose"]) == ("tree", 1, "validation")


def test_both_bad_comes_out_and_in_again(tmp_path: Path) -> None:
    pair: dict[str, object] = {"prompt": "Why?", "first": "a", "second": "b", "label": 0.5}
    words = ("both_bad", "tie")
    rows = [pair | {"choice": word, "rater": f"rater of {word}"} for word in words]
    first = filled(tmp_path / "first", preference_lines(rows, tmp_path / "rows.jsonl"))
    write_preferences(first, tmp_path / "out")
    second = filled(tmp_path / "second", tmp_path / "out")
    said_so = {one.rater_id: one.choice.value for one in live_judgements(second)}
    assert said_so == {f"imported-rater of {word}": word for word in words}


def test_other_tools_read_chosen_and_rejected_and_never_a_tie(rows: Path, tmp_path: Path) -> None:
    run = filled(tmp_path / "run", rows)
    write_preferences(run, tmp_path / "out")
    found = read_preferences(tmp_path / "out" / ANSWERS, generator=torch.Generator().manual_seed(0))
    assert found.report.rejected == 0
    assert set(found.dataset["label"]) <= {0.0, 1.0}
    assert found.report.ties == 0


def test_the_database_for_others_opens_anywhere_and_has_no_accounts(tmp_path: Path, rows: Path) -> None:
    run = filled(tmp_path / "run", rows)
    person = add_account(run, name="Lena Lead", password=PASSWORD, role=Role.LEAD, now=NOON)
    token = sign_in(run, person, NOON)
    write_database(run, tmp_path / "out" / "run.db")
    data = (tmp_path / "out" / "run.db").read_bytes()
    with closing(sqlite3.connect(tmp_path / "out" / "run.db")) as database:
        names = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        answers = database.execute("SELECT count(*) FROM judgements_readable").fetchone()
        hits = database.execute("SELECT count(*) FROM texts_fts WHERE texts_fts MATCH 'good'").fetchone()
    with closing(sqlite3.connect(run.folder / "run.db")) as own:
        secrets = [value for (value,) in own.execute("SELECT password FROM accounts")]
    assert names.isdisjoint(PRIVATE)
    assert answers == (12,) and hits == (4,)
    assert secrets and all(str(secret).encode() not in data for secret in secrets)
    assert token.encode() not in data and sha256_text(token).encode() not in data
    described = json.loads((tmp_path / "out" / "metadata.json").read_text())["databases"]["run"]["tables"]
    assert set(described) <= names


def test_a_whole_run_comes_out_with_models_that_others_load(finished: Path, tmp_path: Path) -> None:
    with open_workbench(finished, exclusive=False) as bench:
        found = export_run(bench, tmp_path / "out")
        judged = len(live_judgements(bench.run))
        shown = len((tmp_path / "out" / "judgements.jsonl").read_text(encoding="utf-8").splitlines())
        rows = list(preference_rows(bench.run))
        last = next(one for one in reversed(found.models) if one.folder.startswith("agents"))
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / last.folder)
        same = bench.weights(last.id).model.state_dict()
    assert shown >= judged > len(rows) == found.answers.preferences + found.answers.ties
    assert read_judgements(tmp_path / "out", seed=0).report.given == len(rows)
    assert {row["stage"] for row in rows} == {Stage.ALONE.value, Stage.AIDED.value}
    assert all(torch.equal(value, same[name]) for name, value in model.state_dict().items())
    for one in found.models:
        card = ModelCard.load(tmp_path / "out" / one.folder / "README.md")
        assert card.data.to_dict()["base_model"] == "base" and str(finished) not in card.content
    assert {one.folder.split("/")[0] for one in found.models} == {"agents", "reward-models"}
    assert not list(tmp_path.glob(".*partial"))


def test_an_export_never_writes_over_anything(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with open_workbench(finished, exclusive=False) as bench, pytest.raises(RunError, match="holds something already"):
        export_run(bench, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_an_export_goes_to_the_folder_that_a_link_names_and_not_where_one_stands(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    with open_workbench(finished, exclusive=False) as bench:
        monkeypatch.chdir(tmp_path / "out")
        with pytest.raises(RunError, match="cannot be the one that you are in"):
            export_run(bench, Path())
        monkeypatch.chdir(tmp_path)
        export_run(bench, Path("link"), models=False)
    assert (tmp_path / "out" / "README.md").is_file() and (tmp_path / "link").is_symlink()


def _texts_of(path: Path) -> list[str]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [json.dumps({name: row[name] for name in row.keys() & _SAME}, sort_keys=True) for row in rows]


_SAME = {"prompt", "chosen", "rejected", "label", "rater", "group", "id", "comment", "strength", "level", "purpose"}


def test_adapters_come_out_as_peft_knows_them(tmp_path: Path) -> None:
    """Reward members and the agent, each on the base that was brought, loaded by peft alone."""
    source = tmp_path / "prompts.txt"
    source.write_text("\n".join(f"#{n} fire, pump {n}. Seen." for n in range(12)), encoding="utf-8")
    settings = ("reward.kind=lora", "reward.lora_rank=2", "reward.epochs=1", "agent.weights=lora", "agent.lora_rank=2")
    start(tmp_path / "run", OwnMaterial(model=str(MODEL), prompts=str(source)), *settings, "agent.lora_alpha=6")
    with open_workbench(tmp_path / "run") as bench:
        play_round(bench, level=0, round=0, until="optimise")
        found = export_run(bench, tmp_path / "out")
        agent = bench.weights("agent-0-0")
        tokens = torch.tensor([[*agent.encode_prompt("#1 fire")]])
        with torch.no_grad(), agent.active() as model:
            expected = model(tokens).logits
    assert [one.id for one in found.models] == ["reward-model-0-0", "agent-0-0"]
    members = tmp_path / "out" / "reward-models" / "reward-model-0-0" / "members"
    assert {path.name for path in members.iterdir()} == {"0", "1"}
    for member in members.iterdir():
        assert PeftConfig.from_pretrained(member).task_type == "SEQ_CLS"
    folder = tmp_path / "out" / "agents" / "agent-0-0"
    config = PeftConfig.from_pretrained(folder)
    assert (config.r, config.lora_alpha) == (2, 6)
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(MODEL), folder).eval()
    with torch.no_grad():
        assert torch.allclose(loaded(tokens).logits, expected, atol=1e-5)
