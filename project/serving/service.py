"""The ASGI application: predictions are answered directly, everything else by FastAPI."""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import onnxruntime

from project.serving.limits import Limits
from project.serving.metrics import Counters
from project.serving.model import CSV, JSON, PARQUET, Model
from project.serving.request_error import RequestError, require

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Served(NamedTuple):
    """A model, and the application for all other routes, which describe it."""

    model: Model
    pages: App


class Service:
    """The ASGI application. `served` may be replaced at any time: a request finishes with the model it started with.

    Predictions bypass FastAPI's routing and validation, which take longer than most models.
    """

    def __init__(self, served: Served, limits: Limits, counters: Counters) -> None:
        self.served, self.limits, self.counters = served, limits, counters
        self._running = 0
        self._threads = ThreadPoolExecutor(os.cpu_count())

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        start = time.perf_counter()
        if scope["path"] != "/predict" or scope["method"] != "POST":
            await self.served.pages(scope, receive, self._counting(scope["path"], send))
            return
        rows, content_type = 0, JSON
        self._running += 1
        try:
            status = 200
            content_type, rows, body = await self._predict(dict(scope["headers"]), receive)
        except RequestError as error:
            status, body = error.status, error.body
        except asyncio.CancelledError:
            status, body = 503, RequestError(503, "the server is stopping").body
        except Exception:
            logging.exception("internal server error")
            status, body = 500, RequestError(500, "internal server error; see the server's log").body
        finally:
            self._running -= 1
        headers = [(b"content-type", content_type.encode()), (b"content-length", b"%d" % len(body))]
        headers += [(b"retry-after", b"1")] * (status == 503)
        self.counters.count_prediction(status, rows, time.perf_counter() - start)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _predict(self, headers: dict[bytes, bytes], receive: Receive) -> tuple[str, int, bytes]:
        """Return the content type of the answer, the number of rows, and the answer."""
        model = self.served.model
        most = self.limits.requests
        require(self._running <= most, 503, f"{most} requests are already being answered; try again")
        content_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")
        supported = content_type in (JSON, CSV, PARQUET) and headers.get(b"content-encoding") in (None, b"identity")
        require(supported, 415, f"send content-type {JSON}, {CSV} or {PARQUET}, without content-encoding")
        body = await self._body(receive, int(headers.get(b"content-length", b"0")))
        require(body != b"", 400, "the body is empty")
        if content_type == JSON and len(body) <= model.inline_bytes:
            return content_type, *model.answer(content_type, body)
        options = onnxruntime.RunOptions()
        options.log_severity_level = 4  # cancelling is not an error
        answer = asyncio.get_running_loop().run_in_executor(self._threads, model.answer, content_type, body, options)
        try:
            return content_type, *await asyncio.wait_for(answer, self.limits.seconds)
        except TimeoutError:
            raise RequestError(503, f"no answer within {self.limits.seconds:g} seconds; send fewer rows") from None
        finally:
            options.terminate = True  # free the thread if nobody waits for its answer any more

    async def _body(self, receive: Receive, length: int) -> bytes:
        """Receive a body of the length that its header declares, 0 if it declares none."""
        parts, size, more = list[bytes](), 0, True
        while max(size, length) <= self.limits.bytes:
            if not more:
                return b"".join(parts)
            message = await receive()
            # The client disconnects, or the server after the time limit.
            is_open = message["type"] != "http.disconnect"
            require(is_open, 408, "the connection was closed before the whole request arrived")
            part, more = message.get("body", b""), message.get("more_body", False)
            parts.append(part)
            size += len(part)
        raise RequestError(413, f"the body is longer than {self.limits.bytes} bytes; send fewer rows per request")

    def _counting(self, path: str, send: Send) -> Send:
        async def count_and_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.counters.count_response(path, message["status"])
            await send(message)

        return count_and_send
