"""A client that asks again and again, and remembers every outcome."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from attrs import define, field
from tests.e2e.cluster import PATIENCE, eventually

from .machines import chat


@define
class Outcomes:
    """What came of the requests so far.

    Attributes:
        answered: How many were answered well.
        failed: What came of the others.
    """

    answered: int = 0
    failed: list[str] = field(factory=list)

    def wait_for_more(self, count: int = 3) -> None:
        """Wait until so many more were answered."""
        enough = self.answered + count
        eventually(lambda: self.answered >= enough or self.failed, what="requests are answered")
        assert self.failed == []


@contextmanager
def steady(client: httpx2.Client) -> Iterator[Outcomes]:
    """Ask one thing after the other while the block lasts."""
    outcomes = Outcomes()
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            try:
                answer = chat(client, max_tokens=4)
            except httpx2.HTTPError as error:
                outcomes.failed.append(repr(error))
                continue
            if answer.status_code == 200:
                outcomes.answered += 1
            else:
                outcomes.failed.append(answer.text)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    try:
        outcomes.wait_for_more()
        yield outcomes
    finally:
        over.set()
        asking.join(PATIENCE)
