"""Texts of about so many tokens that mean nothing. Pure.

Each word is a common one: with the blank before it, it is one token in the vocabularies of the usual models.
The server's own count, where it reports one, is the one that results show.
"""

from __future__ import annotations

import random
from typing import Final

_TEXT: Final = """
the of and to in is that for it was on are as with his they at be this from have or by one had not but what
all were when we there can an your which their said if do will each about how up out them then she many some
so these would other into has more her two like him see time could no make than first been its who now
people my made over did down only way find use may water long little very after words called just where most
know get through back much before go good new write our used me man too any day same right look think also
around another came come work three word must because does part even place well such here take why things
help put years different away again off went old number great tell men say small every found still between
name should home big give air line set own under read last never us left end along while might next sound
below saw something thought both few those always looked show large often together asked house world going
want school important until form food keep children feet land side without boy once animals life enough took
sometimes four head above kind began almost live page got earth need far hand high year mother light parts
country father let night following picture being study second eyes soon times story boys since white days
ever paper hard near sentence better best across during today others however sure means knew try told young
miles sun ways thing whole hear example heard several change answer room sea against top turned learn point
city play toward five using himself usually
"""

WORDS: Final = tuple(_TEXT.split())

POOL: Final = 1 << 16
"""Words that texts are cut from, so that a long one costs no more than a cut."""

FRESH: Final = 4
"""Words at the beginning of a text that are drawn for it alone: hardly two begin alike, and no prefix cache
of a server has met one before."""


class Synthetic:
    """Makes texts of ``words``.

    Args:
        chance: Where words are drawn from.
    """

    words = WORDS

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._pool = chance.choices(WORDS, k=POOL)

    def text(self, tokens: int) -> str:
        """Return a text of about so many tokens: as many words."""
        words = self._chance.choices(WORDS, k=min(FRESH, tokens))
        left = tokens - len(words)
        while left > 0:
            begin = self._chance.randrange(POOL)
            cut = self._pool[begin : begin + left]
            words += cut
            left -= len(cut)
        return " ".join(words)
