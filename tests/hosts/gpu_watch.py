"""Looks again and again whether engines have more of a GPU than there is, or company that none may have."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Self

from .engines import Engine, engines_of
from .network import Network

SAMPLED = 0.1
"""Seconds between two looks."""


def violations(engines: Sequence[Engine], memory: int) -> Iterator[tuple[str, list[Engine]]]:
    """Yield what engines on one machine must not have, and who has it.

    Args:
        engines: The engines.
        memory: The bytes of each GPU of the machine; 0 where it has none: there, nobody has a share.
    """
    on: defaultdict[str, list[Engine]] = defaultdict(list)
    for engine in engines:
        for gpu in engine.gpus:
            on[gpu].append(engine)
    for gpu, those in on.items():
        if len(those) > 1 and not all(each.share for each in those):
            yield f"company for an exclusive engine on GPU {gpu}", those
        if (total := sum(each.holds(gpu) for each in those)) > memory:
            yield f"{total} bytes are reserved of the {memory} of GPU {gpu}", those


class GpuWatch:
    """Samples the engines of all hosts while a block lasts, ten times a second.

    Args:
        network: The hosts.
        memory: The bytes of each of their GPUs; 0 for GPUs that are only a number.

    Attributes:
        violations: What must never be, with the host's name, as it was seen.
        looks: How often was looked.
    """

    def __init__(self, network: Network, memory: int) -> None:
        self.violations: list[str] = []
        self.looks = 0
        self._network, self._memory = network, memory
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._thread.is_alive(), "it looks no more"
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(SAMPLED):
            for name, engines in engines_of(self._network).items():
                for what, those in violations(engines, self._memory):
                    # who was seen first may have ended before the last one began
                    if all(each.runs() for each in those):
                        self.violations.append(f"{name}: {what}: {those}")
            self.looks += 1
