"""The page of figures, ``docs/performance.md``, made from the result files and from nothing else.

Other pages quote figures between two comments, ``<!-- figure: FILE SUBJECT MEASURE -->`` and
``<!-- /figure -->``; with ``ONE / OTHER`` for the subject it is the quotient of the two, or, where two halves
of the run disagree on it, both of theirs.
``python -m bench page`` writes the page, its plots, and what stands between such comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from bench.harness.machine import described
from bench.harness.measures import number
from bench.harness.report import LEGEND
from bench.harness.results import BadResults, Results, read
from bench.harness.spread import Spread, agree
from bench.harness.tables import markdown
from bench.registry import BENCHMARKS, RESULTS, ROOT

PAGE: Final = ROOT / "docs" / "performance.md"
PLOTS: Final = ROOT / "docs" / "plots"

HEAD: Final = f"""# Performance

Made by `python -m bench page` from the files in `bench/results`: do not edit this page. How each figure is
measured, and what it says and does not, is in [benchmarks.md](benchmarks.md). Trust ratios of one run before
figures of two.

Figures are medians of interleaved rounds, with half the distance of the extremes. In brackets: how many times
better ours is; {LEGEND}.
"""

QUOTED: Final = re.compile(r"(<!-- figure: (\S+) (.+?) (\S+) -->)(.*?)(<!-- /figure -->)", re.DOTALL)


class NoSuchFigure(Exception):
    """A page quotes what no result file has; the text says what."""


def published() -> dict[str, Results]:
    """Read all published result files, by their stems, in the order of the registry."""
    found = {path.stem: read(path) for path in sorted(RESULTS.glob("*.json"))}
    order = list(BENCHMARKS)
    for stem, results in found.items():
        if results.benchmark not in BENCHMARKS:
            raise BadResults(f"{stem}.json is of {results.benchmark!r}, which is no benchmark here")
    return dict(sorted(found.items(), key=lambda item: (order.index(item[1].benchmark), item[0])))


def render(found: Mapping[str, Results]) -> str:
    """Return the text of the page; pure."""
    return "\n".join([HEAD, *(line for stem, results in found.items() for line in _section(stem, results))])


def _section(stem: str, results: Results) -> Iterator[str]:
    row = BENCHMARKS[results.benchmark]
    conditions = results.conditions
    variant = "" if stem == row.name else f", {stem.removeprefix(row.name).strip('_').replace('_', ' ')}"
    yield f"## {row.name}{variant}\n"
    yield f"{row.question}\n"
    when = f", {conditions['finished'][:10]}" if "finished" in conditions else ""
    versions = [f"{name} {each.version}" for name, each in results.subjects.items() if each.version]
    beside = f" Beside it: {', '.join(versions)}." if versions else ""
    yield (
        f"`{conditions['command']}` on {described(results.machine)}{when}.{beside} "
        f"All of it: [{stem}.json](../bench/results/{stem}.json).\n"
    )
    for table in row.page_tables()(results):
        title = str(table.title or "").split("; in brackets")[0]
        yield f"**{title[:1].upper()}{title[1:]}**\n" if title else ""
        yield f"{markdown(table)}\n"
    if row.page_draw() is not None:
        yield f"![{row.question}](plots/{stem}.svg)\n"


def draw(found: Mapping[str, Results]) -> None:
    """Draw the plots of the page."""
    for stem, results in found.items():
        drawing = BENCHMARKS[results.benchmark].page_draw()
        if drawing is not None:
            drawing(results, PLOTS / f"{stem}.svg")


def quote(text: str, found: Mapping[str, Results]) -> str:
    """Return a page's text with the figures that it quotes as the result files have them; pure.

    Raises:
        NoSuchFigure: No file has such a figure, or one round alone of two whose quotient is quoted.
    """

    def fill(quoted: re.Match[str]) -> str:
        begin, stem, subjects, measure, _, end = quoted.groups()
        figures = [_figure(found, stem, subject, measure) for subject in subjects.split(" / ")]
        text = number(figures[0].median, 2) if len(figures) == 1 else _quotient(*figures)
        if text is None:
            raise NoSuchFigure(f"{measure} of {subjects} in bench/results/{stem}.json is of one round alone")
        return f"{begin}{text}{end}"

    return QUOTED.sub(fill, text)


def _quotient(one: Spread, other: Spread) -> str | None:
    halves, others = one.halves(), other.halves()
    if halves is None or others is None:
        return None
    low, high = sorted((halves[0] / others[0], halves[1] / others[1]))
    if agree(low, high):
        return number(one.median / other.median, 2)
    return f"{number(low, 2)} to {number(high, 2)}"


def _figure(found: Mapping[str, Results], stem: str, subject: str, measure: str) -> Spread:
    try:
        return found[stem].subjects[subject].figures[measure]
    except KeyError:
        raise NoSuchFigure(f"no figure {measure} of {subject} is in bench/results/{stem}.json") from None


def quoting_pages() -> list[Path]:
    """Return the pages that may quote figures."""
    return [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").glob("*.md") if path != PAGE)]


def write_all() -> None:
    """Write the page, its plots, and the figures that other pages quote.

    Raises:
        BadResults: A result file cannot be read.
        NoSuchFigure: A page quotes what no result file has.
    """
    found = published()
    quoted = {path: quote(path.read_text(), found) for path in quoting_pages()}
    for path, text in quoted.items():
        if text != path.read_text():
            path.write_text(text)
    PAGE.write_text(render(found))
    draw(found)
