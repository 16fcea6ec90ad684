"""Degradations as a whole: pipelines, the same samples wherever they are made, and a training that is resumed."""

import collections
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from runs import ROOT, equal, killed_after, make, native, photographs, python, write

from darkroom.build.plan import plan_training, read_options
from darkroom.cli import preview as command
from darkroom.config.options import ChoiceOptions
from darkroom.config.typed import parameters
from darkroom.core.errors import OptionErrors
from darkroom.data.degrade import DEGRADATIONS
from darkroom.data.degrade.operation import Degradation, Operation, Ragged, Size
from darkroom.data.degrade.pipeline import Pipeline, Stage, degrade, degrade_batch
from darkroom.data.stream import stream

STRATEGIES = ("bsrgan", "resrgan", "realsr", "combo")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Photographs, kernels of two cameras, and patches of noise."""
    root = tmp_path_factory.mktemp("degrading")
    photographs(root / "hr", count=3, size=120)
    rng = np.random.default_rng(0)
    for n in range(2):
        (root / f"kernels/{n}").mkdir(parents=True)
        kernel = rng.random((13, 13))
        np.save(root / f"kernels/{n}/kernel_x4.npy", kernel / kernel.sum())
    (root / "noise").mkdir()
    Image.fromarray(rng.integers(100, 150, (80, 80, 3), np.uint8)).save(root / "noise/0.png")
    return root


def options(folders, root, strategy, **changes):
    train = {"mode": "aligned", "dataroot_HR": str(folders / "hr"), "crop_size": 64, "batch_size": 2, "n_workers": 0}
    train |= {"augs_strategy": strategy, "dataroot_kernels": str(folders / "kernels")}
    train |= {"noise_data": str(folders / "noise"), "use_flip": True, "use_rot": True, **changes}
    tree = {
        "name": "d", "model": "sr", "scale": 4, "gpu_ids": [],
        "datasets": {"train": train},
        "network_G": {"type": "rrdb_net", "nf": 4, "nb": 1, "gc": 2},
        "train": {"niter": 6, "pixel_criterion": "l1", "pixel_weight": 1, "lr_G": 1e-3},
        "logger": {"print_freq": 1, "save_checkpoint_freq": 50},
        "path": {"root": str(root)},
    }  # fmt: skip
    root.mkdir(exist_ok=True)
    return write(root / "o.yml", tree)


def dataset(path):
    plan = plan_training(read_options(path))
    return plan.dataset.make(**plan.degrade.arguments())


class Mark(Operation):
    """Says who it is."""

    def __init__(self, name):
        self.name = name

    def on_host(self, image):
        return image

    def __str__(self):
        return self.name


class Marks(Degradation):
    def __init__(self, name):
        self.name = name

    def draw(self, rng, size, goal):
        del rng, size, goal
        return Mark(self.name)


def stage(name, probability=1.0, group=""):
    return Stage([Marks(name)], [1.0], probability, group)


def orders(pipeline, count=600):
    size = Size(8, 8)
    rngs = map(np.random.default_rng, range(count))
    drawn = ((*pipeline.draw(rng, size, size), *pipeline.draw_after(rng, size)) for rng in rngs)
    return collections.Counter("".join(map(str, operations)) for operations in drawn)


def test_stages_come_in_their_order():
    first, last, after = [stage("f")], [stage("c", group="x"), stage("s"), stage("b", group="x")], [stage("a")]
    middle = [stage("1"), stage("2"), stage("3")]
    plain = orders(Pipeline(first, middle, False, last, after))
    assert {*plain} == {"f123cbsa", "f123scba"}
    assert 240 < plain["f123cbsa"] < 360
    mixed = orders(Pipeline(first, middle, True, (), after))
    assert {*mixed} == {f"f{a}{b}{c}a" for a, b, c in ("123", "132", "213", "231", "312", "321")}
    assert min(mixed.values()) > 60


def test_probabilities_are_those_of_the_options():
    found = orders(Pipeline(stages=[stage("n", 0.0), stage("s", 0.25), stage("a", 1.0)]), 2000)
    assert {*found} == {"a", "sa"}
    assert 420 < found["sa"] < 580
    choices = Stage([Marks("x"), Marks("y"), Marks("z")], [1.0, 0.0, 3.0])
    found = orders(Pipeline(stages=[choices]), 2000)
    assert {*found} == {"x", "z"}
    assert 420 < found["x"] < 580


def test_values_that_clash_are_all_told_before_anything_is_read(tmp_path):
    """And folders that are not there when they are to be read, with their place."""
    clashes = [{"type": "jpeg", "quality": [90, 30]}, {"type": "gaussian_noise", "sigma": [9, 1]}]
    stages = [{"of": [clash]} for clash in clashes]
    path = write(tmp_path / "o.yml", native(tmp_path, degrade={"stages": stages}))
    with pytest.raises(OptionErrors, match="2 errors") as told:
        plan_training(read_options(path))
    assert all(
        re.match(rf"{re.escape(str(path))}:\d+: {key}: expected", line)
        for key, line in zip(("quality", "sigma"), told.value.errors, strict=True)
    )
    elsewhere = [{"of": [{"type": "noise_patches", "folder": str(tmp_path / "elsewhere")}]}]
    path = write(tmp_path / "o.yml", native(tmp_path, degrade={"stages": elsewhere}))
    plan = plan_training(read_options(path))
    with pytest.raises(OptionErrors, match=rf"{re.escape(str(path))}:\d+: folder: expected a folder of noise patches"):
        plan.degrade.arguments()


@pytest.mark.parametrize("name", list(DEGRADATIONS))
def test_no_degradation_has_a_parameter_that_the_stage_would_take(name):
    assert not {*parameters(DEGRADATIONS[name])} & {*parameters(ChoiceOptions), "type"}


def test_a_batch_is_what_its_samples_are(folders, tmp_path):
    """Samples of different sizes, with different operations at the same place, in one batch."""
    plan = plan_training(read_options(options(folders, tmp_path / "r", "combo")))
    pipeline = plan.degrade.arguments()["degrade"]
    rng = np.random.default_rng(3)
    sizes, goals = [], []
    for _ in range(12):
        goals.append(Size(*(int(n) for n in rng.integers(9, 24, 2))))
        sizes.append(Size(goals[-1].height * 4, goals[-1].width * 4))
    plans = [pipeline.draw(rng, size, goal) for size, goal in zip(sizes, goals, strict=True)]
    plans = pickle.loads(pickle.dumps(plans))
    images = [rng.random((*size, 3), np.float32) for size in sizes]
    ragged = Ragged.of([torch.from_numpy(image.transpose(2, 0, 1).copy()) for image in images])
    done = degrade_batch(ragged, plans)
    assert list(done.sizes) == goals
    for image, own, operations in zip(images, done.each(), plans, strict=True):
        alone = degrade(image, operations).transpose(2, 0, 1)
        assert np.abs(own.numpy() - alone).mean() < 1 / 255, list(map(str, operations))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_samples_are_the_same_wherever_they_are_made(strategy, folders, tmp_path):
    """In this process, by one worker and by two; and on the device, but for rounding."""
    path = options(folders, tmp_path / "r", strategy)
    made = {}
    for workers in (0, 1, 2):
        batches = stream(dataset(path), 2, 5, workers=workers)
        made[workers] = [batch for batch, _ in zip(batches.batches(), range(3), strict=False)]
        batches.close()
    for one, other in zip(made[0] * 2, [*made[1], *made[2]], strict=True):
        assert one["path"] == other["path"]
        assert all(torch.equal(one[name], other[name]) for name in ("input", "target"))
    run = make(options(folders, tmp_path / "d", strategy, degrade_on="device"), "seed=5")
    batches = run.loop.data(0)
    for there in made[0]:
        here = run.loop.on_device(next(batches))
        assert torch.equal(here["target"].mul(255).round().byte(), there["target"])
        levels = (here["input"] * 255 - there["input"].float()).abs()
        assert levels.quantile(0.99) <= 1.01
        assert here["input"].shape == (2, 3, 16, 16)
    run.close()


def test_inputs_are_where_their_targets_are(folders, tmp_path):
    """Whatever sizes an image had on the way, it is not shifted: a blurred target is like the input, only finer."""
    path = options(folders, tmp_path / "r", "resrgan")
    items = [dataset(path).item(n % 3, np.random.default_rng(n)) for n in range(40)]
    low = torch.stack([item["input"] for item in items]).float()
    small = torch.nn.functional.avg_pool2d(torch.stack([item["target"] for item in items]).float(), 4)
    shifts = {
        (y, x): float((low[..., 2 + y : 14 + y, 2 + x : 14 + x] - small[..., 2:14, 2:14]).square().mean())
        for y in (-1, 0, 1)
        for x in (-1, 0, 1)
    }
    assert min(shifts, key=shifts.get) == (0, 0)


@pytest.mark.parametrize("where", ["cpu", "device"])
def test_killed_and_resumed_it_ends_in_the_same_bits(where, folders, tmp_path):
    found = {}
    for name in ("whole", "killed"):
        path = options(folders, tmp_path / name, "resrgan", degrade_on=where)
        setting = ("--set", "path.resume_state=auto")
        if name == "killed":
            state = tmp_path / name / "experiments/d/training_state/3.state"
            killed_after(state, "train.py", "-opt", path, *setting, "--set", "logger.save_checkpoint_freq=1")
        done = python("train.py", "-opt", path, *setting)
        assert done.returncode == 0, done.stderr
        found[name] = torch.load(tmp_path / name / "experiments/d/models/6_G.pth")
    assert equal(found["whole"], found["killed"])


def test_kernels_of_a_scale_that_is_never_used_are_noted(folders, tmp_path):
    path = options(folders, tmp_path / "run", "combo")
    assert not any("realistic" in note or "kernels of scale" in note for note in read_options(path).notes)
    notes = read_options(path, ("scale=2",)).notes
    assert any("kernels of scale 4" in note and "realk_scale: 2" in note for note in notes)


def test_preview_says_where_it_cannot_be_written(folders, tmp_path, capsys):
    path = options(folders, tmp_path / "run", "bsrgan")
    with pytest.raises(SystemExit):
        command.main(["-opt", str(path), "-n", "1", "-o", str(tmp_path / "x.xyz")])
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert command.main(["-opt", str(path), "-n", "1", "-o", str(tmp_path / "file" / "x.png")]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_preview(folders, tmp_path, capsys, monkeypatch):
    """A sheet of what the training sees, and the same in words."""
    path = options(folders, tmp_path / "r", "bsrgan")
    sheet = tmp_path / "new/sheet.png"
    assert command.main(["-opt", str(path), "-n", "5", "-o", str(sheet)]) == 0
    lines = capsys.readouterr().out.splitlines()
    told = [line for line in lines if line.lstrip()[:1].isdigit()]
    assert len(told) == 5
    assert all("jpeg" in line and "iso" in line and ".png" in line for line in told)
    pixels = np.asarray(Image.open(sheet))
    item = next(stream(dataset(path), 1, 0).batches())
    target = item["target"][0].permute(1, 2, 0).numpy()
    large = target.repeat(2, axis=0).repeat(2, axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(pixels[:180, :160], (128, 128), (0, 1))
    assert any((window.transpose(1, 2, 0) == large).all() for row in windows for window in row)
    monkeypatch.chdir(ROOT)
    assert command.main(["-opt", str(path), "--set", "datasets.train.augs_strategy=bsrgn"]) == 2
    assert "Did you mean 'bsrgan'?" in capsys.readouterr().err


def test_every_preset_is_shipped():
    names = {Path(file).stem for file in (ROOT / "options/presets").glob("*.yaml")}
    kinds = ("blur", "resize", "noise")
    assert {f"base_{kind}" for kind in kinds} <= names
    assert {name.split("_")[0] for name in names} == {"base", *STRATEGIES}
    assert len(names) == 14
