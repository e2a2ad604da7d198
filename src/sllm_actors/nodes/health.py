"""A node's side of the private socket on which the launcher asks whether the node's loop still turns."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def answering(descriptor: int | None) -> Iterator[None]:
    """Answer each byte of the launcher with a byte, from the running asyncio loop.

    A loop that hangs answers nothing, as a process that is frozen does: the launcher then kills the process.

    Args:
        descriptor: The socket, which is closed at the end; None where the launcher asks nothing.
    """
    if descriptor is None:
        yield
        return
    loop = asyncio.get_running_loop()
    with socket.socket(fileno=descriptor) as launcher:
        launcher.setblocking(False)

        def answer() -> None:
            try:
                asked = launcher.recv(4096)
                if asked:
                    launcher.send(asked)
                else:
                    loop.remove_reader(launcher)  # the launcher has ended
            except BlockingIOError:
                pass
            except OSError:
                loop.remove_reader(launcher)

        loop.add_reader(launcher, answer)
        try:
            yield
        finally:
            loop.remove_reader(launcher)
