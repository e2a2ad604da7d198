"""Which node dials which. Pure."""

from __future__ import annotations

from typing import Final

DIALS: Final = {"worker": {"head"}, "gateway": {"head", "worker"}}
"""The roles that a node of each role dials. A head dials nobody, and a gateway is dialled by nobody. So the
only link that a worker or gateway has with a head is the one that it dialled itself."""


def may_dial(dialler: str, acceptor: str) -> bool:
    """Tell whether a node of the first role may dial one of the second."""
    return acceptor in DIALS.get(dialler, set())
