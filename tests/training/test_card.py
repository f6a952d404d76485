import json
import random

import pytest

from project import train


@pytest.mark.parametrize("target", ["mass", "kind"])
def test_a_card_has_the_columns_and_the_metrics_of_its_run(folder, target):
    draw = random.Random(0)
    rows = [(draw.gauss(3, 1), draw.choice(["a|b", "c"]), draw.choice(["", "1", "2"])) for _ in range(120)]
    text = "".join(f"{2 * x + draw.random()},{x},{kind},{gap}\n" for x, kind, gap in rows)
    (folder / "t.csv").write_text("mass,size,kind,gap\n" + text)
    train(["--data", "TabularDataModule", "--data.path", "t.csv", "--data.target", target, "--trainer.max_epochs", "1"])
    run = folder / "lightning_logs/version_0"
    card, metrics = (run / "card.md").read_text(encoding="utf-8"), json.loads((run / "metrics.json").read_text())
    lines = [[cell.strip() for cell in line.split(" | ")] for line in card.splitlines()]
    shown = {cells[0].removeprefix("| "): cells[1] for cells in lines if len(cells) > 1}
    tested = {name: value for name, value in metrics.items() if name.startswith("test/")}
    assert tested
    assert all(float(shown[name]) == pytest.approx(value, rel=1e-5) for name, value in tested.items())
    assert {"size", "gap"} <= set(shown)
    if target == "mass":
        assert "| kind | category | 2 |  | a\\|b, c |" in card
        assert "Intervals of 90 %" in card
    else:
        assert "one of 2 classes: a|b, c" in card
    assert "84 training rows, 12 validation rows and 24 test rows" in card
