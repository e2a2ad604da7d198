"""What a request asks is read of its head and its body alike."""

from __future__ import annotations

import gzip

import pytest

from sllm_actors.api_error import ApiError
from sllm_actors.gateway.headers import Headers
from sllm_actors.gateway.path.clients.request_head import RequestHead
from sllm_actors.gateway.path.reading import (
    READ_HERE,
    Reading,
    affinity_of,
    is_coded,
    prompt_of,
    read_request,
)

BODY = b'{"model":"m","messages":["hi"],"n":0.10}'
FORM = b'--X\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--X--\r\n'


def head(*headers: tuple[bytes, bytes], method: str = "POST", target: str = "/v1/completions") -> RequestHead:
    path, _, query = target.encode().partition(b"?")
    found: Headers = list(headers)
    return RequestHead(method, path, query, found)


def read(body: bytes = BODY, *headers: tuple[bytes, bytes], limit: int = 1000) -> Reading:
    return read_request(head(*headers), body, limit)


def test_only_what_is_named_of_a_body_is_changed() -> None:
    reading = read()
    assert (reading.fields.model, reading.body) == ("m", BODY)
    assert reading.body_with({}) is BODY
    assert reading.body_with({"model": "o"}, ["n"]) == b'{"model":"o","messages":["hi"]}'


def test_the_members_of_a_large_body_are_found_once() -> None:
    rest = b'"messages":["' + b"x" * READ_HERE + b'"]}'
    for mark in (b"", b"\xef\xbb\xbf"):
        reading = read(mark + b'{"model":"m",' + rest)
        assert reading.members is not None
        assert [each.key for each in reading.members] == ["model", "messages"]
        assert reading.body_with({"model": "other"}) == mark + b'{"model":"other",' + rest
    assert read().members is None


def test_a_form_is_read_as_one() -> None:
    reading = read(FORM, (b"content-type", b"multipart/form-data; boundary=X"))
    assert reading.fields.model == "m"
    assert reading.body_with({"model": "o"}) == FORM.replace(b"\nm\r", b"\no\r")
    assert read(BODY, (b"content-type", b"application/json")).form is None


def test_a_body_is_decoded_by_all_headers_that_say_how() -> None:
    coded = gzip.compress(BODY)
    assert read(coded, (b"content-encoding", b"gzip")).body == BODY
    assert read(BODY, (b"content-encoding", b"identity")).body == BODY
    assert [is_coded(head((b"content-encoding", b"gzip"))), is_coded(head())] == [True, False]
    with pytest.raises(ApiError, match="cannot decode"):
        read(coded, (b"content-encoding", b"zstd"), (b"content-encoding", b"gzip"))
    with pytest.raises(ApiError, match="at most 10 bytes"):
        read(coded, (b"content-encoding", b"gzip"), limit=10)


def test_a_body_that_does_not_name_the_model_is_nobodys_to_read_or_change() -> None:
    query = read_request(head(method="DELETE", target="/v1/files/file-1?model=m"), b"{", 1000)
    assert (query.fields.model, query.destination.made) == ("m", "file-1")
    assert query.body_with({"model": "o"}) == b"{"
    cancel = read_request(head(target="/v1/responses/resp_1/cancel"), b"", 1000)
    assert (cancel.fields.model, cancel.destination.made) == ("", "resp_1")


@pytest.mark.parametrize(
    ("body", "prompt"),
    [
        (b'{"model":"m","messages":[1],"prompt":"p"}', b"[1]"),
        (b'{"model":"m","prompt":"p"}', b'"p"'),
        (b'{"model":"m","input":["i"]}', b'["i"]'),
        (b'{"model":"m"}', None),
    ],
)
def test_requests_are_alike_by_their_prompt(body: bytes, prompt: bytes | None) -> None:
    assert prompt_of(read(body).fields) == prompt


def test_a_session_is_named_by_a_header_or_by_the_body() -> None:
    fields = read(b'{"model":"m","user":"u","prompt_cache_key":"k"}').fields
    assert affinity_of(head((b"x-session-id", b"s")), fields) == b"s"
    assert affinity_of(head((b"x-session-id", b"")), fields) == b"k"
    assert affinity_of(head(), read(b'{"model":"m","user":"u"}').fields) == b"u"
    assert affinity_of(head(), read().fields) is None
