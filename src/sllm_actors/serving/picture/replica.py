"""One replica, as the head knows it."""

from __future__ import annotations

from enum import Enum

from attrs import define, field

from sllm_actors.engines.identity import ReplicaKey
from sllm_actors.engines.messages import ReplicaReport, ReplicaState
from sllm_actors.serving.decisions.saturation import Gauges

from .room.need import Need

EMPTY = Gauges()
"""How full an engine is of which nothing was told."""

CRASH_LOOP = 3
"""How many failures in a row make a crash loop."""


class Told(Enum):
    """What a worker was told of a replica.

    ``NOTHING``: the worker runs it, and the head has not decided yet whether it is wanted. ``RUN`` and
    ``STOP``: its present order.
    """

    NOTHING = "nothing"
    RUN = "run"
    STOP = "stop"


_DISTANCE = {ReplicaState.READY: 0, ReplicaState.ASLEEP: 1, ReplicaState.STARTING: 2, ReplicaState.PENDING: 3}


@define(eq=False)
class KnownReplica:
    """One replica on one worker.

    Attributes:
        key: Which one.
        node: The node id of its worker.
        need: What it takes of the worker, until its last process has ended.
        ordered: What the worker was told.
        ordered_at: When it was first ordered or met, in seconds on the head's clock.
        since: When it was ordered or met, or ceased to serve, if that was later.
        ready_at: When it was READY last, or woke; before that, when it was ordered or met.
        report: What the worker said last, or None before that.
        stop: Why it was ordered to stop; "" if it was not.
        if_idle: Whether it was ordered to stop only if it is idle; then it may decline.
        sleep: The level at which it was ordered to sleep, if it is idle; None if it was not.
        patience: Seconds that its requests got to end when it was ordered to stop, or to sleep because it had
            its turn; None: the usual time.
        declined: What its report said as ``declined`` when it was ordered so.
        turn: See ``Order``.
        spare: Whether it sleeps only because it is not needed, not because somebody wants that.
        slept: The level at which it slept last; None if that is not known.
        asleep_since: Since when it is ASLEEP, or was last, in seconds on the head's clock.
        busy_until: Until when it is not ordered to stop or sleep if idle again, because it declined; in
            seconds on the head's clock.
        returned: Whether it came back with a worker that had been given up, or with the head's own restart.
        replaced: Whether another one is to run in its place, because its worker is suspect, and requests that
            wait reach none. It counts again when its worker is back.
        gauges: How full its engine was lately.
        stays: Whether it has failed again and again since it served last, and no other worker may have it.
    """

    key: ReplicaKey
    node: str
    need: Need
    ordered: Told
    ordered_at: float
    report: ReplicaReport | None = None
    stop: str = ""
    if_idle: bool = False
    sleep: int | None = None
    patience: float | None = None
    declined: int = 0
    turn: int = 0
    spare: bool = False
    slept: int | None = None
    asleep_since: float = float("-inf")
    busy_until: float = float("-inf")
    returned: bool = False
    replaced: bool = False
    gauges: Gauges = EMPTY
    stays: bool = False
    since: float = field(init=False)
    ready_at: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.since = self.ready_at = self.ordered_at

    def told(self, report: ReplicaReport | None, now: float) -> bool:
        """Take a report, or None where the worker has nothing of it; return False if it is mere progress."""
        served, before, back = self.serves, self.report, self.replaced
        self.report, self.replaced, self.returned = report, False, self.returned or back
        if report is not None and (self.gauges.waiting, self.gauges.kv) != (report.waiting, report.kv_used):
            self.gauges = Gauges(report.waiting, report.kv_used)
        if report is not None and report.level is not None:
            self.slept = report.level
            if before is None or before.level is None:
                self.asleep_since = now
        if served and not self.serves:
            self.since = now
        if self.state is ReplicaState.READY and (before is None or before.state is not ReplicaState.READY):
            self.ready_at = now
        self.stays = self.stays and not self.serves
        if back or before is None or report is None:
            return True
        known = (before.state, before.failures, before.unfit, before.level, before.declined)
        return known != (report.state, report.failures, report.unfit, report.level, report.declined)

    def order_if_idle(
        self,
        *,
        stop: str = "",
        sleep: int | None = None,
        spare: bool = False,
        patience: float | None = None,
    ) -> None:
        """Take note that it was ordered, if it is idle, to stop for a reason, or else to sleep at a level."""
        self.spare, self.turn, self.patience = spare, self.turn + 1, patience
        self.ordered = Told.STOP if stop else Told.RUN
        self.stop, self.sleep, self.if_idle = stop, sleep, True
        self.declined = 0 if self.report is None else self.report.declined

    def order_to_run(self) -> None:
        """Take note that it was ordered to be READY."""
        self.ordered, self.stop, self.sleep, self.if_idle = Told.RUN, "", None, False
        self.turn += 1
        self.patience = None

    @property
    def has_declined(self) -> bool:
        """Whether its worker says that it did not stop or sleep, though ordered to if it is idle."""
        return self.if_idle and self.report is not None and self.report.declined != self.declined

    @property
    def held(self) -> tuple[object, ...]:
        """What its report says of the GPUs that it has: no other report changes the room of its worker."""
        report = self.report
        if report is None:
            return ()
        asleep = self.rests and bool(report.level)
        return (asleep, self.is_asleep, report.devices, report.gpu_reserved)

    @property
    def rests(self) -> bool:
        """Whether it sleeps, or is about to, and is not to wake."""
        return self.state is ReplicaState.ASLEEP and not self.is_waking

    @property
    def is_waking(self) -> bool:
        """Whether it sleeps still, and was ordered to wake: it has had no turn yet."""
        return self.state is ReplicaState.ASLEEP and self.ordered is Told.RUN and self.sleep is None

    @property
    def is_winding_down(self) -> bool:
        """Whether it had its turn and is to sleep, but its requests have not ended yet, or not for long."""
        return self.sleep is not None and self.patience is not None and not self.is_asleep

    @property
    def is_asleep(self) -> bool:
        """Whether it has fallen asleep: what it has now, it keeps."""
        report = self.report
        asleep = report is not None and report.state is ReplicaState.ASLEEP and report.level is not None
        return asleep and not (report is not None and report.progress)

    @property
    def state(self) -> ReplicaState:
        """Its state; PENDING before the first report."""
        return ReplicaState.PENDING if self.report is None else self.report.state

    @property
    def serves(self) -> bool:
        """Whether requests can go to it, at once or after a wake."""
        return self.report is not None and self.report.state in (ReplicaState.READY, ReplicaState.ASLEEP)

    @property
    def failures(self) -> int:
        """How often it failed in a row, while it does not serve."""
        return 0 if self.report is None or self.serves else self.report.failures

    @property
    def unfit(self) -> bool:
        """Whether its worker has refused to run it."""
        return self.report is not None and self.report.unfit

    @property
    def distance(self) -> tuple[int, bool, int]:
        """How far from serving it is, for choosing which of too many goes: the greatest goes first.

        Of those that are equally far, the one that returned goes, then the youngest.
        """
        return (_DISTANCE.get(self.state, 4), self.returned, self.key.number)


def is_crash_loop(report: ReplicaReport) -> bool:
    """Return whether a replica fails again and again; one that is READY or ASLEEP now does not count."""
    failing = report.state in (ReplicaState.PENDING, ReplicaState.STARTING, ReplicaState.FAILED)
    return failing and report.failures >= CRASH_LOOP
