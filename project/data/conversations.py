"""Conversations in files: JSON lines, CSV or Parquet, as lists of messages."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from project.data.location import check_readable, is_parquet, locate
from project.runtime.errors import UserError

Messages = list[dict[str, Any]]
Row = tuple[int, Mapping[str, Any]]  # with its number, or that of its line
# Names under which questions and answers are found, the first pair that a row has.
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
        place: The file and the line, for messages about it.
        messages: Each {"role": …, "content": …}.
        rejected: The same messages with another end that is worse; None if there is none.
    """

    place: str
    messages: Messages
    rejected: Messages | None = None


def read_conversations(path: str, prompt: str | None = None, response: str | None = None) -> Iterator[Conversation]:
    """Yield the conversations of a file.

    Args:
        path: JSON lines, a CSV file with a header, or Parquet; an address, too.
        prompt: Name of the question; by default that of a usual pair of names.
        response: Name of the answer.

    Raises:
        UserError: If a row is no conversation; the message names its line.
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
            yield from (_csv_rows if _is_csv(path) else _json_rows)(text, path)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a file of text in UTF-8 ({error}); convert it") from error


def _is_csv(path: str) -> bool:
    return path.lower().removesuffix(".gz").removesuffix(".bz2").removesuffix(".zst").endswith((".csv", ".tsv"))


def _json_rows(text: io.TextIOWrapper, path: str) -> Iterator[Row]:
    for number, line in enumerate(text, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}: line {number}: not JSON ({error}); correct it") from error
        if not isinstance(row, dict):
            raise UserError(f"{path}: line {number}: not a JSON object; each line must be {EXPECTED}")
        yield number, row


def _csv_rows(text: io.TextIOWrapper, path: str) -> Iterator[Row]:
    reader = csv.DictReader(text, strict=True, delimiter="\t" if ".tsv" in path.lower() else ",")
    line = 1
    try:
        for row in reader:
            line, number = reader.line_num, line + 1  # a value may have several lines
            if None in row or None in row.values():
                raise UserError(f"{path}: line {number}: it has another number of values than the header; correct it")
            yield number, row
    except csv.Error as error:
        raise UserError(f"{path}: line {line + 1}: {error}; correct it") from error


def _conversation(row: Mapping[str, Any], place: str, prompt: str | None, response: str | None) -> Conversation:
    if "chosen" in row and "rejected" in row and response is None:
        before = _messages(row.get(prompt or "prompt") or [], "user", place)
        chosen, rejected = (_messages(row[name], "assistant", place) for name in ("chosen", "rejected"))
        conversation = Conversation(place, before + chosen, before + rejected)
        if conversation.messages[:-1] != before + rejected[:-1]:
            raise UserError(
                f"{place}: chosen and rejected have different questions; they must differ in the last answer"
            )
    elif (named := [name for name in LISTS if name in row]) and prompt is response is None:
        conversation = Conversation(place, _messages(row[named[0]], "user", place))
    else:
        names = [(prompt or one, response or two) for one, two in PAIRS]
        known = next((pair for pair in names if pair[0] in row and pair[1] in row), None)
        if known is None:
            fix = f"it must be {EXPECTED}; name other fields with --data.prompt and --data.response"
            raise UserError(f"{place}: it has the fields {', '.join(map(str, row))[:100]}; {fix}")
        question, answer = _messages(row[known[0]], "user", place), _messages(row[known[1]], "assistant", place)
        if known[0] == "instruction" and isinstance(more := row.get("input"), str) and more:  # as in Alpaca's data
            question[-1] = question[-1] | {"content": f"{question[-1]['content']}\n\n{more}"}
        conversation = Conversation(place, question + answer)
    for messages in (conversation.messages, conversation.rejected):
        _check(messages, place)
    return conversation


def _messages(value: Any, role: str, place: str) -> Messages:
    """Return a text as the message of a role, and a list of messages as it is."""
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if isinstance(value, Sequence) and all(isinstance(message, Mapping) for message in value):
        return [_message(message) for message in value]
    raise UserError(f"{place}: neither a text nor a list of messages: {str(value)[:60]}; correct it")


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    role = message.get("role", message.get("from"))
    return {"role": ROLES.get(str(role), role), "content": message.get("content", message.get("value"))}


def _check(messages: Messages | None, place: str) -> None:
    if messages is not None and not any(message["role"] == "assistant" for message in messages):
        raise UserError(f"{place}: no answer of the role assistant, from which a model could learn; remove it")
    if messages is not None and not all(isinstance(message["content"], str) for message in messages):
        raise UserError(f"{place}: a message whose content is no text; correct it")
