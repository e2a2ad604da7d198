"""What a model takes of each GPU of an engine."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sllm_actors.engines.attention import Attention
from sllm_actors.engines.gpu_figures import LARGEST, GpuFigures, gpu_figures

GIB = 2**30
EIGHT_B = Attention(layers=32, heads=8, numbers=256, context=131072)
LATENT = Attention(layers=61, heads=1, numbers=576, context=163840)


@pytest.mark.parametrize(
    ("attention", "given", "figures"),
    [
        (EIGHT_B, {"gpus": 1}, GpuFigures(16 * GIB, 131072, 131072)),
        (EIGHT_B, {"gpus": 1, "context": 4096}, GpuFigures(16 * GIB, 131072, 4096)),
        (EIGHT_B, {"gpus": 4}, GpuFigures(4 * GIB, 32768, 131072)),
        (EIGHT_B, {"gpus": 16}, GpuFigures(GIB, 16384, 131072)),
        (EIGHT_B, {"gpus": 4, "stages": 4}, GpuFigures(4 * GIB, 32768, 131072)),
        (EIGHT_B, {"gpus": 3, "stages": 3}, GpuFigures(-(-16 * GIB // 3), 11 * 8 * 256 * 2, 131072)),
        (EIGHT_B, {"gpus": 1, "dtype": "float32"}, GpuFigures(32 * GIB, 262144, 131072)),
        (EIGHT_B, {"gpus": 1, "dtype": "bfloat16"}, GpuFigures(16 * GIB, 131072, 131072)),
        (LATENT, {"gpus": 8}, GpuFigures(2 * GIB, 61 * 576 * 2, 163840)),
        (None, {"gpus": 2, "context": 4096}, GpuFigures(8 * GIB)),
        (EIGHT_B, {"gpus": 0}, None),
    ],
)
def test_gpus_share_weights_layers_and_heads(
    attention: Attention | None, given: dict[str, Any], figures: GpuFigures | None
) -> None:
    assert gpu_figures(16 * GIB, attention, **given) == figures


@given(st.integers(1, 2**31), st.integers(1, 2**31), st.integers(1, 2**31), st.integers(1, 64))
def test_no_figure_is_larger_than_can_be_told(layers: int, heads: int, numbers: int, gpus: int) -> None:
    found = gpu_figures(2**60, Attention(layers, heads, numbers, 2**31), gpus=gpus, stages=gpus)
    assert found is not None
    assert max(found.weights, found.token, found.context) <= LARGEST
