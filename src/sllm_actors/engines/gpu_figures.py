"""What a model takes of each GPU of an engine, by its files. Pure."""

from __future__ import annotations

from attrs import frozen

from sllm_actors.engines.attention import Attention

LARGEST = 2**50
"""The most bytes, and tokens, that are told."""

_WIDE = ("float32", "float")


@frozen
class GpuFigures:
    """What is known of an engine's memory on each of its GPUs before it runs.

    Attributes:
        weights: Bytes of the model's weights there.
        token: Bytes that the KV cache has there for each token; 0 where the model does not say.
        context: Tokens that one request may have; 0 where the model does not say.
    """

    weights: int
    token: int = 0
    context: int = 0


def gpu_figures(
    size: int,
    attention: Attention | None,
    *,
    gpus: int,
    stages: int = 1,
    context: int | None = None,
    dtype: str = "",
) -> GpuFigures | None:
    """Return what an engine has of a model on each of its GPUs; None if it has no GPU.

    Numbers have 16 bits, unless 32 are asked for: engines compute in 16 bits even where files have 32.

    Args:
        size: Bytes of the files with the weights.
        attention: What the model keeps of each token; None where that is not known.
        gpus: How many GPUs the engine has.
        stages: Groups of layers, one after the other, that the GPUs are divided into.
        context: Tokens that a request may have by the deployment's settings; None: as many as the model says.
        dtype: The data type that the deployment's settings ask for; "" for none.
    """
    if not gpus:
        return None
    wide = dtype in _WIDE
    weights = min(LARGEST, -(-size // gpus) * (2 if wide else 1))
    if attention is None:
        return GpuFigures(weights)
    layers = -(-attention.layers // stages)
    heads = -(-attention.heads // max(1, gpus // stages))
    token = layers * heads * attention.numbers * (4 if wide else 2)
    return GpuFigures(weights, min(LARGEST, token), min(LARGEST, context or attention.context))
