"""Which of several models a request is for. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import accumulate

from attrs import frozen


@frozen
class Popularity:
    """Models, and how often each is asked for.

    Attributes:
        models: Their names.
        sums: The sums of the weights of the models up to each of them.
    """

    models: tuple[str, ...]
    sums: tuple[float, ...]

    @classmethod
    def weighted(cls, models: Sequence[str], weights: Sequence[float]) -> Popularity:
        """Return the law by which each model is asked for in proportion to its weight, which is above 0."""
        return cls(tuple(models), tuple(accumulate(weights)))

    @classmethod
    def zipf(cls, models: Sequence[str], exponent: float) -> Popularity:
        """Return Zipf's law: the model of rank ``r`` has the weight ``r ** -exponent``; 0 makes all equal."""
        return cls.weighted(models, [rank**-exponent for rank in range(1, len(models) + 1)])

    def pick(self, chance: random.Random) -> str:
        """Return the model of one request."""
        if len(self.models) == 1:
            return self.models[0]
        return chance.choices(self.models, cum_weights=self.sums)[0]
