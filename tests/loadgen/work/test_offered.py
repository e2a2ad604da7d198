"""Requests with synthetic prompts."""

from __future__ import annotations

from itertools import count, islice

import pytest

from sllm_actors.loadgen.work.lengths import Lengths
from sllm_actors.loadgen.work.offered import Shape, synthetic, until
from sllm_actors.loadgen.work.popularity import Popularity
from sllm_actors.loadgen.work.synthetic import POOL, WORDS

ONE = Popularity.zipf(["m"], 0.0)


def shape(**changed: object) -> Shape:
    given = {"popularity": ONE, "input": Lengths(20, 20), "output": Lengths(8, 8), **changed}
    return Shape(**given)  # type: ignore[arg-type]


def test_a_request_is_made_for_each_arrival() -> None:
    found = list(synthetic(shape(), [0.0, 0.5, 2.0], seed=1))
    assert [each.at for each in found] == [0.0, 0.5, 2.0]
    assert {(each.model, each.output_tokens, each.hangs_up) for each in found} == {("m", 8, False)}
    for each in found:
        (message,) = each.messages
        assert message.role == "user"
        assert len(message.content.split()) == 20
        assert set(message.content.split()) <= set(WORDS)


def test_the_same_seed_makes_the_same_requests() -> None:
    wide = shape(input=Lengths(1, 300), output=Lengths(1, 50), hang_up=0.5)
    first, again, other = (list(synthetic(wide, range(50), seed)) for seed in (3, 3, 4))
    assert first == again != other
    assert {len(each.messages[0].content.split()) for each in first} != {20}


def test_no_two_prompts_begin_alike() -> None:
    found = synthetic(shape(input=Lengths(500, 500)), range(1000), seed=0)
    assert len({" ".join(each.messages[0].content.split()[:4]) for each in found}) == 1000


@pytest.mark.parametrize("tokens", [1, 4, 5, POOL + 10])
def test_texts_have_their_length_however_short_or_long(tokens: int) -> None:
    (request,) = synthetic(shape(input=Lengths(tokens, tokens)), [0.0], seed=0)
    assert len(request.messages[0].content.split()) == tokens


def test_so_many_clients_hang_up_as_was_asked() -> None:
    found = list(synthetic(shape(input=Lengths(1, 1), hang_up=0.2), range(5000), seed=0))
    assert sum(each.hangs_up for each in found) / 5000 == pytest.approx(0.2, abs=0.03)


def test_requests_end_with_the_time() -> None:
    endless = synthetic(shape(), (number / 10 for number in count()), seed=0)
    assert [each.at for each in until(0.5, endless)] == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert len(list(islice(synthetic(shape(), count(), seed=0), 3))) == 3
