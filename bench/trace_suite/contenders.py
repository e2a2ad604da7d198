"""Everybody who plays: the policies of others at their defaults, an oracle, and ours at several settings."""

from __future__ import annotations

from functools import partial

from attrs import frozen

from .ours import Ours
from .policies import ORACLE, OTHERS
from .simulation import MakePolicy

OURS = "ours"

KEEP_ALIVE = "keep_alive="
"""Begins each setting of ours: the seconds for which an idle replica keeps its GPU though nobody needs it."""

KEEP_ALIVES = (0.0, 5.0, 30.0, 180.0, -1.0)
"""The settings of ours; -1 is for ever."""

DEFAULT = f"{KEEP_ALIVE}-1"
"""The setting of ours that one gets who sets nothing."""


@frozen
class Contender:
    """A policy with a setting."""

    policy: str
    setting: str = "default"

    @property
    def default(self) -> bool:
        """Whether that is what one gets who sets nothing."""
        return self.policy != OURS or self.setting == DEFAULT

    def make(self) -> MakePolicy:
        """Return what makes it for a cluster."""
        if self.policy == OURS:
            return partial(Ours, keep_alive=float(self.setting.removeprefix(KEEP_ALIVE)))
        return {**OTHERS, **ORACLE}[self.policy]


def contenders() -> list[Contender]:
    """Return all, in the order of tables."""
    ours = [Contender(OURS, f"{KEEP_ALIVE}{each:g}") for each in KEEP_ALIVES]
    return [*(Contender(policy) for policy in (*OTHERS, *ORACLE)), *ours]
