"""Limits that a good answer keeps, and which answers keep them: the goodput. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final

from attrs import frozen

from .result import RequestResult

KINDS: Final = {
    "ttft": "the time to the first token",
    "tpot": "the time per token after the first one",
    "e2el": "the time to the end of the answer",
}
"""What can have a limit, by the names that other load generators use."""


@frozen
class Goals:
    """Limits in seconds, by the names of ``KINDS``."""

    limits: Mapping[str, float]

    @staticmethod
    def parse(text: str) -> tuple[str, float]:
        """Read ``ttft:500``, in milliseconds.

        Raises:
            ValueError: It is none of these; the text says why.
        """
        found = re.fullmatch(r"([a-z0-9]+):([0-9]{1,9}(?:\.[0-9]{1,6})?)", text)
        if found is None or found[1] not in KINDS:
            raise ValueError(f"it should be one of {', '.join(KINDS)} with milliseconds, as ttft:500")
        limit = float(found[2]) / 1000
        if not 0 < limit < math.inf:
            raise ValueError("no answer keeps a limit of 0")
        return found[1], limit

    def met(self, result: RequestResult) -> bool:
        """Return whether an answer is whole and keeps every limit; what cannot be told counts as kept."""
        found = {"ttft": result.ttft, "tpot": result.tpot, "e2el": result.e2e}
        return result.good and all((found[kind] or 0.0) <= limit for kind, limit in self.limits.items())
