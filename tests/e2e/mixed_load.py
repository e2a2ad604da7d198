"""A seeded mix of good, impatient, slow and broken clients, each of which says what it may get."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import sys
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from attrs import define, field, frozen

from .raw_http import Answer, Connection, head, post

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CHAT = "/v1/chat/completions"
BODY_LIMIT = 32 * 2**20  # the gateway's own
PATIENCE = 60.0  # seconds that any request of the mix may take


@frozen
class Refused:
    """A request that is to be refused, with this status; 0: the connection is to be closed."""

    data: bytes
    status: int


def refusals() -> Mapping[str, Refused]:
    """Return the requests that no server should serve, by what is wrong with them."""
    chat = chat_body("hello there", stream=False)
    large = {"host": "localhost", "content-type": "application/json"}
    chunked = head(f"POST {CHAT}", {**large, "transfer-encoding": "chunked"})
    cut = gzip.compress(chat)[:-9]
    return {
        "oversized, as it says": Refused(
            head(f"POST {CHAT}", {**large, "content-length": str(BODY_LIMIT + 1)}) + bytes(2**16), 413
        ),
        "oversized in chunks": Refused(chunked + b"100000\r\n%b\r\n" % bytes(2**20) * 33, 413),
        "cut gzip": Refused(post(CHAT, cut, {"content-encoding": "gzip"}), 400),
        "unknown coding": Refused(post(CHAT, chat, {"content-encoding": "br"}), 415),
        "broken JSON": Refused(post(CHAT, chat[:-1]), 400),
        "no model": Refused(post(CHAT, b"{}"), 400),
        "unknown model": Refused(post(CHAT, b'{"model": "nobody", "messages": []}'), 404),
        "no HTTP": Refused(b"\x16\x03\x01 what is this\r\n\r\n", 400),
        "bad length": Refused(head(f"POST {CHAT}", {"content-length": "ten"}), 400),
        "bad chunk": Refused(chunked + b"zz\r\n", 0),
    }


def chat_body(text: str, *, stream: bool) -> bytes:
    document = {"model": "m", "messages": [{"role": "user", "content": text}], "stream": stream}
    return json.dumps(document).encode()


@define
class Mix:
    """Clients of one gateway, which all choose at random what they do next.

    Attributes:
        outcomes: How often what was asked for came, by the kind of request and what came.
        mistakes: What nobody asked for.
        held: How many that were served had waited for a replica, as the gateway says.
        kills: When an engine was killed, by the loop's clock: streams may break then.
    """

    host: str
    port: int
    seed: int
    outcomes: Counter[str] = field(factory=Counter)
    mistakes: list[str] = field(factory=list)
    held: int = 0
    kills: list[float] = field(factory=list)

    async def run(self, clients: int, until: float) -> None:
        """Let so many clients ask until a time by the loop's clock."""
        async with asyncio.TaskGroup() as group:
            for number in range(clients):
                client = Client(self, number, random.Random(f"{self.seed} {number}"))
                group.create_task(client.run(until))


@define
class Client:
    """One client of the mix, which keeps its connection, or does not."""

    mix: Mix
    number: int
    chance: random.Random
    _used: Connection | None = None
    _kept: Connection | None = None
    _asked: int = 0
    _refusals: Mapping[str, Refused] = field(factory=refusals)

    async def run(self, until: float) -> None:
        """Ask again and again; every outcome is counted."""
        kinds: dict[str, tuple[int, Callable[[], Awaitable[str]]]] = {
            "plain": (30, lambda: self._plain({}, bytes)),
            "gzip": (6, lambda: self._plain({"content-encoding": "gzip"}, gzip.compress)),
            "zstd": (6, lambda: self._plain({"content-encoding": "zstd"}, zstd.compress)),
            "stream": (20, self._stream),
            "slow reader": (5, self._slow_reader),
            "leaves in its body": (6, self._leaves_in_its_body),
            "leaves while it waits": (8, self._leaves_while_it_waits),
            "leaves in a stream": (8, self._leaves_in_a_stream),
            "refused": (11, self._refused),
        }
        weights = [weight for weight, _ in kinds.values()]
        while asyncio.get_running_loop().time() < until:
            kind = self.chance.choices(list(kinds), weights)[0]
            try:
                async with asyncio.timeout(PATIENCE):
                    outcome = await kinds[kind][1]()
            except Exception:  # noqa: BLE001 - whatever it is, it is what the test looks for
                self.mix.mistakes.append(f"{kind}: {traceback.format_exc()}")
            else:
                self.mix.outcomes[f"{kind}: {outcome}"] += 1
            finally:
                if self._used is not None and self._used is not self._kept:
                    await self._used.abort()
        if self._kept is not None:
            await self._kept.abort()

    # ---- those that are to be served

    async def _plain(self, headers: Mapping[str, str], encode: Callable[[bytes], bytes]) -> str:
        text = self._text()
        connection = await self._connection()
        await connection.send(post(CHAT, encode(chat_body(text, stream=False)), headers))
        answer = await self._answer(connection)
        body = await answer.whole()
        assert answer.status == 200, body
        assert json.loads(body)["choices"][0]["message"]["content"] == text
        self._keep(connection, answer)
        return "answered"

    async def _stream(self) -> str:
        connection = await self._connection()
        return await self._read_stream(connection, self._text(), pause=0.0)

    async def _slow_reader(self) -> str:
        """Read so little at a time that all buffers between the engine and here fill up."""
        connection = await self._fresh(window=16 * 2**10)
        text = " ".join(f"{self._text(2)}-{'x' * 8192}" for _ in range(40))
        return await self._read_stream(connection, text, pause=0.02)

    async def _read_stream(self, connection: Connection, text: str, *, pause: float) -> str:
        began = asyncio.get_running_loop().time()
        await connection.send(post(CHAT, chat_body(text, stream=True)))
        answer = await self._answer(connection)
        assert answer.status == 200, await answer.whole()
        received = bytearray()
        async for piece in answer.pieces():
            received += piece
            if pause:
                await asyncio.sleep(pause)
        self._keep(connection, answer)
        events = [line[6:] for line in bytes(received).split(b"\n") if line.startswith(b"data: ")]
        documents: list[Any] = [json.loads(event) for event in events if event != b"[DONE]"]
        if any("error" in each for each in documents):
            assert any(began <= kill for kill in self.mix.kills), documents[-1]
            return "broken by a kill"
        assert events[-1] == b"[DONE]", events[-1]
        assert "".join(each["choices"][0]["delta"].get("content", "") for each in documents) == text
        return "done"

    # ---- those that leave

    async def _leaves_in_its_body(self) -> str:
        connection = await self._connection()
        request = post(CHAT, chat_body(self._text(2000), stream=False))
        await connection.send(request[: self.chance.randrange(1, len(request))])
        await self._leave(connection)
        return "left"

    async def _leaves_while_it_waits(self) -> str:
        connection = await self._connection()
        await connection.send(post(CHAT, chat_body(self._text(), stream=self.chance.random() < 0.5)))
        await self._leave(connection)
        return "left"

    async def _leaves_in_a_stream(self) -> str:
        connection = await self._connection()
        await connection.send(post(CHAT, chat_body(self._text(50), stream=True)))
        answer = await self._answer(connection)
        assert answer.status == 200, await answer.whole()
        async for _ in answer.pieces():
            if self.chance.random() < 0.1:
                break
        await self._leave(connection)
        return "left"

    async def _leave(self, connection: Connection) -> None:
        await asyncio.sleep(self.chance.choice([0.0, self.chance.uniform(0.0, 0.2)]))
        if self.chance.random() < 0.5:
            await connection.abort()
        else:
            await connection.close()

    # ---- those that are refused

    async def _refused(self) -> str:
        wrong = self.chance.choice(list(self._refusals))
        if wrong == "oversized in chunks" and self.chance.random() < 0.5:
            wrong = "oversized, as it says"
        request = self._refusals[wrong]
        connection = await self._connection()
        try:
            sending = asyncio.ensure_future(connection.send(request.data))
            try:
                if not request.status:
                    assert await connection.reader.read() == b""
                    return f"{wrong}: closed"
                answer = await connection.answer()
                body = await answer.whole()
                assert answer.status == request.status, (wrong, answer.status, body)
                assert json.loads(body)["error"]["message"], wrong
                return f"{wrong}: {answer.status}"
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
        except ConnectionError:
            assert not request.status, wrong
            return f"{wrong}: closed"

    # ---- inside

    def _text(self, words: int = 8) -> str:
        """Return words that nobody has sent before: a text that was with two killed engines is refused."""
        self._asked += 1
        return " ".join(
            [f"{self.number}.{self._asked}", *(self.chance.choice("abcdef") for _ in range(words))]
        )

    async def _connection(self) -> Connection:
        kept, self._kept = self._kept, None
        if kept is not None and self.chance.random() < 0.8:
            self._used = kept
            return kept
        if kept is not None:
            await kept.close()
        return await self._fresh()

    async def _fresh(self, window: int | None = None) -> Connection:
        self._used = await Connection.open(self.mix.host, self.mix.port, window=window)
        return self._used

    async def _answer(self, connection: Connection) -> Answer:
        """Wait for the head of an answer, and count it where the request was held."""
        answer = await connection.answer()
        if "hold;" in answer.headers.get("server-timing", ""):
            self.mix.held += 1
        return answer

    def _keep(self, connection: Connection, answer: Answer) -> None:
        if self._kept is None and answer.headers.get("connection") != "close":
            self._kept = connection
