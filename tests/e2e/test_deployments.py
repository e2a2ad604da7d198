"""Deploying, looking and deleting, through the real command line against a real cluster."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests.children import child
from tests.ports import free_port

from .cluster import DEMO, DEMO_ID, Cluster, eventually, group_is_gone
from .commands import gguf, sllm

pytestmark = pytest.mark.allow_blocking


def test_a_path_is_deployed_answers_is_deleted_and_can_be_deployed_again(cluster: Cluster) -> None:
    name = "by-path:llamacpp"
    arguments = ("deploy", "--model", "by-path", "--backend", "llamacpp", "--source", str(gguf()), "--wait")
    for _ in range(2):
        deployed = sllm(cluster, *arguments, "--engine-arg", "n_ctx=512")
        assert deployed.returncode == 0, deployed.stderr
        assert "ready" in deployed.stdout
        assert cluster.ask(model="by-path")
        engine = cluster.engine(name)
        deleted = sllm(cluster, "delete", "by-path")
        assert deleted.returncode == 0, deleted.stderr
        assert group_is_gone(engine)
        assert cluster.describe(name) is None
        response = cluster.http.post("/v1/chat/completions", json={"model": "by-path", "messages": []})
        assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")
    assert cluster.ask()  # the other model was not disturbed


def test_status_shows_deployments_nodes_and_json(cluster: Cluster) -> None:
    table = sllm(cluster, "status")
    assert table.returncode == 0
    assert DEMO_ID in table.stdout
    assert "ready" in table.stdout
    nodes = sllm(cluster, "status", "--nodes")
    assert "worker" in nodes.stdout
    assert "gateway" in nodes.stdout
    document = json.loads(sllm(cluster, "status", "--json").stdout)
    assert document["deployments"][0]["ready_replicas"] == 1
    one = sllm(cluster, "status", DEMO)
    assert f"{DEMO_ID}@" in one.stdout


def test_a_model_is_run_listed_restarted_and_removed_in_the_words_that_people_know(cluster: Cluster) -> None:
    options = ("--backend", "llamacpp", "--source", str(gguf()), "--max-tokens", "12")
    for created in (True, False):
        ran = sllm(cluster, "run", "ran", "What is gravity?", *options)
        assert ran.returncode == 0, ran.stderr
        assert len(ran.stdout) > 10
        assert ("Deployment created: ran:llamacpp" in ran.stderr) is created
        assert "ready" not in ran.stdout
    assert "ran:llamacpp" in sllm(cluster, "ls", "-q").stdout.split()
    first = sllm(cluster, "ps", "-q").stdout.split()
    assert "ran:llamacpp@1.0.1" in first
    os.kill(cluster.engine("ran:llamacpp"), signal.SIGKILL)
    eventually(
        lambda: "ran:llamacpp@1.0.2" in sllm(cluster, "ps", "-q").stdout.split(),
        what="the second start of this replica",
    )
    whole = sllm(cluster, "logs", "ran").stdout.splitlines()
    assert whole[0] == "---- attempt 1 of ran:llamacpp@1.0"
    assert "---- attempt 2 of ran:llamacpp@1.0" in whole
    assert len(sllm(cluster, "logs", "-n", "2", "ran:llamacpp@1.0.1").stdout.splitlines()) == 2
    assert sllm(cluster, "rm", "ran").stdout == "Deleted: ran:llamacpp\n"


def test_logs_show_what_the_engine_said(cluster: Cluster) -> None:
    logs = sllm(cluster, "logs", DEMO)
    assert logs.returncode == 0, logs.stderr
    assert "model" in logs.stdout


def test_who_follows_a_log_sees_it_end_when_the_instance_is_deleted(cluster: Cluster) -> None:
    arguments = ("--model", "followed", "--backend", "llamacpp", "--source", str(gguf()), "--wait")
    assert sllm(cluster, "deploy", *arguments).returncode == 0
    command = [sys.executable, "-m", "sllm_actors", "logs", "followed", "-f"]
    env = {**os.environ, "LLM_SERVER_URL": cluster.url}
    with child(command, stdout=-1, stderr=-1, text=True, env=env) as following:
        assert following.stdout is not None
        following.stdout.readline()
        assert sllm(cluster, "delete", "followed").returncode == 0
        _, said = following.communicate(timeout=60)
    assert (following.returncode, said) == (0, "")


def test_a_conversation_from_a_pipe_is_answered(cluster: Cluster) -> None:
    chat = sllm(cluster, "chat", DEMO, "--max-tokens", "12", stdin="What is gravity?\n")
    assert chat.returncode == 0, chat.stderr
    assert len(chat.stdout) > 10


THEIR_KEY = "sk-theirs-alone"


@pytest.fixture
def someone_elses_server() -> Iterator[str]:
    """A llama.cpp server that nobody here manages, and that wants the key ``THEIR_KEY``; its address."""
    port = free_port()
    code = (
        "import os, sys, xllamacpp\n"
        "p = xllamacpp.CommonParams()\n"
        "p.model.path, p.n_ctx, p.hostnames, p.port = sys.argv[1], 1024, ['127.0.0.1'], int(sys.argv[2])\n"
        f"p.api_keys = [{THEIR_KEY!r}]\n"
        "s = xllamacpp.Server(p)\n"
        "sys.stdin.read()\n"
        "os._exit(0)\n"
    )
    command = [sys.executable, "-c", code, str(gguf()), str(port)]
    with child(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        url = f"http://127.0.0.1:{port}"
        eventually(
            lambda: httpx2.get(f"{url}/health", trust_env=False, timeout=60).is_success, what="it serves"
        )
        yield url


def test_a_server_that_someone_else_runs_is_served_under_our_name(
    cluster: Cluster, someone_elses_server: str, tmp_path: Path
) -> None:
    key = tmp_path / "their-key"
    key.write_text(THEIR_KEY)
    arguments = ("--model", "theirs", "--backend", "external", "--endpoint", f"{someone_elses_server}/v1/")
    deployed = sllm(cluster, "deploy", *arguments, "--engine-arg", f"api_key_file={key}", "--wait")
    assert deployed.returncode == 0, deployed.stderr
    described = cluster.describe("theirs:external")
    assert described is not None
    assert described["instances"][0]["address"] == someone_elses_server
    assert described["instances"][0]["pid"] == 0
    assert cluster.ask(model="theirs")
    said = cluster.http.post("/v1/completions", json={"model": "theirs", "prompt": "I am", "max_tokens": 4})
    assert said.json()["model"] == "theirs"
    for view in (sllm(cluster, "status", "theirs").stdout, json.dumps(described), said.text):
        assert THEIR_KEY not in view
    assert sllm(cluster, "delete", "theirs").returncode == 0
    # It is still there: it was never ours.
    assert httpx2.get(f"{someone_elses_server}/health", trust_env=False, timeout=60).status_code == 200
    assert cluster.ask()


def test_a_server_that_cannot_be_reached_or_is_this_gateway_is_told_as_such(cluster: Cluster) -> None:
    for model, address, answer, sentence in (
        ("nobody", "http://127.0.0.1:9", (503, "server_unreachable"), "connection refused"),
        ("itself", cluster.url, (508, "loop_detected"), "leads back to this gateway"),
    ):
        document = {"model": model, "backend": "external", "endpoints": [address]}
        settings = {"backend_config": {"connect_timeout": 2, "upstream_model": model}}
        assert cluster.http.post("/deployments", json={**document, **settings}).status_code == 200
        said = cluster.http.post("/v1/completions", json={"model": model, "prompt": "I am"}, timeout=60)
        assert (said.status_code, said.json()["error"]["code"]) == answer
        assert sentence in said.json()["error"]["message"]
        assert sllm(cluster, "delete", model).returncode == 0


def test_the_same_deployment_twice_is_one_and_another_is_refused(cluster: Cluster) -> None:
    demo = {"model": DEMO, "backend": "llamacpp", "source": f"demo:{DEMO}", "preload": True}
    again = cluster.http.post("/deployments", json=demo)
    assert (again.status_code, again.json()["created"]) == (200, False)
    other = cluster.http.post("/deployments", json=demo | {"source": str(gguf())})
    error = other.json()["error"]
    assert (other.status_code, error["code"], error["param"]) == (409, "deployment_exists", "source")
    assert "source differs" in error["message"]


def test_every_mistake_of_a_deployment_is_told_and_nothing_is_deployed(
    cluster: Cluster, tmp_path: Path
) -> None:
    wrong = {"model": "wrong", "num_gpu": 1, "auto_scaling_config": {"target": 0}, "env": {"A": 1}}
    refused = cluster.http.post("/deployments", json=wrong)
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, "num_gpu")
    assert [each["param"] for each in error["mistakes"]] == ["num_gpu", "auto_scaling_config.target", "env.A"]
    assert all(each["message"] in error["message"] for each in error["mistakes"])
    (tmp_path / "wrong.toml").write_text('model = "wrong"\nnum_gpu = 1\n[env]\nA = 1\n')
    told = sllm(cluster, "deploy", "--config", str(tmp_path / "wrong.toml"), "--set", "hold_limit=-1")
    assert told.returncode == 1
    assert told.stderr.splitlines() == [
        "error: 3 mistakes",
        '  unknown key "num_gpu": did you mean num_gpus?',
        "  --set hold_limit must be from 0 to 1000000, not -1",
        "  env.A: 1 is not a text",
    ]
    assert cluster.describe("wrong:vllm") is None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--source", "/no/such/model.gguf"],
            f"/no/such/model.gguf does not exist on worker {socket.gethostname()}",
        ),
        (["--source", "LATER_FILE"], "m-00001-of-00002.gguf"),
        (["--source", "NOT_A_GGUF"], "GGUF"),
        (["--source", "demo:no-such"], "no-such"),
        (["--engine-arg", "n_cxt=512", "--source", "GGUF"], "n_cxt"),
        (["--engine-arg", "n_ctx=many", "--source", "GGUF"], "n_ctx"),
        (["--config", "UNKNOWN_KEY"], "auto_scalling_config"),
        (["--config", "NOT_JSON"], "not.json"),
        (["--backend", "lamacpp"], "llamacpp"),
        (["--min-instances", "3", "--max-instances", "2"], "--min-instances"),
    ],
)
def test_what_cannot_run_is_refused_in_one_sentence(
    cluster: Cluster, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    (tmp_path / "model.gguf").write_text("this is no model")
    (tmp_path / "m-00002-of-00002.gguf").touch()
    (tmp_path / "unknown.json").write_text('{"auto_scalling_config": {}}')
    (tmp_path / "not.json").write_text("{")
    files = {
        "NOT_A_GGUF": str(tmp_path / "model.gguf"),
        "LATER_FILE": str(tmp_path / "m-00002-of-00002.gguf"),
        "GGUF": str(gguf()),
        "UNKNOWN_KEY": str(tmp_path / "unknown.json"),
        "NOT_JSON": str(tmp_path / "not.json"),
    }
    given = [files.get(argument, argument) for argument in arguments]
    backend = [] if "--backend" in given else ["--backend", "llamacpp"]
    refused = sllm(cluster, "deploy", "--model", "wrong", *backend, *given)
    assert refused.returncode in (1, 2), refused.stdout
    assert sentence in refused.stderr
    assert len(refused.stderr.strip().splitlines()) <= 3, refused.stderr
    assert "Traceback" not in refused.stderr
    assert len(cluster.http.get("/status").json()["deployments"]) == 1
    assert cluster.ask()


def test_an_engine_that_cannot_start_is_a_visible_failure_with_its_log(
    cluster: Cluster, tmp_path: Path
) -> None:
    # The head of a real model: it passes for a GGUF file until llama.cpp reads it.
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(gguf().read_bytes()[:100_000])
    arguments = ("deploy", "--model", "broken", "--backend", "llamacpp", "--source", str(broken), "--wait")
    failed = sllm(cluster, *arguments)
    try:
        assert failed.returncode == 1, failed.stdout
        assert "Traceback" not in failed.stderr
        body = {"model": "broken", "messages": [{"role": "user", "content": "Hello"}]}
        response = cluster.http.post("/v1/chat/completions", json=body)
        assert response.status_code == 503
        assert response.json()["error"]["message"]
        assert "retry-after" in response.headers
    finally:
        sllm(cluster, "delete", "broken")
    assert cluster.ask()


def test_a_deployment_that_no_machine_has_room_for_fails_and_says_what_is_missing(
    cluster: Cluster, tmp_path: Path
) -> None:
    config = tmp_path / "large.toml"
    config.write_text(
        f'model = "large"\nbackend = "llamacpp"\nsource = "{gguf()}"\nnum_gpus = 64\nstartup_timeout = 2\n'
    )
    began = time.monotonic()
    failed = sllm(cluster, "deploy", "--config", str(config), "--wait")
    try:
        assert failed.returncode == 1, failed.stdout
        assert "it found no place within 2 s: no worker has 64 free GPUs for it (" in failed.stderr
        assert time.monotonic() - began >= 2
        body = {"model": "large", "messages": [{"role": "user", "content": "Hello"}]}
        response = cluster.http.post("/v1/chat/completions", json=body)
        assert (response.status_code, response.json()["error"]["code"]) == (503, "no_place")
        assert "retry-after" in response.headers
    finally:
        sllm(cluster, "delete", "large")
    assert cluster.ask()
