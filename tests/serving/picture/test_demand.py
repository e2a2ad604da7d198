"""What clients want, as the head adds it up."""

from __future__ import annotations

from tests.serving.picture.world import World

from sllm_actors.serving.messages import Demand
from sllm_actors.serving.picture.events import DemandReported, TimePassed
from sllm_actors.serving.picture.indices.demand import BATCH, SHARED, SILENCE, DemandTable, TotalDemand
from sllm_actors.serving.picture.picture import Picture

NOTHING = TotalDemand()


def said(table: DemandTable, gateway: str, *demands: Demand, now: float = 0.0) -> frozenset[str]:
    return table.report(gateway, demands, (), now)


def test_demand_is_added_up_over_gateways() -> None:
    table = DemandTable()
    assert said(table, "g1", Demand("a", 2, 3, 1), Demand("b", 0, 1)) == {"a", "b"}
    assert said(table, "g2", Demand("a", 1, 0, 2)) == {"a"}
    assert table.of("a") == TotalDemand(3, 3, 2, 2)
    assert table.of("b") == TotalDemand(0, 1, 1, 0)
    assert table.of("c") == NOTHING
    assert (table.sharing("a"), table.sharing("b"), table.sharing("c")) == (2, 1, 1)
    assert table.keys_of("g1") == ("a", "b")
    table.report("g1", (Demand("a", 9),), ("b", "never"), 1.0)
    assert (table.of("a").held, table.of("b")) == (10, NOTHING)
    assert table.keys_of("nobody") == ()


def test_a_use_is_seen_though_it_is_over_and_the_last_wish_of_a_client_holds() -> None:
    table = DemandTable()
    said(table, "g1", Demand("a", uses=1, keep_alive=60.0))
    assert table.of("a") == TotalDemand(uses=1, keep_alive=60.0), "no gateway has requests now"
    said(table, "g2", Demand("a", 1, uses=4, keep_alive=-1.0))
    assert table.of("a") == TotalDemand(held=1, gateways=1, uses=5, keep_alive=-1.0)
    said(table, "g1", Demand("a", uses=2, keep_alive=0.0))
    said(table, "g3", Demand("a", uses=1))
    assert table.of("a").keep_alive == 0.0, "a request that wishes nothing leaves it as it was"
    table.report("g1", (), ("a",), 1.0)
    assert (table.of("a").uses, table.of("a").keep_alive) == (5, -1.0)


def test_a_gateway_keeps_its_share_for_a_while_after_its_clients_left() -> None:
    table = DemandTable()
    said(table, "g1", Demand("a", 1))
    said(table, "g2", Demand("a", 1))
    table.report("g2", (), ("a",), 1.0)
    assert (table.sharing("a"), table.of("a").gateways) == (2, 1)
    said(table, "g2", Demand("a", 1), now=2.0)
    for gateway in ("g1", "g2"):
        table.report(gateway, (), (), SHARED)
    assert table.expire(1.0 + SHARED) == frozenset()
    assert table.sharing("a") == 2, "its clients are back"
    table.report("g2", (), ("a",), SHARED)
    table.report("g2", (), (), 2 * SHARED - 1.0)
    table.report("g1", (), (), 2 * SHARED - 1.0)
    assert table.due() == 2 * SHARED
    assert table.expire(2 * SHARED) == {"a"}
    assert table.sharing("a") == 1


def test_a_silent_gateway_counts_for_nothing_until_it_says_something() -> None:
    table = DemandTable()
    assert table.due() is None
    said(table, "g1", Demand("a", 1))
    said(table, "g2", Demand("a", 1), now=1.0)
    assert table.due() == SILENCE
    assert table.expire(SILENCE) == {"a"}
    assert table.expire(SILENCE) == frozenset()
    assert (table.of("a").gateways, table.sharing("a")) == (1, 1)
    table.report("g1", (), (), SILENCE + 0.5)
    assert (table.of("a").gateways, table.sharing("a")) == (2, 2), "a beat is enough"
    assert table.due() == SILENCE + 0.5
    assert table.expire(SILENCE + 0.5) == {"a"}
    assert table.due() == 1.0 + SILENCE


def test_a_gateway_that_is_lost_is_forgotten_when_it_has_been_silent() -> None:
    table = DemandTable()
    said(table, "g1", Demand("a", 1))
    table.lost("g1")
    table.lost("nobody")
    assert table.of("a").held == 1
    table.report("g1", (), (), 1.0)
    table.expire(1.0 + SILENCE)
    assert table.keys_of("g1") == ("a",), "it is linked again"
    table.lost("g1")
    table.expire(1.0 + SILENCE)
    assert (table.keys_of("g1"), table.of("a"), table.due()) == ((), NOTHING, None)


def in_batches(table: DemandTable, now: float) -> set[str]:
    """Return all that ``expire`` returns, a bounded part at a time."""
    changed: set[str] = set()
    while (due := table.due()) is not None and due <= now:
        some = table.expire(now)
        assert len(some) <= BATCH
        assert not changed & some
        changed |= some
    assert table.expire(now) == frozenset()
    return changed


def test_what_time_changes_of_very_many_deployments_is_told_bit_by_bit() -> None:
    table = DemandTable()
    names = {f"m{number}" for number in range(10 * BATCH + 1)}
    said(table, "g1", *(Demand(name, 1) for name in names))
    said(table, "g2", *(Demand(name, 1) for name in names), now=1.0)
    assert in_batches(table, SILENCE) == names
    assert all((table.of(name).gateways, table.sharing(name)) == (1, 1) for name in names)
    said(table, "g1", now=SILENCE)
    assert in_batches(table, SILENCE) == names, "it is back"
    assert all((table.of(name).gateways, table.sharing(name)) == (2, 2) for name in names)
    table.report("g1", (), tuple(names), SILENCE)
    for second in range(1, int(SHARED)):
        said(table, "g1", now=SILENCE + second)
        said(table, "g2", now=SILENCE + second)
        assert in_batches(table, SILENCE + second) == set()
    assert in_batches(table, SILENCE + SHARED) == names, "the share of what its clients left is over"
    assert all(table.sharing(name) == 1 for name in names)


def test_one_event_looks_at_few_of_the_deployments_of_a_gateway_that_died() -> None:
    world = World()
    picture: Picture = world.picture
    names = [world.deploy(f"m{number}").id for number in range(2 * BATCH)]
    for gateway in ("g1", "g2"):
        picture.take(DemandReported(gateway, tuple(Demand(name, 0, 1) for name in names)), world.now)
    world.settle()
    for seen in (BATCH, 2 * BATCH):
        picture.take(DemandReported("g2"), world.now + SILENCE)
        shared = [picture.catalogue.by_id[name].gateways for name in names]
        assert shared.count(1) == seen, "each event goes a step further"
    due = picture.due()
    assert due is not None
    assert due > world.now + SILENCE


def test_gateways_are_told_between_how_many_a_replica_is_shared() -> None:
    world = World()
    world.worker("w1")
    world.deploy("m")
    picture: Picture = world.picture

    def told() -> int | None:
        picture.plan(world.now)
        route = picture.effects().routes.get("m:command")
        return None if route is None else route.gateways

    told()
    for number in (1, 2):
        picture.take(DemandReported(f"g{number}", (Demand("m:command", 1), Demand("unknown", 1))), world.now)
    assert told() == 2
    picture.take(DemandReported("g2", (Demand("m:command", 5),)), world.now)
    assert told() is None, "the number is the same"
    picture.take(DemandReported("g1"), world.now + SILENCE)
    picture.take(TimePassed(), world.now + SILENCE)
    assert told() == 1
    assert picture.due() is not None


def test_what_a_client_wishes_of_the_keep_alive_holds_until_another_one_wishes_or_nothing_is_to_run() -> None:
    world = World()
    world.worker("w1")
    scaling = {"min_instances": 0, "max_instances": 1, "keep_alive": 60}
    known = world.deploy("m", auto_scaling_config=scaling)

    def use(wish: float | None, *, asks: bool = True) -> None:
        demand = Demand(known.id, held=int(asks), uses=1, keep_alive=wish)
        world.send(DemandReported("g1", (demand,)))
        world.ready()
        world.send(DemandReported("g1", (), (known.id,)))

    def kept_for() -> int:
        """Return for how many seconds it is kept from now on."""
        for second in range(100):
            world.now += 1.0
            world.send(TimePassed())
            if not known.wanted:
                return second + 1
        raise AssertionError("it is kept for ever")

    assert known.wanted == 0
    for wish, seconds in ((None, 60), (5.0, 5), (None, 60), (0.5, 1), (600.0, 60), (-1.0, 60)):
        use(wish)
        assert known.wanted == 1, wish
        assert kept_for() == seconds, wish
    use(5.0)
    use(None)
    assert kept_for() == 5, "a request that wishes nothing leaves it as it was"
    use(5.0)
    use(20.0)
    use(None, asks=False)
    assert kept_for() == 20, "the last wish counts, also after requests that came and went unseen"
    use(0.0)
    assert known.wanted == 0, "0: it goes at once"
