"""Reading of conversations, lists of messages, from JSON lines, CSV or Parquet."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from project.data.location import check_readable, is_parquet, locate, suffix
from project.runtime.errors import UserError

Messages = list[dict[str, Any]]
Row = tuple[int, Mapping[str, Any]]  # the number of the row or of its line, and the row
# Names of the fields with question and answer; the first pair that a row has is used.
PAIRS = (
    *(("instruction", "response"), ("instruction", "output"), ("prompt", "completion"), ("prompt", "response")),
    *(("question", "answer"), ("input", "output")),
)
EXPECTED = (
    '{"messages": [{"role": …, "content": …}, …]}, {"conversations": [{"from": …, "value": …}, …]}, an instruction and '
    "a response, or a prompt, a chosen and a rejected answer"
)
LISTS = ("messages", "conversations")
ROLES = {"human": "user", "gpt": "assistant"}  # as ShareGPT names them


class Conversation(NamedTuple):
    """Messages that end with an answer of the assistant.

    Attributes:
        place: The file and the line, for error messages.
        messages: Dicts {"role": …, "content": …}.
        rejected: The same messages with a worse last answer; None if there is none.
    """

    place: str
    messages: Messages
    rejected: Messages | None = None


def read_conversations(path: str, prompt: str | None = None, response: str | None = None) -> Iterator[Conversation]:
    """Yield the conversations of a file.

    Args:
        path: Path or address of JSON lines, a CSV file with a header, or a Parquet file.
        prompt: Name of the field with the question; by default a usual name.
        response: Name of the field with the answer; by default a usual name.

    Raises:
        UserError: If a row is not a conversation. The error names its line.
    """
    check_readable(path)
    for number, row in _rows(path):
        place = f"{path}: {'row' if is_parquet(path) else 'line'} {number}"
        yield _conversation(row, place, prompt, response)


def _rows(path: str) -> Iterator[Row]:
    system, inner = locate(path)
    if is_parquet(path):
        with system.open_input_file(inner) as file:
            number = 0
            for batch in pq.ParquetFile(file).iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
        return
    try:
        with system.open_input_stream(inner) as stream:
            text = io.TextIOWrapper(io.BufferedReader(stream), encoding="utf-8-sig", newline="")
            yield from (_csv_rows if suffix(path) in (".csv", ".tsv") else _json_rows)(text, path)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a text file in UTF-8 ({error}); convert it") from error


def _require(valid: bool, place: str, problem: str) -> None:
    if not valid:
        raise UserError(f"{place}: {problem}")


def _json_rows(text: io.TextIOWrapper, path: str) -> Iterator[Row]:
    for number, line in enumerate(text, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}: line {number}: not JSON ({error}); correct it") from error
        _require(isinstance(row, dict), f"{path}: line {number}", f"not a JSON object; each line must be {EXPECTED}")
        yield number, row


def _csv_rows(text: io.TextIOWrapper, path: str) -> Iterator[Row]:
    reader = csv.DictReader(text, strict=True, delimiter="\t" if suffix(path) == ".tsv" else ",")
    line = 1
    try:
        for row in reader:
            line, number = reader.line_num, line + 1  # a value may have several lines
            complete = None not in row and None not in row.values()
            problem = "it has another number of values than the header; correct it"
            _require(complete, f"{path}: line {number}", problem)
            yield number, row
    except csv.Error as error:
        raise UserError(f"{path}: line {line + 1}: {error}; correct it") from error


def _conversation(row: Mapping[str, Any], place: str, prompt: str | None, response: str | None) -> Conversation:
    if "chosen" in row and "rejected" in row and response is None:
        before = _messages(row.get(prompt or "prompt") or [], "user", place)
        chosen, rejected = (_messages(row[name], "assistant", place) for name in ("chosen", "rejected"))
        conversation = Conversation(place, before + chosen, before + rejected)
        problem = "chosen and rejected have different questions; they must differ only in the last answer"
        _require(conversation.messages[:-1] == before + rejected[:-1], place, problem)
    elif (named := [name for name in LISTS if name in row]) and prompt is response is None:
        conversation = Conversation(place, _messages(row[named[0]], "user", place))
    else:
        names = [(prompt or one, response or two) for one, two in PAIRS]
        known = next((pair for pair in names if pair[0] in row and pair[1] in row), None)
        if known is None:
            fix = f"it must be {EXPECTED}; name other fields with --data.prompt and --data.response"
            raise UserError(f"{place}: it has the fields {', '.join(map(str, row))[:100]}; {fix}")
        question, answer = _messages(row[known[0]], "user", place), _messages(row[known[1]], "assistant", place)
        if known[0] == "instruction" and isinstance(more := row.get("input"), str) and more:  # as in the Alpaca data
            question[-1] = question[-1] | {"content": f"{question[-1]['content']}\n\n{more}"}
        conversation = Conversation(place, question + answer)
    for messages in (conversation.messages, conversation.rejected):
        _check(messages, place)
    return conversation


def _messages(value: Any, role: str, place: str) -> Messages:
    """Return a list of messages unchanged, and a text as a message of the given role."""
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    valid = isinstance(value, Sequence) and all(isinstance(message, Mapping) for message in value)
    _require(valid, place, f"neither a text nor a list of messages: {str(value)[:60]}; correct it")
    return [_message(message) for message in value]


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    role = message.get("role", message.get("from"))
    return {"role": ROLES.get(str(role), role), "content": message.get("content", message.get("value"))}


def _check(messages: Messages | None, place: str) -> None:
    if messages is not None:
        has_answer = any(message["role"] == "assistant" for message in messages)
        _require(has_answer, place, "no answer of the role assistant, from which a model could learn; remove it")
        are_texts = all(isinstance(message["content"], str) for message in messages)
        _require(are_texts, place, "the content of a message is not text; correct it")
