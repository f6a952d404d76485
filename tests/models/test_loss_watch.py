import pytest
import torch

from project.models import Regression
from project.models.loss_watch import MAX_PENDING, LossWatch
from project.runtime.errors import UserError
from project.training.train import train


class OnGPU(torch.Tensor):
    """A number that says that it is on a GPU."""

    device = torch.device("cuda")


def loss(value):
    return torch.tensor(value).as_subclass(OnGPU)


@pytest.fixture
def watch():
    import lightning

    model = Regression((1,), 1)
    model.trainer = lightning.Trainer(logger=False, enable_checkpointing=False)
    return LossWatch(model)


def test_losses_of_a_gpu_are_read_together_and_the_error_names_the_batch(watch):
    for batch, value in enumerate([1.0, 2.0, torch.nan, 1.0], start=1):
        watch.check(loss(value), batch)
    with pytest.raises(UserError, match="the loss is nan in epoch 1, batch 3;"):
        watch.flush()


def test_losses_of_a_gpu_are_read_before_too_many_are_collected(watch):
    watch.check(loss(torch.inf), 1)
    for batch in range(2, MAX_PENDING):
        watch.check(loss(1.0), batch)
    with pytest.raises(UserError, match="the loss is inf in epoch 1, batch 1;"):
        watch.check(loss(1.0), MAX_PENDING)


def test_the_first_loss_is_the_baseline_of_the_others(watch):
    watch.check(loss(5.0), 1)
    watch.check(loss(1e9), 2)
    with pytest.raises(UserError, match=r"the loss is 1e\+09 in epoch 1, batch 2;"):
        watch.flush()


def test_a_loss_on_the_cpu_is_checked_at_once(watch):
    watch.check(torch.tensor(1.0), 1)
    with pytest.raises(UserError, match="the loss is nan in epoch 1, batch 2;"):
        watch.check(torch.tensor(torch.nan), 2)


def check_all(watch, values):
    for batch, value in enumerate(values, start=1):
        watch.check(torch.tensor(float(value)), batch)


def test_a_loss_that_grows_slowly_is_noticed_long_before_it_is_huge(watch):
    with pytest.raises(UserError, match=r"the loss of most steps is [\d.]+ in epoch 1, batch \d+;"):
        check_all(watch, [1.05**step for step in range(100)])


@pytest.mark.parametrize(
    "values",
    [
        [1e4 if step % 3 == 0 else 1.0 for step in range(300)],  # batches with an outlier
        [1 + 300 * max(0, 12 - abs(step - 12)) for step in range(200)],  # rises to 3,601 at the start, and falls
        [5.0 + step / 100 for step in range(3_000)],  # grows to less than ten times the first loss
    ],
)
def test_a_loss_that_recovers_or_has_outliers_is_none_that_diverges(watch, values):
    check_all(watch, values)


def test_a_table_of_correlated_columns_that_diverges_names_the_learning_rate(folder):
    random = torch.Generator().manual_seed(0)
    shared, own = (torch.randn(1_000, count, generator=random) for count in (1, 200))
    rows = torch.cat([shared + 0.3 * own, shared], dim=1).tolist()
    header = ",".join([*(f"x{number}" for number in range(200)), "y"])
    (folder / "t.csv").write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]))
    with pytest.raises(UserError, match=r"--optimizer.lr 0.01: training diverges, .* in epoch 1, batch \d+; lower"):
        train(["--data", "TabularDataModule", "--data.path", "t.csv", "--data.target", "y"])
