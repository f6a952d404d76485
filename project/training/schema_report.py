"""Show the inferred kinds of the columns of a table, or the size of a text or of images, before training."""

from lightning.pytorch import LightningDataModule

from project.data.dialogue import DialogueDataModule
from project.data.images import ImageDataModule
from project.data.tabular import TabularDataModule
from project.data.text import TextDataModule
from project.runtime.address import without_credentials
from project.runtime.console import Table, open_console
from project.schema import Field

MAX_FIELDS = 40


def print_schema(data: LightningDataModule) -> None:
    """Print the kind of each column of a table, and what was left out; nothing if all are complete numbers.

    For text, print the number of tokens; for images, their size and number.
    """
    if isinstance(data, TextDataModule):
        open_console().print(_text_line(data), markup=False, highlight=False)
    if isinstance(data, DialogueDataModule):
        open_console().print(_dialogue_lines(data), markup=False, highlight=False)
    if isinstance(data, ImageDataModule):
        open_console().print(_image_lines(data), markup=False, highlight=False)
    if not isinstance(data, TabularDataModule) or data.schema is None:
        return
    console, fields = open_console(), data.schema.fields
    if any(field.kind != "number" or field.gaps for field in fields):
        table = Table(title=f"Features of {without_credentials(data.path)}, in the training rows", title_justify="left")
        for name in ("column", "kind", "levels", "missing", "values"):
            table.add_column(name, justify="right" if name in ("levels", "missing") else "left")
        for field in fields[:MAX_FIELDS]:
            table.add_row(*field_cells(field))
        console.print(table)
        if len(fields) > MAX_FIELDS:
            console.print(f"… and {len(fields) - MAX_FIELDS} more columns")
    if lines := offsets(data):
        line = f"Subtracted, because float32 would lose digits: {', '.join(lines)}"
        console.print(line, markup=False, highlight=False)
    if data.weights is not None:
        console.print(f"Row weights: {data.weights}", markup=False, highlight=False)
    if data.class_names is not None:
        console.print(
            f"Classes of {data.target_names[0]}: {', '.join(data.class_names)}", markup=False, highlight=False
        )
    if lines := left_out(data):
        console.print(f"Left out: {'; '.join(lines)}", markup=False, highlight=False)


def offsets(data: TabularDataModule) -> list[str]:
    """Describe the numbers that are subtracted from columns whose values are far from zero."""
    assert data.schema is not None
    pairs = [*zip(data.schema.names, data.schema.offsets, strict=True)]
    pairs += zip(data.target_names, data.target_offsets or [], strict=False)
    return [f"{offset!r} from {name}" for name, offset in pairs if offset]


def left_out(data: TabularDataModule) -> list[str]:
    """Describe the columns and rows of a table that are left out."""
    lines = [f"column {name!r}, which counts the rows" for name in data.left_out]
    return lines + [f"{count:,} rows {reason}" for reason, count in data.rows_left_out.items() if count]


def _text_line(data: TextDataModule) -> str:
    counts, sizes = data.files.facts["tokens"], data.split_bytes
    shares = [f"{split} {count:,}" for split, count in counts.items()]
    mean = sum(sizes.values()) / sum(counts.values())
    source = without_credentials(data.path)
    kind, size = data.tokenizer.kind, data.tokenizer.vocab_size
    return f"Text of {source}: tokens {', '.join(shares)}, of {mean:.2f} bytes each; {kind} vocabulary of {size:,}"


def _dialogue_lines(data: DialogueDataModule) -> str:
    rows, facts = data.row_counts, data.facts
    shares = [
        f"{split} {len(part):,}" for split, part in zip(("train", "val", "test"), data.conversations, strict=True)
    ]
    line = (
        f"Dialogues of {without_credentials(data.path)}: {', '.join(shares)}; {facts['tokens']:,} tokens, of which "
        f"{facts['learned']:,} of answers are learned, in {sum(rows):,} windows of {data.context:,}"
    )
    reasons = {"cut": f"longer than --data.context {data.context:,} and cut", "left_out": "without an answer, left out"}
    lost = [f"{facts[name]:,} {reason}" for name, reason in reasons.items() if facts[name]]
    return "\n".join([line, *([f"Of {facts['dialogues']:,} dialogues: {'; '.join(lost)}"] if lost else [])])


def _image_lines(data: ImageDataModule) -> str:
    counts = [f"{split} {count:,}" for split, count in zip(("train", "val", "test"), data.row_counts, strict=True)]
    [field] = data.schema.fields if data.schema is not None else []
    lines = [f"Images of {data.path}: {', '.join(counts)}; {field.summary}"]
    if data.class_names is not None:
        lines.append(f"Classes of {data.target_names[0]}: {', '.join(data.class_names)}")
    left_out = [f"{count:,} {reason}" for reason, count in data.left_out.items() if count]
    return "\n".join([*lines, *([f"Left out: {'; '.join(left_out)}"] if left_out else [])])


def field_cells(field: Field) -> tuple[str, str, str, str, str]:
    """Return name, kind, number of levels, number of missing values, and a summary of the values."""
    levels = str(len(field.level_names)) if field.level_names else ""
    return field.name, field.kind, levels, f"{field.gaps:,}" if field.gaps else "", field.summary
