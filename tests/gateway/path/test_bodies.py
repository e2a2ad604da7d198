"""What clients send in place of plain JSON: compressed bodies and forms."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.conftest import Engines
from tests.gateway.kit import PlayedCluster, replica, running_gateway, served
from tests.gateway.raw_engine import Call, RawEngine

from sllm_actors.engines.external import ServerAccess
from sllm_actors.gateway.bodies.content_coding import ACCEPTED

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

pytestmark = [pytest.mark.anyio, pytest.mark.every_shell]

CHAT: dict[str, Any] = {"model": "smol", "messages": [{"role": "user", "content": "hi"}]}
BODY = json.dumps(CHAT).encode()
FORM = {"Content-Type": "multipart/form-data; boundary=XB"}
SOUND = b"RIFF\xff\xfe\r\n--X" + bytes(range(256)) * 9000


def part(name: bytes, value: bytes, more: bytes = b"") -> bytes:
    return b'--XB\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n' % (name, more, value)


FILE = part(b"file", SOUND, b'; filename="a.wav"\r\nContent-Type: audio/wav')
END = b"--XB--\r\n"


async def say_length(call: Call) -> None:
    await call.answer(200, {"length": len(call.body)})


async def deploy(cluster: PlayedCluster, engine: RawEngine) -> None:
    engine.behave = say_length
    await cluster.deploy(served(backend="vllm"))
    await cluster.report(replica("smol:vllm", address=engine.address))


@pytest.mark.parametrize(("coding", "encode"), [("gzip", gzip.compress), ("zstd", zstd.compress)])
async def test_an_engine_gets_a_compressed_body_as_it_was_before(
    cluster: PlayedCluster, broken_engine: Engines, coding: str, encode: Any
) -> None:
    async with broken_engine() as engine:
        await deploy(cluster, engine)
        large = json.dumps({**CHAT, "more": "x" * 3_000_000}).encode()
        for path in ("/v1/chat/completions", "/v1/responses"):
            for body in (BODY, large):
                answer = await cluster.http().post(
                    path, content=encode(body), headers={"Content-Encoding": coding}
                )
                assert (answer.status_code, answer.json()) == (200, {"length": len(body)})
                assert engine.calls[-1].body == body
                assert b"content-encoding" not in engine.calls[-1].head.lower()


async def test_a_coding_that_is_not_known_is_refused_with_those_that_are(cluster: PlayedCluster) -> None:
    for path in ("/v1/chat/completions", "/deployments"):
        answer = await cluster.http().post(path, content=BODY, headers={"Content-Encoding": "br"})
        assert (answer.status_code, answer.headers["accept-encoding"]) == (415, ", ".join(ACCEPTED))
        assert answer.json()["error"]["code"] == "unsupported_content_encoding"
        answer = await cluster.http().post(
            path, content=gzip.compress(BODY)[:20], headers={"Content-Encoding": "gzip"}
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_content_encoding")


@pytest.mark.slow
@pytest.mark.cleartext
async def test_a_few_bytes_that_become_many_are_refused(tmp_path: Path, broken_engine: Engines) -> None:
    bomb = gzip.compress(b'{"model":"smol","x":"' + b" " * 30_000_000 + b'"}')
    coded = {"Content-Encoding": "gzip"}
    async with (
        broken_engine() as engine,
        running_gateway(tmp_path, body_limit=2**20, held_bytes=2**21) as cluster,
    ):
        await deploy(cluster, engine)
        http = cluster.http()
        answer = await http.post("/v1/chat/completions", content=bomb, headers=coded)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
        answer = await http.post("/deployments", content=bomb, headers=coded)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
        for _ in range(5):  # what was counted is counted no longer
            answer = await http.post("/v1/chat/completions", content=gzip.compress(BODY), headers=coded)
            assert answer.status_code == 200
    async with running_gateway(tmp_path, body_limit=2**20, held_bytes=2**20) as cluster:
        answer = await cluster.http().post("/v1/completions", content=gzip.compress(BODY), headers=coded)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")


@pytest.mark.parametrize("body", [part(b"model", b"smol") + FILE + END, FILE + part(b"model", b"smol") + END])
async def test_a_form_is_routed_by_its_model_wherever_that_stands(
    cluster: PlayedCluster, broken_engine: Engines, body: bytes
) -> None:
    async with broken_engine() as engine:
        await deploy(cluster, engine)
        answer = await cluster.http().post("/v1/audio/transcriptions", content=body, headers=FORM)
        assert (answer.status_code, engine.calls[0].body == body) == (200, True)
        assert b"multipart/form-data; boundary=xb" in engine.calls[0].head.lower()


async def test_a_form_without_a_model_is_told_so(cluster: PlayedCluster) -> None:
    answer = await cluster.http().post("/v1/audio/transcriptions", content=FILE + END, headers=FORM)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "model_required")


@pytest.mark.cleartext
async def test_a_server_gets_its_own_name_of_the_model_in_a_form(
    cluster: PlayedCluster, broken_engine: Engines
) -> None:
    async with broken_engine() as theirs:
        theirs.behave = say_length
        await cluster.deploy(served("ours", "external"))
        server = ServerAccess("theirs", connect_timeout=1)
        await cluster.report(replica("ours:external", address=theirs.address, server=server))
        hint = part(b"keep_alive", b"5m")
        body = FILE + part(b"backend", b"external") + hint + part(b"model", b"ours") + END
        answer = await cluster.http().post("/v1/images/edits", content=body, headers=FORM)
        assert answer.status_code == 200
        assert theirs.calls[0].body == FILE + part(b"model", b"theirs") + END
