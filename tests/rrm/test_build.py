"""Building the base model: its curriculum and its loss by hand, and a build of a few steps."""

import json
import math
from collections import Counter
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.policy import Policy
from reward_models.errors import NonFinite
from rrm.progress import SilentProgress
from rrm.tasks.shiftlog import build
from rrm.tasks.shiftlog.build import BaseCard, build_base, card_text
from rrm.tasks.shiftlog.language import read_claims
from rrm.tasks.shiftlog.task import Shiftlog
from rrm.tasks.shiftlog.tokens import train_tokenizer
from rrm.tasks.shiftlog.world import document_generator, write_document

STEPS = 2000


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches and measurements of a build of a few seconds."""
    monkeypatch.setattr(build, "train_tokenizer", partial(train_tokenizer, documents=20))
    monkeypatch.setattr(build, "BATCHES", {0: (2, 2), 1: (2, 2), 2: (1, 2)})
    monkeypatch.setattr(build, "MEASURED_DOCUMENTS", 3)
    monkeypatch.setattr(build, "MAX_NEW_TOKENS", 6)


def test_copying_comes_first_at_all_levels_in_turn() -> None:
    assert [build._curriculum(step, STEPS) for step in range(4)] == [(0, 1.0), (1, 1.0), (2, 1.0), (0, 1.0)]
    copied = Counter(build._curriculum(step, STEPS) for step in range(600))
    assert copied == {(0, 1.0): 200, (1, 1.0): 200, (2, 1.0): 200}


def test_the_longest_logs_come_twice_as_often_and_copying_ends() -> None:
    """After 600 steps of copying a fifth of what is learned is copied until step 0.7 x 2,000 = 1,400."""
    later = [build._curriculum(step, STEPS) for step in range(600, STEPS)]
    assert Counter(level for level, _ in later) == {0: 350, 1: 350, 2: 700}
    assert {copying for _, copying in later[:800]} == {0.2}
    assert {copying for _, copying in later[800:]} == {0.0}


def test_the_ends_of_the_learning_rate() -> None:
    """A thirtieth at the first step, all of it from the thirtieth on; a cosine from step 600 down to a fiftieth."""
    top = build.LEARNING_RATE
    rates = [build._learning_rate(step, STEPS) for step in range(STEPS)]
    assert rates[0] == pytest.approx(top / 30)
    assert rates[29:601] == [pytest.approx(top)] * 572
    # Half-way, at step 600 + 700, the cosine is 0: 0.02 + 0.98 / 2 = 0.51.
    assert rates[1300] == pytest.approx(0.51 * top)
    assert rates[-1] == pytest.approx(0.02 * top, rel=1e-3)
    assert all(earlier >= later for earlier, later in pairwise(rates[29:]))


def test_the_loss_is_the_mean_surprise_of_what_counts() -> None:
    """Two tokens count: one of probability 1/2 among (0, 0) and one of 3/4 among (log 3, 0): (log 2 + log 4/3) / 2."""
    third = math.log(3.0)
    logits = torch.tensor([[[0.0, 0.0], [third, 0.0]], [[9.0, 0.0], [0.0, 9.0]]])
    tokens = torch.tensor([[1, 0], [1, 0]])
    mask = torch.tensor([[True, True], [False, False]])
    expected = (math.log(2.0) + math.log(4.0 / 3.0)) / 2.0
    assert float(build._imitation_loss(logits, tokens, mask)) == pytest.approx(expected)
    # What the mask leaves out moves nothing.
    again = build._imitation_loss(logits + 5.0 * torch.rand(2, 2, 1), tokens, mask)
    assert float(again) == pytest.approx(expected, abs=1e-5)


def test_a_copied_list_is_a_sparse_part_of_the_log() -> None:
    """Of 30 x 36 = 1,080 entries a share of 0.3 is copied, with a standard error of sqrt(0.21 / 1080) = 0.014."""
    generator, copied = np.random.default_rng(0), 0
    for index in range(30):
        draws = document_generator(seed=0, split="seen", level=2, index=index)
        _, entries = write_document(generator=draws, height=2, id="seen")
        claims = read_claims(build._demonstration(entries, level=2, copying=1.0, generator=generator))
        facts = [(str(entry.number), entry.event) for entry in entries]
        assert [claim for claim in facts if claim in claims] == claims
        copied += len(claims)
    assert copied / 1080 == pytest.approx(0.3, abs=0.06)


@pytest.mark.usefixtures("small")
def test_a_batch_is_prompts_and_what_is_learned_of_them() -> None:
    tokenizer = train_tokenizer(seed=0, documents=20)
    prompts, tokens, mask = build._batch(tokenizer, seed=0, step=5, level=0, copying=0.0)
    assert len(prompts) == 2
    assert tokens.shape == mask.shape == (4, int(mask.sum(dim=1).max()))
    for row in range(4):
        count = int(mask[row].sum())
        assert mask[row, :count].all()
        # Each brief ends with the token that ends it, which is learned as well.
        assert tokens[row, count - 1] == tokenizer.eos_token_id
        document = str(tokenizer.decode(prompts[row // 2]))
        assert document.endswith("\nBrief:\n")
        numbers = {number for number, _ in read_claims(document)}
        assert {number for number, _ in read_claims(str(tokenizer.decode(tokens[row, : count - 1])))} <= numbers
    again = build._batch(tokenizer, seed=0, step=5, level=0, copying=0.0)
    assert prompts == again[0] and torch.equal(tokens, again[1])
    assert prompts != build._batch(tokenizer, seed=0, step=6, level=0, copying=0.0)[0]


@pytest.mark.usefixtures("small")
def test_a_build_leaves_a_folder_that_loads_and_a_card(tmp_path: Path) -> None:
    built = [build_base(tmp_path / name, seed=3, progress=SilentProgress(), steps=4) for name in ("one", "two")]
    policy = Policy.load(tmp_path / "one")
    assert sum(parameter.numel() for parameter in policy.model.parameters()) == built[0].parameters
    task = Shiftlog(seed=0)
    assert policy.encode_prompt(task.prompt(task.document(split=build.Split.TEST, level=0, index=0)))
    weights = [Policy.load(tmp_path / name).model.state_dict() for name in ("one", "two")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    written = (tmp_path / "one" / "README.md").read_text("utf-8")
    assert written == card_text(built[0])
    assert "`rrm build-base --seed 3` in 4 steps" in written
    assert f"{built[0].parameters:,} parameters" in written
    measured = json.loads((tmp_path / "one" / "measured.json").read_text())
    assert [one["level"] for one in measured["levels"]] == [0, 1, 2]
    assert measured["levels"] == json.loads(json.dumps([dict(one) for one in built[1].levels]))
    assert json.loads(json.dumps(built[0].to_json()))["folder"] == str(tmp_path / "one")


@pytest.mark.usefixtures("small")
def test_a_loss_that_is_no_number_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "LEARNING_RATE", math.inf)
    with pytest.raises(NonFinite, match="nothing was written"):
        build_base(tmp_path / "base", seed=0, progress=SilentProgress(), steps=3)
    assert not (tmp_path / "base").exists()


def test_the_card_has_a_row_a_level() -> None:
    row = {"level": 0, "invented": 0.25, "gold": -0.5, "claims": 2.0}
    levels = tuple(
        {**row, **{f"demonstrators_{name}": value for name, value in row.items()}, "level": level}
        for level in (0, 1, 2)
    )
    card = BaseCard(folder=Path("base"), seed=1, steps=10, seconds=120.0, parameters=1234567, levels=levels)
    text = card_text(card)
    assert "1,234,567 parameters" in text and "(2 minutes," in text
    assert "| 2 | 0.250 | 0.250 | -0.50 | -0.50 | 2.0 | 2.0 |" in text
