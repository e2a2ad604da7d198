"""The watch of GPUs itself: engines that have what they must not have are seen by it, and others are not.

The engines are processes that only look like ones; they have the locks and the environment that a worker
gives. A worker whose lock files are elsewhere knows nothing of the others: so the ledger is got round here.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.e2e.cluster import eventually

from .gpu_watch import GpuWatch
from .host import Host
from .network import Network, needs_hosts, network_of

pytestmark = needs_hosts

SIZE = 80 * 2**30

LEASH = """
import subprocess, sys
from pathlib import Path
from sllm_actors.engines.machine.gpus import GpuPool, visible
folder, share, size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
folder.mkdir(exist_ok=True)
pool = GpuPool(("GPU-1",), folder, sizes={"GPU-1": size})
allocation = pool.take(1, share)
if allocation is None:
    sys.exit("no room")
command = [sys.executable, "-c", "import sys; sys.stdin.read()", "llamacpp_server.py"]
engine = subprocess.Popen(command, env=visible({}, pool, allocation))
print("started", flush=True)
engine.wait()
"""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with network_of(tmp_path_factory.mktemp("watch"), "one") as made:
        yield made


@contextmanager
def engine_of(host: Host, folder: str, share: int) -> Iterator[str]:
    """Start what looks like an engine if the ledger in a folder has room; yield what became of that."""
    command = [*host.prefix, sys.executable, "-c", LEASH, f"/tmp/{folder}", str(share), str(SIZE)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        yield process.stdout.readline().strip() or process.stderr.read().strip()


@pytest.mark.parametrize(
    ("first", "second", "seen"),
    [
        (SIZE * 3 // 5, SIZE * 3 // 5, "bytes are reserved of the"),
        (SIZE * 3 // 5, 0, "company for an exclusive engine"),
        (0, SIZE // 10, "company for an exclusive engine"),
        (0, 0, "company for an exclusive engine"),
    ],
)
def test_engines_that_the_ledger_did_not_keep_apart_are_seen(
    network: Network, first: int, second: int, seen: str
) -> None:
    host = network.hosts["one"]
    with GpuWatch(network, SIZE) as watch, engine_of(host, "ours-gpus", first) as one:
        assert one == "started"
        with engine_of(host, "ours-gpus", second) as kept_out:
            assert kept_out == "no room"
            looks = watch.looks
            eventually(lambda: watch.looks > looks + 3, what="some looks")
            assert not watch.violations
        with engine_of(host, "others-gpus", second) as other:
            assert other == "started"
            eventually(lambda: watch.violations, what="it is seen")
    assert seen in watch.violations[0]
    assert watch.violations[0].startswith("one: ")


def test_engines_that_share_what_there_is_are_no_violation(network: Network) -> None:
    host = network.hosts["one"]
    with (
        GpuWatch(network, SIZE) as watch,
        engine_of(host, "ours-gpus", SIZE // 2) as one,
        engine_of(host, "ours-gpus", SIZE // 2) as other,
    ):
        assert one == other == "started"
        looks = watch.looks
        eventually(lambda: watch.looks > looks + 3, what="some looks")
    assert not watch.violations
