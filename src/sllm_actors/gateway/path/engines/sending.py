"""Sends a form to one engine while it comes from the client, as fast as the engine reads."""

from __future__ import annotations

from collections.abc import Callable

from sllm_actors.api_error import ApiError
from sllm_actors.gateway.bodies.form_passing import FormPassing
from sllm_actors.gateway.path.clients.http1 import LAST_CHUNK, chunk
from sllm_actors.gateway.path.clients.upload import Upload

from .caller import Caller
from .connection import EngineConnection


class Sending:
    """See the module. ``begin`` is to be called once.

    Args:
        upload: The form.
        passing: Makes what this engine gets of it.
        connection: A new connection to the engine.
        progressed: Called when the engine has taken something.
        failed: Called, once, if the rest of the form cannot be passed on.
    """

    __slots__ = ("_chunked", "_connection", "_failed", "_over", "_passing", "_progressed", "_upload")

    def __init__(
        self,
        upload: Upload,
        passing: FormPassing,
        connection: EngineConnection,
        *,
        progressed: Callable[[], None],
        failed: Callable[[ApiError], None],
    ) -> None:
        self._upload = upload
        self._passing = passing
        self._connection = connection
        self._progressed = progressed
        self._failed = failed
        self._chunked = upload.length is None
        self._over = False

    def begin(self, caller: Caller, head_for: Callable[[int | None], bytes]) -> None:
        """Send the head, and what there is of the form.

        Args:
            caller: Hears the answer.
            head_for: Returns the head for a body of so many bytes; for None, its length is not known.
        """
        upload, passing = self._upload, self._passing
        upload.pour_into(self)
        pieces = []
        # What the gateway changes of it has come when it can be routed, as it could be when it was begun.
        while not passing.is_routable and (piece := upload.take()) is not None:
            pieces.append(passing.pass_on(piece))
        grown = passing.settle()
        head = head_for(None if upload.length is None else upload.length + grown)
        self._connection.send_while_it_comes(caller, head, self)
        self._write(b"".join(pieces))
        self.more()

    def more(self) -> None:
        """See ``Sink``; the connection calls it, too, when it takes more."""
        connection, upload = self._connection, self._upload
        try:
            while not self._over and connection.takes_more:
                piece = upload.take()
                if piece is None:
                    if upload.ended:
                        self._write(self._passing.last(filled=not self._chunked))
                        self._end()
                    break
                self._write(self._passing.pass_on(piece))
                self._progressed()
        except ApiError as error:
            self.stop()
            self._failed(error)
            return
        upload.regulate()

    def stop(self) -> None:
        """Send no more: the engine has answered, or the connection is lost, or nobody wants an answer."""
        self._over = True
        self._upload.leave(self)

    def _write(self, data: bytes) -> None:
        if data:
            self._connection.write_body(chunk(data) if self._chunked else data)

    def _end(self) -> None:
        if self._chunked:
            self._connection.write_body(LAST_CHUNK)
        self._over = True
        self._connection.body_sent()
