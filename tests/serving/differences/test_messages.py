"""A stream's messages come out of the real codec as they went in, with the right types."""

from __future__ import annotations

import pytest

from sllm_actors.actors import UnknownMessage
from sllm_actors.serving.differences.messages import Beat, encoded_size
from sllm_actors.serving.messages import CATALOG as SERVING
from sllm_actors.transport.codec import Codec, pack, unpack

from .kit import CATALOG, AskItems, ItemsDifference, ItemsPage, item, names


@pytest.mark.parametrize(
    "message",
    [
        ItemsDifference("owner", 2**62, 7, (item("a", 1), item("b", 2)), names("c")),
        ItemsPage("owner", 1, 7, names("a")[0], (item("b"),), more=True),
        ItemsPage("owner", 1, 0),
        AskItems("follower", names("a")[0]),
        AskItems("follower"),
        Beat("items", "owner", 1, 7),
    ],
)
def test_a_message_of_a_stream_survives_the_wire(message: object) -> None:
    name, value = Codec(CATALOG).to_wire(message)
    assert Codec(CATALOG).from_wire(name, unpack(pack(value))) == message


def test_an_entry_of_a_wrong_type_is_refused() -> None:
    name, value = Codec(CATALOG).to_wire(ItemsDifference("owner", 1, 1, (item("a"),)))
    value["put"][0]["name"] = 5
    with pytest.raises(UnknownMessage, match=r"test\.items_difference"):
        Codec(CATALOG).from_wire(name, value)


def test_beats_of_all_streams_are_one_message_of_the_serving_room() -> None:
    assert SERVING.name_of(Beat) == "serving.beat"


def test_the_encoded_size_is_that_of_the_wire() -> None:
    few = ItemsPage("owner", 1, 1, None, (item("a"),))
    more = ItemsPage("owner", 1, 1, None, (item("a"), item("bcd", 70_000)))
    sizes = [len(pack(Codec(CATALOG).to_wire(each)[1])) for each in (few, more)]
    assert sizes[1] - sizes[0] == encoded_size(item("bcd", 70_000))
