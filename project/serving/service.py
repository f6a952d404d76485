"""The ASGI application: predictions are answered directly, everything else by FastAPI."""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import onnxruntime

from project.serving.access import Access
from project.serving.limits import Limits
from project.serving.metrics import Counters
from project.serving.model import IMAGE_TYPES, JSON, Model
from project.serving.openai_reply import PREFIX, openai_error
from project.serving.request_error import RequestError, require
from project.serving.text_answer import Message, Receive, Send, answer_text
from project.serving.text_model import TextModel

App = Callable[[Message, Receive, Send], Awaitable[None]]

# Additional headers of answers, by status.
FIELDS = {401: [(b"www-authenticate", b"Bearer")], 503: [(b"retry-after", b"1")]}


class Served(NamedTuple):
    """A model, and the application for all other routes, which describe it."""

    model: Model | TextModel
    pages: App


class Service:
    """The ASGI application. `served` may be replaced at any time: a request finishes with the model it started with.

    Predictions bypass FastAPI's routing and validation, which take longer than most models.
    """

    def __init__(self, served: Served, limits: Limits, access: Access, counters: Counters) -> None:
        self.served, self.limits, self.access, self.counters = served, limits, access, counters
        self._running = 0  # requests that have arrived completely, and wait for a thread or for its answer
        self._threads = ThreadPoolExecutor(os.cpu_count())

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        start, path, headers = time.perf_counter(), scope["path"], dict(scope["headers"])
        is_prediction = path in self.served.model.paths and scope["method"] == "POST"
        refusal = self.access.refusal(path, headers)
        if refusal is None and not is_prediction:
            await self.served.pages(scope, receive, self._counting(path, send))
            return
        status, content_type, rows, body = 200, JSON, 0, None
        try:
            if refusal is not None:
                raise refusal
            content_type, rows, body = await self._answer(path, headers, receive, send)
        except RequestError as error:
            status, body = _refused(path, error)
        except asyncio.CancelledError:
            status, body = _refused(path, RequestError(503, "the server is stopping"))
        except Exception:
            logging.exception("internal server error")
            status, body = _refused(path, RequestError(500, "internal server error; see the server's log"))
        if is_prediction:
            self.counters.count_prediction(status, rows, time.perf_counter() - start, path)
        else:
            self.counters.count_response(path, status)
        if body is None:  # the answer was sent as events
            return
        fields = [(b"content-type", content_type.encode()), (b"content-length", b"%d" % len(body))]
        fields += FIELDS.get(status, [])
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    async def _answer(
        self, path: str, headers: dict[bytes, bytes], receive: Receive, send: Send
    ) -> tuple[str, int, bytes | None]:
        """Return the content type of the answer, the number of rows or tokens, and the answer; None if it is sent."""
        content_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")
        model, most = self.served.model, self.limits.requests
        supported = content_type in model.content_types and headers.get(b"content-encoding") in (None, b"identity")
        types = " or ".join(", ".join(model.content_types).rsplit(", ", 1))
        require(supported, 415, f"send content-type {types}, without content-encoding")
        body = await self._body(receive, int(headers.get(b"content-length", b"0")))
        require(len(body) > 0, 400, "the body is empty")
        if isinstance(model, Model) and content_type == JSON and len(body) <= model.inline_bytes:
            return content_type, *model.answer_inline(body)
        # Counted only now, so that clients that send slowly do not keep others out.
        require(self._running < most, 503, f"{most} requests are already being answered; try again")
        self._running += 1
        try:
            if isinstance(model, TextModel):
                request = await asyncio.to_thread(model.read, path, body)  # the tokens of a long prompt take time
                return content_type, *await answer_text(model.batch, request, self._threads, receive, send)
            answer_type = JSON if content_type in IMAGE_TYPES else content_type
            return answer_type, *await self._predict(model, content_type, body)
        finally:
            self._running -= 1

    async def _predict(self, model: Model, content_type: str, body: bytearray) -> tuple[int, bytes]:
        """Return the number of rows, and the answer, which a thread computes."""
        options = onnxruntime.RunOptions()
        options.log_severity_level = 4  # cancelling is not an error
        answer = asyncio.get_running_loop().run_in_executor(self._threads, model.answer, content_type, body, options)
        try:
            async with asyncio.timeout(self.limits.seconds):
                return await answer
        except TimeoutError:
            raise RequestError(503, f"no answer within {self.limits.seconds:g} seconds; send fewer rows") from None
        finally:
            options.terminate = True  # frees the thread after a timeout
            del answer  # its exception holds this frame, and this frame the body

    async def _body(self, receive: Receive, length: int) -> bytearray:
        """Receive a body of the length that its header declares, 0 if it declares none."""
        body, more = bytearray(), True
        while max(len(body), length) <= self.limits.bytes:
            if not more:
                return body
            message = await receive()
            # Either the client disconnects, or the server does so after the time limit.
            is_open = message["type"] != "http.disconnect"
            require(is_open, 408, "the connection was closed before the whole request arrived")
            body += message.get("body", b"")
            more = message.get("more_body", False)
        raise RequestError(413, f"the body is longer than {self.limits.bytes} bytes; send fewer rows per request")

    def _counting(self, path: str, send: Send) -> Send:
        async def count_and_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.counters.count_response(path, message["status"])
            await send(message)

        return count_and_send


def _refused(path: str, error: RequestError) -> tuple[int, bytes]:
    """Return status and body of an error in the format of a path."""
    return openai_error(error) if path.startswith(PREFIX) else (error.status, error.body)
