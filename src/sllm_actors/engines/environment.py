"""The environment of an engine: the worker's own without its secrets, and what the engine needs."""

from __future__ import annotations

from collections.abc import Mapping

from sllm_actors.observe.redaction import without_secrets

from .plan import EnginePaths

MARKER = "SLLM_ENGINE"
"""In an engine's environment: the one thing that names its processes when even its leash was killed."""


def engine_environment(ours: Mapping[str, str], paths: EnginePaths, **more: str) -> dict[str, str]:
    """Return the environment of an engine: ours without what is or looks secret, its own TMPDIR, ``more``."""
    env = without_secrets(ours)
    env.update(TMPDIR=str(paths.tmpdir), PYTHONUNBUFFERED="1", **more)
    env[MARKER] = paths.socket.name
    env["SPT_NOENV"] = "1"  # setproctitle would write process titles over the environment, the mark with it
    return env
