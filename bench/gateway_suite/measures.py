"""Everything that the gateway benchmark measures, and what it wants to see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from bench.harness.measures import Measure
from bench.harness.targets import Judged, at_least, at_most, quotient

OURS: Final = "sllm"
TUNNEL: Final = "sllm-tunnel"
DIRECT: Final = "direct"
REFERENCE: Final = "vllm-router"
ALSO: Final = "smg"
LITELLM: Final = "litellm"
RAY_SERVE: Final = "ray-serve"

MAIN_CONNECTIONS: Final = 32
FIRST_TOKEN_CONNECTIONS: Final = 1

Row = Mapping[str, float]
"""The figures of one system, by name."""


def better_high(name: str, text: str, unit: str) -> Measure:
    """Return a measure of which more is good."""
    return Measure(name, text, unit, higher_is_better=True)


def better_low(name: str, text: str, unit: str) -> Measure:
    """Return a measure of which less is good."""
    return Measure(name, text, unit, higher_is_better=False)


MAIN: Final = {
    measure.name: measure
    for measure in (
        better_high("rps", "plain requests at 32 connections", "1/s"),
        better_low("cpu_us_per_request", "processor of the gateway for one of them", "µs"),
        better_low("cpu_us_per_chunk", "processor of the gateway for one chunk of the steady streams", "µs"),
        better_low("ttft_p50_ms", "to the first token at 1 connection, median", "ms"),
        better_low("ttft_p99_ms", "to the first token at 1 connection, p99", "ms"),
        better_low("kib_per_stream", "memory of one open stream, of very many", "KiB"),
        better_low("worker_us_per_request", "processor of our worker for a plain request, beside it", "µs"),
        better_low("worker_us_per_chunk", "processor of our worker for a chunk, beside it", "µs"),
        better_low("errors", "answers that were wrong or did not come, of all rounds together", ""),
    )
}

SUFFIXES: Final = {
    "rps": better_high("rps", "requests answered", "1/s"),
    "gateway_us": better_low("gateway_us", "processor of the gateway for each", "µs"),
    "worker_us": better_low("worker_us", "processor of our worker for each", "µs"),
    "head_us": better_low("head_us", "processor of our head for each", "µs"),
    "load_us": better_low("load_us", "processor of the load program for each", "µs"),
    "load_share": better_low("load_share", "of one core that the load program used", ""),
    "total_p50_ms": better_low("total_p50_ms", "to the whole answer, median", "ms"),
    "total_p99_ms": better_low("total_p99_ms", "to the whole answer, p99", "ms"),
    "ttft_p50_ms": better_low("ttft_p50_ms", "to the first token, median", "ms"),
    "ttft_p99_ms": better_low("ttft_p99_ms", "to the first token, p99", "ms"),
    "chunks_s": better_high("chunks_s", "chunks that came", "1/s"),
    "kib_per_stream": better_low("kib_per_stream", "memory of one open stream", "KiB"),
    "worker_kib": better_low("worker_kib", "memory of our worker for one of them", "KiB"),
    "head_kib": better_low("head_kib", "memory of our head for one of them", "KiB"),
    "missing": better_low("missing", "streams that were not open when all should be", ""),
    "open": better_high("open", "streams that were open together", ""),
    "finished": better_high("finished", "streams that came to a good end", ""),
    "answered": better_high("answered", "requests that were answered", ""),
    "p99_ms": better_low("p99_ms", "to the answer, p99", "ms"),
    "errors": better_low("errors", "answers that were wrong or did not come", ""),
}
"""What the figures of a phase are, by the ends of their names."""

PROCESSES: Final = {
    measure.name: measure
    for measure in (
        better_low("processes_one_us", "processor for a request, one gateway process", "µs"),
        better_low("processes_two_us", "processor for a request, two on one port", "µs"),
        better_low("processes_ratio", "the second over the first", ""),
        better_high("processes_least_share", "of the processor, by the process that did less", ""),
        better_low("processes_lost", "queued requests that were lost with a process", ""),
    )
}


def declare(names: Iterable[str]) -> dict[str, Measure]:
    """Return the measures behind the names of figures: all that a result file has to declare."""
    declared = {}
    for name in names:
        if measure := MAIN.get(name) or PROCESSES.get(name):
            declared[name] = measure
            continue
        suffix = max((each for each in SUFFIXES if name.endswith(f"_{each}")), key=len, default=None)
        if suffix is not None:
            known = SUFFIXES[suffix]
            phase = name.removesuffix(f"_{suffix}")
            text = f"{phase.replace('_', ', ')}: {known.text}"
            declared[name] = Measure(name, text, known.unit, known.higher_is_better)
    return declared


def derived(figures: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Return the figures of all rounds of a system, those of ``MAIN`` first, as far as they were measured.

    Errors of all rounds are added up, as they are worth telling of however rare they are.
    """
    plain = f"plain_{MAIN_CONNECTIONS}"
    first = f"streamed_{FIRST_TOKEN_CONNECTIONS}"
    sources = {
        "rps": f"{plain}_rps",
        "cpu_us_per_request": f"{plain}_gateway_us",
        "cpu_us_per_chunk": "steady_gateway_us",
        "ttft_p50_ms": f"{first}_ttft_p50_ms",
        "ttft_p99_ms": f"{first}_ttft_p99_ms",
        "kib_per_stream": "many_kib_per_stream",
        "worker_us_per_request": f"{plain}_worker_us",
        "worker_us_per_chunk": "steady_worker_us",
    }
    row = {name: [sum(found)] if name.endswith("_errors") else list(found) for name, found in figures.items()}
    errors = [sum(found[0] for name, found in row.items() if name.endswith("_errors"))] if row else []
    main = {name: row[source] for name, source in sources.items() if source in row}
    return {**main, **({"errors": errors} if errors else {}), **row}


def judge(rows: Mapping[str, Row]) -> list[Judged]:
    """Hold our figures against the targets.

    Args:
        rows: The figures of each system, those of ``MAIN`` among them.
    """
    ours, tunnel, reference = (rows.get(name, {}) for name in (OURS, TUNNEL, REFERENCE))
    verdicts = [
        at_least(
            "rps ≥ 1.25 x vllm-router", quotient(ours.get("rps"), reference.get("rps")), 1.25, compares=True
        ),
        at_most(
            "cpu_us_per_request ≤ 0.75 x vllm-router",
            quotient(ours.get("cpu_us_per_request"), reference.get("cpu_us_per_request")),
            0.75,
            compares=True,
        ),
        at_most(
            "cpu_us_per_chunk ≤ 0.9 x vllm-router",
            quotient(ours.get("cpu_us_per_chunk"), reference.get("cpu_us_per_chunk")),
            0.9,
            compares=True,
        ),
        at_most("ttft_p50_ms - vllm-router's ≤ 0.05", _difference(ours, reference, "ttft_p50_ms"), 0.05),
        at_most(
            "through a tunnel: cpu_us_per_request ≤ 2 x local",
            quotient(tunnel.get("cpu_us_per_request"), ours.get("cpu_us_per_request")),
            2,
            compares=True,
        ),
        at_most(
            "through a tunnel: cpu_us_per_chunk ≤ 2 x local",
            quotient(tunnel.get("cpu_us_per_chunk"), ours.get("cpu_us_per_chunk")),
            2,
            compares=True,
        ),
        at_most("kib_per_stream ≤ 40", ours.get("kib_per_stream"), 40),
        at_most("of the many streams, not open together: none", ours.get("many_missing"), 0),
        at_most("of the many streams, not finished: none", ours.get("many_errors"), 0),
        at_most("of a burst through a tunnel, not answered: none", tunnel.get("burst_errors"), 0),
        at_most("two processes: processor for a request ≤ 1.15 x one", ours.get("processes_ratio"), 1.15),
        at_least("two processes: the lesser share ≥ 0.35", ours.get("processes_least_share"), 0.35),
        at_most("queued requests lost with a process: none", ours.get("processes_lost"), 0),
    ]
    also = rows.get(ALSO, {})
    for name in ("rps", "cpu_us_per_request", "cpu_us_per_chunk", "ttft_p50_ms", "kib_per_stream"):
        found = _gain(ours, also, name)
        verdicts.append(at_least(f"{name}: better than smg", found, 1.0, compares=True))
    return verdicts


def _difference(one: Row, other: Row, name: str) -> float | None:
    return one[name] - other[name] if name in one and name in other else None


def _gain(one: Row, other: Row, name: str) -> float | None:
    return MAIN[name].gain(one[name], other[name]) if name in one and name in other else None
