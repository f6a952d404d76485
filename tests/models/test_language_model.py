"""Language models with a plain Lightning Trainer: metrics, steps, checkpoints."""

import math
from functools import partial

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import LambdaCallback
from torch.utils.data import DataLoader, TensorDataset

from project.models.language_model import LanguageModel
from project.models.muon import MuonAdamW
from project.models.optimization import parameter_groups
from project.models.schedules import WarmupCosine, WarmupStable
from project.nets import GPT, MLP
from project.runtime.errors import UserError

CONTEXT, VOCABULARY, ROWS = 8, 11, 24
TOKEN_BYTES = [1, 2, 3, 4, 1, 1, 5, 1, 2, 1, 0]
SMALL = partial(GPT, width=16, layers=1, heads=2)


def windows(rows: int = ROWS, ignored: bool = False) -> TensorDataset:
    """Windows in which the next token is the sum of the last two, mod 11."""
    first = torch.randint(VOCABULARY, (rows, 2), generator=torch.Generator().manual_seed(0))
    tokens = [*first.T]
    for _ in range(CONTEXT - 1):
        tokens.append((tokens[-1] + tokens[-2]) % VOCABULARY)
    text = torch.stack(tokens, dim=1)
    x, y = text[:, :-1], text[:, 1:].clone()
    if ignored:
        y[::3, :5] = -100
    return TensorDataset(x, y)


def language_model(**options) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel((CONTEXT,), VOCABULARY, **{"net": SMALL, "token_bytes": TOKEN_BYTES} | options)


def trainer(folder, **options) -> lightning.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return lightning.Trainer(accelerator="cpu", default_root_dir=folder, enable_checkpointing=False, **quiet | options)


def evaluated(model, folder, batch_size: int, data=None) -> dict[str, float]:
    loader = DataLoader(data or windows(ignored=True), batch_size=batch_size)
    return trainer(folder).test(model, loader, verbose=False)[0]


def trained(model, folder, epochs: int = 3, batch_size: int = 4, **options) -> LanguageModel:
    trainer(folder, max_epochs=epochs, **options).fit(model, DataLoader(windows(), batch_size=batch_size))
    return model


def test_metrics_are_means_over_the_counted_tokens(tmp_path):
    model = trained(language_model(), tmp_path).eval()
    metrics = evaluated(model, tmp_path, batch_size=5)
    nats, tokens, size = 0.0, 0, 0
    for x, y in windows(ignored=True):
        probabilities = model(x[None])[0].double().softmax(1)
        for row, target in zip(probabilities, y.tolist(), strict=True):
            if target != -100:
                nats, tokens, size = nats - math.log(row[target].item()), tokens + 1, size + TOKEN_BYTES[target]
    assert metrics["test/loss"] == pytest.approx(nats / tokens, rel=1e-6)
    assert metrics["test/perplexity"] == pytest.approx(math.exp(nats / tokens), rel=1e-6)
    assert metrics["test/bits_per_byte"] == pytest.approx(nats / math.log(2) / size, rel=1e-6)


def test_no_losses_are_kept_between_the_logits_of_steps(tmp_path):
    model, counted = language_model(), []
    seen = LambdaCallback(on_train_batch_start=lambda *_: counted.append(int(model.train_metrics["loss"].tokens)))
    trained(model, tmp_path, epochs=1, callbacks=[seen])
    assert counted == [batch * 4 * CONTEXT for batch in range(ROWS // 4)]


def test_metrics_do_not_depend_on_the_batch_size(tmp_path):
    model = trained(language_model(), tmp_path)
    first, *others = (evaluated(model, tmp_path, size) for size in (1, 3, 7, ROWS))
    for other in others:
        assert other == pytest.approx(first, rel=1e-12)


def test_without_bytes_of_tokens_there_are_no_bits_per_byte(tmp_path):
    model = language_model(token_bytes=None)
    assert model.metric_names == ["loss", "perplexity"]
    assert evaluated(model, tmp_path, 4)["test/loss"] == pytest.approx(math.log(VOCABULARY))


@pytest.mark.parametrize(
    "optimizer",
    [partial(torch.optim.AdamW, lr=0.01), pytest.param(MuonAdamW, marks=pytest.mark.slow)],
    ids=["adamw", "muon"],
)
def test_it_learns_a_rule(tmp_path, optimizer):
    model = trained(language_model(optimizer=optimizer), tmp_path, epochs=40)
    assert evaluated(model, tmp_path, 8, windows())["test/loss"] < 0.5 * math.log(VOCABULARY)


def test_a_checkpoint_loads_without_arguments(tmp_path):
    model, path = language_model(optimizer=MuonAdamW), tmp_path / "a.ckpt"
    training = trainer(tmp_path, max_epochs=1)
    training.fit(model, DataLoader(windows(), batch_size=4))
    training.save_checkpoint(path)
    loaded = LanguageModel.load_from_checkpoint(path, weights_only=True).eval()
    x = windows()[:][0]
    assert loaded(x).equal(model.eval()(x))
    assert evaluated(loaded, tmp_path, 4) == evaluated(model, tmp_path, 4)


def test_accumulated_batches_train_as_one_larger_batch(tmp_path):
    one = trained(language_model(), tmp_path, batch_size=8)
    accumulated = trained(language_model(), tmp_path, batch_size=4, accumulate_grad_batches=2)
    for a, b in zip(one.parameters(), accumulated.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-5)


def test_training_metrics_are_those_of_the_batches(tmp_path):
    model = language_model(optimizer=partial(torch.optim.SGD, lr=0.0))
    training = trainer(tmp_path, max_epochs=1)
    training.fit(model, DataLoader(windows(ignored=True), batch_size=5))
    expected = evaluated(model, tmp_path, 5)
    for name in ("loss", "perplexity", "bits_per_byte"):
        assert training.callback_metrics[f"train/{name}"] == pytest.approx(expected[f"test/{name}"], rel=1e-6)


def test_decay_is_for_matrices_and_muon_for_those_of_blocks():
    model = language_model(net=partial(SMALL, bias=True, norm="layer", positions="learned"))
    names = {id(parameter): name for name, parameter in model.net.net.named_parameters()}
    groups = model.configure_optimizers().param_groups
    hidden, outer, vectors = ([names[id(parameter)] for parameter in group["params"]] for group in groups)
    assert [group["weight_decay"] for group in groups] == [0.01, 0.01, 0.0]
    assert set(outer) == {"embedding.weight", "positions.weight", "head.weight"}
    assert all(name.startswith("blocks.0.") and name.endswith(".weight") for name in hidden)
    assert all("norm" in name or name.endswith("bias") for name in vectors)
    assert len(names) == len(hidden) + len(outer) + len(vectors)


@pytest.mark.parametrize("net", [MLP, partial(MLP, hidden=[4])], ids=["class", "partial"])
def test_a_net_that_takes_no_tokens_is_refused(net):
    with pytest.raises(UserError, match="--model.net MLP: does not take tokens; use GPT"):
        language_model(net=net)


def test_a_plain_module_is_a_net(tmp_path):
    net = torch.nn.Sequential(torch.nn.Embedding(VOCABULARY, 16), torch.nn.Linear(16, VOCABULARY))
    before = evaluated(language_model(net=net), tmp_path, 8, windows())["test/loss"]
    model = trained(language_model(net=net, optimizer=partial(torch.optim.AdamW, lr=0.03)), tmp_path, epochs=20)
    assert evaluated(model, tmp_path, 8, windows())["test/loss"] < before - 0.1


def test_targets_of_another_shape_are_one_line(tmp_path):
    data = TensorDataset(windows()[:][0], windows()[:][1][:, 0])
    with pytest.raises(UserError, match=r"targets have shape \(4,\).*--data TextDataModule"):
        trainer(tmp_path, max_epochs=1).fit(language_model(), DataLoader(data, batch_size=4))


def rates(schedule, folder, **options) -> list[float]:
    """The learning rate of each step of a training of 12 steps."""
    seen: list[float] = []

    class Watch(lightning.Callback):
        def on_train_batch_start(self, trainer, *_):
            seen.append(trainer.optimizers[0].param_groups[0]["lr"])

    model = language_model(optimizer=partial(torch.optim.AdamW, lr=1.0), lr_scheduler=schedule)
    trained(model, folder, epochs=2, callbacks=[Watch()], **options)
    return seen


def test_a_schedule_lasts_as_long_as_the_training(tmp_path):
    stable = rates(partial(WarmupStable, warmup_steps=2, decay_share=0.5), tmp_path)
    assert stable == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])
    cosine = rates(partial(WarmupCosine, warmup_steps=0, final=0.1), tmp_path)
    assert cosine == pytest.approx([0.1 + 0.45 * (1 + math.cos(math.pi * step / 12)) for step in range(12)])


def test_a_schedule_counts_optimizer_steps_and_may_be_shorter(tmp_path):
    accumulated = rates(partial(WarmupStable, decay_share=1.0), tmp_path, accumulate_grad_batches=2)
    assert accumulated == pytest.approx([rate for step in range(6) for rate in 2 * [1 - step / 6]])
    short = rates(partial(WarmupStable, decay_share=1.0, total_steps=4), tmp_path)
    assert short == pytest.approx([1, 0.75, 0.5, 0.25] + 8 * [0])
    assert rates(WarmupCosine, tmp_path, max_steps=4)[-1] == pytest.approx(0.1 + 0.45 * (1 + math.cos(0.75 * math.pi)))


def test_a_training_without_an_end_needs_total_steps(tmp_path):
    model = language_model(lr_scheduler=WarmupCosine)
    with pytest.raises(UserError, match="--lr_scheduler WarmupCosine: .*set --lr_scheduler.total_steps"):
        trained(model, tmp_path, epochs=-1, max_time={"seconds": 60})


def test_groups_by_layer_keep_what_muon_must_not_train():
    net = GPT((8,), 11, width=8, layers=2, heads=2)
    groups = parameter_groups(net, 0.5)
    muon = {id(each) for group in groups if group["muon"] for each in group["params"]}
    outer = {id(net.embedding.weight), id(net.head.weight)}
    vectors = {id(each) for each in net.parameters() if each.ndim < 2}
    assert muon == {id(each) for each in net.parameters()} - outer - vectors
    assert {group["lr_factor"] for group in groups} >= {1.0, 0.5}
    assert sum(len(group["params"]) for group in groups) == len([*net.parameters()])
