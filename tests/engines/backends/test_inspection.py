"""Which paths a look at a source begins with: all that it names, and none that has nothing to do with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.dead_mount import dead_mount

from sllm_actors.engines.backends.inspection import inspect_in_time, paths_of
from sllm_actors.engines.host import EngineHost
from sllm_actors.engines.messages import InspectSource

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("backend", "source", "more", "paths"),
    [
        ("llamacpp", "/models/a.gguf", {}, ["/models/a.gguf"]),
        ("llamacpp", "hf:org/tiny", {}, ["STORAGE"]),
        ("llamacpp", "demo:smollm2-135m", {}, []),
        ("vllm", "demo:smollm2-135m", {}, ["STORAGE"]),
        ("vllm", "demo:no such one", {}, []),
        ("vllm", "/m", {"settings": {"chat_template": "/t", "max_model_len": 9}}, ["/m", "/t"]),
        ("vllm", "/m", {"secret_env": {"A": "file:/run/a", "B": "env:HOME"}}, ["/m", "/run/a"]),
        ("external", "https://h", {"settings": {"ca_file": "/ca", "api_key_file": "/k"}}, ["/ca", "/k"]),
        ("command", "m", {}, []),
    ],
)
def test_all_that_is_named_is_looked_at(
    host: EngineHost, backend: str, source: str, more: dict[str, Any], paths: list[str]
) -> None:
    asked = InspectSource(backend, source, more.pop("settings", {}), **more)
    expected = [str(host.models.folder) if path == "STORAGE" else path for path in paths]
    assert [str(path) for path in paths_of(asked, host)] == expected


@pytest.mark.slow
async def test_a_path_that_does_not_answer_is_the_answer(host: EngineHost, tmp_path: Path) -> None:
    with dead_mount(tmp_path / "away") as away, anyio.fail_after(60):
        answer = await inspect_in_time(InspectSource("llamacpp", str(away / "a.gguf"), {}), host)
    assert answer.problem.startswith(f"{away / 'a.gguf'} has not answered for 3 s")


async def test_a_fifo_is_not_waited_for(host: EngineHost, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.gguf")
    with anyio.fail_after(60):
        answer = await inspect_in_time(InspectSource("llamacpp", str(tmp_path / "a.gguf"), {}), host)
    assert answer.problem.endswith("cannot be read: it is a FIFO, not a file")
