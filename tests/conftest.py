"""What every room's tests share: the event loops they run on, and a guard against blocking calls.

A test that awaits is marked ``@pytest.mark.anyio`` and runs once on each loop below. A room whose code runs
on one loop only (Quart on asyncio) overrides ``anyio_backend`` in the ``conftest.py`` of its folder; the
simulation on trio's mock clock uses ``@pytest.mark.trio`` of pytest-trio instead.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio._backends._asyncio import TestRunner
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import HealthCheck, settings
from tests.children import kill_all, left_since, running
from tests.costs import Costs, Meter
from tests.order import dealt_out, of_clusters

# Each process of the tests has a folder for temporary files of its own, so that what one starts does not meet
# the locks of GPUs and the sockets of another. That of ``tmp_path`` is kept, as always.
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
OURS = tempfile.mkdtemp(prefix="st-", dir="/tmp")
os.environ["TMPDIR"] = tempfile.tempdir = OURS

# No property says how fast it has to hold: other tests run at the same time.
UNTIMED: Any = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("suite", **UNTIMED)
settings.register_profile("quick", max_examples=8, stateful_step_count=15, **UNTIMED)
# For the coverage gate, which must come to the same result each time, and soon.
settings.register_profile("coverage", max_examples=25, derandomize=True, database=None, **UNTIMED)
settings.load_profile("suite")

LOOPS = [
    pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
    pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    pytest.param(("trio", {}), id="trio"),
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--one-loop", action="store_true", help="run each test on its first event loop only")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Meter())
    # What a shell puts into the background ignores ^C, and so would each process that a test interrupts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):  # else the process that we are a worker of tells them
        config.pluginmanager.register(Costs())


def pytest_unconfigure() -> None:
    shutil.rmtree(OURS, ignore_errors=True)


@pytest.hookimpl(trylast=True)  # after what shuffles them
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--one-loop"):
        further = [item for item in items if loop_of(item) > 0]
        config.hook.pytest_deselected(items=further)
        items[:] = [item for item in items if loop_of(item) == 0]
    files: defaultdict[Path, list[pytest.Item]] = defaultdict(list)
    for item in items:
        files[item.path].append(item)
    clusters = [path for path in files if of_clusters(path)]
    others = [path for path in files if not of_clusters(path)]
    items[:] = [item for path in dealt_out(clusters, others) for item in files[path]]


def loop_of(item: pytest.Item) -> int:
    """Return which of its event loops a test runs on: 0 for the first, and for a test that has none."""
    parameters = getattr(item, "callspec", None)
    return 0 if parameters is None else parameters.indices.get("anyio_backend", 0)


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


@pytest.fixture(autouse=True)
def no_children_are_left() -> Iterator[None]:
    """Fail a test that leaves processes which it started; what a fixture of more tests started may stay."""
    before = running()
    yield
    left = left_since(before)
    if left:
        kill_all(left)
        pytest.fail(f"the test left processes behind: {left}")


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
