import re

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from project.data import DigitsDataModule
from project.models import Classification
from project.training.train import train


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    train(["--trainer.default_root_dir", str(folder), "--trainer.max_epochs", "1", "--data.features", "2"])
    return EventAccumulator(str(folder / "lightning_logs/version_0"), size_guidance={"tensors": 0}).Reload()


def test_each_coefficient_lies_in_one_chart_with_its_exact_value(events):
    [event] = events.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    curves = events.Tags()["scalars"]
    shown = {
        (section.title, chart.title): [name for tag in chart.multiline.tag for name in curves if re.search(tag, name)]
        for section in layout.category
        for chart in section.chart
    }
    coefficients = {
        ("Learned and exact coefficients", name): [f"equation/{name}", f"equation/{name} exact"]
        for name in ("x1", "x2", "bias")
    }
    assert shown == {("Loss", "training and validation"): ["train/loss", "val/loss"], **coefficients}


def test_the_configuration_and_the_network_are_texts(events):
    texts = {
        name: events.Tensors(f"{name}/text_summary")[0].tensor_proto.string_val[0].decode()
        for name in ("configuration", "network")
    }
    assert "    seed_everything: 0\n" in texts["configuration"]
    assert "Linear(in_features=2, out_features=1" in texts["network"]


def test_no_curve_counts_the_epochs(events):
    assert "epoch" not in events.Tags()["scalars"]


def test_classes_have_no_coefficients():
    from project.callbacks.dashboards import charts

    data = DigitsDataModule(classes=[0, 1])
    assert charts(Classification(data.in_shape, data.out_features), data).keys() == {"Loss"}
