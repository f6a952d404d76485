"""Send the texts of a language model: as one answer, or piece by piece as server-sent events."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, MutableMapping
from concurrent.futures import Executor
from contextlib import aclosing
from typing import Any

from project.serving.text_batch import TextBatch
from project.serving.text_reply import Piece
from project.serving.text_request import TextRequest

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

EVENTS = "text/event-stream"
HEADERS = [(b"content-type", EVENTS.encode()), (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]


async def answer_text(
    batch: TextBatch, request: TextRequest, threads: Executor, receive: Receive, send: Send
) -> tuple[int, bytes | None]:
    """Write the texts of a request together with those of others; stop if the client disconnects.

    Return the number of tokens, and the answer in JSON, None if it was sent as events.

    Raises:
        RequestError: If the server is busy, or the texts take too much memory.
    """
    async with aclosing(_pieces(batch, request, threads, receive)) as pieces:
        if request.stream:
            return await _send_events(pieces, request, send), None
        found: list[list[Piece]] = [[] for _ in range(request.writing.texts)]
        async for piece in pieces:
            found[piece.number].append(piece)
    texts = [Piece.whole(each) for each in found if each]  # none if the client has disconnected
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
    batch: TextBatch, request: TextRequest, threads: Executor, receive: Receive
) -> AsyncGenerator[Piece, None]:
    """Yield the pieces of all texts until they have ended or the client has disconnected.

    An exception in the thread that writes them is raised here.
    """
    loop, found = asyncio.get_running_loop(), asyncio.Queue[Piece | Exception | None]()
    job = batch.add(request, lambda piece: loop.call_soon_threadsafe(found.put_nowait, piece), threads)

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        found.put_nowait(None)

    watching, running = asyncio.create_task(watch()), request.writing.texts
    try:
        while running and (piece := await found.get()) is not None:
            if isinstance(piece, Exception):
                raise piece
            running -= piece.end is not None
            yield piece
    finally:
        job.stopped = True
        watching.cancel()
