"""ServerlessLLM's guide for several machines, walked from its first command to its last, with our images.

The commands are those of its steps, with the same variables and ports. Four things are ours: the containers
share a secret, since nobody else may join; requests carry a key, since the ports are open to other machines;
the folder for models belongs to the user of the image, which is not root; and the model is run by llama.cpp.
The hub is one of the tests' own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from attrs import frozen
from tests.e2e.cluster import eventually
from tests.e2e.commands import gguf
from tests.hosts.network import Network, needs_hosts, network_of
from tests.models.hub_server import run_hub

from .real_docker import docker_on
from .shell import PLAYED_DOCKER, Shell

pytestmark = [pytest.mark.allow_blocking, pytest.mark.slow, pytest.mark.timeout(1800), needs_hosts]

SECRET = "export SLLM_CLUSTER_SECRET=walked-with-a-secret-of-its-own"
MODEL = "facebook/opt-1.3b"

PYLET_HEAD = """
docker run -d \\
  --name pylet_head \\
  --network host \\
  -e MODE=HEAD -e SLLM_CLUSTER_SECRET \\
  sllm:head --gateways 0
"""
PYLET_WORKER = """
docker run -d \\
  --name pylet_worker_0 \\
  --network host \\
  --gpus '"device=0"' \\
  -e MODE=PYLET_WORKER \\
  -e PYLET_HEAD=${HEAD_IP}:8000 \\
  -e GPU_UNITS=1 \\
  -e STORAGE_PATH=/models \\
  -e SLLM_CLUSTER_SECRET -e HF_ENDPOINT \\
  -v ${MODEL_FOLDER}:/models \\
  sllm:worker-cpu
"""
SLLM_HEAD = """
docker run -d \\
  --name sllm_head \\
  --network host \\
  -e MODE=HEAD \\
  -e PYLET_ENDPOINT=http://${HEAD_IP}:8000 \\
  -e STORAGE_PATH=/models \\
  -e SLLM_CLUSTER_SECRET \\
  -v ${MODEL_FOLDER}:/models \\
  sllm:head
"""
CHAT = """
curl -sS $LLM_SERVER_URL/v1/chat/completions \\
-H "Content-Type: application/json" \\
-d '{
        "model": "facebook/opt-1.3b",
        "backend": "llamacpp",
        "max_tokens": 24,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "What is your name?"}
        ]
    }'
"""


HOSTS = ("head", "worker", "laptop")


@frozen
class Machines:
    """The hosts of the guide, with a shell on each, in which ``docker`` is a command."""

    network: Network
    head: Shell
    worker: Shell
    laptop: Shell


@pytest.fixture(params=["played", pytest.param("real", marks=pytest.mark.alone)])
def machines(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Machines]:
    """The hosts, where ``docker`` is a program that plays it, or one that runs real containers."""
    if request.param == "played":
        with network_of(tmp_path, *HOSTS) as network:
            yield Machines(network, *(Shell(network.hosts[name], PLAYED_DOCKER) for name in HOSTS))
        return
    store: Path = request.getfixturevalue("store")
    with ExitStack() as stack:
        own = Path(stack.enter_context(TemporaryDirectory()))
        network = stack.enter_context(network_of(tmp_path, *HOSTS, visible=[store, own]))
        dockers = {name: docker_on(network.hosts[name], own / name, store) for name in HOSTS}
        yield Machines(
            network, *(Shell(network.hosts[name], stack.enter_context(dockers[name])) for name in HOSTS)
        )


def with_key(shell: Shell, key: str) -> None:
    """Let ``curl`` send a key, and ``sllm`` too, as a person arranges it once."""
    (shell.host.path(shell.directory) / ".curlrc").write_text(f'header = "Authorization: Bearer {key}"\n')
    shell(f"export SLLM_API_KEY={key}")


def workers(shell: Shell) -> list[dict[str, Any]]:
    found = json.loads(shell("curl -sS http://localhost:8000/workers"))
    assert isinstance(found, list)
    return found


def said(shell: Shell, container: str, line: str) -> str:
    """Wait until a container has said something; return its log."""
    return eventually(
        lambda: log if line in (log := shell(f"docker logs {container}")) else None,
        what=f"{container} says {line}",
        every=0.2,
    )


def test_the_guide_from_the_first_command_to_the_last(machines: Machines) -> None:
    head, worker, laptop = machines.head, machines.worker, machines.laptop
    address = head.host.address
    before = [set(running(shell)) for shell in (head, worker, laptop)]
    with run_hub(machines.network.client) as hub:
        hub.put(MODEL, {"opt.gguf": gguf().read_bytes()})
        for shell in (head, worker):
            shell(f"{SECRET}\nexport HEAD_IP={address}")

        # Step 1: the cluster's head, and no worker yet.
        head(PYLET_HEAD)
        said(head, "pylet_head", "head: ready")
        assert "401" in head("curl -sS -o /dev/null -w '%{http_code}' http://localhost:8000/workers")
        with_key(head, head("docker exec pylet_head cat admin-key").strip())
        assert workers(head) == []

        # Step 2: a worker on another machine.
        worker(f"mkdir -p models && export MODEL_FOLDER=$PWD/models HF_ENDPOINT={hub.url}")
        worker("chown 10001 $MODEL_FOLDER")
        worker(PYLET_WORKER)
        said(worker, "pylet_worker_0", f"joined the head at {address}:8000")
        expected = {"id": "worker", "gpu_units": 1, "status": "ready"}
        joined = eventually(
            lambda: next(
                (each for each in workers(head) if {name: each[name] for name in expected} == expected), None
            ),
            what="the worker is listed with what it has",
            every=0.2,
        )
        assert len(workers(head)) == 1
        assert joined["host"] == worker.host.address
        assert joined["total_resources"]["gpu_units"] == 1

        # Step 3: what serves the API, beside the head.
        head("mkdir -p models && export MODEL_FOLDER=$PWD/models")
        head(SLLM_HEAD)
        log = said(head, "sllm_head", "OpenAI API")
        assert ":8343/v1" in log
        said(head, "sllm_head", f"joined the head at {address}:8000")

        # Steps 4 and 5: from any machine.
        with_key(laptop, head("docker exec sllm_head cat admin-key").strip())
        laptop(f"export LLM_SERVER_URL=http://{address}:8343")
        told = laptop(f"sllm deploy --model {MODEL} --backend llamacpp")
        assert told == f"Deployment created: {MODEL}:llamacpp\n"
        answer = json.loads(laptop(CHAT))
        assert "choices" in answer, answer
        assert (answer["object"], answer["choices"][0]["message"]["role"]) == ("chat.completion", "assistant")
        assert answer["choices"][0]["message"]["content"]
        assert answer["usage"]["total_tokens"] > answer["usage"]["prompt_tokens"] > 0
        assert [each["id"].partition("@")[0] for each in instances(head)] == [f"{MODEL}:llamacpp"]
        stored = worker.host.path(f"{worker.directory}/models")
        assert [path.name for path in stored.rglob("*.gguf")] == ["opt.gguf"]
        assert laptop(f"sllm delete {MODEL} --backend llamacpp") == f"Deleted: {MODEL}:llamacpp\n"
        assert instances(head) == []
        assert MODEL not in laptop("sllm status")

        # The end: nothing of it is left on any machine.
        head("docker stop sllm_head pylet_head && docker rm sllm_head pylet_head")
        worker("docker stop pylet_worker_0 && docker rm pylet_worker_0")

        def nothing_is_left() -> bool:
            left = [set(running(shell)) for shell in (head, worker, laptop)]
            return all(now <= then for now, then in zip(left, before, strict=True))

        eventually(nothing_is_left, what="nothing is left on any machine")


def running(shell: Shell) -> Iterator[int]:
    """Yield the processes of a host, but those that remember for some minutes how ``docker exec`` ended."""
    for pid in shell.host.processes():
        with suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text() != "conmon\n":
                yield pid


def instances(shell: Shell) -> list[dict[str, Any]]:
    found = json.loads(shell("curl -sS http://localhost:8000/instances"))
    assert isinstance(found, list)
    return found
