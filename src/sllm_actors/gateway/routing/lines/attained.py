"""What flows have got while requests waited, each over its share: the least goes first. Pure."""

from __future__ import annotations

from bisect import bisect_left, insort

from attrs import define

from sllm_actors.gateway.routing.flow import Flow


@define(eq=False)
class Account:
    """What one flow has got. Service is in seconds of a slot over the flow's share.

    Attributes:
        flow: Whose it is.
        attained: The service of its requests that have ended.
        since: From when on, by the clock of ``Attained``, its service is counted.
        expected: The service that its requests under way are expected to take.
        under_way: How many of its requests have begun, and have not ended.
        waiting: How many of its requests wait.
    """

    flow: Flow
    attained: float
    since: float
    expected: float = 0.0
    under_way: int = 0
    waiting: int = 0

    @property
    def score(self) -> float:
        """The flow with the lowest goes first."""
        return self.attained + self.expected


@define(eq=False)  # one is made for each request that waits: a frozen class costs thrice as much
class Use:
    """A slot that a request has, as its flow's account has it. It does not change.

    Attributes:
        account: The flow's account.
        began: When it began, by the clock of ``Attained``.
        expected: What was added to ``Account.expected`` for it.
    """

    account: Account
    began: float
    expected: float


class Attained:
    """The accounts of the flows that compete for one deployment's slots, for as long as anybody waits.

    Slots are charged for while two flows or more have accounts, from when requests of theirs begin to wait: a
    clock of its own measures that. So a flow that was alone owes nothing to one that comes.

    A flow that begins to wait and has got less than the flow that was let go last is lifted to the same: it
    has no credit for the time in which it asked for nothing. A flow that has no more requests, waiting or
    under way, is forgotten as soon as it would be lifted; if it comes back before, what it has got counts.

    Each step costs the logarithm of how many flows there are.

    Args:
        now: The time, in seconds by a monotonic clock.

    Attributes:
        waiting_share: The shares of the flows that wait, together.
    """

    def __init__(self, now: float) -> None:
        self.waiting_share = 0.0
        self._accounts: dict[str, Account] = {}
        self._idle: list[tuple[float, str]] = []  # sorted, by what they have attained
        self._level = 0.0  # what the flow had attained that was let go last; it only rises
        self._clock = 0.0
        self._read = now

    def __len__(self) -> int:
        return len(self._accounts)

    def __getitem__(self, flow: Flow) -> Account:
        """Return the account of a flow that competes."""
        return self._accounts[flow.name]

    def join(self, flow: Flow, now: float) -> Account:
        """Count a request that waits."""
        account = self._accounts.get(flow.name)
        if account is not None and account.waiting and (account.flow is flow or account.flow == flow):
            account.waiting += 1  # nothing else changes, as mostly
            return account
        account = self._open(flow, now)
        if not account.waiting:
            self.waiting_share += flow.share
            if account.attained < self._level:
                account.attained, account.since = self._level, self._clock
        account.waiting += 1
        return account

    def leave(self, account: Account, now: float) -> None:
        """Count no longer a request that waited."""
        account.waiting -= 1
        if not account.waiting:
            self._tick(now)
            self.waiting_share -= account.flow.share
            self._rest(account)

    def begin(self, flow: Flow, expected: float, now: float) -> Use:
        """Charge a flow for a request that gets a slot.

        Args:
            flow: Whose request it is.
            expected: The seconds that it is expected to take.
            now: The time.
        """
        account = self._accounts.get(flow.name)
        if account is not None and account.waiting and (account.flow is flow or account.flow == flow):
            if len(self._accounts) > 1:
                self._tick(now)
        else:
            account = self._open(flow, now)
        use = Use(account, self._clock, expected / flow.share)
        account.under_way += 1
        account.expected += use.expected
        if account.attained > self._level:
            self._level = account.attained
            while self._idle and self._idle[0][0] <= self._level:
                del self._accounts[self._idle.pop(0)[1]]
        return use

    def end(self, flow: Flow, use: Use | None, now: float) -> Account | None:
        """Charge a flow for what a request really took.

        Args:
            flow: Whose request it is.
            use: What ``begin`` returned, be it of accounts that are gone; None if nobody waited then.
            now: The time.

        Returns:
            The account that was charged, or None if the flow does not compete.
        """
        account = self._accounts.get(flow.name)
        if account is None:
            return None
        if len(self._accounts) > 1:
            self._tick(now)
        if not account.waiting and not account.under_way:
            self._recall(account)
        began = account.since
        if use is not None and use.account is account:
            if use.began > began:
                began = use.began
            account.under_way -= 1
            account.expected = account.expected - use.expected if account.under_way else 0.0
        account.attained += (self._clock - began) / flow.share
        if not account.waiting:
            self._rest(account)
        return account

    def _open(self, flow: Flow, now: float) -> Account:
        self._tick(now)
        account = self._accounts.get(flow.name)
        if account is None:
            account = self._accounts[flow.name] = Account(flow, self._level, self._clock)
        elif self._is_idle(account):
            self._recall(account)
        if account.waiting:
            self.waiting_share += flow.share - account.flow.share
        account.flow = flow
        return account

    def _rest(self, account: Account) -> None:
        """Forget a flow that has no requests, or remember it until others have got as much."""
        if not self._is_idle(account):
            return
        if account.attained <= self._level:
            del self._accounts[account.flow.name]
        else:
            insort(self._idle, (account.attained, account.flow.name))

    def _recall(self, account: Account) -> None:
        """Take a flow from among those that are remembered only."""
        del self._idle[bisect_left(self._idle, (account.attained, account.flow.name))]

    def _is_idle(self, account: Account) -> bool:
        return not account.waiting and not account.under_way

    def _tick(self, now: float) -> None:
        if len(self._accounts) > 1:
            self._clock += now - self._read
        self._read = now
