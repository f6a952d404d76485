"""Requests and their answers: predictions at once, everything else by the application behind."""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from project.serving.artifact import run_options
from project.serving.limits import Limits
from project.serving.metrics import Counters
from project.serving.model import CSV, JSON, PARQUET, Model
from project.serving.request_error import RequestError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

PREDICT = "/predict"


class Served(NamedTuple):
    """A model, and the pages that describe it."""

    model: Model
    pages: App


class Service:
    """The ASGI application. What `served` is may be replaced at any time: a request keeps what it began with.

    Predictions go past FastAPI's routing and validation, which take longer than most models.

    Args:
        served: What to serve.
        limits: What a request may ask for.
        counters: Where to count.
    """

    def __init__(self, served: Served, limits: Limits, counters: Counters) -> None:
        self.served, self.limits, self.counters = served, limits, counters
        self._busy = 0
        self._threads = ThreadPoolExecutor(os.cpu_count())

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        start = time.perf_counter()
        if scope["path"] != PREDICT or scope["method"] != "POST":
            await self.served.pages(scope, receive, self._counted(scope["path"], send))
            return
        rows, kind = 0, JSON
        self._busy += 1
        try:
            status = 200
            kind, rows, body = await self._predict(dict(scope["headers"]), receive)
        except RequestError as error:
            status, body = error.status, error.body
        except asyncio.CancelledError:
            status, body = 503, RequestError(503, "the server is stopping").body
        except Exception:
            logging.exception("a defect")
            status, body = 500, RequestError(500, "a defect of the server: its log has more").body
        finally:
            self._busy -= 1
        headers = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(body))]
        headers += [(b"retry-after", b"1")] * (status == 503)
        self.counters.predicted(status, rows, time.perf_counter() - start)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _predict(self, headers: dict[bytes, bytes], receive: Receive) -> tuple[str, int, bytes]:
        """Kind of the answer, number of rows, and the answer."""
        model = self.served.model
        if self._busy > self.limits.requests:
            raise RequestError(503, f"{self.limits.requests} requests are being answered: try again")
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")
        if kind not in (JSON, CSV, PARQUET) or headers.get(b"content-encoding", b"identity") != b"identity":
            raise RequestError(415, f"give content-type {JSON}, {CSV} or {PARQUET}, and no content-encoding")
        if int(headers.get(b"content-length", b"0")) > self.limits.bytes:
            raise self._too_large()
        body = await self._body(receive)
        if not body:
            raise RequestError(400, "the body is empty")
        if kind == JSON and len(body) <= model.inline_bytes:
            return kind, *model.answer(kind, body)
        options = run_options()
        answering = asyncio.get_running_loop().run_in_executor(self._threads, model.answer, kind, body, options)
        try:
            return kind, *await asyncio.wait_for(answering, self.limits.seconds)
        except TimeoutError:
            raise RequestError(503, f"no answer within {self.limits.seconds:g} seconds: give fewer rows") from None
        finally:
            options.terminate = True  # a thread that computes for nobody is one less for others

    async def _body(self, receive: Receive) -> bytes:
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":  # by the client, or by us when it took too long
                raise RequestError(408, "the connection ended before the request")
            part, more = message.get("body", b""), message.get("more_body", False)
            parts.append(part)
            size += len(part)
            if size > self.limits.bytes:
                raise self._too_large()
        return b"".join(parts)

    def _too_large(self) -> RequestError:
        return RequestError(413, f"the body is longer than {self.limits.bytes} bytes: give fewer rows at a time")

    def _counted(self, path: str, send: Send) -> Send:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.counters.answered(path, message["status"])
            await send(message)

        return counted
