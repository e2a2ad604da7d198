"""Reading an answer of the gateway."""

from __future__ import annotations

from typing import Any, TypeVar

import cattrs

from sllm_actors.cli.errors import CommandFailure

T = TypeVar("T")


def read(kind: type[T], answer: Any) -> T:
    """Return the JSON value of an answer as an object of the class ``kind``.

    Raises:
        CommandFailure: The value does not have the shape of ``kind``.
    """
    try:
        return cattrs.structure(answer, kind)
    except (cattrs.BaseValidationError, ValueError, TypeError, KeyError, AttributeError):
        raise CommandFailure(
            f"the gateway's answer is not a {kind.__name__}: is it an sllm gateway, and of this version?"
        ) from None
