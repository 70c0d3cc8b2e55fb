"""From comparisons to fitted members by gradient descent: the one loop for adapters and for whole models.

1. Hold out a share of the groups, and draw each member's bootstrap of the rest.
2. For each minibatch of comparisons: every member's loss, their sum, one step of AdamW, the rate falling linearly.
3. After each pass, the loss of the members' mean score on what was held out; keep the best weights, stop when it has
   not got better for a while.
4. Put the best weights back, centre every member on the training completions, and choose the temperature.

A member's loss holds nothing of another member, and AdamW treats each weight by itself, so members are as independent
as if they had been trained one by one; only the moment to stop is common. All random draws are made before the first
step, so a fit that was interrupted goes on from its checkpoint as if nothing had happened, to the last bit.

Started by `accelerate launch`, every process takes its share of each minibatch and of what is scored; losses, gradients
and scores are added up, so that the steps are those of one process. The checkpoint is of no number of processes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from reward_models import calibration
from reward_models.errors import InvalidInput, NonFinite
from reward_models.fit_checkpoint import load_checkpoint, optimizer_tensors, restore_optimizer, save_checkpoint
from reward_models.fit_plan import FitPlan, GradientSettings, make_plan
from reward_models.fitting import HeldOut
from reward_models.losses import bradley_terry, centring_penalty
from reward_models.pairs import PairSource
from reward_models.processes import Processes, present_processes
from reward_models.trained_members import TrainableMembers, score_tokens

STREAM = 32
"""Batches whose tokens are in memory at once when completions are scored, so that like lengths can share a batch."""


class GradientStep(NamedTuple):
    """One step of the optimiser, for whoever watches."""

    step: int
    """Counted from 1."""
    steps: int
    """How many there will be, unless the fit stops early."""
    losses: tuple[float, ...]
    """Of each member on this minibatch, nats per comparison."""
    held_out_loss: float | None
    """Of the members' mean, after the last step of a pass."""


@dataclass(frozen=True)
class GradientRecord:
    """What a fit did and how well; plain numbers, ready for JSON through `dataclasses.asdict`."""

    comparisons: int
    """Comparisons with a positive weight that trained the members."""
    held_out_comparisons: int
    """Comparisons with a positive weight that were held out."""
    members: int
    """Members."""
    steps: int
    """Steps that were taken."""
    held_out_losses: tuple[float, ...]
    """After each pass, before the temperature."""
    held_out_before: HeldOut | None
    """With the weights that were kept, without the temperature; none if nothing was held out."""
    held_out_after: HeldOut | None
    """With the temperature, which was chosen on the same comparisons: slightly flattering."""
    temperature: float
    """What the scores are divided by."""


@dataclass(frozen=True, eq=False)
class GradientFit:
    """What turns the raw scores of the trained members into rewards: (raw - offset) / temperature."""

    offsets: Float[Tensor, " members"]
    """Each member's mean raw score over the training completions."""
    temperature: float
    """Makes sigmoid of the mean score difference a calibrated probability; 1 if nothing was held out."""
    record: GradientRecord
    """How it went."""


@dataclass(eq=False)
class _Progress:
    """Where a fit stands, beside the weights and the optimiser."""

    step: int
    losses: list[float]
    """Held-out losses so far."""
    best: dict[str, Tensor]
    """Weights of the lowest of them."""

    def stale(self) -> int:
        """Passes since the lowest."""
        return len(self.losses) - 1 - self.losses.index(min(self.losses)) if self.losses else 0


def fit_members(
    members: TrainableMembers,
    pairs: PairSource,
    *,
    settings: GradientSettings,
    generator: torch.Generator,
    checkpoint: Path | None = None,
    on_step: Callable[[GradientStep], None] | None = None,
) -> GradientFit:
    """Train the members in place; the module's docstring lists the four steps.

    With `checkpoint`, a file, the fit stores where it stands and goes on from there when called again with equal
    arguments and a generator in the same state; what the members' weights were then is without effect. With several
    processes all call it alike; the main one writes the checkpoint, and it alone calls `on_step`.

    Raises InvalidInput for fewer than two comparisons that count, too few to hold some out, or a checkpoint of another
    fit; NonFinite, naming step and member, as soon as a loss or gradient is not finite: nothing is stored after it.
    """
    processes = present_processes()
    # 1. what is held out, and the bootstrap
    plan = make_plan(members.members, pairs, settings=settings, generator=generator)
    parameters = {name: part.requires_grad_(True) for name, part in members.parameters().items()}
    optimizer = torch.optim.AdamW(parameters.values(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    progress = _Progress(step=0, losses=[], best={})
    stored = checkpoint is not None and checkpoint.exists()
    processes.check_seen_by_all(stored, what=f"the checkpoint {checkpoint}")
    if checkpoint is not None and stored:
        progress = _resume(checkpoint, plan, parameters, optimizer)
    processes.start_alike(parameters.values())
    per_epoch = math.ceil(len(plan.train) / settings.batch_size)
    steps = per_epoch * settings.epochs
    order: list[int] = []
    while progress.step < steps and progress.stale() < settings.patience:
        # 2. one step
        epoch, place = divmod(progress.step, per_epoch)
        if place == 0 or not order:
            order = plan.order(epoch)
        optimizer.param_groups[0]["lr"] = settings.learning_rate * (1.0 - progress.step / steps)
        places = order[place * settings.batch_size :][: settings.batch_size]
        optimizer.zero_grad()
        losses = _backward(members, pairs, plan, places, settings, processes)
        processes.sum_gradients(parameters.values())
        progress.step += 1
        _check_finite(losses, parameters, step=progress.step)
        optimizer.step()
        # 3. the held-out loss
        last = place == per_epoch - 1
        if last and len(plan.held_out):
            differences = _held_out_differences(members, pairs, plan, settings, processes)
            progress.losses.append(_held_out(differences, pairs, plan, settings).loss)
            if progress.stale() == 0:
                progress.best = {name: part.detach().clone() for name, part in parameters.items()}
        with processes.together(f"What follows step {progress.step} of the fit"):
            due = last or progress.step % settings.checkpoint_every == 0
            if checkpoint is not None and due and processes.is_main:
                _store(checkpoint, plan, parameters, optimizer, progress)
            if on_step is not None and processes.is_main:
                held_out_loss = progress.losses[-1] if last and progress.losses else None
                on_step(GradientStep(progress.step, steps, tuple(losses.tolist()), held_out_loss))
    # 4. the best weights, the centre and the temperature
    with torch.no_grad():
        for name, part in progress.best.items():
            parameters[name].copy_(part)
    return _finish(members, pairs, plan, settings, progress, processes)


def _backward(
    members: TrainableMembers,
    pairs: PairSource,
    plan: FitPlan,
    places: list[int],
    settings: GradientSettings,
    processes: Processes,
) -> Float[Tensor, " members"]:
    """Every member's mean loss on a minibatch, and the gradient of this process's part of it in the weights."""
    if not processes.several:
        losses = _losses(members, pairs, plan, places, settings)
        losses.sum().backward()
        return losses.detach()
    own = processes.share(len(places))
    losses = torch.zeros(members.members)
    with processes.together("The loss"):
        if own:
            part = _losses(members, pairs, plan, places[own.start : own.stop], settings) * (len(own) / len(places))
            part.sum().backward()
            losses = part.detach().float().cpu()
    return processes.total(losses)


def _losses(
    members: TrainableMembers, pairs: PairSource, plan: FitPlan, places: list[int], settings: GradientSettings
) -> Float[Tensor, " members"]:
    """Every member's mean loss on some comparisons, weighted by its bootstrap."""
    chosen = plan.train[places]
    rows = pairs.rows(chosen.tolist())
    scores = score_tokens(members, rows.first + rows.second, batch_size=settings.batch_size)
    first, second = scores[:, : len(places)], scores[:, len(places) :]
    margin = None if pairs.margins is None else pairs.margins[chosen].to(scores)
    each = bradley_terry(
        first, second, pairs.labels[chosen].to(scores), margin=margin, rater_error=settings.rater_error
    )
    each = each + settings.centring * centring_penalty(first, second)
    return (plan.counts[:, places].to(scores) * each).mean(dim=1)


def _check_finite(losses: Float[Tensor, " members"], parameters: dict[str, Tensor], *, step: int) -> None:
    """Before the weights are touched: is anything of any member not finite?"""
    bad = {int(k) for k in (~torch.isfinite(losses)).nonzero().flatten()}
    for name, part in parameters.items():
        if part.grad is None or bool(torch.isfinite(part.grad).all()):
            continue
        if name.startswith("member_"):
            bad.add(int(name.removeprefix("member_").split(".")[0]))
        else:
            bad |= {int(k) for k in (~torch.isfinite(part.grad)).flatten(1).any(dim=1).nonzero().flatten()}
    if bad:
        raise NonFinite(
            f"at step {step} the loss or gradient of members {sorted(bad)} is not finite (losses {losses.tolist()}); "
            "lower the learning rate or look for texts that the backbone cannot read"
        )


def _both_sides(
    members: TrainableMembers,
    pairs: PairSource,
    chosen: Int[Tensor, " chosen"],
    *,
    batch_size: int,
    processes: Processes,
) -> Float[Tensor, "2 members chosen"]:
    """Raw scores of both sides of some comparisons, of which each process scores its share."""
    own = processes.share(len(chosen))
    with processes.together("Scoring"):
        sides = _own_sides(members, pairs, chosen[own.start : own.stop], batch_size=batch_size)
    return processes.filled(sides.permute(2, 0, 1), own, of=len(chosen)).permute(1, 2, 0)


def _own_sides(
    members: TrainableMembers, pairs: PairSource, chosen: Int[Tensor, " chosen"], *, batch_size: int
) -> Float[Tensor, "2 members chosen"]:
    """The same, all by this process; only a few batches of tokens are in memory at once."""
    if not len(chosen):
        return torch.zeros(2, members.members, 0)
    found = []
    for part in chosen.split(STREAM * batch_size):
        rows = pairs.rows(part.tolist())
        with torch.no_grad():
            scores = score_tokens(members, rows.first + rows.second, batch_size=2 * batch_size).float().cpu()
        found.append(torch.stack([scores[:, : len(part)], scores[:, len(part) :]]))
    return torch.cat(found, dim=2)


def _held_out_differences(
    members: TrainableMembers, pairs: PairSource, plan: FitPlan, settings: GradientSettings, processes: Processes
) -> Float[Tensor, " held_out"]:
    """Score differences of the members' mean on the comparisons that no member is trained on."""
    sides = _both_sides(members, pairs, plan.held_out, batch_size=settings.batch_size, processes=processes)
    return (sides[0] - sides[1]).double().mean(dim=0)


def _held_out(
    differences: Float[Tensor, " held_out"], pairs: PairSource, plan: FitPlan, settings: GradientSettings
) -> HeldOut:
    labels, weights = pairs.labels[plan.held_out].cpu().double(), pairs.weights[plan.held_out].cpu().double()
    losses = bradley_terry(differences, torch.zeros_like(differences), labels, rater_error=settings.rater_error)
    predicted = calibration.probabilities(differences, rater_error=settings.rater_error)
    return HeldOut(
        loss=float((weights * losses).sum() / weights.sum()),
        accuracy=calibration.accuracy(predicted, labels, weights=weights),
        ece=calibration.ece(predicted, labels, weights=weights),
    )


def _finish(
    members: TrainableMembers,
    pairs: PairSource,
    plan: FitPlan,
    settings: GradientSettings,
    progress: _Progress,
    processes: Processes,
) -> GradientFit:
    """Step 4, with the weights that are kept."""
    sides = _both_sides(members, pairs, plan.train, batch_size=settings.batch_size, processes=processes).double()
    weights = pairs.weights[plan.train].cpu().double()
    offsets = (sides.mean(dim=0) * weights).sum(dim=1) / weights.sum()
    temperature, before, after = 1.0, None, None
    if len(plan.held_out):
        differences = _held_out_differences(members, pairs, plan, settings, processes)
        temperature = calibration.fit_temperature(
            differences,
            pairs.labels[plan.held_out].cpu(),
            weights=pairs.weights[plan.held_out].cpu(),
            rater_error=settings.rater_error,
        )
        before = _held_out(differences, pairs, plan, settings)
        after = _held_out(differences / temperature, pairs, plan, settings)
    record = GradientRecord(
        comparisons=len(plan.train),
        held_out_comparisons=len(plan.held_out),
        members=members.members,
        steps=progress.step,
        held_out_losses=tuple(progress.losses),
        held_out_before=before,
        held_out_after=after,
        temperature=temperature,
    )
    return GradientFit(offsets=offsets.float(), temperature=temperature, record=record)


def _store(
    path: Path,
    plan: FitPlan,
    parameters: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    progress: _Progress,
) -> None:
    parts = {"weights": parameters, "best": progress.best, "optimizer": optimizer_tensors(optimizer, parameters)}
    save_checkpoint(
        path,
        tensors={f"{part}:{name}": tensor for part, named in parts.items() for name, tensor in named.items()},
        record={"fingerprint": plan.fingerprint, "step": progress.step, "losses": progress.losses},
    )


def _resume(path: Path, plan: FitPlan, parameters: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> _Progress:
    """Weights, optimiser and progress as they were stored."""
    found = load_checkpoint(path)
    named = {part: {} for part in ("weights", "best", "optimizer")}  # type: dict[str, dict[str, Tensor]]
    for key, tensor in found.tensors.items():
        part, name = key.split(":", 1)
        named[part][name] = tensor
    shapes = {name: tensor.shape for name, tensor in named["weights"].items()}
    if found.record.get("fingerprint") != plan.fingerprint or shapes != {n: p.shape for n, p in parameters.items()}:
        raise InvalidInput(
            f"{path} belongs to another fit: its settings, answers, random numbers or members differ; give the same, "
            "or delete the file to start anew"
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(named["weights"][name])
    restore_optimizer(optimizer, parameters, named["optimizer"])
    best = {name: tensor.to(parameters[name].device) for name, tensor in named["best"].items()}
    return _Progress(step=int(found.record["step"]), losses=list(found.record["losses"]), best=best)
