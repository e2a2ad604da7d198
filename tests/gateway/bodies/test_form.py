"""A form is routed by its fields wherever they stand, and its files are left alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.api_error import ApiError
from sllm_actors.gateway.bodies.form import (
    LONGEST_VALUE,
    MOST_PARTS,
    FormReader,
    is_form,
    read_form,
    with_form_changes,
)
from sllm_actors.gateway.bodies.request_fields import RequestFields

TYPE = b"multipart/form-data; boundary=XB"
SOUND = b"RIFF\xff\xfe\r\n--X\r\n--\r\n\r\n" + bytes(range(256)) * 20


def part(name: str, value: bytes, more: bytes = b"") -> bytes:
    head = b'--XB\r\nContent-Disposition: form-data; name="' + name.encode() + b'"' + more
    return head + b"\r\n\r\n" + value + b"\r\n"


FILE = part("file", SOUND, b'; filename="a.wav"\r\nContent-Type: audio/wav')
MODEL = part("model", b"m")
END = b"--XB--\r\n"


def refusal(call: Callable[[], object]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        call()
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize(
    ("content_type", "form"),
    [
        (TYPE, True),
        (b"Multipart/Form-Data;boundary=x", True),
        (b"multipart/form-data", True),
        (b"application/json", False),
        (b"", False),
        (None, False),
    ],
)
def test_the_content_type_says_whether_it_is_a_form(content_type: bytes | None, form: bool) -> None:
    assert is_form(content_type) is form


@pytest.mark.parametrize("body", [MODEL + FILE + END, FILE + MODEL + END, b"\r\n" + FILE + MODEL + b"--XB--"])
def test_the_model_is_found_wherever_it_stands(body: bytes) -> None:
    assert read_form(body, TYPE).fields() == RequestFields("m", stream=False)


def test_all_that_is_read_of_a_form() -> None:
    fields = {"backend": "external", "stream": "True", "user": "ü", "priority": " -3", "keep_alive": "5m"}
    body = b"".join(part(name, value.encode()) for name, value in fields.items())
    body += part("n", b"2") + part("prompt", b"x" * 20_000) + part("model", b"first") + MODEL + END
    assert read_form(body, TYPE).fields() == RequestFields(
        "m", "external", stream=True, user="ü", priority=-3, keep_alive="5m", n=2
    )
    body = part("priority", b"high") + part("stream", b"no") + part("n", b"9" * 99) + MODEL + END
    assert read_form(body, TYPE).fields() == RequestFields("m", stream=False)


def test_a_file_is_never_taken_for_a_field() -> None:
    body = part("model", b"x", b'; filename="model"') + END
    assert refusal(lambda: read_form(body, TYPE).fields()).code == "model_required"


def test_a_form_of_a_real_client_is_read() -> None:
    with httpx2.Client() as client:
        request = client.build_request(
            "POST", "http://gateway/", files={"file": ("a.wav", SOUND)}, data={"model": "m", "n": "1"}
        )
    body, content_type = request.read(), request.headers["content-type"].encode()
    assert read_form(body, content_type).fields() == RequestFields("m", stream=False, n=1)
    changed = with_form_changes(body, read_form(body, content_type), {"model": "theirs"})
    assert changed == body.replace(b"\r\n\r\nm\r\n", b"\r\n\r\ntheirs\r\n")


@given(st.data())
def test_a_form_may_come_in_any_pieces(data: st.DataObject) -> None:
    body = MODEL.replace(b"m\r\n", b"\r\n--X\r\n") + FILE + part("user", b"") + MODEL + END
    cuts = sorted(data.draw(st.sets(st.integers(0, len(body)), max_size=9)))
    reader, whole = FormReader(TYPE), FormReader(TYPE)
    for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True):
        reader.feed(body[a:b])
    whole.feed(body)
    reader.end()
    assert reader.parts == whole.parts
    assert (reader.values, reader.fields().model) == ({"model": "m", "user": ""}, "m")


def test_the_model_is_known_as_soon_as_it_has_come() -> None:
    reader = FormReader(TYPE)
    reader.feed(MODEL[:-2])
    assert reader.values == {}
    reader.feed(b"\r\n" + FILE[:30])
    assert reader.fields().model == "m"
    assert "last boundary" in refusal(reader.end).message


@pytest.mark.parametrize(
    ("content_type", "body", "said"),
    [
        (b"multipart/form-data", MODEL + END, "names no boundary"),
        (b'multipart/form-data; boundary=""', MODEL + END, "names no boundary"),
        (b"multipart/form-data; boundary=" + b"x" * 999, MODEL + END, "names no boundary"),
        (b"multipart/form-data; boundary=other", MODEL + END, "does not have the boundary"),
        (TYPE, b'{"model":"m"}', "does not have the boundary"),
        (TYPE, b"", "ends before its last boundary"),
        (TYPE, MODEL, "ends before its last boundary"),
        (TYPE, MODEL + FILE[:100], "ends before its last boundary"),
        (TYPE, b"--XB\r\n\r\nm\r\n" + END, "a part of it has no name"),
        (TYPE, part("model", b"\xff") + END, "its field model is not in UTF-8"),
        (TYPE, part("user", b"x" * (LONGEST_VALUE + 1)) + MODEL + END, "at most 8192 bytes"),
        (TYPE, MODEL * (MOST_PARTS + 1) + END, "at most 1000 parts"),
    ],
)
def test_what_is_no_form_gets_one_sentence(content_type: bytes, body: bytes, said: str) -> None:
    error = refusal(lambda: read_form(body, content_type))
    assert (error.code, error.param) == ("invalid_form", None)
    assert said in error.message


@pytest.mark.parametrize("body", [FILE + END, part("model", b"") + END, END])
def test_a_form_without_a_model_is_told_so(body: bytes) -> None:
    error = refusal(lambda: read_form(body, TYPE).fields())
    assert (error.code, error.param) == ("model_required", "model")


OURS = part("backend", b"external")


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        (MODEL + FILE + END, part("model", b"theirs") + FILE + END),
        (FILE + OURS + MODEL + END, FILE + part("model", b"theirs") + END),
        (OURS + FILE + MODEL + END, FILE + part("model", b"theirs") + END),
        (MODEL + FILE + OURS + END, part("model", b"theirs") + FILE + END),
        (part("model", b"") + OURS + MODEL + END, part("model", b"theirs") * 2 + END),
        (b"\r\n" + MODEL + OURS + OURS + END + b"after", b"\r\n" + part("model", b"theirs") + END + b"after"),
        (part("model", b"a", b'; filename="m"') + END, part("model", b"a", b'; filename="m"') + END),
        (END, END),
    ],
)
def test_only_what_was_named_is_another(body: bytes, changed: bytes) -> None:
    assert (
        with_form_changes(body, read_form(body, TYPE), {"model": "theirs"}, ["backend", "model"]) == changed
    )


@given(st.binary(max_size=60), st.sampled_from([b"", MODEL, b"--XB\r\n", MODEL[:30]]), st.binary(max_size=20))
def test_arbitrary_bytes_are_read_or_refused_and_nothing_else(
    data: bytes, begin: bytes, boundary: bytes
) -> None:
    for content_type in (TYPE, b"multipart/form-data; boundary=" + boundary, b"multipart/form-data;" + data):
        body = begin + data + END
        with suppress(ApiError):
            with_form_changes(body, read_form(body, content_type), {"model": "x"}, ["user"])
