"""The rooms of the watching page over one run. A new figure gets its place here: one line in one of the two lists."""

from rrm.store.run import Run
from rrm.tasks.task import AbstractKnownTask, AbstractTask
from rrm.watching.accuracy import label_accuracy
from rrm.watching.choosing import choosings
from rrm.watching.consistency import consistency
from rrm.watching.cost import cost
from rrm.watching.depth import error_by_depth
from rrm.watching.fits import fits
from rrm.watching.honesty import honesty_of
from rrm.watching.optimisation import optimisations
from rrm.watching.pace import pace
from rrm.watching.reliability import reliabilities
from rrm.watching.room import Room
from rrm.watching.rooms_of_agents import learning_room, newest_transcripts, spending_room
from rrm.watching.rooms_of_judging import accuracy_room, agreement_room, cost_room, depth_room, pace_room
from rrm.watching.rooms_of_rewards import choosing_room, honesty_room, shift_room
from rrm.watching.rooms_of_training import calibration_room, optimisation_room
from rrm.watching.shift import shifted


def judging_rooms(run: Run, task: AbstractTask) -> tuple[Room, ...]:
    """What people and simulated raters do; answers are held against the gold utility where the task knows it."""
    accuracies = label_accuracy(run, task) if isinstance(task, AbstractKnownTask) else None
    against_gold = (
        (accuracy_room(accuracies), depth_room(error_by_depth(run, accuracies))) if accuracies is not None else ()
    )
    return (
        *against_gold,
        agreement_room(consistency(run)),
        pace_room(pace(run)),
        cost_room(cost(run)),
    )


def training_rooms(run: Run, *, reward_model: str | None = None, gold: bool = True) -> tuple[Room, ...]:
    """What reward models and agents learned; `gold` is whether the task knows what texts are worth.

    `reward_model` names the one whose calibration and honesty are shown; without it, or where it is unknown, the last.
    """
    found, fitted, trainings = fits(run), reliabilities(run), optimisations(run)
    chosen = next((one for one in fitted if one.name == reward_model), fitted[-1] if fitted else None)
    fit = next((one for one in found if chosen is not None and one.name == chosen.name), None)
    return (
        calibration_room(chosen),
        honesty_room(honesty_of(fit) if fit is not None else None),
        shift_room(shifted(run, found), trainings),
        choosing_room(choosings(found)),
        optimisation_room(trainings, gold=gold),
        learning_room(trainings),
        spending_room(newest_transcripts(run)),
    )


def reward_model_names(run: Run) -> list[str]:
    """The reward models whose calibration can be shown, in the order of fitting."""
    return [one.name for one in reliabilities(run)]
