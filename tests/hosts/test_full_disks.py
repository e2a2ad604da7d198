"""Disks that become full: under a worker's logs, under models, under the head's database."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from tests.e2e.cluster import DEMO, eventually
from tests.e2e.commands import gguf
from tests.models.hub_server import run_hub

from .bed import Bed, bed_of
from .host import DATA, Host
from .network import needs_hosts
from .scenario import scenario

pytestmark = [pytest.mark.allow_blocking, needs_hosts]

MODELS = "/tmp/models"
LOGS = f"{DATA}/worker/logs"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    names = ("head", "w1", "w2", "g1")
    with (
        bed_of(tmp_path_factory.mktemp("hosts"), *names, starts=False) as bed,
        run_hub(bed.network.client) as hub,
    ):
        hub.put("org/one", {"one.gguf": gguf().read_bytes()})
        for name, folder, size in (
            ("head", DATA, 16),
            ("w1", DATA, 16),
            ("w1", LOGS, 1),
            ("w1", MODELS, 1),
            ("w2", MODELS, 1),
        ):
            bed.host(name).run("mkdir", "-p", folder)
            bed.host(name).run("mount", "-t", "tmpfs", "-o", f"size={size}m", "none", folder)
        bed.options |= dict.fromkeys(("w1", "w2"), ("--storage-path", MODELS))
        bed.start("head")
        for name in ("w1", "w2"):
            bed.start(name, env={"HF_ENDPOINT": hub.url})
        bed.start("g1")
        bed.deploy()
        yield bed


@pytest.fixture
def bed(bed: Bed) -> Iterator[Bed]:
    """The same cluster for all tests, whose disks have room again after each."""
    yield bed
    for name in ("head", "w1"):
        bed.host(name).run("rm", "-f", f"{DATA}/ballast", f"{LOGS}/ballast")


def fill(host: Host, folder: str = DATA) -> None:
    """Leave not a byte on a disk of a host."""
    ended = host.run("dd", "if=/dev/zero", f"of={folder}/ballast", "bs=4096", check=False)
    assert "No space left" in ended.stderr


def test_a_worker_with_a_full_disk_serves_on_and_starts_engines_when_there_is_room(
    bed: Bed, request: pytest.FixtureRequest
) -> None:
    engine = next(each["pid"] for each in bed.wait_ready()["instances"] if each["node_name"] == "w1")
    with scenario(request, bed) as fault:
        fill(bed.host("w1"))
        fault.clients.wait_for_answers(5)
        fault.nothing_failed()
        assert bed.node("w1")["state"] == "up"
        fault.now()
        os.kill(engine, signal.SIGKILL)

        def reasons() -> str:
            return " ".join(each["reason"] for each in bed.describe()["instances"])

        fault.is_seen_by(lambda: "No space left" in reasons())
        fault.served()
        bed.host("w1").run("rm", f"{DATA}/ballast")
        bed.wait_ready()
    fault.only_streams_broke()


def test_engines_whose_logs_have_no_room_serve_and_are_started_again(
    bed: Bed, request: pytest.FixtureRequest
) -> None:
    before = {each["node_name"]: each["pid"] for each in bed.wait_ready()["instances"]}
    with scenario(request, bed) as fault:
        fill(bed.host("w1"), LOGS)
        fault.clients.wait_for_answers(5)
        fault.nothing_failed()
        fault.now()
        os.kill(before["w1"], signal.SIGKILL)
        fault.is_seen_by(lambda: before["w1"] not in bed.engines(count=2))
        fault.served()
        assert set(bed.replicas()) == {"w1", "w2"}
    fault.only_streams_broke()


def test_a_head_with_a_full_disk_fails_no_request_and_takes_orders_when_there_is_room(
    bed: Bed, request: pytest.FixtureRequest
) -> None:
    before = bed.engines()
    with scenario(request, bed) as fault:
        fault.now()
        fill(bed.host("head"))
        fault.clients.wait_for_answers(5)
        body = {"model": "later", "backend": "llamacpp", "source": f"demo:{DEMO}", "num_gpus": 1}
        refused = bed.http().post("/deployments", json=body)
        assert refused.status_code in (200, 503), refused.text
        assert "Traceback" not in refused.text
        bed.host("head").run("rm", f"{DATA}/ballast")
        eventually(lambda: bed.http().post("/deployments", json=body).status_code == 200, what="it is taken")
        assert bed.http().delete("/deployments/later:llamacpp").is_success
        eventually(lambda: not bed.describe(model="later"), what="it is gone")
        fault.clients.wait_for_answers()
    fault.nothing_failed()
    assert bed.engines() == before


def test_a_model_that_does_not_fit_the_disk_is_refused_by_its_name_and_leaves_nothing(
    bed: Bed, request: pytest.FixtureRequest
) -> None:
    with scenario(request, bed) as fault:
        fault.now()
        env = {"LLM_SERVER_URL": bed.url(), "SLLM_API_KEY": bed.key}
        pulled = bed.host("head").sllm("pull", "hf:org/one", "--backend", "llamacpp", env=env)
        assert pulled.returncode == 1
        assert "hf:org/one" in pulled.stderr or "org/one" in pulled.stderr, pulled.stderr
        assert "Traceback" not in pulled.stderr
        fault.clients.wait_for_answers()
    fault.nothing_failed()
    for name in ("w1", "w2"):
        files = bed.host(name).run("find", MODELS, "-type", "f", "-size", "+64k").stdout
        assert not files, files
