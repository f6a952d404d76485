"""Read images block by block, as the rows of a table of paths."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from project.data.image_files import image_table, is_folder, is_image, with_contents
from project.data.table import stream
from project.serving.inputs import Numbers
from project.serving.metadata import Metadata
from project.serving.table_rows import numbers

BLOCK_ROWS = 64  # images that are in memory at the same time


def image_stream(source: str | Path, column: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Return the schema and the rows of a table of paths; the paths may also be an image, or a folder of images."""
    if _is_images(source):
        table = image_table(str(source), column)
        return table.schema, iter(table.to_batches(BLOCK_ROWS))
    schema, blocks = stream(source)
    return schema, (part for block in blocks for part in pa.Table.from_batches([block]).to_batches(BLOCK_ROWS))


def image_numbers(source: str | Path, column: str, table: pa.Table, metadata: Metadata) -> Numbers:
    """Return the pixels (rows, pixels) of the files whose paths are in a table."""
    return numbers(with_contents("." if _is_images(source) else source, table, column), metadata)


def _is_images(source: str | Path) -> bool:
    return is_image(Path(source).name) or is_folder(str(source))
