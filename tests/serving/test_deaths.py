"""The head tells all gateways of the engines that one of them has seen die, for a while and in bounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from sllm_actors.engines.identity import ReplicaId
from sllm_actors.serving.deaths import KEPT, MOST, Deaths
from sllm_actors.serving.differences.feed import TICK_INTERVAL
from sllm_actors.serving.messages import DIGEST_BYTES, MOST_DIGESTS, DeathKey, EngineDeath, ReportDeath

from .head import running_head


def life(number: int) -> ReplicaId:
    return ReplicaId("m:vllm", 1, number, 1, "uid")


def digests(count: int) -> tuple[bytes, ...]:
    return tuple(number.to_bytes(DIGEST_BYTES) for number in range(count))


def test_a_death_is_told_of_with_the_gateway_that_saw_it() -> None:
    death, gone = Deaths().report(ReportDeath("g1", life(1), digests(2), complete=False), 0.0)

    assert death == EngineDeath(DeathKey(life(1), "g1"), digests(2), complete=False)
    assert gone == ()


@pytest.mark.parametrize("made", [digests(MOST_DIGESTS + 1), (b"short",)])
def test_a_report_that_is_not_well_formed_is_not_told_of(made: tuple[bytes, ...]) -> None:
    deaths = Deaths()

    assert deaths.report(ReportDeath("g1", life(1), made), 0.0) == (None, ())
    assert deaths.expire(KEPT) == ()


def test_a_death_is_told_of_for_as_long_as_a_request_may_be_refused_for_it() -> None:
    deaths = Deaths()
    deaths.report(ReportDeath("g1", life(1), digests(1)), 0.0)
    deaths.report(ReportDeath("g1", life(2), digests(1)), 5.0)
    deaths.report(ReportDeath("g1", life(1), digests(2)), 9.0)  # more of the first: no longer life for it

    assert deaths.expire(KEPT - 0.1) == ()
    assert deaths.expire(KEPT) == (DeathKey(life(1), "g1"),)
    assert deaths.expire(KEPT + 5.0) == (DeathKey(life(2), "g1"),)


def test_of_more_deaths_than_are_kept_the_oldest_go() -> None:
    deaths = Deaths()
    for number in range(MOST):
        assert deaths.report(ReportDeath("g1", life(number)), 0.0)[1] == ()

    assert deaths.report(ReportDeath("g1", life(MOST)), 0.0)[1] == (DeathKey(life(0), "g1"),)


@pytest.mark.slow
@pytest.mark.anyio
async def test_what_one_gateway_reports_all_hear_also_one_that_comes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = 60.0
    monkeypatch.setattr("sllm_actors.serving.deaths.KEPT", kept)
    async with running_head(tmp_path) as head:
        await head.up("g1", "gateway")
        second = await head.up("g2", "gateway")
        head.tell(ReportDeath("g1", life(1), digests(1)))
        await head.rest()
        told = {DeathKey(life(1), "g1"): EngineDeath(DeathKey(life(1), "g1"), digests(1))}
        assert second.deaths == told

        later = await head.up("g3", "gateway")
        assert later.deaths == told
        head.tell(ReportDeath("g2", life(1), (b"short",)))
        await head.advance(kept + TICK_INTERVAL)  # at each tick, the head drops what is over
        assert later.deaths == second.deaths == {}


@pytest.mark.anyio
async def test_a_gateway_whose_link_was_lost_hears_of_the_deaths_when_it_is_back(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        played = await head.up("g1", "gateway")
        await head.lose("g1")
        head.tell(ReportDeath("g2", life(1), digests(1)))
        await head.rest()
        assert played.deaths == {}

        await head.up("g1", "gateway", life=2)
        assert list(played.deaths) == [DeathKey(life(1), "g2")]
