"""An engine that holds real GPU memory: ``python engine.py --socket PATH --weights MIB --cache MIB``.

It speaks and sleeps as the fake engine of the tests does, and has as much memory of its GPU as an engine with
such weights and such a cache would have, by way of PyTorch.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

MIB = 2**20


def load_fake_engine(program: Path) -> ModuleType:
    """Load the fake engine from its file: the Python that runs here need not have this package."""
    spec = importlib.util.spec_from_file_location("fake_engine", program)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fake_engine"] = module
    spec.loader.exec_module(module)
    return module


class Memory(Protocol):
    """Where tensors are."""

    def on_gpu(self, mib: int) -> Any:
        """Return a tensor of so many MiB on the GPU, written once."""

    def on_gpu_again(self, tensor: Any) -> Any:
        """Return a tensor of the machine's memory as one on the GPU."""

    def on_machine(self, tensor: Any) -> Any:
        """Return a tensor of the GPU as one in the machine's memory, pinned there as vLLM does."""

    def let_go(self) -> None:
        """Give the driver back what no tensor has any more."""


class Tensors:
    """What the engine has: weights and a cache, on the GPU or, asleep, in the machine's memory or nowhere."""

    def __init__(self, memory: Memory, weights: int, cache: int) -> None:
        self._memory = memory
        self._sizes = (weights, cache)
        self.weights = memory.on_gpu(weights)
        self.cache = memory.on_gpu(cache)
        self.kept: Any = None

    def sleep(self, level: int) -> None:
        """Give the GPU's memory back: level 1 keeps the weights in the machine's, level 2 drops them."""
        if level == 0:
            return
        self.kept = self._memory.on_machine(self.weights) if level == 1 else None
        self.weights = self.cache = None
        self._memory.let_go()

    def wake(self, tags: Sequence[str]) -> None:
        """Take the memory again of what the tags name, or of all."""
        weights, cache = self._sizes
        if self.weights is None and (not tags or "weights" in tags):
            kept, self.kept = self.kept, None
            self.weights = self._memory.on_gpu(weights) if kept is None else self._memory.on_gpu_again(kept)
        if self.cache is None and (not tags or "kv_cache" in tags):
            self.cache = self._memory.on_gpu(cache)


class TorchMemory:
    """``Memory``, by PyTorch."""

    def __init__(self) -> None:
        self._torch: Any = importlib.import_module("torch")

    def on_gpu(self, mib: int) -> Any:
        """See ``Memory``."""
        return self._torch.ones(mib * MIB, dtype=self._torch.uint8, device="cuda")

    def on_gpu_again(self, tensor: Any) -> Any:
        """See ``Memory``."""
        return tensor.to("cuda")

    def on_machine(self, tensor: Any) -> Any:
        """See ``Memory``."""
        kept = self._torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        return kept.copy_(tensor)

    def let_go(self) -> None:
        """See ``Memory``."""
        self._torch.cuda.synchronize()
        self._torch.cuda.empty_cache()


def main() -> None:
    """Run the engine."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fake-engine", type=Path, required=True, help="the file of the fake engine")
    parser.add_argument("--weights", type=int, required=True, help="MiB")
    parser.add_argument("--cache", type=int, required=True, help="MiB")
    mine, rest = parser.parse_known_args()
    fake_engine = load_fake_engine(mine.fake_engine)
    options = fake_engine.read_options(rest)
    tensors = Tensors(TorchMemory(), mine.weights, mine.cache)

    class Engine(fake_engine.Engine):  # type: ignore[misc,name-defined]
        def sleep(self, level: int) -> None:
            tensors.sleep(level)
            super().sleep(level)

        def wake(self, tags: Sequence[str]) -> None:
            tensors.wake(tags)
            super().wake(tags)

    fake_engine.listen(Engine(options), options)


if __name__ == "__main__":
    main()
