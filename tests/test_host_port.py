"""Hosts and ports, written together and taken apart."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.host_port import HIGHEST_PORT, HostPort, parse_host

hosts = st.one_of(
    st.ip_addresses().map(str),
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z0-9]{1,10}){0,3}", fullmatch=True),
)
ports = st.integers(0, HIGHEST_PORT)


@given(hosts, ports)
def test_what_is_written_is_read_again(host: str, port: int) -> None:
    written = str(HostPort(host, port))
    assert HostPort.parse(written, 1) == HostPort(host, port)
    url = urlsplit(f"http://{HostPort(host, port).authority}/v1")
    assert (url.hostname, url.port) == (host, port)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_with_a_reason(text: str) -> None:
    try:
        found = HostPort.parse(text, 7)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - either is right
    else:
        assert HostPort.parse(str(found), 7) == found
        assert 0 <= found.port <= HIGHEST_PORT


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("head", HostPort("head", 7)),
        ("head:80", HostPort("head", 80)),
        ("[fd00::1]:80", HostPort("fd00::1", 80)),
        ("[fd00::1]", HostPort("fd00::1", 7)),
        ("fd00::1", HostPort("fd00::1", 7)),
        ("::1", HostPort("::1", 7)),
        ("[fe80::1%eth0]:80", HostPort("fe80::1%eth0", 80)),
        ("café.example:80", HostPort("café.example", 80)),
    ],
)
def test_each_form_is_understood(text: str, found: HostPort) -> None:
    assert HostPort.parse(text, 7) == found


def test_an_authority_is_ascii_and_has_no_zone() -> None:
    assert str(HostPort("fe80::1%eth0", 80)) == "[fe80::1%eth0]:80"
    assert HostPort("fe80::1%eth0", 80).authority == "[fe80::1]:80"
    assert HostPort("café.example", 80).authority == "xn--caf-dma.example:80"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            ":80",
            "a:",
            "a:b",
            "a:70000",
            "a:٣",
            "a:-1",
            "a b:80",
            "a\n:80",
            "u@a:80",
            "a/b",
            "a?b",
            "a%b",
        ),
        *("[::1", "[::1]80", "[a]:80", "[]:80", "::1]:80", "::1:80:x", "a..b", "a" * 70, "[::1]:70000"),
    ],
)
def test_what_names_no_host_and_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        HostPort.parse(text, 7)


def test_an_address_to_listen_on_has_no_port() -> None:
    good = {"0.0.0.0": "0.0.0.0", "::": "::", "[::1]": "::1", "host": "host"}
    assert {text: parse_host(text) for text in good} == good
    for text in ("host:80", "[::1]:80", "[host]", ""):
        with pytest.raises(ValueError, match=r"\w"):
            parse_host(text)
