"""How many replicas a deployment should have. Pure, for one deployment.

- From zero: the first request starts one at once.
- Up: at once by as many as are worth their start: without them what waits would wait for longer (``growth``).
  And by as many as the mean load of the last 60 s needs. Both only once the load is more than ``BAND`` above
  what there is, and never to more than the requests of now fill, at ``target`` each.
- Others lose idle replicas only for what that mean needs, and for what is worth more (``pressing``): where
  room is short, a burst of one deployment makes no cold starts for all others.
- Also up, by one at a time, while the engines that serve are too full for what they have (``saturation``),
  however few their requests are; and not to fewer than would be too full.
- Down: after fewer have been enough for ``scale_down_delay``, to the most that were needed meanwhile, but at
  a time to no less than half of those that serve.
- To the minimum: after ``keep_alive`` without any request, or when the pauses so far tell so (``pauses``).

Replicas that start count like those that serve. One that is *stuck* (past its deadline, or failing again and
again) does not count: while there are requests another one is wanted beside it, so that it holds up nothing.
"""

from __future__ import annotations

from math import ceil, inf
from typing import Final

from attrs import define, field, frozen

from .growth import WORTH_TAKEN, ServiceTime, worth_starting
from .load import SPAN, Load
from .pauses import Pauses, Stay
from .saturation import Gauges, enough, why

BAND: Final = 0.1
"""By what part of itself a number of replicas may be too small or too large before that counts."""

LOOK_UP: Final = 1.0
"""Seconds between two looks at a load that may soon need more replicas."""

LOOK_DOWN: Final = 5.0
"""Seconds between two looks at a load that may soon need fewer."""

_SLACK = 1e-9  # a mean is a sum of fractions: 8.000000001 requests are 8


@frozen
class ScalingPolicy:
    """What a deployment says about its scaling, as it holds now.

    Attributes:
        target: How many requests at a time one replica should have.
        least: The fewest replicas.
        most: The most.
        scale_down_delay: Seconds for which fewer must have been enough before some are stopped.
        keep_alive: Seconds without a request after which only ``least`` are kept; -1: never.
        learns: Whether that is learned from the pauses so far, and ``keep_alive`` is the longest.
        starts_in: Seconds that a start takes; 0 where that is not known.
    """

    target: int = 8
    least: int = 0
    most: int = 1
    scale_down_delay: float = 300.0
    keep_alive: float = -1.0
    learns: bool = False
    starts_in: float = 0.0


@frozen
class Counts:
    """How many of the replicas that should run are how.

    Attributes:
        serving: Requests can go to them.
        starting: They start, and are not late.
        stuck: The others: they are late, or fail again and again.
        gauges: How full the engines of those are that serve.
    """

    serving: int = 0
    starting: int = 0
    stuck: int = 0
    gauges: tuple[Gauges, ...] = ()


@frozen
class Decision:
    """How many replicas there should be.

    Attributes:
        wanted: So many should run.
        needed: So many of them for a minimum or for requests that are there: others only go on, and nothing
            has to make room for them.
        reason: Why ``wanted`` is another number than before, in part of a sentence; "" while it is the same.
        due: When the answer may be another one though nothing happens, on the caller's clock; None: never.
    """

    wanted: int
    needed: int
    reason: str = ""
    due: float | None = None


@define(eq=False)
class Scaler:
    """What has to be remembered of one deployment between two decisions.

    Attributes:
        load: Its requests, those that are held and those in flight.
        rest: When its last request ended, or when it was made; None while it has one.
        used: Whether it has had a request: what is before the first one is no pause.
        uses: How many requests have begun, as far as that is told.
        wish: The last wish of a client for how many seconds its replicas are kept, negative for always; None
            if none has wished anything since some of it was to run. A request that wishes nothing leaves it.
        pauses: How long its pauses were, since it was asked to learn from them; None before that.
        service: How long its requests take.
        lower: Since when how many replicas have been enough, while that is fewer than are wanted: the
            earliest time with the largest number first.
        half: No fewer than this are wanted before ``half_until``: half of those that served when some went.
        half_until: See there.
        hurried: Whether fewer are to be wanted without a delay, if they are enough.
    """

    load: Load = field(factory=Load)
    rest: float | None = None
    used: bool = False
    uses: int = 0
    wish: float | None = None
    pauses: Pauses | None = None
    service: ServiceTime = field(factory=ServiceTime)
    lower: list[tuple[float, int]] = field(factory=list)
    half: int = 0
    half_until: float = 0.0
    hurried: bool = False

    def take(self, requests: int, uses: int, wish: float | None, now: float) -> None:
        """Take how many requests there are now.

        Args:
            requests: How many are held and in flight.
            uses: How many have begun. It may begin anew.
            wish: What the last of them wished; None if none did. See ``Scaler.wish``.
            now: Seconds on a clock that does not go back.
        """
        self.load.set(requests, now)
        used = requests > 0 or uses > self.uses
        if used and self.used and self.rest is not None and self.pauses is not None:
            self.pauses.add(now - self.rest, now)
        self.used = self.used or used
        if requests:
            self.rest = None
        elif self.rest is None or used:
            self.rest = now
        self.uses = uses
        if wish is not None:
            self.wish = wish

    def stay(self, policy: ScalingPolicy) -> Stay:
        """Return when replicas above the minimum are there while there is no request."""
        longest, wish = policy.keep_alive, self.wish
        if wish is not None and wish >= 0:
            return Stay(wish if longest < 0 else min(wish, longest))
        if self.pauses is not None and policy.learns:
            return self.pauses.stay(longest, policy.starts_in)
        return Stay(longest)


def decide(scaler: Scaler, wanted: int, counts: Counts, policy: ScalingPolicy, now: float) -> Decision:
    """Return how many replicas a deployment should have.

    Asked twice at one time it gives the same answer, if ``wanted`` is the first answer then.

    Args:
        scaler: Its memory, which has taken the requests of now.
        wanted: How many should run by the decision before.
        counts: How those are that run.
        policy: What the deployment says.
        now: Seconds on the clock of the scaler.
    """
    requests, least, most = scaler.load.value, policy.least, max(policy.most, policy.least)
    simple = max(most, wanted) <= 1  # then no mean tells anything new
    want = full = 0
    if requests:
        want = 1 if simple else _want(scaler, wanted, policy, now)
        full = 0 if simple else enough(counts.gauges)
        want = max(want, full)
        want += _beside(counts)
    needed = min(max(want, least), most)
    if wanted < least:
        return Decision(needed, needed, f"at least {least} should run", now + LOOK_UP)
    if needed > wanted:
        scaler.lower.clear()
        reason = f"{requests} request{'' if requests == 1 else 's'} held and in flight, {policy.target} each"
        if full > counts.serving and policy.target * wanted >= requests:
            reason = why(counts.gauges)
        return Decision(needed, needed, reason, now + LOOK_UP)
    if wanted > most:
        return Decision(most, needed, f"at most {most} may run", now + LOOK_UP)
    due: list[float] = []
    if wanted < most and requests > policy.target * wanted:
        due.append(now + LOOK_UP)
    if scaler.rest is not None and (wanted > least or policy.learns):
        idle = _idle(scaler, wanted, needed, policy, now, due)
        if idle is not None:
            return idle
    floor = max(least, 1)
    if wanted > floor:
        fewer, reason = _fewer(scaler, wanted, max(floor, needed), counts, policy, now, due)
        if fewer < wanted:
            return Decision(fewer, needed, reason, now + LOOK_DOWN)
    return Decision(wanted, needed, "", min(due, default=None))


def pressing(scaler: Scaler, counts: Counts, policy: ScalingPolicy, now: float) -> int:
    """Return for how many replicas others have to make room: of those that are needed, perhaps not all.

    For the arguments see ``decide``.
    """
    requests, count = scaler.load.value, 0
    if requests:
        there, seconds = counts.serving + counts.starting, scaler.service.seconds
        count = worth_starting(requests, there, policy.target, seconds, policy.starts_in, WORTH_TAKEN)
        if requests > policy.target * there:  # else no mean tells anything new
            mean = scaler.load.mean(SPAN, now)
            if mean > (1 + BAND) * policy.target * there:
                count = max(count, ceil(min(mean, requests) / policy.target - _SLACK))
        count = max(count, enough(counts.gauges)) + _beside(counts)
    return max(count, policy.least)


def _beside(counts: Counts) -> int:
    """Return how many replicas are wanted besides, since others hold things up."""
    return counts.stuck if counts.serving else min(counts.stuck, 1)


def _idle(
    scaler: Scaler, wanted: int, needed: int, policy: ScalingPolicy, now: float, due: list[float]
) -> Decision | None:
    """Return what is decided because there is no request, or None; add to ``due`` when to look again."""
    rest = scaler.rest
    assert rest is not None
    stay = scaler.stay(policy)
    goes = rest + stay.keep if stay.keep >= 0 else inf
    back, until = (inf, inf) if stay.back is None else (rest + each for each in stay.back)
    expected = back <= now < until
    if wanted > policy.least and now >= goes and not expected:
        scaler.lower.clear()
        idle = round(now - rest)
        reason = f"no request for {idle} s" if idle else "no request is left"
        return Decision(policy.least, needed, reason, back if now < back < inf else None)
    if wanted == 0 and expected:
        return Decision(1, needed, "its next request is expected soon", until)
    due += [each for each in (goes if wanted > policy.least else inf, back, until) if now < each < inf]
    return None


def _want(scaler: Scaler, wanted: int, policy: ScalingPolicy, now: float) -> int:
    """Return how many replicas the requests need, of which there are some."""
    requests, target = scaler.load.value, policy.target
    filled = ceil(requests / target)
    if filled <= wanted:  # no mean tells anything new
        return filled
    want, band = max(1, wanted), (1 + BAND) * target * wanted
    if requests > band:
        want = worth_starting(requests, wanted, target, scaler.service.seconds, policy.starts_in)
    mean = scaler.load.mean(SPAN, now)
    if mean > band:
        want = max(want, ceil(mean / target - _SLACK))
    return min(want, filled)


def _fewer(
    scaler: Scaler,
    wanted: int,
    floor: int,
    counts: Counts,
    policy: ScalingPolicy,
    now: float,
    due: list[float],
) -> tuple[int, str]:
    """Return how many of ``wanted`` replicas are enough, and why; add to ``due`` when to look again."""
    mean = scaler.load.mean(SPAN, now)
    enough = max(floor, ceil(mean / policy.target - _SLACK))
    if enough >= wanted or mean >= (1 - BAND) * policy.target * wanted:
        scaler.lower.clear()
        if scaler.load.value < (1 - BAND) * policy.target * wanted:
            due.append(now + LOOK_DOWN)
        return wanted, ""
    if scaler.hurried:
        return enough, f"{enough} {'is' if enough == 1 else 'are'} enough"
    begun = now
    while scaler.lower and (scaler.lower[-1][1] <= enough or scaler.lower[-1][1] >= wanted):
        begun, _ = scaler.lower.pop()
    scaler.lower.append((begun, enough))
    delay = policy.scale_down_delay
    over = [most for since, most in scaler.lower if now >= since + delay]
    due += [since + delay for since, _ in scaler.lower[len(over) :][:1]]
    if not over:
        return wanted, ""
    if now >= scaler.half_until:
        scaler.half, scaler.half_until = counts.serving // 2, now + max(delay, LOOK_DOWN)
    if over[-1] < scaler.half:
        due.append(scaler.half_until)
    fewer = min(wanted, max(over[-1], scaler.half))
    return fewer, f"{fewer} {'has' if fewer == 1 else 'have'} been enough for {delay:g} s"
