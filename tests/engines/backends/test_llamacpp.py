"""Replicas on real llama.cpp with a real small model."""

from __future__ import annotations

import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import httpx2
import pytest
from attrs import evolve
from tests.engines.kit import alive, leash_of, left, members, report_of, start, until
from tests.models.split_gguf import split_gguf

from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.machine.log_reader import read_chunk
from sllm_actors.engines.messages import Drained, ReplicaOrder, ReplicaState, StopReplica
from sllm_actors.engines.replica.engine_socket import open_engine_socket
from sllm_actors.models.demo_model import DEMO_MODELS, demo_file
from sllm_actors.testing import TestSystem
from sllm_actors.transport.tcp_stream import TcpStream

pytestmark = pytest.mark.anyio

KEY = ReplicaKey("smollm2:llamacpp", 1, 1)
# One thread: several wait for each other by spinning, which is very slow on a machine that is busy.
SETTINGS: dict[str, object] = {"max_model_len": 512, "n_parallel": 1, "n_threads": 1}
ORDER = ReplicaOrder(KEY, "smollm2", "llamacpp", "demo:smollm2-135m", SETTINGS)


@pytest.fixture(scope="module")
def anyio_backend() -> object:
    """Run on the loop of production only: real engines are dear, and fake ones run on all loops."""
    return ("asyncio", {"use_uvloop": True})


async def ask(address: str, path: str, body: dict[str, object] | None = None) -> httpx2.Response:
    transport = httpx2.AsyncHTTPTransport(uds=address.removeprefix("unix:"), verify=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://engine", timeout=60) as client:
        return await client.request("GET" if body is None else "POST", path, json=body)


async def chat(address: str, text: str) -> str:
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": 4, "temperature": 0}
    answer = (await ask(address, "/v1/chat/completions", body)).raise_for_status().json()
    assert answer["object"] == "chat.completion"
    return str(answer["choices"][0]["message"]["content"])


@pytest.mark.slow
async def test_llama_cpp_comes_up_answers_is_killed_comes_up_again_and_is_stopped(host: EngineHost) -> None:
    async with TestSystem() as system:
        replica, probe = await start(system, ORDER, host)
        first = await report_of(probe, ReplicaState.READY)
        assert first.machine == host.machine
        assert (first.concurrency, first.context_length) == (1, 512)
        assert os.getpgid(first.pid) == first.pid
        assert await chat(first.address, "What is gravity?") == await chat(first.address, "What is gravity?")

        os.kill(first.pid, signal.SIGKILL)
        down = await report_of(probe, ReplicaState.STARTING)
        assert (down.reason, down.exit_status) == ("the engine was killed by SIGKILL", "signal SIGKILL")
        second = await report_of(probe, ReplicaState.READY)
        assert second.id.attempt == first.id.attempt + 1
        assert second.address != first.address
        assert await chat(second.address, "Hello")
        with pytest.raises(OSError):
            await open_engine_socket(first)
        async with TcpStream(await open_engine_socket(second)) as stream:
            await stream.send(b"GET /health HTTP/1.0\r\n\r\n")
            assert (await stream.receive()).startswith(b"HTTP/1.1 200")

        leash = leash_of(second.pid)
        replica.tell(StopReplica("test"))
        await report_of(probe, ReplicaState.DRAINING)
        replica.tell(Drained(first.id, 1))  # of another life: not meant
        assert alive(second.pid)
        replica.tell(Drained(second.id, 1))
        await report_of(probe, ReplicaState.STOPPED)
        assert members(second.pid) == []
        await until(lambda: not alive(leash))
    assert left(host) == []
    text = (await anyio.to_thread.run_sync(read_chunk, host.folders.log_of(KEY), 0)).text
    assert text.count("---- attempt") == 2


NAMED: dict[str, dict[str, object]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1},
    "/v1/completions": {"prompt": "hi", "max_tokens": 1},
    "/v1/messages": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1},
    "/v1/responses": {"input": "hi", "max_output_tokens": 16},
    "/v1/embeddings": {"input": "hi"},
}


@pytest.mark.slow
async def test_llama_cpp_says_back_what_it_was_told(host: EngineHost) -> None:
    name = "org/Smol LM-2: \u00e4, 135M"
    settings: dict[str, object] = {
        "max_model_len": 512,
        "n_parallel": 2,
        "n_threads": 1,
        "extra": {"model_tags": "small", "chat_template": "{{ messages[0].content }}", "warmup": False},
    }
    async with TestSystem() as system:
        _, probe = await start(system, evolve(ORDER, model=name, settings=settings), host)
        ready = await report_of(probe, ReplicaState.READY)
        props = (await ask(ready.address, "/props")).json()
        assert props["model_alias"] == name
        assert Path(props["model_path"]).name == DEMO_MODELS["smollm2-135m"].file
        assert props["total_slots"] == 2
        assert props["default_generation_settings"]["n_ctx"] == 512
        assert props["endpoint_metrics"] is True
        assert props["chat_template"] == "{{ messages[0].content }}"
        (model,) = (await ask(ready.address, "/v1/models")).json()["data"]
        assert (model["id"], model["aliases"], model["tags"]) == (name, [name], ["small"])
        assert model["meta"]["n_ctx"] == 512
        answers = {path: (await ask(ready.address, path, body)).json() for path, body in NAMED.items()}
        assert {path: answer["model"] for path, answer in answers.items()} == dict.fromkeys(NAMED, name)
        assert "llamacpp:requests_processing" in (await ask(ready.address, "/metrics")).text


@pytest.mark.slow
async def test_a_model_in_several_files_that_are_links_is_served_by_its_folder(
    host: EngineHost, folder: Path
) -> None:
    """As a hub's cache has them: the names are those of links, and the files have others."""
    snapshot, blobs = folder / "snapshot", folder / "blobs"

    def make() -> None:
        snapshot.mkdir()
        blobs.mkdir()
        for number, path in enumerate(split_gguf(demo_file("smollm2-135m"), blobs, "m", 3)):
            (snapshot / path.name).symlink_to(path.rename(blobs / (f"{number}" * 8)))

    await anyio.to_thread.run_sync(make)
    async with TestSystem() as system:
        _, probe = await start(system, evolve(ORDER, source=str(snapshot)), host)
        ready = await report_of(probe, ReplicaState.READY)
        assert await chat(ready.address, "Hello")
        props = (await ask(ready.address, "/props")).json()
        assert props["model_path"] == str(snapshot / "m-00001-of-00003.gguf")


@pytest.mark.slow
async def test_llama_cpp_serves_embeddings_only_where_that_is_set(host: EngineHost) -> None:
    async with TestSystem() as system:
        settings = SETTINGS | {"embedding": False}
        _, probe = await start(system, evolve(ORDER, settings=settings), host)
        ready = await report_of(probe, ReplicaState.READY)
        refused = await ask(ready.address, "/v1/embeddings", NAMED["/v1/embeddings"])
        assert refused.status_code == 501
        assert await chat(ready.address, "Hello")


@pytest.mark.parametrize(
    ("name", "value"),
    [("warmup", "false"), ("check_tensors", 2), ("n_batch", 1.5), ("nosuch", 1), ("rope_freq_base", 1e40)],
)
async def test_a_parameter_that_llama_cpp_would_take_for_another_one_is_refused(
    host: EngineHost, name: str, value: object
) -> None:
    async with TestSystem() as system:
        order = evolve(ORDER, settings=SETTINGS | {"extra": {name: value}})
        _, probe = await start(system, order, host)
        failed = await report_of(probe, ReplicaState.FAILED)
        assert f"llama.cpp takes no setting {name} = {value!r}" in failed.log_tail[-1]


@pytest.mark.slow
async def test_a_file_that_is_no_model_is_a_failure_with_a_reason_and_is_tried_again(
    host: EngineHost, folder: Path
) -> None:
    bad = folder / "bad.gguf"
    bad.write_bytes(b"GGUF" + b"\0" * 4096)
    async with TestSystem() as system:
        replica, probe = await start(system, evolve(ORDER, source=str(bad)), host)
        failed = await report_of(probe, ReplicaState.FAILED)
        assert failed.reason == "the engine ended by itself with exit code 1 before it was ready"
        assert failed.exit_status == "exit code 1"
        # A thread of llama.cpp writes its log, and may do so after the last words of the process.
        assert any(f"llama.cpp cannot serve {bad}" in line for line in failed.log_tail)
        assert failed.retry_in is not None
        bad.write_text("something else")
        again = await report_of(probe, ReplicaState.FAILED)
        assert again.reason == f"{bad} on this worker is not a GGUF file"
        replica.tell(StopReplica("test"))
        await report_of(probe, ReplicaState.STOPPED)
    assert left(host) == []


@pytest.mark.slow
async def test_a_supervisor_that_stops_the_replica_ends_its_engine(host: EngineHost) -> None:
    async with TestSystem() as system:
        _, probe = await start(system, ORDER, host)
        ready = await report_of(probe, ReplicaState.READY)
        await system.stop_child("replica")
        assert not alive(ready.pid)
        assert (await report_of(probe, ReplicaState.STOPPED)).id == ready.id
    assert left(host) == []


async def test_a_replica_that_is_stopped_while_it_starts_leaves_nothing(host: EngineHost) -> None:
    async with TestSystem() as system:
        replica, probe = await start(system, ORDER, host)
        starting = await report_of(probe, ReplicaState.STARTING, lambda report: report.pid > 0)
        replica.tell(StopReplica("test"))
        await report_of(probe, ReplicaState.STOPPED)
        assert not alive(starting.pid)
    assert left(host) == []


@pytest.mark.slow
async def test_an_engine_with_a_long_queue_still_answers_its_health_check(host: EngineHost) -> None:
    """On llama.cpp's own number of HTTP threads, the requests that wait leave none for a new connection."""
    async with TestSystem() as system:
        _, probe = await start(system, ORDER, host)
        ready = await report_of(probe, ReplicaState.READY)
        body = b'{"messages": [{"role": "user", "content": "Count."}], "max_tokens": 400, "ignore_eos": true}'
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: e\r\ncontent-length: %d\r\n\r\n" % len(body)
        async with AsyncExitStack() as streams:
            for _ in range(40):
                stream = await streams.enter_async_context(TcpStream(await open_engine_socket(ready)))
                await stream.send(head + body)
            await anyio.sleep(0.3)
            fresh = await streams.enter_async_context(TcpStream(await open_engine_socket(ready)))
            await fresh.send(b"GET /health HTTP/1.0\r\n\r\n")
            with anyio.fail_after(60):
                assert (await fresh.receive()).startswith(b"HTTP/1.1 200")
