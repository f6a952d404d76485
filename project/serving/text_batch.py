"""Write the texts of several requests together: each step computes one token of each text.

Source: Yu et al., "Orca: A Distributed Serving System for Transformer-Based Generative Models" (2022).
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor

import numpy as np

from project.serving.limits import Limits
from project.serving.memory import MemoryBudget
from project.serving.request_error import RequestError, require
from project.serving.text_artifact import STEP_TOKENS, TextArtifact
from project.serving.text_reply import Piece
from project.serving.text_request import TextRequest
from project.text.sampling import Numbers
from project.text.writing import Writer

LOGIT_BYTES, CHOICE_BYTES = 4, 40  # memory for each token of the vocabulary: its logit, and sampling
MAX_ROWS = 32  # number of texts that are computed together; others wait
Emit = Callable[[Piece | Exception], object]


class Job:
    """A request whose texts are being written.

    Args:
        request: The request.
        emit: Called with each piece of its texts, or with an exception.
        deadline: End of its time limit, on the clock `time.monotonic`.
        capacity: The largest number of tokens of each of its texts in the cache.

    Attributes:
        stopped: Whether the client has disconnected.
    """

    def __init__(self, request: TextRequest, emit: Emit, deadline: float, capacity: int) -> None:
        self.request, self._emit, self.deadline, self.capacity = request, emit, deadline, capacity
        self.stopped = False

    def emit(self, piece: Piece | Exception) -> None:
        """Call `emit`, unless the job was stopped."""
        if not self.stopped:
            self._emit(piece)


class Text:
    """A text of a job, which has a row of the cache.

    Attributes:
        window: The tokens that the model sees, at most its context.
        new: Number of tokens of the window that are not in the cache yet.
        is_done: Whether the text has ended.
    """

    def __init__(self, job: Job, number: int, artifact: TextArtifact) -> None:
        self.job, self.number, self.context = job, number, artifact.context
        self.writer = Writer(artifact.tokenizer, job.request.writing, number)
        prompts = job.request.prompts
        prompt = prompts[number * len(prompts) // job.request.writing.texts]
        self.window = prompt[-artifact.context :]
        self.new, self.is_done = len(self.window), False
        self._pieces: list[Piece] = []

    def add(self, logits: Numbers) -> None:
        """Choose the next token from logits (vocabulary,), and emit the text that later tokens cannot change."""
        writer = self.writer
        token = writer.add(logits)
        is_long = len(writer.tokens) == self.job.request.writing.max_tokens
        is_late = time.monotonic() > self.job.deadline
        end = "stop" if writer.is_done else "length" if is_long else "time" if is_late else None
        text = writer.piece
        if end is not None:
            writer.finish()
            text += writer.piece
        self.is_done = end is not None
        newest = writer.tokens[-1:], writer.log_probabilities[-1:], writer.likeliest[-1:]
        self._pieces.append(Piece(self.number, text, *newest, end))
        if self.is_done or self.job.request.stream:  # waking the event loop takes longer than a token of a small net
            self.job.emit(Piece.whole(self._pieces))
            self._pieces = []
        self.window, self.new = [*self.window, token], 1
        if len(self.window) > self.context:  # drop the first half of the window
            self.window = self.window[-max(1, self.context // 2) :]
            self.new = len(self.window)


class TextBatch:
    """Writes the texts of all requests, in one thread while there are any.

    Args:
        artifact: The exported model.
        limits: Limits on requests.
        budget: Memory that all requests share, those that a replaced model still answers included.
    """

    def __init__(self, artifact: TextArtifact, limits: Limits, budget: MemoryBudget) -> None:
        self.artifact, self.limits, self.budget = artifact, limits, budget
        self._lock, self._is_running, self._reserved = threading.Lock(), False, 0
        self._waiting: deque[Job] = deque()
        # Text i has row i of the cache. The first `_ready` texts need one token computed; the others, their prompts.
        self._texts: list[Text] = []
        self._ready = 0
        self._cache = artifact.cache(0, 0)

    def add(self, request: TextRequest, emit: Emit, threads: Executor) -> Job:
        """Queue the texts of a request, and start a thread that writes if none does.

        Raises:
            RequestError: If they take too much memory.
        """
        capacity = min(self.artifact.context, max(map(len, request.prompts)) + request.writing.max_tokens)
        needed = self._memory(request.writing.texts, capacity)
        problem = f"the text needs {needed / 2**20:.0f} MiB, more than the server may use; ask for fewer tokens"
        require(needed <= self.budget.size, 413, problem)
        job = Job(request, emit, time.monotonic() + self.limits.seconds, capacity)
        with self._lock:
            self._waiting.append(job)
            begins, self._is_running = not self._is_running, True
        if begins:
            threads.submit(self._run)
        return job

    def _run(self) -> None:
        while self._admit():
            if not self._texts:
                time.sleep(0.01)  # a replaced model holds the memory until it has finished its texts
                continue
            try:
                self._step()
            except Exception as error:
                for job in {id(text.job): text.job for text in self._texts}.values():
                    job.emit(error)
                self._texts, self._ready = [], 0

    def _admit(self) -> bool:
        """Begin the jobs for which there is memory; return False if there is nothing left to do."""
        with self._lock:
            while self._waiting:
                job = self._waiting[0]
                try:
                    begins = job.stopped or self._begin(job)
                except Exception as error:  # must not end this thread, which writes other texts, too
                    job.emit(error)
                    begins = True
                if not begins:
                    if time.monotonic() <= job.deadline:
                        break
                    job.emit(RequestError(503, "the server is busy; try again"))
                self._waiting.popleft()
            if not self._texts:
                self.budget.change(self._reserved, 0)
                self._reserved, self._cache = 0, self.artifact.cache(0, 0)
                self._is_running = bool(self._waiting)
            return self._is_running

    def _begin(self, job: Job) -> bool:
        """Add the texts of a job to the batch; return False if there is no memory for them."""
        texts = [Text(job, number, self.artifact) for number in range(job.request.writing.texts)]
        rows = len(self._texts) + len(texts)
        capacity = max([job.capacity, *(text.job.capacity for text in self._texts)])
        needed = self._memory(rows, capacity)
        if (self._texts and rows > MAX_ROWS) or not self.budget.change(self._reserved, needed):
            return False
        self._reserved = needed
        self._cache.resize(len(self._texts), rows, capacity)
        self._texts += texts
        return True

    def _step(self) -> None:
        """Compute one token of each text that is ready, and some tokens of one prompt."""
        if ready := self._texts[: self._ready]:
            logits = self._cache.step(np.array([[text.window[-1]] for text in ready]))
            for text, row in zip(ready, logits[:, 0], strict=True):
                text.add(row)
        if self._ready < len(self._texts):
            self._read_prompt()
        for place in reversed(range(len(self._texts))):
            text = self._texts[place]
            if text.is_done or text.job.stopped:
                self._remove(place)
            elif text.new > 1 and place < self._ready:
                self._restart(place)

    def _read_prompt(self) -> None:
        """Compute some tokens of the first incomplete prompt; after the last of them, choose the text's first token."""
        place = self._ready
        text = self._texts[place]
        first = len(text.window) - text.new
        if first == 0:
            self._cache.lengths[place] = 0
        tokens = text.window[first : first + STEP_TOKENS]
        logits = self._cache.step(np.array([tokens]), first=place)
        text.new -= len(tokens)
        if text.new == 0:
            self._ready += 1
            text.add(logits[0, -1])

    def _restart(self, place: int) -> None:
        """Compute the window of a text again, because its first half was dropped."""
        self._ready -= 1
        text = self._texts[place]
        self._replace(self._ready, place)
        self._texts[self._ready] = text

    def _remove(self, place: int) -> None:
        """Remove a text and free its row."""
        if place < self._ready:
            self._ready -= 1
            self._replace(self._ready, place)
            place = self._ready
        self._replace(len(self._texts) - 1, place)
        self._texts.pop()

    def _replace(self, source: int, target: int) -> None:
        """Move a text and its row of the cache to another place."""
        if source != target:
            self._texts[target] = self._texts[source]
            self._cache.move(source, target)

    def _memory(self, rows: int, capacity: int) -> int:
        """Return the bytes of memory of `rows` texts of up to `capacity` tokens."""
        vocabulary = self.artifact.metadata["out_features"]
        logits = vocabulary * (rows * (LOGIT_BYTES + CHOICE_BYTES) + STEP_TOKENS * LOGIT_BYTES)
        return rows * capacity * self.artifact.token_bytes + logits
