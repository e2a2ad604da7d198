"""The id of a stored response is found in the answer that made it, however its bytes come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.gateway.bodies.response_id import LIMIT, ResponseId

FIRST = (
    b"event: response.created\n"
    b'data: {"response":{"id":"resp_1","output":[]},"sequence_number":0,"type":"response.created"}'
)


def found(*pieces: bytes) -> str:
    answer = ResponseId()
    for piece in pieces:
        answer.feed(piece)
    answer.end()
    answer.end()
    answer.feed(b'{"id":"late"}')
    return answer.found


ANSWERS = [
    (b'{"id":"resp_1","created_at":1,"output":[{"id":"msg_2"}]}', "resp_1"),
    (b' {"output":[{"id":"msg_2"}],"id":"resp_1"}\n', "resp_1"),
    (FIRST + b"\n\n" + FIRST.replace(b"resp_1", b"resp_2") + b"\n\n", "resp_1"),
    (b": keep-alive\r\n\r\n" + FIRST.replace(b"\n", b"\r\n") + b"\r\n\r\n", "resp_1"),
    (b'data: {"type":"error","message":"no"}\n\n' + FIRST + b"\n\n", ""),
    (b'data: {"response":7}\n\n', ""),
    (b'data: {"response":\n\n', ""),
    (b'{"error":{"message":"no","id":7}}', ""),
    (b'{"id":7}', ""),
    (b'{"id":"\xff"}', ""),
    (b'{"id":"\0","x":{"id":"resp_1"}}', ""),
    (b'{"id":"' + b"x" * 300 + b'"}', ""),
    (b"<html>", ""),
    (b"", ""),
]


@pytest.mark.parametrize(("answer", "expected"), ANSWERS)
@given(data=st.data())
def test_an_id_is_found_in_any_pieces(answer: bytes, expected: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(answer)), max_size=6)))
    pieces = [answer[a:b] for a, b in zip([0, *cuts], [*cuts, len(answer)], strict=True)]
    assert found(answer) == found(*pieces) == expected


def test_it_is_known_before_the_answer_ends() -> None:
    answer = ResponseId()
    answer.feed(FIRST)
    assert answer.found == ""
    answer.feed(b"\n")
    assert answer.found == "resp_1"


def test_an_answer_without_one_is_not_kept() -> None:
    piece = b'{"x":"' + b"x" * LIMIT
    assert found(piece, b'","id":"resp_1"}') == ""


@given(st.binary(max_size=60), st.sampled_from([b'{"id":"', b"data: {", b""]))
def test_arbitrary_bytes_do_no_harm(data: bytes, begin: bytes) -> None:
    found(begin + data, data)
