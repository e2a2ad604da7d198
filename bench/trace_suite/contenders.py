"""Everybody who plays: the policies of others at their defaults, an oracle, and ours at several settings."""

from __future__ import annotations

from attrs import frozen

from .policies import ORACLE, OTHERS
from .simulation import MakePolicy

OURS = "ours"


@frozen
class Contender:
    """A policy with a setting; ``default`` is whether that is what one gets who sets nothing."""

    policy: str
    setting: str = "default"
    default: bool = True

    def make(self) -> MakePolicy:
        """Return what makes it for a cluster."""
        return {**OTHERS, **ORACLE}[self.policy]


def contenders() -> list[Contender]:
    """Return all, in the order of tables."""
    return [Contender(policy) for policy in (*OTHERS, *ORACLE)]
