"""Which backends there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches

from .backend import Backend
from .external import External
from .fork_client import WarmSpec
from .host import EngineHost
from .llamacpp import LlamaCpp
from .messages import InspectSource, SourceInspected
from .plan import LaunchProblem
from .vllm import Vllm
from .vllm_warm import warm_spec as warm_vllm

BACKENDS: Mapping[str, Backend] = {backend.name: backend for backend in (Vllm(), LlamaCpp(), External())}


WARM: Mapping[str, Callable[[EngineHost], WarmSpec | None]] = {"vllm": warm_vllm}
"""The backends whose engines can be forked, and what their fork server is: None where it is not installed."""


def backend_named(name: str) -> Backend:
    """Return a backend.

    Raises:
        LaunchProblem: There is none of that name.
    """
    backend = BACKENDS.get(name)
    if backend is None:
        close = get_close_matches(name, BACKENDS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise LaunchProblem(f"there is no backend {name!r}, only {', '.join(sorted(BACKENDS))}{hint}")
    return backend


def inspect_source(request: InspectSource, host: EngineHost) -> SourceInspected:
    """Answer a worker's ``InspectSource``. Reads the disk: call it in a thread."""
    try:
        backend = backend_named(request.backend)
        return backend.inspect(request.source, request.settings, host.interpreter(backend.name))
    except LaunchProblem as problem:
        return SourceInspected(problem=str(problem))
