"""The names under which ``ps`` and ``top`` show the processes of sllm."""

from __future__ import annotations

import os

import setproctitle

_WITHIN_ARGUMENTS = "SPT_NOENV"


def set_title(title: str) -> None:
    """Let ``ps`` show this text for this process, as far as there is room where its arguments were.

    Its environment stays readable in ``/proc``: setproctitle would write over it too, unless told otherwise.
    """
    before = os.environ.get(_WITHIN_ARGUMENTS)
    os.environ[_WITHIN_ARGUMENTS] = "1"
    try:
        setproctitle.setproctitle("".join(each if each.isprintable() else "?" for each in title))
    finally:
        if before is None:
            del os.environ[_WITHIN_ARGUMENTS]
        else:
            os.environ[_WITHIN_ARGUMENTS] = before
