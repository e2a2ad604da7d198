"""The set of messages is closed: what is in it is known by one name, and nothing else can be."""

from __future__ import annotations

import pytest
from attrs import define, frozen

from sllm_actors.actors import Catalog, Incarnation, NodeId


@frozen
class Ping:
    number: int


@frozen
class Pong:
    number: int


def catalog() -> Catalog:
    found = Catalog()
    found.message("test.ping")(Ping)
    return found


def test_a_message_is_found_by_its_name_and_by_its_class() -> None:
    found = catalog()
    assert found.name_of(Ping) == "test.ping"
    assert found.type_of("test.ping") is Ping
    assert found.name_of(Pong) is None
    assert found.type_of("os.system") is None


def test_catalogs_merge_and_the_same_part_may_come_twice() -> None:
    merged = Catalog(catalog(), catalog())
    merged.message("test.pong")(Pong)
    assert [name for name, _ in merged] == ["test.ping", "test.pong"]


def test_a_name_and_a_class_are_registered_once() -> None:
    found = catalog()
    with pytest.raises(ValueError, match="registered twice"):
        found.message("test.ping")(Pong)
    with pytest.raises(ValueError, match="registered twice"):
        found.message("test.other")(Ping)


def test_only_frozen_attrs_classes_are_messages() -> None:
    @define
    class Mutable:
        number: int

    for wrong in (int, Mutable):
        with pytest.raises(ValueError, match="not a frozen attrs class"):
            Catalog().message("test.wrong")(wrong)


def test_a_message_is_taken_from_the_roles_that_it_names_and_in_the_senders_own_name() -> None:
    @frozen
    class Report:
        node: str

    found = catalog()
    found.message("test.report", senders={"worker"}, names_sender="node")(Report)
    found.message("test.pong", senders=())(Pong)
    merged = Catalog(found)
    me, other = NodeId("w"), NodeId("x")
    assert merged.why_not(Report("w"), me, "worker") == ""
    assert merged.why_not(Report("w"), me, "gateway") == "test.report is not taken from a gateway"
    assert merged.why_not(Report("w"), other, "worker") == (
        "test.report names another node than the one that sent it"
    )
    assert merged.why_not(Pong(1), me, "head") == "test.pong is not taken from a head"
    assert merged.why_not(Ping(1), me, "anything") == ""
    assert merged.sender_rule(Ping).roles is None


def test_a_rule_of_senders_names_a_field_and_is_the_same_wherever_it_is_registered() -> None:
    with pytest.raises(ValueError, match="has no field 'node'"):
        Catalog().message("test.ping", names_sender="node")(Ping)
    loose, strict = catalog(), Catalog()
    strict.message("test.ping", senders={"head"})(Ping)
    with pytest.raises(ValueError, match="two rules of senders"):
        Catalog(strict, loose)


def test_a_later_life_is_greater_and_reads_well() -> None:
    assert Incarnation(1, 9) < Incarnation(2, 1) < Incarnation(2, 2)
    assert str(Incarnation(3, 255)) == "3.00000000000000ff"
