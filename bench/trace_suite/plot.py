"""GPU-seconds and p99 wait of every workload as a picture, where matplotlib is installed."""

from __future__ import annotations

from math import ceil
from pathlib import Path

from bench.harness.plots import save
from bench.harness.results import Results

from .contenders import OURS
from .report import few, from_json


def draw(results: Results, path: Path) -> None:
    """Draw a panel for each workload: a point for each other policy, ours as a line with its default
    marked."""
    from matplotlib.figure import Figure

    rows = [from_json(each) for each in results.more["rows"]]
    workloads = list(dict.fromkeys(row.workload for row in rows))
    columns = min(6, len(workloads))
    height = ceil(len(workloads) / columns)
    figure = Figure(figsize=(3.2 * columns, 2.6 * height + 0.8), layout="constrained")
    figure.suptitle(f"p99 wait (s) over GPU-seconds, room for {results.more['room']} % of the peak")
    panels = figure.subplots(height, columns, squeeze=False).flat
    for axes, workload in zip(panels, workloads, strict=False):
        axes.set_title(workload, fontsize=8)
        mine = [row for row in rows if row.workload == workload]
        for row in mine:
            if row.contender.policy != OURS:
                axes.plot(
                    row.outcome.gpu_seconds, row.outcome.wait_p99_s + 0.1, "o", label=row.contender.policy
                )
        ours = [row for row in mine if row.contender.policy == OURS]
        points = sorted((row.outcome.gpu_seconds, row.outcome.wait_p99_s + 0.1) for row in ours)
        if points:
            axes.plot(*zip(*points, strict=True), "k.-", label=OURS)
        for row in ours:
            if row.contender.default:
                axes.plot(row.outcome.gpu_seconds, row.outcome.wait_p99_s + 0.1, "k*", markersize=10)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.tick_params(which="both", labelsize=6)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)
    save(figure, path)


def page_draw(results: Results, path: Path) -> None:
    """Draw a point for each contender, medians over all workloads; of few workloads a panel for each."""
    if few(results):
        draw(results, path)
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, found in results.medians().items():
        ours = results.subjects[name].ours
        point = found["gpu_seconds"], found["wait_p99_s"]
        axes.plot(*point, "k*" if ours else "o", markersize=8)
        axes.annotate(name, point, xytext=(5, 4), textcoords="offset points", fontsize=7)
    axes.set_xlabel("GPU-seconds (less is better)", fontsize=8)
    axes.set_ylabel("99th percentile of the wait, s (less is better)", fontsize=8)
    axes.set_yscale("log")
    axes.tick_params(which="both", labelsize=7)
    axes.margins(x=0.2)
    save(figure, path)
