"""What a worker says of the GPUs that it does not see."""

from __future__ import annotations

import pytest

from sllm_actors.cluster.inventory import GpuDevice, Machine, missed_gpus

SEEN = (GpuDevice("GPU-1", "NVIDIA H200"),)
TAKEN_TO_BE_THERE = (GpuDevice("0"),)


@pytest.mark.parametrize(
    ("devices", "gpus", "wanted"),
    [((), None, "all"), (TAKEN_TO_BE_THERE, 1, "all"), ((), None, "GPU-1,GPU-2")],
)
def test_a_container_for_gpus_that_sees_none_is_told_how_to_get_them(
    devices: tuple[GpuDevice, ...], gpus: int | None, wanted: str
) -> None:
    said = missed_gpus(Machine(2, 1, 1, devices), gpus, {"NVIDIA_VISIBLE_DEVICES": wanted})
    assert "start it with --gpus all" in said
    assert "the image worker-cpu" in said
    assert "vLLM" not in said, "the image may have been built without it"


@pytest.mark.parametrize(
    ("devices", "gpus", "environment"),
    [
        (SEEN, None, {"NVIDIA_VISIBLE_DEVICES": "all"}),
        (SEEN, 2, {"NVIDIA_VISIBLE_DEVICES": "all"}),
        ((), 0, {"NVIDIA_VISIBLE_DEVICES": "all"}),
        ((), None, {"NVIDIA_VISIBLE_DEVICES": "void"}),
        ((), None, {}),
        (TAKEN_TO_BE_THERE, 1, {}),
    ],
)
def test_whoever_has_gpus_or_wants_none_is_told_nothing(
    devices: tuple[GpuDevice, ...], gpus: int | None, environment: dict[str, str]
) -> None:
    assert missed_gpus(Machine(2, 1, 1, devices), gpus, environment) == ""
