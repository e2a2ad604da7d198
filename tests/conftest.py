"""What every room's tests share: the event loops they run on, and a guard against blocking calls.

A test that awaits is marked ``@pytest.mark.anyio`` and runs once on each loop below. A room whose code runs
on one loop only (Quart on asyncio) overrides ``anyio_backend`` in the ``conftest.py`` of its folder; the
simulation on trio's mock clock uses ``@pytest.mark.trio`` of pytest-trio instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from anyio._backends._asyncio import TestRunner
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import settings

# For the coverage gate, which must come to the same result each time, and soon.
settings.register_profile("coverage", max_examples=25, derandomize=True, database=None, deadline=None)

LOOPS = [
    pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
    pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    pytest.param(("trio", {}), id="trio"),
]


@pytest.fixture(scope="module", params=LOOPS)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run the test on asyncio, on asyncio with uvloop, and on trio."""
    return request.param


@pytest.fixture(autouse=True)
def blockbuster(request: pytest.FixtureRequest) -> Iterator[BlockBuster | None]:
    """Fail a test in which our code blocks an asyncio event loop; ``allow_blocking`` opts out.

    Only calls that have a frame of ``sllm_actors`` above them count: a test may read a file where it likes.
    """
    if request.node.get_closest_marker("allow_blocking") is not None:
        yield None
        return
    with blockbuster_ctx("sllm_actors") as detector:
        # A child is started by fork and exec, which asyncio itself does in the loop's thread.
        for function in ("os.read", "os.write", "os.stat"):
            detector.functions[function].can_block_in("subprocess.py", {"_execute_child"})
        yield detector


@pytest.fixture(autouse=True, scope="session")
def late_wakeups_of_anyio_are_no_failures() -> Iterator[None]:
    """Pass over an error of anyio 4.16's unix sockets, which its pytest plugin makes that of a test.

    They wake who waits by a bare ``Future.set_result``: when the wait is cancelled in the same turn of the
    loop, that raises in a callback, and nothing is lost. Health checks with a deadline meet it now and then.
    """
    handle = TestRunner._exception_handler

    def tolerant(runner: TestRunner, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        late = isinstance(context.get("exception"), asyncio.InvalidStateError)
        if not (late and "set_result" in str(context.get("message"))):
            handle(runner, loop, context)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TestRunner, "_exception_handler", tolerant)
        yield
