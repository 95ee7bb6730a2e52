"""Several processes that train one adapter together: each computes its share of every batch.

All of them hold the same weights, walk the same batches and take the same decisions; gradients are summed
before each step. `accelerate launch` (or torchrun) starts them and tells each its place through the
environment; a process that nobody started so is alone, and nothing here costs it anything.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from serving.errors import InvalidInputError, VoicebotError

T = TypeVar("T")


class Processes(Protocol):
    """What the training loop asks of the group it runs in.

    Attributes:
        rank: place of this process, from 0; the process 0 is the main one, which writes files.
        count: number of processes.
    """

    rank: int
    count: int

    def share(self, rows: Sequence[int]) -> list[int]:
        """This process's part of some rows; every row is in exactly one part, and a part may be empty."""
        ...

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the processes, which is the same in all of them."""
        ...

    def gather(self, value: T) -> list[T]:
        """The value of each process, in the order of rank, in all of them."""
        ...

    def from_main(self, action: Callable[[], T]) -> T:
        """What `action` gives in the main process, or the error that it raises there, in all of them."""
        ...


class Alone:
    """One process by itself."""

    rank, count = 0, 1

    def share(self, rows: Sequence[int]) -> list[int]:
        """All rows."""
        return list(rows)

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """The sum over one process is there already."""

    def gather(self, value: T) -> list[T]:
        """The value."""
        return [value]

    def from_main(self, action: Callable[[], T]) -> T:
        """What `action` gives."""
        return action()


class Together:
    """A process of torch's default group, which must have been opened (`joined`)."""

    def __init__(self) -> None:
        self.rank, self.count = torch.distributed.get_rank(), torch.distributed.get_world_size()

    def share(self, rows: Sequence[int]) -> list[int]:
        """Every `count`th row, so that long and short texts are spread alike."""
        return list(rows[self.rank :: self.count])

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """One message for all tensors: a message costs more than its numbers."""
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        torch.distributed.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def gather(self, value: T) -> list[T]:
        """The value of each process."""
        found: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(found, value)
        return found

    def from_main(self, action: Callable[[], T]) -> T:
        """What `action` gives in process 0; a deliberate error is raised everywhere, so that nobody waits."""
        told: list[Any] = [None, None]
        if self.rank == 0:
            try:
                told[0] = action()
            except VoicebotError as error:
                told[1] = error
        torch.distributed.broadcast_object_list(told)
        if told[1] is not None:
            raise told[1]
        result: T = told[0]
        return result


@contextlib.contextmanager
def joined() -> Iterator[Processes]:
    """The group that this process was started in; alone where it was started by itself.

    Raises:
        InvalidInputError: the launcher's variables are incomplete.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Alone()
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise InvalidInputError(
            f"WORLD_SIZE is set, but not {', '.join(missing)}.",
            advice="Start the processes with accelerate launch or torchrun.",
        )
    torch.distributed.init_process_group("gloo")
    try:
        yield Together()
        torch.distributed.barrier()  # the group ends together: a process that leaves early breaks the others
    finally:
        torch.distributed.destroy_process_group()
