"""What is known of the GPU memory of engines: of their models by the files, and by how engines fared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sllm_actors.engines.gpu_figures import GpuFigures
from sllm_actors.serving.store.records import MeasuredRecord

from .gpu_memory import GpuEstimate, Seen, estimate, raised
from .peaks import MOST_PEAKS, NEWS

WEIGHTS: Final = "gpu_weights"
TOKEN: Final = "gpu_token"  # noqa: S105 - bytes
CONTEXT: Final = "gpu_context"
USED: Final = "gpu_used"
LEAST: Final = "gpu_least"
KINDS: Final = (WEIGHTS, TOKEN, CONTEXT, USED, LEAST)


class KnownFigures:
    """By the fingerprint of a revision: what its engines take of each GPU.

    Args:
        known: What was learned before.
    """

    def __init__(self, known: Iterable[MeasuredRecord] = ()) -> None:
        self._known: dict[str, dict[str, int]] = {}
        for each in known:
            if each.kind in KINDS:
                self._known.setdefault(each.engine, {})[each.kind] = int(each.value)

    def of(self, engine: str) -> GpuFigures | None:
        """Return what the files of an engine's model tell; None where they have not been seen."""
        known = self._known.get(engine, {})
        if WEIGHTS not in known:
            return None
        return GpuFigures(known[WEIGHTS], known.get(TOKEN, 0), known.get(CONTEXT, 0))

    def estimate(self, engine: str, target: int) -> GpuEstimate | None:
        """Return what a replica takes of each GPU that is to have ``target`` requests; None: not known."""
        if (figures := self.of(engine)) is None:
            return None
        known = self._known[engine]
        return estimate(figures, target, Seen(known.get(USED, 0), known.get(LEAST, 0)))

    def learn(self, engine: str, figures: GpuFigures | None, at: float) -> list[MeasuredRecord]:
        """Take what files tell; return what is to be kept, which is nothing where that is no news.

        Args:
            engine: The fingerprint of the revision; "" for an unknown one.
            figures: None where nothing is told.
            at: The time, in seconds since the epoch.
        """
        if not engine or figures is None:
            return []
        told = {WEIGHTS: figures.weights, TOKEN: figures.token, CONTEXT: figures.context}
        return self._put(engine, told, at)

    def learn_used(self, engine: str, used: int, at: float) -> list[MeasuredRecord]:
        """Take what an engine has of each GPU without its KV cache: the most that one had; see ``learn``."""
        known = self._known.get(engine, {}).get(USED, 0)
        return self._put(engine, {USED: used}, at) if engine and used > known * (1 + NEWS) else []

    def learn_lacked(
        self, engine: str, target: int, share: int, short: int, at: float
    ) -> list[MeasuredRecord]:
        """Take that an engine did not start with its share, of which it lacked some bytes; see ``learn``."""
        before = self.estimate(engine, target)
        least = 0 if before is None or not short else raised(before, share, short)
        return self._put(engine, {LEAST: least}, at) if least else []

    def _put(self, engine: str, told: dict[str, int], at: float) -> list[MeasuredRecord]:
        known = self._known.get(engine)
        if known is None:
            if len(self._known) >= MOST_PEAKS:
                del self._known[next(iter(self._known))]
            known = self._known[engine] = {}
        news = {kind: value for kind, value in told.items() if known.get(kind) != value}
        known |= news
        return [MeasuredRecord(engine, "", kind, float(value), at) for kind, value in news.items()]
