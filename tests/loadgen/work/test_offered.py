"""Requests with synthetic prompts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count, islice

import pytest

from sllm_actors.loadgen.traces.row import TraceRow
from sllm_actors.loadgen.work import offered
from sllm_actors.loadgen.work.lengths import Lengths
from sllm_actors.loadgen.work.offered import Offered, Shape, until
from sllm_actors.loadgen.work.popularity import Popularity
from sllm_actors.loadgen.work.request import LoadRequest
from sllm_actors.loadgen.work.synthetic import POOL, WORDS

ONE = Popularity.zipf(["m"], 0.0)


def shape(**changed: object) -> Shape:
    given = {"popularity": ONE, "input": Lengths(20, 20), "output": Lengths(8, 8), **changed}
    return Shape(**given)  # type: ignore[arg-type]


def synthetic(shape: Shape, arrivals: Iterable[float], seed: int) -> Iterator[LoadRequest]:
    return Offered(shape, seed).synthetic(arrivals)


def traced(*rows: TraceRow, speed: float = 1.0, lengths: bool = True, **changed: object) -> list[LoadRequest]:
    return list(Offered(shape(**changed), 0).traced(rows, speed, lengths=lengths))


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


def test_prompts_share_the_messages_that_are_put_in_front() -> None:
    shared = shape(prefix_tokens=50, prefixes=3)
    found = list(synthetic(shared, range(60), seed=0))
    assert {each.messages[0].role for each in found} == {"system"}
    assert {len(each.messages[0].content.split()) for each in found} == {50}
    assert len({each.messages[0].content for each in found}) == 3
    assert len({each.messages[1].content for each in found}) == 60


def test_a_chat_goes_on_with_all_that_was_said() -> None:
    (first,) = synthetic(shape(turns=Lengths(3, 3)), [0.0], seed=0)
    assert (len(first.messages), len(first.further)) == (1, 2)
    second = first.next_turn("Indeed.")
    assert [each.role for each in second.messages] == ["user", "assistant", "user"]
    assert second.messages[:1] == first.messages
    assert [each.content for each in second.messages[1:]] == ["Indeed.", first.further[0]]
    assert second.next_turn("Yes.").further == ()


def test_real_conversations_are_asked_up_to_their_turns() -> None:
    spoken = [["Hi", "Again", "More"], ["Hello"]]
    found = list(synthetic(shape(prompts=spoken, turns=Lengths(2, 2)), range(40), seed=0))
    assert {(each.messages[0].content, each.further) for each in found} == {
        ("Hi", ("Again",)),
        ("Hello", ()),
    }


def test_a_trace_says_when_and_how_long() -> None:
    first, second = traced(TraceRow(0.0, None, 30, 7), TraceRow(10.0, None, 0, 0), speed=4.0)
    assert (first.at, second.at) == (0.0, 2.5)
    assert (len(first.messages[0].content.split()), first.output_tokens) == (30, 7)
    assert (len(second.messages[0].content.split()), second.output_tokens) == (1, 1)


def test_what_a_trace_does_not_say_the_options_do() -> None:
    (unknown,) = traced(TraceRow(0.0, None, None, None))
    assert (len(unknown.messages[0].content.split()), unknown.output_tokens) == (20, 8)
    (told,) = traced(TraceRow(0.0, None, 30, 7), lengths=False)
    assert told.output_tokens == 8


def test_all_requests_of_one_model_of_a_trace_are_for_one_of_ours() -> None:
    models = Popularity.zipf(["a", "b", "c"], 0.0)
    rows = [TraceRow(0.0, f"client-{number % 9}", 1, 1) for number in range(90)]
    found = traced(*rows, popularity=models)
    pairs = {(row.model, each.model) for row, each in zip(rows, found, strict=True)}
    assert len(pairs) == 9
    assert {each.model for each in found} == {"a", "b", "c"}
    anyone = traced(*[TraceRow(0.0, None, 1, 1)] * 60, popularity=models)
    assert {each.model for each in anyone} == {"a", "b", "c"}


def test_prompts_with_the_same_blocks_begin_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offered, "MOST_BLOCKS", 2)
    rows = [
        TraceRow(0.0, None, 50, 1, (1, 2, 3), 16),
        TraceRow(1.0, None, 40, 1, (1, 2, 4), 16),
        TraceRow(2.0, None, 32, 1, (5, 2), 16),
    ]
    first, second, third = (each.messages[0].content.split() for each in traced(*rows))
    assert list(map(len, (first, second, third))) == [50, 40, 32]
    assert first[:32] == second[:32]
    assert first[32:] != second[32:]
    assert first[16:32] == third[16:32]
    assert first[:16] != third[:16]
