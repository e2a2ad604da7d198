"""Which web pages may use the gateway, and what browsers are told."""

from __future__ import annotations

import pytest

from sllm_actors.api_error import ApiError
from sllm_actors.gateway.cors import ANY, Cors, origin_of
from sllm_actors.gateway.headers import Headers, find

PAGE = b"https://chat.example.org"
ONE, ALL = Cors.of([PAGE.decode()]), Cors.of([ANY])


def asks(origin: bytes = PAGE, *more: tuple[bytes, bytes]) -> Headers:
    return [(b"origin", origin), (b"access-control-request-method", b"POST"), *more]


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("*", "*"),
        ("https://chat.example.org", "https://chat.example.org"),
        ("HTTPS://Chat.Example.org:443/", "https://chat.example.org"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://localhost:80", "http://localhost"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://[::1]", "http://[::1]"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
    ],
)
def test_an_origin_is_written_as_browsers_write_it(text: str, origin: str) -> None:
    assert origin_of(text) == origin


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "chat.example.org",
        "https://",
        "https://a/b",
        "https://a?b",
        "https://a#b",
        "https://a:b",
        "https://a:99999",
        "https://me@a",
        "https://*.example.org",
        "http://[::1",
    ],
)
def test_what_is_no_origin_is_refused_with_what_is_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no origin: write .*https://chat\.example\.org"):
        Cors.of(["https://fine.example.org", text])


def test_no_page_may_unless_the_gateway_was_told() -> None:
    assert Cors().preflight("OPTIONS", asks()) is None
    assert Cors().headers_for(asks()) == []
    assert not Cors().allows(PAGE)


def test_a_browser_that_asks_first_is_told_what_the_page_may() -> None:
    names = (b"access-control-request-headers", b"authorization,content-type,x-stainless-os")
    answer = ONE.preflight("OPTIONS", asks(PAGE, names))
    assert isinstance(answer, list)
    assert find(answer, b"access-control-allow-headers") == names[1]
    assert b"POST" in (find(answer, b"access-control-allow-methods") or b"")
    assert find(answer, b"access-control-max-age") == b"600"
    assert find(answer, b"access-control-allow-credentials") is None
    assert find(answer, b"access-control-allow-private-network") is None


def test_a_page_of_the_open_web_may_reach_a_private_address() -> None:
    answer = ALL.preflight("OPTIONS", asks(PAGE, (b"access-control-request-private-network", b"true")))
    assert isinstance(answer, list)
    assert find(answer, b"access-control-allow-private-network") == b"true"


@pytest.mark.parametrize("names", [b"", b"x\r\nset-cookie: a=b", b"x" * 5000])
def test_names_of_headers_that_are_none_are_not_repeated(names: bytes) -> None:
    answer = ONE.preflight("OPTIONS", asks(PAGE, (b"access-control-request-headers", names)))
    assert isinstance(answer, list)
    assert find(answer, b"access-control-allow-headers") is None


@pytest.mark.parametrize(
    "origin", [b"https://chat.example.org.evil.net", b"http://chat.example.org", b"null", b"\xff", b""]
)
def test_a_page_from_elsewhere_is_refused_and_the_message_says_the_option(origin: bytes) -> None:
    refused = ONE.preflight("OPTIONS", asks(origin))
    assert isinstance(refused, ApiError)
    assert (refused.status, refused.code) == (403, "origin_not_allowed")
    assert "--cors-origin" in refused.message
    assert ONE.headers_for(asks(origin)) == [(b"vary", b"origin")]


def test_what_is_no_preflight_is_left_to_the_gateway() -> None:
    assert ONE.preflight("POST", asks()) is None
    assert ONE.preflight("OPTIONS", [(b"origin", PAGE)]) is None
    assert ONE.preflight("OPTIONS", [(b"access-control-request-method", b"POST")]) is None


def test_every_answer_says_who_may_read_it() -> None:
    answer = ONE.headers_for([(b"origin", PAGE)])
    assert find(answer, b"access-control-allow-origin") == PAGE
    assert b"retry-after" in (find(answer, b"access-control-expose-headers") or b"")
    assert ONE.headers_for([]) == [(b"vary", b"origin")]
    assert find(answer, b"vary") == b"origin"
    assert find(answer, b"access-control-allow-credentials") is None
    assert ALL.headers_for([]) == []
    assert find(ALL.headers_for([(b"origin", PAGE)]), b"access-control-allow-origin") == b"*"
