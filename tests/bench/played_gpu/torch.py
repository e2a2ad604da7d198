"""As much of PyTorch as an engine needs that holds GPU memory, on the played GPU."""

from __future__ import annotations

from tests.bench.played_gpu.held_memory import CONTEXT, MIB, hold

uint8 = 1
held = 0


class Tensor:
    """Bytes on the GPU or in the machine's memory."""

    def __init__(self, size: int, device: str) -> None:
        self.size, self.device = size, device
        self._count(size // MIB)

    def __del__(self) -> None:
        self._count(-self.size // MIB)

    def _count(self, mib: int) -> None:
        global held
        if self.device == "cuda":
            held += mib
            hold(CONTEXT + held)

    @property
    def shape(self) -> int:
        """How large it is."""
        return self.size

    @property
    def dtype(self) -> int:
        """What its numbers are."""
        return uint8

    def copy_(self, other: Tensor) -> Tensor:
        """Take what another tensor of the same size has."""
        assert other.size == self.size
        return self

    def to(self, device: str) -> Tensor:
        """Return a copy somewhere else."""
        return Tensor(self.size, device)


def ones(size: int, *, dtype: int, device: str) -> Tensor:
    """Return a tensor."""
    assert dtype == uint8
    return Tensor(size, device)


def empty(size: int, *, dtype: int, pin_memory: bool) -> Tensor:
    """Return a tensor in the machine's memory."""
    assert (dtype, pin_memory) == (uint8, True)
    return Tensor(size, "cpu")


class cuda:
    """What is freed goes back to the driver at once."""

    @staticmethod
    def synchronize() -> None: ...

    @staticmethod
    def empty_cache() -> None: ...
