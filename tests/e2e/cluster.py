"""A whole cluster of real processes, as a person starts it, for tests that only look at it from outside."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import psutil
from tests.children import interrupts

T = TypeVar("T")

DEMO = "smollm2-135m"
DEMO_ID = f"{DEMO}:llamacpp"


PATIENCE = 90.0
"""Seconds that a test waits for what is bound to come: on a busy machine, a start may take long.

A wait that succeeds costs nothing. Only what is promised to come sooner has a bound of its own.
"""


def eventually(
    probe: Callable[[], T | None], *, within: float = PATIENCE, what: str, every: float = 0.02
) -> T:
    """Return the first result that is true; fail when none came in time. Times are in seconds.

    A probe that raises has not seen it yet: a node is killed while it answers, a list lacks the entry so far,
    a process ends while it is looked at. What it raised last is told with the failure. An ``AssertionError``
    of a probe fails at once.
    """
    deadline = time.monotonic() + within
    while True:
        problem: Exception | None = None
        try:
            if result := probe():
                return result
        except AssertionError:
            raise
        except Exception as error:  # noqa: BLE001 - told in the end
            problem = error
        if time.monotonic() > deadline:
            told = "" if problem is None else f" ({problem!r})"
            raise AssertionError(f"not within {within} s: {what}{told}") from problem
        time.sleep(every)


class Sllm:
    """One ``sllm up|head|worker|gateway`` process, with everything that it said.

    Args:
        program: The ``sllm`` that is run; by default that of the environment of the tests.
        prefix: What runs it: ``ip netns exec NAME`` puts it on another host.
        ignoring: It is started with SIGINT ignored, as a background job of a shell is.
    """

    def __init__(
        self,
        *arguments: str,
        env: dict[str, str] | None = None,
        program: Sequence[str] = (sys.executable, "-m", "sllm_actors"),
        prefix: Sequence[str] = (),
        ignoring: bool = False,
    ) -> None:
        with interrupts(ignored=ignoring):
            self.process = subprocess.Popen(
                [*prefix, *program, *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
                start_new_session=True,
            )
        self.lines: list[str] = []
        self._seen: set[psutil.Process] = set()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, *, within: float = PATIENCE) -> re.Match[str]:
        """Wait until a line matches."""

        def look() -> re.Match[str] | None:
            assert self.process.poll() is None or self._reader.is_alive(), self.output
            return next((m for line in list(self.lines) if (m := re.search(pattern, line))), None)

        try:
            return eventually(look, within=within, what=pattern)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output}") from None

    def node(self, name: str) -> int:
        """Return the process id of a node, once this launcher runs it."""

        def running() -> int | None:
            return next((pid for pid, node in self.nodes() if node == name), None)

        try:
            return eventually(running, what=f"{name} runs")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output}") from None

    def nodes(self) -> Iterator[tuple[int, str]]:
        """Yield the nodes that run now, by the directory of the log that they write.

        Its name is read from the kernel: on another host, there is no such file here.
        """
        for child in psutil.Process(self.process.pid).children():
            with suppress(OSError):  # it has ended just now
                for descriptor in Path(f"/proc/{child.pid}/fd").iterdir():
                    if (file := descriptor.readlink()).name == "node.log":
                        yield child.pid, file.parent.name

    def look(self) -> set[psutil.Process]:
        """Remember every process below the launcher."""
        self._seen |= set(psutil.Process(self.process.pid).children(recursive=True))
        return self._seen

    def stop(self, *, number: int = signal.SIGINT, within: float = PATIENCE) -> int:
        """Stop it as ^C does; return the exit status."""
        if self.process.poll() is None:
            self.look()
            self.process.send_signal(number)
        return self.ended(within=within)

    def ended(self, *, within: float = PATIENCE) -> int:
        """Wait until it has ended by itself; return the exit status."""
        status = self.process.wait(within)
        self._reader.join(60)
        return status

    def left(self) -> list[psutil.Process]:
        """Return what was below the launcher at any ``look`` and still runs."""
        return [process for process in self._seen if _runs(process)]

    def kill_all(self) -> None:
        """Leave nothing behind, whatever a test has done."""
        if self.process.poll() is None:
            self.look()
            self.process.kill()
            self.process.wait()
        for process in self.left():
            with suppress(psutil.NoSuchProcess):  # it has ended just now
                process.kill()
        self._reader.join(60)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))


class Cluster:
    """``sllm up`` with the demo model, and an HTTP client for its control API."""

    def __init__(self, data_dir: Path, *arguments: str) -> None:
        self.data_dir = data_dir
        ports = ("--port", "0", "--cluster-port", "0", "--transport-port", "0", "--worker-port", "0")
        self.sllm = Sllm("up", "--data-dir", str(data_dir), *ports, *arguments)
        try:
            self.url = self.sllm.wait_for(r"OpenAI API: (http://\S+)/v1")[1]
        except BaseException:
            self.sllm.kill_all()
            raise
        self.http = httpx2.Client(base_url=self.url, timeout=60.0, trust_env=False)

    def wait_ready(self, deployment: str = DEMO_ID, *, within: float = PATIENCE) -> dict[str, Any]:
        """Wait until a deployment has a ready replica; return its description."""

        def ready() -> dict[str, Any] | None:
            described = self.describe(deployment)
            return described if described is not None and described["state"] == "ready" else None

        return eventually(ready, within=within, what=f"{deployment} ready")

    def describe(self, deployment: str = DEMO_ID) -> dict[str, Any] | None:
        """Return what the head says of a deployment, or None when it knows none or is away."""
        response = httpx2.get(f"{self.url}/deployments/{deployment}", timeout=60, trust_env=False)
        return response.json() if response.status_code == 200 else None

    def described(self, deployment: str = DEMO_ID) -> dict[str, Any]:
        """Return what the head says of a deployment that it knows; wait while it is away."""
        return eventually(lambda: self.describe(deployment), what=f"the head tells of {deployment}")

    def nodes(self) -> list[dict[str, Any]]:
        """Return what the head says of each node, or nothing when it is away."""
        response = httpx2.get(f"{self.url}/status", timeout=60, trust_env=False)
        nodes: list[dict[str, Any]] = response.json()["nodes"] if response.status_code == 200 else []
        return nodes

    def engine(self, deployment: str = DEMO_ID) -> int:
        """Return the process (and group) id of the one engine of a deployment."""
        described = self.wait_ready(deployment)
        pid: int = next(i["pid"] for i in described["instances"] if i["state"] == "ready")
        return pid

    def ask(self, text: str = "What is gravity?", **more: Any) -> str:
        """Send one chat request; return the answer's text."""
        body = {"model": DEMO, "messages": [{"role": "user", "content": text}], "max_tokens": 16, **more}
        # On a connection of its own: one that was kept open is reset when its gateway is killed.
        response = httpx2.post(f"{self.url}/v1/chat/completions", json=body, timeout=60, trust_env=False)
        assert response.status_code == 200, response.text
        answer: str = response.json()["choices"][0]["message"]["content"]
        return answer

    def close(self) -> None:
        self.http.close()
        self.sllm.kill_all()


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def group_is_gone(pgid: int) -> bool:
    """Return whether no process of a group is left (zombies do not count)."""
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == pgid and process.status() != psutil.STATUS_ZOMBIE:
                return False
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return True
