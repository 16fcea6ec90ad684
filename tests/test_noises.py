import pickle
import subprocess
import sys
from dataclasses import replace
from statistics import NormalDist

import cv2
import numpy as np
import pytest
import torch
from runs import environment

from darkroom.core.errors import DataError
from darkroom.data.degrade import DEGRADATIONS, fields
from darkroom.data.degrade.camera import SensorNoise, malvar, mosaic
from darkroom.data.degrade.noises import AddGaussian, AddPoisson, AddSpeckle, DeadPixels
from darkroom.data.degrade.operation import Ragged, Size
from darkroom.data.degrade.patches import AddPatch
from darkroom.data.images import UnreadableImage, write

GOAL = Size(40, 40)
SIZES = [Size(40, 33), Size(17, 40), Size(40, 40), Size(9, 8)]
NAMES = (
    "gaussian_noise",
    "poisson_noise",
    "speckle_noise",
    "salt_and_pepper",
    "noise_patches",
    "camera_noise",
    "jpeg",
    "webp",
)
FLAT = (300, 300)


@pytest.fixture(scope="module")
def patches(tmp_path_factory):
    """Noise files larger and smaller than what is taken from them, one of them with 16 bits, one gray."""
    folder = tmp_path_factory.mktemp("patches")
    rng = np.random.default_rng(5)
    for name, shape in (("a", (70, 50, 3)), ("b", (20, 90, 3)), ("gray", (40, 40, 1))):
        write(folder / f"{name}.png", rng.integers(100, 140, shape, dtype=np.uint8))
    write(folder / "deep.png", rng.integers(30000, 33000, (40, 60, 3), dtype=np.uint16))
    return folder


@pytest.fixture
def make(patches):
    def build(name, **options):
        needed = {"folder": str(patches), "size": 32} if name == "noise_patches" else {}
        return DEGRADATIONS[name](**needed, **options)

    return build


def drawn(degradation, count=1, seed=0):
    rng = np.random.default_rng(seed)
    return [degradation.draw(rng, GOAL, GOAL) for _ in range(count)]


def photo(channels, size=GOAL, seed=0):
    """Smooth, with all levels."""
    rng = np.random.default_rng(seed)
    small = rng.random((6, 6, channels), dtype=np.float32)
    return cv2.resize(small, size[::-1], interpolation=cv2.INTER_LINEAR).reshape(*size, channels)


def batch(channels):
    """A batch of images of different sizes, with noise beyond them, and the images."""
    images = [photo(channels, size, seed) for seed, size in enumerate(SIZES)]
    whole = torch.rand(len(images), channels, 44, 42, generator=torch.Generator().manual_seed(0))
    for place, image in zip(whole, images, strict=True):
        place[:, : image.shape[0], : image.shape[1]] = torch.from_numpy(image.transpose(2, 0, 1))
    return Ragged(whole, SIZES), images


# All of them


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_an_operation_repeats_itself_pickles_and_leaves_its_argument_alone(name, channels, make):
    image = photo(channels)
    before = image.copy()
    for operation in drawn(make(name), 6):
        done = operation.on_host(image)
        np.testing.assert_array_equal(image, before)
        assert done.shape == image.shape
        assert done.dtype == np.float32
        assert done.min() >= 0
        assert done.max() <= 1
        assert (done != image).any()
        stored = pickle.dumps(operation)
        assert len(stored) < 1000
        assert pickle.loads(stored) == operation
        np.testing.assert_array_equal(pickle.loads(stored).on_host(image), done)
        assert 0 < len(str(operation)) < 40


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_device_and_host_agree(name, channels, make):
    images, each = batch(channels)
    before = images.images.clone()
    for seed in range(3):
        operations = drawn(make(name), len(each), seed)
        done = type(operations[0]).on_device(operations, images)
        torch.testing.assert_close(images.images, before, rtol=0, atol=0)
        assert list(done.sizes) == SIZES
        for found, operation, image in zip(done.each(), operations, each, strict=True):
            np.testing.assert_allclose(found.permute(1, 2, 0), operation.on_host(image), rtol=0, atol=2e-7)


@pytest.mark.parametrize("name", NAMES)
def test_equal_generators_draw_equal_operations(name, make):
    degradation = make(name)
    assert drawn(degradation, 5) == drawn(degradation, 5)
    assert len(set(drawn(degradation, 20))) > 10


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gaussian_noise", {"sigma": (5.0, 1.0)}, "sigma: expected a range"),
        ("gaussian_noise", {"color": 1.5}, "color: expected 0 to 1, found 1.5"),
        ("gaussian_noise", {"multi": -1.0}, "multi: expected 0 to 1"),
        ("poisson_noise", {"scale": (-1.0, 1.0)}, "scale: expected a range"),
        ("speckle_noise", {"sigma": (0.2, 0.1)}, "sigma: expected a range"),
        ("salt_and_pepper", {"share": (0.1, 1.1)}, "share: expected 0 to 1"),
        ("camera_noise", {"demosaic": "best"}, "expected malvar, bilinear or edge_aware, found 'best'"),
        ("camera_noise", {"white": "D60"}, "white: expected D50 or D65"),
        ("camera_noise", {"gains": (0.0, 1.0)}, "gains: expected a range above 0"),
    ],
)
def test_bad_options_are_explained(name, options, message):
    with pytest.raises(ValueError, match=message):
        DEGRADATIONS[name](**options)


# Fields


def test_normal_numbers_are_normal():
    values = fields.normal(0, (1000, 700, 3)).astype(np.float64)
    root = values.size**-0.5
    assert abs(values.mean()) < 4 * root
    assert abs(values.var() - 1) < 4 * 2**0.5 * root
    assert abs((values**3).mean()) < 4 * 15**0.5 * root
    assert abs((values**4).mean() - 3) < 4 * 96**0.5 * root
    for limit in (0.5, 1, 2, 3):
        share = NormalDist().cdf(-limit)
        assert (values < -limit).mean() == pytest.approx(share, abs=4 * share**0.5 * root)


def test_uniform_numbers_are_uniform_and_of_the_same_places():
    values = fields.uniform(123, (800, 800, 3))
    assert values.min() >= 0
    assert values.max() < 1
    counts = np.bincount((values * 64).astype(int).ravel(), minlength=64)
    assert ((counts - values.size / 64) ** 2).sum() / (values.size / 64) < 63 + 4 * 126**0.5
    quantiles = [NormalDist().inv_cdf(value + 0.5 / 65536) for value in values[0, :50].ravel().tolist()]
    np.testing.assert_allclose(fields.normal(123, (800, 800, 3))[0, :50].ravel(), quantiles, atol=1e-6)


def test_neighbours_and_windows_are_uncorrelated():
    field = fields.normal(1000, (300, 300, 3))
    pairs = {
        "rows": (field[1:], field[:-1]),
        "columns": (field[:, 1:], field[:, :-1]),
        "diagonals": (field[1:, 1:], field[:-1, :-1]),
        "channels": (field[..., 0], field[..., 2]),
        "next window": (field, fields.normal(1001, field.shape)),
        "window one row on": (field, fields.normal(1900, field.shape)),
        "far window": (field, fields.normal(1_500_000, field.shape)),
    }
    for name, (a, b) in pairs.items():
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 4 / a.size**0.5, name


def test_windows_go_on_at_the_beginning_and_are_the_same_in_a_batch():
    images, _ = batch(3)
    offsets, channels = [0, fields.LENGTH - 5, 77, fields.LENGTH - 1], [3, 3, 1, 1]
    for host, device in ((fields.uniform, fields.uniform_on), (fields.normal, fields.normal_on)):
        for found, offset, count, size in zip(
            Ragged(device(offsets, channels, images), SIZES).each(), offsets, channels, SIZES, strict=True
        ):
            window = np.broadcast_to(host(offset, (*size, count)), (*size, 3))
            np.testing.assert_array_equal(found.permute(1, 2, 0), window)
        beyond = host(fields.LENGTH - 2, (1, 4, 1)).ravel()
        np.testing.assert_array_equal(beyond[2:], host(0, (1, 2, 1)).ravel())


def test_another_process_has_the_same_numbers():
    code = (
        "import pickle, sys; from darkroom.data.degrade import fields\n"
        "sys.stdout.buffer.write(pickle.dumps([fields.normal(9, (2, 3, 3)), fields.uniform(9, (2, 3, 3))]))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, check=True)
    normal, uniform = pickle.loads(done.stdout)
    np.testing.assert_array_equal(normal, fields.normal(9, (2, 3, 3)))
    np.testing.assert_array_equal(uniform, fields.uniform(9, (2, 3, 3)))


# Noises of a known strength


def test_gaussian_noise_has_the_deviations_it_says():
    flat = np.full((*FLAT, 3), 0.5, np.float32)
    noise = 255 * (AddGaussian((4.0, 8.0, 12.0), True, 0).on_host(flat) - flat)
    np.testing.assert_allclose(noise.std(axis=(0, 1)), (4, 8, 12), rtol=0.01)
    np.testing.assert_allclose(noise.mean(axis=(0, 1)), 0, atol=0.15)
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.014


def test_gray_noise_is_the_same_in_all_channels():
    flat = np.full((*FLAT, 3), 0.5, np.float32)
    gray = AddGaussian((9.0, 9.0, 9.0), False, 0).on_host(flat)
    assert 255 * gray.std() == pytest.approx(9, rel=0.01)
    np.testing.assert_array_equal(gray, np.repeat(gray[..., :1], 3, axis=2))


def test_gaussian_noise_is_drawn_as_often_as_it_says():
    operations = drawn(DEGRADATIONS["gaussian_noise"](sigma=(2.0, 6.0), color=0.6, multi=0.34), 3000)
    colored = [o for o in operations if o.color]
    several = [o for o in colored if len(set(o.sigmas)) == 3]
    assert len(colored) / 3000 == pytest.approx(0.6, abs=0.04)
    assert len(several) / len(colored) == pytest.approx(0.34, abs=0.05)
    assert all(len(set(o.sigmas)) == 1 for o in operations if o not in several)
    sigmas = [o.sigmas[2] for o in operations]
    assert 2 <= min(sigmas) < 2.05
    assert 5.95 < max(sigmas) <= 6
    assert np.mean(sigmas) == pytest.approx(4, abs=0.1)


def beside_all_levels(level, channels=3):
    """A flat image of one level below a strip that has all 256."""
    image = np.full((*FLAT, channels), level / 255, np.float32)
    image[0, :256] = np.arange(256)[:, None] / np.float32(255)
    return image


@pytest.mark.parametrize("level", [0, 1, 4, 60, 200])
def test_poisson_noise_counts_photons(level):
    image, scale = beside_all_levels(level), 0.125  # too little to clip
    expected = level / 255 * 256
    counts = (AddPoisson(scale, True, 0).on_host(image) - image)[1:] / scale * 256 + expected
    np.testing.assert_allclose(counts, counts.round(), atol=2e-3)
    assert counts.mean() == pytest.approx(expected, rel=0.01)
    assert counts.var() == pytest.approx(expected, rel=0.02)
    chance = np.exp(-expected)
    for k in range(4):
        assert (counts.round() == k).mean() == pytest.approx(chance, abs=0.003)
        chance *= expected / (k + 1)


def test_poisson_noise_of_few_levels_counts_fewer_photons():
    image = np.full((*FLAT, 3), 100 / 255, np.float32)
    image[:150] = 180 / 255
    image[0, 0] = 7 / 255
    noise = (AddPoisson(0.05, True, 0).on_host(image) - image)[200:] / 0.05
    assert noise.var() == pytest.approx(100 / 255 / 4, rel=0.02)  # three levels: white is 2^2


def test_gray_poisson_noise_is_that_of_the_gray_image():
    image = beside_all_levels(80)
    image[1:, :, 0], image[1:, :, 2] = 0.5, 0.2
    noise = AddPoisson(0.3, False, 0).on_host(image) - image
    np.testing.assert_allclose(noise[1:], np.repeat(noise[1:, :, :1], 3, axis=2), atol=1e-6)
    gray = 0.299 * 0.5 + 0.587 * 80 / 255 + 0.114 * 0.2
    assert noise[1:].var() == pytest.approx(0.3**2 * gray / 256, rel=0.02)


def test_speckle_noise_is_relative():
    image = np.full((*FLAT, 3), 0.5, np.float32)
    image[:50] = 0
    done = AddSpeckle(0.1, 0).on_host(image)
    assert (done[:50] == 0).all()
    assert done[50:].std() == pytest.approx(0.05, rel=0.01)
    assert done[50:].mean() == pytest.approx(0.5, abs=5e-4)


def test_salt_and_pepper_are_whole_pixels_in_equal_shares():
    image = photo(3, Size(*FLAT)) * np.float32(0.8) + np.float32(0.1)
    done = DeadPixels(0.2, 0).on_host(image)
    assert (done == 0).all(axis=2).mean() == pytest.approx(0.1, abs=0.004)
    assert (done == 1).all(axis=2).mean() == pytest.approx(0.1, abs=0.004)
    changed = done != image
    np.testing.assert_array_equal(changed.any(axis=2), changed.all(axis=2))
    np.testing.assert_array_equal(DeadPixels(0.0, 0).on_host(image), image)


# Cameras


def plain(**changes):
    """A camera without colours and noise of its own."""
    camera = SensorNoise((1.0, 0, 0, 0, 1, 0, 0, 0, 1), (1.0, 1.0, 1.0), 0.0, 0.0, "malvar", 0)
    return replace(camera, **changes)


@pytest.mark.parametrize("demosaic", ["malvar", "bilinear", "edge_aware"])
def test_a_camera_without_noise_shows_plain_colours_as_they_are(demosaic):
    color = np.float32((0.3, 0.5, 0.65))
    for operation in drawn(DEGRADATIONS["camera_noise"](demosaic=demosaic), 10):
        done = replace(operation, shot=0.0, read=0.0).on_host(np.tile(color, (20, 21, 1)))
        np.testing.assert_allclose(done, np.tile(color, (20, 21, 1)), atol=2e-3)


def test_white_stays_white():
    white = np.ones((12, 12, 3), np.float32)
    np.testing.assert_allclose(mosaic(white, (2.0, 1.2, 1.9)), 1, atol=1e-6)
    dark = mosaic(white / 2, (2.0, 1.25, 1.6))
    np.testing.assert_allclose(dark[:2, :2], [[0.25, 0.4], [0.4, 0.3125]], rtol=1e-6)
    for operation in drawn(DEGRADATIONS["camera_noise"](), 10):
        assert replace(operation, shot=0.0, read=0.0).on_host(white).min() > 0.999


def test_malvars_filters_keep_planes_and_are_better_than_means():
    y, x = np.mgrid[:20, :24].astype(np.float32)
    ramp = (3 * x + 5 * y) / 255
    truth = np.stack([ramp, ramp + 0.1, ramp + 0.2], axis=2)
    raw = np.empty((20, 24), np.float32)
    for (row, column), channel in {(0, 0): 0, (0, 1): 1, (1, 0): 1, (1, 1): 2}.items():
        raw[row::2, column::2] = truth[row::2, column::2, channel]
    np.testing.assert_allclose(malvar(raw)[2:-2, 2:-2], truth[2:-2, 2:-2], atol=1e-6)
    waves = np.repeat(np.sin(x + y / 3)[..., None] / 4 + np.float32(0.5), 3, axis=2)
    errors = {kind: np.square(plain(demosaic=kind).on_host(waves) - waves).mean() for kind in ("malvar", "bilinear")}
    assert errors["malvar"] < errors["bilinear"] / 2


def test_sensor_noise_has_the_variance_it_says():
    shown = np.full((*FLAT, 3), 0.5, np.float32)
    done = plain(shot=0.002, read=0.0003).on_host(shown)[::2, 1::2, 1].astype(np.float64)  # green as measured
    linear = (0.5 - np.sin(np.arcsin(1 - 2 * done) / 3)) ** 2.2
    assert linear.var() == pytest.approx(0.002 * 0.5**2.2 + 0.0003, rel=0.03)
    assert linear.mean() == pytest.approx(0.5**2.2, rel=0.01)


def test_a_gray_camera_image_is_the_luma_of_one_in_colour():
    gray = photo(1)
    operation = drawn(DEGRADATIONS["camera_noise"]())[0]
    colored = operation.on_host(np.repeat(gray, 3, axis=2))
    np.testing.assert_allclose(operation.on_host(gray)[..., 0], colored @ (0.299, 0.587, 0.114), atol=1e-5)


# Patches


def test_a_patch_is_what_its_file_says(patches):
    pixels = cv2.imread(str(patches / "a.png"))[:, :, ::-1].astype(np.float64)
    image = np.full((20, 26, 3), 0.5, np.float32)
    operation = AddPatch(str(patches / "a.png"), 32, (0.5, 0.9999), (True, False), 2.0)
    square = pixels[19:51, 18:50]
    expected = 0.5 + 2 * (square - square.mean(axis=(0, 1)))[::-1][:20, :26] / 255
    np.testing.assert_allclose(operation.on_host(image), expected, atol=1e-6)


def test_a_small_patch_is_mirrored(patches):
    pixels = cv2.imread(str(patches / "b.png"))[:, :, ::-1].astype(np.float64)
    image = np.full((50, 40, 3), 0.5, np.float32)
    operation = AddPatch(str(patches / "b.png"), 30, (0.7, 0.0), (False, True), 1.0)
    square = pixels[:, :30][:, ::-1]
    expected = np.pad(square - square.mean(axis=(0, 1)), ((0, 30), (0, 10), (0, 0)), mode="reflect")
    np.testing.assert_allclose(operation.on_host(image), 0.5 + expected / 255, atol=1e-6)


def test_deep_patches_are_scaled_by_their_own_range(patches):
    pixels = cv2.imread(str(patches / "deep.png"), cv2.IMREAD_UNCHANGED)[:, :, ::-1].astype(np.float64)
    noise = AddPatch(str(patches / "deep.png"), 99, (0.0, 0.0), (False, False), 1.0).noise((40, 60, 3))
    np.testing.assert_allclose(noise, (pixels - pixels.mean(axis=(0, 1))) / 65535, atol=1e-6)


def test_all_files_and_places_are_taken(make):
    operations = drawn(make("noise_patches", amplitude=0.5), 300)
    assert len({o.file for o in operations}) == 4
    assert len({o.flips for o in operations}) == 4
    assert {o.amplitude for o in operations} == {0.5}
    assert np.mean([o.place for o in operations]) == pytest.approx(0.5, abs=0.06)


def test_a_folder_without_patches_is_explained(tmp_path):
    with pytest.raises(DataError, match=r"folder: expected a folder of noise patches.* there is no .*nowhere"):
        DEGRADATIONS["noise_patches"](folder=str(tmp_path / "nowhere"))
    (tmp_path / "notes.txt").write_text("no image", encoding="utf-8")
    with pytest.raises(DataError, match=r"has no images.* It holds: notes.txt"):
        DEGRADATIONS["noise_patches"](folder=str(tmp_path))
    with pytest.raises(ValueError, match="size: expected at least 1"):
        DEGRADATIONS["noise_patches"](folder=str(tmp_path), size=0)


def test_a_broken_patch_is_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    operation = drawn(DEGRADATIONS["noise_patches"](folder=str(tmp_path)))[0]
    with pytest.raises(UnreadableImage, match=r"broken\.png"):
        operation.on_host(photo(3))
