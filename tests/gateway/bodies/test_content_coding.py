"""Compressed bodies are decoded within bounds, or refused with what helps."""

from __future__ import annotations

import gzip
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.api_error import ApiError
from sllm_actors.gateway.bodies.content_coding import BodyDecoder, coding_of, decoded
from sllm_actors.gateway.headers import find

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LIMIT = 2**20
BODY = b'{"model":"m","messages":[{"role":"user","content":"hello"}]}'
ENCODE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd.compress,
}
CODINGS = pytest.mark.parametrize("coding", ENCODE)


def refusal(call: Callable[[], object]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        (None, None),
        (b"", None),
        (b"identity", None),
        (b"gzip", "gzip"),
        (b" GZip ", "gzip"),
        (b"x-gzip", "x-gzip"),
        (b"zstd", "zstd"),
        (b"deflate", "deflate"),
        (b"identity, zstd", "zstd"),
    ],
)
def test_the_header_names_the_coding(header: bytes | None, coding: str | None) -> None:
    assert coding_of(header) == coding


@pytest.mark.parametrize("header", [b"br", b"compress", b"gzip, zstd", b"gzip;q=1", b"\xff" * 500])
def test_another_coding_is_refused_with_those_that_are_taken(header: bytes) -> None:
    error = refusal(lambda: coding_of(header))
    assert (error.status, error.code) == (415, "unsupported_content_encoding")
    assert find(error.headers, b"accept-encoding") == b"gzip, deflate, zstd"
    assert len(error.message) < 400


@CODINGS
@given(body=st.binary(max_size=300), data=st.data())
def test_a_body_is_decoded_in_any_pieces(coding: str, body: bytes, data: st.DataObject) -> None:
    encoded = ENCODE[coding](body)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(encoded)), max_size=5)))
    decoder = BodyDecoder(coding, LIMIT)
    found = [decoder.feed(encoded[a:b]) for a, b in zip([0, *cuts], [*cuts, len(encoded)], strict=True)]
    decoder.end()
    assert b"".join(found) == body == decoded(encoded, coding, LIMIT)


@CODINGS
@pytest.mark.parametrize("size", [0, 1, 2**16 - 1, 2**16, 2**17, LIMIT])
def test_a_body_may_be_as_large_as_the_limit(coding: str, size: int) -> None:
    encoded = ENCODE[coding](bytes(size))
    assert decoded(encoded, coding, LIMIT) == bytes(size)
    if size:
        assert refusal(lambda: decoded(encoded, coding, size - 1)).status == 413


@pytest.mark.slow
@CODINGS
def test_a_bomb_is_refused_before_it_fills_the_memory(coding: str) -> None:
    bomb = ENCODE[coding](bytes(200 * LIMIT))
    tracemalloc.start()
    try:
        error = refusal(lambda: decoded(bomb, coding, LIMIT))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert error.code == "body_too_large"
    assert most < 4 * LIMIT


@CODINGS
def test_a_body_that_is_cut_off_is_refused(coding: str) -> None:
    encoded = ENCODE[coding](BODY)
    for size in range(1, len(encoded)):
        error = refusal(lambda: decoded(encoded[:size], coding, LIMIT))  # noqa: B023
        assert (error.status, error.code) == (400, "invalid_content_encoding")
        assert coding in error.message


@CODINGS
@pytest.mark.parametrize("data", [BODY, b"\0", b"\x1f\x8b garbage", b"\x28\xb5\x2f\xfd garbage"])
def test_what_is_not_of_the_coding_is_refused(coding: str, data: bytes) -> None:
    assert refusal(lambda: decoded(data, coding, LIMIT)).status == 400
    assert refusal(lambda: decoded(ENCODE[coding](BODY) + data, coding, LIMIT)).status == 400


@CODINGS
def test_several_compressed_parts_are_one_body(coding: str) -> None:
    part = ENCODE[coding](BODY)
    assert decoded(part * 3, coding, LIMIT) == BODY * 3
    decoder = BodyDecoder(coding, LIMIT)
    assert decoder.feed(part) + decoder.feed(part) == BODY * 2


@CODINGS
def test_they_may_not_be_without_number(coding: str) -> None:
    assert refusal(lambda: decoded(ENCODE[coding](b"") * 20_000, coding, LIMIT)).status == 400


def test_a_window_that_no_client_needs_is_refused() -> None:
    options = {int(zstd.CompressionParameter.window_log): 27}
    compressor = zstd.ZstdCompressor(options=options)
    wide = compressor.compress(BODY) + compressor.flush()
    assert refusal(lambda: decoded(wide, "zstd", LIMIT)).status == 400


def test_an_empty_body_is_empty() -> None:
    assert decoded(b"", "gzip", LIMIT) == b""


@CODINGS
@given(data=st.binary(max_size=80))
def test_arbitrary_bytes_are_decoded_or_refused_and_nothing_else(coding: str, data: bytes) -> None:
    with suppress(ApiError):
        decoded(data, coding, 1000)
    with suppress(ApiError):
        decoded(ENCODE[coding](BODY)[:20] + data, coding, 1000)
