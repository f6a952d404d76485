import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from project.data import ImageDataModule
from project.data.augmentation import Augmentation
from project.data.image_rows import ImageRows
from project.runs.checkpoint import read_checkpoint
from project.runtime.errors import UserError
from project.training.train import train
from tests.data.images import write_images

PIXELS = torch.arange(256, dtype=torch.uint8).view(16, 1, 4, 4)


@pytest.fixture
def pictures(folder, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    return write_images(folder / "pictures")


def test_folders_are_classes_and_pixels_those_of_the_files(pictures):
    data = ImageDataModule(str(pictures))
    assert data.class_names == ["a", "b"]
    assert data.in_shape == (1, 6, 6)
    assert data.row_counts == [17, 2, 5]
    known = {np.asarray(Image.open(path)).tobytes(): path.parent.name for path in pictures.glob("*/*.png")}
    seen = [
        (x.numpy().astype(np.uint8).tobytes(), "ab"[y])
        for rows in data.splits
        for x, y in zip(rows.x, rows.y, strict=True)
    ]
    assert len({pixels for pixels, _ in seen}) == 24
    assert all(known[pixels] == name for pixels, name in seen)
    mean, std = data.splits.train.x.double().mean(), data.splits.train.x.double().std(correction=0)
    assert data.feature_statistics.mean.item() == pytest.approx(mean.item(), rel=1e-12)
    assert data.feature_statistics.std.item() == pytest.approx(std.item(), rel=1e-12)


def test_folders_of_splits_are_used(pictures, folder):
    shutil.copytree(pictures, folder / "all/train")
    (folder / "all/valid").mkdir()
    (folder / "all/train/b").rename(folder / "all/valid/b")
    write_images(folder / "all/train", "b", 3)
    data = ImageDataModule(str(folder / "all"))
    assert data.row_counts == [12, 12, 3]
    assert data.splits.val.y.tolist() == [1] * 12
    (folder / "all/valid/b").rename(folder / "all/valid/c")
    with pytest.raises(UserError, match="folder 'c' is not a class of .*train; the classes are a, b"):
        _ = ImageDataModule(str(folder / "all")).splits


@pytest.mark.parametrize("target", ["brightness", "kind"])
def test_a_table_names_the_files_and_their_targets(pictures, target):
    files = sorted(path.relative_to(pictures).as_posix() for path in pictures.glob("*/*.png"))
    rows = [f"{name},{np.asarray(Image.open(pictures / name)).mean()},{name[0]}" for name in files]
    (pictures / "table.csv").write_text("\n".join(["file,brightness,kind", *rows, "a/0.png,,"]))
    data = ImageDataModule(str(pictures / "table.csv"), target)
    assert sum(data.row_counts) == 24
    assert data.left_out == {"rows without a target or path": 1}
    if target == "kind":
        assert ImageDataModule.default_model({"path": data.path, "target": target}).endswith(".Classification")
        assert data.class_names == ["a", "b"]
    else:
        assert ImageDataModule.default_model({"path": data.path, "target": target}).endswith(".Regression")
        for rows in data.splits:
            assert rows.y[:, 0].equal(rows.x.mean((1, 2, 3)))


def test_broken_files_are_named_and_left_out_by_flag(pictures):
    (pictures / "a/0.png").write_bytes((pictures / "a/0.png").read_bytes()[:50])
    (pictures / "b/new.jpg").write_text("a web page")
    (pictures / "b/notes.txt").write_text("not an image by its name")
    with pytest.raises(UserError, match=r"2 of 25 files cannot be used: .*0.png cannot be .*new.jpg is not an image"):
        _ = ImageDataModule(str(pictures)).splits
    data = ImageDataModule(str(pictures), skip_broken=True)
    with pytest.warns(UserWarning, match="2 of 25 files"):
        assert sum(data.row_counts) == 23
    assert all((rows.x.amax((1, 2, 3)) > 0).all() for rows in data.splits)


def test_files_are_decoded_once_and_again_when_they_change(pictures, folder, monkeypatch):
    first = ImageDataModule(str(pictures)).splits.train.x
    moved = pictures.rename(folder / "moved")
    monkeypatch.setattr("project.data.image_cache.decode", None)
    assert ImageDataModule(str(moved)).splits.train.x.equal(first)
    monkeypatch.undo()
    for path in moved.glob("*/*.png"):
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    assert ImageDataModule(str(moved)).splits.train.x.equal(255 - first)


@pytest.mark.parametrize(
    ("change", "arguments", "problem"),
    [
        (lambda folder: write_images(folder, "a", 1, 9), {}, "2 sizes, 6 x 6 to 9 x 9; set --data.size"),
        (lambda folder: shutil.rmtree(folder / "b"), {}, "fewer than two classes"),
        (lambda folder: [shutil.rmtree(folder / name) for name in "ab"], {}, "no images; make a folder for each"),
        (
            lambda folder: (folder / "t.csv").write_text("file,y\na/0.png,1\n"),
            {"path": "pictures/t.csv"},
            "--data.target",
        ),
        (
            lambda folder: (folder / "t.csv").write_text("file,y\na/99.png,1\na/0.png,2\n"),
            {"path": "pictures/t.csv", "target": "y"},
            r"99.png: no such file \(1 of 2",
        ),
        (
            lambda folder: (folder / "t.csv").write_text("u,v,y\na/0.png,b/0.png,1\n"),
            {"path": "pictures/t.csv", "target": "y"},
            "set --data.image to one of",
        ),
        (lambda _: None, {"path": "s3://bucket/images"}, "read from this machine"),
    ],
    ids=["sizes", "one class", "nothing", "no target", "missing file", "which column", "remote"],
)
def test_mistakes_end_in_one_line(pictures, change, arguments, problem):
    change(pictures)
    with pytest.raises(UserError, match=problem) as error:
        _ = ImageDataModule(**{"path": str(pictures), **arguments}).splits
    assert "\n" not in str(error.value)


def test_a_mirrored_image_is_the_image_or_its_mirror():
    rows = ImageRows(PIXELS, torch.arange(16), torch.zeros(16), Augmentation(flip=True))
    sampler = rows.sampler(16, shuffle=True, seed=1)
    order = next(iter(sampler))
    x, plain = rows.gather(order)[0], PIXELS[order % 16].float()
    mirrored = (x == plain.flip(3)).all((1, 2, 3))
    assert (mirrored ^ (x == plain).all((1, 2, 3))).all()
    assert 0 < mirrored.sum() < 16


def test_shifts_turns_and_zooms_move_pixels_as_they_say():
    middle = torch.full((1, 7), 0.5)
    x = torch.rand(1, 1, 8, 8) * 255
    everything = Augmentation(shift=0.25, rotate=90, zoom=0.5)
    assert torch.allclose(everything(x, middle), x, atol=1e-3)
    right = middle.clone()
    right[0, 3] = 0.0  # by the largest shift
    assert torch.allclose(everything(x, right)[..., 2:], x[..., :-2], atol=1e-3)
    turned = middle.clone()
    turned[0, 1] = 1.0
    assert torch.allclose(everything(x, turned), x.rot90(1, (2, 3)), atol=1e-2)
    assert Augmentation(contrast=0.5)(x, torch.ones(1, 7)).max() <= 255


def test_augmented_rows_depend_on_seed_and_epoch_alone():
    change = Augmentation(True, 0.2, 20, 0.2, 0.2)
    rows = ImageRows(PIXELS, torch.arange(16), torch.arange(16), change, seed=2)

    def epoch(number, size):
        sampler = rows.sampler(size, shuffle=True, seed=2)
        sampler.set_epoch(number)
        parts = [rows.gather(index) for index in sampler]
        x, y = (torch.cat(part) for part in zip(*parts, strict=True))
        return x[y.argsort()]

    assert epoch(1, 3).equal(epoch(1, 16))
    assert not epoch(1, 3).equal(epoch(2, 3))
    assert rows.x.equal(PIXELS.float())


def test_a_resumed_training_with_augmentation_is_the_uninterrupted_one(pictures, capsys):
    args = ["--data", "ImageDataModule", "--data.path", str(pictures), "--data.batch_size", "4"]
    args += ["--data.flip", "true", "--data.shift", "0.2", "--optimizer.lr", "0.02"]
    metrics = train([*args, "--trainer.max_epochs", "3"])
    assert metrics["test/accuracy"] > 0.5
    assert "Images of" in capsys.readouterr().out
    train([*args, "--trainer.max_epochs", "1"])
    train(["--ckpt_path", "lightning_logs/version_1", "--trainer.max_epochs", "3"])
    whole, resumed = (
        read_checkpoint(pictures.parent / f"lightning_logs/version_{n}/checkpoints/last.ckpt")["state_dict"]
        for n in (0, 1)
    )
    assert all(value.equal(resumed[name]) for name, value in whole.items())


def test_a_training_never_holds_all_images_as_numbers(pictures, capsys, monkeypatch):
    def everything(rows):
        raise AssertionError("all pixels at once")

    monkeypatch.setattr(ImageRows, "x", property(everything))
    train(["--data", "ImageDataModule", "--data.path", str(pictures), "--trainer.max_epochs", "1"])


def test_few_labels_and_folds_choose_among_images(pictures):
    from project.data.sampling import Sampling

    data = ImageDataModule(str(pictures))
    data.sampling = Sampling(labels=4)
    assert sorted(data.splits.train.y.tolist()) == [0, 0, 1, 1]
    tested = []
    for fold in range(3):
        data = ImageDataModule(str(pictures))
        data.sampling = Sampling(folds=3, fold=fold)
        tested += [x.numpy().tobytes() for x in data.splits.test.x]
    assert len(tested) == len(set(tested)) == 24
