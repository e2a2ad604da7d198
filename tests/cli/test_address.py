"""How people write the address of a gateway."""

from __future__ import annotations

import pytest

from sllm_actors.cli.address import DEFAULT_URL, gateway_url
from sllm_actors.cli.errors import CommandFailure

from .conftest import Sllm
from .server import PlayedGateway


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        *(("", DEFAULT_URL), ("  ", DEFAULT_URL), (DEFAULT_URL, DEFAULT_URL)),
        *(("http://a:1/", "http://a:1"), (" http://a:1/v1/ \n", "http://a:1"), ("HTTPS://A/v1", "https://a")),
        *(("http://a:1/v1/chat/completions", "http://a:1"), ("http://a/v12", "http://a/v12")),
        *(("https://a/behind/v1", "https://a/behind"), ("https://a/behind//", "https://a/behind")),
        *(
            ("gpu-box", "http://gpu-box:8343"),
            ("gpu-box:80/v1", "http://gpu-box"),
            ("http://a", "http://a"),
        ),
        *(("gpu-box/v1", "http://gpu-box:8343"), ("[::1]", "http://[::1]:8343")),
        *(("[::1]:1/v1", "http://[::1]:1"), ("http://me:secret@a:1/v1", "http://me:secret@a:1")),
    ],
)
def test_an_address_is_understood(written: str, meant: str) -> None:
    assert gateway_url(written) == meant


@pytest.mark.parametrize(
    "written",
    [
        *(
            "http://",
            "http://[::1",
            "file:///etc/passwd",
            "ftp://a",
            "http://a:b",
            "http://a:99999",
            "a b",
            "//a",
        ),
        *("//a", "http://a?x=1", "http://a#x", "http://me:secret@a b", "http://a\nb", "http://a\x1b[31m"),
    ],
)
def test_an_address_that_is_none_is_named_without_its_password(written: str) -> None:
    with pytest.raises(CommandFailure, match=rf"is not an address like {DEFAULT_URL}") as failure:
        gateway_url(written)
    assert failure.value.message.startswith("LLM_SERVER_URL=")
    assert "secret" not in failure.value.message
    assert failure.value.message.isprintable()


@pytest.mark.parametrize("written", ["{}/v1", " {}/ ", "{}/v1/"])
def test_commands_use_it(
    sllm: Sllm, gateway: PlayedGateway, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    for url in (gateway.url, gateway.url.removeprefix("http://")):
        monkeypatch.setenv("LLM_SERVER_URL", written.format(url))
        assert sllm("status").code == 0
    assert {path for _, path, _ in gateway.requests} == {"/deployments"}
