"""To the first token: ``python bench/cold_start.py --backend vllm [--from-zero [--check]] [--json FILE]``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.cold_suite.cluster import ClusterFailed
from bench.cold_suite.from_zero import llamacpp_from_zero, vllm_from_zero
from bench.cold_suite.llamacpp import measure_llamacpp
from bench.cold_suite.report import missed, tables
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
@click.option("--from-zero", is_flag=True, help="Time requests for a deployment of which nothing runs.")
@click.option(
    "--check", is_flag=True, help="With --from-zero: exit with status 1 when a figure is not what is wanted."
)
def main(backend: str, rounds: int, python: Path, file: Path | None, from_zero: bool, check: bool) -> None:
    """Start the demo model on a real engine, through a whole cluster on this machine, and time it.

    vLLM is started plainly, first of all on a fresh worker, and from a fork server that has learned, in turn.
    With --from-zero it is a request that starts it; in turn with that, llama.cpp is started by hand, and vLLM
    by a deploy.
    """
    if check and not from_zero:
        raise click.UsageError("--check judges what --from-zero measures: give both")
    if backend == "vllm" and not python.exists():
        raise click.BadParameter(f"{python} is not there: run `make vllm`", param_hint="--python")
    before = load()

    def say(line: str) -> None:
        click.echo(f"  {line}", err=True)

    with tempfile.TemporaryDirectory(prefix="sllm-bench-") as folder:
        try:
            if from_zero and backend == "vllm":
                content: dict[str, Any] = vllm_from_zero(Path(folder), python.absolute(), rounds, say)
            elif from_zero:
                content = llamacpp_from_zero(Path(folder), rounds, say)
            elif backend == "vllm":
                content = measure_vllm(Path(folder), python.absolute(), rounds, say)
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
    if check and (sentences := missed(content)):
        raise click.ClickException("; ".join(sentences))


if __name__ == "__main__":
    main()
