"""Reads the fields of a ``multipart/form-data`` body that a gateway must know, and changes them. Pure.

Files are not decoded and not kept: such a body is mostly sound or an image, which only the engine must read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from msgspec import UNSET
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MAX_BOUNDARY_LENGTH, MultipartParser, parse_options_header

from sllm_actors.gateway import errors

from .members import Member, changed
from .request_fields import RequestFields

MOST_PARTS = 1000
"""How many fields and files a form may have."""

LONGEST_VALUE = 8192
"""Bytes that a field may have that is read here."""

_READ = frozenset(["model", "backend", "stream", "user", "priority", "keep_alive", "n"])
_YES = frozenset(["true", "1", "yes", "y", "on", "t"])  # as engines read them
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,15}")


def is_form(content_type: bytes | None) -> bool:
    """Say whether a body with this ``Content-Type`` is such a form."""
    return content_type is not None and content_type[:19].lower() == b"multipart/form-data"


class FormReader:
    """Takes the bytes of one form, in any pieces.

    Args:
        content_type: The header ``Content-Type``, for which ``is_form`` is true.

    Attributes:
        values: The values of the fields that are read, as far as they have come; of a field that comes twice
            the last one.
        parts: Of each part that has ended: its name (``""`` for a file), where its headers begin, and how
            many bytes its value has.
        in_file: Whether the part that is being read is a file.

    Raises:
        ApiError: The header names no boundary (400).
    """

    def __init__(self, content_type: bytes) -> None:
        self.values: dict[str, str] = {}
        self.parts: list[tuple[str, int, int]] = []
        self.in_file = False
        self._seen = 0  # bytes before those that are being read
        self._start = -1  # of the part that is being read, and so on
        self._name = ""
        self._size = 0
        self._field = self._header = self._value = b""
        self._whole = False
        boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
        if not 0 < len(boundary) <= MAX_BOUNDARY_LENGTH:
            raise errors.bad_form("its Content-Type names no boundary: leave it to the HTTP library")
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )
        self._parser.logger.disabled = True  # it is the client who hears what is wrong

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            ApiError: They are not those of such a form, or it has too many parts or too long a value (400).
        """
        try:
            self._parser.write(data)
        except FormParserError:
            raise errors.bad_form("it does not have the boundary that its Content-Type names") from None
        self._seen += len(data)

    def end(self) -> None:
        """Take the end of the form.

        Raises:
            ApiError: It was cut off (400).
        """
        if not self._whole:
            raise errors.bad_form("it ends before its last boundary: send it whole")

    @property
    def is_routable(self) -> bool:
        """Whether a file is being read, and the model was named before it."""
        return self.in_file and bool(self.values.get("model"))

    def fields(self) -> RequestFields:
        """Return what was read. It is all there once the form has ended; a ``model`` may be known before.

        Raises:
            ApiError: There is no model (400).
        """
        found = self.values.get
        model = found("model")
        if not model:
            raise errors.model_required()
        return RequestFields(
            model=model,
            backend=found("backend"),
            stream=found("stream", "").lower() in _YES,
            user=found("user"),
            priority=_number(found("priority", "")),
            keep_alive=found("keep_alive", UNSET),
            n=_number(found("n", "")),
        )

    def _on_part_begin(self) -> None:
        if len(self.parts) == MOST_PARTS:
            raise errors.bad_form(f"it may have at most {MOST_PARTS} parts")
        self._start, self._size, self._value = -1, 0, b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        if self._start < 0:
            self._start, self._name = self._seen + start, ""
        self._field += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            options = parse_options_header(self._header)[1]
            self._name = "" if b"filename" in options else options.get(b"name", b"").decode("latin-1")
        self._field = self._header = b""

    def _on_headers_finished(self) -> None:
        if self._start < 0:
            raise errors.bad_form("a part of it has no name")
        self.in_file = not self._name

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if self._name in _READ:
            if self._size > LONGEST_VALUE:
                raise errors.bad_form(f"its field {self._name} may have at most {LONGEST_VALUE} bytes")
            self._value += data[start:end]

    def _on_part_end(self) -> None:
        self.in_file = False
        self.parts.append((self._name, self._start, self._size))
        if self._name in _READ:
            try:
                self.values[self._name] = self._value.decode()
            except UnicodeDecodeError:
                raise errors.bad_form(f"its field {self._name} is not in UTF-8") from None

    def _on_end(self) -> None:
        self._whole = True


def read_form(body: bytes, content_type: bytes) -> FormReader:
    """Read a whole form; see ``FormReader``.

    Raises:
        ApiError: The body is no such form (400).
    """
    reader = FormReader(content_type)
    reader.feed(body)
    reader.end()
    return reader


def with_form_changes(
    body: bytes, form: FormReader, change: Mapping[str, str], drop: Collection[str] = ()
) -> bytes:
    """Return a whole form with other values for some of its fields; every other byte stays as it came.

    Args:
        body: The form.
        form: What has read it to its end.
        change: New values by name; a field that the form has not is not added.
        drop: Names of fields that are left out, unless they are in ``change``.
    """
    members = []
    for name, start, size in form.parts:
        value = body.index(b"\r\n\r\n", start) + 4
        members.append(Member(name, start, value, value + size))
    if not members:
        return body
    new = {name: value.encode() for name, value in change.items()}
    view = memoryview(body)
    return b"".join([view[: members[0].start], *changed(body, members, new, drop), view[members[-1].end :]])


def _number(text: str) -> int | None:
    return int(text) if _WHOLE_NUMBER.fullmatch(text.strip()) else None
