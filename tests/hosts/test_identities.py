"""Workers that look alike: by name, by host name, by a copied data directory; and one that is PID 1."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.e2e.cluster import eventually

from .bed import Bed, bed_of
from .host import DATA
from .network import needs_hosts
from .scenario import scenario

pytestmark = [pytest.mark.allow_blocking, needs_hosts]


@pytest.fixture
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """A cluster of one worker; another machine has none yet."""
    with bed_of(tmp_path_factory.mktemp("hosts"), "head", "w1", "w2", "g1", starts=False) as made:
        for name in ("head", "w1", "g1"):
            made.start(name)
        yield made


def workers(bed: Bed) -> list[tuple[str, str, str]]:
    """Return the id, the name and the address of each worker that is up."""
    return sorted(
        (each["id"], each["name"], each["host"])
        for each in bed.status()["nodes"]
        if each["role"] == "worker" and each["state"] == "up"
    )


def test_two_workers_of_one_name_and_one_host_name_are_two(bed: Bed, request: pytest.FixtureRequest) -> None:
    bed.host("w2").run("hostname", "w1")
    bed.start("w2", "--name", "w1")
    found = eventually(lambda: workers(bed) if len(workers(bed)) == 2 else None, what="both are up")
    assert [name for _, name, _ in found] == ["w1", "w1"]
    assert {address for _, _, address in found} == {bed.host(name).address for name in ("w1", "w2")}
    described = bed.deploy()
    assert {each["node"] for each in described["instances"]} == {number for number, _, _ in found}
    with scenario(request, bed) as fault:
        fault.clients.wait_for_answers(10)
    fault.nothing_failed()


def test_a_copied_data_directory_is_refused_while_its_node_lives_and_taken_for_it_afterwards(
    bed: Bed, request: pytest.FixtureRequest
) -> None:
    bed.deploy({"auto_scaling_config": {"min_instances": 1}})
    one, other = bed.host("w1"), bed.host("w2")
    other.run("mkdir", "-p", f"{DATA}/worker")
    for file in ("node.json", "node.key", "credentials.json"):
        copy = other.path(f"{DATA}/worker/{file}")
        copy.write_bytes(one.path(f"{DATA}/worker/{file}").read_bytes())
        copy.chmod(0o600)
    with scenario(request, bed) as fault:
        fault.now()
        clone = bed.start("w2", joins=False)
        assert clone.ended() == 1
        assert "a live node of that id is linked already: was its data directory copied?" in clone.output
        assert "Traceback" not in clone.output
        bed.running.pop("w2").kill_all()
        fault.clients.wait_for_answers()
        assert [address for _, _, address in workers(bed)] == [one.address]
    fault.nothing_failed()
    bed.kill("w1")
    bed.start("w2")
    eventually(lambda: [address for _, _, address in workers(bed)] == [other.address], what="it is up")
    eventually(lambda: bed.wait_ready(count=1)["instances"][0]["node_name"] == "w2", what="it is ready there")


def test_a_worker_as_the_first_process_of_a_machine_reaps_restarts_and_stops(
    bed: Bed, request: pytest.FixtureRequest
) -> None:
    contained = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    launcher = bed.start("w2", prefix=contained)
    bed.deploy()
    first = psutil.Process(launcher.process.pid).children()[0]
    with scenario(request, bed) as fault:
        worker = next(each for each in first.children() if has_log(each))
        fault.now()
        os.kill(worker.pid, signal.SIGKILL)
        fault.seen("node.lost", "w2")
        fault.served()
        bed.wait_whole()
    fault.only_streams_broke()
    below = [each.status() for each in first.children(recursive=True)]
    assert psutil.STATUS_ZOMBIE not in below, below
    first.send_signal(signal.SIGTERM)
    assert launcher.ended() == 0, launcher.output
    eventually(lambda: not bed.host("w2").processes(), what="nothing is left")
    bed.running.pop("w2").kill_all()


def has_log(process: psutil.Process) -> bool:
    """Return whether a process is that of a node."""
    links = [each.readlink() for each in Path(f"/proc/{process.pid}/fd").iterdir()]
    return any(link.name == "node.log" for link in links)
