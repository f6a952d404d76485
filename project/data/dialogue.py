"""Dialogues: windows of conversations, to train language models on the answers of the assistant."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np

from project.data.conversations import Conversation, Messages, read_conversations
from project.data.datamodule import Splits
from project.data.packing import Document, pack, windows
from project.data.split import check_not_empty, random_split
from project.data.tokens import TokensDataModule
from project.runtime.address import local_path
from project.runtime.errors import UserError
from project.runtime.ranges import OpenUnitInterval, PositiveInt
from project.text import BPETokenizer, Tokenizer
from project.text.chat_template import DEFAULT, ChatTemplate, Turn


class DialogueDataModule(TokensDataModule):
    """Windows of conversations: x (2, context) has tokens and the index of the dialogue of each, y the next tokens.

    Only the answers of the assistant are targets; other targets are -100. A window contains several dialogues, and each
    token attends only to its own dialogue. A dialogue that is longer than a window is cut. If no answer remains, it is
    left out. Both are counted in `facts`.

    Args:
        path: JSON lines, a CSV file or Parquet. A row is {"messages": [{"role": …, "content": …}, …]}; or an
            instruction and a response; or a prompt, a chosen and a rejected answer, of which the chosen one is used.
        tokenizer: `bytes`; `bpe`, which learns the most frequent pieces of words; or the path of a `tokenizer.json`.
            A run that starts from another one keeps the tokenizer of that run.
        vocab_size: Number of tokens that a tokenizer learns, including the end-of-text token.
        context: Number of tokens in a window.
        prompt: Name of the field with the question; by default `instruction`, `prompt` or `question`.
        response: Name of the field with the answer; by default `response`, `output`, `completion` or `answer`.
        chat_template: File with a Jinja template; by default that of the tokenizer, or a simple one.
        pack: Whether a window may contain several dialogues, which requires the network `GPT`.
        val_fraction: Fraction of the dialogues to validate on.
        test_fraction: Fraction of the dialogues to test on.
        batch_size: Windows per batch and process.
        **kwargs: Arguments of `RowsDataModule`.

    Attributes:
        facts: Numbers of dialogues, tokens, tokens of answers (`learned`), and dialogues that were cut or left out, in
            all splits together.
    """

    def __init__(
        self,
        path: str,
        tokenizer: str = "bpe",
        vocab_size: PositiveInt = 1_024,
        context: PositiveInt = 256,
        prompt: str | None = None,
        response: str | None = None,
        chat_template: str | None = None,
        pack: bool = True,
        val_fraction: OpenUnitInterval = 0.1,
        test_fraction: OpenUnitInterval = 0.1,
        batch_size: PositiveInt = 8,
        **kwargs: Any,
    ) -> None:
        super().__init__(path, tokenizer, vocab_size, context, val_fraction, test_fraction, batch_size, **kwargs)
        self.prompt, self.response, self.template_file, self.packs = prompt, response, chat_template, pack
        self.facts = dict.fromkeys(("dialogues", "tokens", "learned", "cut", "left_out"), 0)

    @cached_property
    def conversations(self) -> list[list[Conversation]]:
        """The conversations of each split."""
        found = [*read_conversations(self.path, self.prompt, self.response)]
        parts = random_split(len(found), self.val_fraction, self.test_fraction, self.seed)
        check_not_empty(self.path, [len(part) for part in parts])
        return [[found[row] for row in part.tolist()] for part in parts]

    @cached_property
    def content(self) -> str:
        """SHA-256 of the conversations."""
        digest = hashlib.sha256()
        for each in chain.from_iterable(self.conversations):
            digest.update(json.dumps([each.messages, each.rejected]).encode())
        return digest.hexdigest()

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, with a chat template. It is learned from the training split or belongs to another run."""
        tokenizer = super().tokenizer
        if self.template_file is not None:
            tokenizer.chat_template = local_path(self.template_file).read_text(encoding="utf-8")
        elif tokenizer.chat_template is None:
            tokenizer.chat_template = DEFAULT
        return tokenizer

    def learn_tokenizer(self) -> Tokenizer:
        """Learn a tokenizer from the messages of the training split."""
        messages = chain.from_iterable(each.messages for each in self.conversations[0])
        texts = (f"{message['role']}\n{message['content']}".encode("utf-8", "replace") for message in messages)
        return BPETokenizer.train(texts, self.learned_size)

    def load(self) -> Splits:
        """Return the windows of each split."""
        chat, parts = ChatTemplate(self.tokenizer), []
        for conversations in self.conversations:
            self.facts["dialogues"] += len(conversations)
            contents = self.arrange(chain.from_iterable(self.documents(chat, each) for each in conversations))
            for document in chain.from_iterable(contents):
                self.facts["tokens"] += len(document.ids)
                self.facts["learned"] += int(document.learned.sum())
            parts.append(contents)
        if not all(parts):
            fix = "add dialogues, or raise --data.context"
            raise UserError(f"{self.path}: no answer fits into {self.context} tokens in some split; {fix}")
        return Splits(*(windows(contents, self.context, self.tokenizer.end) for contents in parts))

    def documents(self, chat: ChatTemplate, conversation: Conversation) -> Iterator[list[Document]]:
        """Yield lists of documents of a conversation. Those of a list are in the same window, and cut to its size."""
        for turns in self.turns(chat, conversation.messages, conversation.place):
            if (document := self.cut(_document(turns, learned=turns), self.context)) is not None:
                yield [document]

    def arrange(self, documents: Iterable[list[Document]]) -> Sequence[Sequence[Document]]:
        """Distribute documents over windows, and return the documents of each window."""
        return pack([each for [each] in documents], self.context) if self.packs else [*documents]

    def turns(self, chat: ChatTemplate, messages: Messages, place: str) -> list[list[Turn]]:
        """Return the tokens of messages.

        Raises:
            UserError: If the chat template does not accept them. The error names their place.
        """
        try:
            return chat.turns(messages)
        except UserError as error:
            raise UserError(f"{place}: {error}") from error

    def cut(self, document: Document, inputs: int) -> Document | None:
        """Cut a document to `inputs` tokens. Return None if no answer remains. Both cases are counted."""
        if document.size > inputs:
            document = document.cut(inputs + 1)
            self.facts["cut"] += 1
        if document.learned[1:].any():
            return document
        self.facts["left_out"] += 1
        return None


class PreferenceDataModule(DialogueDataModule):
    """Pairs of answers: a window contains the chosen and the rejected answer as two dialogues, each with its prompt.

    x (2, context) has tokens, and 0 for those of the chosen dialogue, 1 for those of the rejected one. y (context,) has
    the next tokens, -100 outside the last answers. Each dialogue is cut to half of the context.

    Args:
        path: JSON lines, CSV or Parquet with {"prompt": …, "chosen": …, "rejected": …}, texts or lists of messages.
        **kwargs: Arguments of `DialogueDataModule`.
    """

    has_pairs = True

    def __init__(self, path: str, context: PositiveInt = 512, **kwargs: Any) -> None:
        super().__init__(path, context=context, **kwargs)

    @classmethod
    def default_model(cls, arguments: Any) -> str:
        """Return the class path of DPO."""
        return "project.models.DPO"

    def documents(self, chat: ChatTemplate, conversation: Conversation) -> Iterator[list[Document]]:
        """Yield the chosen and the rejected dialogue, cut to half a window."""
        if conversation.rejected is None:
            raise UserError(f"{conversation.place}: no rejected answer; use --data DialogueDataModule for dialogues")
        found = []
        for messages in (conversation.messages, conversation.rejected):
            turns = self.turns(chat, messages, conversation.place)[-1]
            last = max(number for number, turn in enumerate(turns) if turn.is_answer)
            found.append(self.cut(_document(turns, learned=turns[last:]), self.context // 2))
        if None not in found:
            yield found  # type: ignore[misc]

    def arrange(self, documents: Iterable[list[Document]]) -> Sequence[Sequence[Document]]:
        """Return the pairs."""
        return [*documents]


def _document(turns: Sequence[Turn], learned: Sequence[Turn]) -> Document:
    """Return turns as a document whose targets are the answers among `learned`, the last turns."""
    first = len(turns) - len(learned)
    marks = [np.full(len(turn.ids), turn.is_answer and place >= first) for place, turn in enumerate(turns)]
    ids = np.concatenate([np.array(turn.ids, np.int32) for turn in turns])
    return Document(ids, np.concatenate(marks))
