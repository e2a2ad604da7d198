"""Passes a ``multipart/form-data`` body on while it comes, with some of its fields changed. Pure.

What is passed on is what ``with_form_changes`` makes of the whole form, in pieces. The difference is what can
be done about fields that come late; see ``FormPassing.settle``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sllm_actors.gateway import errors

from .form import FormReader

FIXED = frozenset(["model", "backend"])
"""Fields that decide where a form goes, so that they cannot change once it is on its way."""

LATE = FIXED | {"keep_alive"}
"""Fields that engines do not get if they come once the form is on its way."""


class FormPassing(FormReader):
    """Takes the bytes of one form, in any pieces, and returns those to pass on.

    Args:
        content_type: See ``FormReader``.
        change: New values by the names of fields; a field that the form has not is not added.
        drop: Names of fields that are left out, unless they are in ``change``.
    """

    def __init__(self, content_type: bytes, change: Mapping[str, str], drop: Collection[str] = ()) -> None:
        super().__init__(content_type)
        self._new = {name: value.encode() for name, value in change.items()}
        self._drop = frozenset(drop) - self._new.keys()
        self._watched = self._drop | self._new.keys() | LATE
        self._raw = b""  # what is read just now, and what was read and is not dealt with; it begins at _base
        self._base = self._at = 0  # _at: how much of the form is dealt with
        self._passed = 0  # bytes that were passed on
        self._out: list[bytes | memoryview] = []
        self._value_at = -1  # where the value of the part begins that is read; -1 in its headers
        self._kept_one = self._dropped_one = False
        self._fixed: dict[str, str | None] | None = None
        self._settled = 0

    def pass_on(self, data: bytes) -> bytes:
        """Take the next bytes; return what can be passed on of all that have come.

        Held back are the bytes of a part that may be changed, and those that may be a boundary: a few KiB.

        Raises:
            ApiError: As ``feed``; or a field comes again, with another value, that decided where the form
                goes (400).
        """
        self._raw = self._raw + data if self._raw else data
        self.feed(data)
        if self._whole:
            self._emit(self._base + len(self._raw))
        elif self._value_at >= 0 and self._name not in self._watched:
            self._emit(self._value_at + self._size)
        self._raw = self._raw[self._at - self._base :]
        self._base = self._at
        out, self._out = b"".join(self._out), []
        self._passed += len(out)
        return out

    def settle(self) -> int:
        """Take note that the form is on its way; return by how many bytes it has grown so far.

        Its length does not change any more: what is dropped later is made up for by ``last``, and fields
        that might make it longer are dropped, or refused.
        """
        self._fixed = {name: self.values.get(name) for name in FIXED}
        self._settled = self._passed - self._at
        return self._settled

    def last(self, *, filled: bool) -> bytes:
        """Take the end of the form; return what follows on all that was passed on.

        Args:
            filled: Whether the length of the form was announced, so that spaces take the place of what was
                dropped since. They stand behind the last boundary, where nobody reads (RFC 2046, 5.1.1).

        Raises:
            ApiError: The form was cut off (400).
        """
        self.end()
        return b" " * (self._settled - (self._passed - self._at)) if filled else b""

    def _emit(self, end: int) -> None:
        if end > self._at:
            self._out.append(memoryview(self._raw)[self._at - self._base : end - self._base])
            self._at = end

    def _keep(self) -> None:
        """Take note that the part that is read is passed on."""
        if not self._kept_one and self._dropped_one:
            self._at = self._start  # behind the boundary of the part that was the first
        self._kept_one = True

    def _on_part_begin(self) -> None:
        super()._on_part_begin()
        self._value_at = -1

    def _on_headers_finished(self) -> None:
        super()._on_headers_finished()
        self._value_at = self._base + self._raw.index(b"\r\n\r\n", self._start - self._base) + 4
        if self._name not in self._watched:
            self._keep()

    def _on_part_end(self) -> None:
        super()._on_part_end()
        name, end = self._name, self._value_at + self._size
        if self._fixed is not None and name in FIXED and self.values[name] != self._fixed[name]:
            raise errors.bad_form(f"its field {name} has to stand before its files, and once")
        if name in self._drop or (self._fixed is not None and name in LATE):
            if not (self._kept_one or self._dropped_one):
                self._emit(self._start)
            self._dropped_one = True
            self._at = end
            return
        if name in self._watched:
            self._keep()
        if name in self._new:
            self._emit(self._value_at)
            self._out.append(self._new[name])
            self._at = end
        self._emit(end)
