"""Which phase of its start a vLLM is in, from its log. Lines are those of 0.32; unknown ones are ignored."""

from __future__ import annotations

import re

_SHARDS = re.compile(r"Loading \S+ checkpoint shards:\s+(\d+)% Completed \| (\d+)/(\d+)")
_GRAPHS = re.compile(r"Capturing CUDA graphs?\b.*?:\s+(\d+)%\|")

_LINES = (
    ("---- attempt ", "importing vLLM"),
    ("non-default args:", "reading the model's configuration"),
    ("LLM engine (v", "starting the engine's processes"),
    ("Starting to load model", "loading the weights"),
    ("Loading weights took", "preparing the weights"),
    ("Model loading took", "preparing the weights"),
    ("Dynamo bytecode transform", "compiling"),
    ("Compiling a graph", "compiling"),
    ("Cache the graph", "compiling"),
    ("torch.compile took", "profiling memory"),
    ("KV cache size:", "warming up"),
    ("Graph capturing finished", "warming up"),
    ("Warming up model", "warming up"),
    ("init engine (profile", "opening the API"),
    ("Starting vLLM server", "opening the API"),
)


def phase_of(line: str) -> str:
    """Return the phase that begins with this line of the log, in a few words, or "". See ``PhaseOf``."""
    if shards := _SHARDS.search(line):
        percent, done, count = shards.groups()
        return f"loading the weights: {percent} % ({done} of {count} files)"
    if graphs := _GRAPHS.search(line):
        return f"capturing CUDA graphs: {graphs[1]} %"
    return next((phase for sign, phase in _LINES if sign in line), "")
