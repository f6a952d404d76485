"""Send the texts of a language model: at once, or piece by piece as server-sent events."""

import asyncio
import json
import logging
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any

import onnxruntime

from project.serving.text_model import TextModel
from project.serving.text_reply import Piece
from project.serving.text_request import TextRequest

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

EVENTS = "text/event-stream"
HEADERS = [(b"content-type", EVENTS.encode()), (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]


async def answer_text(
    model: TextModel, request: TextRequest, threads: ThreadPoolExecutor, receive: Receive, send: Send
) -> tuple[int, bytes | None]:
    """Write the texts of a request in a thread; they end early if the client leaves.

    Return the number of tokens, and the answer in JSON, None if it was sent as events.

    Raises:
        RequestError: If nothing can be written.
    """
    async with aclosing(_pieces(model, request, threads, receive)) as pieces:
        if request.stream:
            return await _send_events(pieces, request, send), None
        found: list[list[Piece]] = [[] for _ in range(request.writing.texts)]
        async for piece in pieces:
            found[piece.number].append(piece)
    texts = [Piece.whole(each) for each in found if each]  # none if the client has left
    content = request.reply.whole(texts) if texts else {}
    return sum(len(text.tokens) for text in texts), json.dumps(content, ensure_ascii=False).encode()


async def _send_events(pieces: AsyncIterator[Piece], request: TextRequest, send: Send) -> int:
    """Send the events of each piece, and return the number of tokens."""
    has_begun, tokens = False, 0
    try:
        async for piece in pieces:
            if not has_begun:
                await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
                has_begun = True
            tokens += len(piece.tokens)
            if body := b"".join(request.reply.events(piece)):
                await send({"type": "http.response.body", "body": body, "more_body": True})
    except (Exception, asyncio.CancelledError) as error:
        if not has_begun:
            raise
        if not isinstance(error, asyncio.CancelledError):
            logging.exception("internal server error")
        problem = "the server is stopping" if isinstance(error, asyncio.CancelledError) else "internal server error"
        await send({"type": "http.response.body", "body": request.reply.failure(problem), "more_body": True})
    await send({"type": "http.response.body", "body": request.reply.closing})
    return tokens


async def _pieces(
    model: TextModel, request: TextRequest, threads: ThreadPoolExecutor, receive: Receive
) -> AsyncGenerator[Piece, None]:
    """Yield the pieces that a thread writes; raise what it raises."""
    loop, found, stopped = asyncio.get_running_loop(), asyncio.Queue[Piece | Exception | None](), threading.Event()
    options = onnxruntime.RunOptions()
    options.log_severity_level = 4  # cancelling is not an error

    def work() -> None:
        last: Exception | None = None
        try:
            for piece in model.write(request, options, stopped):
                loop.call_soon_threadsafe(found.put_nowait, piece)
        except Exception as error:
            last = None if stopped.is_set() else error
        loop.call_soon_threadsafe(found.put_nowait, last)

    def stop() -> None:
        stopped.set()
        options.terminate = True

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        stop()

    threads.submit(work)
    watching = asyncio.create_task(watch())
    try:
        while (piece := await found.get()) is not None:
            if isinstance(piece, Exception):
                raise piece
            yield piece
    finally:
        stop()
        watching.cancel()
