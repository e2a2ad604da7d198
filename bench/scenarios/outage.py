"""Clients that ask on while a worker is killed: what they see of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Lock
from typing import Final

import httpx2
from attrs import define, field

from bench.cold_suite.cluster import ClusterFailed, wait_for
from bench.gateway_suite.system import SystemFailed
from bench.peers.serving import CannotDo, Serving, lives

from .asking import WORDS, Body

PAUSE: Final = 0.25
"""Seconds after a request that failed, before a client sends the next one."""

PATIENCE: Final = 60.0
"""Seconds until a system must answer again."""

REQUEST: Final = 20.0
"""Seconds that a client waits for an answer."""

UNDER_WAY: Final = 1.0
"""Seconds in which all clients are at work before the kill."""


@define
class Outage:
    """What clients saw.

    Attributes:
        answered: Requests that were answered.
        failed: Requests that got no answer.
        last: What came instead, of the last of them.
        gone: Set when the killed engine is gone; who asks from then on is answered by another one.
        over: Set when such an answer came.
    """

    answered: int = 0
    failed: int = 0
    last: str = ""
    gone: Event = field(factory=Event)
    over: Event = field(factory=Event)
    _lock: Lock = field(factory=Lock)

    def ask_on(self, http: httpx2.Client, body: Body) -> None:
        """Ask one request after the other until it is over."""
        while not self.over.is_set():
            late = self.gone.is_set()
            said = refusal(http, body)
            if self.over.is_set():
                return
            with self._lock:
                if said is None:
                    self.answered += 1
                else:
                    self.failed, self.last = self.failed + 1, said
            if said is not None:
                self.over.wait(PAUSE)
            elif late:
                self.over.set()

    def sentence(self) -> str:
        """Return what became of the requests."""
        last = f", the last with: {self.last}" if self.last else ""
        return f"{self.answered} requests were answered and {self.failed} failed{last}"


def refusal(http: httpx2.Client, body: Body) -> str | None:
    """Send a request; return what came instead of an answer, or None."""
    try:
        answer = http.post("/v1/completions", json=body)
    except httpx2.HTTPError as error:
        return str(error) or type(error).__name__
    return None if answer.is_success else f"{answer.status_code} {answer.text[:WORDS]}"


def through_a_kill(system: Serving, clients: int, body: Body) -> dict[str, float]:
    """Kill the worker under clients that ask on; return when another engine answers, and what failed.

    Raises:
        CannotDo: It has no worker.
        ClusterFailed: None answers; the text says what the clients saw.
    """
    before = system.engines()
    with _asking(system.url() or "", clients, body) as outage:
        time.sleep(UNDER_WAY)
        outage.answered = outage.failed = 0
        began = time.monotonic()

        def back() -> bool:
            if not any(lives(each) for each in before):
                outage.gone.set()
            system.url()  # which raises when the model has ended for good
            return outage.over.is_set()

        system.kill_worker()
        try:
            wait_for(back, within=PATIENCE, what="an answer of another engine")
        except (ClusterFailed, SystemFailed, CannotDo, httpx2.HTTPError) as failure:
            stays = "" if outage.gone.is_set() else "; the engine of the killed worker still runs"
            raise ClusterFailed(f"{failure}{stays}; {outage.sentence()}") from failure
        return {"back_s": time.monotonic() - began, "lost": float(outage.failed)}


@contextmanager
def _asking(url: str, clients: int, body: Body) -> Iterator[Outage]:
    outage = Outage()
    limits = httpx2.Limits(max_connections=clients)
    with (
        ThreadPoolExecutor(clients) as pool,
        httpx2.Client(base_url=url, timeout=REQUEST, limits=limits, trust_env=False) as http,
    ):
        for _ in range(clients):
            pool.submit(outage.ask_on, http, body)
        try:
            yield outage
        finally:
            outage.over.set()
