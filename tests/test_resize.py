import math
from fractions import Fraction

import files
import numpy as np
import pytest
import torch

from darkroom.filters import resize as module
from darkroom.filters.resize import KERNELS, Kernel, axes, imresize, resize, resize_uint8


def naive(image, scale, kernel, antialias=True, out=None):
    """MATLAB's imresize of (H, W) in plain loops, one-based as in its source."""
    for axis in (0, 1):
        length = image.shape[axis]
        size = out[axis] if out else math.ceil(length * scale - 1e-9)
        factor = size / length if out else scale
        shrink = min(factor, 1) if antialias else 1
        lines = np.moveaxis(image.astype(np.float64), axis, 0)
        result = np.zeros((size, *lines.shape[1:]))
        for x in range(1, size + 1):
            u = x / factor + 0.5 * (1 - 1 / factor)
            reach = kernel.width / 2 / shrink
            total = 0.0
            for p in range(math.floor(u - reach) - 1, math.ceil(u + reach) + 2):
                weight = float(kernel.function(np.array([shrink * (u - p)]))[0])
                q = p
                while not 1 <= q <= length:
                    q = 1 - q if q < 1 else 2 * length + 1 - q
                result[x - 1] += weight * lines[q - 1]
                total += weight
            result[x - 1] /= total
        image = np.moveaxis(result, 0, axis)
    return image


@pytest.mark.parametrize("kernel", ["cubic", "linear", "lanczos3", "mitchell", "bell", "gaussian", "blackman4"])
@pytest.mark.parametrize("scale", [1 / 2, 1 / 3, 1 / 4, 0.37, 2, 3.3])
def test_against_plain_loops(kernel, scale):
    image = np.random.default_rng(1).random((13, 10))
    expected = naive(image, scale, KERNELS[kernel])
    np.testing.assert_allclose(imresize(image, scale, kernel=kernel), expected, atol=1e-12)
    got = resize(torch.from_numpy(image)[None, None], scale, kernel=kernel)[0, 0]
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-12)


def test_without_antialias_and_to_a_size():
    image = np.random.default_rng(2).random((12, 9))
    expected = naive(image, 0.5, KERNELS["cubic"], antialias=False)
    np.testing.assert_allclose(imresize(image, 0.5, antialias=False), expected, atol=1e-12)
    expected = naive(image, None, KERNELS["cubic"], out=(5, 20))
    np.testing.assert_allclose(imresize(image, size=(5, 20)), expected, atol=1e-12)


def test_an_image_smaller_than_the_kernel():
    for shape in ((1, 1), (2, 3)):
        image = np.random.default_rng(3).random(shape)
        for scale in (0.25, 4):
            expected = naive(image, scale, KERNELS["lanczos3"])
            np.testing.assert_allclose(imresize(image, scale, kernel="lanczos3"), expected, atol=1e-12)


def test_long_sides_in_blocks():
    image = np.random.default_rng(4).random((400, 5))
    np.testing.assert_allclose(imresize(image, 0.5), naive(image, 0.5, KERNELS["cubic"]), atol=1e-12)
    np.testing.assert_allclose(imresize(image.T, 2), naive(image.T, 2, KERNELS["cubic"]), atol=1e-12)


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_are_even_and_end_at_their_width(name):
    function, width = KERNELS[name]
    x = np.linspace(0, width / 2, 50)
    np.testing.assert_allclose(function(x), function(-x), atol=1e-15)
    assert not function(np.array([width / 2 + 1e-6, width])).any()
    assert function(np.array([width / 2 - 0.02]))[0] != 0
    image = np.full((9, 9), 0.3)
    np.testing.assert_allclose(imresize(image, 0.4, kernel=name), 0.3, atol=1e-12)


def test_cubic_is_keys_kernel():
    x = np.array([0, 0.5, 1, 1.5, 2, 3])
    np.testing.assert_allclose(KERNELS["cubic"].function(x), [1, 0.5625, 0, -0.0625, 0, 0], atol=1e-15)
    np.testing.assert_allclose(KERNELS["mitchell"].function(np.array([0.0, 1.0])), [8 / 9, 1 / 18], atol=1e-15)


def test_integers_are_rounded_halves_up_from_exact_sums():
    image = np.array([[0, 1, 2, 4], [1, 1, 1, 3]], np.uint8)
    np.testing.assert_array_equal(resize_uint8(image, 0.5, kernel="box"), [[1, 3]])  # means 3/4 and 5/2
    image = np.random.default_rng(5).integers(0, 256, (16, 16), np.uint8)

    def weights(length, out):
        """Keys' cubic, four times as wide, in fractions."""
        matrix = [[Fraction(0)] * length for _ in range(out)]
        for row in range(out):
            for p in range(4 * row + 2 - 8, 4 * row + 2 + 8):
                x = abs(Fraction(2 * p + 1 - 2 * (4 * row + 2), 8))
                near, far = (
                    Fraction(3, 2) * x**3 - Fraction(5, 2) * x**2 + 1,
                    -x * x * x / 2 + 5 * x * x / 2 - 4 * x + 2,
                )
                q = -1 - p if p < 0 else p if p < length else 2 * length - 1 - p
                matrix[row][q] += (near if x <= 1 else far) / 4
        return matrix

    rows = weights(16, 4)
    exact = [
        [sum(rows[i][k] * rows[j][m] * int(image[k, m]) for k in range(16) for m in range(16)) for j in range(4)]
        for i in range(4)
    ]
    expected = [[min(max(math.floor(v + Fraction(1, 2)), 0), 255) for v in line] for line in exact]
    np.testing.assert_array_equal(resize_uint8(image, 0.25), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("scale", [1 / 2, 1 / 3, 1 / 4, 1 / 8, 0.3, 2, 2.5])
@pytest.mark.parametrize("kernel", ["cubic", "lanczos3", "sinc5"])
def test_a_window_is_the_window_of_the_whole(dtype, scale, kernel):
    rng = np.random.default_rng(6)
    # few different values make many sums that lie exactly between two integers
    image = rng.choice(np.array([0, 1, 127, 128, np.iinfo(dtype).max], dtype), (96, 120, 3))
    whole = resize_uint8(image, scale, kernel=kernel)
    exact = imresize(image.astype(np.float64), scale, kernel=kernel)
    assert np.abs(np.clip(exact, 0, np.iinfo(dtype).max) - whole).max() < (0.51 if dtype is np.uint8 else 4)
    for _ in range(12):
        height, width = (int(rng.integers(1, n + 1)) for n in whole.shape[:2])
        top, left = (int(rng.integers(n - m + 1)) for n, m in zip(whole.shape[:2], (height, width), strict=True))
        part = resize_uint8(image, scale, kernel=kernel, window=(top, left, height, width))
        np.testing.assert_array_equal(part, whole[top : top + height, left : left + width])


def test_no_integer_sum_is_ever_rounded():
    """The premise of the windows: with the largest sums of weights, 53 bits hold every partial sum."""
    for dtype, bits in module._FIXED_POINT.items():
        for name in KERNELS:
            for scale in (1 / 4, 1 / 3, 3, 4):
                _, weight = module._taps(axes((64, 64), scale, None, name)[0], bits)
                np.testing.assert_array_equal(weight * 2.0**bits, np.round(weight * 2.0**bits))
                np.testing.assert_array_equal(weight.sum(axis=1), 1)
                largest = np.iinfo(dtype).max * np.abs(weight).sum(axis=1).max() ** 2
                assert largest * 2.0 ** (2 * bits) < 2**53


def test_sums_of_taps_equal_products():
    images = torch.rand(2, 3, 30, 41, dtype=torch.float64)
    for scale in (0.25, 1 / 3, 2.0):
        rows, columns = axes((30, 41), scale, None)
        products = module._multiplied(module._multiplied(images, rows, -2), columns, -1)
        taps = module._gathered(module._gathered(images, rows, -2), columns, -1)
        torch.testing.assert_close(products, taps, rtol=0, atol=1e-13)


def test_tensors_of_any_kind():
    image = torch.rand(3, 24, 20)
    expected = imresize(image.permute(1, 2, 0).numpy(), 0.5)
    torch.testing.assert_close(resize(image, 0.5), torch.from_numpy(expected).permute(2, 0, 1))
    half = resize(image.half(), 0.5)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half, resize(image.half().float(), 0.5).half())
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(resize(image, 0.5), torch.from_numpy(expected).permute(2, 0, 1))
    small = torch.rand(1, 1, 6, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: resize(x, 0.5), small)


def test_sizes_are_rounded_up_but_not_by_rounding_errors():
    for scale, length, expected in ((1 / 3, 10, 4), (1 / 3, 9, 3), (0.1, 30, 3), (0.7, 10, 7), (1.1, 10, 11)):
        assert axes((length, length), scale, None)[0].out == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 0.5, "size": (2, 2)}, "either"),
        ({}, "either"),
        ({"scale": 0.5, "kernel": "cubik"}, "cubik"),
        ({"scale": -1.0}, "positive"),
        ({"size": (0, 2)}, "positive"),
    ],
)
def test_nonsense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        imresize(np.zeros((4, 4)), **arguments)


def test_types_are_not_guessed():
    with pytest.raises(ValueError, match="uint8"):
        imresize(np.zeros((4, 4), np.uint8), 0.5)
    with pytest.raises(ValueError, match="float32"):
        resize_uint8(np.zeros((4, 4), np.float32), 0.5)
    with pytest.raises(ValueError, match="uint8"):
        resize(torch.zeros(4, 4, dtype=torch.uint8), 0.5)


def test_views_in_any_direction():
    image = np.random.default_rng(7).integers(0, 256, (30, 40, 3), np.uint8)
    for view in (
        image[::-1],
        image[:, ::-1, ::-1],
        image.transpose(1, 0, 2),
        np.broadcast_to(image[..., :1], image.shape),
    ):
        np.testing.assert_array_equal(resize_uint8(view, 0.25), resize_uint8(view.copy(), 0.25))
        floats = view.astype(np.float32)[:, ::-1]
        np.testing.assert_array_equal(imresize(floats, 2), imresize(floats.copy(), 2))
    before = image.copy()
    resize_uint8(image, 0.5)
    np.testing.assert_array_equal(image, before)


def test_a_kernel_of_ones_own():
    image = files.photograph().astype(np.float64)
    triangle = Kernel(lambda x: np.maximum(1 - np.abs(x), 0), 2)
    np.testing.assert_allclose(imresize(image, 0.5, kernel=triangle), imresize(image, 0.5, kernel="bilinear"))


@pytest.mark.parametrize("size", [(16, 24), (17, 23)])
def test_what_an_inference_left_behind_serves_training(size):
    small = torch.rand(1, 3, 53, 59)
    with torch.inference_mode():
        resize(small, size=size)
    image = small.requires_grad_()
    resize(image, size=size).sum().backward()
    assert image.grad is not None
