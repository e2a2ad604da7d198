"""A form that is passed on as it comes is the same as one that is changed as a whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.api_error import ApiError
from sllm_actors.gateway.bodies.form import read_form, with_form_changes
from sllm_actors.gateway.bodies.form_passing import FormPassing

KIND = b"multipart/form-data; boundary=XB"
NAMES = st.sampled_from([b"model", b"keep_alive", b"backend", b"language"])
VALUES = st.sampled_from([b"", b"a", b"smol", b"\r\n", b"5m"])
SOUNDS = st.sampled_from([b"", b"RIFF", b"\r\n--X\r\n--XC\r\n-\r", b"\r\r\n--XBC--XB--"])


def part(name: bytes, value: bytes, more: bytes = b"") -> bytes:
    return b'--XB\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n' % (name, more, value)


def file(sound: bytes) -> bytes:
    return part(b"file", sound, b'; filename="a.wav"\r\nContent-Type: audio/wav')


PARTS = st.lists(st.builds(part, NAMES, VALUES) | st.builds(file, SOUNDS), min_size=1, max_size=6).map(
    b"".join
)
LATE = st.lists(
    st.builds(part, st.sampled_from([b"keep_alive", b"language"]), VALUES)
    | st.builds(file, SOUNDS)
    | st.just(part(b"model", b"smol"))
).map(b"".join)
ENDS = st.sampled_from([b"--XB--", b"--XB--\r\n", b"--XB--\r\nbehind\r\n--XB"])
MODEL = part(b"model", b"smol")


def passed(form: FormPassing, body: bytes, size: int) -> bytes:
    return b"".join(form.pass_on(body[at : at + size]) for at in range(0, len(body), size))


@given(
    beginning=st.sampled_from([b"", b"\r\n"]),
    parts=PARTS,
    end=ENDS,
    change=st.sampled_from([{}, {"model": "a-longer-name"}, {"model": ""}]),
    drop=st.sampled_from([(), ("keep_alive",), ("keep_alive", "backend")]),
    size=st.sampled_from([1, 2, 7, 50, 1000]),
)
def test_it_comes_out_as_a_form_that_is_changed_as_a_whole(
    beginning: bytes, parts: bytes, end: bytes, change: dict[str, str], drop: tuple[str, ...], size: int
) -> None:
    body = beginning + parts + end
    form = FormPassing(KIND, change, drop)
    assert passed(form, body, size) + form.last(filled=False) == with_form_changes(
        body, read_form(body, KIND), change, drop
    )


@given(late=LATE, end=ENDS, name=st.sampled_from(["m", "smol", "a-longer-name"]), size=st.integers(1, 60))
def test_its_length_is_known_once_it_is_settled(late: bytes, end: bytes, name: str, size: int) -> None:
    """Whatever comes later: it has as many bytes, and none of the gateway's own fields is among them."""
    begin, rest = part(b"keep_alive", b"5m") + MODEL + file(b"RIFF")[:-3], b"FF\r\n" + late + end
    form = FormPassing(KIND, {} if name == "smol" else {"model": name}, ("keep_alive",))
    out = passed(form, begin, size)
    assert form.is_routable
    grown = form.settle()
    out += passed(form, rest, size) + form.last(filled=True)
    assert len(out) == len(begin + rest) + grown
    read = read_form(out, KIND)
    assert read.values["model"] == name
    assert [each for each, _, _ in read.parts].count("model") == 1
    assert not {"backend", "keep_alive"} & read.values.keys()


def test_a_late_field_that_agrees_is_left_out_and_one_that_does_not_is_refused() -> None:
    def late(name: bytes) -> bytes:
        form = FormPassing(KIND, {})
        form.pass_on(MODEL + file(b"RIFF")[:-3])
        form.settle()
        return form.pass_on(b"F\r\n" + part(b"model", name) + b"--XB--\r\n") + form.last(filled=True)

    assert late(b"smol") == b"F\r\n--XB--\r\n" + b" " * len(MODEL)
    with pytest.raises(ApiError, match="its field model has to stand before its files, and once"):
        late(b"other")


def test_it_is_no_form_until_its_last_boundary_has_come() -> None:
    form = FormPassing(KIND, {})
    form.pass_on(MODEL + file(b"RIFF"))
    with pytest.raises(ApiError, match="it ends before its last boundary"):
        form.last(filled=True)


@pytest.mark.parametrize(
    ("body", "routable"),
    [
        (MODEL, False),
        (MODEL + file(b"RIFF") + b"--XB\r\n", False),
        (MODEL + file(b"RIFF")[:-3], True),
        (file(b"RIFF")[:-3], False),
        (file(b"RIFF") + MODEL, False),
        (part(b"model", b"") + file(b"RIFF")[:-3], False),
        (file(b"RIFF") + MODEL + file(b"RIFF")[:-3], True),
    ],
)
def test_it_can_be_routed_while_a_file_is_read_and_the_model_stands_before_it(
    body: bytes, *, routable: bool
) -> None:
    form = FormPassing(KIND, {})
    form.pass_on(body)
    assert form.is_routable == routable
