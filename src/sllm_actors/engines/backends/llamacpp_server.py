"""The program of a llamacpp engine: llama.cpp's own HTTP server (package xllamacpp) on a unix socket.

It is run by path with one argument, a JSON object: ``model`` (path), ``alias`` (the model's name for
clients), ``socket`` (path), and ``parameters``: values of attributes of ``xllamacpp.CommonParams``, by name,
where a dot names an attribute of an attribute. It imports nothing of sllm_actors, so that it runs under any
interpreter that has xllamacpp. It has no state to save: SIGTERM just ends it.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from typing import Any


def fail(sentence: str) -> None:
    """Print why the server cannot start, and end the process without waiting for native threads."""
    sys.stderr.write(sentence + "\n")
    sys.stderr.flush()
    os._exit(1)


def set_parameter(target: Any, name: str, value: object) -> None:
    """Set one attribute of the parameters, and check that it then has that value.

    A text for an attribute that is a set or list of texts becomes its only item: xllamacpp itself would make
    a set of its letters.

    Args:
        target: The ``CommonParams``.
        name: The attribute's name; a dot names an attribute of an attribute.
        value: A JSON value.

    Raises:
        AttributeError: There is no attribute of that name.
        TypeError, ValueError, OverflowError: The attribute does not take this value, or not as it is.
    """
    *parts, last = name.split(".")
    for part in parts:
        target = getattr(target, part)
    before = getattr(target, last)
    if isinstance(value, str) and isinstance(before, set | list):
        value = type(before)([value])
    setattr(target, last, value)
    taken = getattr(target, last)
    close = (
        isinstance(taken, float)
        and isinstance(value, int | float)
        and math.isclose(taken, value, rel_tol=1e-6)
    )
    if taken != value and not close:  # its floats have 32 bits
        raise ValueError(f"it is taken for {taken!r}")


def main() -> None:
    """Serve until a signal ends the process."""
    launch = json.loads(sys.argv[1])
    try:
        import xllamacpp
    except ImportError as error:
        fail(f"llama.cpp is not installed for {sys.executable} ({error}): pip install xllamacpp")
    params = xllamacpp.CommonParams()
    ours = {"model.path": launch["model"], "model_alias": launch["alias"], "hostnames": launch["socket"]}
    for name, value in {**ours, **launch["parameters"]}.items():
        try:
            if name == "pooling_type":
                value = getattr(xllamacpp.llama_pooling_type, f"LLAMA_POOLING_TYPE_{str(value).upper()}")
            set_parameter(params, name, value)
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            fail(f"llama.cpp takes no setting {name} = {value!r} ({error})")
    try:
        server = xllamacpp.Server(params)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer to "why does it not start"
        fail(f"llama.cpp cannot serve {launch['model']}: {error}")
    sys.stdout.write(f"serving on {server.listening_address}\n")
    sys.stdout.flush()
    while True:
        signal.pause()


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of this file, whose modules are none of the engine's
    main()
