"""Which reward model is current at a level, and how it orders what still waits to be judged.

A round fits a reward model of its own, trains its agent on that one, and asks for its comparisons by that of the round
before: nothing here changes it, so a round gives the same result with and without sessions. The current model is for
people: it decides which of the waiting training comparisons they are asked first, and it is what the next session is
measured against.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from random import Random

from rrm.errors import RunCorrupt, RunError
from rrm.sessions.locking import SESSIONS_FOLDER
from rrm.sessions.records import Session, SessionKind, SessionStatus
from rrm.sessions.store import session, sessions
from rrm.store.artifacts import artifacts, decisions, promoted_artifact, set_promoted
from rrm.store.records import Artifact, ArtifactKind, StoredComparison
from rrm.store.run import Run
from rrm.store.transaction import rows_in
from rrm.store.waiting import set_order

RANDOM_SHARE = 0.2
"""Comparisons that are always asked at random, as `rrm.steps.selecting` does it."""
PREDICTIONS_FILE = "predictions.json"

# Validation comparisons keep their place: they are drawn at random, and have to be answered so.
_WAITING = """
    SELECT comparison_id AS id, round, place FROM waiting
    WHERE comparison_id IN ({}) AND purpose = 'train' AND raters_missing > 0"""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What models say about one comparison: probabilities that the first is better."""

    comparison_id: str
    before: float | None
    """Of the model before; None where there was none."""
    after: float
    spread_before: float | None
    spread: float
    """Standard deviation of the members' probabilities."""
    order: int | None = None
    """Its place among what waited in its round, as the new model would ask it; None for what did not wait."""
    reason: str | None = None
    """Why it has that place."""


def predictions_file(folder: Path, session_id: str) -> Path:
    """Where a session leaves its predictions, in the run's folder."""
    return folder / SESSIONS_FOLDER / session_id / PREDICTIONS_FILE


def predictions_of(run: Run, session_id: str) -> list[Prediction]:
    """What a finished session predicted. Raises RunCorrupt where the file is gone or damaged."""
    path = predictions_file(run.folder, session_id)
    try:
        return [Prediction(**each) for each in json.loads(path.read_bytes())]
    except (OSError, ValueError, TypeError) as error:
        raise RunCorrupt(f"{path} cannot be read ({error}); start another session, which makes it anew") from error


def predicted(run: Run, asked: StoredComparison) -> float | None:
    """Probability that the first of a comparison is better, by the session that is current at its level, if any."""
    model = current_model(run, asked.level)
    if model is None or not predictions_file(run.folder, model.id).exists():
        return None
    found = (each.after for each in predictions_of(run, model.id) if each.comparison_id == asked.id)
    return next(found, None)


def written_predictions(predictions: Sequence[Prediction]) -> bytes:
    """Predictions as the file has them."""
    return json.dumps([asdict(each) for each in predictions]).encode()


def current_model(run: Run, level: int) -> Artifact | None:
    """The reward model that was made current last; before anybody made one so, the last that a round fitted."""
    chosen = promoted_artifact(run, kind=ArtifactKind.REWARD_MODEL, level=level)
    if chosen is not None:
        return chosen
    made_by_sessions = {each.id for each in sessions(run, kind=SessionKind.REWARD_MODEL)}
    fitted = artifacts(run, kind=ArtifactKind.REWARD_MODEL, level=level)
    by_rounds = [each for each in fitted if each.id not in made_by_sessions]
    return by_rounds[-1] if by_rounds else None


def make_current(run: Run, session_id: str, *, by: str, now: str) -> int:
    """Let a session's reward model be the current one of its level; how many waiting comparisons changed their order.

    Safe to repeat: what is current already stays so, and what waits is ordered anew. Raises RunError unless the session
    has finished a reward model.
    """
    found = session(run, session_id)
    if found.kind is not SessionKind.REWARD_MODEL or found.status is not SessionStatus.FINISHED:
        raise RunError(f"Session {found.number} has no finished reward model; choose one that has.")
    order = _new_order(run, found)
    with run.transaction():
        before = promoted_artifact(run, kind=ArtifactKind.REWARD_MODEL, level=found.level)
        if before is None or before.id != session_id:
            set_promoted(
                run,
                decision_id=f"current-{session_id}-{_decided(run, session_id)}",
                artifact_id=session_id,
                promoted=True,
                record={"by": by, "before": before.id if before is not None else None},
                now=now,
            )
        set_order(run, order, now=now)
    return len(order)


def asking_order(spreads: Sequence[float], *, random: Random) -> list[tuple[int, str]]:
    """Places of the candidates in the order in which they are to be asked, each with its reason.

    For what a session has left no order of: a share at random from all, strewn evenly, and the rest by spread.
    """
    drawn = list(range(len(spreads)))
    random.shuffle(drawn)
    count = ceil(round(RANDOM_SHARE * len(spreads), 9))
    at_random = iter(drawn[:count])
    by_spread = iter(sorted(drawn[count:], key=lambda place: (-spreads[place], place)))
    slots = set(random.sample(range(len(spreads)), count))
    return [
        (next(at_random), "random") if slot in slots else (next(by_spread), "spread") for slot in range(len(spreads))
    ]


def _decided(run: Run, session_id: str) -> int:
    return sum(each.artifact_id == session_id for each in decisions(run))


def waiting(run: Run, comparison_ids: Sequence[str]) -> dict[int, list[tuple[float, str]]]:
    """Place and id of those of the comparisons that are for training and still wait to be judged, by round."""
    found: dict[int, list[tuple[float, str]]] = {}
    for row in rows_in(run.database, _WAITING, comparison_ids):
        found.setdefault(int(row["round"] or 0), []).append((float(row["place"] or 0.0), str(row["id"])))
    return {round: sorted(found[round]) for round in sorted(found)}


def _new_order(run: Run, found: Session) -> list[tuple[str, float, str]]:
    """The places that the waiting comparisons of each round have, given to the same ones in another order.

    Read before anything is written, so that nobody who judges has to wait for it; what is answered meanwhile gets
    another place, which changes nothing for it.
    """
    known = {each.comparison_id: each for each in predictions_of(run, found.id)}
    order: list[tuple[str, float, str]] = []
    for round, places in waiting(run, tuple(known)).items():
        asked = _asked([known[identifier] for _, identifier in places], random=Random(f"{run.seed}/{found.id}/{round}"))
        order += [(identifier, place, reason) for (place, _), (identifier, reason) in zip(places, asked, strict=True)]
    return order


def _asked(predicted: Sequence[Prediction], *, random: Random) -> list[tuple[str, str]]:
    """Ids and reasons in the order of asking: as the session has left it, and behind that what waits since."""
    ordered = [each for each in predicted if each.order is not None]
    ordered.sort(key=lambda each: each.order or 0)
    others = [each for each in predicted if each.order is None]
    late = asking_order([each.spread for each in others], random=random)
    return [(each.comparison_id, each.reason or "spread") for each in ordered] + [
        (others[place].comparison_id, reason) for place, reason in late
    ]
