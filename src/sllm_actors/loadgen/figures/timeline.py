"""What happened when: figures of a run in at most so many equal pieces of its time. Pure."""

from __future__ import annotations

from typing import Any, Final

from attrs import define

from .result import RequestResult

MOST: Final = 240
"""Pieces that a timeline has at most: where they are used up, each two of them become one."""


@define
class Piece:
    """What happened in one piece of the time; an answer counts where it ended."""

    due: int = 0
    answered: int = 0
    failed: int = 0
    tokens: int = 0
    ttft_sum: float = 0.0
    ttft_count: int = 0
    ttft_most: float = 0.0

    def add(self, other: Piece) -> None:
        """Count in what happened in another piece."""
        self.due += other.due
        self.answered += other.answered
        self.failed += other.failed
        self.tokens += other.tokens
        self.ttft_sum += other.ttft_sum
        self.ttft_count += other.ttft_count
        self.ttft_most = max(self.ttft_most, other.ttft_most)

    @property
    def ttft_mean(self) -> float | None:
        """The mean time to the first token in seconds, or None where there was none."""
        return self.ttft_sum / self.ttft_count if self.ttft_count else None


class Timeline:
    """The pieces of a run.

    Attributes:
        width: Seconds of a piece.
        pieces: From the beginning on.
    """

    def __init__(self) -> None:
        self.width = 1.0
        self.pieces: list[Piece] = []

    def record(self, result: RequestResult) -> None:
        """Count one request."""
        self._at(result.due).due += 1
        piece = self._at(result.ended)
        if result.good:
            piece.answered += 1
        elif result.error:
            piece.failed += 1
        piece.tokens += result.output_tokens
        if result.ttft is not None:
            piece.ttft_sum += result.ttft
            piece.ttft_count += 1
            piece.ttft_most = max(piece.ttft_most, result.ttft)

    def _at(self, at: float) -> Piece:
        while at >= self.width * MOST:
            self._widen()
        number = max(0, int(at / self.width))
        while len(self.pieces) <= number:
            self.pieces.append(Piece())
        return self.pieces[number]

    def _widen(self) -> None:
        self.width *= 2
        for first, second in zip(self.pieces[::2], self.pieces[1::2], strict=False):
            first.add(second)
        self.pieces = self.pieces[::2]

    def document(self) -> dict[str, Any]:
        """Return it for a result file: a list for each figure, an entry for each piece."""
        pieces = self.pieces
        return {
            "seconds": self.width,
            "arrived": [each.due for each in pieces],
            "answered": [each.answered for each in pieces],
            "failed": [each.failed for each in pieces],
            "output_tokens": [each.tokens for each in pieces],
            "ttft_mean_ms": [None if each.ttft_mean is None else each.ttft_mean * 1000 for each in pieces],
            "ttft_max_ms": [each.ttft_most * 1000 if each.ttft_count else None for each in pieces],
        }
