"""A TCP proxy on a host of the test bed: it delays what passes, resets it, or lets it go silent.

Run as a program, it listens on every port that it is given and passes each connection on to the same port of
the target. It takes commands, one a line: ``delay SECONDS``; ``reset``, which ends each connection with a
reset; ``stall``, from which on nothing passes, while connections stay and new ones are accepted; ``flow``,
which takes that back, but what was stalled stays so: each side believes in a connection that nobody serves.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import define, field

PIECE = 64 * 1024


@define
class Passing:
    """What passes now, and how."""

    target: str
    delay: float = 0.0
    flows: bool = True
    open: dict[asyncio.StreamWriter, bool] = field(factory=dict)
    """The connections, and whether each has gone silent for good."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on."""
        port = writer.get_extra_info("sockname")[1]
        try:
            there, back = await asyncio.open_connection(self.target, port)
        except OSError:
            writer.close()
            return
        self.open |= {writer: not self.flows, back: not self.flows}
        with suppress(OSError):
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
        for each in (writer, back):
            self.open.pop(each, None)
            each.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)
        loop = asyncio.get_running_loop()

        async def write() -> None:
            data = b"-"
            while data:
                at, data = await due.get()
                await asyncio.sleep(at - loop.time())
                if self.open.get(writer):
                    await asyncio.Event().wait()
                writer.write(data) if data else writer.write_eof()
                await writer.drain()

        async def read() -> None:
            data = b"-"
            while data:
                data = await reader.read(PIECE)
                await due.put((loop.time() + self.delay, data))

        await asyncio.gather(read(), write())

    def obey(self, command: str, *arguments: str) -> None:
        match command:
            case "delay":
                self.delay = float(arguments[0])
            case "reset":
                for each in list(self.open):
                    linger = struct.pack("ii", 1, 0)
                    with suppress(OSError):  # it has been closed just now
                        each.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    each.transport.abort()
            case "stall":
                self.flows = False
                self.open = dict.fromkeys(self.open, True)
            case "flow":
                self.flows = True


async def main(target: str, *ports: str) -> None:
    passing = Passing(target)
    for port in ports:
        await asyncio.start_server(passing.serve, "0.0.0.0", int(port))
    print("listening", flush=True)  # noqa: T201
    while line := await asyncio.to_thread(sys.stdin.readline):
        passing.obey(*line.split())
        print("done", flush=True)  # noqa: T201


@define
class Proxy:
    """A proxy that runs."""

    _process: subprocess.Popen[str]

    def tell(self, *command: object) -> None:
        """Give it a command, and wait until it has obeyed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(map(str, command)) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"


@contextmanager
def proxy_on(prefix: tuple[str, ...], target: str, *ports: int) -> Iterator[Proxy]:
    """Run a proxy on a host, of which ``prefix`` runs commands, to these ports of a target."""
    command = [*prefix, sys.executable, str(Path(__file__)), target, *map(str, ports)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        try:
            yield Proxy(process)
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
