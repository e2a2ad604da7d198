"""Xinference with llama.cpp beside ours: ``python -m bench run xinference``."""

from __future__ import annotations

from typing import Any, Final

from bench.harness.experiment import Experiment, benchmark
from bench.peers.serving import open_sllm
from bench.peers.xinference import open_xinference

from .beside import OURS, Open, Work, compare, draw, options, page_tables, tables

__all__ = ["SYSTEMS", "draw", "main", "page_tables", "tables"]

SYSTEMS: Final[dict[str, Open]] = {OURS: open_sllm, "xinference": open_xinference}


@benchmark("xinference", ("sllm-actors", "xllamacpp"))
@options(SYSTEMS)
def main(experiment: Experiment, chosen: tuple[str, ...], **work: Any) -> None:
    """Give both systems the demo model on llama.cpp, ask, delete it, and kill the worker, in turns."""
    compare(experiment, SYSTEMS, chosen, Work(**work))
