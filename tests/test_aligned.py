"""The options of ``aligned`` beyond the plain pair; those are in test_datasets.py."""

import pickle

import cv2
import files
import numpy as np
import pytest
import torch

from darkroom.config.typed import convert, hints
from darkroom.core.errors import DataError
from darkroom.data.aligned import Aligned
from darkroom.data.augment import Turn, to_tensor
from darkroom.data.dataset import UnreadableImage
from darkroom.data.images import Picture, read, write
from darkroom.data.stream import generator, whole
from darkroom.filters.resize import resize_uint8


def rng(seed=0):
    return np.random.default_rng(seed)


def fill(root, count=1, height=96, width=112, suffix=".png", first=0):
    root.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        write(root / f"{n}{suffix}", files.photograph(height, width, first + n))
    return str(root)


def pixels(tensor):
    return tensor.permute(1, 2, 0).numpy()


def find(part, picture):
    """Where in the picture the part is; there must be one such place."""
    height, width = part.shape[:2]
    views = np.lib.stride_tricks.sliding_window_view(picture, part.shape[:2], axis=(0, 1))
    hits = np.argwhere((views[:, :, :, 0, 0] == part[0, 0]).all(axis=-1))
    (place,) = [(y, x) for y, x in hits if (picture[y : y + height, x : x + width] == part).all()]
    return place


# faults of the system that this one replaces: inventory 9.1, rows 36, 39 and 41


def test_an_input_without_target_and_other_endings_disturb_no_pair(tmp_path):
    """Row 36: there, one stray replaced all later inputs by made ones, and so did another ending."""
    target, lows = fill(tmp_path / "HR", 6, suffix=".png"), tmp_path / "LR"
    lows.mkdir()
    for n in range(6):
        write(lows / f"{n}.bmp", np.full((24, 28, 3), 10 * n, np.uint8))
    write(lows / "00.bmp", np.full((24, 28, 3), 99, np.uint8))
    write(lows / "1a.png", np.full((24, 28, 3), 99, np.uint8))
    dataset = Aligned(target, str(lows))
    assert [p.name for p in dataset.strays] == ["00.bmp", "1a.png"]
    for n, item in enumerate(whole(dataset)):
        assert (item["input"] == 10 * n).all()
    assert not any("no input file" in note for note in dataset.notes)


def test_making_inputs_is_silent(tmp_path, capfd, recwarn):
    """Row 39: there, a line was printed for every sample."""
    dataset = Aligned(fill(tmp_path, 3), crop=32)
    for n in range(12):
        dataset.item(n % 3, rng(n))
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_validation_has_one_input_for_each_image(tmp_path):
    """Row 41: there, its kernel was drawn anew each time, and an input of a file was made smaller once more."""
    target = fill(tmp_path / "HR", 2)
    fill(tmp_path / "LR", 2, 24, 28, first=50)
    made = Aligned(target, kernel=("lanczos3", "box"))
    given = Aligned(target, str(tmp_path / "LR"), kernel=("lanczos3", "box"))
    for seed in range(5):
        for n, item in enumerate(whole(made, seed=seed)):
            expected = resize_uint8(read(tmp_path / "HR" / f"{n}.png").pixels, 0.25, kernel="lanczos3")
            np.testing.assert_array_equal(pixels(item["input"][0]), expected)
            assert item["input"].shape[-1] * 4 == item["target"].shape[-1]
        for n, item in enumerate(whole(given, seed=seed)):
            np.testing.assert_array_equal(pixels(item["input"][0]), read(tmp_path / "LR" / f"{n}.png").pixels)


def test_a_subset_keeps_the_inputs_of_its_targets(tmp_path):
    target = fill(tmp_path / "HR", 5)
    lows = tmp_path / "LR"
    lows.mkdir()
    for n in (1, 3, 4):
        write(lows / f"{n}x4.png", np.full((24, 28, 3), 10 * n, np.uint8))
    (tmp_path / "list.txt").write_text("3.png\n0.png\n4\n", encoding="utf-8")
    dataset = Aligned(target, str(lows), subset_file=str(tmp_path / "list.txt"))
    assert [(t.name, i and i.name) for t, i in dataset.pairs()] == [
        ("0.png", None), ("3.png", "3x4.png"), ("4.png", "4x4.png"),
    ]  # fmt: skip
    assert (dataset.item(1, rng())["input"] == 30).all()


# how inputs are made


@pytest.mark.parametrize(("kernel", "code"), [("area", cv2.INTER_AREA), ("cv2_linear", cv2.INTER_LINEAR)])
def test_kernels_of_opencv(tmp_path, kernel, code):
    folder = fill(tmp_path, 1, 97, 112)
    dataset = Aligned(folder, crop=32, kernel=kernel, flip=True, rotate=True)
    picture = read(tmp_path / "0.png").pixels[:96]
    low = cv2.resize(picture.astype(np.float32), (28, 24), interpolation=code)
    turned = [[Turn(m, q)(p) for m in (False, True) for q in range(4)] for p in (picture, low)]
    for seed in range(20):
        item = dataset.item(0, rng(seed))
        target, given = pixels(item["target"]), pixels(item["input"])
        for big, small in zip(*turned, strict=True):
            try:
                top, left = find(target, big)
            except ValueError:
                continue
            expected = small[top // 4 : top // 4 + 8, left // 4 : left // 4 + 8]
            assert np.abs(given - expected).max() <= 0.51
            break
        else:
            pytest.fail("the target is no part of the picture, however it lies")


def test_kernels_have_shares(tmp_path):
    folder = fill(tmp_path, 1, 64, 64)
    picture = read(tmp_path / "0.png").pixels
    expected = {k: to_tensor(resize_uint8(picture, 0.25, kernel=k)).numpy().tobytes() for k in ("cubic", "box")}
    dataset = Aligned(folder, crop=64, kernel={"cubic": 9.0, "box": 1.0})
    found = [dataset.item(0, rng(n))["input"].numpy().tobytes() for n in range(200)]
    assert set(found) == set(expected.values())
    assert 5 <= found.count(expected["box"]) <= 40
    assert dataset.kernels == ("cubic", "box")


def test_inputs_of_files_are_ignored_now_and_then(tmp_path):
    target = fill(tmp_path / "HR", 1)
    (tmp_path / "LR").mkdir()
    write(tmp_path / "LR" / "0.png", np.zeros((24, 28, 3), np.uint8))
    dataset = Aligned(target, str(tmp_path / "LR"), crop=32, ignore_input=0.25)
    made = sum(bool(dataset.item(0, rng(n))["input"].any()) for n in range(400))
    assert 70 <= made <= 130
    low = resize_uint8(read(tmp_path / "HR" / "0.png").pixels, 0.25)
    always = Aligned(target, str(tmp_path / "LR"), crop=32, ignore_input=1.0)
    find(pixels(always.item(0, rng(3))["input"]), low)


def test_inputs_that_do_not_fit(tmp_path):
    """``reshape_lr``, ``reshape_hr``, and made anew."""
    target, lows = fill(tmp_path / "HR", 1), fill(tmp_path / "LR", 1, 48, 60, first=7)
    big, small = (read(tmp_path / part / "0.png").pixels for part in ("HR", "LR"))
    with pytest.raises(UnreadableImage, match="60x48"):
        Aligned(target, lows).item(0, rng())
    resized = Aligned(target, lows, misfit="resize_input").item(0, rng())
    np.testing.assert_array_equal(pixels(resized["input"]), resize_uint8(small, size=(24, 28)))
    np.testing.assert_array_equal(pixels(resized["target"]), big)
    other = Aligned(target, lows, misfit="resize_target").item(0, rng())
    np.testing.assert_array_equal(pixels(other["input"]), small)
    np.testing.assert_array_equal(pixels(other["target"]), resize_uint8(big, size=(192, 240)))
    anew = Aligned(target, lows, misfit="make").item(0, rng())
    np.testing.assert_array_equal(pixels(anew["input"]), resize_uint8(big, 0.25))
    # of a crop, the same part of both
    dataset = Aligned(target, lows, crop=32, misfit="resize_input")
    for seed in range(10):
        item = dataset.item(0, rng(seed))
        top, left = find(pixels(item["target"]), big)
        place = find(pixels(item["input"]), resize_uint8(small, size=(24, 28)))
        assert (top, left) == (4 * place[0], 4 * place[1])


def test_a_small_pair_of_one_size_is_enlarged_as_a_pair(tmp_path):
    target, noisy = fill(tmp_path / "HR", 1, 20, 30), fill(tmp_path / "LR", 1, 20, 30, first=9)
    item = Aligned(target, noisy, scale=1, crop=40, small="resize").item(0, rng(1))
    both = [resize_uint8(read(tmp_path / part / "0.png").pixels, size=(40, 60)) for part in ("HR", "LR")]
    places = [find(pixels(item[name]), whole) for name, whole in zip(("target", "input"), both, strict=True)]
    assert places[0] == places[1]


# geometry


def test_shrunk_targets_are_parts_of_the_whole_at_that_size(tmp_path):
    folder = fill(tmp_path / "HR", 1, 110, 150)
    picture = read(tmp_path / "HR" / "0.png").pixels[:108, :148]
    low = tmp_path / "LR"
    low.mkdir()
    write(low / "0.png", resize_uint8(picture, 0.25))
    halves = [picture, resize_uint8(picture, size=(52, 72), kernel="lanczos2")]
    inputs = [read(low / "0.png").pixels, resize_uint8(read(low / "0.png").pixels, size=(13, 18), kernel="lanczos2")]
    made = Aligned(folder, crop=32, shrink=(1.0, 0.5, 0.25), shrink_kernel="lanczos2")
    given = Aligned(folder, str(low), crop=32, shrink=(1.0, 0.5, 0.25), shrink_kernel="lanczos2")
    seen = [0, 0]
    for seed in range(60):
        item = made.item(0, rng(seed))
        target = pixels(item["target"])
        (size,) = [n for n, whole in enumerate(halves) if _is_in(target, whole)]  # a quarter would be too small
        top, left = find(target, halves[size])
        expected = resize_uint8(halves[size], 0.25)[top // 4 : top // 4 + 8, left // 4 : left // 4 + 8]
        np.testing.assert_array_equal(pixels(item["input"]), expected)
        seen[size] += 1
        pair = given.item(0, rng(seed))
        assert torch.equal(pair["target"], item["target"])
        assert find(pixels(pair["input"]), inputs[size]) == (top // 4, left // 4)
    assert seen[0] > 20  # two of the three sizes
    assert seen[1] > 8


def _is_in(part, picture):
    try:
        find(part, picture)
    except ValueError:
        return False
    return True


def test_free_rotation_takes_the_place_of_quarter_turns(tmp_path):
    folder = fill(tmp_path, 1, 128, 128)
    picture = read(tmp_path / "0.png").pixels
    dataset = Aligned(folder, crop=32, rotate=True, rotate_free=0.5)
    straight = 0
    for seed in range(100):
        item = dataset.item(0, rng(seed))
        target = pixels(item["target"])
        straight += any(_is_in(np.rot90(target, -q), picture) for q in range(4))
        assert np.abs(resize_uint8(target, 0.25)[2:-2, 2:-2].astype(int) - pixels(item["input"])[2:-2, 2:-2]).max() <= 1
    assert 30 <= straight <= 70
    plain = Aligned(folder, crop=32, rotate=True)
    same = Aligned(folder, crop=32, rotate=True, rotate_free=1e-12)
    assert all(
        torch.equal(plain.item(0, rng(n))["target"], same.item(0, rng(n))["target"]) for n in range(5)
    )  # numbers come last


def test_input_and_target_change_places(tmp_path):
    target, noisy = fill(tmp_path / "HR", 1), fill(tmp_path / "LR", 1, first=20)
    clean, dirty = (read(tmp_path / part / "0.png").pixels for part in ("HR", "LR"))
    dataset = Aligned(target, noisy, scale=1, crop=24, swap=0.25)
    swapped = 0
    for seed in range(100):
        item = dataset.item(0, rng(seed))
        given, wanted = pixels(item["input"]), pixels(item["target"])
        turned = _is_in(wanted, dirty)
        assert find(given, clean if turned else dirty) == find(wanted, dirty if turned else clean)
        swapped += turned
        assert item["path"] == str(tmp_path / "HR" / "0.png")
    assert 12 <= swapped <= 40


# colours


def test_colours_of_input_and_target(tmp_path):
    folder = fill(tmp_path, 1, 64, 64)
    picture = read(tmp_path / "0.png").pixels
    plain = Aligned(folder).item(0, rng())
    gray = Aligned(folder, input_color="gray").item(0, rng())
    assert gray["input"].shape == (1, 16, 16)
    assert torch.equal(gray["target"], plain["target"])
    assert np.abs(gray["input"][0].numpy() - pixels(plain["input"]) @ [0.299, 0.587, 0.114]).max() <= 0.51
    y = Aligned(folder, target_color="y").item(0, rng())["target"]
    exact = 16 + picture @ np.array([65.481, 128.553, 24.966]) / 255
    assert np.abs(y[0].numpy() - exact).max() <= 0.5 + 1e-9
    lab = pixels(Aligned(folder, input_color="lab", target_color="lab").item(0, rng())["target"])
    assert np.abs(lab.astype(int) - cv2.cvtColor(picture, cv2.COLOR_RGB2Lab)).max() <= 2
    (tmp_path / "lab").mkdir()
    write(tmp_path / "lab" / "0.png", lab)
    back = Aligned(str(tmp_path / "lab"), target_color="lab_to_rgb").item(0, rng())["target"]
    assert np.median(np.abs(pixels(back).astype(int) - picture)) <= 1


def test_sixteen_bits_keep_their_colours(tmp_path):
    deep = files.photograph16(64, 64, 3)
    write(tmp_path / "0.png", deep)
    for color, expected in (
        ("y", (16 / 255 + deep / 65535 @ np.array([65.481, 128.553, 24.966]) / 255) * 65535),
        ("gray", deep @ np.array([0.299, 0.587, 0.114])),
    ):
        target = Aligned(str(tmp_path), target_color=color).item(0, rng())["target"]
        assert target.dtype == torch.uint16
        assert np.abs(target[0].numpy() - expected).max() < 2.5


# options


def test_files_are_read_by_the_reader(tmp_path):
    """Whatever it gives: read-only, and planar in memory."""
    target, lows = fill(tmp_path / "HR", 2), fill(tmp_path / "LR", 2, 24, 28)

    def planar(path):
        found = np.ascontiguousarray(read(path).pixels.transpose(2, 0, 1))
        found.flags.writeable = False
        return Picture(found.transpose(1, 2, 0))

    for options in (
        {"crop": 32, "flip": True, "rotate": True},
        {"crop": 32, "kernel": "area", "rotate_free": 1.0},
        {"crop": 32, "channels": 1, "shrink": (0.5,)},
        {"crop": 160, "small": "pad"},
        {"crop": 160, "small": "resize"},
        {"input": lows, "input_color": "lab"},
        {"input": target, "misfit": "resize_input", "crop": 32},
    ):
        plain, other = Aligned(target, **options), Aligned(target, reader=planar, **options)
        for seed in range(4):
            a, b = plain.item(seed % 2, rng(seed)), other.item(seed % 2, rng(seed))
            assert torch.equal(a["input"], b["input"])
            assert torch.equal(a["target"], b["target"])


def test_all_options_pickle_and_draw_the_same_again(tmp_path):
    target, lows = fill(tmp_path / "HR", 2), fill(tmp_path / "LR", 2, 24, 28)
    dataset = Aligned(
        target, lows, crop=32, flip=True, rotate=True, kernel={"area": 1.0, "cubic": 2.0}, ignore_input=0.5,
        shrink=(1.0, 0.6), rotate_free=0.5, input_color="y",
    )  # fmt: skip
    again = pickle.loads(pickle.dumps(dataset))
    for n in range(20):
        a, b = dataset.item(n % 2, generator(3, n)), again.item(n % 2, generator(3, n))
        assert torch.equal(a["input"], b["input"])
        assert torch.equal(a["target"], b["target"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"misfit": "stretch"}, "misfit: expected refuse, resize_input"),
        ({"ignore_input": 0.5}, "no folder input"),
        ({"swap": 0.5, "scale": 1}, "no folder input"),
        ({"swap": 0.5}, "scale: 1"),
        ({"swap": 1.5, "scale": 1}, "0 to 1"),
        ({"shrink": (0.0,)}, "above 0"),
        ({"shrink": (), "crop": 32}, "above 0"),
        ({"shrink": (0.5,)}, "there is no crop"),
        ({"shrink_kernel": "cubik"}, "cubik"),
        ({"rotate_free": 0.5}, "there is no crop"),
        ({"rotate_free": 2.0, "crop": 32}, "0 to 1"),
        ({"input_color": "hsv"}, "lab_to_rgb"),
        ({"input_color": "y", "channels": 1}, "channels: 3"),
        ({"kernel": "nearest_aligned"}, "a stage of degrade"),
        ({"kernel": {"cubic": -1.0}}, "0 or more"),
        ({"batches_from": "some"}, "all or one"),
        ({"degrade_from": "somewhere"}, "input or target"),
        ({"margin": -1}, "0 or more"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, options, message):
    folder = fill(tmp_path)
    with pytest.raises(ValueError, match=message):
        Aligned(folder, **options)


def test_folders_left_empty_are_refused(tmp_path):
    folders = (fill(tmp_path / "a", 3), fill(tmp_path / "b", 3))
    with pytest.raises(DataError, match=r"no image of .*b is left"):
        Aligned(folders, limit=2, batches_from="one")


def test_values_as_an_option_file_has_them():
    kinds = hints(Aligned)
    (folder, other) = convert([{"path": "A", "weight": 3}, "B"], kinds["target"])
    assert (folder.path, folder.weight, other) == ("A", 3.0, "B")
    assert convert({"cubic": 3, "area": 0.5}, kinds["kernel"]) == {"cubic": 3.0, "area": 0.5}
    for wrong in ([{"path": "A", "wieght": 3}], [{"weight": 3}], [{"path": "A", "weight": "3"}]):
        with pytest.raises(ValueError, match="expected"):
            convert(wrong, kinds["target"])
    with pytest.raises(ValueError, match="more than 0"):
        convert([{"path": "A", "weight": 0}], kinds["target"])
