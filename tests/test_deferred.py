"""Inputs that are degraded as they are read, or later on the device: the same ones."""

import pickle
from dataclasses import dataclass

import files
import numpy as np
import pytest
import torch

from darkroom.data.aligned import Aligned
from darkroom.data.augment import draw_turn
from darkroom.data.degrade import DEGRADATIONS
from darkroom.data.degrade.deferred import PLAN, SOURCE, WINDOW, finish, gathered
from darkroom.data.degrade.operation import Degradation, Operation, Ragged, Size
from darkroom.data.degrade.pipeline import Pipeline, Stage
from darkroom.data.images import read, write
from darkroom.data.stream import collate, generator, stream
from darkroom.filters.resize import resize_uint8


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("HR")
    for n in range(3):
        write(root / f"{n}.png", files.photograph(90 + 8 * n, 110, n))
    return root


@dataclass(frozen=True)
class Slope(Operation):
    """Adds a slope from the upper left corner: it shows where a picture begins and which way it lies."""

    strength: float

    def on_host(self, image):
        rows, columns = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
        return np.clip(image + ((rows + 2 * columns) * self.strength)[:, :, None], 0, 1).astype(np.float32)

    def __str__(self):
        return f"slope {self.strength:.4f}"


class Slopes(Degradation):
    def draw(self, rng, size, goal):
        self.seen = size, goal
        return Slope(float(rng.uniform(0.0005, 0.001)))


@dataclass(frozen=True)
class Mean(Operation):
    """Makes an image smaller by whole numbers, also on a device."""

    factor: int

    def size(self, size):
        return Size(size.height // self.factor, size.width // self.factor)

    def on_host(self, image):
        height, width = self.size(Size(*image.shape[:2]))
        return image.reshape(height, self.factor, width, self.factor, -1).mean(axis=(1, 3), dtype=np.float32)

    def __str__(self):
        return f"mean {self.factor}"

    @staticmethod
    def on_device(operations, images):
        factor = operations[0].factor
        return Ragged(
            torch.nn.functional.avg_pool2d(images.images, factor, ceil_mode=True),
            [operation.size(size) for operation, size in zip(operations, images.sizes, strict=True)],
        )


class Means(Degradation):
    def draw(self, rng, size, goal):
        return Mean(size.height // goal.height)


def pipeline(*degradations, probability=1.0):
    return Pipeline(stages=[Stage([d], [1.0], probability) for d in degradations])


def pixels(tensor):
    return tensor.permute(1, 2, 0).numpy()


# on the host


def test_degrading_takes_its_numbers_last(folder):
    """So whatever is done to the input, the target is the same."""
    options = {"crop": 32, "flip": True, "rotate": True, "kernel": ("cubic", "box"), "shrink": (1.0, 0.5)}
    plain = Aligned(str(folder), **options)
    for degraded in (
        Aligned(str(folder), **options, degrade=pipeline(Slopes())),
        Aligned(str(folder), **options, degrade=pipeline(Slopes(), Means()), degrade_from="target", margin=4),
    ):
        for seed in range(12):
            one, two = plain.item(seed % 3, rng(seed)), degraded.item(seed % 3, rng(seed))
            assert torch.equal(one["target"], two["target"])
            assert not torch.equal(one["input"], two["input"])


def test_an_input_is_turned_first_and_then_degraded_with_its_margin(folder):
    """The slope begins where the margin begins, which ends where the picture does, in the turned picture."""
    degrade = pipeline(Slopes())
    plain = Aligned(str(folder), crop=32, flip=True, rotate=True)
    dataset = Aligned(str(folder), crop=32, flip=True, rotate=True, degrade=degrade, margin=8)
    low = resize_uint8(read(folder / "0.png").pixels[:88, :108], 0.25)
    seen = set()
    for seed in range(40):
        numbers = rng(seed)
        top, left, _ = int(numbers.integers(22 - 8 + 1)), int(numbers.integers(27 - 8 + 1)), numbers.integers(1)
        turn = draw_turn(numbers, True, True)
        numbers.random(2)  # those of the stage
        strength = np.float32(numbers.uniform(0.0005, 0.001))
        above, before = min(top, 2), min(left, 2)
        window = low[top - above : top + 10, left - before : left + 10]
        marked = np.zeros(window.shape[:2], bool)
        marked[above : above + 8, before : before + 8] = True
        whole = Slope(float(strength)).on_host(turn(window).astype(np.float32) / 255)
        expected = np.rint(whole * 255)[turn(marked[:, :, None])[:, :, 0]].reshape(8, 8, 3)
        item = dataset.item(0, rng(seed))
        np.testing.assert_array_equal(pixels(item["input"]), expected)
        np.testing.assert_array_equal(
            pixels(plain.item(0, rng(seed))["input"]), turn(low[top : top + 8, left : left + 8])
        )
        seen.add((turn, above, before))
    assert len(seen) > 10


def test_the_pipeline_is_told_its_sizes(folder):
    slopes = Slopes()
    options = {"crop": 32, "degrade": Pipeline(stages=[Stage([slopes], [1.0])])}
    Aligned(str(folder), **options, margin=400).item(0, rng())
    assert slopes.seen == ((22, 27), (22, 27))
    Aligned(str(folder), **options, margin=400, degrade_from="target").item(0, rng())
    assert slopes.seen == ((88, 108), (22, 27))
    item = Aligned(str(folder), **options, margin=0, degrade_from="target").item(0, rng())
    assert slopes.seen == ((32, 32), (8, 8))
    assert item["input"].shape == (3, 8, 8)
    Aligned(str(folder), **{**options, "crop": 33}, scale=3, margin=4, degrade_from="target").item(0, rng(4))
    assert all(side % 3 == 0 for side in slopes.seen[0])  # a margin of 6


def test_degraded_from_the_target_at_its_own_size(folder):
    """The mean over pixels that a margin does not change: the crop alone gives the same."""
    dataset = Aligned(str(folder), crop=32, degrade=pipeline(Means()), degrade_from="target", flip=True, rotate=True)
    for seed in range(10):
        item = dataset.item(1, rng(seed))
        mean = pixels(item["target"]).reshape(8, 4, 8, 4, 3).mean(axis=(1, 3), dtype=np.float32)
        assert np.abs(pixels(item["input"]) - mean).max() <= 0.501
        assert item["input"].dtype == torch.uint8


def test_a_file_is_degraded_at_its_size_wherever_the_others_start(folder, tmp_path):
    for n in range(2):  # the third has none
        write(
            tmp_path / f"{n}.png", resize_uint8(read(folder / f"{n}.png").pixels[: (90 + 8 * n) // 4 * 4, :108], 0.25)
        )
    slopes = Slopes()
    for start in ("input", "target"):
        options = {"crop": 32, "degrade": pipeline(slopes), "degrade_from": start, "margin": 0}
        dataset = Aligned(str(folder), str(tmp_path), **options)
        dataset.item(0, rng())
        assert slopes.seen == ((8, 8), (8, 8))
        dataset.item(2, rng())
        assert slopes.seen == (((32, 32) if start == "target" else (8, 8)), (8, 8))


def test_the_target_is_degraded_after_the_input_was_made(folder):
    plain = Aligned(str(folder), crop=32, flip=True)
    dataset = Aligned(str(folder), crop=32, flip=True, degrade_target=pipeline(Slopes()), margin=0)
    for seed in range(5):
        one, two = plain.item(0, rng(seed)), dataset.item(0, rng(seed))
        assert torch.equal(one["input"], two["input"])
        difference = pixels(two["target"]).astype(int) - pixels(one["target"])
        assert difference[0, 0].max() == 0
        assert difference[:, :, 0].max() >= 8


def test_colours_come_last(folder):
    degrade = pipeline(Slopes())
    colour = Aligned(str(folder), crop=32, degrade=degrade).item(0, rng())["input"]
    gray = Aligned(str(folder), crop=32, degrade=degrade, input_color="gray").item(0, rng())["input"]
    assert np.abs(gray[0].numpy() - pixels(colour) @ [0.299, 0.587, 0.114]).max() <= 0.51
    with pytest.raises(ValueError, match="degradations are of RGB"):
        Aligned(str(folder), input_color="lab_to_rgb", degrade=degrade)


def test_sixteen_bits_and_gray(tmp_path):
    write(tmp_path / "0.png", files.photograph16(64, 64, 3))
    for channels in (1, 3):
        item = Aligned(str(tmp_path), crop=32, channels=channels, degrade=pipeline(Slopes())).item(0, rng())
        assert item["target"].dtype == torch.uint16
        assert item["input"].dtype == torch.uint8
        assert item["input"].shape == (channels, 8, 8)


# on the device

FAITHFUL = {
    "gaussian_blur": {}, "iso": {}, "gaussian_noise": {}, "resize": {"kernels": ("linear", "cubic", "area")},
    "poisson_noise": {}, "jpeg": {},
}  # fmt: skip


def both(folder, **options):
    """The inputs of 12 samples in batches of 4, made on the host and on the device."""
    host = Aligned(str(folder), crop=32, flip=True, rotate=True, **options)
    device = Aligned(str(folder), crop=32, flip=True, rotate=True, deferred=True, **options)
    found = []
    for data in (stream(host, 4, 11), stream(device, 4, 11)):
        batches = [finish(batch) for batch, _ in zip(data.batches(), range(3), strict=False)]
        data.close()
        found.append(batches)
    for one, two in zip(*found, strict=True):
        assert torch.equal(one["target"], two["target"])
        assert two["input"].dtype == torch.float32
        yield one["input"].float(), two["input"] * 255


@pytest.mark.parametrize("start", ["input", "target"])
@pytest.mark.parametrize("color", ["rgb", "y"])
def test_the_device_gives_the_same(folder, start, color):
    degrade = pipeline(Slopes(), Means(), probability=0.9)
    for host, device in both(folder, degrade=degrade, degrade_from=start, input_color=color):
        assert host.shape == device.shape == (4, 1 if color == "y" else 3, 8, 8)
        assert (device - device.round()).abs().max() < 1e-3
        assert (host - device).abs().max() <= 1.001
        assert ((host - device).abs() < 0.5).float().mean() > 0.98


@pytest.mark.parametrize("name", FAITHFUL)
def test_the_device_gives_the_same_for_real_degradations(folder, name):
    degrade = pipeline(DEGRADATIONS[name](**FAITHFUL[name]))
    for start in ("input", "target"):
        for host, device in both(folder, degrade=degrade, degrade_from=start):
            assert ((host - device).abs() < 1.5).float().mean() >= 0.995


def test_a_chain_on_the_device(folder):
    chain = [DEGRADATIONS[name]() for name in ("iso", "resize", "gaussian_noise", "jpeg", "sinc")]
    for host, device in both(folder, degrade=pipeline(*chain, probability=0.7), degrade_from="target"):
        assert ((host - device).abs() < 1.5).float().mean() >= 0.995


def test_a_deferred_item_says_what_is_to_be_done(folder):
    dataset = Aligned(str(folder), crop=32, flip=True, degrade=pipeline(Slopes(), Means()), deferred=True, margin=8)
    item = dataset.item(0, generator(1, 5))
    assert {*item} == {SOURCE, PLAN, WINDOW, "target", "path"}
    assert item[SOURCE].dtype == torch.uint8
    assert [str(operation).split()[0] for operation in item[PLAN]] == ["slope", "mean"]
    again = pickle.loads(pickle.dumps(item))
    assert again[PLAN] == item[PLAN]
    assert again[WINDOW] == item[WINDOW]
    batch = finish(collate([{**item, "unreadable": []}]))
    assert batch["input"].shape == (1, 3, 8, 8)
    assert batch[PLAN] == [item[PLAN]]
    assert SOURCE not in batch
    assert finish({"input": 1, "target": 2}) == {"input": 1, "target": 2}


def test_deferred_batches_of_several_sizes_cross_processes(folder):
    """Windows end where a picture does, so their sources differ in size."""
    dataset = Aligned(str(folder), crop=64, degrade=pipeline(DEGRADATIONS["gaussian_noise"]()), deferred=True)
    alone, helped = (stream(dataset, 6, 5, workers=workers) for workers in (0, 2))
    sizes = set()
    for one, two, _ in zip(alone.batches(), helped.batches(), range(4), strict=False):
        sizes |= {window.size for window in one[WINDOW]}
        assert one[WINDOW] == two[WINDOW]
        assert one[SOURCE].shape[-2:] == tuple(max(w.size[n] for w in one[WINDOW]) for n in (0, 1))
        assert torch.equal(finish(one)["input"], finish(two)["input"])
    alone.close()
    helped.close()
    assert len(sizes) > 2


def test_sources_of_several_sizes_are_gathered():
    sources = [torch.full((3, 4 + n, 9 - n), n + 1, dtype=torch.uint8) for n in range(3)]
    found = gathered(sources)
    assert found.shape == (3, 3, 6, 9)
    for place, source in zip(found, sources, strict=True):
        assert torch.equal(place[:, : source.shape[1], : source.shape[2]], source)
        assert place.sum() == source.sum()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_cuda(folder):
    chain = pipeline(*(DEGRADATIONS[name]() for name in ("iso", "resize", "gaussian_noise", "jpeg")), probability=0.8)
    options = {"crop": 32, "degrade": chain, "degrade_from": "target"}
    host, device = Aligned(str(folder), **options), Aligned(str(folder), **options, deferred=True)
    for seed in range(4):
        items = [{**d.item(seed % 3, generator(seed, 0)), "unreadable": []} for d in (host, device)]
        one, two = (collate([item]) for item in items)
        moved = {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in two.items()}
        done = finish(moved)["input"]
        assert done.is_cuda
        assert ((one["input"].float() - done.cpu() * 255).abs() < 1.5).float().mean() >= 0.995
