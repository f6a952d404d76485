"""Dialogues in windows, against the tokens of each dialogue alone."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from project.data import DialogueDataModule, PreferenceDataModule
from project.runtime.errors import UserError
from project.text import ByteTokenizer, JsonTokenizer
from tests.public_weights.folders import write_tokenizer

END = 256


def messages(*texts: str) -> list[dict]:
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


def dialogues(folder, rows=40):
    """Dialogues of one or two answers, of different lengths."""
    lines = [
        messages(f"q{row}" * (1 + row % 4), f"answer {row}", *(["more", "no"] * (row % 3 == 0))) for row in range(rows)
    ]
    (folder / "talk.jsonl").write_text("\n".join(json.dumps({"messages": talk, "id": 1}) for talk in lines) + "\n\n")
    return str(folder / "talk.jsonl"), lines


def tokens_of(talk) -> tuple[list[int], list[int]]:
    """Tokens of a dialogue with the plain template, and targets, written out."""
    ids, targets = [END], []
    for message in talk:
        head, body = [*f"{message['role']}\n".encode()], [*message["content"].encode(), END]
        ids += head + body
        targets += [-100] * len(head) + (body if message["role"] == "assistant" else [-100] * len(body))
    return ids[:-1], targets


def found(rows, pad=True) -> list[tuple[list[int], list[int]]]:
    """Tokens and targets of each document in windows."""
    x, y = rows.gather(slice(0, len(rows)))
    documents = []
    for (tokens, numbers), targets in zip(x, y, strict=True):
        for number in numbers.unique().tolist():
            place = numbers == number
            if number == -1:
                assert set(tokens[place].tolist()) == {END}
                assert (targets[place] == -100).all()
            else:
                assert place.nonzero().diff(dim=0).max() == 1
                documents.append((tokens[place].tolist(), targets[place].tolist()))
    return documents


def test_windows_hold_each_dialogue_once_and_only_answers_are_targets(tmp_path):
    path, talks = dialogues(tmp_path)
    data = DialogueDataModule(path, tokenizer="bytes", context=200)
    train, val, test = map(found, data.splits)
    assert sorted(train + val + test) == sorted(tokens_of(talk) for talk in talks)
    assert (len(train), len(val), len(test)) == (32, 4, 4)
    assert data.row_counts[0] < 20
    size = sum(len(ids) + 1 for ids, _ in train + val + test)
    learned = sum(target >= 0 for _, targets in train + val + test for target in targets)
    assert data.facts == {"dialogues": 40, "tokens": size, "learned": learned, "cut": 0, "left_out": 0}
    alone = DialogueDataModule(path, tokenizer="bytes", context=200, pack=False)
    assert alone.row_counts == [32, 4, 4]
    assert sorted(found(alone.splits.train)) == sorted(train)
    assert alone.fingerprint == data.fingerprint != DialogueDataModule(path, tokenizer="bytes", seed=1).fingerprint


def test_a_long_dialogue_is_cut_and_one_without_an_answer_left_out(tmp_path):
    path = tmp_path / "talk.jsonl"
    talks = [messages("a", "b" * 40), messages("a" * 90, "b"), *[messages("a", "b")] * 10]
    path.write_text("\n".join(json.dumps({"messages": talk}) for talk in talks))
    data = DialogueDataModule(str(path), tokenizer="bytes", context=50)
    rows = sorted(document for split in data.splits for document in found(split))
    ids, targets = tokens_of(talks[0])
    assert rows == sorted([(ids[:50], targets[:50])] + [tokens_of(talks[2])] * 10)
    assert (data.facts["cut"], data.facts["left_out"]) == (2, 1)


def test_all_formats_hold_the_same_dialogues(tmp_path):
    rows = [{"question": f'What is\n"{n}"?', "answer": f"It, is {n}."} for n in range(12)]
    talks = [messages(row["question"], row["answer"]) for row in rows]
    pq.write_table(pa.table({"messages": talks}), tmp_path / "a.parquet")
    quoted = [[row[name].replace('"', '""') for name in row] for row in rows]
    (tmp_path / "b.csv").write_text("question,answer\n" + "".join(f'"{q}","{a}"\n' for q, a in quoted))
    instructions = [{"instruction": row["question"].partition("\n")[0], "input": "", "output": "x"} for row in rows]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, rows)))
    chosen = [{"prompt": row["question"], "chosen": row["answer"], "rejected": "?"} for row in rows]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, chosen)))
    mine = [{"q": row["question"], "a": row["answer"], "answer": "?"} for row in rows]
    (tmp_path / "e.jsonl").write_text("\n".join(map(json.dumps, mine)))
    shared = [[{"from": "human", "value": row["question"]}, {"from": "gpt", "value": row["answer"]}] for row in rows]
    (tmp_path / "g.jsonl").write_text("\n".join(json.dumps({"id": "1", "conversations": talk}) for talk in shared))
    for name, options in {
        "g.jsonl": {},
        "a.parquet": {},
        "b.csv": {},
        "c.jsonl": {},
        "d.jsonl": {},
        "e.jsonl": {"prompt": "q", "response": "a"},
    }.items():
        data = DialogueDataModule(str(tmp_path / name), tokenizer="bytes", **options)
        assert sorted(pair for rows in data.splits for pair in found(rows)) == sorted(map(tokens_of, talks)), name
    instructions[0]["input"] = "more"
    (tmp_path / "f.jsonl").write_text("\n".join(map(json.dumps, instructions)))
    data = DialogueDataModule(str(tmp_path / "f.jsonl"), tokenizer="bytes")
    asked = [each.messages[0]["content"] for part in data.conversations for each in part]
    assert sorted(asked) == ["What is"] * 11 + ["What is\n\nmore"]


def test_a_pair_lies_in_one_window(tmp_path):
    path = tmp_path / "pairs.jsonl"
    before = messages("hi", "hello", "1 + 1?")
    path.write_text("\n".join(json.dumps({"prompt": before, "chosen": f"{n}!", "rejected": "no"}) for n in range(10)))
    data = PreferenceDataModule(str(path), tokenizer="bytes", context=200)
    assert data.row_counts == [8, 1, 1]
    [(chosen, targets), (rejected, others)] = found(data.splits.val)
    [pair] = data.conversations[1]
    assert (chosen, rejected) == tuple(tokens_of(talk)[0] for talk in (pair.messages, pair.rejected))
    assert [token for token in targets if token >= 0] == [*pair.messages[-1]["content"].encode(), END]
    assert [token for token in others if token >= 0] == [*b"no", END]


def test_templates_of_a_tokenizer_of_a_run_and_of_a_file(tmp_path):
    path, _ = dialogues(tmp_path)
    write_tokenizer(tmp_path)
    data = DialogueDataModule(path, tokenizer=str(tmp_path / "tokenizer.json"))
    assert "eos_token" in data.tokenizer.chat_template
    (tmp_path / "mine.jinja").write_text("{% for m in messages %}{{ m.content + eos_token }}{% endfor %}")
    mine = DialogueDataModule(path, tokenizer="bytes", chat_template=str(tmp_path / "mine.jinja"))
    assert mine.splits.train.gather(slice(0, 1))[0][0, 0, :1].tolist() == [ord("q")]
    again = DialogueDataModule(path)
    again.known = mine.tokenizer.to_dict()
    assert isinstance(again.tokenizer, ByteTokenizer)
    assert again.tokenizer.chat_template == mine.tokenizer.chat_template
    assert isinstance(data.tokenizer, JsonTokenizer)
    learned = DialogueDataModule(path, vocab_size=265)
    assert learned.tokenizer.vocab_size == 265
    text = b"".join(learned.tokenizer.decode(ids) for rows in learned.splits for ids, _ in found_ids(learned, rows))
    assert text.count(b"assistant\n") == 54


def found_ids(data, rows):
    x, _ = rows.gather(slice(0, len(rows)))
    return [(tokens[numbers >= 0], numbers) for tokens, numbers in x]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"messages": []}\n', "a.jsonl: line 1: no answer of the role assistant"),
        ("a.jsonl", '\n{"messages": 3}\n', "a.jsonl: line 2: neither a text nor a list of messages: 3"),
        ("a.jsonl", '{"messages": [{"role": "assistant"}]}', "line 1: the content of a message is not text"),
        ("a.jsonl", "[1]\n", r"line 1: not a JSON object; each line must be {\"messages\""),
        ("a.jsonl", '{"a": 1\n', "line 1: not JSON"),
        ("a.jsonl", '{"text": "x"}', "line 1: it has the fields text; it must be .*--data.prompt and --data.response"),
        (
            "a.jsonl",
            '{"prompt": "a", "chosen": [{"role": "user", "content": "b"}, {"role": "assistant", "content": '
            '"c"}], "rejected": "d"}',
            "line 1: chosen and rejected have different questions",
        ),
        ("a.csv", 'question,answer\n"a\nb",c\nd\n', "a.csv: line 4: it has another number of values than the header"),
        ("a.csv", 'question,answer\n"a" b,c\n', "a.csv: line 2: .*expected after"),
        (
            "a.jsonl",
            '{"messages": [{"role": "robot", "content": ""}, {"role": "assistant", "content": ""}]}\n' * 9,
            "a.jsonl: line [0-9]: message 1: it must be",
        ),
        ("a.jsonl", '{"question": "a", "answer": "b"}\n', "no rows in the validation split, of 1 rows in all"),
        ("a.jsonl", '{"question": "aaaaaaaaaaa", "answer": "b"}\n' * 9, "no answer fits into 8 tokens in some split"),
    ],
)
def test_bad_lines_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        _ = DialogueDataModule(str(tmp_path / name), tokenizer="bytes", context=8).splits


def test_dialogues_without_a_worse_answer_are_no_pairs(tmp_path):
    path, _ = dialogues(tmp_path)
    with pytest.raises(UserError, match="line [0-9]+: no rejected answer; use --data DialogueDataModule"):
        _ = PreferenceDataModule(path, tokenizer="bytes").splits
