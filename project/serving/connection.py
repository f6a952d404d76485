"""HTTP connections with a time limit."""

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from project.serving.request_error import RequestError


def with_timeout(seconds: float) -> type[asyncio.Protocol]:
    """Create uvicorn's protocol with a limit on the time that a request takes to arrive, which uvicorn does not have.

    A request whose last byte arrives more than `seconds` after its first, or after the start of the connection, is
    answered with 408, and its connection is closed.
    """
    body = RequestError(408, f"the request did not arrive within {seconds:g} seconds").body
    response = b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close\r\n"
    response += b"content-length: %d\r\n\r\n%s" % (len(body), body)

    class TimeoutProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.timer: asyncio.TimerHandle | None = self.loop.call_later(seconds, self.on_timeout)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is None or self.cycle.more_body or self.cycle.response_complete:
                self.timer = self.timer or self.loop.call_later(seconds, self.on_timeout)
            else:
                self.cancel_timeout()

        def connection_lost(self, exc: Exception | None) -> None:
            self.cancel_timeout()
            super().connection_lost(exc)

        def cancel_timeout(self) -> None:
            if self.timer is not None:
                self.timer.cancel()
                self.timer = None

        def on_timeout(self) -> None:
            if not self.transport.is_closing():
                self.transport.write(response)
                self.transport.close()

    return TimeoutProtocol
