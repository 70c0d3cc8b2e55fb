"""A run's agents and reward models at work on text of one's own."""

from pathlib import Path

import pytest

from reward_models.errors import InvalidInput
from rrm.errors import RunError
from rrm.own_text import generate, score
from rrm.starting import start_run
from rrm.store import Run, decisions, set_promoted, utc_now
from tests.rrm.small_runs import SMALL

LOG = "Day 1, early shift.\n#1 fire, pump 3. The crew was there.\n#2 jam, tank 1. It was seen."


def promote(folder: Path, *, level: int, promoted: bool) -> None:
    """Let a later decision stand above what the run decided."""
    with Run.open(folder) as run:
        taken = len(decisions(run))
        set_promoted(
            run,
            decision_id=f"by-hand-{taken}",
            artifact_id=f"agent-{level}-0",
            promoted=promoted,
            record={},
            now=utc_now(),
        )


def test_briefs_come_in_order_and_follow_from_the_seed(finished: Path) -> None:
    texts = [LOG, "Die Pumpe läuft wieder."]
    found = generate(finished, texts, level=0, count=3, seed=1)
    assert [one.text for one in found] == texts
    assert [len(one.completions) for one in found] == [3, 3]
    assert generate(finished, texts, level=0, count=3, seed=1) == found
    assert [one.completions for one in generate(finished, texts, level=0, count=3, seed=2)] != [
        one.completions for one in found
    ]


def test_the_agent_that_stands_at_the_level_writes(copied: Path) -> None:
    promote(copied, level=1, promoted=True)
    (written,) = generate(copied, [LOG], level=1, count=1, seed=0)
    assert written.agent == "agent-1-0"
    start_run(copied.with_name("new"), SMALL)
    (first,) = generate(copied.with_name("new"), [LOG], level=1, count=1, seed=0)
    assert first.agent == "base"


def test_a_score_belongs_to_its_completion(finished: Path) -> None:
    completions = ["#1 fire", "#2 explosion\n#3 fire", "Nothing that reads as a claim."]
    together = score(finished, LOG, completions, level=0)
    assert [one.completion for one in together] == completions
    for one in together:
        (alone,) = score(finished, LOG, [one.completion], level=0)
        assert (alone.mean, alone.spread) == pytest.approx((one.mean, one.spread), rel=1e-4, abs=1e-4)
        # The configured reward is `lower` with 0.5: mean - 0.5 spread.
        assert one.conservative == pytest.approx(one.mean - 0.5 * one.spread, rel=1e-5)
        assert one.spread >= 0.0


def test_levels_have_reward_models_of_their_own(finished: Path) -> None:
    means = [score(finished, LOG, ["#1 fire"], level=level)[0].mean for level in (0, 1)]
    assert means[0] != means[1]


def test_a_level_without_a_reward_model_is_named(tmp_path: Path) -> None:
    start_run(tmp_path / "run", SMALL)
    with pytest.raises(RunError, match="Level 0 has no reward model yet"):
        score(tmp_path / "run", LOG, ["#1 fire"], level=0)


def test_what_is_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="Text 2 of 2 is empty"):
        generate(tmp_path, [LOG, " \n"], level=0, count=1, seed=0)
    with pytest.raises(InvalidInput, match="Text 1 of 1 is empty"):
        score(tmp_path, "", ["#1 fire"], level=0)
    with pytest.raises(InvalidInput, match="no completion"):
        score(tmp_path, LOG, [], level=0)


def test_nothing_is_written_at_a_level_that_is_not_there(finished: Path) -> None:
    with pytest.raises(InvalidInput, match="There is no level 9; this run has the levels 0 to"):
        generate(finished, [LOG], level=9, count=1, seed=0)
