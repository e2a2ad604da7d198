"""What a message weighs follows what it holds, and costs little to find out."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import frozen

from sllm_actors.actors import weight
from sllm_actors.actors.weight import PLAIN, SHARE, UNSEEN, WEIGHERS, WIDEST, weigh


@frozen
class Empty:
    pass


@frozen
class One:
    body: Any


@frozen
class Several:
    number: int
    text: str
    flag: bool
    ratio: float
    nothing: None
    part: Any = None


@pytest.mark.parametrize("light", [1, 1.5, None, True, Empty(), object(), ...])
def test_what_holds_no_data_is_plain(light: object) -> None:
    assert weigh(light) == PLAIN


@pytest.mark.parametrize("data", ["x" * 1000, b"x" * 1000, bytearray(1000), memoryview(bytes(1000))])
def test_text_and_bytes_weigh_their_length(data: Any) -> None:
    assert weigh(data) == PLAIN + 1000
    assert weigh(One(data)) >= PLAIN + 1000


def test_fields_add_up() -> None:
    assert weigh(Several(1, "x" * 100, True, 0.5, None)) == PLAIN + 100
    assert weigh(Several(1, "x" * 100, True, 0.5, None, One("y" * 50))) == PLAIN + 100 + PLAIN + 50


@frozen
class Numbered:
    number: int
    body: bytes | None = None


@frozen
class Texts:
    number: int
    text: str
    body: bytes


@pytest.mark.parametrize(
    "message", [b"x" * 9, 1, [1], Empty(), One(b"x"), Numbered(1, b"x"), Texts(1, "x", b"yz")]
)
def test_the_fast_weigher_of_a_class_agrees_with_the_slow_one(message: Any) -> None:
    weight = weigh(message)
    assert WEIGHERS[type(message)](message) == weight
    assert (WEIGHERS[type(message)] is weigh) is not isinstance(message, Texts)


def test_a_field_that_is_not_the_text_it_declares_is_left_to_the_slow_weigher() -> None:
    wrong: Any = Texts(1, None, b"x")  # type: ignore[arg-type]
    weigh(Texts(1, "", b""))
    with pytest.raises(TypeError):
        WEIGHERS[Texts](wrong)
    assert weigh(wrong) == PLAIN + 1


def test_a_field_that_is_declared_as_a_number_is_not_looked_at() -> None:
    assert weigh(Numbered(10**100, None)) == PLAIN
    assert weigh(Numbered(1, b"x" * 7)) == PLAIN + 7


@pytest.mark.parametrize("make", [list, tuple, set, frozenset])
def test_collections_weigh_what_they_hold(make: Any) -> None:
    assert weigh(make(["a" * 500, "b" * 500])) >= PLAIN + 1000


def test_a_dict_weighs_its_keys_and_its_values() -> None:
    assert weigh({"k" * 100: "v" * 200}) >= PLAIN + 300


LONG = 10 * WIDEST


@pytest.mark.parametrize("make", [list, tuple, lambda items: dict(enumerate(items))])
@pytest.mark.parametrize("small", range(0, LONG, WIDEST // 4))
def test_a_long_collection_weighs_what_it_holds_wherever_the_heavy_items_stand(make: Any, small: int) -> None:
    items = [b""] * small + [bytes(10_000)] * (LONG - small)
    heavy = (LONG - small) * 10_000
    assert 0.9 * heavy < weigh(make(items)) < 1.1 * heavy + LONG * 20


@pytest.mark.slow
@pytest.mark.parametrize("period", range(2, 8))
def test_a_long_list_in_which_every_nth_item_is_heavy_weighs_as_much(period: int) -> None:
    for length in range(WIDEST + 1, 20 * WIDEST, 997):
        items = [bytes(10_000 if n % period == period - 1 else 0) for n in range(length)]
        assert weigh(items) > 0.7 * (length // period) * 10_000


def test_a_long_collection_of_numbers_weighs_little() -> None:
    assert weigh([1] * LONG) == PLAIN + LONG * 8
    assert weigh(set(range(LONG))) == PLAIN + LONG * 8


def test_a_heavy_part_is_found_where_messages_have_it() -> None:
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "hello"} for _ in range(5)]} for _ in range(50)
    ]
    turns[33]["content"][3]["text"] = "x" * 10**6  # type: ignore[index]
    assert 10**6 < weigh(One({"model": "m", "messages": turns})) < 1.1 * 10**6


def nested(levels: int) -> Any:
    found: Any = "x" * 10**6
    for _ in range(levels):
        found = [found]
    return found


def test_a_heavy_part_is_found_at_any_usual_depth() -> None:
    for levels in range(1, SHARE.bit_length()):
        assert weigh(nested(levels)) > 10**6


def test_what_is_too_deep_counts_as_unseen() -> None:
    assert UNSEEN < weigh(nested(1000)) < UNSEEN + 20 * (PLAIN + 8)
    endless: list[Any] = []
    endless.extend([endless] * 100)
    assert weigh(endless) > UNSEEN


def test_looking_takes_a_bounded_time_whatever_the_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = 0

    def count(message: Any, share: int) -> int:
        nonlocal looked_at
        looked_at += 1
        return weigh(message, share)

    monkeypatch.setattr(weight, "weigh", count)
    wide: Any = 1 + 1j
    for _ in range(6):
        wide = [wide] * WIDEST
    assert weigh(wide) > 10**6
    assert 100 < looked_at < SHARE


def test_a_subclass_of_text_is_text() -> None:
    class Name(str):
        __slots__ = ()

    assert weigh(Name("x" * 10)) == PLAIN + 10
