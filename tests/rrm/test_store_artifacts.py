"""Models are registered with the digests of their files, and promoted by appended decisions."""

import hashlib
from pathlib import Path

import pytest

from reward_models.errors import ArtifactError, InvalidInput
from rrm.errors import RunCorrupt
from rrm.judging.queue import answer, change, draw_many, live_judgements, undo
from rrm.store import (
    Artifact,
    ArtifactKind,
    Choice,
    Purpose,
    Run,
    Stage,
    artifact,
    artifacts,
    decisions,
    judgement_digest,
    promoted_agent,
    promoted_artifact,
    register_artifact,
    set_promoted,
    stale_judgements,
)
from tests.rrm.store_samples import NOON, seconds, small_run


def registered(run: Run, name: str, *, level: int = 0, content: str = "weights", now: str = NOON) -> Artifact:
    folder = run.models / name
    (folder / "tokenizer").mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_text(content)
    (folder / "tokenizer" / "merges.txt").write_text("a b")
    return register_artifact(
        run,
        id=name,
        kind=ArtifactKind.AGENT,
        level=level,
        round=0,
        folder=f"models/{name}",
        settings={"beta": 0.05},
        parents=["base"],
        judgements=live_judgements(run),
        now=now,
    )


def test_registering(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        agent = registered(run, "one")
        assert agent.files == {
            "model.safetensors": hashlib.sha256(b"weights").hexdigest(),
            "tokenizer/merges.txt": hashlib.sha256(b"a b").hexdigest(),
        }
        assert (agent.parents, agent.judgement_digest) == (("base",), None)
        assert registered(run, "one", now=seconds(60)) == agent == artifact(run, "one")
        with pytest.raises(RunCorrupt, match="another files"):
            registered(run, "one", content="others")
        with pytest.raises(ArtifactError, match="no files"):
            register_artifact(
                run, id="x", kind=ArtifactKind.AGENT, level=0, round=0, folder="models/x", settings={}, now=NOON
            )
        with pytest.raises(InvalidInput, match="relative"):
            register_artifact(
                run, id="x", kind=ArtifactKind.AGENT, level=0, round=0, folder="../x", settings={}, now=NOON
            )
        with pytest.raises(InvalidInput, match="no artifact"):
            artifact(run, "x")
        assert artifacts(run, kind=ArtifactKind.AGENT, level=0) == [agent]
        assert artifacts(run, kind=ArtifactKind.REWARD_MODEL) == artifacts(run, level=1) == []


def test_promotion_is_the_last_decision(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:

        def decide(name: str, promoted: bool) -> None:
            number = len(decisions(run))
            set_promoted(
                run, decision_id=f"decision-{number}", artifact_id=name, promoted=promoted, record={"wins": 3}, now=NOON
            )

        first, second = registered(run, "first"), registered(run, "second")
        registered(run, "above", level=1)
        assert promoted_agent(run, 0) is None
        decide("first", True)
        decide("second", False)
        decide("above", True)
        assert promoted_agent(run, 0) == first
        decide("second", True)
        assert promoted_agent(run, 0) == second
        decide("second", False)
        assert promoted_agent(run, 0) == first
        assert promoted_artifact(run, kind=ArtifactKind.REWARD_MODEL, level=0) is None
        assert [(each.artifact_id, each.promoted) for each in decisions(run, level=0)] == [
            ("first", True),
            ("second", False),
            ("second", True),
            ("second", False),
        ]


def test_a_decision_is_made_once(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        registered(run, "one")
        made = set_promoted(run, decision_id="0/0/promote", artifact_id="one", promoted=True, record={}, now=NOON)
        again = set_promoted(
            run, decision_id="0/0/promote", artifact_id="one", promoted=True, record={}, now=seconds(9)
        )
        assert made == again
        with pytest.raises(RunCorrupt, match="never changes"):
            set_promoted(run, decision_id="0/0/promote", artifact_id="one", promoted=False, record={}, now=NOON)
        with pytest.raises(InvalidInput, match="FOREIGN KEY"):
            set_promoted(run, decision_id="other", artifact_id="nothing", promoted=True, record={}, now=NOON)


def test_digest_knows_answers_and_not_times(tmp_path: Path) -> None:
    digests = []
    for name, order, time in (("a", (0, 1, 2), 0), ("b", (2, 0, 1), 99)):
        with small_run(tmp_path / name) as run:
            leased = draw_many(run, rater_id="ann", level=0, round=0, purpose=Purpose.TRAIN, count=3, now=NOON)
            for index in order:
                answer(run, leased[index].lease_id, stage=Stage.ALONE, choice=Choice.TIE, now=seconds(time))
            digests.append(judgement_digest(live_judgements(run)))
            change(run, live_judgements(run)[0].id, choice=Choice.FIRST, now=NOON)
            assert judgement_digest(live_judgements(run)) != digests[-1]
    assert digests[0] == digests[1]
    written = '[["p0","ann","alone","tie"],["p1","ann","alone","tie"],["p2","ann","alone","tie"]]'
    assert digests[0] == hashlib.sha256(written.encode()).hexdigest()


def test_changed_answers_make_a_model_stale(tmp_path: Path) -> None:
    with small_run(tmp_path) as run:
        for each in draw_many(run, rater_id="ann", level=0, round=0, purpose=Purpose.TRAIN, count=3, now=NOON):
            answer(run, each.lease_id, stage=Stage.ALONE, choice=Choice.TIE, now=NOON)
        agent = registered(run, "one")
        assert stale_judgements(run, agent.id) == 0
        change(run, live_judgements(run)[0].id, choice=Choice.FIRST, now=NOON)
        undo(run, rater_id="ann", now=NOON, judgement_id=live_judgements(run)[0].id)
        assert stale_judgements(run, agent.id) == 2
