"""What is stored of a reward model: how it does on answers that it never saw."""

from collections.abc import Mapping
from dataclasses import asdict

from rrm.rewards.answers import Answers
from rrm.rewards.domains import domains_of, writers
from rrm.rewards.held_out import (
    answered,
    by_name,
    differences,
    held_out_figures,
    held_out_predictions,
    honesty_record,
)
from rrm.rewards.models import AbstractRewards
from rrm.store.run import Run
from rrm.store.waiting import reasons


def held_out_record(run: Run, rewards: AbstractRewards, answers: Answers | None) -> dict[str, object]:
    """On held-out answers; without any there is nothing to say."""
    if answers is None or not len(answers):
        return {"held_out": None, "held_out_predictions": [], "honesty": None}
    members = differences(rewards, answers)
    return {
        "held_out": held_out_figures(members, answers.labels),
        "held_out_predictions": held_out_predictions(members, answers.labels),
        "honesty": honesty_record(members, answers, domains=domains_of(run, answers.asked)),
    }


def before_record(
    run: Run, name: str, rewards: AbstractRewards, *, asked: Answers, held_out: Answers | None
) -> Mapping[str, object]:
    """How the model before does on what was answered since: on training answers by why they were asked, and held-out.

    The training answers were chosen by it, all but a random share, which alone says how good it is.
    """
    known = reasons(run, [one.id for one in asked.asked])
    names = [known[one.id] for one in asked.asked]
    return {
        "model": name,
        "asked": [asdict(one) for one in by_name(differences(rewards, asked), asked, names)] if len(asked) else [],
        "held_out": policy_record(run, rewards, held_out),
    }


def policy_record(run: Run, rewards: AbstractRewards, answers: Answers | None) -> Mapping[str, object] | None:
    """On answers about completions that were written after it was fitted, and by whom; None without any."""
    if answers is None or not len(answers):
        return None
    written_by = sorted(set(writers(run, answers.asked)))
    found = answered(", ".join(written_by), differences(rewards, answers), answers.labels, answers.groups)
    return asdict(found)
