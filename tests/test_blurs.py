"""Blurs: kernels against loops and closed forms, blurring against plain sums, a batch against single images."""

import dataclasses
import math
import pickle
import re

import cv2
import numpy as np
import pytest
import torch

from darkroom.data.degrade import DEGRADATIONS, blurring, blurs
from darkroom.data.degrade.blurring import Blur
from darkroom.data.degrade.operation import Ragged, Size
from darkroom.filters import blur_kernels as kernels

NAMES = [name for name in DEGRADATIONS if DEGRADATIONS[name].__module__ == blurs.__name__]
SIZE = Size(64, 80)
OTHER = {  # of every parameter, a value that is not the default
    "kernel_size": (9, 9),
    "sigma": (1.0, 1.1),
    "sigma_x": (1.0, 1.1),
    "sigma_y": (1.0, 1.1),
    "sigma_color": (20.0, 30.0),
    "sigma_space": (0.5, 0.6),
    "angle": (200.0, 201.0),
    "beta": (0.5, 0.6),
    "cutoff": (0.3, 0.31),
    "noise": 0.9,
    "size": 10,
    "complexity": 0.5,
}


def rand(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def drawn(degradation, seed=0, size=SIZE):
    return degradation.draw(np.random.default_rng(seed), size, size)


def numbers(operation):
    return [float(n) for n in re.findall(r"-?\d+\.?\d*", str(operation))]


def naive(image, kernel):
    """Sums over windows of the image, which numpy mirrors, in float64."""
    (h, w), image = kernel.shape, image.astype(np.float64)
    padded = np.pad(image, ((h // 2,) * 2, (w // 2,) * 2, (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (h, w), (0, 1))
    return np.einsum("yxcij,ij->yxc", windows, kernel.astype(np.float64))


def moments(kernel):
    """Mean (x, y) and covariance of a kernel."""
    at = np.arange(len(kernel)) - len(kernel) // 2
    places = np.stack(np.broadcast_arrays(at[None], at[:, None])).reshape(2, -1)
    mean = places @ kernel.ravel()
    return mean, (places * kernel.ravel()) @ places.T - np.outer(mean, mean)


def turned(sigma, angle):
    """The covariance with these deviations along axes that are turned."""
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    rotation = np.array([[c, -s], [s, c]])
    return rotation @ np.diag(np.square(sigma)) @ rotation.T


# kernels


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.7])
@pytest.mark.parametrize(("sigma", "angle"), [((1.3, 1.3), 0), ((0.4, 2.5), 25), ((3, 1), -130)])
def test_bells_are_those_of_the_formulas(sigma, angle, beta):
    inverse, side = np.linalg.inv(turned(sigma, angle)), 9
    bell, flat = np.zeros((side, side)), np.zeros((side, side))
    for row in range(side):
        for column in range(side):
            p = np.array([column - side // 2, row - side // 2])
            d = p @ inverse @ p
            bell[row, column], flat[row, column] = math.exp(-0.5 * d**beta), 1 / (1 + d**beta)
    np.testing.assert_allclose(kernels.generalized_gaussian(side, sigma, angle, beta), bell / bell.sum(), atol=1e-12)
    np.testing.assert_allclose(kernels.plateau(side, sigma, angle, beta), flat / flat.sum(), atol=1e-12)


@pytest.mark.parametrize(("sigma", "angle"), [((2, 2), 0), ((2, 5), 0), ((5, 2), 30), ((1.5, 4), 100)])
def test_a_gaussian_has_the_covariance_that_was_asked_for(sigma, angle):
    mean, covariance = moments(kernels.generalized_gaussian(81, sigma, angle))
    np.testing.assert_allclose(mean, 0, atol=1e-12)
    np.testing.assert_allclose(covariance, turned(sigma, angle), atol=1e-6)


def test_beta_of_one_is_opencvs_gaussian():
    line = cv2.getGaussianKernel(15, 1.7, cv2.CV_64F)
    np.testing.assert_allclose(kernels.generalized_gaussian(15, (1.7, 1.7), 40), line @ line.T, atol=1e-9)


@pytest.mark.parametrize("beta", [0.5, 1, 2, 4])
def test_at_one_deviation_beta_makes_no_difference(beta):
    bell, flat = (f(11, (3, 1), 0, beta) for f in (kernels.generalized_gaussian, kernels.plateau))
    assert bell[5, 8] / bell[5, 5] == pytest.approx(math.exp(-0.5))
    assert flat[6, 5] / flat[5, 5] == pytest.approx(0.5)


def test_sinc_is_the_integral_of_all_frequencies_below_the_cutoff():
    cutoff, side = 1.1, 9
    kernel = np.zeros((side, side))
    step = cutoff / 200
    at = np.arange(-cutoff + step / 2, cutoff, step)
    inside = np.hypot(at[None], at[:, None]) < cutoff
    for row in range(side):
        for column in range(side):
            phase = at[None] * (column - 4) + at[:, None] * (row - 4)
            kernel[row, column] = (np.cos(phase) * inside).sum() * step**2 / (4 * math.pi**2)
    np.testing.assert_allclose(kernels.sinc(side, cutoff), kernel / kernel.sum(), atol=2e-4)


def test_a_large_sinc_passes_what_is_below_the_cutoff():
    cutoff, side = math.pi / 2, 201
    response = np.abs(np.fft.fft2(kernels.sinc(side, cutoff)))
    at = np.abs(2 * math.pi * np.fft.fftfreq(side))
    radius = np.hypot(at[None], at[:, None])
    np.testing.assert_allclose(response[radius < cutoff - 0.4], 1, atol=0.05)
    np.testing.assert_allclose(response[radius > cutoff + 0.4], 0, atol=0.05)


def test_what_a_path_leaves_is_shared_between_neighbours():
    path = np.random.default_rng(0).normal(size=(40, 2)) @ [3, 1j]
    got = kernels.along(path)
    radius = len(got) // 2
    expected = np.zeros_like(got)
    for place in path - path.mean():
        for row in range(len(got)):
            for column in range(len(got)):
                x, y = abs(place.real - (column - radius)), abs(place.imag - (row - radius))
                expected[row, column] += max(0, 1 - x) * max(0, 1 - y) / len(path)
    np.testing.assert_allclose(got, expected, atol=1e-8)
    np.testing.assert_allclose(moments(got)[0], 0, atol=1e-8)
    assert max(got[0].max(), got[-1].max(), got[:, 0].max(), got[:, -1].max()) > 0


def test_straight_motion():
    line = kernels.along(kernels.straight_path(6, 0))
    np.testing.assert_allclose(line[3], np.array([2.5, 4, 4, 4, 4, 4, 2.5]) / 25)
    assert line.sum() == pytest.approx(line[3].sum())
    np.testing.assert_allclose(kernels.along(kernels.straight_path(6, 90)), line.T, atol=1e-12)
    diagonal = kernels.along(kernels.straight_path(math.sqrt(32), 45))  # down to the right
    assert diagonal.shape == (5, 5)
    assert diagonal[0, 0] > 0.1
    assert diagonal[0, 4] == pytest.approx(0)
    assert kernels.along(np.zeros(3, complex)).tolist() == [[1]]


def shaken(complexity=1.0, habits=(0, 0, 0), wander=0, jerks=1, length=50, angle=30):
    n = kernels.PATH_STEPS
    jerks = np.broadcast_to(np.reshape(jerks, (-1, 1)), (2, n))
    return kernels.shaken_path(length, angle, complexity, habits, np.full(n, wander, complex), jerks)


def test_without_complexity_a_camera_moves_straight():
    expected = np.linspace(0, 50, kernels.PATH_STEPS + 1) * np.exp(1j * math.pi / 6)
    np.testing.assert_allclose(shaken(0.0, (1, 1, 1), 1, 0), expected, atol=1e-9)
    np.testing.assert_allclose(shaken(1.0, (0, 0, 0), 1, 0), expected, atol=1e-9)


def test_every_habit_of_the_hand_is_that_of_the_paper():
    rng = np.random.default_rng(0)
    n, anxiety = kernels.PATH_STEPS, 0.01 * 0.8
    wander, jerks = rng.normal(size=n) + 1j * rng.normal(size=n), rng.random((2, n))
    pull, often, tremble = 0.6, 0.9, 0.3
    got = kernels.shaken_path(30, 70, 0.8, (pull, often, tremble), wander, jerks)
    speed, at, turns = 30 / n, np.zeros(2), 0
    v = speed * np.array([math.cos(math.radians(70)), math.sin(math.radians(70))])
    expected = [at]
    for w, (happens, way) in zip(wander, jerks.T, strict=True):
        jerk = np.zeros(2)
        if happens < 0.2 * often * anxiety * 4:  # 2000 steps are 500 here
            a = math.pi + way - 0.5
            jerk = 2 * np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]]) @ v
            turns += 1
        random = 10 * tremble * np.array([w.real, w.imag]) * 2
        v = v + jerk + anxiety * (random - 0.7 * pull * 4 * at) * speed
        v = v / np.linalg.norm(v) * speed
        at = at + v
        expected.append(at)
    assert turns
    np.testing.assert_allclose(np.stack([got.real, got.imag], 1), expected, atol=1e-9)


def test_trimming_takes_next_to_nothing():
    kernel = kernels.generalized_gaussian(31, (1, 2))
    small = kernels.trimmed(kernel)
    cut = (31 - len(small)) // 2
    assert cut == 5  # five deviations on the longer axis are left
    assert np.abs(np.pad(small, cut) - kernel).sum() < 2.1e-6
    assert np.abs(np.pad(kernel[cut + 1 : -cut - 1, cut + 1 : -cut - 1], cut + 1) - kernel).sum() > 1e-6
    assert kernels.trimmed(kernels.generalized_gaussian(7, (0.1, 0.1))).shape == (1, 1)
    np.testing.assert_allclose(kernels.trimmed(kernels.box(7)), kernels.box(7), atol=1e-12)


# one image


def any_kernel(height, width):
    kernel = rand(height, width, seed=height)
    return kernel / kernel.sum()


SIDES = [(1, 1), (3, 3), (5, 1), (1, 9), (11, 11), (13, 13), (7, 21), (21, 21), (41, 41)]
SIZES = [(1, 1), (1, 7), (2, 3), (5, 4), (9, 40), (33, 31), (130, 129), (128, 150)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("size", SIZES)
def test_blur_is_a_mirrored_correlation(size, sides, channels):
    image, kernel = rand(*size, channels, seed=1), any_kernel(*sides)
    before = image.copy()
    got = Blur(kernel, "any").on_host(image)
    np.testing.assert_allclose(got, naive(image, kernel), atol=1e-6)
    np.testing.assert_array_equal(image, before)
    assert got.dtype == np.float32
    assert got.flags.c_contiguous
    assert not np.shares_memory(got, image)


@pytest.mark.parametrize("large", [0, math.inf])
@pytest.mark.parametrize("sides", [(13, 13), (7, 21), (41, 41)])
@pytest.mark.parametrize("size", [(5, 4), (33, 31), (128, 150)])
def test_transforms_are_those_of_opencv(monkeypatch, size, sides, large):
    monkeypatch.setattr(blurring, "_LARGE", large)
    image, kernel = rand(*size, 3, seed=1), any_kernel(*sides)
    np.testing.assert_allclose(Blur(kernel, "any").on_host(image), naive(image, kernel), atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kernel", [kernels.box(7), kernels.generalized_gaussian(21, (3, 1.2)), np.eye(15)[7:8]])
def test_blur_by_rows_and_columns(kernel, size):
    image = rand(*size, 3, seed=2)
    np.testing.assert_allclose(Blur(kernel, "line").on_host(image), naive(image, kernel), atol=1e-6)


def test_ringing_stays_in_range():
    image = (rand(140, 140, 3) > 0.5).astype(np.float32)
    blur = Blur(kernels.sinc(21, 1.5), "sinc")
    free = naive(image, blur.kernel)
    assert free.min() < -0.1
    np.testing.assert_allclose(blur.on_host(image), free.clip(0, 1), atol=1e-6)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    got = Blur.on_device([blur], Ragged(tensor, [Size(140, 140)])).images[0].permute(1, 2, 0)
    np.testing.assert_allclose(got, free.clip(0, 1), atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (3,)])
def test_kernels_have_a_middle(shape):
    with pytest.raises(ValueError, match=r"kernel of test: expected two odd sides, found shape"):
        Blur(np.ones(shape), "test")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("side", "tolerance"), [(3, 0), (5, 0), (7, 0.5001 / 255), (11, 0.5001 / 255)])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (20, 17)])
def test_median(size, side, tolerance, channels):
    image = rand(*size, channels)
    before = image.copy()
    padded = np.pad(image, ((side // 2,) * 2, (side // 2,) * 2, (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), (0, 1))
    np.testing.assert_allclose(blurs.median(image, side), np.median(windows, (3, 4)), rtol=0, atol=tolerance)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(2, 3), (14, 11)])
@pytest.mark.parametrize(("side", "color", "space"), [(5, 0.2, 1.5), (9, 0.6, 30)])
def test_bilateral(side, color, space, size, channels):
    image, r = rand(*size, channels), side // 2
    before = image.copy()
    padded = np.pad(image.astype(np.float64), ((r, r), (r, r), (0, 0)), mode="reflect")
    expected = np.zeros(image.shape)
    for y in range(size[0]):
        for x in range(size[1]):
            total = 0
            for i in range(-r, r + 1):
                for j in range(-r, r + 1):
                    if math.hypot(i, j) > r:
                        continue
                    other = padded[y + r + i, x + r + j]
                    unlike = np.abs(other - padded[y + r, x + r]).sum()
                    weight = math.exp(-0.5 * (i * i + j * j) / space**2 - 0.5 * (unlike / color) ** 2)
                    expected[y, x] += weight * other
                    total += weight
            expected[y, x] /= total
    np.testing.assert_allclose(blurs.bilateral(image, side, color, space), expected, atol=2e-5)
    np.testing.assert_array_equal(image, before)


def test_a_bilateral_blur_of_no_reach_leaves_the_image():
    image = rand(9, 9, 3)
    np.testing.assert_allclose(blurs.bilateral(image, 5, 0, 0), image, atol=1e-6)


# draws


def test_all_names_are_here():
    assert NAMES == [
        "aniso",
        "average_blur",
        "bilateral_blur",
        "box_blur",
        "complex_motion_blur",
        "gaussian_blur",
        "generalized_aniso",
        "generalized_iso",
        "iso",
        "median_blur",
        "motion_blur",
        "plateau_aniso",
        "plateau_iso",
        "sinc",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_draw_is_that_of_its_seed_and_pickles(name):
    degradation = DEGRADATIONS[name]()
    first, again, sent = drawn(degradation, 1), drawn(degradation, 1), pickle.loads(pickle.dumps(drawn(degradation, 1)))
    assert first == again == sent
    assert hash(first) == hash(again)
    assert len({drawn(degradation, seed) for seed in range(20)}) > 2
    assert drawn(pickle.loads(pickle.dumps(degradation)), 1) == first
    image = rand(30, 20, 3)
    np.testing.assert_array_equal(first.on_host(image), sent.on_host(image))


@pytest.mark.parametrize("name", NAMES)
def test_no_parameter_is_ignored(name):
    make = DEGRADATIONS[name]
    for field in dataclasses.fields(make):
        other = make(**{field.name: OTHER[field.name]})
        changed = [drawn(make(), seed) != drawn(other, seed) for seed in range(10)]
        assert sum(changed) > 5, field.name


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_a_batch_comes_out_as_its_images_one_by_one(name, channels):
    sizes = [Size(1, 1), Size(3, 40), Size(33, 20), Size(130, 128), Size(140, 9), Size(130, 128)]
    hosts = [rand(*size, channels, seed=i) for i, size in enumerate(sizes)]
    whole = torch.rand(len(sizes), channels, 150, 131)  # there may be anything beyond an image
    for place, image in zip(whole, hosts, strict=True):
        place[:, : image.shape[0], : image.shape[1]] = torch.from_numpy(image).permute(2, 0, 1)
    before = whole.clone()
    degradation = DEGRADATIONS[name]()
    operations = [drawn(degradation, seed, size) for seed, size in enumerate(sizes)]
    done = type(operations[0]).on_device(operations, Ragged(whole, sizes))
    assert torch.equal(whole, before)
    assert list(done.sizes) == sizes
    for operation, image, got in zip(operations, hosts, done.each(), strict=True):
        assert operation.size(Size(*image.shape[:2])) == got.shape[1:]
        np.testing.assert_allclose(got.permute(1, 2, 0), operation.on_host(image), atol=2e-6, err_msg=str(operation))


@pytest.mark.parametrize("name", NAMES)
def test_brightness_stays(name):
    image = np.full((40, 30, 3), 0.6, np.float32)
    np.testing.assert_allclose(drawn(DEGRADATIONS[name]()).on_host(image), image, atol=1e-6)


def test_sides_are_odd_and_as_often():
    for name in NAMES:
        degradation = DEGRADATIONS[name]()
        if name == "complex_motion_blur":
            continue
        low, high = degradation.kernel_size
        counts = np.bincount([int(numbers(drawn(degradation, seed))[0]) for seed in range(300)], minlength=high + 1)
        expected = 300 / ((high - low) // 2 + 1)
        assert counts.sum() == counts[low : high + 1 : 2].sum(), name
        assert np.all(np.abs(counts[low : high + 1 : 2] - expected) < 5 * math.sqrt(expected)), name


def test_ends_that_are_even_are_not_drawn():
    assert {numbers(drawn(blurs.AverageBlur((4, 8)), seed))[0] for seed in range(50)} == {5, 7}


@pytest.mark.parametrize(
    ("degradation", "place", "low", "high"),
    [
        (blurs.GaussianBlur(sigma=(0.5, 2)), 1, 0.5, 2),
        (blurs.Iso(), 1, 0.1, 2.8),
        (blurs.Aniso(), 1, 0.1, 2.8),
        (blurs.Aniso(sigma_y=(3, 4)), 2, 3, 4),
        (blurs.Aniso(angle=(-180, 180)), 3, -180, 180),
        (blurs.PlateauIso(), 2, 1, 2),
        (blurs.MotionBlur(), 1, 0, 180),
        (blurs.BilateralBlur(), 1, 0, 200),
        (blurs.BilateralBlur(sigma_space=(50, 90)), 2, 50, 90),
        (blurs.ComplexMotionBlur(size=20), 0, 0, 20),
        (blurs.Sinc(cutoff=(1, 2)), 1, 1, 2),
        (blurs.Sinc(kernel_size=(7, 11)), 1, math.pi / 3, math.pi),
        (blurs.Sinc(kernel_size=(13, 21)), 1, math.pi / 5, math.pi),
    ],
    ids=lambda value: type(value).__name__ if dataclasses.is_dataclass(value) else "",
)
def test_ranges_are_drawn_evenly(degradation, place, low, high):
    values = np.array([numbers(drawn(degradation, seed))[place] for seed in range(300)])
    slack = 0.5 if high > 10 else 0.005  # labels are rounded
    assert low - slack <= values.min() <= values.max() <= high + slack
    quarters = np.histogram(values, 4, (low - slack, high + slack))[0]
    assert quarters.min() > 45


def test_beta_is_as_often_below_one_as_above():
    values = np.array([numbers(drawn(blurs.GeneralizedIso(), seed))[2] for seed in range(300)])
    assert values.min() >= 0.5
    assert 3.5 < values.max() <= 4
    assert 110 < (values < 1).sum() < 190


def test_the_numbers_of_a_label_are_those_of_the_kernel():
    wide = {"kernel_size": (9, 9), "sigma_x": (3, 3), "sigma_y": (5, 5), "angle": (20, 20)}
    got = drawn(blurs.Aniso(noise=0, **wide))
    assert str(got) == "aniso 9 3.00 5.00 at 20"
    np.testing.assert_allclose(got.kernel, kernels.generalized_gaussian(9, (3, 5), 20), atol=1e-7)
    got = drawn(blurs.GeneralizedAniso(beta=(2, 2), **wide))
    np.testing.assert_allclose(got.kernel, kernels.generalized_gaussian(9, (3, 5), 20, 2), atol=1e-7)
    got = drawn(blurs.PlateauAniso(beta=(2, 2), **wide))
    np.testing.assert_allclose(got.kernel, kernels.plateau(9, (3, 5), 20, 2), atol=1e-7)


def test_noise_of_a_kernel():
    clean, noisy = (drawn(blurs.Iso((9, 9), (2.8, 2.8), noise), 3) for noise in (0.0, 0.25))
    assert str(clean) == str(noisy)
    ratio = noisy.kernel / clean.kernel
    assert 1.3 < ratio.max() / ratio.min() <= 1.25 / 0.75 + 1e-5
    assert noisy.kernel.sum() == pytest.approx(1, abs=1e-6)


def test_average_and_gaussian_are_opencvs():
    image = rand(30, 40, 3)
    border = cv2.BORDER_REFLECT_101
    np.testing.assert_allclose(
        drawn(blurs.AverageBlur((7, 7))).on_host(image), cv2.blur(image, (7, 7), borderType=border), atol=1e-6
    )
    np.testing.assert_allclose(
        drawn(blurs.GaussianBlur((9, 9), (1.5, 1.5))).on_host(image),
        cv2.GaussianBlur(image, (9, 9), 1.5, borderType=border),
        atol=2e-6,
    )


@pytest.mark.parametrize("degradation", [blurs.MotionBlur(), blurs.ComplexMotionBlur()], ids=["motion", "complex"])
def test_motion_leaves_the_image_where_it_is(degradation):
    for seed in range(20):
        np.testing.assert_allclose(moments(drawn(degradation, seed).kernel)[0], 0, atol=1e-4)


def test_a_way_is_no_longer_than_half_the_image():
    ends = [max(drawn(blurs.ComplexMotionBlur(complexity=0), seed, Size(40, 90)).kernel.shape) for seed in range(30)]
    assert 17 <= max(ends) <= 23


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: blurs.Iso(kernel_size=(9, 7)), "kernel_size: expected 1 to inf, in order, found (9, 7)"),
        (lambda: blurs.AverageBlur((8, 8)), "kernel_size: expected an odd number in the range"),
        (lambda: blurs.GaussianBlur(sigma=(0, 1)), "sigma: expected 0.001 to inf"),
        (lambda: blurs.Sinc(cutoff=(1, 4)), "cutoff: expected 0.01 to 3.14159, in order, found (1, 4)"),
        (lambda: blurs.Aniso(noise=1.5), "noise: expected 0 to 1, in order, found 1.5"),
        (lambda: blurs.ComplexMotionBlur(complexity=-1), "complexity: expected 0 to 1"),
        (lambda: blurs.PlateauIso(beta=(2, math.nan)), "beta: expected 0.01 to inf"),
    ],
)
def test_bad_parameters_are_told(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()
