"""The reference's cluster manager beside ours: ``python -m bench run seed``."""

from __future__ import annotations

from typing import Any, Final

from bench.harness.experiment import Experiment, benchmark
from bench.peers.serving import open_llamacpp, open_pylet, open_sllm

from .beside import OURS, Open, Work, compare, draw, options, page_tables, tables

__all__ = ["SYSTEMS", "draw", "main", "page_tables", "tables"]

SYSTEMS: Final[dict[str, Open]] = {OURS: open_sllm, "pylet": open_pylet, "llama.cpp": open_llamacpp}


@benchmark("seed", ("sllm-actors", "xllamacpp"))
@options(SYSTEMS)
def main(experiment: Experiment, chosen: tuple[str, ...], **work: Any) -> None:
    """Give each system the demo model on llama.cpp, ask, delete it, and kill the worker, in turns."""
    compare(experiment, SYSTEMS, chosen, Work(**work))
