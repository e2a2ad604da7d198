"""Workers that have obeyed a head of a higher epoch: whether this head is to outbid that one. Pure."""

from __future__ import annotations

import structlog

from sllm_actors.serving.messages import WorkerInventory

log = structlog.get_logger("sllm_actors.controller")


class HigherEpochs:
    """What workers said of the epochs that they obeyed.

    A worker takes no order of a lower epoch than one that it obeyed before. If the head of that epoch is
    gone, this head has to outbid it. If it is still there, for that worker or for any other one, this head
    does not: outbidding each other, both would move the same replicas.
    """

    def __init__(self) -> None:
        self._free: dict[str, int] = {}  # by worker: the higher epoch, of a head that is not there now
        self._taken: dict[str, str] = {}  # by worker: the other head that it obeys now

    def said(self, said: WorkerInventory, own: int) -> tuple[str, ...]:
        """Take what a worker said; return for which workers ``outbid`` is to be called a moment later.

        That the worker obeys another head is logged when it begins.

        Args:
            said: With the epoch that the worker obeyed last, and the head that it obeys now.
            own: This head's epoch.
        """
        higher = said.epoch > own
        self._free.pop(said.node, None)
        if higher and not said.obeys:
            self._free[said.node] = said.epoch
        if not (higher and said.obeys):
            return self._let_go(said.node) or tuple(self._free.keys() & {said.node})
        if self._taken.get(said.node) != said.obeys:
            self._taken[said.node] = said.obeys
            log.warning("controller.not_obeyed", node=said.node, obeys=said.obeys, epoch=said.epoch)
        return ()

    def lost(self, node: str) -> tuple[str, ...]:
        """Take a lost link; return for which workers ``outbid`` is to be called a moment later."""
        self._free.pop(node, None)
        return self._let_go(node)

    def outbid(self, node: str, own: int) -> int | None:
        """Return the epoch that this head is to have, or None if some worker obeys another head now.

        Args:
            node: The worker.
            own: This head's epoch.
        """
        if self._taken:
            return None  # and when the last of them has lost it, this is called again
        higher = self._free.pop(node, 0)
        return higher + 1 if higher > own else None

    def _let_go(self, node: str) -> tuple[str, ...]:
        """Note that a worker obeys no other head; return who waits for that, if nobody does any more."""
        if self._taken.pop(node, None) is None or self._taken:
            return ()
        return tuple(self._free)
