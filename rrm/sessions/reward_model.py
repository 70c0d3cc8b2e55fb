"""A session of kind reward_model: fit an ensemble to all judgements of a level so far, and say what that changed."""

from collections.abc import Mapping
from dataclasses import asdict

import torch

from reward_models.fitting import FitResult
from rrm.sessions.comparing import compared, predictions
from rrm.sessions.current import predictions_file, written_predictions
from rrm.sessions.forecast import CurvePoint, curve_point, forecast
from rrm.sessions.learning import ORDERS, fitted, point_of, share_point, shares
from rrm.sessions.material import Material, gather
from rrm.sessions.plan import write_whole
from rrm.sessions.records import Session
from rrm.sessions.store import record_points, session_points
from rrm.steps.fitting import held_out_figures, held_out_predictions
from rrm.store import ArtifactKind, register_artifact, utc_now
from rrm.workbench import Workbench


def work_on_reward_model(bench: Workbench, session: Session) -> Mapping[str, object]:
    """Read, learn from growing shares, fit to all, compare with the model before. Goes on where a kill left it."""
    material = gather(bench, session)
    points = _curve(bench, session, material)
    bench.progress.start("Fitting to all judgements")
    result = fitted(bench, material, torch.arange(len(material.judged)))
    points.append(_stored(bench, session, len(points), point_of(result, material)))
    _save(bench, session, material, result)
    bench.progress.start("Comparing with the model before")
    predicted = predictions(material, result.ensemble)
    write_whole(predictions_file(bench.run.folder, session.id), written_predictions(predicted))
    changes = compared(material, result, predicted)
    bench.progress.finish()
    return {
        "artifact": session.id,
        "judgements": len(material.judged),
        "fit": asdict(result.record),
        "held_out": held_out_figures(result.ensemble, material.test) if material.test else None,
        "held_out_predictions": held_out_predictions(result.ensemble, material.test) if material.test else [],
        "changes": changes.to_json(),
        "forecast": asdict(forecast(points)),
    }


def _curve(bench: Workbench, session: Session, material: Material) -> list[CurvePoint]:
    """The points of all shares but the last; those of an earlier attempt as they are stored."""
    stored = {point.position: point.record for point in session_points(bench.run, session.id)}
    growing = shares(len(material.judged))[:-1]
    bench.progress.start("Learning from growing shares of the judgements", ORDERS * len(growing))
    points: list[CurvePoint] = []
    for position, share in enumerate(growing):
        if position in stored:
            points.append(curve_point(stored[position]))
            bench.progress.advance(ORDERS)
        else:
            points.append(_stored(bench, session, position, share_point(bench, material, share)))
    bench.progress.finish()
    return points


def _stored(bench: Workbench, session: Session, position: int, point: CurvePoint) -> CurvePoint:
    record_points(bench.run, session.id, [(position, asdict(point))])
    return point


def _save(bench: Workbench, session: Session, material: Material, result: FitResult) -> None:
    folder = bench.model_folder(session.id)
    result.ensemble.save(folder)
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
