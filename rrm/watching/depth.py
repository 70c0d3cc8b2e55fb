"""Error against depth: how judging gets harder from level to level, with and without help."""

from collections.abc import Mapping, Sequence

from rrm.store.run import Run
from rrm.store.steps import steps
from rrm.watching.accuracy import LabelAccuracy
from rrm.watching.names import KINDS, STAGES, Labels
from rrm.watching.shares import share


def error_by_depth(run: Run, accuracies: Sequence[LabelAccuracy]) -> list[Labels]:
    """Wrong labels: of the answers that were given, then of the rater on test comparisons, from written reports."""
    given = [
        Labels(one.level, STAGES[one.stage], KINDS[one.kind], one.share.rest())
        for one in accuracies
        if one.share is not None
    ]
    return given + [found for step in steps(run) if step.name == "measure" for found in _measured(step.result)]


def _measured(result: Mapping[str, object] | None) -> list[Labels]:
    raters, level = (result or {}).get("rater"), (result or {}).get("level")
    if not isinstance(raters, Mapping) or not isinstance(level, int):
        return []
    return [
        Labels(level, way, "report", right.rest())
        for way, figures in raters.items()
        if isinstance(figures, Mapping) and (right := share(figures["accuracy"] * figures["n"], figures["n"]))
    ]
