"""Load generator: `python -m benchmarks.load PORT CONNECTIONS SECONDS PATH < BODY`.

Each connection sends its next request as soon as it has the response to the last one.
"""

import asyncio
import sys
import time

MAX_REQUESTS = 1_000_000


class Client(asyncio.Protocol):
    """One keep-alive connection that sends a request, waits for the response, and repeats.

    Attributes:
        responses: Number of responses so far.
    """

    def __init__(self, request: bytes, end: float, done: asyncio.Future[None]) -> None:
        self.request, self.end, self.done, self.responses, self.received = request, end, done, 0, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """Send the next request once the response is complete."""
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
        self.responses, self.received = self.responses + 1, b""
        if time.perf_counter() < self.end and self.responses < MAX_REQUESTS:
            self.transport.write(self.request)
        else:
            self.transport.close()
            self.done.set_result(None)


async def requests_per_second(
    port: int, connections: int, seconds: float, body: bytes, path: str = "/predict"
) -> float:
    """Send requests over several connections at once, and return the responses per second."""
    loop, start = asyncio.get_running_loop(), time.perf_counter()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    request, clients = head.encode() + b"\r\n\r\n" + body, []
    for _ in range(connections):
        client = Client(request, start + seconds, loop.create_future())
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
        clients.append(client)
    await asyncio.gather(*(client.done for client in clients))
    return sum(client.responses for client in clients) / (time.perf_counter() - start)


if __name__ == "__main__":
    port, connections, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    print(asyncio.run(requests_per_second(port, connections, seconds, sys.stdin.buffer.read(), sys.argv[4])))
