"""The figures of the starts as tables for the terminal."""

from __future__ import annotations

from statistics import median
from typing import Any

from rich.table import Table

from bench.harness.spread import Spread
from bench.harness.tables import table

WANTED = {"ratio": 7.0, "fresh_share": 0.5, "llamacpp_s": 1.5}
"""At least so many times faster from the fork server; at most such a share of a plain start for the first one
on a fresh worker; at most so many seconds for llama.cpp."""

FROM_ZERO = {"median_s": 1.2, "ours_s": 0.05, "ratio": 1.05}
"""At most so many seconds from a request to its first token on llama.cpp, and of them ours; on vLLM at most
so many times as long as a start by a deploy."""

KINDS = {"plain": "plain", "fresh": "first on a fresh worker", "forked": "forked"}


def tables(content: dict[str, Any]) -> list[Table]:
    """Return the starts, where their time goes, and what was wanted."""
    if "from_zero" in content:
        return _from_zero(content["from_zero"])
    kinds = [kind for kind in KINDS if f"{kind}_s" in content]
    spreads = {kind: Spread.of(content[f"{kind}_s"]) for kind in kinds}
    rows = [
        (KINDS[kind], f"{spread.median:.2f}", f"{spread.low:.2f}", f"{spread.high:.2f}", str(spread.count))
        for kind, spread in spreads.items()
    ]
    shown = [
        table("seconds from deploy to the first token", ("start", "median", "least", "most", "starts"), rows)
    ]
    if used := content.get("cpu_s"):
        shares = [(KINDS[kind], f"{median(used[kind]):.1f}") for kind in kinds]
        shown.append(table("processor seconds of the whole cluster until then", ("start", "median"), shares))
    for kind, seconds in content.get("phases", {}).items():
        parts = [
            (phase, f"{taken:.2f}", f"{taken / spreads[kind].median:.0%}") for phase, taken in seconds.items()
        ]
        shown.append(table(f"where they go: {KINDS[kind]}", ("phase", "seconds", "share"), parts))
    return [*shown, table("", ("what", "found", "wanted"), _verdicts(content))]


def missed(content: dict[str, Any]) -> list[str]:
    """Return what is not as it is wanted of requests from nothing, each as a sentence."""
    return [
        f"{WHAT[name]}: {found:.4g} is more than {FROM_ZERO[name]:g}"
        for name, found in _judged(content["from_zero"])
        if found > FROM_ZERO[name]
    ]


WHAT = {
    "median_s": "seconds from the request to its first token",
    "ours_s": "of them ours",
    "ratio": "from the request / from a deploy",
}


def _judged(figures: dict[str, Any]) -> list[tuple[str, float]]:
    """Return the figures that are judged: vLLM has no bound in seconds."""
    names = ("ratio",) if "ratio" in figures else ("median_s", "ours_s")
    return [(name, figures[name]) for name in names]


def _from_zero(figures: dict[str, Any]) -> list[Table]:
    other, title = ("forked", "forked by a deploy") if "ratio" in figures else ("bare", "the engine by hand")
    until = {
        "process_s": "the engine's process begins",
        "ready_s": "it is ready",
        "first_token_s": "first token",
    }
    rows = [
        (f"{which} until {text}", f"{spread.median:.3f}", f"{spread.low:.3f}", f"{spread.high:.3f}")
        for prefix, which in (("", "request for a model at rest,"), (f"{other}_", f"{title},"))
        for name, text in until.items()
        if (seconds := figures.get(f"{prefix}{name}"))
        for spread in [Spread.of(seconds)]
    ]
    count = len(figures["first_token_s"])
    verdicts = [(WHAT[name], f"{found:.3f}", f"≤ {FROM_ZERO[name]:g}") for name, found in _judged(figures)]
    return [
        table(f"seconds, {count} starts of each kind", ("", "median", "least", "most"), rows),
        table("", ("what", "found", "wanted"), verdicts),
    ]


def _verdicts(content: dict[str, Any]) -> list[tuple[str, str, str]]:
    if "ratio" not in content:
        return [
            ("from deploy to the first token", f"{content['median_s']:.2f} s", f"≤ {WANTED['llamacpp_s']} s")
        ]
    speeds = {kind: median(found) for kind, found in content["tokens_s"].items()}
    fresh = content.get("fresh_share")
    return [
        ("plain / forked", f"{content['ratio']:.1f}", f"≥ {WANTED['ratio']:g}"),
        *(
            [("first on a fresh worker / plain", f"{fresh:.2f}", f"≤ {WANTED['fresh_share']:g}")]
            if fresh
            else []
        ),
        ("tokens per second, forked / plain", f"{speeds['forked'] / speeds['plain']:.2f}", "1, within noise"),
    ]
