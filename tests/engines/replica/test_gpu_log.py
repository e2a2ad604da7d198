"""What the log of an engine says of its GPU memory."""

from __future__ import annotations

import pytest

from sllm_actors.engines.replica.events import Answered, Ended, Launched, RetryDue
from sllm_actors.engines.replica.gpu_log import lacked, used_beside_cache

from .lives import STARTING, after

GIB = 2**30
SHARE = 8 * GIB

ONE_REQUEST = (
    "ValueError: To serve at least one request with the model's max seq len (131072), (16.0 GiB KV cache is"
    " needed, which is larger than the available KV cache memory (3.52 GiB). Based on the available"
)


@pytest.mark.parametrize(
    ("reason", "short"),
    [
        (ONE_REQUEST, int(12.5 * GIB)),
        ("ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_uti…", 2 * GIB),
        ("OutOfMemoryError: CUDA out of memory. Tried to allocate 448.00 MiB. GPU 0 has", 2 * GIB),
        ("RuntimeError: Not enough memory. Please try to increase --mem-fraction-static.", 2 * GIB),
        ("ValueError: Free memory on device cuda:0 (3.1/79.2 GiB) on startup is less than desired", 0),
        ("RuntimeError: there is no such model", 0),
        ("", 0),
    ],
)
def test_one_that_had_too_little_says_so(reason: str, short: int) -> None:
    assert lacked(reason, SHARE) == short
    assert lacked(reason, 0) == (short if reason == ONE_REQUEST else 0)


def test_what_it_has_beside_its_cache_is_the_rest_of_its_share() -> None:
    lines = [
        "(Worker pid=3) INFO [gpu_model_runner.py:5150] Model loading took 1.5 GiB memory and 3.1 seconds",
        "(Worker_TP0 pid=3) INFO [gpu_worker.py:760] Available KV cache memory: 5.5 GiB",
        "(Worker_TP1 pid=4) INFO [gpu_worker.py:760] Available KV cache memory: 5 GiB",
    ]
    assert used_beside_cache(lines, SHARE) == 3 * GIB
    assert used_beside_cache(lines[:1], SHARE) == 0
    assert used_beside_cache(lines, GIB) == 0, "it was told of another share"


def test_it_is_told_of_the_last_start() -> None:
    ready = after(STARTING, Answered(1, "unix:/x", gpu_used=GIB))
    assert ready.gpu_used == GIB
    failed = after(STARTING, Ended(1, "no memory", gpu_lacked=GIB))
    assert failed.gpu_lacked == GIB
    assert after(failed, RetryDue(), Launched(2)).gpu_lacked == 0
