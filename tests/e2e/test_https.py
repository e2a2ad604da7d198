"""People's clients reach the gateways by HTTPS, and by HTTP/2 where that is offered."""

from __future__ import annotations

import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trustme
from attrs import frozen
from openai import OpenAI

from sllm_actors.testing.fake_engine import fake_engine_argv

from .cluster import Sllm, eventually

pytestmark = [pytest.mark.allow_blocking, pytest.mark.timeout(180)]

PORTS = ("--port", "0", "--cluster-port", "0", "--transport-port", "0", "--worker-port", "0")
HELLO: Any = [{"role": "user", "content": "hello"}]


@frozen
class Site:
    """A cluster whose OpenAI API is served by HTTPS.

    Attributes:
        url: With the name that the certificate is for.
        authority: The file with the certificate of its authority.
    """

    sllm: Sllm
    url: str
    authority: Path

    def http(self, *, http2: bool) -> httpx2.Client:
        verify = ssl.create_default_context(cafile=str(self.authority))
        return httpx2.Client(base_url=self.url, verify=verify, http2=http2, trust_env=False, timeout=60)


def is_ready(http: httpx2.Client, deployment: str) -> bool:
    return bool(http.get(f"/deployments/{deployment}").json().get("state") == "ready")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    ca = trustme.CA()
    leaf = ca.issue_cert("localhost")
    certificate, key, authority = (str(folder / name) for name in ("site.pem", "site.key", "ca.pem"))
    (folder / "site.key").touch(0o600)
    leaf.cert_chain_pems[0].write_to_path(certificate)
    leaf.private_key_pem.write_to_path(key)
    ca.cert_pem.write_to_path(authority)
    files = ("--public-tls-cert", certificate, "--public-tls-key", key, "--http2")
    sllm = Sllm(
        "up", "--data-dir", str(folder / "data"), *PORTS, *files, "--gateways", "2", "--allow-command"
    )
    try:
        url = sllm.wait_for(r"OpenAI API: (https://\S+)/v1")[1]
        made = Site(sllm, url, folder / "ca.pem")
        with made.http(http2=True) as http:
            for model, rate in (("quick", "200"), ("slow", "5")):
                command = fake_engine_argv("--socket", "$SOCKET", "--rate", rate)
                document = {"model": model, "backend": "command", "backend_config": {"command": command}}
                assert http.post("/deployments", json=document).status_code == 200
            for model in ("quick", "slow"):
                eventually(partial(is_ready, http, f"{model}:command"), what=f"{model} ready")
        yield made
    finally:
        sllm.kill_all()


def test_the_url_that_is_shown_names_the_certificates_host(site: Site) -> None:
    assert re.fullmatch(r"https://localhost:\d+", site.url)


@pytest.mark.parametrize("http2", [False, True])
def test_the_openai_client_streams_and_asks_over_it(site: Site, http2: bool) -> None:
    with (
        site.http(http2=http2) as http,
        OpenAI(base_url=f"{site.url}/v1", api_key="none", http_client=http, max_retries=0) as client,
    ):
        answer = client.chat.completions.create(model="quick", messages=HELLO, max_tokens=5)
        assert answer.choices[0].message.content
        stream = client.chat.completions.create(model="quick", messages=HELLO, max_tokens=20, stream=True)
        assert len([chunk for chunk in stream if chunk.choices]) >= 20


def test_the_version_is_chosen_by_the_client(site: Site) -> None:
    for http2, version in ((False, "HTTP/1.1"), (True, "HTTP/2")):
        with site.http(http2=http2) as http:
            answer = http.get("/health")
            assert (answer.status_code, answer.http_version) == (200, version)


def test_curl_gets_a_stream_by_http2(site: Site) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("needs curl")
    body = (
        '{"model": "quick", "stream": true, "max_tokens": 5, "messages": [{"role": "user", "content": "a"}]}'
    )
    asked = subprocess.run(
        [
            *(curl, "-sS", "--http2", "--cacert", str(site.authority), "-D", "-"),
            *("--data-binary", body, "-H", "content-type: application/json"),
            f"{site.url}/v1/chat/completions",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert asked.stdout.startswith("HTTP/2 200")
    assert asked.stdout.rstrip().endswith("data: [DONE]")


def test_sllm_itself_reaches_it_where_the_authority_is_named(site: Site) -> None:
    def status(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sllm_actors", "status"],
            env={"LLM_SERVER_URL": site.url, "HOME": "/nonexistent"} | more,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    known = status(SSL_CERT_FILE=str(site.authority))
    assert (known.returncode, known.stderr) == (0, "")
    assert "quick:command" in known.stdout
    unknown = status()
    assert unknown.returncode == 1
    assert unknown.stderr.count("\n") == 1
    assert "is not trusted" in unknown.stderr
    assert "SSL_CERT_FILE" in unknown.stderr


def test_a_gateway_that_is_killed_leaves_the_port_to_the_other(site: Site) -> None:
    os.kill(site.sllm.node("gateway-0"), signal.SIGKILL)
    for _ in range(20):
        with site.http(http2=False) as http:  # a new connection each time
            assert http.get("/health").status_code == 200
    site.sllm.wait_for("gateway-0: ended .signal SIGKILL., starting it again")


def test_a_client_that_speaks_no_tls_is_hung_up_on(site: Site) -> None:
    with pytest.raises(httpx2.TransportError):
        httpx2.get(site.url.replace("https", "http") + "/health", trust_env=False, timeout=60)
    with site.http(http2=True) as http:
        assert http.get("/health").status_code == 200


def test_a_file_that_cannot_be_used_is_refused_before_anything_starts(tmp_path: Path) -> None:
    leaf = trustme.CA().issue_cert("localhost")
    leaf.cert_chain_pems[0].write_to_path(str(tmp_path / "site.pem"))
    files = ("--public-tls-cert", str(tmp_path / "site.pem"), "--public-tls-key", str(tmp_path / "none.key"))
    refused = Sllm("up", "--data-dir", str(tmp_path / "data"), *PORTS, *files)
    assert refused.ended() == 1
    refused.kill_all()
    assert refused.lines == [
        f"error: the key {tmp_path / 'none.key'} (--public-tls-key) cannot be read: No such file or directory"
    ]
