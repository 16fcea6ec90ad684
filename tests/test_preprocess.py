"""Geometry of image-to-image training, against closed forms, OpenCV called by hand, and naive loops."""

import pickle
from fractions import Fraction
from itertools import product

import cv2
import files
import numpy as np
import pytest

from darkroom.data.dataset import UnreadableImage
from darkroom.data.preprocess import Preprocess, Resize, Window

SIZES = [(64, 64), (60, 100), (100, 60), (53, 37), (31, 33), (192, 256), (80, 30), (5, 7), (1, 9), (3, 500)]


def rng(seed=0):
    return np.random.default_rng(seed)


def places(height, width):
    """An image whose pixels say where they are."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, :, 0], image[:, :, 1] = np.arange(height)[:, None], np.arange(width)
    return image


# sizes


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("load", [48, 100, 1024])
def test_scaling_gives_one_side_and_keeps_the_proportions(size, load):
    height, width = size
    options = {"load_size": load, "multiple_of": 1}
    for word, side in (("scale_width", 1), ("scale_height", 0), ("scale_shortside", int(width < height))):
        out = Preprocess(word, **options).plan(size).size
        exact = Fraction(load * size[1 - side], size[side])
        assert out[side] == load
        assert out[1 - side] == max(exact.numerator // exact.denominator, 1)
    assert min(Preprocess("scale_shortside", **options).plan(size).size) == load


def test_a_crop_size_is_the_least_other_side_of_scaled_images():
    """So that the proportions of long images change, as in traiNNer, though not where no crop is to follow."""
    for word, size, out in (("scale_width", (30, 120), (32, 64)), ("scale_height", (120, 30), (64, 32))):
        assert Preprocess(word, load_size=64, crop_size=32).plan(size).size == out
        assert min(Preprocess(word, load_size=64).plan(size).size) == 16
    assert Preprocess("scale_width", load_size=64, crop_size=32).plan((60, 120)).size == (32, 64)
    assert Preprocess("scale_width", load_size=64, crop_size=32).plan((90, 120)).size == (48, 64)


def test_words_are_done_in_their_order():
    image = files.photograph(90, 120)
    options = {"load_size": 40, "crop_size": 32, "center_crop_size": 64}
    found = Preprocess("center_crop_and_resize", **options).plan((90, 120))
    np.testing.assert_array_equal(found(image), bicubic(image[13:77, 28:92], 40, 40))
    found = Preprocess("resize_and_crop", **options).plan((90, 120))
    np.testing.assert_array_equal(found(image), bicubic(image, 40, 40)[4:36, 4:36])
    found = Preprocess("crop_and_resize", load_size=20, crop_size=32).plan((90, 120))
    np.testing.assert_array_equal(found(image), bicubic(image[29:61, 44:76], 20, 20))
    found = Preprocess("scale_width_and_center_crop_and_crop", **{**options, "load_size": 88}).plan((90, 120))
    np.testing.assert_array_equal(found(image), bicubic(image, 66, 88)[1:65, 12:76][16:48, 16:48])


@pytest.mark.parametrize("multiple", [1, 4, 16, 256])
@pytest.mark.parametrize("size", SIZES)
def test_all_sides_are_multiples_whatever_is_done(size, multiple):
    stated = {"load_size": 512, "crop_size": 256, "center_crop_size": 512, "aspect_ratio": 1.3}
    words = ("none", "resize", "scale_width", "scale_height", "scale_shortside", "fixed", "crop", "center_crop")
    chains = [*words, *(f"{word}_and_crop" for word in words[1:6]), "center_crop_and_scale_shortside"]
    for word, none, small in product(chains, ("power2", "modcrop", "padbase"), ("pad", "resize", "keep")):
        geometry = Preprocess(word, **stated, none=none, small=small, multiple_of=multiple).plan(size, rng())
        assert all(n % multiple == 0 < n for n in geometry.size), (word, none, small)


@pytest.mark.parametrize("multiple", [4, 6])
def test_none_takes_the_nearest_multiple_or_cuts_or_mirrors(multiple):
    for side in range(1, 80):
        near = sorted(range(multiple, 100, multiple), key=lambda n: (abs(n - side), n // multiple % 2))[0]
        below = max((n for n in range(multiple, 100, multiple) if n <= side), default=multiple)
        above = min(n for n in range(multiple, 100, multiple) if n >= side)
        for none, out in (("power2", near), ("modcrop", below), ("padbase", above)):
            found = Preprocess("none", none=none, multiple_of=multiple).plan((side, 96))
            assert found.size == (out, 96), (none, side)
    image = files.photograph(30, 41)
    cut = Preprocess("none", none="modcrop").plan((30, 41))(image)
    np.testing.assert_array_equal(cut, image[:28, :40])
    mirrored = Preprocess("none", none="padbase").plan((30, 41))(image)
    np.testing.assert_array_equal(mirrored, naive_window(image, 0, 0, 32, 44))
    np.testing.assert_array_equal(Preprocess("none").plan((30, 41))(image), bicubic(image, 32, 40))
    assert Preprocess("none").plan((32, 40)).steps == ()


# pixels


def bicubic(image, height, width):
    out = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
    return out.reshape(height, width, image.shape[2])


def naive_window(image, top, left, height, width):
    rows, columns = image.shape[:2]

    def mirrored(place, side):
        while not 0 <= place < side:
            place = -1 - place if place < 0 else 2 * side - 1 - place
        return place

    out = np.empty((height, width, image.shape[2]), image.dtype)
    for y, x in np.ndindex(height, width):
        out[y, x] = image[mirrored(top + y, rows), mirrored(left + x, columns)]
    return out


@pytest.mark.parametrize("window", [(2, 3, 8, 9), (-3, -4, 12, 15), (0, 0, 40, 9), (-20, 5, 30, 40), (5, 6, 20, 7)])
def test_beyond_the_edges_is_the_mirror_image(window):
    image = files.photograph(11, 14)
    np.testing.assert_array_equal(Window(*window)(image), naive_window(image, *window))


@pytest.mark.parametrize("make", [files.photograph, files.photograph16])
@pytest.mark.parametrize("channels", [1, 3])
def test_resizing_is_bicubic_of_the_whole_picture_in_its_own_depth(make, channels):
    image = make(70, 91, channels=channels)
    rule = Preprocess("resize_and_crop", load_size=64, crop_size=32)
    whole = bicubic(image, 64, 64)
    for seed in range(5):
        geometry = rule.plan((70, 91), rng(seed))
        _, (top, left, _, _) = geometry.steps
        out = geometry(image)
        assert out.dtype == image.dtype
        np.testing.assert_array_equal(out, whole[top : top + 32, left : left + 32])
    view = np.broadcast_to(make(70, 91, channels=1), (70, 91, 3))
    np.testing.assert_array_equal(rule.plan((70, 91))(view), bicubic(view.copy(), 64, 64)[16:48, 16:48])


def test_pixels_are_resized_once():
    """The width of 33 that keeps the proportions is no multiple, but is not computed on the way."""
    image = files.photograph(48, 33)
    geometry = Preprocess("scale_height", load_size=64).plan((48, 33))
    assert geometry.steps == (Resize(64, 44),)
    geometry = Preprocess("scale_height", load_size=48).plan((48, 33))
    assert geometry.size == (48, 32)
    np.testing.assert_array_equal(geometry(image), bicubic(image, 48, 32))
    assert Preprocess("resize_and_crop", load_size=32, crop_size=32).plan((32, 32))(image[:32, :32]).base is not None


def test_antialias_averages_where_a_side_shrinks():
    image = files.photograph(96, 64)
    fine = Preprocess("resize", load_size=32, antialias=True)
    blocks = image[:, :, None].reshape(32, 3, 32, 2, 3).astype(float).mean(axis=(1, 3))
    assert np.abs(fine.plan((96, 64))(image) - blocks).max() <= 0.5 + 1e-9
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 64))[:, :, None]
    plain, smooth = (Preprocess("resize", load_size=32, antialias=a).plan((64, 128))(stripes) for a in (False, True))
    assert np.abs(smooth.astype(int) - 127.5).max() <= 1
    assert plain.shape == smooth.shape
    wide = Preprocess("resize", load_size=48, antialias=True).plan((24, 96))(image[:24].repeat(2, axis=1)[:, :96])
    halved = cv2.resize(image[:24].repeat(2, axis=1)[:, :96], (48, 24), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(wide, bicubic(halved, 48, 48))


# places


def test_crops_are_anywhere_and_without_chance_in_the_middle():
    image = places(20, 22)
    rule = Preprocess("crop", crop_size=16)
    corners = {tuple(rule.plan((20, 22), rng(seed))(image)[0, 0, :2]) for seed in range(500)}
    assert corners == {(y, x) for y in range(5) for x in range(7)}
    np.testing.assert_array_equal(rule.plan((20, 22))(image), image[2:18, 3:19])
    center = Preprocess("center_crop", center_crop_size=16)
    assert {center.plan((20, 22), rng(seed)).steps for seed in range(20)} == {(Window(2, 3, 16, 16),)}


def test_one_of_several_load_sizes_is_taken():
    rule = Preprocess("resize", load_size=(32, 64, 40))
    found = [rule.plan((50, 50), rng(seed)).size[0] for seed in range(300)]
    assert {n: found.count(n) > 60 for n in (32, 64, 40)} == {32: True, 64: True, 40: True}
    assert rule.plan((50, 50)).size == (32, 32)
    assert [rule.plan((50, 50), rng(seed)).size[0] for seed in range(300)] == found


def test_pictures_that_are_too_small():
    image = files.photograph(30, 50)
    for word, size in (("crop", {"crop_size": 40}), ("center_crop", {"center_crop_size": 40})):
        mirrored = Preprocess(word, **size).plan((30, 50))
        np.testing.assert_array_equal(mirrored(image), naive_window(image, -5, 5, 40, 40))
        enlarged = Preprocess(word, **size, small="resize").plan((30, 50))
        np.testing.assert_array_equal(enlarged(image), bicubic(image, 40, 67)[:, 13:53])
        with pytest.raises(UnreadableImage, match=rf"^x\.png: it is 50x30, smaller than the 40 pixels of {word}$"):
            Preprocess(word, **size, small="refuse").plan((30, 50), rng(), "x.png")
        kept = Preprocess(word, **size, small="keep", multiple_of=2).plan((30, 50))
        np.testing.assert_array_equal(kept(image), image[:, 5:45])
    for seed in range(20):  # a random crop is mirrored where ``aligned`` mirrors: at the right and the bottom
        geometry = Preprocess("crop", crop_size=40).plan((30, 50), rng(seed))
        assert geometry.steps[0].top == 0 <= geometry.steps[0].left <= 10
    assert Preprocess("crop", crop_size=40).cut == 40
    assert Preprocess("center_crop_and_crop", crop_size=32, center_crop_size=40).cut == 40
    assert Preprocess("resize_and_crop", crop_size=32, load_size=40).cut is None


# options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preprocess": "crob"}, r"'crob'.*Did you mean 'crop'"),
        ({"preprocess": "resize-and-crop"}, r"'resize-and-crop'.*joined by _and_"),
        ({"preprocess": "none_and_crop", "crop_size": 8}, "none alone"),
        ({"preprocess": "crop_and_crop", "crop_size": 8}, "once each"),
        ({"preprocess": ""}, "there is no ''"),
        ({"preprocess": "resize_and_crop", "crop_size": 8}, "load_size: .*found none"),
        ({"preprocess": "resize", "load_size": ()}, "load_size: .*found none"),
        ({"preprocess": "resize_and_crop", "load_size": 8}, "crop_size: .*found none"),
        ({"preprocess": "center_crop", "crop_size": 8}, "center_crop_size: .*found none"),
        ({"preprocess": "fixed", "crop_size": 8}, "aspect_ratio: .*found none"),
        ({"preprocess": "fixed", "crop_size": 8, "aspect_ratio": 0.0}, "aspect_ratio: expected more than 0"),
        ({"preprocess": "crop", "crop_size": 250}, "crop_size: .*4, found 250: use 248 or 252"),
        ({"preprocess": "crop", "crop_size": 360, "multiple_of": 256}, "use 256 or 512"),
        ({"preprocess": "crop", "crop_size": 3}, "use 4$"),
        ({"preprocess": "resize", "load_size": (256, 286)}, "load_size: .*found 286: use 284 or 288"),
        ({"preprocess": "center_crop", "center_crop_size": 30}, "center_crop_size: .*use 28 or 32"),
        ({"preprocess": "resize_and_crop", "load_size": (64, 16), "crop_size": 32}, "at least the crop_size 32"),
        (
            {"preprocess": "center_crop_and_resize", "load_size": 64, "center_crop_size": 16, "crop_size": 32},
            "center_cr",
        ),
        ({"preprocess": "crop", "crop_size": 0}, "crop_size: expected at least 1"),
        ({"preprocess": "resize", "load_size": -4}, "load_size: expected at least 1"),
        ({"multiple_of": 0}, "multiple_of: expected at least 1"),
        ({"none": "nearest"}, "none: expected power2"),
        ({"small": "stretch"}, "small: expected pad"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Preprocess(**options)


def test_sizes_that_are_not_used_do_not_matter():
    """The template of white-box cartoonization has a load_size that its crop does not use."""
    rule = Preprocess("crop", load_size=250, crop_size=256)
    assert rule.plan((300, 400), rng()).size == (256, 256)
    assert Preprocess("resize_and_crop", load_size=286, crop_size=256).plan((9, 9)).size == (256, 256)


def test_a_geometry_is_a_function_of_size_and_numbers():
    rule = Preprocess("scale_width_and_crop", load_size=(64, 72), crop_size=32)
    again = pickle.loads(pickle.dumps(rule))
    for seed in range(10):
        one, two = rule.plan((50, 80), rng(seed)), again.plan((50, 80), rng(seed))
        assert one == two
        image = files.photograph(50, 80, seed)
        np.testing.assert_array_equal(one(image), pickle.loads(pickle.dumps(two))(image))
