"""What a message weighs follows what it holds, and costs little to find out."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import frozen

from sllm_actors.actors.weight import DEEPEST, PARTS, PLAIN, WIDEST, weigh


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


@pytest.mark.parametrize(
    "message",
    [
        b"x" * 9,
        "x" * 9,
        1,
        [1],
        Empty(),
        One(b"x" * 9),
        Numbered(1, b"x" * 9),
        Several(1, "x", True, 1, None),
    ],
)
def test_a_part_that_is_text_or_bytes_is_all_that_counts(message: Any) -> None:
    part = PARTS[type(message)](message)
    assert isinstance(part, str | bytes) is (weigh(message) == PLAIN + 9)
    assert not isinstance(part, str | bytes) or len(part) == 9


def test_a_field_that_is_declared_as_a_number_is_not_looked_at() -> None:
    assert weigh(Numbered(10**100, None)) == PLAIN
    assert weigh(Numbered(1, b"x" * 7)) == PLAIN + 7


@pytest.mark.parametrize("make", [list, tuple, set, frozenset])
def test_collections_weigh_what_they_hold(make: Any) -> None:
    assert weigh(make(["a" * 500, "b" * 500])) >= PLAIN + 1000


def test_a_dict_weighs_its_keys_and_its_values() -> None:
    assert weigh({"k" * 100: "v" * 200}) >= PLAIN + 300


def test_the_rest_of_a_long_collection_is_estimated() -> None:
    assert weigh([1] * (WIDEST + 1000)) >= 1000 * PLAIN
    assert weigh(dict.fromkeys(range(WIDEST + 1000), 1)) >= 1000 * PLAIN


def test_deep_nesting_ends() -> None:
    nested: Any = "x" * 1000
    for _ in range(DEEPEST + 50):
        nested = [nested]
    assert weigh(nested) < 1000


def test_a_subclass_of_text_is_text() -> None:
    class Name(str):
        __slots__ = ()

    assert weigh(Name("x" * 10)) == PLAIN + 10
