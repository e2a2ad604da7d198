"""The real command line, run in this process or in one of its own, against a real server."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import frozen
from tests.children import child

from sllm_actors.cli import main, progress
from sllm_actors.cli.commands import delete, events, logs

from .server import PlayedGateway, build_app, serving

VARIABLES = (
    "LLM_SERVER_URL",
    "SLLM_API_KEY",
    "SLLM_DATA_DIR",
    "STORAGE_PATH",
    "SLLM_DATABASE_URL",
    "SLLM_DEBUG",
    "XDG_DATA_HOME",
)


@frozen
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Sllm = Callable[..., Ended]


@pytest.fixture
def gateway() -> Iterator[PlayedGateway]:
    played = PlayedGateway()
    with serving(build_app(played)) as played.url:
        yield played


@pytest.fixture
def sllm(
    gateway: PlayedGateway,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Sllm:
    """Run ``sllm`` in this process, in a home of its own; it is not told to wait long between two looks."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("LLM_SERVER_URL", gateway.url)
    for module in (delete, logs, progress):
        monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(events, "RETRY_SECONDS", 0.01)

    def run(*arguments: str, stdin: str = "") -> Ended:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8"))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        captured = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, captured.out, captured.err)

    return run


@pytest.fixture
def environment(gateway: PlayedGateway, tmp_path: Path) -> dict[str, str]:
    """The environment of a child process that talks to the played gateway."""
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return kept | {"LLM_SERVER_URL": gateway.url, "HOME": str(tmp_path), "TERM": "xterm"}


@pytest.fixture
def sllm_process(environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start ``sllm`` in a process of its own, which ends with the test; ``ignoring`` makes it ignore ^C."""
    with ExitStack() as running:

        def start(*arguments: str, ignoring: bool = False, **more: str) -> subprocess.Popen[str]:
            started = child(
                [sys.executable, "-m", "sllm_actors", *arguments],
                ignoring=ignoring,
                env=environment | more,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            return running.enter_context(started)

        yield start
