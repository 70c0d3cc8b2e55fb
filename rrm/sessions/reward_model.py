"""A session of kind reward_model: fit an ensemble to all judgements of a level so far, and say what that changed."""

from collections.abc import Mapping
from dataclasses import asdict

import torch

from rrm.progress import AbstractProgress
from rrm.rewards.fitting import Fitted, Stage, Watch
from rrm.rewards.records import before_record, held_out_record
from rrm.sessions.comparing import compared, predictions
from rrm.sessions.current import predictions_file, written_predictions
from rrm.sessions.forecast import CurvePoint, curve_point, forecast
from rrm.sessions.learning import fitted, orders, point_of, share_point, shares
from rrm.sessions.material import Material, gather
from rrm.sessions.plan import session_folder
from rrm.sessions.records import Session
from rrm.sessions.store import record_points, session_points
from rrm.store import ArtifactKind, register_artifact, utc_now
from rrm.store.artifacts import comparisons_fitted_to
from rrm.workbench import Workbench
from rrm.writing import write_whole

LAST_FIT = "Fitting to all judgements"


def work_on_reward_model(bench: Workbench, session: Session) -> Mapping[str, object]:
    """Read, learn from growing shares, fit to all, compare with the model before. Goes on where a kill left it."""
    material = gather(bench, session)
    points = _curve(bench, session, material)
    everything = torch.arange(len(material.judged))
    result = fitted(
        bench, material, everything, unfinished=session_folder(bench, session), watch=_shown(bench.progress)
    )
    points.append(_stored(bench, session, len(points), point_of(result, material)))
    _save(bench, session, material, result)
    bench.progress.start("Comparing with the model before")
    predicted = predictions(bench, material, result.rewards)
    write_whole(predictions_file(bench.run.folder, session.id), written_predictions(predicted))
    changes = compared(material, result, predicted)
    bench.progress.finish()
    _drop_unfinished(bench, session)
    return {
        "artifact": session.id,
        "judgements": len(material.judged),
        "fit": result.record,
        **held_out_record(bench.run, result.rewards, material.test),
        "before": _before(bench, material),
        "changes": changes.to_json(),
        "forecast": asdict(forecast(points)),
    }


def _shown(progress: AbstractProgress) -> Watch:
    """The steps of the last fit as a bar, where their number is known: a fit by gradient takes a while."""
    progress.start(LAST_FIT)
    seen = 0

    def watch(stage: Stage) -> None:
        nonlocal seen
        if stage.total is not None:
            if seen == 0:
                progress.start(LAST_FIT, stage.total)
            progress.advance(stage.done - seen)
            seen = stage.done
        progress.note(stage.words)

    return watch


def _before(bench: Workbench, material: Material) -> Mapping[str, object] | None:
    """How the model that was current does on the answers to comparisons that it was not fitted to."""
    if material.before is None or material.plan.before is None:
        return None
    known = comparisons_fitted_to(bench.run, material.plan.before)
    asked = material.train.where(lambda one: one.id not in known)
    # Held-out answers train nobody, so there are none that came since.
    return before_record(bench.run, material.plan.before, material.before, asked=asked, held_out=None)


def _curve(bench: Workbench, session: Session, material: Material) -> list[CurvePoint]:
    """The points of all shares but the last; those of an earlier attempt as they are stored."""
    stored = {point.position: point.record for point in session_points(bench.run, session.id)}
    kind = material.settings.kind
    growing = shares(len(material.judged), kind=kind)[:-1]
    bench.progress.start("Learning from growing shares of the judgements", orders(kind) * len(growing))
    points: list[CurvePoint] = []
    for position, share in enumerate(growing):
        if position in stored:
            points.append(curve_point(stored[position]))
            bench.progress.advance(orders(kind))
        else:
            point = share_point(bench, material, share, unfinished=session_folder(bench, session))
            points.append(_stored(bench, session, position, point))
            _drop_unfinished(bench, session)
    bench.progress.finish()
    return points


def _drop_unfinished(bench: Workbench, session: Session) -> None:
    """What fits by gradient left to go on from, once that is not needed any more: it is larger than the models."""
    for path in session_folder(bench, session).glob("fit-*.safetensors"):
        path.unlink()


def _stored(bench: Workbench, session: Session, position: int, point: CurvePoint) -> CurvePoint:
    record_points(bench.run, session.id, [(position, asdict(point))])
    return point


def _save(bench: Workbench, session: Session, material: Material, result: Fitted) -> None:
    folder = bench.model_folder(session.id)
    result.rewards.save(folder)
    register_artifact(
        bench.run,
        id=session.id,
        kind=ArtifactKind.REWARD_MODEL,
        level=session.level,
        round=session.round,
        folder=str(folder.relative_to(bench.run.folder)),
        settings=material.settings.model_dump(mode="json"),
        judgements=material.judged,
        now=utc_now(),
    )
