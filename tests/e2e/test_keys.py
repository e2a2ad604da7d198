"""A cluster that other machines reach, and API keys as people make and use them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import psutil
import pytest
from openai import OpenAI

from .cluster import DEMO, PATIENCE, Cluster, Sllm, eventually

pytestmark = [pytest.mark.allow_blocking, pytest.mark.timeout(300)]

QUESTION: list[openai.types.chat.ChatCompletionMessageParam] = [
    {"role": "user", "content": "What is gravity?"}
]


class Keyed(Cluster):
    """``sllm up`` bound beyond loopback: what is asked needs the key in its data directory."""

    @property
    def admin(self) -> dict[str, str]:
        return bearer((self.data_dir / "admin-key").read_text().strip())

    def describe(self, deployment: str = f"{DEMO}:llamacpp") -> dict[str, Any] | None:
        path = f"{self.url}/deployments/{deployment}"
        response = httpx2.get(path, headers=self.admin, timeout=60, trust_env=False)
        return response.json() if response.status_code == 200 else None

    def keys(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run("keys", *words)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run ``sllm`` as a person does on the head's machine."""
        return subprocess.run(
            [sys.executable, "-m", "sllm_actors", *words],
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
            env={**os.environ, "LLM_SERVER_URL": self.url, "SLLM_DATA_DIR": str(self.data_dir)},
        )

    def made(self, name: str, *words: str) -> str:
        ended = self.keys("create", name, *words)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.strip()

    def models(self, key: str, url: str = "") -> int:
        headers = bearer(key)
        return httpx2.get(f"{url or self.url}/v1/models", headers=headers, trust_env=False).status_code

    def client(self, key: str) -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=60.0)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    running = Keyed(tmp_path_factory.mktemp("keyed"), "--demo", "--host", "0.0.0.0")
    try:
        running.url = running.url.replace("0.0.0.0", "127.0.0.1")
        running.wait_ready()
        yield running
    finally:
        running.close()


def test_each_of_two_keys_opens_models_for_an_openai_client_and_nothing_else(keyed: Keyed) -> None:
    keys = {"chat": keyed.made("chat", "--share", "2"), "batch": keyed.made("batch")}
    for name, key in keys.items():
        eventually(lambda key=key: keyed.models(key) == 200, what="the gateway has heard of it")  # type: ignore[misc]
        with keyed.client(key) as client:
            assert client.chat.completions.create(model=DEMO, messages=QUESTION, max_tokens=4).choices
            assert DEMO in [each.id for each in client.models.list()]
        refused = httpx2.get(f"{keyed.url}/status", headers=bearer(key), trust_env=False)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "admin_key_required")
        assert name in refused.json()["error"]["message"]
    curl = ["curl", "-sS", f"{keyed.url}/v1/models", "-H", f"Authorization: Bearer {keys['chat']}"]
    assert DEMO in subprocess.run(curl, capture_output=True, text=True, check=True, timeout=60).stdout
    listed = json.loads(keyed.keys("list", "--json").stdout)["keys"]
    assert [(each["name"], each["share"]) for each in listed] == [("batch", 1.0), ("chat", 2.0)]
    assert keyed.keys("update", "batch", "--share", "0.5").returncode == 0
    again = keyed.keys("create", "chat")
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr.count("\n") == 1
    logged = keyed.sllm.output + "".join(each.read_text() for each in keyed.data_dir.rglob("node.log"))
    assert not any(key in logged for key in keys.values())
    with keyed.client("wrong") as client, pytest.raises(openai.AuthenticationError):
        client.models.list()
    for name in keys:
        assert keyed.keys("delete", name).returncode == 0
    eventually(lambda: keyed.models(keys["chat"]) == 401, what="it is refused")
    told = keyed.run("events", "--kind", "key", "--json").stdout
    kinds = [(each["subject"], each["kind"]) for each in map(json.loads, told.splitlines())]
    batch = [kind for name, kind in kinds if name == "batch"]
    assert batch == ["key.created", "key.changed", "key.deleted"]
    assert not any(key in told for key in keys.values())


def test_a_stream_goes_on_when_its_key_is_deleted(keyed: Keyed) -> None:
    key = keyed.made("stream")
    eventually(lambda: keyed.models(key) == 200, what="the gateway has heard of it")
    with keyed.client(key) as client:
        pieces = client.chat.completions.create(model=DEMO, messages=QUESTION, max_tokens=200, stream=True)
        first = next(iter(pieces))
        assert first.choices
        assert keyed.keys("delete", "stream").returncode == 0
        eventually(lambda: keyed.models(key) == 401, what="it is refused")
        assert [each.choices[0].finish_reason for each in pieces if each.choices][-1] in ("stop", "length")
        with pytest.raises(openai.AuthenticationError):
            client.chat.completions.create(model=DEMO, messages=QUESTION, max_tokens=4)


def test_keys_outlive_the_head_and_hold_while_it_is_away(keyed: Keyed) -> None:
    key = keyed.made("kept", "--share", "3")
    eventually(lambda: keyed.models(key) == 200, what="the gateway has heard of it")
    head = psutil.Process(keyed.sllm.node("head"))
    head.suspend()
    assert keyed.models(key) == 200
    head.resume()
    head.send_signal(signal.SIGKILL)
    assert keyed.models(key) == 200

    def listed() -> list[tuple[str, float]] | None:
        ended = keyed.keys("list", "--json")
        if ended.returncode:
            return None  # it is away still
        return [(each["name"], each["share"]) for each in json.loads(ended.stdout)["keys"]]

    assert eventually(listed, what="the head is back") == [("kept", 3.0)]
    assert keyed.models(key) == 200
    assert keyed.keys("delete", "kept").returncode == 0
    eventually(lambda: keyed.models(key) == 401, what="it is refused")


def test_a_key_still_opens_when_the_database_is_lost(keyed: Keyed) -> None:
    key, file = keyed.made("saved", "--share", "2"), keyed.data_dir / "api-keys.json"
    eventually(lambda: "saved" in file.read_text(), what="it is in the file beside the database")
    assert key not in file.read_text()
    head = psutil.Process(keyed.sllm.node("head"))
    head.suspend()  # so that nobody is there when its files go
    for each in keyed.data_dir.glob("state.db*"):
        each.unlink()
    head.send_signal(signal.SIGKILL)

    def recovered() -> list[str]:
        told = keyed.run("events", "saved", "--kind", "key.recovered", "--json")
        return [json.loads(line)["kind"] for line in told.stdout.splitlines()]

    assert eventually(recovered, what="a new head tells of it") == ["key.recovered"]
    listed = json.loads(keyed.keys("list", "--json").stdout)["keys"]
    assert [(each["name"], each["share"]) for each in listed] == [("saved", 2.0)]
    keyed.wait_ready()
    with keyed.client(key) as client:
        assert client.chat.completions.create(model=DEMO, messages=QUESTION, max_tokens=4).choices
    os.kill(keyed.sllm.node("gateway-0"), signal.SIGKILL)
    eventually(lambda: answers(keyed, key) == 200, what="a gateway that begins anew has it from the head")
    assert keyed.keys("delete", "saved").returncode == 0
    eventually(lambda: keyed.models(key) == 401, what="it is refused")


def answers(keyed: Keyed, key: str) -> int:
    try:
        return keyed.models(key)
    except httpx2.TransportError:
        return 0


def test_of_many_who_make_one_key_at_once_one_gets_it(keyed: Keyed) -> None:
    answers: list[httpx2.Response] = []

    def make() -> None:
        body = {"name": "twice"}
        answers.append(httpx2.post(f"{keyed.url}/keys", json=body, headers=keyed.admin, trust_env=False))

    makers = [threading.Thread(target=make) for _ in range(8)]
    for each in makers:
        each.start()
    for each in makers:
        each.join(60)
    assert sorted(each.status_code for each in answers) == [200, *[409] * 7]
    (made,) = [each.json() for each in answers if each.status_code == 200]
    eventually(lambda: keyed.models(made["key"]) == 200, what="it is the one that was shown")
    keyed.keys("delete", "twice")


def test_a_gateway_of_another_machine_takes_the_keys_of_the_head_and_its_own(
    keyed: Keyed, tmp_path: Path
) -> None:
    key = keyed.made("far")
    port = keyed.sllm.wait_for(r"cluster HTTP on port (\d+)")[1]
    words = ("--head", f"127.0.0.1:{port}", "--secret-file", str(keyed.data_dir / "secret"))
    more = ("--host", "0.0.0.0", "--port", "0", "--data-dir", str(tmp_path / "data"))
    gateway = Sllm("gateway", *words, *more)
    try:
        url = gateway.wait_for(r"OpenAI API: (http://\S+)/v1")[1].replace("0.0.0.0", "127.0.0.1")
        own = (tmp_path / "data" / "admin-key").read_text().strip()
        heads = keyed.admin["Authorization"].removeprefix("Bearer ")
        assert own != heads
        eventually(lambda: keyed.models(key, url) == 200, what="it has heard of the key")
        for admin in (own, heads):
            answer = httpx2.get(f"{url}/status", headers=bearer(admin), timeout=60, trust_env=False)
            assert answer.status_code == 200
        assert httpx2.get(f"{url}/status", headers=bearer(key), trust_env=False).status_code == 403
        assert keyed.models(own) == 401, "it opens its own machine's gateway only"
        assert keyed.keys("delete", "far").returncode == 0
        eventually(lambda: keyed.models(key, url) == 401, what="it is refused there, too")
    finally:
        gateway.stop()
        gateway.kill_all()
