"""Chat templates: they convert conversations to the text and the tokens on which a chat model was trained.

The templates are those of Hugging Face: Jinja in a sandbox, with the functions and filters that `transformers` adds.
"""

import json
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from project.runtime.errors import UserError
from project.text.tokenizer import Tokenizer

# Each turn ends with the end-of-text token, which no user can write. This works with any tokenizer.
DEFAULT = (
    "{{ bos_token }}{% for message in messages %}{{ message.role + '\n' + message.content + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant\n' }}{% endif %}"
)
SECONDS = 5.0  # a template may be endless
ROLES = ("system", "developer", "user", "assistant", "tool")
# `BROKEN` is inserted into the names of special tokens in a message, so that they are not read as the tokens. It starts
# with a character for private use, `MARK`; where a message contains that character itself, it becomes `ITSELF`.
MARK, ITSELF, BROKEN = "\ue000", "\ue000\ue001", "\ue000\ue002"

Message = Mapping[str, Any]


class Turn(NamedTuple):
    """Consecutive tokens of a conversation.

    Attributes:
        ids: The tokens.
        is_answer: Whether the assistant writes them, including the token that ends its answer.
    """

    ids: list[int]
    is_answer: bool


class ChatTemplate:
    """Converts conversations to tokens.

    A message is {"role": …, "content": …}, both text; other fields are ignored. The names of special tokens in a
    message are ordinary text, so that no message can end its turn.

    Args:
        tokenizer: The tokenizer of the model. If it has no template, each turn is the role, a newline, the content and
            the end-of-text token.

    Raises:
        UserError: If the template is damaged.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        names = "|".join(re.escape(name) for name in sorted(tokenizer.special, key=len, reverse=True))
        self._special, self._starts = re.compile(f"({names})"), re.compile(f"(?=(?:{names}))(.)", re.DOTALL)
        try:
            self._template = _environment().from_string(
                DEFAULT if tokenizer.chat_template is None else tokenizer.chat_template
            )
        except TemplateError as error:
            raise UserError(f"chat template: {error}; correct the template of the model") from error

    @cached_property
    def stops(self) -> frozenset[int]:
        """Ids that end an answer: those of the tokenizer, and the token with which the template ends an answer."""
        try:
            turns = self.turns([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])[0]
        except UserError:  # the template does not accept this conversation
            return self.tokenizer.stops
        special = self.tokenizer.special.values()
        last = [turn.ids[-1] for turn in turns if turn.is_answer and turn.ids[-1] in special]
        return self.tokenizer.stops | frozenset(last)

    def render(self, messages: Sequence[Message], answer: bool = False) -> str:
        """Return the text of a conversation. If `answer`, it ends with the beginning of the next answer.

        Raises:
            UserError: If a message is invalid, or the template does not accept it. The error names the message.
        """
        return self._render(messages, answer).replace(BROKEN, "").replace(ITSELF, MARK)

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Return the tokens of a conversation, including the beginning of the next answer.

        Raises:
            UserError: As `render` does.
        """
        return self._encode(self._render(messages, answer=True))

    def turns(self, messages: Sequence[Message]) -> list[list[Turn]]:
        """Return the tokens of a conversation for training, divided where the assistant's answers start and end.

        The result has one list, or one list for each answer if the template formats earlier answers differently.

        Raises:
            UserError: As `render` does, or if the template changes the text before an answer.
        """
        whole, found, place = self._render(messages), list[list[Turn]](), 0
        together: list[Turn] | None = []
        for number, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before, after = self._render(messages[:number], answer=True), self._render(messages[: number + 1])
            if not after.startswith(before):
                raise UserError(f"chat template: it changes the text before message {number + 1}; use another template")
            answer, rest = self._divide(after[len(before) :])
            found.append([Turn(self._encode(before), False), answer])
            if together is not None and whole.startswith(after) and len(before) >= place:
                together += [Turn(self._encode(whole[place : len(before)]), False), answer]
                place = len(after) - len(rest)
            else:
                together = None
        if together is not None:
            found = [[*together, Turn(self._encode(whole[place:]), False)]]
        return [[turn for turn in turns if turn.ids] for turns in found]

    def _divide(self, text: str) -> tuple[Turn, str]:
        """Divide the text after a prompt into the answer, up to its last special token if it has one, and the rest."""
        ends = [match.end() for match in self._special.finditer(text)]
        end = ends[-1] if ends else len(text)
        return Turn(self._encode(text[:end]), True), text[end:]

    def _encode(self, text: str) -> list[int]:
        """Return the tokens of a text. The names of special tokens become the tokens unless `BROKEN` is in them."""
        ids = list[int]()
        for place, part in enumerate(self._special.split(text)):
            if place % 2:
                ids.append(self.tokenizer.special[part])
            elif part:
                ids += self.tokenizer.encode(part.replace(BROKEN, "").replace(ITSELF, MARK).encode()).tolist()
        return ids

    def _render(self, messages: Sequence[Message], answer: bool = False) -> str:
        checked = [self._checked(message, number) for number, message in enumerate(messages, 1)]
        try:
            return self._try(checked, answer)
        except TimeoutError as error:
            raise UserError(f"chat template: it takes more than {SECONDS:g} seconds; use another one") from error
        except Exception as error:  # a template is a program and can raise any exception
            refused = next((count for count in range(1, len(checked) + 1) if self._refuses(checked[:count])), None)
            place = "" if refused is None else f" at message {refused} ({checked[refused - 1]['role']})"
            raise UserError(f"chat template{place}: {str(error)[:300]}; change the conversation") from error

    def _try(self, messages: Sequence[Message], answer: bool) -> str:
        with _time_limit(SECONDS):
            return self._template.render(
                messages=messages,
                add_generation_prompt=answer,
                bos_token=self.tokenizer.bos,
                eos_token=self.tokenizer.eos,
            )

    def _refuses(self, messages: Sequence[Message]) -> bool:
        try:
            self._try(messages, answer=False)
        except Exception:
            return True
        return False

    def _checked(self, message: Any, number: int) -> dict[str, str]:
        """Return role and content of a message, with `BROKEN` in the names of special tokens."""
        role, content = (message.get(name) if isinstance(message, Mapping) else None for name in ("role", "content"))
        if role not in ROLES or not isinstance(content, str):
            fix = f'it must be {{"role": …, "content": …}}, the role one of {", ".join(ROLES)} and the content text'
            raise UserError(f"message {number}: {fix}")
        try:
            content.encode()
        except UnicodeEncodeError as error:
            raise UserError(f"message {number}: invalid character at {error.start}; correct its text") from error
        return {"role": role, "content": self._starts.sub(rf"\1{BROKEN}", content.replace(MARK, ITSELF))}


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise a TimeoutError at the first line of Python, the code of a template among them, after some seconds."""
    latest, before = time.monotonic() + seconds, sys.gettrace()

    def watch(*_: Any) -> Any:
        if time.monotonic() > latest:
            raise TimeoutError
        return watch

    sys.settrace(watch)  # of this thread; a signal would reach the main thread alone
    try:
        yield
    finally:
        sys.settrace(before)


class _Generation(Extension):
    """Renders the content of `{% generation %}` blocks, which some templates use to mark answers."""

    tags = {"generation"}  # noqa: RUF012 (as in jinja2)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Names(Namespace):
    """A Jinja namespace that rejects names that start with an underscore, which could reach Python's internals."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise TemplateError(f"the name {name!r} starts with an underscore")
        super().__setitem__(name, value)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {"raise_exception": _raise, "strftime_now": _now, "namespace": _Names}
    return environment


def _to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _raise(message: str) -> None:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.now().strftime(form)
