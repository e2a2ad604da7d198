"""The head: a replica that finds no place in time, and finds one after all."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.serving.head import running_head
from tests.serving.kit import key, spec

pytestmark = pytest.mark.anyio

M = "m:llamacpp"


async def test_a_deployment_that_finds_no_place_in_time_has_failed_until_there_is_one(tmp_path: Path) -> None:
    async with running_head(tmp_path) as head:
        await head.up("g1", role="gateway")
        await head.join("w1", gpus=1)
        await head.deploy(spec(gpus=2, startup_timeout=60))
        assert (await head.describe(M))["state"] == "pending"
        await head.advance(59.0)
        assert (await head.describe(M))["state"] == "pending"
        await head.advance(1.0)
        described = await head.describe(M)
        why = "it found no place within 60 s: no worker has 2 free GPUs for it (w1 has only 1)"
        assert (described["state"], described["detail"]) == (
            "failed",
            f"{why}; it starts as soon as there is one",
        )
        table = head.table("g1")
        assert table is not None
        assert table.models[0].no_place == why
        await head.join("w2", gpus=2)
        assert head.orders("w2") == [key(0)]
        assert (await head.describe(M))["state"] == "pending"
        table = head.table("g1")
        assert table is not None
        assert table.models[0].no_place == ""
