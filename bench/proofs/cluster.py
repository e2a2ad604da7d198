"""``sllm up`` with two replicas of the demo model on llama.cpp, for as long as the proofs run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.request import urlopen

MODEL = "smollm2-135m"


@contextmanager
def two_replicas() -> Iterator[str]:
    """Run it; yield the URL of the gateway."""
    with tempfile.TemporaryDirectory(prefix="sllm-proofs-") as folder:
        log = Path(folder, "up.log")
        ports = ("--port", "0", "--cluster-port", "0", "--transport-port", "0", "--worker-port", "0")
        with (
            log.open("wb") as output,
            subprocess.Popen(
                [sys.executable, "-m", "sllm_actors", "up", "--data-dir", f"{folder}/data", *ports],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as up,
        ):
            try:
                url = _url(log)
                deploy = ("deploy", MODEL, "--backend", "llamacpp", "--source", f"demo:{MODEL}")
                replicas = ("--min-instances", "2", "--max-instances", "2", "--wait", "--timeout", "120")
                subprocess.run(
                    [sys.executable, "-m", "sllm_actors", *deploy, *replicas],
                    check=True,
                    env={**os.environ, "LLM_SERVER_URL": url},
                    stdout=subprocess.DEVNULL,
                )
                yield url
            finally:
                up.send_signal(signal.SIGTERM)
                try:
                    up.wait(30)
                except subprocess.TimeoutExpired:
                    up.kill()


def idle(url: str, within: float = 30.0) -> bool:
    """Return whether nothing is in flight or held within so many seconds."""
    deadline = time.monotonic() + within
    while True:
        deployment = get(url, "/status")["deployments"][0]
        if deployment["in_flight"] == deployment["held"] == 0:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)


def get(url: str, path: str) -> dict[str, Any]:
    """Return a document of the gateway's."""
    with urlopen(url + path, timeout=30) as answer:  # noqa: S310 - our own gateway
        return cast("dict[str, Any]", json.load(answer))


def _url(log: Path) -> str:
    deadline = time.monotonic() + 60
    while True:
        found = re.search(r"OpenAI API: (http://\S+)/v1", log.read_text())
        if found:
            return found[1]
        if time.monotonic() > deadline:
            raise TimeoutError(f"sllm up did not start: {log.read_text()}")
        time.sleep(0.1)
