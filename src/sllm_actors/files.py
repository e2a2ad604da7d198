"""Small files of state: written all or nothing, read up to a limit, moved aside with a warning if damaged.

Everything here blocks on the disk: call it in a thread.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from glob import escape
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import cattrs
import structlog

log = structlog.get_logger("sllm_actors.files")

T = TypeVar("T")

DRAFT = ".new"
"""The end of the names of files that are being written; a process that is killed meanwhile leaves one."""

_MOST_64_BITS = 2**63


class FileProblem(Exception):
    """A file is there and cannot be used. The text is one sentence that names it and says why.

    Attributes:
        path: The file.
        reason: Why, as the end of a sentence that begins with the path: ``is empty``.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} {reason}")
        self.path = path
        self.reason = reason


def make_private_folder(path: Path) -> None:
    """Make a folder, and its parents that are missing, of mode 0700. A folder that exists keeps its mode.

    Raises:
        OSError: A folder cannot be made.
    """
    try:
        path.mkdir(mode=0o700)
    except FileNotFoundError:
        if path.parent == path:
            raise
        make_private_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError:
        if not path.is_dir():
            raise


def make_private_file(path: Path) -> None:
    """Make an empty file of mode 0600, for code that opens it by its name; one that exists gets this mode.

    Raises:
        OSError: The file cannot be made, or belongs to another user.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def write_whole(
    path: Path, content: str | bytes | Iterable[bytes], *, durable: bool, replace: bool = True
) -> None:
    """Write or replace a file of mode 0600: a reader finds the whole new content, or what was there before.

    Args:
        path: The file, in a folder that exists.
        content: A text is written in UTF-8; of several pieces, each is asked for when the one before is
            written.
        durable: Whether, once this has returned, the new content also survives a crash of the machine.
        replace: Whether to replace a file that exists.

    Raises:
        FileExistsError: ``replace`` is false, and the file exists.
        OSError: The file cannot be written; what was there before is as it was.
    """
    data = content.encode() if isinstance(content, str) else content
    pieces = [data] if isinstance(data, bytes) else data
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=DRAFT, dir=path.parent)
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            for piece in pieces:
                file.write(piece)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        if replace:
            draft.replace(path)
        else:
            path.hardlink_to(draft)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    if not replace:
        draft.unlink()
    if durable:
        _sync_folder(path.parent)


def put_in_place(draft: Path, path: Path) -> None:
    """Rename a finished file to its name in the same folder, in a way that survives a crash of the machine.

    Raises:
        OSError: It cannot be written or renamed.
    """
    descriptor = os.open(draft, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    draft.replace(path)
    _sync_folder(path.parent)


def remove_drafts(path: Path) -> None:
    """Remove what processes left that were killed while they wrote a file with ``write_whole``.

    Nobody may be writing the file. What cannot be removed is left.
    """
    with suppress(OSError):
        for draft in path.parent.glob(f".{escape(path.name[:100])}.*{DRAFT}"):
            with suppress(OSError):
                draft.unlink()


def write_record(path: Path, record: object, *, durable: bool) -> None:
    """Write an attrs instance as JSON, for ``read_record``. See ``write_whole``."""
    write_whole(path, json.dumps(cattrs.unstructure(record)) + "\n", durable=durable)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading. A FIFO is refused, because opening one waits until somebody writes.

    Raises:
        OSError: The file does not exist or cannot be read, or the path is something else, which ``strerror``
            names.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        kinds = {
            stat.S_IFIFO: "FIFO",
            stat.S_IFSOCK: "socket",
            stat.S_IFCHR: "device",
            stat.S_IFBLK: "device",
        }
        kind = kinds.get(stat.S_IFMT(mode), "special file")
        raise OSError(errno.EINVAL, f"it is a {kind}, not a file", str(path))
    return path.open("rb")


def read_bytes(path: Path, limit: int) -> bytes | None:
    """Return the content of a file, or None where there is no file.

    Raises:
        FileProblem: The path is no regular file, cannot be read, or has more than ``limit`` bytes.
    """
    try:
        # O_NONBLOCK: opening a FIFO would wait until somebody writes.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise FileProblem(path, "is a directory" if stat.S_ISDIR(mode) else "is not a regular file")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                data = file.read(limit + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # ValueError: there is a NUL in the path
        raise FileProblem(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > limit:
        raise FileProblem(path, f"has more than {limit} bytes")
    return data


def read_text(path: Path, limit: int) -> str | None:
    """Return the text of a file, less a byte order mark at its beginning, or None where there is no file.

    Raises:
        FileProblem: See ``read_bytes``; or the file is not UTF-8.
    """
    data = read_bytes(path, limit)
    try:
        return None if data is None else data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FileProblem(path, "is not a text in UTF-8") from None


def read_json(path: Path, limit: int) -> Any:
    """Return the JSON value in a file, or None where there is no file.

    Raises:
        FileProblem: See ``read_text``; or the text is not JSON, or is only ``null``.
    """
    text = read_text(path, limit)
    if text is None:
        return None
    if not text.strip("\0 \t\r\n"):
        raise FileProblem(path, "is empty")
    try:
        value = json.loads(text)
    except RecursionError:
        raise FileProblem(path, "is nested too deep") from None
    except ValueError as error:
        raise FileProblem(path, f"is not JSON: {error}") from None
    if value is None:
        raise FileProblem(path, "holds nothing but null")
    return value


def read_record(path: Path, kind: type[T], limit: int) -> T | None:
    """Return the attrs instance that ``write_record`` wrote, or None where there is no file.

    Values are not converted: the text ``"3"`` is refused where a number belongs.

    Raises:
        FileProblem: See ``read_json``; or the JSON value does not fit ``kind``.
    """
    value = read_json(path, limit)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise FileProblem(path, f"holds something else than it should ({value!r:.40})")
    try:
        return make_record(value, kind)
    except ValueError as error:
        raise FileProblem(path, f"holds something else than it should ({error})") from None


def make_record(value: Any, kind: type[T]) -> T:
    """Make an attrs instance of a dictionary, as ``read_record`` does.

    Raises:
        ValueError: The value does not fit ``kind``; a short text says why.
    """
    try:
        return _strict.structure(value, kind)
    except Exception as error:  # noqa: BLE001 - whatever it is made of, it is not what was written
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        why = f"lacks {error}" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
        raise ValueError(f"{why:.200}".replace("\n", " ")) from None


def put_aside(problem: FileProblem, meaning: str) -> None:
    """Move a damaged file out of the way, to the same name with ``.damaged`` behind it, and log a warning.

    Args:
        problem: The file, and what is wrong with it.
        meaning: What follows from going on without the file; for a person who reads the log.

    Raises:
        FileProblem: The file cannot be moved.
    """
    path = problem.path
    aside = path.with_name(f"{path.name}.damaged")
    try:
        try:
            path.replace(aside)
        except OSError:  # what was put aside before is in the way
            aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.damaged")
            path.replace(aside)
    except FileNotFoundError:  # somebody else has just done it
        return
    except OSError as error:
        raise FileProblem(
            path, f"{problem.reason}, and cannot be moved aside ({error.strerror}): move it away"
        ) from None
    log.warning("file.damaged", path=str(path), reason=problem.reason, kept_as=aside.name, meaning=meaning)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _hook(kind: type, *also: type) -> None:
    """Let ``_strict`` take values of ``kind``, and of the types ``also``, and refuse all others."""

    def structure(value: Any, _: type) -> Any:
        # A bool is an int to isinstance, and none here.
        if isinstance(value, bool) is not (kind is bool) or not isinstance(value, (kind, *also)):
            raise TypeError(f"{value!r:.60} is no {kind.__name__}")
        if isinstance(value, int) and not -_MOST_64_BITS <= value < _MOST_64_BITS:
            raise ValueError(f"{value!r:.20}... is too large")
        if isinstance(value, str):
            value.encode()  # raises for half of a surrogate pair, which could not be written anywhere
        return kind(value)

    _strict.register_structure_hook(kind, structure)


_strict = cattrs.Converter()
_hook(bool)
_hook(int)
_hook(float, int)
_hook(str)
