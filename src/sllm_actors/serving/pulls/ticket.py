"""Tickets: opaque texts that say all about a pull, so that any gateway can be asked how far it is."""

from __future__ import annotations

import base64
import binascii
import json
import zlib

from .messages import PullPlace, PullPlan

LONGEST = 32 * 1024
"""The most characters of a ticket."""

LARGEST = 256 * 1024
"""The most bytes of what a ticket says."""


class TicketProblem(ValueError):
    """A text is no ticket; the text of the error is a sentence for whoever sent it."""


def write_ticket(plan: PullPlan) -> str:
    """Return the ticket of a plan."""
    workers = [[each.node, each.name] for each in plan.workers]
    plain = json.dumps([plan.backend, plan.source, workers], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(zlib.compress(plain)).decode().rstrip("=")


def read_ticket(ticket: str) -> PullPlan:
    """Return the plan that a ticket is of.

    Raises:
        TicketProblem: It is none that ``write_ticket`` has made.
    """
    try:
        return _read(ticket)
    except (ValueError, binascii.Error, zlib.error, RecursionError):
        raise TicketProblem(f"there is no pull {ticket[:40]!r}: POST /models/pull gives its id") from None


def _read(ticket: str) -> PullPlan:
    if len(ticket) > LONGEST:
        raise ValueError
    packed = base64.b64decode(ticket + "=" * (-len(ticket) % 4), altchars=b"-_", validate=True)
    unpacking = zlib.decompressobj()
    plain = unpacking.decompress(packed, LARGEST)
    if not unpacking.eof:
        raise ValueError
    match json.loads(plain):
        case [str(backend), str(source), list(workers)]:
            return PullPlan(backend, source, tuple(_place(each) for each in workers))
        case _:
            raise ValueError


def _place(found: object) -> PullPlace:
    match found:
        case [str(node), str(name)]:
            return PullPlace(node, name)
        case _:
            raise ValueError
