"""Quantising, dithering, toning and erasing: each against a closed form or a naive loop, and host against device."""

import inspect
import pickle

import cv2
import numpy as np
import pytest
import torch

from darkroom.data.degrade import DEGRADATIONS, dithering, erasing, fields, fringes, quantising, toning
from darkroom.data.degrade.fixed import Fixed
from darkroom.data.degrade.operation import Ragged, Size
from darkroom.filters.superpixels import segment

MODULES = [module.__name__ for module in (dithering, erasing, fringes, quantising, toning)]
NAMES = [
    *("dither", "fs_dither", "dither_fs_bw", "dither_bayer", "dither_bayer_bw"),
    *("dither_avg_bw", "dither_bin_bw", "dither_rnd_bw"),
    *("simple_quantize", "som_quantize", "km_quantize", "maxrgb", "superpixels"),
    *("auto_levels", "unsharp", "clahe", "canny", "fringes", "cutout", "erasing"),
]
SHAPES = [(1, 1), (7, 5), (33, 64)]
INEXACT = {"unsharp"}
"""Names whose results differ between host and device, by up to 1e-5; others are equal to the last bit."""


def photograph(height, width, channels=3, seed=0):
    """Read-only: smooth, with all levels, and some noise."""
    rng = np.random.default_rng(seed)
    image = cv2.GaussianBlur(rng.random((height, width, channels)), (0, 0), 3).reshape(height, width, channels)
    image = (image - image.min()) / max(np.ptp(image), 1e-3) * 0.9 + 0.1 * rng.random(image.shape)
    image = np.float32(image)
    image.flags.writeable = False
    return image


def drawn(degradation, image, seed=0):
    size = Size(*image.shape[:2])
    return degradation.draw(np.random.default_rng(seed), size, size)


def done(degradation, image, seed=0):
    return drawn(degradation, image, seed).on_host(image)


def extended(image, margin):
    return np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="edge")


# all of them


def test_these_are_all():
    ours = [name for name in DEGRADATIONS if inspect.unwrap(DEGRADATIONS[name]).__module__ in MODULES]
    assert sorted(ours) == sorted(NAMES)
    assert len(NAMES) == 20


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_each_works_by_itself_on_any_image(name, shape, channels):
    image = photograph(*shape, channels)
    before = image.copy()
    operation = drawn(DEGRADATIONS[name](), image)
    result = operation.on_host(image)
    assert result.shape == image.shape
    assert result.dtype == np.float32
    assert result.min() >= 0
    assert result.max() <= 1
    assert np.array_equal(image, before)
    assert np.array_equal(pickle.loads(pickle.dumps(operation)).on_host(image), result)
    assert np.array_equal(done(DEGRADATIONS[name](), image), result)
    assert operation.size(Size(*shape)) == shape
    assert 0 < len(str(operation)) < 30


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("cutout", "erasing")])
def test_each_changes_a_photograph(name):
    image = photograph(33, 64)
    assert np.abs(done(DEGRADATIONS[name](), image) - image).max() > 0.02


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_a_batch_comes_out_as_its_images(name, channels):
    images = [photograph(*shape, channels, seed) for seed, shape in enumerate([*SHAPES, (40, 20)])]
    operations = [drawn(DEGRADATIONS[name](), image, seed) for seed, image in enumerate(images)]
    compare(operations, images, 1e-5 if name in INEXACT else 0)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (quantising.SimpleQuantize(30), quantising.SimpleQuantize(100)),
        (dithering.OrderedDither(2, 4), dithering.OrderedDither(5, 8, gray=True)),
        (toning.AutoLevels(0), toning.AutoLevels(60)),
        (toning.Unsharp(strength=0.8), toning.Unsharp("DoG")),
    ],
)
def test_operations_of_a_batch_have_numbers_of_their_own(first, second):
    compare([first, second], [photograph(20, 30), photograph(33, 17, seed=1)], 1e-6)


@pytest.mark.parametrize(
    "unsharp",
    [toning.Unsharp("DoG", strength=2), toning.Unsharp(blur="gaussian", kernel_size=5), toning.Unsharp(blur=None)],
)
def test_a_batch_is_sharpened_by_each_filter(unsharp):
    compare([unsharp] * 3, [photograph(*shape) for shape in SHAPES], 1e-5)


def compare(operations, images, tolerance):
    whole = Ragged.of([torch.from_numpy(image.transpose(2, 0, 1).copy()) for image in images])
    for place, (height, width) in zip(whole.images, whole.sizes, strict=True):
        place[:, height:] = place[:, :, width:] = 0.77  # nobody may look there
    given = whole.images.clone()
    result = type(operations[0]).on_device(operations, whole)
    assert torch.equal(whole.images, given)
    assert [*result.sizes] == [image.shape[:2] for image in images]
    for operation, image, changed in zip(operations, images, result.each(), strict=True):
        expected = operation.on_host(image)
        assert np.abs(changed.permute(1, 2, 0).numpy() - expected).max() <= tolerance


@pytest.mark.parametrize("name", NAMES)
def test_what_is_fixed_draws_nothing(name):
    rng, size = np.random.default_rng(3), Size(9, 9)
    before = rng.bit_generator.state
    operation = DEGRADATIONS[name]().draw(rng, size, size)
    assert (rng.bit_generator.state == before) == isinstance(operation, Fixed)


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("simple_quantize", {"rgb_range": 0}, "rgb_range: expected more than 0"),
        ("km_quantize", {"num_colors": 0}, "num_colors: expected 1 or more, found 0"),
        ("som_quantize", {"num_colors": 0}, "num_colors"),
        ("som_quantize", {"sigma": 0.0}, "sigma of more than 0"),
        ("som_quantize", {"learning_rate": 1.5}, "at most 1, found 1.0 and 1.5"),
        (
            "som_quantize",
            {"neighborhood_function": "square"},
            "bubble, gaussian, mexican_hat, triangle, found 'square'",
        ),
        ("superpixels", {"n_segments": 0}, "segments: expected 1 or more"),
        ("superpixels", {"algorithm": "watershed"}, "algorithm: expected one of"),
        ("dither", {"levels": 1}, "levels: expected 2 or more, found 1"),
        ("dither_fs_bw", {"levels": 0}, "levels"),
        ("dither_bayer", {"side": 3}, "side: expected 1, 2, 4 or 8, found 3"),
        ("dither_bayer_bw", {"levels": 1}, "levels"),
        ("auto_levels", {"percent": 100}, "percent"),
        ("unsharp", {"algorithm": "sobel"}, "laplacian or DoG"),
        ("unsharp", {"blur": "box"}, "median, gaussian or null"),
        ("unsharp", {"kernel_size": 4}, "kernel_size of 1, 3 or 5"),
        ("unsharp", {"strength": -1.0}, "strength"),
        ("clahe", {"clip_limit": 0.0}, "clip_limit"),
        ("clahe", {"tile_grid_size": (0, 8)}, "tile_grid_size"),
        ("canny", {"sigma": -0.1}, "sigma"),
        ("fringes", {"strength": (2.0, 1.0)}, "strength in 0 to 10"),
        ("fringes", {"jitter": (1.0, -1.0)}, "jitter"),
        ("cutout", {"share": 1.5}, "share: expected 0 to 1"),
        ("erasing", {"share": (0.5, 0.2)}, "share in 0 to 1"),
        ("erasing", {"aspect": (0.0, 1.0)}, "aspect above 0"),
    ],
)
def test_options_that_cannot_be(name, options, match):
    with pytest.raises(ValueError, match=match):
        DEGRADATIONS[name](**options)


# dithering


def diffused(image, levels):
    """Floyd and Steinberg's, pixel by pixel, in float32."""
    top = np.float32(levels - 1)
    values = image * top
    height, width = image.shape[:2]
    for y in range(height):
        for x in range(width):
            new = np.clip(np.rint(values[y, x]), 0, top)
            error, values[y, x] = values[y, x] - new, new
            for dy, dx, share in ((0, 1, 7), (1, -1, 3), (1, 0, 5), (1, 1, 1)):
                if y + dy < height and 0 <= x + dx < width:
                    values[y + dy, x + dx] += error * np.float32(share / 16)
    return values / top


@pytest.mark.parametrize("levels", [2, 3, 6])
@pytest.mark.parametrize("shape", [*SHAPES, (1, 9), (9, 1)])
def test_error_diffusion_is_that_of_one_pixel_after_another(shape, levels):
    image = photograph(*shape)
    assert np.array_equal(done(DEGRADATIONS["dither"](levels=levels), image), diffused(image, levels))


def test_error_diffusion_keeps_the_mean():
    image = np.full((64, 64, 3), [0.2, 0.5, 0.9], np.float32)
    assert done(DEGRADATIONS["fs_dither"](), image).mean((0, 1)) == pytest.approx([0.2, 0.5, 0.9], abs=0.01)


def gray_of(image):
    return image @ np.float32([0.299, 0.587, 0.114])


def test_black_and_white_diffusion_is_that_of_the_luma():
    image = photograph(20, 30)
    luma = 0.299 * image[..., :1] + 0.587 * image[..., 1:2] + 0.114 * image[..., 2:]
    assert np.abs(luma[..., 0] - gray_of(image)).max() < 1e-6
    assert np.array_equal(done(DEGRADATIONS["dither_fs_bw"](), image), diffused(luma, 2).repeat(3, axis=2))


def interleaved(y, x, bits):
    """Bayer's order in closed form: the bits of x xor y and of y in turn, from the lowest, which weigh most."""
    return sum(
        (((x ^ y) >> bit & 1) << 2 * (bits - 1 - bit) + 1) + ((y >> bit & 1) << 2 * (bits - 1 - bit))
        for bit in range(bits)
    )


@pytest.mark.parametrize("side", [1, 2, 4, 8])
def test_ordered_dithering_compares_with_the_pattern_of_bayer(side):
    image = photograph(33, 41)
    bits = side.bit_length() - 1
    result = done(DEGRADATIONS["dither_bayer"](side=side), image)
    for y, x in np.ndindex(33, 41):
        threshold = (interleaved(y % side, x % side, bits) + 0.5) / side**2
        assert result[y, x].tolist() == [float(value >= threshold) for value in image[y, x]]


def test_ordered_dithering_has_as_many_grays_as_its_pattern_has_places():
    for i in range(65):
        image = np.full((8, 16, 1), i / 64, np.float32)
        assert done(DEGRADATIONS["dither_bayer"](), image).mean() == i / 64
        assert done(DEGRADATIONS["dither_bayer"](levels=5), image).mean() == pytest.approx(i / 64, abs=1e-7)


def test_ordered_dithering_rounds_to_the_levels_around_a_value():
    image = photograph(33, 64)
    result = done(DEGRADATIONS["dither_bayer"](levels=4), image)
    assert np.allclose(result * 3, np.rint(result * 3), atol=1e-6)
    assert np.abs(result - image).max() < 1 / 3
    assert len(np.unique(result)) == 4


@pytest.mark.parametrize(("name", "threshold"), [("dither_bin_bw", lambda gray: 0.5), ("dither_avg_bw", np.mean)])
def test_one_threshold(name, threshold):
    image = photograph(33, 64)
    gray = gray_of(image)
    limit = threshold(gray)
    sure = np.abs(gray - limit) > 1e-5
    expected = np.float32(gray > limit)[..., None].repeat(3, axis=2)
    assert sure.mean() > 0.9
    assert np.array_equal(done(DEGRADATIONS[name](), image)[sure], expected[sure])


@pytest.mark.parametrize("value", [0.1, 0.3, 1.0])
def test_a_flat_image_is_not_darker_than_its_mean(value):
    image = np.full((33, 64, 3), value, np.float32)
    assert done(DEGRADATIONS["dither_avg_bw"](), image).min() == 1


def test_random_thresholds():
    levels = np.linspace(0, 1, 11, dtype=np.float32)
    image = np.broadcast_to(levels[:, None, None], (11, 4000, 3))
    result, other = (done(DEGRADATIONS["dither_rnd_bw"](), image, seed) for seed in (1, 2))
    assert set(np.unique(result)) == {0, 1}
    assert result.mean((1, 2)) == pytest.approx(levels, abs=0.04)  # five standard deviations
    assert (result == result[..., :1]).all()
    assert (result[0] == 0).all()
    assert (result[-1] == 1).all()
    assert 0.2 < (result[5] != other[5]).mean() < 0.8


# quantising


@pytest.mark.parametrize("step", [1, 50, 255])
def test_simple_quantize_rounds_to_multiples(step):
    image = np.arange(256, dtype=np.float32).reshape(16, 16, 1) / 255
    result = done(DEGRADATIONS["simple_quantize"](rgb_range=step), image) * 255
    expected = [min(range(0, 256, step), key=lambda multiple: abs(multiple - value)) for value in range(256)]
    sure = np.arange(256) % step != step / 2
    assert result.ravel()[sure] == pytest.approx(np.array(expected)[sure], abs=1e-3)
    assert len(np.unique(result)) == 255 // step + 1


def test_maxrgb_keeps_the_largest():
    image = np.float32([[[0.5, 0.2, 0.1], [0.1, 0.3, 0.3], [0, 0, 0], [0.2, 0.1, 0.7]]])
    expected = np.float32([[[0.5, 0, 0], [0, 0.3, 0.3], [0, 0, 0], [0, 0, 0.7]]])
    assert np.array_equal(done(DEGRADATIONS["maxrgb"](), image), expected)
    gray = photograph(7, 5, 1)
    assert np.array_equal(done(DEGRADATIONS["maxrgb"](), gray), gray)


def lloyd(points, means):
    for _ in range(10):
        groups = [[] for _ in means]
        for point in points:
            groups[min(range(len(means)), key=lambda i: ((point - means[i]) ** 2).sum())].append(point)
        means = [np.mean(group, axis=0) if group else mean for group, mean in zip(groups, means, strict=True)]
    return np.array(means)


def test_k_means_is_that_of_lloyd():
    points = photograph(12, 10).reshape(-1, 3).astype(np.float64)
    order = np.argsort(points.sum(axis=1))
    means = lloyd(points, list(points[order[[7, 22, 37, 52, 67, 82, 97, 112]]]))
    found = quantising.k_means(np.float32(points), 8)
    assert np.abs(found - means).max() < 1e-5
    nearest = [means[((point - means) ** 2).sum(axis=1).argmin()] for point in points]
    result = done(DEGRADATIONS["km_quantize"](num_colors=8), np.float32(points).reshape(12, 10, 3))
    assert np.abs(result.reshape(-1, 3) - nearest).max() < 1e-5


def test_k_means_finds_the_colours_that_there_are():
    palette = np.random.default_rng(0).random((8, 3), dtype=np.float32)
    image = palette[np.random.default_rng(1).integers(8, size=(100, 90))]  # more pixels than it learns from
    assert np.abs(done(DEGRADATIONS["km_quantize"](num_colors=40), image) - image).max() < 1e-6


@pytest.mark.parametrize("name", ["km_quantize", "som_quantize"])
def test_palettes_have_so_many_colours_and_are_near_the_image(name):
    image = photograph(80, 80)
    result = done(DEGRADATIONS[name](num_colors=16), image)
    assert 8 < len(np.unique(result.reshape(-1, 3), axis=0)) <= 16
    few = image.reshape(-1, 3)[:: len(image) ** 2 // 16][:16]  # any pixels as a palette
    unlearned = quantising.paint(image, few)
    assert ((result - image) ** 2).mean() < 0.8 * ((unlearned - image) ** 2).mean()


NEIGHBOURHOODS = {
    "bubble": lambda d, s: 1.0 if d < s else 0.0,
    "gaussian": lambda d, s: np.exp(-(d**2) / (2 * s**2)),
    "mexican_hat": lambda d, s: (1 - d**2 / s**2) * np.exp(-(d**2) / (2 * s**2)),
    "triangle": lambda d, s: max(0.0, 1 - d / s),
}


@pytest.mark.parametrize("function", NEIGHBOURHOODS)
def test_a_map_learns_from_one_point_after_another(function):
    chain = photograph(1, 9)[0].astype(np.float64)
    points = photograph(5, 8, seed=1).reshape(-1, 3)
    found = quantising.self_organised(np.float32(chain), points, 2.5, 0.3, quantising._NEIGHBOURHOODS[function])
    for step, point in enumerate(points):
        still = 1 / (1 + step / (len(points) / 2))
        winner = min(range(9), key=lambda i: ((point - chain[i]) ** 2).sum())
        for i in range(9):
            chain[i] += 0.3 * still * NEIGHBOURHOODS[function](abs(i - winner), 2.5 * still) * (point - chain[i])
    assert np.abs(found - chain).max() < 1e-5


@pytest.mark.parametrize("function", NEIGHBOURHOODS)
def test_maps_of_each_neighbourhood_paint_the_image(function):
    image = photograph(40, 40)
    result = done(DEGRADATIONS["som_quantize"](8, 2.0, 0.5, function), image)
    assert len(np.unique(result.reshape(-1, 3), axis=0)) <= 8
    assert not np.array_equal(done(DEGRADATIONS["som_quantize"](8, 2.0, 0.5, function), image, seed=1), result)


def test_places_are_spread_evenly():
    for start in (0.0, 0.7):
        places = quantising.spread(5000, 100, start)
        assert np.bincount(places, minlength=100).tolist() == pytest.approx([50] * 100, abs=3)


def test_superpixels_need_no_contributed_modules(monkeypatch):
    monkeypatch.delattr(cv2, "ximgproc", raising=False)
    image = photograph(60, 50)
    result = done(DEGRADATIONS["superpixels"](n_segments=20, colours="mean"), image)
    pixels = np.rint(image * 255).astype(np.uint8)
    labels = segment(pixels, "sk_slic", 20)
    assert 5 < labels.max() < 40
    for label in range(labels.max() + 1):
        inside = labels == label
        assert np.abs(result[inside] * 255 - pixels[inside].mean(axis=0)).max() <= 1  # rounded down
    with pytest.raises(ValueError, match="choose sk_felzenszwalb or sk_slic"):
        DEGRADATIONS["superpixels"](algorithm="slic")


# toning


def test_auto_levels_stretches_what_is_between_two_ranks():
    image = photograph(20, 21)
    result = done(DEGRADATIONS["auto_levels"](percent=10), image)
    for channel in range(3):
        values = sorted(image[..., channel].ravel())
        low, high = values[21], values[-22]  # 420 pixels: 5 % are 21
        expected = ((image[..., channel] - low) / (high - low)).clip(0, 1)
        assert np.abs(result[..., channel] - expected).max() < 1e-6
        assert (result[..., channel] == 0).sum() == (result[..., channel] == 1).sum() == 22


def test_auto_levels_leaves_a_flat_channel():
    image = photograph(20, 21).copy()
    image[..., 1] = 0.3
    result = done(DEGRADATIONS["auto_levels"](percent=0), image)
    assert (result[..., 1] == np.float32(0.3)).all()
    assert result.min((0, 1)).tolist() == [0, np.float32(0.3), 0]
    assert result.max((0, 1)).tolist() == [1, np.float32(0.3), 1]


@pytest.mark.parametrize("size", [1, 3, 5])
def test_unsharp_takes_away_the_laplacian_of_the_median(size):
    image, margin = photograph(9, 11), size // 2
    wide = extended(image, margin)
    smooth = np.array([[np.median(wide[y : y + size, x : x + size], axis=(0, 1)) for x in range(11)] for y in range(9)])
    around = extended(smooth, 1)
    laplacian = around[:-2, 1:-1] + around[2:, 1:-1] + around[1:-1, :-2] + around[1:-1, 2:] - 4 * smooth
    expected = (image - 0.3 * laplacian).clip(0, 1)
    assert np.abs(done(DEGRADATIONS["unsharp"](kernel_size=size), image) - expected).max() < 1e-6


THREE, FIVE = np.array([1, 2, 1]) / 4, np.array([1, 4, 6, 4, 1]) / 16


def blurred(image, line):
    margin = len(line) // 2
    wide = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    wide = sum(w * wide[i : len(wide) - 2 * margin + i] for i, w in enumerate(line))
    return sum(w * wide[:, i : wide.shape[1] - 2 * margin + i] for i, w in enumerate(line))


def test_unsharp_by_difference_of_gaussians():
    image = photograph(9, 11)
    expected = (image - 0.8 * (blurred(image, FIVE) - blurred(image, THREE))).clip(0, 1)
    assert np.abs(done(DEGRADATIONS["unsharp"]("DoG", strength=0.8), image) - expected).max() < 1e-6


def test_unsharp_by_the_laplacian_of_a_gaussian():
    image = photograph(19, 21)
    smooth = blurred(image, FIVE)
    laplacian = smooth[:-2, 1:-1] + smooth[2:, 1:-1] + smooth[1:-1, :-2] + smooth[1:-1, 2:] - 4 * smooth[1:-1, 1:-1]
    expected = (image[1:-1, 1:-1] - 0.3 * laplacian).clip(0, 1)[2:-2, 2:-2]
    result = done(DEGRADATIONS["unsharp"](blur="gaussian", kernel_size=5), image)
    assert np.abs(result[3:-3, 3:-3] - expected).max() < 1e-6


def test_unsharp_leaves_a_plane_and_steepens_a_step():
    flat = np.full((6, 8, 3), 0.4, np.float32)
    assert np.abs(done(DEGRADATIONS["unsharp"](), flat) - flat).max() < 1e-6
    step = np.full((6, 8, 1), 0.3, np.float32)
    step[:, 4:] = 0.7
    assert done(DEGRADATIONS["unsharp"](), step)[2, 3:5, 0] == pytest.approx([0.3 - 0.3 * 0.4, 0.7 + 0.3 * 0.4])


def test_clahe_of_one_tile_without_limit_is_equalisation():
    image = photograph(32, 32, 1)
    levels = np.rint(image * 255).astype(int)
    share = np.bincount(levels.ravel(), minlength=256).cumsum() / levels.size
    result = done(DEGRADATIONS["clahe"](clip_limit=1e4, tile_grid_size=(1, 1)), image)
    assert np.abs(result * 255 - (share * 255)[levels]).max() < 0.51


def test_clahe_changes_lightness_only():
    image = photograph(64, 64) * np.float32(0.2) + np.float32(0.4)
    result = done(DEGRADATIONS["clahe"](), image)
    before, after = (cv2.cvtColor(i, cv2.COLOR_RGB2LAB) for i in (image, result))
    inside = ((result > 0) & (result < 1)).all(axis=2)
    assert inside.mean() > 0.9
    assert np.abs(after - before)[inside][:, 1:].max() < 0.5
    assert after[..., 0].std() > 1.5 * before[..., 0].std()


def test_canny_finds_the_sides_of_a_square():
    image = np.full((24, 24, 3), 0.5, np.float32)
    image[8:16, 8:16] = 1
    edges = done(DEGRADATIONS["canny"](), image)
    assert set(np.unique(edges)) == {0, 1}
    assert (edges == edges[..., :1]).all()
    rows, columns = np.nonzero(edges[..., 0])
    assert {min(rows), min(columns)} <= {7, 8}
    assert {max(rows), max(columns)} <= {15, 16}
    assert not edges[10:14, 10:14].any()
    assert 24 <= len(rows) <= 36


def test_canny_has_thresholds_around_the_median():
    image = np.full((24, 24, 1), 0.5, np.float32)
    image[:, 16:] = 0.65  # a gradient of 4 * 38, which is 1.19 of the median
    assert done(DEGRADATIONS["canny"](sigma=0.15), image).any()
    assert not done(DEGRADATIONS["canny"](sigma=0.25), image).any()


# fringes


def ramp(height, width):
    """Red, green and blue are the column, in hundredths of a pixel."""
    return np.ascontiguousarray(np.broadcast_to(np.arange(width, dtype=np.float32)[:, None] / 100, (height, width, 3)))


@pytest.mark.parametrize("strength", [0.0, 0.5, 2.0])
def test_fringes_enlarge_the_channels_around_the_centre(strength):
    result = done(DEGRADATIONS["fringes"]((strength, strength), radial_blur=False), ramp(20, 41))
    for channel, enlarged in enumerate((1, 1 + 0.018 * strength, 1 + 0.044 * strength)):
        expected = (20 + (np.arange(41) - 20) / enlarged) / 100
        assert np.abs(result[..., channel] - expected).max() < 1e-5
    assert result.dtype == np.float32


def test_fringes_are_the_same_along_both_axes():
    image = photograph(31, 45)
    turned = np.ascontiguousarray(image.transpose(1, 0, 2))
    result, other = (done(DEGRADATIONS["fringes"](), i) for i in (image, turned))
    assert np.abs(result.transpose(1, 0, 2) - other).max() < 1e-4


def test_fringes_are_blurred_more_the_farther_from_the_centre():
    image = np.zeros((5, 161, 3), np.float32)
    image[:, 10::20] = 1  # lines at distances of 10, 30, 50 and 70
    result = done(DEGRADATIONS["fringes"]((1.0, 1.0)), image)[2]
    peaks = [result[80 + at - 4 : 80 + at + 9, 0].max() for at in (10, 30, 50, 70)]
    assert peaks == sorted(peaks, reverse=True)
    assert peaks[0] > 1.2 * peaks[-1]
    assert result[..., 0].sum() == pytest.approx(image[2, :, 0].sum(), rel=0.03)


def test_jitter_moves_red_and_blue_apart():
    image = photograph(20, 30)
    result = done(DEGRADATIONS["fringes"]((0.0, 0.0), (2.0, 2.0), radial_blur=False), image)
    assert np.array_equal(result[:, :-2, 0], image[:, 2:, 0])
    assert np.array_equal(result[..., 1], image[..., 1])
    assert np.array_equal(result[:, 2:, 2], image[:, :-2, 2])


# erasing


def test_cutout_is_a_square_with_its_centre_in_the_image():
    degradation, rng = DEGRADATIONS["cutout"](), np.random.default_rng(0)
    image = np.ones((20, 30, 1), np.float32)
    counts = np.zeros((20, 30))
    for _ in range(4000):
        operation = degradation.draw(rng, Size(20, 30), Size(20, 30))
        result = operation.on_host(image)[..., 0]
        rows, columns = (result == 0).any(1), (result == 0).any(0)
        assert np.array_equal(result == 0, rows[:, None] & columns)
        assert 5 <= rows.sum() <= 10
        assert 5 <= columns.sum() <= 10
        counts += result == 0
    centre = counts[5:15, 5:25] / 4000  # of 600 places, 100 reach a pixel
    assert centre.mean() == pytest.approx(1 / 6, abs=0.01)
    assert counts[0, 0] / 4000 == pytest.approx(6 * 6 / 600, abs=0.02)


def test_cutout_of_a_share():
    operation = DEGRADATIONS["cutout"](share=0.25).draw(np.random.default_rng(5), Size(40, 80), Size(10, 20))
    assert (operation.on_host(np.ones((40, 80, 3), np.float32)) == 0).all(axis=2).sum() <= 100


def test_erasing_is_a_box_of_noise_of_the_sizes_that_are_given():
    degradation, rng = DEGRADATIONS["erasing"](share=(0.1, 0.2), aspect=(0.5, 2.0)), np.random.default_rng(0)
    image = np.full((50, 60, 3), 2, np.float32)
    shares, aspects = [], []
    for _ in range(300):
        operation = degradation.draw(rng, Size(50, 60), Size(50, 60))
        result = operation.on_host(image)
        top, left, bottom, right = operation.box
        assert 0 <= top < bottom <= 50
        assert 0 <= left < right <= 60
        inside = np.zeros((50, 60), bool)
        inside[top:bottom, left:right] = True
        assert (result[~inside] == 2).all()
        assert np.array_equal(result[inside], fields.uniform(operation.offset, (50, 60, 3))[inside])
        shares.append(inside.mean())
        aspects.append((bottom - top) / (right - left))
    assert 0.09 < min(shares) < 0.11
    assert 0.19 < max(shares) < 0.21
    assert 0.45 < min(aspects) < 0.6
    assert 1.85 < max(aspects) < 2.15


def test_erasing_as_large_as_the_image():
    operation = DEGRADATIONS["erasing"](share=(1.0, 1.0), aspect=(3.0, 3.0)).draw(
        np.random.default_rng(0), Size(10, 10), Size(10, 10)
    )
    top, left, bottom, right = operation.box
    assert (top, bottom) == (0, 10)
    assert right - left == 6  # sqrt(100 / 3)
