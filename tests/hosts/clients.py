"""Clients that ask one model in a loop while something happens to the cluster: each outcome is recorded."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import httpx2
from attrs import frozen
from tests.e2e.cluster import DEMO, eventually

PAUSE = 0.2
"""Seconds that a client waits between an answer and its next request. Engines are to have time to spare."""

PATIENCE = 150.0
"""Seconds of silence after which a client gives up. It is never to happen."""


@frozen
class Outcome:
    """What became of one request.

    Attributes:
        client: Who asked.
        gateway: Where the request was sent.
        streamed: Whether the answer was to be streamed.
        began: When it was sent, in seconds as ``time.time()`` tells them.
        ended: When its answer was complete, or it had failed.
        problem: Why there is no whole answer; "" for one that was answered.
    """

    client: int
    gateway: str
    streamed: bool
    began: float
    ended: float
    problem: str = ""


class Clients:
    """Some clients, each with one request under way at any time; half of them want their answers streamed.

    A client knows the addresses of all gateways. It goes on to the next one when it cannot connect, as then
    nothing was sent; whatever else goes wrong is its request's outcome, and nothing is sent a second time.
    Each request has a connection of its own: on one that is kept, a server that closes it and a client that
    sends may miss each other, whoever they are.

    Used as a context manager: every client has had answers at the beginning, and its last outcome at the end.

    Args:
        urls: The gateways.
        key: A key that they take.
        count: How many clients there are.
    """

    def __init__(self, urls: Sequence[str], key: str, *, count: int = 4) -> None:
        self._urls, self._key = tuple(urls), key
        self._outcomes: list[Outcome] = []
        self._under_way: dict[int, float] = {}
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(number,), daemon=True) for number in range(count)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.wait_for_answers()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE + 30)

    @property
    def outcomes(self) -> list[Outcome]:
        """What has become of all requests that have ended."""
        return list(self._outcomes)

    def waiting_since(self, moment: float) -> bool:
        """Return whether a request that was sent before a moment is still under way."""
        return any(began < moment for began in list(self._under_way.values()))

    def wait_for_one_that_waits(self, seconds: float) -> None:
        """Wait until a request has been under way for so long."""
        eventually(lambda: self.waiting_since(time.time() - seconds), what=f"one waits for {seconds} s")

    def wait_for_answers(self, count: int = 3) -> None:
        """Wait until each client has had so many answers to what it sends from now on."""
        now = time.time()

        def answered() -> bool:
            had = [each.client for each in self._outcomes if each.began > now and not each.problem]
            return all(had.count(number) >= count for number in range(len(self._threads)))

        eventually(answered, what=f"each client has {count} answers, after {self._outcomes[-3:]}")

    def _ask(self, number: int) -> None:
        headers = {"Authorization": f"Bearer {self._key}"}
        never_kept = httpx2.Limits(max_keepalive_connections=0)
        with httpx2.Client(headers=headers, timeout=PATIENCE, limits=never_kept, trust_env=False) as client:
            turn = number
            while not self._over.wait(PAUSE):
                streamed = number % 2 == 1
                self._under_way[number] = began = time.time()
                gateway, problem = self._urls[turn % len(self._urls)], ""
                for _ in self._urls:
                    gateway = self._urls[turn % len(self._urls)]
                    try:
                        problem = _exchange(client, gateway, streamed=streamed)
                    except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                        problem = repr(error)
                        turn += 1
                        continue
                    except httpx2.HTTPError as error:
                        problem = repr(error)
                    break
                del self._under_way[number]
                self._outcomes.append(Outcome(number, gateway, streamed, began, time.time(), problem))
                turn += 1


def _exchange(client: httpx2.Client, url: str, *, streamed: bool) -> str:
    """Ask once; return what was wrong with the answer.

    No request is like another one: two that were under way when engines died would be taken for the cause. It
    is short: a chat would cost the engine three times as much, mostly for what is put around the words.
    """
    body = {
        "model": DEMO,
        "prompt": f"{uuid.uuid4().hex[:8]}: one, two,",
        "max_tokens": 2,
        "ignore_eos": True,
        "temperature": 0,
        "stream": streamed,
    }
    answer = client.post(f"{url}/v1/completions", json=body)
    if answer.status_code != 200:
        return f"{answer.status_code} {answer.text}"
    if not streamed:
        return "" if answer.json()["choices"][0]["text"] else f"no text in {answer.text}"
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    if not events or events[-1] != "[DONE]":
        return f"not whole: {answer.text[-300:]}"
    wrong = [event for event in events[:-1] if "choices" not in json.loads(event)]
    return f"in its stream: {wrong[0]}" if wrong else ""
