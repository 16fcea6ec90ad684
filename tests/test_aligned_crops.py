import cv2
import numpy as np
import pytest

from darkroom.data.augment import Choice, Turn
from darkroom.data.crops import Box, Crop, View, check_kernels, reach, resized
from darkroom.data.degrade.operation import Size
from darkroom.filters.resize import imresize, resize_uint8

rng = np.random.default_rng(5)
PICTURE = cv2.GaussianBlur(rng.integers(0, 256, (60, 72, 3), dtype=np.uint8), (0, 0), 1.2)


def places(height, width):
    """A picture of 16 bits that says of every pixel where it is: row, column, 0."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint16)
    return np.stack([100 * rows + 5000, 100 * columns + 5000, 0 * rows], axis=2)


def test_boxes():
    box = Box(8, 12, 16, 20)
    assert box.times(3).over(3) == box
    assert box.grown(10, Size(30, 60)) == Box(0, 2, 30, 40)
    assert Box(9, 14, 1, 2).within(box) == Box(1, 2, 1, 2)
    np.testing.assert_array_equal(box.of(PICTURE), PICTURE[8:24, 12:32])


@pytest.mark.parametrize("turn", [Turn(m, q) for m in (False, True) for q in range(4)])
def test_a_crop_keeps_its_place_when_all_around_it_is_turned(turn):
    crop = View.of(PICTURE).crop(Box(3, 40, 12, 20))
    np.testing.assert_array_equal(crop.near(9).turned(turn).cut(), turn(PICTURE[3:15, 40:60]))
    assert crop.near(9).turned(turn).size == ((24, 38) if turn.quarters % 2 == 0 else (38, 24))


@pytest.mark.parametrize("kernel", ["cubic", "box", "lanczos3"])
@pytest.mark.parametrize("box", [Box(0, 0, 5, 6), Box(3, 4, 7, 9), Box(20, 30, 10, 6)])
def test_a_view_of_another_size_is_the_part_of_the_whole(kernel, box):
    view = View(PICTURE, Size(30, 36), kernel)
    whole = resize_uint8(PICTURE, size=(30, 36), kernel=kernel)
    crop = view.crop(box, 4)
    np.testing.assert_array_equal(crop.cut(), box.of(whole))
    np.testing.assert_array_equal(crop.pixels, box.grown(4, Size(30, 36)).of(whole))
    np.testing.assert_array_equal(view.whole(), whole)


@pytest.mark.parametrize("kernel", ["cubic", "bilinear", "nearest", "area", "cv2_linear", "cv2_cubic", "cv2_lanczos4"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_crop_is_made_smaller_as_the_whole_is(kernel, scale):
    whole = resized(PICTURE, Size(60 // scale, 72 // scale), kernel)
    for box in (Box(0, 0, 24, 24), Box(24, 36, 36, 24), Box(12, 12, 12, 48)):
        low = View.of(PICTURE).crop(box).lowered(scale, kernel, 2)
        np.testing.assert_array_equal(low.cut(), box.over(scale).of(whole))
        np.testing.assert_array_equal(low.pixels, box.over(scale).grown(2, Size(*whole.shape[:2])).of(whole))
        near = View.of(PICTURE).crop(box).near(reach(kernel) * scale)
        np.testing.assert_array_equal(near.lowered(scale, kernel, 0).cut(), box.over(scale).of(whole))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_plain_kernels_are_those_of_opencv(dtype):
    picture = PICTURE.astype(dtype) * (1 if dtype == np.uint8 else 257)
    for kernel, code in (("cv2_linear", cv2.INTER_LINEAR), ("area", cv2.INTER_AREA), ("nearest", cv2.INTER_NEAREST)):
        low = resized(picture, Size(15, 18), kernel)
        assert low.dtype == dtype
        exact = cv2.resize(picture.astype(np.float64), (18, 15), interpolation=code)
        assert np.abs(low - exact).max() <= 0.51
    cubic = imresize(picture.astype(np.float64), size=(15, 18)).clip(0, np.iinfo(dtype).max)
    assert np.abs(resized(picture, Size(15, 18), "cubic") - cubic).max() <= 0.51


@pytest.mark.parametrize(("angle", "quarters"), [(90.0, 1), (-90.0, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_right_angle_is_a_quarter_turn(angle, quarters, channels):
    square = PICTURE[:40, :40, :channels]
    turned = View.of(square).crop(Box(0, 0, 40, 40), 0, angle).cut()
    np.testing.assert_array_equal(turned, np.rot90(square, quarters))


@pytest.mark.parametrize("angle", [-71.0, -45.0, -3.0, 20.0, 45.0, 88.0])
@pytest.mark.parametrize("box", [Box(0, 0, 32, 32), Box(60, 5, 32, 32), Box(68, 108, 32, 32), Box(30, 40, 64, 64)])
def test_any_angle_shows_the_picture_and_nothing_beyond_it(angle, box):
    """Where the pixels come from is a turned grid: nothing is mirrored, nothing empty, and nothing is enlarged."""
    cut = View.of(places(100, 140)).crop(box, 0, angle).cut().astype(np.float64)
    y, x = ((cut[:, :, n] - 5000) / 100 for n in (0, 1))
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    for along, (right, down) in {0: (sine, cosine), 1: (cosine, -sine)}.items():
        inner = (y, x)[along][3:-3, 3:-3]
        assert np.abs(np.diff(inner, axis=1) - right).max() < 0.07  # OpenCV rounds places to 1/32
        assert np.abs(np.diff(inner, axis=0) - down).max() < 0.07  # OpenCV rounds places to 1/32
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        assert -0.6 < y[corner] < 99.6
        assert -0.6 < x[corner] < 139.6
    if box == Box(0, 0, 32, 32):  # the first place stays the first place
        assert min(y.min(), x.min()) < 1.5


def test_a_picture_too_small_for_an_angle_is_enlarged():
    """The largest square of that angle that a square has."""
    cut = View.of(places(64, 64)).crop(Box(0, 0, 64, 64), 0, 30.0).cut().astype(np.float64)
    y, x = ((cut[:, :, n] - 5000) / 100 for n in (0, 1))
    step = np.hypot(y[32, 40] - y[32, 24], x[32, 40] - x[32, 24]) / 16
    assert step == pytest.approx(1 / (np.cos(np.pi / 6) + np.sin(np.pi / 6)), abs=0.01)
    assert y.min() >= -0.6
    assert y.max() <= 63.6


def test_input_and_target_are_turned_alike():
    """A smooth scene at both sizes: the input is still the target made smaller."""
    y, x = np.mgrid[:128, :160] + 0.5
    scene = 127 + 60 * np.sin(x / 17) + 50 * np.cos(y / 13 + x / 29)
    target = np.repeat(scene.round().astype(np.uint8)[:, :, None], 3, axis=2)
    low = resize_uint8(target, 0.25)
    for angle, box in ((33.0, Box(2, 3, 12, 12)), (-80.0, Box(20, 28, 12, 12)), (45.0, Box(0, 0, 32, 32))):
        whole = View.of(target).crop(box.times(4), 0, angle).cut()
        given = View.of(low).crop(box, 0, angle).cut()
        made = resize_uint8(whole, 0.25)
        assert np.abs(made[2:-2, 2:-2].astype(int) - given[2:-2, 2:-2]).max() <= 2


def test_the_margin_of_a_turned_crop_is_more_of_the_same():
    plain = View.of(PICTURE).crop(Box(20, 24, 16, 16), 0, 25.0)
    wide = View.of(PICTURE).crop(Box(20, 24, 16, 16), 8, 25.0)
    assert wide.box == Box(8, 8, 16, 16)
    assert np.abs(wide.cut().astype(int) - plain.cut()).max() <= 1
    assert wide.size == (32, 32)


def test_choices_follow_their_shares():
    draw = np.random.default_rng(0)
    choice = Choice.of({"a": 3.0, "b": 0.0, "c": 1.0})
    found = [choice.draw(draw) for _ in range(4000)]
    assert found.count("b") == 0
    assert abs(found.count("a") / 4000 - 0.75) < 0.03
    assert Choice.of("x").draw(draw) == "x"
    # without shares, the number that was always drawn
    first, second = np.random.default_rng(1), np.random.default_rng(1)
    assert Choice.of(("a", "b", "c")).draw(first) == "abc"[int(second.integers(3))]
    assert first.random() == second.random()


def test_kernels_that_cannot_be_are_refused():
    for given, message in (
        ((), "at least one"),
        (("cubic", "cubik"), "cubik"),
        ("nearest_aligned", "a stage of degrade"),
        ({"cubic": -1.0, "box": 2.0}, "0 or more"),
        ({"cubic": 0.0}, "0 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            check_kernels("kernel", Choice.of(given))


def test_views_of_read_only_planar_memory():
    planar = np.ascontiguousarray(PICTURE.transpose(2, 0, 1)).transpose(1, 2, 0)
    planar.flags.writeable = False
    box = Box(8, 12, 24, 24)
    for one, two in (
        (View.of(planar).crop(box, 4, 12.0), View.of(PICTURE).crop(box, 4, 12.0)),
        (View(planar, Size(30, 36)).crop(Box(4, 4, 12, 12)), View(PICTURE, Size(30, 36)).crop(Box(4, 4, 12, 12))),
        (View.of(planar).crop(box).lowered(4, "area", 1), View.of(PICTURE).crop(box).lowered(4, "area", 1)),
        (View.of(planar).crop(box).lowered(2, "cubic", 1), View.of(PICTURE).crop(box).lowered(2, "cubic", 1)),
    ):
        assert isinstance(one, Crop)
        np.testing.assert_array_equal(one.cut(), two.cut())
