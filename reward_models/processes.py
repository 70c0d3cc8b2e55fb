"""Several processes that work on one task, as `accelerate launch` starts them; one process is the plain case.

All hold the same weights, each computes its share of the rows, and what they found is added up. Everything here is made
of two operations of `accelerate`: a sum over the processes, and a copy of what the main process has. A process that
waits for the others in one of them waits until all have come to the same one, so every process must run the same code
in the same order; only the rows differ. Nothing is pickled.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from accelerate import PartialState
from accelerate.utils import broadcast, reduce
from jaxtyping import Shaped
from torch import Tensor

from reward_models.errors import InvalidInput, RrmError

PATIENCE = timedelta(hours=12)
"""How long a process waits for the others: the main one may sample, judge and report alone in between. One that has
ended is noticed at once, by the launcher."""
BUCKET = 2**24
"""Numbers that are added up in one go: 64 MiB."""
SHARDED = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed"}
"""What divides weights or optimiser, by the variable with which `accelerate launch` asks for it."""
LAUNCHED = {"LOCAL_RANK", "WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"}
"""Variables of the launchers that accelerate knows: without any of them nothing is asked of it."""


@dataclass(frozen=True)
class Processes:
    """How many processes there are, and which of them this one is."""

    rank: int = 0
    """Number of this process, counted from 0; 0 is the main one, which writes files."""
    count: int = 1
    """Processes on all machines."""
    device: str = "cpu"
    """Where this one computes; also where what is sent must lie."""

    @property
    def is_main(self) -> bool:
        """Whether this one writes."""
        return self.rank == 0

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.count > 1

    def share(self, total: int) -> range:
        """The places of this process's part of `total` rows: one block each, in the order of the processes."""
        return range(total * self.rank // self.count, total * (self.rank + 1) // self.count)

    def total(self, own: Tensor) -> Tensor:
        """The sum over all processes of a tensor of one shape; equal on all of them, to the last bit."""
        if not self.several:
            return own
        with _reached():
            found: Tensor = reduce(own.detach().to(self.device).contiguous(), reduction="sum")
        return found.to(own.device)

    def of_main(self, own: Tensor) -> Tensor:
        """What the main process has there; of one shape on all."""
        if not self.several:
            return own
        with _reached():
            found: Tensor = broadcast(own.detach().to(self.device).clone().contiguous())
        return found.to(own.device)

    def filled(
        self, own: Shaped[Tensor, "held ..."], places: Sequence[int], *, of: int
    ) -> Shaped[Tensor, "all_rows ..."]:
        """All `of` rows, each from the one process that holds it, at its `places`; without gradient."""
        if not self.several:
            return own
        found = own.new_zeros(of, *own.shape[1:])
        found[list(places)] = own.detach()
        return self.total(found)

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Put into every `grad` the sum over the processes; what has no gradient on any of them keeps none."""
        if not self.several:
            return
        trained = list(parameters)
        held = self.total(torch.tensor([part.grad is not None for part in trained], dtype=torch.int64))
        found = [part for part, processes in zip(trained, held.tolist(), strict=True) if processes]
        for parts in _buckets(found):
            flat = torch.cat([_gradient(part).flatten() for part in parts])
            for part, summed in zip(parts, self.total(flat).split([part.numel() for part in parts]), strict=True):
                part.grad = summed.view_as(part).clone()

    @torch.no_grad()
    def start_alike(self, tensors: Iterable[Tensor]) -> None:
        """Give all processes the main one's values, in place."""
        if self.several:
            for tensor in tensors:
                tensor.copy_(self.of_main(tensor))

    def check_seen_by_all(self, present: bool, *, what: str) -> None:
        """`InvalidInput` if some processes see a file and others do not."""
        seen = int(self.total(torch.tensor([int(present)], dtype=torch.int64)))
        if self.several and seen not in {0, self.count}:
            raise InvalidInput(
                f"{seen} of {self.count} processes see {what}; put it on a file system that all machines share."
            )

    @contextmanager
    def together(self, what: str) -> Iterator[None]:
        """If the block fails on one process, it fails on all: there with its own error, elsewhere with `RrmError`.

        The block itself must not wait for other processes.
        """
        if not self.several:
            yield
            return
        try:
            yield
        except Exception:
            self._failed(True)
            raise
        others = self._failed(False)
        if others:
            raise RrmError(f"{what} failed in process {', '.join(map(str, others))}; its own message says why.")

    def say(self, text: str) -> str:
        """What the main process says, on all of them."""
        if not self.several:
            return text
        written = text.encode() if self.is_main else b""
        size = int(self.of_main(torch.tensor([len(written)], dtype=torch.int64)))
        sent = torch.zeros(size, dtype=torch.uint8)
        if self.is_main:
            sent = torch.tensor(list(written), dtype=torch.uint8)
        return bytes(self.of_main(sent).tolist()).decode() if size else ""

    def _failed(self, failed: bool) -> list[int]:
        """The processes that say so."""
        flags = torch.zeros(self.count, dtype=torch.int64)
        flags[self.rank] = int(failed)
        return [int(rank) for rank in self.total(flags).nonzero().flatten()]


ONE = Processes()
"""No others."""


def present_processes() -> Processes:
    """Those that `accelerate launch` (or `torchrun`) started, of which this is one; without a launcher, this one alone.

    The first call joins them, and takes this process's GPU as its device: make it before a model is loaded. Raises
    `InvalidInput` if weights or optimiser shall be divided, or if the processes cannot reach each other.
    """
    for variable, name in SHARDED.items():
        if os.environ.get(variable, "false").lower() == "true":
            raise InvalidInput(
                f"{name} divides weights or optimiser among the processes, and here each holds them whole; launch with "
                "configs/accelerate/ddp.yaml, and if the model is too large for one GPU train adapters (lora)."
            )
    if not LAUNCHED & os.environ.keys():
        return ONE
    on_cpu = os.environ.get("ACCELERATE_USE_CPU", "false").lower() == "true" or not torch.accelerator.is_available()
    state = PartialState(cpu=on_cpu, timeout=PATIENCE)
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if state.num_processes != launched:
        raise InvalidInput(
            f"{launched} processes were launched and {state.num_processes} can reach each other: accelerate knows no "
            f"way for them on {state.device}; set ACCELERATE_USE_CPU=true, or start one process."
        )
    return Processes(rank=state.process_index, count=state.num_processes, device=str(state.device))


def own_cores() -> int:
    """Processor cores for this process: those of the machine, divided among the processes that were launched on it."""
    return max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


@contextmanager
def _reached() -> Iterator[None]:
    """What a library says of a connection that is gone, in our words."""
    try:
        yield
    except RuntimeError as error:
        raise RrmError(
            f"Process {PartialState().process_index} lost the others: one of them has ended, and its own message says "
            "why. Launched again, the work goes on from its last checkpoint."
        ) from error


def _gradient(part: Tensor) -> Tensor:
    return torch.zeros_like(part) if part.grad is None else part.grad


def _buckets(parts: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """A few at a time, those of one type together."""
    bucket: list[Tensor] = []
    for part in parts:
        full = sum(one.numel() for one in bucket) + part.numel() > BUCKET
        if bucket and (full or bucket[0].dtype != part.dtype or bucket[0].device != part.device):
            yield bucket
            bucket = []
        bucket.append(part)
    if bucket:
        yield bucket
