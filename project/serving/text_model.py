"""A language model that answers requests for text."""

from collections.abc import Callable

from project.runtime.errors import UserError
from project.serving.limits import Limits
from project.serving.memory import MemoryBudget
from project.serving.model import JSON
from project.serving.openai_request import read_chat, read_completion
from project.serving.text_artifact import TextArtifact
from project.serving.text_batch import TextBatch
from project.serving.text_request import TextRequest, read_request
from project.text.chat_template import ChatTemplate

Read = Callable[[bytearray, TextArtifact, Limits], TextRequest]


class TextModel:
    """Writes text for the bodies of requests.

    Args:
        artifact: The exported model.
        limits: Limits on requests.
        budget: Memory that all requests share, those that a replaced model still answers included.

    Attributes:
        batch: Writes the texts of all requests.
        paths: The function that reads a body, by path.
    """

    content_types = (JSON,)

    def __init__(self, artifact: TextArtifact, limits: Limits, budget: MemoryBudget) -> None:
        self.artifact, self.limits = artifact, limits
        self.batch = TextBatch(artifact, limits, budget)
        self.paths: dict[str, Read] = {
            "/generate": read_request,
            "/v1/completions": read_completion,
            "/v1/chat/completions": read_chat,
        }
        if artifact.tokenizer.chat_template is not None:
            artifact.tokenizer.stops = ChatTemplate(artifact.tokenizer).stops
        try:
            artifact.next_logits()([[artifact.tokenizer.end]])
        except Exception as error:
            raise UserError(f"{artifact.path}: cannot continue an empty text: {error}") from error

    def read(self, path: str, body: bytearray) -> TextRequest:
        """Return the request of a body that was sent to a path; raise a RequestError if it is invalid."""
        return self.paths[path](body, self.artifact, self.limits)
