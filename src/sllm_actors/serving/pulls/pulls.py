"""The pulls of one worker."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeAlias

import anyio
import structlog
from attrs import define, field

from sllm_actors.descriptors import explain
from sllm_actors.disk import DiskSilent
from sllm_actors.engines.errors import LaunchProblem, name_worker
from sllm_actors.models.errors import SourceProblem
from sllm_actors.models.pull import pull, size_here
from sllm_actors.models.store import ModelStore

from .messages import CancelPull, DescribePull, PullModel, PullReport, PullState

log = structlog.get_logger("sllm_actors.worker")

AT_A_TIME: Final = 2
"""How many models are brought at the same time, beside those that replicas wait for; more wait in turn."""

MOST_PULLS: Final = 64
"""How many pulls are under way or waiting at most, and how many that have ended are remembered."""

PullQuestion: TypeAlias = PullModel | DescribePull | CancelPull


@define(eq=False)
class _Pull:
    """A pull that has not ended well."""

    state: PullState = PullState.QUEUED
    done: int = 0
    total: int = 0
    progress: str = ""
    reason: str = ""
    scope: anyio.CancelScope = field(factory=anyio.CancelScope)

    def report(self) -> PullReport:
        return PullReport(self.state, self.done, self.total, self.progress, self.reason)

    def say(self, words: str) -> None:
        self.progress = words

    def count(self, done: int, total: int) -> None:
        self.done, self.total = done, total

    def end(self, state: PullState, reason: str = "") -> None:
        self.state, self.progress, self.reason = state, "", reason


class Pulls:
    """Brings model files when asked, and says how far they are. Only of the loop that it is made in.

    Whether files are here is read from the disk each time: nothing else says so. What is under way, has
    failed or was cancelled is remembered, and is forgotten with this object.

    Args:
        start_soon: Starts a task that ends with the worker's actor.
        store: The models of the worker.
        interpreter: Returns the Python that engines of a backend run under; may block.
        name: The worker's name, for sentences; "" if it has none.
    """

    def __init__(
        self,
        start_soon: Callable[..., object],
        store: ModelStore,
        interpreter: Callable[[str], str],
        name: str = "",
    ) -> None:
        self._start_soon = start_soon
        self._store = store
        self._interpreter = interpreter
        self._name = name
        self._pulls: dict[tuple[str, str], _Pull] = {}
        self._turns = anyio.Semaphore(AT_A_TIME)

    async def answer(self, asked: PullQuestion) -> PullReport:
        """Carry out what is asked, and say how far the files are then."""
        key = (asked.backend, asked.source)
        known = self._pulls.get(key)
        if known is not None and known.state.under_way:
            if isinstance(asked, CancelPull):
                known.end(PullState.CANCELLED)
                known.scope.cancel()
            return known.report()
        try:
            size = await size_here(self._store, asked.backend, asked.source)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            return PullReport(PullState.FAILED, reason=self._reason(error))
        if size is not None:
            self._pulls.pop(key, None)
            return PullReport(PullState.DONE, size, size)
        if isinstance(asked, PullModel):
            return self._begin(key)
        return PullReport(PullState.ABSENT) if known is None else known.report()

    def _begin(self, key: tuple[str, str]) -> PullReport:
        known = self._pulls.pop(key, None)
        if known is not None and known.state.under_way:  # another question has begun it meanwhile
            self._pulls[key] = known
            return known.report()
        if sum(each.state.under_way for each in self._pulls.values()) >= MOST_PULLS:
            reason = f"this worker is to bring {MOST_PULLS} models already: ask again later"
            return PullReport(PullState.FAILED, reason=name_worker(reason, self._name))
        ended = [name for name, each in self._pulls.items() if not each.state.under_way]
        for name in ended[: max(0, len(ended) - MOST_PULLS + 1)]:
            del self._pulls[name]
        begun = self._pulls[key] = _Pull()
        self._start_soon(self._run, key, begun)
        return begun.report()

    async def _run(self, key: tuple[str, str], current: _Pull) -> None:
        backend, source = key
        interpreter: Any = partial(self._interpreter, backend)
        try:
            if not self._turns.value:
                current.progress = "waiting until other models are here"
            with current.scope:
                async with self._turns:
                    current.state, current.progress = PullState.PULLING, "beginning"
                    size = await pull(
                        self._store, backend, source, interpreter, say=current.say, count=current.count
                    )
                log.info("model.pulled", model=source, size=size)
                self._forget(key, current)
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever asks is told
            current.end(PullState.FAILED, self._reason(error))
            log.warning("model.not_pulled", model=source, reason=current.reason)

    def _forget(self, key: tuple[str, str], ended: _Pull) -> None:
        if self._pulls.get(key) is ended:
            del self._pulls[key]

    def _reason(self, error: Exception) -> str:
        match error:
            case SourceProblem() | LaunchProblem() | DiskSilent():
                return name_worker(str(error), self._name)
            case OSError():
                return name_worker(f"the files cannot be kept on this worker: {explain(error)}", self._name)
            case _:
                log.error("worker.pull_mistake", exc_info=error)
                return name_worker("this worker made a mistake: its log says where", self._name)
