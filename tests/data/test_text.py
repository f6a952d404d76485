import json
import os
import signal
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from project.data import TextDataModule
from project.data.documents import PIECE_BYTES, Documents
from project.data.text_split import SPLITS, TextSplit
from project.data.windows import Windows
from project.runtime.errors import UserError
from project.text import BPETokenizer, ByteTokenizer
from tests.command import forks

TEXT = b"".join(b"%d bottles of beer on the wall, \xe2\x80\x9ccheers\xe2\x80\x9d.\n" % number for number in range(200))


@pytest.fixture
def text(folder):
    """A file of text, and a cache of tokens of its own."""
    (folder / "beer.txt").write_bytes(TEXT)

    def build(path="beer.txt", **arguments):
        return TextDataModule(path, **{"cache": "cache", "context": 16, "tokenizer": "bytes", **arguments})

    return build


def batches(windows, batch_size, *, shuffle=False, epoch=0, start=0, processes=1):
    """The batches of all processes."""
    found = []
    for rank in range(processes):
        sampler = windows.sampler(batch_size, shuffle, seed=3)
        sampler.epoch, sampler.rank, sampler.num_replicas = epoch, rank, processes
        sampler.start_at(start)
        taken = [windows.gather(index) for index in sampler]
        assert len(taken) == len(sampler) or start
        found += taken
    return found


@settings(deadline=None)
@given(
    tokens=st.integers(2, 200), context=st.integers(1, 40), batch_size=st.integers(1, 9), processes=st.integers(1, 3)
)
def test_each_token_is_a_target_once_in_evaluation(tokens, context, batch_size, processes):
    if tokens <= context or (tokens - 1) // context < processes:
        return
    ids = torch.arange(tokens, dtype=torch.int32)
    seen = []
    for x, y in batches(Windows(ids, context), batch_size, processes=processes):
        assert x.shape == y.shape
        assert x.dtype == y.dtype == torch.int64
        counted = y != -100
        assert (x + 1)[counted].equal(y[counted])
        assert x.diff(dim=1).eq(1).all()
        seen += y[counted].tolist()
    assert sorted(seen) == list(range(1, tokens))


@settings(deadline=None)
@given(tokens=st.integers(9, 280), context=st.integers(1, 8), batch_size=st.integers(1, 9), epoch=st.integers(0, 5))
def test_an_epoch_of_training_takes_windows_side_by_side(tokens, context, batch_size, epoch):
    found = batches(Windows(torch.arange(tokens, dtype=torch.int32), context), batch_size, shuffle=True, epoch=epoch)
    x, y = (torch.cat(parts) for parts in zip(*found, strict=True))
    assert y.equal(x + 1)
    starts = x[:, 0].sort().values
    assert starts.diff().eq(context).all()
    assert len(starts) >= max(1, (tokens - 1) // context - 1)
    assert starts[0] < context
    assert y.max() < tokens


def test_the_order_and_the_offset_are_functions_of_seed_and_epoch():
    windows = Windows(torch.arange(2_000, dtype=torch.int32), 50)
    epochs = [torch.cat([x for x, _ in batches(windows, 7, shuffle=True, epoch=epoch)]) for epoch in (0, 1, 0, 2)]
    assert epochs[0].equal(epochs[2])
    assert not epochs[0].equal(epochs[1])
    offsets = {int(x[:, 0].min()) for x in epochs}
    assert len(offsets) == 3, "the windows of different epochs begin elsewhere"
    assert all(offset % 50 == offset for offset in offsets)


@pytest.mark.parametrize("start", [1, 7, 20])
def test_an_epoch_continues_in_the_middle(start):
    windows = Windows(torch.arange(2_000, dtype=torch.int32), 50)
    whole, rest = (
        torch.cat([x for x, _ in batches(windows, 7, shuffle=True, epoch=4, start=done)]) for done in (0, start)
    )
    assert rest.equal(whole[start:])


def test_ids_above_a_signed_number_of_16_bits_are_whole():
    ids = torch.tensor([0, 40_000, 65_535, 1], dtype=torch.int32)
    for tokens in (ids, ids.to(torch.int16)):
        [(x, y)] = batches(Windows(tokens, 3), 1)
        assert x.tolist() == [[0, 40_000, 65_535]]
        assert y.tolist() == [[40_000, 65_535, 1]]


@pytest.mark.parametrize("workers", [0, 2])
def test_the_targets_of_a_split_stand_for_all_of_its_bytes(text, workers):
    data = text(num_workers=workers, batch_size=5)
    sizes = torch.tensor(data.token_bytes)
    for split in ("val", "test"):
        loader = getattr(data, f"{split}_dataloader")()
        counted = [y[y != -100] for _, y in loader]
        assert sum(int(sizes[y].sum()) for y in counted) == data.split_bytes[split]
        assert data.tokenizer.decode(torch.cat(counted).tolist()) == data.text(split)
    assert b"".join(map(data.text, SPLITS)) == TEXT
    assert data.in_shape == (16,)
    assert data.out_features == 257


def test_workers_load_the_same_training_batches(text):
    alone, helped = ([x for x, _ in text(num_workers=workers).train_dataloader()] for workers in (0, 2))
    assert all(one.equal(other) for one, other in zip(alone, helped, strict=True))


def test_the_last_tenth_of_the_bytes_is_tested_on(folder):
    (folder / "numbers.txt").write_bytes(bytes(range(32, 127)) * 100)
    data = TextDataModule("numbers.txt", tokenizer="bytes", cache="cache", context=16)
    assert data.split_bytes == {"train": 8_075, "val": 475, "test": 950}
    assert data.text("test") == (bytes(range(32, 127)) * 100)[-950:]


@settings(deadline=None)
@given(
    texts=st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=40),
    by=st.sampled_from(["position", "documents"]),
    val=st.floats(0.01, 0.4),
    test=st.floats(0.01, 0.4),
)
def test_a_split_is_a_partition_that_cuts_no_character(texts, by, val, test):
    pieces = list(enumerate(text.encode() for text in texts))
    split = TextSplit(torch.tensor([len(data) for _, data in pieces]).numpy(), val, test, by, seed=1)
    parts = list(split.divide(pieces))
    assert b"".join(part.data for part in parts) == b"".join(data for _, data in pieces)
    for part in parts:
        part.data.decode()
        assert part.starts, "these documents are single pieces"
    if by == "position":
        order = [SPLITS.index(part.split) for part in parts]
        assert order == sorted(order)
    else:
        assert [part.data for part in parts] == [data for _, data in pieces]
    counts = Counter()
    for part in parts:
        counts[part.split] += len(part.data)
    longest = max(len(data) for _, data in pieces) if by == "documents" else 4
    total = sum(counts.values())
    assert abs(counts["test"] - total * test) <= longest + 1
    assert abs(counts["val"] - total * val) <= longest + 1


def test_a_tokenizer_is_learned_from_the_training_split_alone(text):
    data = text(tokenizer="bpe", vocab_size=280)
    alone = BPETokenizer.train([data.text("train")], 280)
    assert data.tokenizer.to_dict() == alone.to_dict()
    assert data.out_features == 280
    assert b"".join(map(data.text, SPLITS)) == TEXT


def test_tokens_are_written_once_and_again_for_another_text_or_tokenizer(text, folder, monkeypatch):
    def never(*_):
        raise AssertionError("tokenized again")

    first = text(tokenizer="bpe", vocab_size=280)
    assert first.row_counts
    with monkeypatch.context() as patch:
        patch.setattr(BPETokenizer, "encode", never)
        assert text(tokenizer="bpe", vocab_size=280).row_counts == first.row_counts
        known = text(tokenizer="bytes")
        known.known = first.fields[0]["tokenizer"]  # as a run is opened
        assert known.fingerprint == first.fingerprint
        assert known.row_counts == first.row_counts
        for arguments in ({"vocab_size": 281}, {"vocab_size": 280, "val_fraction": 0.2}):
            with pytest.raises(AssertionError, match="tokenized again"):
                _ = text(tokenizer="bpe", **arguments).row_counts
    (folder / "beer.txt").write_bytes(TEXT[1:])
    assert text(tokenizer="bpe", vocab_size=280).fingerprint != first.fingerprint


def write_tokens_and_be_killed(folder):
    os.chdir(folder)
    encode, calls = ByteTokenizer.encode, []

    def killed(self, data):
        calls.append(data)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return encode(self, data)

    ByteTokenizer.encode = killed
    _ = TextDataModule("beer.txt", tokenizer="bytes", cache="cache", context=16).splits


def test_a_process_that_is_killed_while_it_writes_leaves_nothing_to_be_read(text, folder):
    writer = forks().Process(target=write_tokens_and_be_killed, args=(str(folder),))
    writer.start()
    writer.join()
    assert writer.exitcode == -signal.SIGKILL
    assert list((folder / "cache").glob("*.partial"))
    data = text()
    assert b"".join(map(data.text, SPLITS)) == TEXT
    assert not list((folder / "cache").glob("*.partial"))


def facts_of_tokens(folder, facts):
    os.chdir(folder)
    data = TextDataModule("beer.txt", tokenizer="bpe", vocab_size=280, cache="cache", context=16)
    facts.put((data.row_counts, data.fingerprint))


def test_processes_that_need_the_same_tokens_at_once_all_read_them(text, folder):
    facts = forks().SimpleQueue()
    both = [forks().Process(target=facts_of_tokens, args=(str(folder), facts)) for _ in range(2)]
    for process in both:
        process.start()
    data = text(tokenizer="bpe", vocab_size=280)
    assert [facts.get() for _ in both] == [(data.row_counts, data.fingerprint)] * 2
    assert len([path for path in (folder / "cache").iterdir() if path.is_dir()]) == 1


def test_many_documents_are_split_whole_and_each_begins_with_the_end_token(text, folder):
    lines = [json.dumps({"body": f"document {number} " * 5}) for number in range(200)]
    (folder / "many.jsonl").write_text("\n".join(lines))
    data = text("many.jsonl", column="body")
    found = [document for split in SPLITS for document in data.texts(split)]
    assert sorted(found) == sorted(json.loads(line)["body"].encode() for line in lines)
    assert data.documents["test"] == pytest.approx(20, abs=2)
    tokens = data.files.tokens("test")
    assert tokens[0] == data.tokenizer.end
    assert (tokens == data.tokenizer.end).sum() == data.documents["test"]
    assert text("many.jsonl", column="body", seed=1).text("test") != data.text("test")
    whole = "".join(json.loads(line)["body"] for line in lines)
    assert text("many.jsonl", column="body", split="position").text("test").decode() == whole[-round(len(whole) / 10) :]


def test_all_formats_hold_the_same_documents(folder):
    texts = ["one", "zwei — 二", "", "three\nlines\n\n"]
    (folder / "a.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts) + "\n\n")
    pq.write_table(pa.table({"id": range(4), "text": [*texts[:2], None, texts[3]]}), folder / "b.parquet")
    (folder / "c").mkdir()
    for number, text in enumerate(texts):
        (folder / "c" / f"{number}.md").write_text(text)
    (folder / "c" / ".hidden").write_text("not read")
    expected = [(number, text.encode()) for number, text in enumerate(filter(None, texts))]
    for path in ("a.jsonl", "b.parquet", "c", f"file://{folder}/c"):
        assert [tuple(piece) for piece in Documents(path)] == expected, path


def test_pieces_of_a_long_file_are_the_file_and_end_at_lines(folder):
    content = TEXT * (3 * PIECE_BYTES // len(TEXT))
    (folder / "long.txt").write_bytes(content)
    pieces = [data for _, data in Documents("long.txt")]
    assert b"".join(pieces) == content
    assert len(pieces) > 2
    assert all(len(data) <= PIECE_BYTES + 1 and data.endswith(b"\n") for data in pieces)
    (folder / "binary").write_bytes(bytes(range(256)) * (2 * PIECE_BYTES // 256))
    assert b"".join(data for _, data in Documents("binary")) == (folder / "binary").read_bytes()


@pytest.mark.parametrize(
    ("files", "arguments", "message"),
    [
        ({}, {"path": "none.txt"}, "none.txt: no such file"),
        ({"empty.txt": ""}, {"path": "empty.txt"}, "empty.txt: the file is empty"),
        ({"f/.x": "x"}, {"path": "f"}, "f: no files with text in this folder"),
        ({"a.jsonl": '{"text": ""}\n'}, {"path": "a.jsonl"}, "a.jsonl: no text"),
        ({"a.jsonl": '{"body": "x"}\n'}, {"path": "a.jsonl"}, "line 1: not a JSON object with the field 'text'"),
        ({"a.jsonl": '{"text": 3}\n'}, {"path": "a.jsonl"}, "line 1: the text is int"),
        ({"a.jsonl": "text\n"}, {"path": "a.jsonl"}, "line 1: not a JSON object"),
        ({}, {"tokenizer": "words"}, "--data.tokenizer: must be bytes, bpe or the path of a tokenizer.json, got words"),
        ({"t.json": "{}"}, {"tokenizer": "t.json"}, "t.json: not a tokenizer.json"),
        ({}, {"tokenizer": "bpe", "vocab_size": 50_000}, "--data.vocab_size: the training text yields at most"),
        ({}, {"context": 2_000}, "beer.txt: the val split has .* tokens, fewer than a window of 2,000"),
        ({}, {"val_fraction": 0.5, "test_fraction": 0.5}, "leave no training rows"),
    ],
)
def test_a_mistake_is_named(text, folder, files, arguments, message):
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    with pytest.raises(UserError, match=message):
        _ = text(**arguments).splits


def test_a_missing_column_of_parquet_is_named(text, folder):
    pq.write_table(pa.table({"body": ["x"]}), folder / "b.parquet")
    with pytest.raises(UserError, match="no column 'text'; choose one with --data.column: body"):
        _ = text("b.parquet").splits


def test_the_corpus_that_a_package_brings_is_the_default(folder):
    data = TextDataModule(cache="cache", tokenizer="bytes")
    assert sum(data.split_bytes.values()) == 4_299_626
    assert data.text("train").startswith(b"1. In the beginning God created the heaven and the earth. 2. And")
    assert data.text("test").endswith(b"Amen.")


def test_a_file_without_a_suffix_has_the_same_fingerprint_in_another_folder(tmp_path):
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "text").write_bytes(b"In the beginning")
    before, after = (Documents(str(tmp_path / name / "text")).fingerprint() for name in ("before", "after"))
    assert before == after
