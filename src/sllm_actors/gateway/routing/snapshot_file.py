"""The last routing table on disk: a gateway that starts while the head is away begins with it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cattrs

from sllm_actors.serving.messages import RoutingTable

LARGEST = 64 * 2**20
VERSION = 1


def save_table(path: Path, table: RoutingTable) -> None:
    """Replace the file, whole or not at all, readable by its owner only. Blocks.

    Raises:
        OSError: It could not be written; the old file is as it was.
    """
    content = json.dumps({"version": VERSION, "table": cattrs.unstructure(table)}).encode()
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def load_table(path: Path) -> RoutingTable | None:
    """Return the table in the file, or None where there is none. Blocks.

    Raises:
        ValueError: It is not one that this version can read.
        OSError: It could not be read.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError:
        return None
    if len(content) > LARGEST:
        raise ValueError(f"{path} is larger than {LARGEST} bytes")
    try:
        document = json.loads(content)
        if document["version"] != VERSION:
            raise ValueError(f"{path} is of version {document['version']}, not {VERSION}")
        return cattrs.structure(document["table"], RoutingTable)
    except (cattrs.BaseValidationError, KeyError, TypeError, RecursionError, AttributeError) as error:
        raise ValueError(f"{path} is not a routing table: {type(error).__name__}") from None
