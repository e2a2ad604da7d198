"""The requests of one priority that wait for one deployment: in turns by flow, then by age. Pure."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import TypeAlias

from attrs import define, field
from sortedcontainers import SortedDict

from sllm_actors.gateway.routing.flow import Flow

from .attained import Account, Attained, Use
from .hold import ANYWHERE, Choice, Hold
from .place import Place

Turn: TypeAlias = tuple[float, int]
"""A flow's score, and the number of its oldest request: the flow with the lowest goes first."""


@define(eq=False)
class _Backlog:
    """The requests of one flow and one choice of replicas, and where they stand among those of others."""

    account: Account
    turn: Turn
    holds: SortedDict = field(factory=SortedDict)  # of number -> Hold

    @property
    def oldest(self) -> Hold:
        hold: Hold = self.holds[self.turn[1]]
        return hold


class FairQueue:
    """Start-time fair queueing for slots whose use is known only afterwards.

    Of the flows whose requests may go, that one goes next which has had the least **service over its share**:
    the seconds for which its requests have had slots. Within a flow, and between flows that are even, the
    oldest goes first. No slot is left free for the sake of fairness.

    A request is charged for with what one is expected to take when it begins, and with what it took when it
    ends, also one that did not have to wait. ``Attained`` says what is charged for, and how a flow that comes
    back is lifted; it exists while anybody waits, and so does this queue.

    It follows Goyal, Vin and Cheng, "Start-time fair queueing" (SIGCOMM 1996), for D slots at a time Jin,
    Chase and Kaur, "Interposed proportional sharing for a storage service utility" (SIGMETRICS 2004), and for
    the correction at the end and the lift Sheng et al., "Fairness in serving large language models"
    (OSDI 2024), whose counters are of tokens; a gateway knows seconds of slots only.

    **Bound.** While two flows f and g wait without a pause for the same D slots, what they get in that time
    differs, over their shares, by at most ``2 (D + 1) (L_f / share_f + L_g / share_g)``, where L is the
    longest that a request of the flow takes, or was expected to take: what may be under way, and one more.
    The bound does not grow with time.

    **Cost.** Joining, leaving, beginning and ending cost the logarithm of how many requests and flows there
    are, for each choice of replicas that the flow's waiting requests have: mostly one. Nothing is searched
    where one flow waits.

    Args:
        now: The time, in seconds by a monotonic clock.

    Attributes:
        waiting: How many requests wait.
    """

    def __init__(self, now: float) -> None:
        self.waiting = 0
        self._attained = Attained(now)
        self._backlogs: dict[str, dict[Choice, _Backlog]] = {}  # by flow
        # By turn, of which no two are equal; keys are few enough for a plain list.
        self._orders: dict[Choice, list[_Backlog]] = {}

    def join(self, hold: Hold, now: float) -> None:
        """Add a request; its number is higher than those of all before."""
        flow, choice = hold.asked.flow, hold.choice
        account = self._attained.join(flow, now)
        backlogs = self._backlogs.get(flow.name)
        if backlogs is None:
            self._compete()
            backlogs = self._backlogs[flow.name] = {}
        backlog = backlogs.get(choice)
        if backlog is None:
            # A flow has one score, which may be an old one while no other waits.
            score = next((each.turn[0] for each in backlogs.values()), account.score)
            backlog = backlogs[choice] = _Backlog(account, (score, hold.number))
            insort(self._orders.setdefault(choice, []), backlog, key=_turn)
        backlog.holds[hold.number] = hold
        self.waiting += 1

    def leave(self, hold: Hold, now: float) -> None:
        """Remove a request that waits."""
        flow, choice = hold.asked.flow, hold.choice
        backlogs, order = self._backlogs[flow.name], self._orders[choice]
        backlog = backlogs[choice]
        del backlog.holds[hold.number]
        if not backlog.holds:
            del order[_place(order, backlog.turn)], backlogs[choice]
            if not order:
                del self._orders[choice]
            if not backlogs:
                del self._backlogs[flow.name]
        elif backlog.turn[1] == hold.number:
            _move(order, backlog, (backlog.turn[0], backlog.holds.peekitem(0)[0]))
        self._attained.leave(backlog.account, now)
        self.waiting -= 1

    def begin(self, flow: Flow, expected: float, now: float) -> Use:
        """Charge a flow for a request that gets a slot, whether it has waited or not.

        Args:
            flow: Whose request it is.
            expected: The seconds that it is expected to take.
            now: The time.
        """
        use = self._attained.begin(flow, expected, now)
        if len(self._backlogs) > 1:
            self._reorder(use.account)
        return use

    def end(self, flow: Flow, use: Use | None, now: float) -> None:
        """Charge a flow for what a request really took, whose slot is free now.

        Args:
            flow: Whose request it is.
            use: What ``begin`` returned, be it of another queue; None if nobody waited when it began.
            now: The time.
        """
        account = self._attained.end(flow, use, now)
        if account is not None and len(self._backlogs) > 1:
            self._reorder(account)

    def first(self, places: Sequence[Place]) -> Hold | None:
        """Return the request that goes first of those that may use at least one of these replicas."""
        found: _Backlog | None = None
        for choice, order in self._orders.items():
            backlog = order[0]
            if found is not None and backlog.turn > found.turn:
                continue
            if choice == ANYWHERE or any(backlog.oldest.asked.allows(place.id) for place in places):
                found = backlog
        return None if found is None else found.oldest

    def ahead_of(self, hold: Hold) -> int:
        """Return how many requests go before that one.

        That is exact as long as one flow waits. Else it is a guess, which supposes that no more requests come
        and that all take equally long: those of the same flow that are older; the oldest of each flow whose
        turn is before; and of others as many as their shares allow until all of these are gone.
        """
        flow, number = hold.asked.flow, hold.number
        backlogs = self._backlogs[flow.name].values()
        older = sum(each.holds.bisect_left(number) for each in backlogs)
        of_others = self.waiting - self._attained[flow].waiting
        turn = min(each.turn for each in backlogs)
        before = sum(_place(order, turn) for order in self._orders.values())
        share = self._attained[flow].flow.share
        meanwhile = older * max(0.0, self._attained.waiting_share - share) / share
        ahead: int = older + min(of_others, before + int(meanwhile))
        return ahead

    def choices(self) -> Iterator[tuple[Choice, Iterator[Hold]]]:
        """Yield each choice of replicas with the requests that have it."""
        for choice, order in self._orders.items():
            yield choice, (hold for backlog in order for hold in backlog.holds.values())

    def _compete(self) -> None:
        """Give the only flow that waits the score that it has by now: where one waits, none is looked at."""
        if len(self._backlogs) == 1:
            (backlogs,) = self._backlogs.values()
            self._reorder(next(iter(backlogs.values())).account)

    def _reorder(self, account: Account) -> None:
        """Note that a flow's score has changed."""
        if not account.waiting:
            return
        for choice, backlog in self._backlogs[account.flow.name].items():
            _move(self._orders[choice], backlog, (account.score, backlog.turn[1]))


_turn = attrgetter("turn")


def _place(order: list[_Backlog], turn: Turn) -> int:
    """Return how many go before a turn."""
    return bisect_left(order, turn, key=_turn)


def _move(order: list[_Backlog], backlog: _Backlog, turn: Turn) -> None:
    if len(order) == 1:
        backlog.turn = turn
    else:
        del order[_place(order, backlog.turn)]
        backlog.turn = turn
        insort(order, backlog, key=_turn)
