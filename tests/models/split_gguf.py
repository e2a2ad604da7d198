"""Splits a GGUF file into several, as llama.cpp's own tool does: to serve a real model in parts."""

from __future__ import annotations

import struct
from pathlib import Path

ALIGNMENT = 32
ARRAY, TEXT = 9, 8
WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of the values of each kind of metadata."""


def split_gguf(file: Path, folder: Path, stem: str, count: int) -> list[Path]:
    """Write ``STEM-0000N-of-0000COUNT.gguf`` with the tensors of a file, in order; return the paths."""
    data = file.read_bytes()
    _, version, tensors, pairs = struct.unpack_from("<4sIQQ", data)
    begin = 24
    at = begin
    for _ in range(pairs):
        at = _after_text(data, at)
        at = _after_value(data, at + 4, struct.unpack_from("<I", data, at)[0])
    metadata = data[begin:at]
    entries: list[tuple[int, bytes]] = []
    for _ in range(tensors):
        start, at = at, _after_text(data, at)
        at += 4 + 8 * struct.unpack_from("<I", data, at)[0] + 4
        entries.append((struct.unpack_from("<Q", data, at)[0], data[start:at]))
        at += 8
    weights = data[_aligned(at) :]
    entries.sort()
    ends = [offset for offset, _ in entries[1:]] + [len(weights)]
    each = -(-tensors // count)
    paths = []
    for number in range(count):
        chosen = range(number * each, min((number + 1) * each, tensors))
        base = entries[chosen[0]][0]
        head = struct.pack("<4sIQQ", b"GGUF", version, len(chosen), 3 + (0 if number else pairs))
        head += b"" if number else metadata
        head += _pair("split.no", 2, "H", number) + _pair("split.count", 2, "H", count)
        head += _pair("split.tensors.count", 5, "i", tensors)
        head += b"".join(entries[i][1] + struct.pack("<Q", entries[i][0] - base) for i in chosen)
        path = folder / f"{stem}-{number + 1:05}-of-{count:05}.gguf"
        path.write_bytes(head.ljust(_aligned(len(head)), b"\0") + weights[base : ends[chosen[-1]]])
        paths.append(path)
    return paths


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _pair(name: str, kind: int, form: str, value: int) -> bytes:
    return struct.pack("<Q", len(name)) + name.encode() + struct.pack(f"<I{form}", kind, value)


def _after_text(data: bytes, at: int) -> int:
    return at + 8 + int(struct.unpack_from("<Q", data, at)[0])


def _after_value(data: bytes, at: int, kind: int) -> int:
    if kind == TEXT:
        return _after_text(data, at)
    if kind != ARRAY:
        return at + WIDTHS[kind]
    inner, count = struct.unpack_from("<IQ", data, at)
    at += 12
    if inner != TEXT:
        return at + WIDTHS[inner] * int(count)
    for _ in range(count):
        at = _after_text(data, at)
    return at
