"""How far a load is, at a terminal: a line of figures, and plots of text below it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sllm_actors.cli.terminal import is_interactive, moving_lines
from sllm_actors.loadgen.figures.figures import Figures
from sllm_actors.loadgen.figures.plot import bars
from sllm_actors.loadgen.generator import Generator

LABEL = 18
"""Columns in front of a plot."""


@contextmanager
def showing(
    figures: Figures, *, seconds: float | None, requests: int | None
) -> Iterator[Callable[[Generator], None]]:
    """Give a function that shows how far a run is; nothing where standard error is no terminal.

    Args:
        figures: Of the run.
        seconds: For how long requests are sent, where that is known.
        requests: How many there are, where that is known.
    """
    if not is_interactive(err=True):
        yield lambda _: None
        return
    aim = f" of {seconds:g}" if seconds is not None else ""
    of = f" of {requests}" if requests is not None else ""
    with moving_lines(err=True) as draw:

        def show(generator: Generator) -> None:
            first = (
                f"{generator.now:.0f} s{aim}: {figures.answered}{of} answered, {figures.failed} failed, "
                f"{generator.under_way} under way"
            )
            draw(lambda width: [first, *progress(figures, width)])

        yield show


def progress(figures: Figures, width: int) -> list[str]:
    """Return a line with a plot for each figure: of answers, of tokens, and of times to the first token."""
    timeline = figures.timeline
    pieces = timeline.pieces[:-1] or timeline.pieces  # the last one is not over
    if not pieces:
        return []
    last, room = pieces[-1], max(0, width - LABEL - 24)
    answers = [each.answered / timeline.width for each in pieces]
    tokens = [each.tokens / timeline.width for each in pieces]
    shown = [
        f"{'answers/s':<{LABEL}}{bars(answers, room)} {answers[-1]:.1f}",
        f"{'tokens/s':<{LABEL}}{bars(tokens, room)} {tokens[-1]:.0f}",
    ]
    if figures.ttft.count:
        waits = [(each.ttft_mean or 0.0) * 1000 for each in pieces]
        shown.append(
            f"{'first token, ms':<{LABEL}}{bars(waits, room)} {waits[-1]:.1f} "
            f"(max {last.ttft_most * 1000:.0f})"
        )
    return shown
