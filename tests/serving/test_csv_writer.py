import csv
import io
import random

import pyarrow as pa
import pytest

from project.serving.table_rows import csv_writer


@pytest.mark.parametrize("letters", ['ab "\n\r,é\t;', "ab é中\t;'"])
def test_texts_are_quoted_as_python_quotes_them(letters):
    draw = random.Random(0)
    cells = ["".join(draw.choices(letters, k=draw.randint(0, 3))) if draw.random() > 0.1 else None for _ in range(300)]
    table = pa.table({"a": cells[:100], "b,c": cells[100:200], "d": cells[200:]})
    expected = io.StringIO()
    csv.writer(expected, lineterminator="\n").writerows(
        [table.column_names, *map(list, zip(*table.to_pydict().values(), strict=True))]
    )
    found = io.BytesIO()
    with io.TextIOWrapper(found, "utf-8", newline="") as file:
        write = csv_writer(file, table.column_names)
        for rows in table.to_batches(17):
            write(rows)
        file.flush()
        assert found.getvalue().decode() == expected.getvalue()
