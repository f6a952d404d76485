from types import SimpleNamespace

import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from sklearn.metrics import confusion_matrix

from project.callbacks import FitFigure
from project.callbacks.fit_figure import fit_figure
from project.data import DigitsDataModule
from project.models import Classification, Regression
from tests.callbacks.fitting import fit, small_data


def test_one_feature_shows_the_learned_and_the_exact_line():
    data = small_data(features=1)
    model = fit(data=data).lightning_module
    [axes] = fit_figure(model, data, "title").axes
    exact, learned = axes.get_lines()
    x, y = (part[:, 0].double().numpy() for part in (data.splits.train.x, data.splits.train.y))
    np.testing.assert_allclose(exact.get_ydata(), np.polyval(np.polyfit(x, y, 1), exact.get_xdata()), rtol=1e-4)
    slope, _ = np.polyfit(learned.get_xdata(), learned.get_ydata(), 1)
    np.testing.assert_allclose(slope, model.equation.weights.item(), rtol=1e-5)


def test_several_features_show_predictions_against_actual_values():
    data = small_data()
    model = Regression(data.in_shape, data.out_features, standardize=False)
    [axes] = fit_figure(model, data, "title").axes
    x, y = data.splits.val.x, data.splits.val.y
    points = torch.cat([y, model(x).detach()], 1).numpy()
    np.testing.assert_allclose(axes.collections[0].get_offsets(), points, rtol=1e-6)


def test_classes_show_the_counts_of_scikit_learns_confusion_matrix():
    data = DigitsDataModule(classes=[0, 1, 2])
    model = Classification(data.in_shape, data.out_features)
    [axes] = fit_figure(model, data, "title").axes
    counts = confusion_matrix(data.splits.val.y, model(data.splits.val.x).argmax(1))
    assert [text.get_text() for text in axes.texts] == [str(count or "") for count in counts.flatten()]


def test_a_figure_is_logged_at_the_start_in_the_middle_and_at_the_end(tmp_path, monkeypatch):
    logger, logged = TensorBoardLogger(tmp_path), []
    monkeypatch.setattr("project.callbacks.fit_figure.fit_figure", lambda model, data, title: title)
    writer = SimpleNamespace(add_figure=lambda name, figure, step: logged.append((name, figure, step)))
    monkeypatch.setattr(TensorBoardLogger, "experiment", writer)
    for name in ("log_metrics", "log_hyperparams", "log_graph", "save", "finalize"):
        monkeypatch.setattr(TensorBoardLogger, name, lambda *_, **__: None)
    fit(FitFigure(), logger=logger, max_epochs=6)
    steps = {0: 0, 3 * 6: 3 * 6 - 1, 6 * 6: 6 * 6}  # that of the middle is logged with the metrics of its epoch
    assert logged == [("fit", f"after {done} steps", step) for done, step in steps.items()]
