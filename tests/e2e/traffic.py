"""Clients that ask one model in a loop while a test does something to the cluster."""

from __future__ import annotations

import threading
from collections import Counter
from types import TracebackType
from typing import Self

import httpx2

from .cluster import eventually


class Traffic:
    """Some clients that ask without pause, each on connections of its own; every answer is counted.

    Used as a context manager: at its end each client has had its last answer, and none may have failed.

    Args:
        url: The gateway.
        model: Whom they ask.
        clients: How many there are.
        watch: The id of a deployment of which a replica has to be ready at every moment, as the head says;
            "" for none. While the head is away, or waits for its workers to report, nothing is seen.

    Attributes:
        answers: How often each engine has answered, by the name that it gives itself.
        failures: What was not answered with 200, or was never answered.
    """

    def __init__(self, url: str, model: str, *, clients: int = 3, watch: str = "") -> None:
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self.gaps: list[str] = []
        self._url, self._model, self._watched = url, model, watch
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(clients)]
        if watch:
            self._threads.append(threading.Thread(target=self._watch, daemon=True))

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
            thread.join(60)
        if kind is None:
            assert not self.failures, (len(self.failures), self.failures[:3])
            assert not self.gaps, (len(self.gaps), self.gaps[:3])

    def wait_for_answers(self, count: int = 20, *, by: str = "") -> None:
        """Wait until so many more requests were answered: by one engine, or by any."""

        def answered() -> int:
            with self._lock:
                return self.answers[by] if by else self.answers.total()

        goal = answered() + count
        eventually(lambda: self.failures or answered() >= goal, what=f"{count} answers {by}")

    def _ask(self) -> None:
        body = {"model": self._model, "messages": [{"role": "user", "content": "one two three"}]}
        with httpx2.Client(timeout=60, trust_env=False) as client:
            while not self._over.wait(0.02):
                try:
                    answer = client.post(f"{self._url}/v1/chat/completions", json=body)
                except httpx2.HTTPError as error:
                    self.failures.append(repr(error))
                    continue
                with self._lock:
                    if answer.status_code == 200:
                        self.answers[answer.json()["model"]] += 1
                    else:
                        self.failures.append(f"{answer.status_code} {answer.text}")

    def _watch(self) -> None:
        with httpx2.Client(base_url=self._url, timeout=60, trust_env=False) as client:
            while not self._over.wait(0.05):
                answer = client.get(f"/deployments/{self._watched}")
                if answer.status_code != 200:
                    continue
                described = answer.json()
                waits = described["detail"].startswith("the head has just started")
                if not described["ready_replicas"] and not waits:
                    self.gaps.append(answer.text)
