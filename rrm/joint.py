"""What the processes beside the main one do: they open the run without its lock, and train with it when it calls.

So goes `accelerate launch --config_file configs/accelerate/ddp.yaml -m ui.cli train runs/mine`.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from reward_models.processes import present_processes
from rrm.opening import open_workbench
from rrm.orders import Order, next_order
from rrm.steps.fitting import fit_beside
from rrm.steps.optimising import optimise_beside
from rrm.workbench import Workbench


def took_part(folder: Path, *, overrides: Sequence[str] = ()) -> bool:
    """False in the main process, at once; in another one True, after it has taken part until the main one was done.

    Opens the run when it is called for the first time, so that the main process has made what has to be made. Errors as
    in `open_workbench` and of the steps.
    """
    if present_processes().is_main:
        return False
    with ExitStack() as opened:
        bench: Workbench | None = None
        while (order := next_order()) is not None:
            if bench is None:
                bench = opened.enter_context(open_workbench(folder, overrides=overrides, exclusive=False))
            _take_part(bench, order)
    return True


def _take_part(bench: Workbench, order: Order) -> None:
    match order.work:
        case "fit":
            fit_beside(bench, level=order.level, round=order.round)
        case "optimise":
            optimise_beside(bench, level=order.level, round=order.round)
