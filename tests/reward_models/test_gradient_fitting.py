"""The loop over gradients, on members simple enough to know what must come out."""

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from reward_models.backbone import Encoded
from reward_models.errors import ArtifactError, InvalidInput, NonFinite
from reward_models.fit_checkpoint import load_checkpoint, save_checkpoint
from reward_models.fit_plan import GradientSettings, make_plan
from reward_models.gradient_fitting import GradientFit, GradientStep, fit_members
from reward_models.pairs import EncodedPairs

SETTINGS = GradientSettings(epochs=4, batch_size=8, learning_rate=0.05, checkpoint_every=3)


@dataclass(frozen=True, eq=False)
class WordMembers:
    """Members that score a text by the sum of a weight per token: logistic regression on counts."""

    weights: Tensor

    @property
    def members(self) -> int:
        return self.weights.shape[0]

    def parameters(self) -> dict[str, Tensor]:
        return {"weights": self.weights}

    def raw_scores(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        return torch.stack([self.weights[:, list(row)].sum(dim=1) for row in tokens], dim=1)


def words(members: int = 3, *, seed: int = 0) -> WordMembers:
    return WordMembers(0.1 * torch.randn(members, 6, generator=torch.Generator().manual_seed(seed)))


def comparisons(count: int = 60, *, seed: int = 1) -> EncodedPairs:
    """Texts over six words of which word 0 is good and word 1 bad; labels follow Bradley-Terry with slope 1."""
    generator = torch.Generator().manual_seed(seed)
    texts = torch.randint(6, (2, count, 5), generator=generator)
    gold = (texts == 0).sum(dim=2) - (texts == 1).sum(dim=2)
    labels = torch.bernoulli(torch.sigmoid(2.0 * (gold[0] - gold[1]).double()), generator=generator)
    sides = [Encoded(tokens=tuple(tuple(row) for row in side.tolist()), cut=0) for side in texts]
    return EncodedPairs(
        first=sides[0],
        second=sides[1],
        labels=labels,
        weights=torch.ones(count, dtype=torch.float64),
        groups=torch.arange(count) // 2,
    )


def fitted(
    members: WordMembers | None = None,
    pairs: EncodedPairs | None = None,
    *,
    settings: GradientSettings = SETTINGS,
    seed: int = 2,
    checkpoint: Path | None = None,
) -> tuple[WordMembers, GradientFit]:
    members, pairs = members or words(), pairs or comparisons()
    generator = torch.Generator().manual_seed(seed)
    return members, fit_members(members, pairs, settings=settings, generator=generator, checkpoint=checkpoint)


def test_one_step_computed_by_hand() -> None:
    """One comparison of word 0 against word 1, weights w = (w0, w1), label 1: loss = log(1 + exp(-(w0 - w1))).

    Its gradient is (-s, s) with s = sigmoid(-(w0 - w1)) > 0, and the first step of AdamW is the learning rate times the
    sign of the gradient. So one step moves w0 up and w1 down by the rate, 0.05, and no other weight at all.
    """
    side = [Encoded(tokens=((word,), (word,)), cut=0) for word in (0, 1)]
    pairs = EncodedPairs(side[0], side[1], labels=torch.ones(2), weights=torch.ones(2))
    settings = GradientSettings(
        epochs=1, batch_size=2, learning_rate=0.05, centring=0.0, held_out_share=0.0, bootstrap=False
    )
    before = words().weights.clone()
    members, fit = fitted(pairs=pairs, settings=settings)
    moved = (members.weights - before).detach()
    expected = torch.tensor([0.05, -0.05, 0.0, 0.0, 0.0, 0.0]).expand(3, -1)
    torch.testing.assert_close(moved, expected, rtol=0.0, atol=1e-6)
    # Every member's mean over the four training completions, of which two are word 0 and two word 1.
    torch.testing.assert_close(fit.offsets, members.weights[:, :2].mean(dim=1).detach(), rtol=0.0, atol=1e-6)
    assert (fit.temperature, fit.record.held_out_before, fit.record.steps) == (1.0, None, 1)


def test_the_rate_falls_linearly_to_zero() -> None:
    """As above with four steps of so small a rate that the gradient stays: 1 + 3/4 + 2/4 + 1/4 = 2.5 rates in all."""
    side = [Encoded(tokens=((word,), (word,)), cut=0) for word in (0, 1)]
    pairs = EncodedPairs(side[0], side[1], labels=torch.ones(2), weights=torch.ones(2))
    settings = GradientSettings(
        epochs=4, batch_size=2, learning_rate=1e-4, centring=0.0, held_out_share=0.0, bootstrap=False
    )
    members, _ = fitted(pairs=pairs, settings=settings)
    moved = (members.weights - words().weights).detach()
    torch.testing.assert_close(moved[:, :2], 2.5e-4 * torch.tensor([[1.0, -1.0]] * 3), rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("centring", [0.0, 0.5])
def test_the_reported_loss_is_the_bradley_terry_loss_with_margin_and_weights(centring: float) -> None:
    """Two comparisons of word 0 against word 1 with d = 2, weights 3 and 1, a margin of 1 on the second, label 1 and 0.

    Weights are in units of their mean, 2: loss = (3/2 l1 + 1/2 l2) / 2 with l1 = log(1 + e^-2), and for the second
    -log sigmoid(-2 - 1) = log(1 + e^3). Scores 1.5 and -0.5 have the sum 1, which centring squares and weighs.
    """
    side = [Encoded(tokens=((word,), (word,)), cut=0) for word in (0, 1)]
    pairs = EncodedPairs(
        side[0],
        side[1],
        labels=torch.tensor([1.0, 0.0]),
        weights=torch.tensor([3.0, 1.0]),
        margins=torch.tensor([0.0, 1.0]),
    )
    members = WordMembers(torch.tensor([[1.5, -0.5, 0.0, 0.0, 0.0, 0.0]]))
    seen: list[GradientStep] = []
    settings = GradientSettings(epochs=1, batch_size=2, centring=centring, held_out_share=0.0, bootstrap=False)
    fit_members(members, pairs, settings=settings, generator=torch.Generator().manual_seed(0), on_step=seen.append)
    first, second = math.log1p(math.exp(-2.0)), math.log1p(math.exp(3.0))
    expected = (1.5 * first + 0.5 * second) / 2.0 + centring * (1.5 + 0.5) / 2.0
    assert seen[0].losses == (pytest.approx(expected, abs=1e-6),)


def test_the_reported_loss_is_softened_for_rater_errors() -> None:
    # d = 0 either way: p' = 0.9 x 0.5 + 0.05 = 0.5. With d = 100 and label 0: p'(second) = 0.05.
    side = [Encoded(tokens=((word,), (word,)), cut=0) for word in (0, 1)]
    pairs = EncodedPairs(side[0], side[1], labels=torch.zeros(2), weights=torch.ones(2))
    members = WordMembers(torch.tensor([[100.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.0] * 6]))
    seen: list[GradientStep] = []
    settings = GradientSettings(
        epochs=1, batch_size=2, centring=0.0, held_out_share=0.0, bootstrap=False, rater_error=0.1
    )
    fit_members(members, pairs, settings=settings, generator=torch.Generator().manual_seed(0), on_step=seen.append)
    assert seen[0].losses == (pytest.approx(-math.log(0.05), abs=1e-5), pytest.approx(math.log(2.0), abs=1e-6))


def test_gold_preferences_are_learned_and_the_other_words_are_not() -> None:
    members, fit = fitted(pairs=comparisons(400), settings=replace(SETTINGS, epochs=6))
    mean = members.weights.mean(dim=0).detach()
    # Centring aside, only differences of words are determined; gold is (1, -1, 0, 0, 0, 0) times 2.
    assert (mean[0] - mean[2:]).min().item() > 1.0
    assert (mean[2:] - mean[1]).min().item() > 1.0
    assert mean[2:].std().item() < 0.5
    record = fit.record
    assert record.held_out_before is not None and record.held_out_after is not None
    assert record.held_out_after.accuracy > 0.7
    assert record.held_out_after.loss <= record.held_out_before.loss + 1e-9
    assert record.held_out_before.loss == pytest.approx(min(record.held_out_losses))
    assert json.loads(json.dumps(asdict(record)))["members"] == 3


def test_members_are_as_they_would_be_alone() -> None:
    """Trained beside others, a member has the weights that it has when the others are replaced by something else."""
    settings = replace(SETTINGS, patience=10, held_out_share=0.0)
    together, _ = fitted(settings=settings)
    other = words()
    other.weights[1:] = torch.randn(2, 6, generator=torch.Generator().manual_seed(9))
    changed, _ = fitted(other, settings=settings)
    assert torch.equal(together.weights[0], changed.weights[0])
    assert not torch.equal(together.weights[1], changed.weights[1])


def test_swapping_all_sides_and_labels_changes_nothing() -> None:
    pairs = comparisons()
    turned = replace(pairs, first=pairs.second, second=pairs.first, labels=1.0 - pairs.labels)
    one, _ = fitted(pairs=pairs)
    other, _ = fitted(pairs=turned)
    torch.testing.assert_close(one.weights, other.weights, rtol=1e-4, atol=1e-5)


def test_every_member_is_centred_on_the_training_completions() -> None:
    pairs = comparisons()
    pairs = replace(pairs, weights=torch.arange(60.0).double() % 3)
    members, fit = fitted(pairs=pairs)
    plan = make_plan(3, pairs, settings=SETTINGS, generator=torch.Generator().manual_seed(2))
    rows = pairs.rows(plan.train.tolist())
    scores = members.raw_scores(rows.first + rows.second).detach() - fit.offsets[:, None]
    assert (scores.double() @ pairs.weights[plan.train].repeat(2)).abs().max().item() < 1e-3


def test_the_best_weights_are_put_back(tmp_path: Path) -> None:
    """With a huge rate the later passes are worse, the fit stops, and what it keeps is the best pass."""
    settings = replace(SETTINGS, learning_rate=3.0, epochs=12, patience=2)
    _, fit = fitted(settings=settings)
    losses = fit.record.held_out_losses
    assert len(losses) < 12
    assert len(losses) - 1 - losses.index(min(losses)) == 2
    assert fit.record.held_out_before is not None
    assert fit.record.held_out_before.loss == pytest.approx(min(losses))


def test_equal_generators_give_equal_members_and_others_do_not() -> None:
    one, _ = fitted()
    same, _ = fitted()
    other, _ = fitted(seed=3)
    assert torch.equal(one.weights, same.weights)
    assert not torch.equal(one.weights, other.weights)


def test_a_plan_holds_out_whole_groups_and_draws_as_many_as_there_are() -> None:
    pairs = comparisons()
    pairs = replace(pairs, weights=torch.cat([torch.zeros(10), torch.full((50,), 2.0)]).double())
    plan = make_plan(3, pairs, settings=SETTINGS, generator=torch.Generator().manual_seed(0))
    groups = pairs.groups
    assert groups is not None
    train, held_out = (set(groups[part].tolist()) for part in (plan.train, plan.held_out))
    # 25 groups of two count, of which a tenth, rounded, is held out.
    assert not train & held_out
    assert (len(plan.held_out), len(plan.train)) == (4, 46)
    assert min(plan.train.min().item(), plan.held_out.min().item()) >= 10
    assert plan.counts.mean(dim=1).tolist() == pytest.approx([1.0, 1.0, 1.0])
    assert torch.equal(plan.counts, plan.counts.round())
    assert sorted(plan.order(0)) == list(range(46)) and plan.order(0) != plan.order(1)


def test_a_comparison_of_weight_zero_is_left_out() -> None:
    pairs = comparisons()
    weights = torch.cat([torch.ones(50), torch.zeros(10)]).double()
    one, fit = fitted(pairs=replace(pairs, weights=weights))
    turned = torch.cat([pairs.labels[:50], 1.0 - pairs.labels[50:]])
    other, _ = fitted(pairs=replace(pairs, weights=weights, labels=turned))
    assert torch.equal(one.weights, other.weights)
    assert fit.record.comparisons + fit.record.held_out_comparisons == 50


@pytest.mark.parametrize("stop", [1, 3, 4, 7, 13, 20])
def test_an_interrupted_fit_goes_on_to_the_last_bit(stop: int, tmp_path: Path) -> None:
    whole, fit = fitted()
    path = tmp_path / "fit.checkpoint"

    def interrupt(step: GradientStep) -> None:
        if step.step == stop:
            raise KeyboardInterrupt

    broken = words()
    with pytest.raises(KeyboardInterrupt):
        fit_members(
            broken,
            comparisons(),
            settings=SETTINGS,
            generator=torch.Generator().manual_seed(2),
            checkpoint=path,
            on_step=interrupt,
        )
    # A member that was loaded anew does as well as the one that was interrupted.
    again, resumed = fitted(words(seed=8) if path.exists() else None, checkpoint=path)
    assert torch.equal(again.weights, whole.weights)
    assert torch.equal(resumed.offsets, fit.offsets)
    assert (resumed.temperature, resumed.record) == (fit.temperature, fit.record)


FITTER = """
import json, os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from test_gradient_fitting import fit_and_report
for steps in (0, 1, 4, 5, 9, 1000):
    # A process of its own for each fit, without the seconds that the imports take.
    read, write = os.pipe()
    process = os.fork()
    if process == 0:
        fit_and_report(Path(sys.argv[2]), write)
        os._exit(0)
    os.close(write)
    reported = []
    while len(reported) < steps and (byte := os.read(read, 1)):
        reported.append(byte[0])
    if steps < 1000:
        os.kill(process, signal.SIGKILL)
    print(json.dumps([reported[:1], os.waitpid(process, 0)[1]]), flush=True)
"""


def fit_and_report(folder: Path, pipe: int) -> None:
    """What is killed: a fit that says every step, as a byte, and at last stores what it came to."""
    members = words()
    fit = fit_members(
        members,
        comparisons(),
        settings=SETTINGS,
        generator=torch.Generator().manual_seed(2),
        checkpoint=folder / "fit.checkpoint",
        on_step=lambda step: os.write(pipe, bytes([step.step])),  # type: ignore[arg-type, return-value]
    )
    save_file({"weights": members.weights.detach(), "offsets": fit.offsets}, folder / "final.safetensors")


def test_a_killed_process_goes_on_to_the_last_bit(repository: Path, tmp_path: Path) -> None:
    """SIGKILL after some steps of each of five processes; a sixth ends with the weights of an undisturbed fit."""
    command = [sys.executable, "-c", FITTER, str(Path(__file__).parent), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(repository)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    ends = [json.loads(line) for line in done.stdout.splitlines()]
    assert [status for _, status in ends] == [signal.SIGKILL] * 5 + [0]
    # The last began after a checkpoint, later than the nine steps of the fit before it.
    assert ends[5][0][0] > 9
    whole, fit = fitted()
    found = load_file(tmp_path / "final.safetensors")
    assert torch.equal(found["weights"], whole.weights)
    assert torch.equal(found["offsets"], fit.offsets)


def test_a_checkpoint_of_another_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fit.checkpoint"
    fitted(checkpoint=path)
    for arguments in ({"seed": 3}, {"settings": replace(SETTINGS, centring=0.02)}, {"pairs": comparisons(58)}):
        with pytest.raises(InvalidInput, match="another fit"):
            fitted(checkpoint=path, **arguments)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="another fit"):
        fitted(WordMembers(torch.zeros(3, 7)), checkpoint=path)


def test_checkpoints_come_back_bit_for_bit_and_damage_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "one.checkpoint"
    tensor = torch.tensor([0.1, float("inf"), -0.0])
    save_checkpoint(path, tensors={"a": tensor, "b": tensor}, record={"x": [1, 0.1]})
    found = load_checkpoint(path)
    assert found.record == {"x": [1, 0.1]}
    assert found.tensors["b"].numpy().tobytes() == tensor.numpy().tobytes()
    assert [file.name for file in path.parent.iterdir()] == ["one.checkpoint"]
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(ArtifactError, match="no usable checkpoint"):
        load_checkpoint(path)
    with pytest.raises(ArtifactError, match="no usable checkpoint"):
        load_checkpoint(tmp_path / "none")


def test_a_loss_that_is_not_finite_stops_the_fit_with_step_and_member(tmp_path: Path) -> None:
    class Spoiled(WordMembers):
        def raw_scores(self, tokens: Sequence[Sequence[int]]) -> Tensor:
            calls.append(len(tokens))
            return super().raw_scores(tokens) * torch.tensor([[1.0], [math.nan if len(calls) == 5 else 1.0], [1.0]])

    calls: list[int] = []
    members = Spoiled(words().weights)
    path = tmp_path / "fit.checkpoint"
    with pytest.raises(NonFinite, match=r"step 3 .* members \[1\]"):
        fitted(members, settings=replace(SETTINGS, checkpoint_every=1), checkpoint=path)
    stored = load_checkpoint(path)
    assert stored.record["step"] == 2
    assert bool(torch.isfinite(members.weights).all())


def test_a_gradient_that_is_not_finite_stops_the_fit_with_step_and_member() -> None:
    class Rooted(WordMembers):
        def raw_scores(self, tokens: Sequence[Sequence[int]]) -> Tensor:
            # The root of 0 is finite, its slope is not.
            zero = (self.weights[2] - self.weights[2].detach()).square().sum().sqrt()
            return super().raw_scores(tokens) + zero * torch.tensor([[0.0], [0.0], [1.0]])

    with pytest.raises(NonFinite, match=r"step 1 .* members \[2\]"):
        fitted(Rooted(words().weights))


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"centring": -1.0},
        {"rater_error": 1.0},
        {"held_out_share": 1.0},
        {"patience": 0},
        {"weight_decay": math.nan},
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(InvalidInput):
        GradientSettings(**change)  # type: ignore[arg-type]


def test_too_few_comparisons_are_refused() -> None:
    pairs = comparisons(2)
    with pytest.raises(InvalidInput, match="left to train on"):
        fitted(pairs=pairs)
