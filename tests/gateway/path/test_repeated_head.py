"""A head is known again only where a parser would make the same of it."""

from __future__ import annotations

import pytest

from sllm_actors.gateway.path.repeated_head import LARGEST_KEPT, RepeatedHead

HEAD = b"POST /v1/chat HTTP/1.1\r\nHost: h\r\ncontent-LENGTH: \t5\r\nX-Key: a\r\n\r\n"


def known(head: bytes = HEAD, body: bytes = b"hello") -> RepeatedHead[str] | None:
    return RepeatedHead.of(head + body, len(body), "made")


@pytest.mark.parametrize("digits", [b"5", b"0", b"12", b"00012", b"9" * 18])
def test_a_head_is_known_with_any_length(digits: bytes) -> None:
    repeated = known()
    assert repeated is not None
    assert repeated.made == "made"
    head = HEAD.replace(b"5", digits)
    for rest in (b"", b"h", b"hello", b"hello and more"):
        assert repeated.find(head + rest) == (len(head), int(digits))


@pytest.mark.parametrize(
    "other",
    [
        HEAD.replace(b"5", b""),
        HEAD.replace(b"5", b"-5"),
        HEAD.replace(b"5", b"5 "),
        HEAD.replace(b"5", b"5, 5"),
        HEAD.replace(b"5", "٥".encode()),  # noqa: RUF001 - a digit, but not of HTTP
        HEAD.replace(b"5", b"9" * 19),
        HEAD.replace(b"5\r\n", b"5\n"),
        HEAD.replace(b"a\r\n\r\n", b"a\r\nTransfer-Encoding: chunked\r\n\r\n"),
        HEAD.replace(b"X-Key: a", b"X-Key: b"),
        HEAD.replace(b"POST", b"PUT"),
        HEAD.replace(b"chat", b"chats"),
        HEAD[:-1],
        HEAD[:50],
        b"",
    ],
)
def test_any_other_difference_makes_it_another_head(other: bytes) -> None:
    repeated = known()
    assert repeated is not None
    assert repeated.find(other) is None
    assert repeated.find(other + b"\r\n") is None


@pytest.mark.parametrize(
    ("data", "came"),
    [
        (HEAD + b"hello", 4),  # then the parser has seen something else in it
        (HEAD + b"hello" + HEAD + b"hello", 5),
        (HEAD[:-2], 0),
        (HEAD.replace(b"content-LENGTH", b"x"), 0),
        (HEAD.replace(b"X-Key: a", b"X-Key: " + b"a" * LARGEST_KEPT), 0),
    ],
    ids=["unclear", "two", "half", "no length", "large"],
)
def test_what_is_not_clear_is_not_remembered(data: bytes, came: int) -> None:
    assert RepeatedHead.of(data, came, "made") is None
