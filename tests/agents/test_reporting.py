"""Reports read back from what TensorBoard's writer wrote, and what is said where nothing can be reported."""

from dataclasses import replace
from pathlib import Path

import pytest
from accelerate import tracking
from tensorboardX.proto.event_pb2 import Event

from agents.objectives.rloo import RLOO
from agents.regularizer import FixedPenalty
from agents.reporting import Reporter, plain_settings, scalars, tracker_names
from agents.training import StepRecord, TrainSettings, train
from reward_models.errors import InvalidInput
from tests.agents.enumerable import world
from tests.agents.objective_contract import EveryCompletion

RECORD = StepRecord(
    step=7,
    reward=2.0,
    kl=3.0,
    beta=0.5,
    entropy=1.25,
    mean_tokens=9.0,
    distinct=0.75,
    gradient_norm=0.25,
    seconds=1.5,
    measures={"clip_share": 0.125},
)


def events(folder: Path) -> dict[tuple[str, int], float]:
    """(name, step) to value: TensorFlow records are a length of 8 bytes, 4 of a check, the event, 4 of a check."""
    found: dict[tuple[str, int], float] = {}
    for path in folder.glob("events.*"):
        data = path.read_bytes()
        while data:
            size = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + size])
            found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
            data = data[16 + size :]
    return found


def test_a_record_under_the_names_of_the_field() -> None:
    """Reward 2, KL 3 at 0.5 a nat: the price is 1.5, and 0.5 is what is maximised. Without gold there is none."""
    assert scalars(RECORD) == {
        "objective/scores": 2.0,
        "objective/kl": 3.0,
        "objective/kl_coef": 0.5,
        "objective/non_score_reward": -1.5,
        "objective/rlhf_reward": 0.5,
        "objective/entropy": 1.25,
        "completions/mean_length": 9.0,
        "completions/distinct": 0.75,
        "policy/gradient_norm": 0.25,
        "time/step": 1.5,
        "policy/clip_share": 0.125,
    }
    assert scalars(replace(RECORD, gold=4.0))["objective/gold"] == 4.0


def test_tensorboard_has_every_step_of_a_training(every_completion: EveryCompletion, tmp_path: Path) -> None:
    small = world(every_completion)
    settings = TrainSettings(steps=3, learning_rate=1e-3)
    with Reporter("tensorboard", tmp_path, "run", {"agent": settings, "seed": 1}) as reporter:
        records = train(
            small.reference.copy(),
            small.reference,
            source=small.source(group=8),
            objective=RLOO(),
            regularizer=FixedPenalty(0.1),
            settings=settings,
            seed=0,
            on_step=reporter.on_step,
        )
    written = events(tmp_path / "run")
    expected = {(name, record.step): value for record in records for name, value in scalars(record).items()}
    assert len(expected) >= 30
    assert {key: written[key] for key in expected} == pytest.approx(expected, rel=1e-6)
    stored = [path.read_text() for path in (tmp_path / "run").rglob("hparams.yml")]
    assert len(stored) == 1 and "agent.learning_rate: 0.001" in stored[0] and "seed: 1" in stored[0]


def test_none_writes_nothing(tmp_path: Path) -> None:
    for nothing in ("none", [], ["none"]):
        with Reporter(nothing, tmp_path / "reports", "run", {"seed": 1}) as reporter:
            reporter.on_step(RECORD)
    assert list(tmp_path.iterdir()) == []


def test_closing_twice_is_closing_once(tmp_path: Path) -> None:
    reporter = Reporter(["tensorboard", "tensorboard"], tmp_path, "run")
    reporter.on_step(RECORD)
    reporter.close()
    reporter.close()
    assert events(tmp_path / "run")["objective/kl", 7] == 3.0


def test_all_are_those_installed() -> None:
    assert "tensorboard" in tracker_names("all")
    assert tracker_names(["tensorboard", "tensorboard"]) == ("tensorboard",)


def test_unknown_names_are_refused_with_those_there_are(tmp_path: Path) -> None:
    for unknown in ("tensorbord", ["tensorboard", "carrier pigeon"], ["none", "tensorboard"]):
        with pytest.raises(InvalidInput, match=r"'none', 'all' or any of .*tensorboard.*wandb"):
            Reporter(unknown, tmp_path, "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "package"), [("wandb", "wandb"), ("tensorboard", "tensorboardX")])
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, name: str, package: str) -> None:
    monkeypatch.setattr(tracking, "_available_trackers", [])
    with pytest.raises(InvalidInput, match=f"pip install {package}"):
        Reporter(name, "reports", "run")


def test_settings_become_one_flat_table() -> None:
    nested = {"agent": {"beta": 0.1, "limit": None, "train": FixedPenalty(0.5)}, "folder": Path("a"), "on": True}
    assert plain_settings(nested) == {
        "agent.beta": 0.1,
        "agent.limit": "None",
        "agent.train.beta": 0.5,
        "folder": "a",
        "on": True,
    }
