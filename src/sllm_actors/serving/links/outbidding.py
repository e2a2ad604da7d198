"""Outbidding a head that is gone: this head takes a higher epoch, so that the workers obey it."""

from __future__ import annotations

import structlog
from attrs import frozen

from sllm_actors.actors import Context
from sllm_actors.serving.head_feeds import HeadFeeds
from sllm_actors.serving.messages import WorkerInventory
from sllm_actors.serving.store.problem import StoreProblem
from sllm_actors.serving.store.writer import StoreWriter
from sllm_actors.serving.store.writes import RaiseEpoch

from .higher_epochs import HigherEpochs

log = structlog.get_logger("sllm_actors.controller")

OUTBID_AFTER = 2.0
"""Seconds that a worker which has obeyed a head of a higher epoch has to find that head again."""


@frozen
class Outbid:
    """See whether a worker, which has obeyed another head, has no other head now."""

    node: str


@frozen
class EpochRaised:
    """The store holds a higher epoch."""

    epoch: int


class Outbidding:
    """Raises the epoch where ``HigherEpochs`` says so. For the turns of the head's actor.

    Args:
        context: The actor's, which gets ``Outbid`` and ``EpochRaised`` and hands them to ``go_on``.
        writer: Writes the epoch first.
        feeds: Have the epoch of this head.
    """

    def __init__(self, context: Context, writer: StoreWriter, feeds: HeadFeeds) -> None:
        self._context = context
        self._writer = writer
        self._feeds = feeds
        self._epochs = HigherEpochs()

    def said(self, said: WorkerInventory) -> None:
        """Take what a linked worker said of the epoch that it obeyed."""
        self._later(self._epochs.said(said, self._feeds.epoch))

    def lost(self, node: str) -> None:
        """Take a lost link to a worker."""
        self._later(self._epochs.lost(node))

    def go_on(self, message: Outbid | EpochRaised) -> None:
        """Go on after a while, or once the store holds the epoch."""
        match message:
            case Outbid(node):
                epoch = self._epochs.outbid(node, self._feeds.epoch)
                if epoch is not None:
                    self._context.start_soon(self._raise_epoch, epoch)
            case EpochRaised(epoch):
                self._feeds.raise_epoch(epoch)

    def _later(self, nodes: tuple[str, ...]) -> None:
        for node in nodes:
            self._context.after(OUTBID_AFTER, Outbid(node))

    async def _raise_epoch(self, epoch: int) -> None:
        try:
            await self._writer.commit([RaiseEpoch(epoch)])
        except StoreProblem as problem:
            log.error("controller.epoch_not_raised", epoch=epoch, problem=str(problem))  # noqa: TRY400
            return
        self._context.after(0.0, EpochRaised(epoch))
