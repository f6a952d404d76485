"""A connection that does not wait for ever."""

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from project.serving.request_error import RequestError


def with_timeout(seconds: float) -> type[asyncio.Protocol]:
    """uvicorn's protocol, which waits for a request without end, with an end to that: 408, and the connection closes.

    Args:
        seconds: A request takes at most, from its first byte, or from the start of the connection, to its last.
    """
    body = RequestError(408, f"the request did not come within {seconds:g} seconds").body
    answer = b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close\r\n"
    answer += b"content-length: %d\r\n\r\n%s" % (len(body), body)

    class TimeoutProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.end: asyncio.TimerHandle | None = self.loop.call_later(seconds, self.on_timeout)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is None or self.cycle.more_body or self.cycle.response_complete:
                self.end = self.end or self.loop.call_later(seconds, self.on_timeout)
            else:
                self.cancel_timeout()

        def connection_lost(self, exc: Exception | None) -> None:
            self.cancel_timeout()
            super().connection_lost(exc)

        def cancel_timeout(self) -> None:
            if self.end is not None:
                self.end.cancel()
                self.end = None

        def on_timeout(self) -> None:
            if not self.transport.is_closing():
                self.transport.write(answer)
                self.transport.close()

    return TimeoutProtocol
