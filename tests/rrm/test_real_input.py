"""The main job on things that none of us wrote: human votes, and a pretrained model that writes stories."""

import gzip
import json
from pathlib import Path

import pytest
import torch

from agents.rollout import rollout
from reward_models.intervals import paired_difference
from rrm.importing import import_preferences
from rrm.judging.taste import liked_words
from rrm.opening import open_workbench
from rrm.progress import SilentProgress
from rrm.prompting import prompts_of
from rrm.rounds import play_round
from rrm.starting_own import OwnMaterial, start_own_run
from rrm.store import Run, step_key, step_result
from rrm.taking_away.export import export_run
from rrm.taking_away.preferences import preference_rows
from rrm.tasks.own_text import OwnText
from rrm.tasks.task import Split
from tests.rrm.store_samples import NOON

TASTE = ("she", "her", "mom", "girl", "lily", "mommy")
"""Stories about girls and their mothers."""
EVERY = 40
"""Of the 16,927 argument pairs every fortieth, from all 32 topics."""


def test_human_votes_are_imported_fitted_exported_and_imported_again_equal(shared_data: Path, tmp_path: Path) -> None:
    """ukpconvarg1: five people say which of two arguments convinces more; whole topics are held out."""
    source = tmp_path / "votes.jsonl"
    with gzip.open(shared_data / "preferences" / "ukpconvarg1.jsonl.gz", "rt", encoding="utf-8") as file:
        source.write_text("".join(line for number, line in enumerate(file) if number % EVERY == 0), encoding="utf-8")
    given = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    material = OwnMaterial(model=str(shared_data / "models" / "stories260k"), preferences=str(source))
    started = start_own_run(tmp_path / "run", material, ["run.threads=1"], progress=SilentProgress())
    assert started.imported is not None
    votes = sum(len(row["votes"]) for row in given)
    assert started.imported.read.given == votes
    assert started.imported.judgements == started.imported.read.read - sum(n for _, n in started.imported.refused)
    with open_workbench(tmp_path / "run") as bench:
        play_round(bench, level=0, round=0, until="fit")
        result = step_result(bench.run, step_key(level=0, round=0, name="fit"))
        assert result is not None
        held_out = result["held_out"]
        assert isinstance(held_out, dict)
        # Five folds of logistic regression on length alone give 0.734 of majorities; one vote agrees with the majority
        # of the others 0.775 of the time. Single votes of unseen topics lie below both.
        assert held_out["comparisons"] > 200
        assert held_out["accuracy"] > 0.62
        assert held_out["ece"] < 0.1
        export_run(bench, tmp_path / "out")
        first = sorted(_said(row) for row in preference_rows(bench.run))
    with Run.create(tmp_path / "again", seed=0, configuration={}, now=NOON) as again:
        nothing = OwnText({}, name="prompts", levels=1)
        out = tmp_path / "out" / "preferences"
        import_preferences(again, nothing, out, now=NOON, progress=SilentProgress())
        assert sorted(_said(row) for row in preference_rows(again)) == first
    assert len(first) > 1900


@pytest.fixture(scope="module")
def openings(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first twelve words of stories, each once."""
    lines = (shared_data / "prompts" / "tinystories.jsonl").read_text(encoding="utf-8").splitlines()
    texts = dict.fromkeys(" ".join(json.loads(line)["text"].split()[:12]) for line in lines)
    path = tmp_path_factory.mktemp("openings") / "openings.txt"
    path.write_text("\n".join(texts), encoding="utf-8")
    return path


def test_a_story_model_learns_a_taste_within_its_budget_and_still_writes_stories(
    shared_data: Path, openings: Path, tmp_path: Path
) -> None:
    """A small case of `benchmarks.own_stories`: 200 comparisons by the stated taste, ten nats a story."""
    settings = [
        "run.threads=1", "judging.rater=taste", f"judging.taste={json.dumps(TASTE)}",
        "judging.judgements_per_round=200", "judging.validation_judgements=24", "judging.promotion_judgements=8",
        "sampling.train_documents=80", "sampling.validation_documents=10", "sampling.test_documents=40",
        "sampling.max_new_tokens=50", "agent.budget=10", "agent.steps=10", "agent.prompts_per_step=6", "agent.group=6",
        "agent.learning_rate=0.0005", "agent.beta=0.2", "agent.bf16=false",
    ]  # fmt: skip
    material = OwnMaterial(model=str(shared_data / "models" / "stories260k"), prompts=str(openings))
    start_own_run(tmp_path / "run", material, settings, progress=SilentProgress())
    with open_workbench(tmp_path / "run") as bench:
        play_round(bench, level=0, round=0, until="optimise")
        prompts = prompts_of(bench, bench.documents(split=Split.TEST, level=0, count=40))
        likes: dict[str, torch.Tensor] = {}
        surprise: dict[str, float] = {}
        kl = 0.0
        for agent in ("base", "agent-0-0"):
            found = rollout(
                bench.policy(agent),
                bench.base,
                prompts,
                group=4,
                max_new_tokens=50,
                generator=bench.generator("measure"),
            )
            counts = [liked_words(text, TASTE) for text in found.samples.completions]
            likes[agent] = torch.tensor(counts, dtype=torch.float64).reshape(-1, 4).mean(dim=1)
            surprise[agent] = -float(found.reference.log_probabilities.sum() / found.samples.mask.sum())
            kl = max(kl, float(found.kl.sum(dim=1).max()))
    gain = paired_difference(likes["agent-0-0"], likes["base"], generator=torch.Generator().manual_seed(0))
    assert gain.low > 0, gain
    # The exact KL of every single story, summed over its tokens, and never more than the budget.
    assert 1 < kl <= 10 + 1e-3
    # Nats a token under the base: a story that the base would not have written is no story of its own kind.
    assert surprise["agent-0-0"] < surprise["base"] + 0.5


def _said(row: dict[str, object]) -> str:
    names = ("prompt", "chosen", "rejected", "label", "rater", "group", "id", "comment")
    return json.dumps({name: row.get(name) for name in names})
