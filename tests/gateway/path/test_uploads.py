"""Files that clients send reach engines while they come, and no more of them is held than is needed."""

from __future__ import annotations

import hashlib
import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import anyio
import pytest
from tests.gateway.kit import PlayedCluster, replica, running_gateway, served
from tests.gateway.upload_engine import Read, UploadEngine, upload_engine

from sllm_actors.engines.external import ServerAccess
from sllm_actors.gateway.path.clients.upload import KEPT

pytestmark = [pytest.mark.anyio, pytest.mark.every_shell]

PATH = "/v1/audio/transcriptions"
FORM = {"Content-Type": "multipart/form-data; boundary=XB"}
SOUND = bytes(range(256)) * 6_000 + b"\r\n--X\r\n--XC"
DIGEST = hashlib.sha256(SOUND).hexdigest()


def part(name: str, value: bytes, more: str = "") -> bytes:
    return f'--XB\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"


MODEL = part("model", b"smol")
FILE = part("file", SOUND, '; filename="a.wav"')
END = b"--XB--\r\n"


async def in_pieces(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), 50_000):
        yield body[at : at + 50_000]


def held(cluster: PlayedCluster) -> int:
    return cluster.gateway._inference.budget.held


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(60):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.01)


async def deploy(cluster: PlayedCluster, *engines: UploadEngine) -> None:
    await cluster.deploy(served(backend="vllm"))
    found = [replica("smol:vllm", address=each.url, number=at + 1) for at, each in enumerate(engines)]
    await cluster.report(*found)


async def test_an_engine_has_the_beginning_before_the_client_has_sent_the_end(cluster: PlayedCluster) -> None:
    async with upload_engine() as engine:
        await deploy(cluster, engine)
        body = MODEL + FILE + END

        async def slowly() -> AsyncIterator[bytes]:
            yield body[:1000]
            await until(lambda: engine.reads and engine.reads[0].size == 1000)
            yield body[1000:]

        length = {"Content-Length": str(len(body))}
        for headers in (FORM, FORM | length):
            engine.reads.clear()
            answer = await cluster.http().post(PATH, content=slowly(), headers=headers)
            assert answer.json()["fields"] == {"model": "smol", "file": DIGEST}
            assert engine.reads[0].raw == body
            assert engine.reads[0].headers.get("content-length") == headers.get("Content-Length")


@pytest.mark.parametrize("external", [True, False], ids=["external", "engine"])
async def test_what_openais_library_sends_comes_without_what_is_meant_for_the_gateway(
    cluster: PlayedCluster, *, external: bool
) -> None:
    async with upload_engine() as engine:
        backend = "external" if external else "vllm"
        server = ServerAccess("a-longer-name", connect_timeout=5) if external else None
        await cluster.deploy(served("smol", backend))
        await cluster.report(replica(f"smol:{backend}", address=engine.url, server=server))
        answer = await cluster.client().audio.transcriptions.create(
            model="smol",
            file=("a.wav", io.BytesIO(SOUND)),
            language="en",
            extra_body={"keep_alive": "5m", "backend": backend},
        )
        assert answer.text == "heard"
        rest = {"language": "en", "file": DIGEST}
        if external:
            assert engine.reads[0].fields == {"model": "a-longer-name", **rest}
        else:
            assert engine.reads[0].fields == {"model": "smol", "backend": "vllm", **rest}


@pytest.mark.parametrize("announced", [True, False], ids=["length", "chunks"])
async def test_what_comes_behind_a_file_is_taken_out_too(cluster: PlayedCluster, *, announced: bool) -> None:
    async with upload_engine() as engine:
        await deploy(cluster, engine)
        wish, rest = part("keep_alive", b"5m"), part("language", b"en") + END
        body = MODEL + FILE + wish + rest
        content = body if announced else in_pieces(body)
        answer = await cluster.http().post(PATH, content=content, headers=FORM)
        assert answer.json()["fields"] == {"model": "smol", "language": "en", "file": DIGEST}
        assert engine.reads[0].whole
        assert engine.reads[0].size == (len(body) if announced else len(body) - len(wish))


async def test_a_form_is_refused_that_names_another_model_behind_its_file(cluster: PlayedCluster) -> None:
    async with upload_engine() as engine:
        await deploy(cluster, engine)
        body = MODEL + FILE + part("model", b"other") + END
        answer = await cluster.http().post(PATH, content=in_pieces(body), headers=FORM)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_form")
        assert "its field model has to stand before its files" in answer.json()["error"]["message"]
        await until(lambda: engine.reads[0].over.is_set())
        assert not engine.reads[0].whole


@pytest.mark.parametrize(
    "body", [MODEL + FILE[:-2], MODEL + FILE + b"--XB\r\n: x\r\n\r\n"], ids=["cut off", "broken"]
)
async def test_an_engine_does_not_go_on_with_a_form_that_is_not_whole(
    cluster: PlayedCluster, body: bytes
) -> None:
    async with upload_engine() as engine:
        await deploy(cluster, engine)
        answer = await cluster.http().post(PATH, content=in_pieces(body), headers=FORM)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_form")
        await until(lambda: engine.reads[0].over.is_set())
        assert (engine.reads[0].whole, engine.reads[0].gone) == (False, True)


async def test_an_answer_that_comes_before_the_file_is_passed_on(cluster: PlayedCluster) -> None:
    async with upload_engine(refuses=413) as engine:
        await deploy(cluster, engine)
        answer = await cluster.http().post(PATH, content=in_pieces(MODEL + FILE + END), headers=FORM)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_big")


async def test_an_engine_is_told_when_the_client_leaves_in_the_middle(cluster: PlayedCluster) -> None:
    async with upload_engine() as engine:
        await deploy(cluster, engine)

        async def never() -> AsyncIterator[bytes]:
            yield MODEL + FILE
            await anyio.sleep_forever()

        http = cluster.http()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: http.post(PATH, content=never(), headers=FORM))
            await until(lambda: engine.reads and engine.reads[0].size > KEPT)
            tasks.cancel_scope.cancel()
        await http.aclose()
        await until(lambda: engine.reads[0].over.is_set())
        assert engine.reads[0].gone
        await until(lambda: cluster.gateway.balancer.total == 0)


async def test_a_client_is_read_no_further_while_its_upload_waits_for_a_replica(
    cluster: PlayedCluster,
) -> None:
    async with upload_engine(keeps=False) as engine, anyio.create_task_group() as tasks:
        await cluster.deploy(served(backend="vllm"))
        answers = []

        async def post() -> None:
            content = in_pieces(MODEL + FILE + END)
            answers.append(await cluster.http().post(PATH, content=content, headers=FORM))

        tasks.start_soon(post)
        await until(lambda: cluster.gateway.balancer.held("smol:vllm") == 1)
        await until(lambda: held(cluster) > KEPT)
        assert held(cluster) <= KEPT + 2**20
        await cluster.report(replica("smol:vllm", address=engine.url))
        await until(lambda: answers)
        assert (answers[0].status_code, engine.reads[0].size) == (200, len(MODEL + FILE + END))


@pytest.mark.cleartext
async def test_a_client_that_leaves_while_it_is_not_read_gives_its_place_up(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, keep_alive_interval=0.05) as cluster:
        await cluster.deploy(served(backend="vllm"))
        async with await anyio.connect_tcp("127.0.0.1", int(cluster.url.rpartition(":")[2])) as stream:
            lines = "".join(f"{name}: {value}\r\n" for name, value in FORM.items())
            head = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}Content-Length: {10**7}\r\n\r\n"
            await stream.send(head.encode() + MODEL + FILE)
            await until(lambda: held(cluster) > KEPT)
            assert cluster.gateway.balancer.held("smol:vllm") == 1
        await until(lambda: cluster.gateway.balancer.held("smol:vllm") == 0)


@pytest.mark.slow
@pytest.mark.cleartext
async def test_what_is_held_of_a_large_upload_stays_small_however_slowly_the_engine_reads(
    tmp_path: Path,
) -> None:
    most, sent, total = 0, 0, 200 * 10**6
    piece = bytes(10**6)

    async def watch(read: Read) -> None:
        nonlocal most
        if read.size % 5 == 0:
            await anyio.sleep(0.001)
        most = max(most, held(cluster))
        assert sent - read.size < 50 * 10**6  # what the kernel holds in between, and no more

    async def large() -> AsyncIterator[bytes]:
        nonlocal sent
        yield MODEL + part("file", b"", '; filename="a.wav"')[:-2]
        for _ in range(total // len(piece)):
            sent += len(piece)
            yield piece
        yield b"\r\n" + END

    async with upload_engine(keeps=False, goes_on=watch) as engine, running_gateway(tmp_path) as cluster:
        await deploy(cluster, engine)
        answer = await cluster.http().post(PATH, content=large(), headers=FORM)
        assert (answer.status_code, engine.reads[0].size > total) == (200, True)
        assert 0 < most < 2 * KEPT


@pytest.mark.slow
@pytest.mark.cleartext
async def test_a_form_is_held_whole_until_it_names_its_model(tmp_path: Path) -> None:
    async with upload_engine() as engine, running_gateway(tmp_path, body_limit=2 * 10**6) as cluster:
        await deploy(cluster, engine)
        for body in (FILE + MODEL + END, MODEL + FILE + FILE + END):
            answer = await cluster.http().post(PATH, content=in_pieces(body), headers=FORM)
            assert answer.status_code == 200
        answer = await cluster.http().post(PATH, content=in_pieces(FILE + FILE + MODEL), headers=FORM)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
        assert "put that before the files" in answer.json()["error"]["message"]


@pytest.mark.cleartext
async def test_an_upload_is_bounded_too(tmp_path: Path) -> None:
    async with upload_engine() as engine, running_gateway(tmp_path, upload_limit=10**6) as cluster:
        await deploy(cluster, engine)
        for content in (MODEL + FILE + END, in_pieces(MODEL + FILE + END)):
            answer = await cluster.http().post(PATH, content=content, headers=FORM)
            assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
