"""What the log of a vLLM, or of an SGLang, says of the memory of its GPUs. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

UNTOLD: Final = 0.25
"""The part of an engine's share that it is taken to have lacked where it does not say how much."""

_GIB = 2**30
_ROUNDED = 0.02
"""GiB by which two rounded numbers may differ from what they stand for."""

_CACHE = re.compile(r"Available KV cache memory: (\d+(?:\.\d+)?) GiB")
_ONE_REQUEST = re.compile(
    r"\((\d+(?:\.\d+)?) GiB KV cache is needed, .*?available KV cache memory \((\d+(?:\.\d+)?) GiB\)"
)
_TOO_LITTLE = re.compile(
    r"No available memory for the cache blocks|CUDA out of memory|Not enough memory\. Please try to increase"
)


def used_beside_cache(log: Iterable[str], share: int) -> int:
    """Return how many bytes of its share of a GPU an engine has for all but its KV cache; 0: it does not say.

    vLLM measures while it starts what it needs for weights, computation and graphs, and gives the rest of
    its share to the KV cache. Of several processes that one counts which has least left.

    Args:
        log: The lines of its start.
        share: Bytes of each GPU that it may use.
    """
    left = [float(found[1]) for line in log if (found := _CACHE.search(line))]
    return max(0, share - int(min(left) * _GIB)) if left else 0


def lacked(reason: str, share: int) -> int:
    """Return how many bytes of each GPU an engine lacked that did not start; 0: it ended for another reason.

    Args:
        reason: The exception that ended it.
        share: Bytes of each GPU that it might use.
    """
    if (told := _ONE_REQUEST.search(reason)) is not None:
        return max(1, int((float(told[1]) - float(told[2]) + _ROUNDED) * _GIB))
    return int(share * UNTOLD) if _TOO_LITTLE.search(reason) else 0
