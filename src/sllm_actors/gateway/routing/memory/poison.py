"""Which engines have died, and which requests they died of. Pure.

An engine has *died* when it ended by itself while the link to its worker stood. The requests that were under
way there may have caused it. A request that was under way at two engines which died is not tried a third time
(``path.failover`` counts that). This remembers what clients send again: the *digest* of each request whose
attempt broke at an engine, made only then. If two engines of one deployment died within ``REFUSED`` seconds,
and exactly one digest is common to both, requests with that digest are refused for ``REFUSED`` seconds.

Gateways tell each other of deaths through the head, since the second try may come through another gateway.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Final, TypeAlias

from attrs import define, field

from sllm_actors.engines.identity import ReplicaId
from sllm_actors.serving.messages import DIGEST_BYTES, MOST_DIGESTS, DeathKey, EngineDeath

REFUSED: Final = 600.0
"""Seconds for which a request is refused, from the second death; both deaths lie no further apart."""

SUSPECTED: Final = 60.0
"""Seconds after a broken attempt within which its engine may be said to have died."""

MOST_BROKEN: Final = 256
"""Engines at which attempts broke, and whose end is not known, that are kept at most; the oldest go."""

MOST_DEAD: Final = 4096
"""Dead engines that are known at most; the oldest go."""

MOST_DEATHS: Final = 512
"""Deaths whose requests are known, of all gateways, at most; the oldest go."""

COMPARED: Final = 16
"""Dead engines of one deployment that are compared with each other: the latest."""

Uid: TypeAlias = tuple[str, str]
"""The id of a deployment, and its uid."""


def digest(path: bytes, body: bytes) -> bytes:
    """Return what tells a request from others: a hash of its path, without a query, and of its body."""
    made = blake2b(path, digest_size=DIGEST_BYTES)
    made.update(b"\0")
    made.update(body)
    return made.digest()


@define(eq=False)
class _Requests:
    """The requests whose attempts broke at one engine, in order.

    Attributes:
        since: When the first of them broke.
        digests: Theirs, as many as may be told of.
        complete: Whether these are all.
    """

    since: float
    digests: dict[bytes, None] = field(factory=dict)
    complete: bool = True

    def add(self, made: bytes | None) -> None:
        if made is None or (made not in self.digests and len(self.digests) >= MOST_DIGESTS):
            self.complete = False
        else:
            self.digests[made] = None


class Poison:
    """What one gateway knows. Times are in seconds by one monotonic clock.

    Args:
        gateway: The gateway's node id.
        tell: Called with each death that the head should be told of, again when more requests turn out to
            have been there. Must not raise.
    """

    def __init__(self, gateway: str, tell: Callable[[EngineDeath], None]) -> None:
        self._gateway = gateway
        self._tell = tell
        self._broken: OrderedDict[ReplicaId, _Requests] = OrderedDict()
        self._dead: OrderedDict[ReplicaId, float] = OrderedDict()
        self._deaths: OrderedDict[DeathKey, tuple[float, EngineDeath]] = OrderedDict()
        self._refused: dict[Uid, tuple[float, dict[bytes, float]]] = {}

    def broke(self, life: ReplicaId, made: bytes | None, now: float) -> None:
        """Take that an attempt has broken at an engine life: before an answer, or in the middle of one.

        Args:
            life: The engine life.
            made: The ``digest`` of the request; None if it has none, as one that is too large.
            now: The time.
        """
        known = self._broken.get(life)
        if known is None or (known.since + SUSPECTED <= now and life not in self._dead):
            self._broken.pop(life, None)
            known = self._broken[life] = _Requests(now)
            if len(self._broken) > MOST_BROKEN:
                self._broken.popitem(last=False)
        known.add(made)
        if life in self._dead:
            self._find_out(life, known, now)

    def died(self, life: ReplicaId, now: float) -> None:
        """Take that an engine ended by itself while its worker was linked; saying so twice changes nothing.

        The head is told of it if an attempt has broken there in the last ``SUSPECTED`` seconds.
        """
        if life in self._dead:
            return
        self._dead[life] = now
        if len(self._dead) > MOST_DEAD:
            self._dead.popitem(last=False)
        known = self._broken.get(life)
        if known is not None and known.since + SUSPECTED > now:
            self._find_out(life, known, now)

    def has_died(self, life: ReplicaId) -> bool:
        """Return whether an engine is known to have ended by itself."""
        return bool(self._dead) and life in self._dead  # a hash costs, and most gateways know of none

    def heard(self, deaths: Iterable[EngineDeath], gone: Iterable[DeathKey], now: float) -> None:
        """Take what the head has told: deaths, and those that it no longer knows.

        What this gateway has found out itself it remembers by itself.
        """
        touched: set[Uid] = set()
        for death in deaths:
            if death.key.gateway != self._gateway or death.key not in self._deaths:
                touched.add(self._remember(death, now))
        for key in gone:
            if key.gateway != self._gateway and self._deaths.pop(key, None) is not None:
                touched.add(_uid(key.id))
        for uid in touched:
            self._compare(uid, now)

    def own(self, now: float) -> tuple[EngineDeath, ...]:
        """Return what this gateway has found out itself: for a head that has just come, and may not know."""
        self._forget(now)
        return tuple(death for _, death in self._deaths.values() if death.key.gateway == self._gateway)

    def watches(self, deployment: str, uid: str) -> bool:
        """Return whether any request of a deployment may be refused: only then are digests needed."""
        return (deployment, uid) in self._refused

    def refuses(self, deployment: str, uid: str, made: bytes, now: float) -> bool:
        """Return whether a request with this ``digest`` is refused, since engines die of it."""
        until, refused = self._refused.get((deployment, uid), (now, {}))
        if until <= now:
            self._refused.pop((deployment, uid), None)
            return False
        return refused.get(made, now) > now

    def _find_out(self, life: ReplicaId, known: _Requests, now: float) -> None:
        death = EngineDeath(DeathKey(life, self._gateway), tuple(known.digests), known.complete)
        self._compare(self._remember(death, now), now)
        self._tell(death)

    def _remember(self, death: EngineDeath, now: float) -> Uid:
        since, _ = self._deaths.pop(death.key, (now, death))
        self._deaths[death.key] = (since, death)
        if len(self._deaths) > MOST_DEATHS:
            self._deaths.popitem(last=False)
        return _uid(death.key.id)

    def _forget(self, now: float) -> None:
        for key in [key for key, (since, _) in self._deaths.items() if since + 2 * REFUSED <= now]:
            del self._deaths[key]

    def _compare(self, uid: Uid, now: float) -> None:
        """Find anew which digests of a deployment are refused."""
        self._forget(now)
        lives: dict[ReplicaId, tuple[float, set[bytes], bool]] = {}
        for key, (since, death) in reversed(self._deaths.items()):
            if _uid(key.id) == uid and (len(lives) < COMPARED or key.id in lives):
                began, digests, complete = lives.get(key.id, (since, set(), True))
                lives[key.id] = (min(began, since), digests.union(death.digests), complete and death.complete)
        refused: dict[bytes, float] = {}
        latest = list(lives.values())
        for index, (since, digests, complete) in enumerate(latest):
            for before, others, all_ in latest[:index]:
                common = digests & others
                if complete and all_ and len(common) == 1 and abs(since - before) <= REFUSED:
                    made = common.pop()
                    refused[made] = max(refused.get(made, 0.0), max(since, before) + REFUSED)
        if refused:
            self._refused[uid] = (max(refused.values()), refused)
        else:
            self._refused.pop(uid, None)


def _uid(life: ReplicaId) -> Uid:
    return life.deployment, life.uid
