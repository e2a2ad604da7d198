"""From deploy to the first token: ``python bench/cold_start.py --backend vllm [--json FILE]``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.cold_suite.cluster import ClusterFailed
from bench.cold_suite.llamacpp import measure_llamacpp
from bench.cold_suite.report import tables
from bench.cold_suite.vllm import measure_vllm
from bench.harness.machine import load, machine_facts
from bench.harness.results import VERSION, write
from bench.harness.tables import show

PACKAGES = ("sllm-actors", "xllamacpp")


@click.command()
@click.option("--backend", type=click.Choice(["vllm", "llamacpp"]), default="vllm", show_default=True)
@click.option(
    "--rounds", type=click.IntRange(1, 100), default=3, show_default=True, help="Starts of each kind."
)
@click.option(
    "--python",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path(".engines/engines/vllm/bin/python"),
    show_default=True,
    help="The Python that has vLLM.",
)
@click.option(
    "--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write the results there."
)
def main(backend: str, rounds: int, python: Path, file: Path | None) -> None:
    """Start the demo model on a real engine, through a whole cluster on this machine, and time it.

    vLLM is started plainly, first of all on a fresh worker, and from a fork server that has learned, in turn.
    """
    if backend == "vllm" and not python.exists():
        raise click.BadParameter(f"{python} is not there: run `make vllm`", param_hint="--python")
    before = load()

    def say(line: str) -> None:
        click.echo(f"  {line}", err=True)

    with tempfile.TemporaryDirectory(prefix="sllm-bench-") as folder:
        try:
            if backend == "vllm":
                content: dict[str, Any] = measure_vllm(Path(folder), python.absolute(), rounds, say)
            else:
                content = measure_llamacpp(Path(folder), rounds, say)
        except ClusterFailed as failure:
            raise click.ClickException(str(failure)) from None
    show(*tables(content))
    if file is not None:
        command = " ".join(["python", "bench/cold_start.py", *sys.argv[1:]])
        conditions = {"command": command, "rounds": rounds, "load_before": before}
        write(
            file,
            {
                "version": VERSION,
                "benchmark": "cold_start",
                "machine": machine_facts(PACKAGES),
                **content,
                "conditions": conditions,
            },
        )
        click.echo(f"written to {file}", err=True)


if __name__ == "__main__":
    main()
