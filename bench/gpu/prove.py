"""What is promised of GPUs, on a real one: ``python bench/gpu/prove.py [--python PATH] [--json FILE]``."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import click
import httpx2

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.cold_suite.cluster import ClusterFailed, open_cluster
from bench.gpu.lab import CACHE, WEIGHTS, Lab
from bench.gpu.memory import NoGpu, name, used_mib
from bench.gpu.promises import PROMISES, Found
from bench.gpu.report import tables
from bench.harness.machine import machine_facts
from bench.harness.results import VERSION, write
from bench.harness.tables import show


@click.command()
@click.option(
    "--python",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    default=Path(sys.executable),
    help="The Python that has PyTorch for CUDA.  [default: this one]",
)
@click.option("--only", type=click.Choice(list(PROMISES)), multiple=True, help="Try only these.")
@click.option(
    "--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write the results there."
)
def main(python: Path, only: tuple[str, ...], file: Path | None) -> None:
    """Let engines with real GPU memory start, share, sleep, make room and die, and look at the GPU meanwhile.

    Each promise is tried, whatever has become of those before it. The exit status is 1 if one has failed.
    """
    try:
        idle = used_mib()
    except NoGpu as problem:
        raise click.ClickException(str(problem)) from None
    results: dict[str, Found] = {}
    for promise in only or PROMISES:
        with tempfile.TemporaryDirectory(prefix="sllm-gpu-") as folder:
            began = time.monotonic()
            try:
                with open_cluster(Path(folder) / "cluster", "--allow-command") as cluster:
                    results[promise] = {
                        "holds": True,
                        **PROMISES[promise](Lab(cluster, python.absolute(), idle)),
                    }
            except (ClusterFailed, AssertionError, httpx2.HTTPError, LookupError) as failure:
                results[promise] = {"holds": False, "why": f"{type(failure).__name__}: {failure}"[:2000]}
            results[promise]["took_s"] = round(time.monotonic() - began, 1)
            click.echo(f"  {promise}: {results[promise]}", err=True)
    content = {
        "version": VERSION,
        "benchmark": "gpu_proofs",
        "machine": machine_facts(("sllm-actors",)),
        "gpu": name(),
        "weights_mib": WEIGHTS,
        "cache_mib": CACHE,
        "idle_mib": idle,
        "promises": results,
    }
    show(*tables(content))
    if file is not None:
        write(file, content)
    failed = [promise for promise, found in results.items() if not found["holds"]]
    if failed:
        raise click.ClickException(f"it does not hold: {', '.join(failed)}")


if __name__ == "__main__":
    main()
