import numpy as np
import torch
from sklearn.calibration import calibration_curve

from project.callbacks.reliability_figure import reliability, reliability_figure
from project.data import DigitsDataModule
from project.models import Classification


def test_bins_of_equal_size_are_scikit_learns_calibration_curve():
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(2_000, generator=generator, dtype=torch.float64)
    occurred = torch.rand(2_000, generator=generator) < probabilities**2
    predicted, observed = reliability(probabilities, occurred)
    shares, means = calibration_curve(occurred, probabilities, n_bins=10, strategy="quantile")
    np.testing.assert_allclose(predicted, means)
    np.testing.assert_allclose(observed, shares)


def test_the_second_of_two_classes_or_the_most_likely_one_of_more_is_drawn():
    for classes, label in [([0, 1], "predicted probability of 1"), ([0, 1, 2], "predicted probability of the most")]:
        data = DigitsDataModule(classes=classes)
        model = Classification(data.in_shape, data.out_features).eval()
        [axes] = reliability_figure(model, data).axes
        assert axes.get_xlabel().startswith(label)
        probabilities, y = model(data.splits.val.x).detach().softmax(1), data.splits.val.y
        line = axes.get_lines()[1]
        shown = probabilities[:, 1] if len(classes) == 2 else probabilities.max(1).values
        right = y == 1 if len(classes) == 2 else probabilities.argmax(1) == y
        first = shown.argsort(stable=True)[: -(-len(y) // 10)]
        np.testing.assert_allclose(line.get_xdata()[0], shown[first].mean(), rtol=1e-5)
        np.testing.assert_allclose(line.get_ydata()[0], right[first].float().mean(), rtol=1e-5)
