"""HTTP connections with limits on slow clients, and on those that send too much or do not read their answers."""

import asyncio
from itertools import chain
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from project.serving.limits import Limits
from project.serving.request_error import RequestError

HEAD_BYTES = 16_384  # limit on a request's first line and headers, and on other bytes between two parts of a body
MAX_PIPELINED = 16
# A client that takes longer than this must send so many bytes per second on average.
GRACE_SECONDS, BYTES_PER_SECOND = 10.0, 100
CLOCK_SECONDS = 0.01  # a timer may end a little early
REASONS = {408: "Request Timeout", 431: "Request Header Fields Too Large", 503: "Service Unavailable"}


class Clients:
    """The open connections of a server, with limits on their number and on the memory that they hold.

    Attributes:
        waiting: Connections that wait for their client to send something, those that have waited longest first.
        reading: Connections that wait for their client to read an answer, those that have waited longest first.
        body_bytes: Bytes of bodies that are not answered yet.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.waiting: dict[Connection, None] = {}
        self.reading: dict[Connection, None] = {}
        self.body_bytes = 0

    def drop_oldest(self, count: int = 1) -> None:
        """Close the connections that have waited longest for their client.

        Connections without any answer so far are closed first: a client that uses a connection again is a regular one.
        """
        for connection in sorted(self.waiting, key=lambda connection: connection.is_used)[:count]:
            connection.refuse(503, "the server has too many connections; try again")

    def limit_bodies(self, newest: "Connection") -> None:
        """Close the connections whose bodies arrive most slowly until all bodies are within the memory limit."""
        arriving = [connection for connection in self.waiting if connection.body_bytes]
        for connection in (*sorted(arriving, key=Connection.rate), newest):
            if self.body_bytes <= self.limits.held_bytes:
                break
            connection.refuse(503, "the server is receiving too much; try again")

    def limit_answers(self) -> None:
        """Close the connections that have waited longest for their client to read, until answers are within the limit.

        The latest answer is kept even if it is larger than the limit, because it is in memory already.
        """
        sizes = {connection: connection.transport.get_write_buffer_size() for connection in self.reading}
        excess = sum(sizes.values()) - self.limits.held_bytes
        for connection in list(sizes)[:-1]:
            if excess <= 0:
                break
            connection.transport.abort()
            excess -= sizes[connection]


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with limits on time, headers, connections and memory, which uvicorn does not have.

    A request has to arrive within `limits.seconds` after its first byte, or after the start of the connection. Until it
    has arrived, it does not count towards `limits.requests`.
    """

    def __init__(self, *args: Any, clients: Clients, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.clients, self.limits = clients, clients.limits
        self.timer: asyncio.TimerHandle | None = None
        self.reading_timer: asyncio.TimerHandle | None = None
        self.started = self.loop.time()  # when the first byte of a request arrived
        self.received = 0  # bytes since then
        self.framing = 0  # bytes since the start of a request, or since the last byte of its body
        self.body_bytes = 0
        self.is_used = False  # whether a request was answered

    def connection_made(self, transport: Any) -> None:
        """Start to wait for a request; with too many connections, close the oldest one."""
        super().connection_made(transport)
        self.wait()
        if len(self.connections) > self.limits.connections:
            self.clients.drop_oldest()

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived."""
        if self.timer is None:
            self.started, self.received = self.loop.time(), 0
        self.framing += len(data)
        self.received += len(data)
        super().data_received(data)
        if self.framing > HEAD_BYTES:
            self.refuse(431, f"the headers are longer than {HEAD_BYTES} bytes")
        is_incomplete = self.cycle is None or self.cycle.more_body or self.cycle.response_complete
        if is_incomplete and not self.transport.is_closing():
            self.wait()
        else:
            self.stop_waiting()

    def on_headers_complete(self) -> None:
        """Limit the requests that are sent before the first is answered, of which uvicorn accepts any number."""
        if len(self.pipeline) >= MAX_PIPELINED or sum(map(len, chain.from_iterable(self.headers))) > HEAD_BYTES:
            raise ValueError("too many requests at once, or too long a head")  # uvicorn answers with 400
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Count the bytes of a body."""
        self.framing = 0
        super().on_body(body)
        if self.cycle.response_complete or self.transport.is_closing():
            return  # the request was answered before its body had arrived
        self.body_bytes += len(body)
        self.clients.body_bytes += len(body)
        if self.clients.body_bytes > self.limits.held_bytes:
            self.clients.limit_bodies(self)

    def on_message_complete(self) -> None:
        """Start to count the bytes of the next request's headers."""
        self.framing = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the client to read the rest of the last answer."""
        self.release_body()
        self.is_used = True
        super().on_response_complete()
        if self.transport.is_closing():
            self.abort_later()
        elif not self.pipeline:
            self.clients.waiting[self] = None

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection without a next request."""
        super().timeout_keep_alive_handler()
        self.abort_later()

    def pause_writing(self) -> None:
        """Wait for the client to read an answer."""
        super().pause_writing()
        self.clients.reading[self] = None
        self.reading_timer = self.loop.call_later(self.limits.seconds, self.transport.abort)
        self.clients.limit_answers()

    def resume_writing(self) -> None:
        """Stop waiting once the client has read most of an answer."""
        super().resume_writing()
        self.stop_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release what the connection held."""
        self.stop_waiting()
        self.stop_reading()
        self.release_body()
        super().connection_lost(exc)

    def wait(self) -> None:
        """Start the timer for the rest of a request."""
        self.clients.waiting.setdefault(self)
        if self.timer is None:
            self.timer = self.loop.call_later(min(GRACE_SECONDS, self.limits.seconds), self.on_timeout)

    def stop_waiting(self) -> None:
        """Stop the timer: the client has sent its request."""
        self.clients.waiting.pop(self, None)
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def stop_reading(self) -> None:
        """Stop the timer: the client has read its answer."""
        self.clients.reading.pop(self, None)
        if self.reading_timer is not None:
            self.reading_timer.cancel()
            self.reading_timer = None

    def release_body(self) -> None:
        """Subtract the body from the bytes of all bodies."""
        self.clients.body_bytes -= self.body_bytes
        self.body_bytes = 0

    def rate(self) -> float:
        """Return bytes per second since the request began."""
        return self.received / max(self.loop.time() - self.started, 1e-9)

    def on_timeout(self) -> None:
        """Refuse a request that takes too long, or that arrives too slowly to be in time."""
        remaining = self.started + self.limits.seconds - self.loop.time()
        if remaining <= CLOCK_SECONDS:
            self.refuse(408, f"the request did not arrive within {self.limits.seconds:g} seconds")
        elif self.rate() < BYTES_PER_SECOND:
            self.refuse(408, f"the request arrives at less than {BYTES_PER_SECOND} bytes per second")
        else:
            self.timer = self.loop.call_later(min(GRACE_SECONDS, remaining), self.on_timeout)

    def refuse(self, status: int, problem: str) -> None:
        """Close the connection, with an answer to the request that it has begun."""
        has_begun = self.timer is not None  # between two requests, no timer runs
        self.stop_waiting()
        self.release_body()
        if self.transport.is_closing():
            return
        if has_begun:
            body = RequestError(status, problem).body
            head = f"HTTP/1.1 {status} {REASONS[status]}\r\ncontent-type: application/json\r\nconnection: close\r\n"
            self.transport.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        self.transport.close()
        self.abort_later()

    def abort_later(self) -> None:
        """Abort a closed connection after a time if its client does not read the rest of its answer."""
        if self.transport.get_write_buffer_size():
            self.loop.call_later(self.limits.seconds, self.transport.abort)
