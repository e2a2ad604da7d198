"""How many tokens prompts and answers have. Pure."""

from __future__ import annotations

import random
import re

from attrs import frozen

MOST = 10_000_000
"""Tokens that a prompt or an answer may be asked to have."""


@frozen
class Lengths:
    """A number of tokens, or a range in which each number is as likely as any other."""

    least: int
    most: int

    @classmethod
    def parse(cls, text: str) -> Lengths:
        """Read ``128`` or ``64-256``.

        Raises:
            ValueError: It is neither; the text says why.
        """
        found = re.fullmatch(r"([0-9]{1,8})(?:-([0-9]{1,8}))?", text)
        if found is None:
            raise ValueError("it is neither a number of tokens nor a range like 64-256")
        least = int(found[1])
        most = int(found[2] or least)
        if not 1 <= least <= most <= MOST:
            raise ValueError(f"it should be at least 1, at most {MOST}, and rise")
        return cls(least, most)

    def __str__(self) -> str:
        return str(self.least) if self.least == self.most else f"{self.least}-{self.most}"

    def draw(self, chance: random.Random) -> int:
        """Return the number of tokens of one text."""
        return self.least if self.least == self.most else chance.randint(self.least, self.most)
