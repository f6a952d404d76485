"""Clients that ask a server as fast as it answers: `python -m benchmarks.load PORT CONNECTIONS SECONDS BODY`."""

import asyncio
import sys
import time

MAX_REQUESTS = 1_000_000


class Client(asyncio.Protocol):
    """One connection, kept alive, that asks again when it is answered.

    Attributes:
        answers: How many it has had.
    """

    def __init__(self, request: bytes, end: float, done: asyncio.Future[None]) -> None:
        self.request, self.end, self.done, self.answers, self.received = request, end, done, 0, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """Ask again once the answer is whole."""
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found:
            return
        _, _, length = head.lower().partition(b"content-length: ")
        if len(body) < int(length.partition(b"\r")[0]):
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self.done.set_exception(RuntimeError(self.received.decode()))
            return
        self.answers, self.received = self.answers + 1, b""
        if time.perf_counter() < self.end and self.answers < MAX_REQUESTS:
            self.transport.write(self.request)
        else:
            self.transport.close()
            self.done.set_result(None)


async def requests_per_second(port: int, connections: int, seconds: float, body: bytes) -> float:
    """Answers a second to a body that is sent over so many connections at once."""
    loop, start = asyncio.get_running_loop(), time.perf_counter()
    head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    request, clients = head.encode() + b"\r\n\r\n" + body, []
    for _ in range(connections):
        client = Client(request, start + seconds, loop.create_future())
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
        clients.append(client)
    await asyncio.gather(*(client.done for client in clients))
    return sum(client.answers for client in clients) / (time.perf_counter() - start)


if __name__ == "__main__":
    port, connections, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    print(asyncio.run(requests_per_second(port, connections, seconds, sys.stdin.buffer.read())))
