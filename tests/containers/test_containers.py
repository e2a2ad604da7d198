"""The images as people run them: built from the Dockerfile, started by podman and docker, on three hosts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests.e2e.cluster import eventually
from tests.e2e.open_stream import OpenStream

from .images import BASE, size, write_pip_configuration
from .machines import LOCKED, MODEL, ULIMITS, Machines, chat, docker
from .podman import Podman
from .store import tell_size

pytestmark = [
    pytest.mark.alone,
    pytest.mark.allow_blocking,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]

LOOK = "ls /var/lib/apt/lists /var/cache/apt ~root ~root/.cache /tmp /source /build /etc/pip.conf 2>/dev/null"


@pytest.mark.parametrize("target", ["head", "worker-cpu"])
def test_an_image_keeps_nothing_of_its_build(podman: Podman, target: str) -> None:
    keeps_nothing(podman, target)


@pytest.mark.usefixtures("long_form")
def test_the_image_for_gpus_keeps_nothing_of_its_build(podman: Podman) -> None:
    keeps_nothing(podman, "worker")


def keeps_nothing(podman: Podman, target: str) -> None:
    image = f"sllm:{target}"
    looked = [
        podman("run", "--rm", "--network=none", "--user=0", "--entrypoint=sh", each, "-c", f"{LOOK}; true")
        for each in (BASE, image)
    ]
    base, built = (set(each.split()) for each in looked)
    assert built <= base
    history = podman("history", "--no-trunc", image)
    assert not [place for place in package_places(podman) if place in history]
    assert size(podman, image) > 10_000_000
    print(tell_size(podman, target))  # noqa: T201 - reported with the test


def package_places(podman: Podman) -> list[str]:
    """Return where pip finds packages on this machine: a build is told in a secret."""
    told = podman.folder / "pip.conf"
    write_pip_configuration(told)
    places = [word for word in told.read_text().split() if "/" in word]
    told.unlink()
    return places


@pytest.fixture(params=["podman", "docker"])
def either(machines: Machines, request: pytest.FixtureRequest) -> Iterator[Machines]:
    """The hosts, on which containers are started with podman, or with Docker's own client."""
    if request.param == "podman":
        yield machines
        return
    if shutil.which("docker") is None:
        pytest.skip("needs a docker client")
    with machines.podman.service() as address:
        machines.run, machines.limits = docker(address), ULIMITS
        yield machines


def test_one_machine_answers_and_stops_in_order(either: Machines) -> None:
    either.start_head()
    either.start("worker", "sllm:worker-cpu", host="head", PYLET_HEAD="127.0.0.1:8000")
    either.wait_for("worker", "joined the head")
    either.deploy()
    assert chat(either.client()).status_code == 200
    for name in ("head", "worker"):
        assert either.run("exec", name, "id", "-u") == "10001"
        assert either.run("exec", name, "health.py") == ""
    for name in ("worker", "head"):
        either.stop(name)


def test_any_user_may_run_a_node(machines: Machines) -> None:
    machines.start_head(options=(*LOCKED, "--user=4321:0"))
    assert machines.run("exec", "head", "id", "-u") == "4321"
    assert machines.sllm("status", "--nodes", "--json")


def test_orphans_in_a_container_are_reaped(machines: Machines) -> None:
    machines.start_head()
    orphan = machines.run("exec", "head", "sh", "-c", "sleep 0.1 >/dev/null & echo $!")

    def gone() -> bool:
        return (
            machines.podman.run(
                "podman", "exec", "head", "test", "-e", f"/proc/{orphan}", check=False
            ).returncode
            == 1
        )

    eventually(gone, what="the orphan is no zombie", every=0.2)


def test_a_stop_ends_an_open_stream_with_a_word(machines: Machines) -> None:
    machines.start_head()
    machines.start_worker("w1")
    machines.deploy(f"--engine-arg=n_ctx={CONTEXT}")
    stream = stream_of(machines.client())
    machines.stop("w1")
    assert stream.error()["message"]

    machines.run("start", "w1")
    eventually(machines.ready, what="the worker serves", every=0.5)
    machines.start_gateway("w2")
    for gateway, host in (("gateway", "w2"), ("head", "head")):
        stream = stream_of(machines.client(gateway, host=host))
        machines.stop(gateway)
        assert stream.error()["code"] == "gateway_stopping"


CONTEXT = 8192
"""Tokens: so many take longer than any stop."""


def stream_of(client: httpx2.Client) -> OpenStream:
    url = str(client.base_url).rstrip("/")
    return OpenStream(url, MODEL, max_tokens=CONTEXT - 200, headers=client.headers, ignore_eos=True)


UP = ("up", "--detach", "--no-build")


def test_the_compose_file_of_one_machine_starts_it(machines: Machines) -> None:
    machines.compose("compose.yaml", "head", *UP)
    machines.wait_for("sllm_worker-cpu_1", "joined the head")
    machines.wait_for("sllm_head_1", "OpenAI API: ")
    machines.deploy(of="sllm_head_1")
    assert chat(machines.client("sllm_head_1")).status_code == 200
    machines.compose("compose.yaml", "head", "stop")
    for name in ("sllm_head_1", "sllm_worker-cpu_1"):
        assert machines.state(name)["ExitCode"] == 0, machines.logs(name)


def test_the_compose_files_of_several_machines_join_them(machines: Machines, tmp_path: Path) -> None:
    machines.compose("compose.head.yaml", "head", *UP)
    machines.wait_for("sllm-head_head_1", "OpenAI API: ")
    secret = tmp_path / "secret"
    secret.write_text(machines.compose("compose.head.yaml", "head", "exec", "-T", "head", "cat", "secret"))
    secret.chmod(0o644)
    told = {"HEAD_IP": machines.address("head"), "SECRET_FILE": str(secret)}
    machines.compose("compose.worker.yaml", "w1", *UP, **told)
    machines.wait_for("sllm-worker_worker-cpu_1", "joined the head")
    machines.deploy(of="sllm-head_head_1")
    assert chat(machines.client("sllm-head_head_1")).status_code == 200
