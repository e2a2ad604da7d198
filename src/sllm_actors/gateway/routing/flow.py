"""Whose requests are whose, where they wait for the same replicas. Pure."""

from __future__ import annotations

from typing import Final

from attrs import frozen


@frozen
class Flow:
    """Those who are served in turn: the requests of one API key together, or those without a key.

    Attributes:
        name: Which flow it is; no two have the same name.
        share: Of flows that wait, one with twice the share is served twice as often. Above 0.
    """

    name: str
    share: float = 1.0


ANONYMOUS: Final = Flow("")
"""The flow of requests without a key. No key has an empty name."""
