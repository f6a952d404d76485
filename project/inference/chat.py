"""Chat with a language model in the terminal. For an exported file, torch is not imported."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from project.inference.write_text import open_writer
from project.runtime.errors import UserError
from project.text import Tokenizer
from project.text.chat_template import ChatTemplate
from project.text.writing import NextLogits, Writer, Writing, write


class Chat:
    """A conversation with a language model.

    Args:
        next_logits: Computes the logits of the model.
        tokenizer: The tokenizer of the model, with its chat template.
        writing: How answers are generated, one at a time.
        system: System message at the start of the conversation; empty for none.

    Attributes:
        messages: The conversation so far.
        forgotten: Number of messages that were dropped because the context was full.
    """

    def __init__(self, next_logits: NextLogits, tokenizer: Tokenizer, writing: Writing, system: str = "") -> None:
        self.next_logits, self.tokenizer, self.writing = next_logits, tokenizer, writing
        self.template = ChatTemplate(tokenizer)
        tokenizer.stops = self.template.stops
        self.messages = [{"role": "system", "content": system}] if system else []
        self.forgotten = 0

    def answer(self, question: str, show: Callable[[str], object] | None = None) -> str:
        """Return the answer to a question; call `show` with each piece of it as it is generated.

        Raises:
            UserError: If the template refuses the conversation, or the question is longer than the context.
        """
        self.messages.append({"role": "user", "content": question})
        writers = list[Writer]()
        for writers in write(self._prompt(), self.next_logits.restarted(), self.tokenizer, self.writing):
            if show is not None:
                show(writers[0].piece)
        self.messages.append({"role": "assistant", "content": writers[0].text})
        return writers[0].text

    def _prompt(self) -> list[int]:
        """Return the tokens of the conversation, without its oldest questions and answers if the context is full."""
        context = self.next_logits.context
        room = context - min(self.writing.max_tokens, context // 2)
        first = int(self.messages[0]["role"] == "system")
        while len(prompt := self.template.prompt(self.messages)) > room and len(self.messages) > first + 2:
            del self.messages[first : first + 2]
            self.forgotten += 2
        if len(prompt) > context:
            raise UserError(f"the question has {len(prompt):,} tokens, more than the model's {context:,}; shorten it")
        return prompt


def chat(model: str, writing: Writing, system: str = "", trust: Sequence[str] = ()) -> None:
    """Answer the questions that a user types, or those of a pipe, one per line.

    Args:
        model: A run folder, a checkpoint, `last`, public weights, or an `.onnx` file.
        writing: How answers are generated.
        system: System message at the start of the conversation.
        trust: Modules whose classes the run may name.

    Raises:
        UserError: If the model is not a language model, or a setting is out of its range.
    """
    writing.check_flags()
    next_logits, tokenizer = open_writer(model, trust)
    if tokenizer.chat_template is None:
        print(f"warning: {model} has no chat template; it may not have learned conversations", file=sys.stderr)
    conversation, forgotten = Chat(next_logits, tokenizer, writing, system), 0
    for question in _questions():
        conversation.answer(question, _show)
        print(flush=True)
        if conversation.forgotten > forgotten == 0:
            print("note: the conversation is longer than the context; its oldest messages are dropped", file=sys.stderr)
        forgotten = conversation.forgotten


def _show(piece: str) -> None:
    sys.stdout.write(piece)
    sys.stdout.flush()


def _questions() -> Iterator[str]:
    """Yield the lines that a user types, or those of a pipe; empty ones are left out."""
    if not sys.stdin.isatty():
        yield from (line.strip() for line in sys.stdin if line.strip())
        return
    with suppress(ImportError):
        import readline  # noqa: F401 (lines can be edited)
    with suppress(EOFError):  # Ctrl-D
        while True:
            if line := input("> ").strip():
                yield line
    print()
