from project.config.yaml import flatten
from project.runs.folder import next_version


def test_next_version_follows_the_highest(tmp_path):
    assert next_version(tmp_path / "none").name == "version_0"
    for name in ("version_0", "version_7", "version_x", "other"):
        (tmp_path / name).mkdir()
    assert next_version(tmp_path).name == "version_8"


def test_hyperparameters_are_flat_short_and_without_none():
    config = {
        "model": {"class_path": "a.b.Net", "init_args": {"hidden": [1, 2], "act": None}},
        "seed": 0,
        "sched": None,
    }
    assert flatten(config) == {"model": "Net", "model.hidden": "[1, 2]", "seed": 0}
