import os
import pickle
import sys

import cv2
import files
import numpy as np
import pytest
import torch

from darkroom.core.errors import DataError
from darkroom.data import DATASETS
from darkroom.data.aligned import Aligned
from darkroom.data.augment import Turn, draw_turn, to_tensor
from darkroom.data.dataset import UnreadableImage
from darkroom.data.folders import list_images, natural, pair
from darkroom.data.images import read, write
from darkroom.data.single import Single
from darkroom.data.survey import survey
from darkroom.filters.resize import imresize, resize_uint8


def rng(seed=0):
    return np.random.default_rng(seed)


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def fill(root, names, height=64, width=72, make=files.photograph):
    root.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write(root / name, make(height, width, seed))
    return str(root)


def shrink(folder, target, scale, suffix=""):
    """An LR folder as people make it: MATLAB's bicubic of whole images, in floats, rounded."""
    for path in list_images([folder]):
        pixels = read(path).pixels
        height, width = (n // scale * scale for n in pixels.shape[:2])
        low = imresize(pixels[:height, :width].astype(np.float64), 1 / scale)
        rounded = np.clip(np.floor(low + 0.5), 0, 255).astype(np.uint8)
        (target / f"{path.stem}{suffix}.png").parent.mkdir(parents=True, exist_ok=True)
        write(target / f"{path.stem}{suffix}.png", rounded)
    return str(target)


# folders


def test_natural_order():
    names = ["img10.png", "img2.png", "Img1.png", "b/1.png", "a/2.png", "a/10.png", "0003.png", "3.png"]
    assert sorted(names, key=natural) == [
        "0003.png", "3.png", "a/2.png", "a/10.png", "b/1.png", "Img1.png", "img2.png", "img10.png",
    ]  # fmt: skip


def test_only_images_are_listed_from_all_subfolders(tmp_path):
    touch(tmp_path, "10.png", "9.JPG", "deep/er/1.WebP", "deep/2.tiff", "notes.txt", "Thumbs.db")
    touch(tmp_path, "._9.jpg", ".hidden/3.png", "__MACOSX/4.png", ".5.png.123.partial")
    found = [p.relative_to(tmp_path).as_posix() for p in list_images([tmp_path])]
    assert found == ["9.JPG", "10.png", "deep/2.tiff", "deep/er/1.WebP"]


def test_no_image_is_listed_twice(tmp_path):
    touch(tmp_path, "a/1.png", "a/2.png", "b/3.png")
    roots = [tmp_path / "a", tmp_path, str(tmp_path / "a" / ".." / "b"), tmp_path / "a" / "1.png"]
    found = [p.name for p in list_images(roots)]
    assert found == ["1.png", "2.png", "3.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_are_followed_once_and_never_in_circles(tmp_path):
    touch(tmp_path, "elsewhere/5.png", "root/a/1.png")
    (tmp_path / "root" / "circle").symlink_to(tmp_path / "root")
    (tmp_path / "root" / "a" / "up").symlink_to("..")
    (tmp_path / "root" / "z").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "zz").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "root")
    (tmp_path / "root" / "also1.png").symlink_to(tmp_path / "root" / "a" / "1.png")
    (tmp_path / "root" / "broken.png").symlink_to(tmp_path / "nothing.png")
    found = [p.name for p in list_images([tmp_path / "root"])]
    assert found == ["1.png", "broken.png", "5.png"]


def test_a_missing_folder_is_named_with_what_is_near(tmp_path):
    touch(tmp_path, "train_HR/1.png", "other/1.png")
    with pytest.raises(DataError, match=r"there is no .*trian_HR.*Did you mean .*train_HR"):
        list_images([tmp_path / "trian_HR"])
    with pytest.raises(DataError, match=r"there is no .*HR\.$"):
        list_images([tmp_path / "quite_else" / "HR"])


def test_an_empty_folder_says_what_it_holds(tmp_path):
    touch(tmp_path, "sub/readme.txt", "movie.mp4")
    with pytest.raises(DataError, match=r"no images.*movie.mp4, sub"):
        list_images([tmp_path])


def relative(pairing, root):
    return {t.relative_to(root).as_posix(): i and i.relative_to(root).as_posix() for t, i in pairing.pairs}


@pytest.mark.parametrize(
    ("targets", "inputs", "expected"),
    [
        (["1.png", "2.jpg"], ["1.webp", "2.png"], {"1.png": "1.webp", "2.jpg": "2.png"}),
        (["0801.png", "0802.png"], ["0801x4.png", "0802x4.png"], {"0801.png": "0801x4.png", "0802.png": "0802x4.png"}),
        (["0801.png"], ["X4/0801x4.png"], {"0801.png": "X4/0801x4.png"}),
        (["0801.png"], ["0801x2.png", "0801x4.png", "0801x8.png"], {"0801.png": "0801x4.png"}),
        (["0001.png"], ["0001x4m.png"], {"0001.png": "0001x4m.png"}),
        (["img_001_SRF_4_HR.png"], ["img_001_SRF_4_LR.png"], {"img_001_SRF_4_HR.png": "img_001_SRF_4_LR.png"}),
        (["a_HR.png", "b_HR.png"], ["b_LR.png"], {"a_HR.png": None, "b_HR.png": "b_LR.png"}),
        (["a/1.png", "b/1.png"], ["b/1.png", "a/1.png"], {"a/1.png": "a/1.png", "b/1.png": "b/1.png"}),
        (["a/1.png", "b/1.png"], ["b/1.png"], {"a/1.png": None, "b/1.png": "b/1.png"}),
        (["1.png", "1.jpg"], ["1.jpg", "1.png"], {"1.png": "1.png", "1.jpg": "1.jpg"}),
        (["x4.png"], ["x4.png"], {"x4.png": "x4.png"}),
        (["Photo.PNG"], ["photo.png"], {"Photo.PNG": "photo.png"}),
    ],
)
def test_pairs_by_name(tmp_path, targets, inputs, expected):
    touch(tmp_path / "HR", *targets)
    touch(tmp_path / "LR", *inputs)
    pairing = pair([tmp_path / "HR"], [tmp_path / "LR"], scale=4)
    found = {t.relative_to(tmp_path / "HR").as_posix(): i for t, i in pairing.pairs}
    assert {t: i and i.relative_to(tmp_path / "LR").as_posix() for t, i in found.items()} == expected
    assert not pairing.ambiguous


def test_one_stray_shifts_no_other(tmp_path):
    names = [f"{n:04d}.png" for n in range(40)]
    touch(tmp_path / "HR", *names)
    touch(tmp_path / "LR", "0000a.png", *names[:7], *names[8:], "zzz.png")
    pairing = pair([tmp_path / "HR"], [tmp_path / "LR"], scale=4)
    for target, partner in pairing.pairs:
        assert (partner is None) == (target.name == "0007.png")
        assert partner is None or partner.name == target.name
    assert [p.name for p in pairing.alone] == ["0007.png"]
    assert [p.name for p in pairing.strays] == ["0000a.png", "zzz.png"]


def test_two_lists_of_folders_go_together(tmp_path):
    for part in "ab":
        touch(tmp_path / part / "HR", "1.png", "2.png")
    touch(tmp_path / "a" / "LR", "1.png")
    touch(tmp_path / "b" / "LR", "2.png", "3.png")
    pairing = pair([tmp_path / "a" / "HR", tmp_path / "b" / "HR"], [tmp_path / "a" / "LR", tmp_path / "b" / "LR"])
    assert relative(pairing, tmp_path) == {
        "a/HR/1.png": "a/LR/1.png", "a/HR/2.png": None, "b/HR/1.png": None, "b/HR/2.png": "b/LR/2.png",
    }  # fmt: skip
    touch(tmp_path / "c", "1.png")
    pairing = pair([tmp_path / "c"], [tmp_path / "a" / "LR", tmp_path / "b" / "LR"])
    assert relative(pairing, tmp_path) == {"c/1.png": "a/LR/1.png"}


def test_names_that_do_not_decide_are_listed(tmp_path):
    touch(tmp_path / "HR", "a/1.png", "b/1.png", "2.png")
    touch(tmp_path / "LR", "1.png", "2.png")
    pairing = pair([tmp_path / "HR"], [tmp_path / "LR"])
    ((name, targets, inputs),) = pairing.ambiguous
    assert name == "1"
    assert [p.parent.name for p in targets] == ["a", "b"]
    assert [p.name for p in inputs] == ["1.png"]
    with pytest.raises(DataError, match="several ways"):
        Aligned(str(tmp_path / "HR"), str(tmp_path / "LR"))


def test_a_thousand_files(tmp_path):
    names = [f"{n}.png" for n in range(1000)]
    touch(tmp_path / "HR", *names)
    touch(tmp_path / "LR", *(f"{n}x4.png" for n in range(0, 1000, 2)))
    dataset = Aligned(str(tmp_path / "HR"), str(tmp_path / "LR"))
    assert [t.name for t, _ in dataset.pairs()] == names
    assert [i and i.name for _, i in dataset.pairs()][:4] == ["0x4.png", None, "2x4.png", None]
    assert "500 of 1000 targets" in dataset.notes[0]


# crops


def test_turns_are_the_eight_of_a_square():
    pixels = files.photograph(5, 5)
    turned = {Turn(mirror, quarters)(pixels).tobytes() for mirror in (False, True) for quarters in range(4)}
    assert len(turned) == 8
    np.testing.assert_array_equal(Turn(True, 0)(pixels), np.fliplr(pixels))
    np.testing.assert_array_equal(Turn(False, 1)(pixels), np.rot90(pixels))
    np.testing.assert_array_equal(Turn(True, 1)(pixels), np.rot90(np.fliplr(pixels)))
    drawn = [draw_turn(rng(n), True, True) for n in range(200)]
    assert len(set(drawn)) == 8
    assert {draw_turn(rng(n), True, False) for n in range(50)} == {Turn(False, 0), Turn(True, 0)}
    assert {draw_turn(rng(n), False, False) for n in range(50)} == {Turn()}


def test_tensors_own_their_memory():
    pixels = files.photograph(6, 7)
    tensor = to_tensor(pixels[1:4, ::-1])
    assert tensor.is_contiguous()
    np.testing.assert_array_equal(tensor.permute(1, 2, 0).numpy(), pixels[1:4, ::-1])
    tensor.zero_()
    assert pixels.any()
    frozen = np.broadcast_to(files.photograph(6, 7, channels=1), (6, 7, 3))
    assert to_tensor(frozen).shape == (3, 6, 7)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("make", [files.photograph, files.photograph16])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_input_on_the_fly_is_the_crop_of_the_whole_downscaled_image(tmp_path, scale, make, channels):
    folder = fill(tmp_path, ["1.png"], 101, 83, make)
    whole = read(tmp_path / "1.png").as_channels(channels)[: 101 // scale * scale, : 83 // scale * scale]
    low = resize_uint8(whole, 1 / scale)
    dataset = Aligned(folder, crop=scale * 6, scale=scale, channels=channels)
    places = set()
    for seed in range(25):
        item = dataset.item(0, rng(seed))
        target, given = (item[k].permute(1, 2, 0).numpy() for k in ("target", "input"))
        tops, lefts = np.nonzero(whole[:, :, 0] == target[0, 0, 0])
        corners = zip(tops, lefts, strict=True)
        (place,) = [p for p in corners if np.array_equal(whole[p[0] :, p[1] :][: scale * 6, : scale * 6], target)]
        assert place[0] % scale == place[1] % scale == 0
        top, left = place[0] // scale, place[1] // scale
        np.testing.assert_array_equal(given, low[top : top + 6, left : left + 6])
        places.add(place)
    assert len(places) > 15


def test_an_input_on_the_fly_is_the_file_that_people_make(tmp_path):
    folder = fill(tmp_path / "HR", ["1.png", "2.png"])
    lows = shrink(folder, tmp_path / "LR", 4)
    for options in ({"crop": 32, "flip": True, "rotate": True}, {}):
        made, given = Aligned(folder, **options), Aligned(folder, lows, **options)
        for index in range(2):
            for seed in range(8):
                a, b = made.item(index, rng(seed)), given.item(index, rng(seed))
                assert a["path"] == b["path"]
                assert torch.equal(a["target"], b["target"])
                assert torch.equal(a["input"], b["input"])


def test_flips_and_turns_are_shared(tmp_path):
    """The downscaled target is the input however the pair lies: bicubic treats all eight ways alike."""
    folder = fill(tmp_path, ["1.png"], 96, 96)
    dataset = Aligned(folder, crop=96, flip=True, rotate=True)
    upright = read(tmp_path / "1.png").pixels
    seen = set()
    for seed in range(60):
        item = dataset.item(0, rng(seed))
        target = item["target"].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(item["input"].permute(1, 2, 0).numpy(), resize_uint8(target, 0.25))
        seen.add(target.tobytes())
    assert len(seen) == 8
    assert upright.tobytes() in seen


def test_whole_images_are_cut_to_the_scale(tmp_path):
    folder = fill(tmp_path, ["1.png"], 50, 63)
    item = Aligned(folder, scale=4).item(0, rng())
    assert item["target"].shape == (3, 48, 60)
    assert item["input"].shape == (3, 12, 15)
    assert item["path"] == str(tmp_path / "1.png")
    assert item["target"].dtype == torch.uint8
    assert item["target"].is_contiguous()


def test_an_input_of_an_uncut_target_is_accepted(tmp_path):
    """MATLAB's imresize of 50x63 by 1/4 is 13x16."""
    folder = fill(tmp_path / "HR", ["1.png"], 50, 63)
    low = imresize(read(tmp_path / "HR" / "1.png").pixels.astype(np.float64), 1 / 4)
    fill(tmp_path / "LR", [])
    write(tmp_path / "LR" / "1.png", np.clip(np.round(low), 0, 255).astype(np.uint8))
    item = Aligned(folder, str(tmp_path / "LR")).item(0, rng())
    assert item["input"].shape == (3, 12, 15)
    np.testing.assert_array_equal(item["input"].permute(1, 2, 0)[:, :, 0], np.clip(np.round(low), 0, 255)[:12, :15, 0])


def test_an_input_of_the_wrong_size_is_refused_with_both_sizes(tmp_path):
    folder = fill(tmp_path / "HR", ["1.png"], 64, 72)
    lows = fill(tmp_path / "LR", ["1.png"], 32, 36)
    with pytest.raises(UnreadableImage, match=r"LR.*36x32.*HR.*72x64.*18x16"):
        Aligned(folder, lows, scale=4).item(0, rng())
    assert Aligned(folder, lows, scale=2).item(0, rng())["input"].shape == (3, 32, 36)


def test_restoration_pairs_have_one_size(tmp_path):
    folder = fill(tmp_path / "clean", ["1.png"])
    noisy = fill(tmp_path / "noisy", ["0.png", "1.png"])
    item = Aligned(folder, noisy, scale=1, crop=20).item(0, rng(3))
    assert item["input"].shape == item["target"].shape == (3, 20, 20)
    alone = Aligned(folder, scale=1, crop=20, kernel="mitchell").item(0, rng(3))
    assert torch.equal(alone["input"], alone["target"])
    assert torch.equal(alone["target"], item["target"])


@pytest.mark.parametrize(("height", "width"), [(20, 72), (72, 20), (9, 13), (4, 4)])
def test_small_targets_are_mirrored(tmp_path, height, width):
    folder = fill(tmp_path / "HR", ["1.png"], height, width)
    lows = shrink(folder, tmp_path / "LR", 4)
    item = Aligned(folder, crop=32).item(0, rng(1))
    assert item["target"].shape == (3, 32, 32)
    cut = read(tmp_path / "HR" / "1.png").pixels[: height // 4 * 4, : width // 4 * 4]
    mirrored = np.pad(cut, ((0, max(32 - len(cut), 0)), (0, max(32 - cut.shape[1], 0)), (0, 0)), "symmetric")
    low = resize_uint8(mirrored, 0.25)
    windows = [
        (mirrored[t : t + 32, l : l + 32], low[t // 4 : t // 4 + 8, l // 4 : l // 4 + 8])
        for t in range(0, mirrored.shape[0] - 31, 4)
        for l in range(0, mirrored.shape[1] - 31, 4)  # noqa: E741
    ]
    target, given = (item[k].permute(1, 2, 0).numpy() for k in ("target", "input"))
    assert any((t == target).all() and (g == given).all() for t, g in windows)
    both = Aligned(folder, lows, crop=32).item(0, rng(1))
    assert torch.equal(both["target"], item["target"])
    # away from the new edges, what the file says is what would have been made
    inner = (slice(None), slice(0, max(cut.shape[0] // 4 - 2, 0)), slice(0, max(cut.shape[1] // 4 - 2, 0)))
    assert torch.equal(both["input"][inner], item["input"][inner])


def test_small_targets_may_be_enlarged_or_refused(tmp_path):
    folder = fill(tmp_path, ["1.png"], 20, 41)
    item = Aligned(folder, crop=32, small="resize").item(0, rng())
    target = item["target"].permute(1, 2, 0).numpy()
    enlarged = resize_uint8(read(tmp_path / "1.png").pixels[:20, :40], size=(32, 64))
    assert any((enlarged[:, n : n + 32] == target).all() for n in range(0, 33, 4))
    assert item["input"].shape == (3, 8, 8)
    with pytest.raises(UnreadableImage, match="40x20, smaller than the crop of 32"):
        Aligned(folder, crop=32, small="refuse").item(0, rng())
    with pytest.raises(UnreadableImage, match="smaller than a pixel"):
        Aligned(folder, scale=64).item(0, rng())


def test_channels_are_what_was_asked_for(tmp_path):
    fill(tmp_path, ["colour.png"])
    gray = files.photograph(64, 72, 5, channels=1)
    write(tmp_path / "gray.png", gray)
    three, one = Aligned(str(tmp_path), crop=64, channels=3), Aligned(str(tmp_path), crop=64, channels=1)
    item = three.item(1, rng())
    for channel in range(3):
        assert torch.equal(item["target"][channel], item["target"][0])
        assert torch.equal(item["input"][channel], item["input"][0])
    assert torch.equal(item["target"][:1], one.item(1, rng())["target"])
    assert torch.equal(item["input"][:1], one.item(1, rng())["input"])
    luma = one.item(0, rng())["target"][0].numpy()
    colour = three.item(0, rng())["target"].permute(1, 2, 0).numpy()
    assert np.abs(luma - colour @ np.array([0.299, 0.587, 0.114])).max() <= 0.51


@pytest.mark.parametrize("name", [n for n in files.good_files() if "alpha" in n or "16" in n or "palette" in n])
def test_odd_files_are_trained_on(tmp_path, name):
    data, pixels, _ = files.good_files()[name]
    (tmp_path / name).write_bytes(data)
    item = Aligned(str(tmp_path), crop=44).item(0, rng())
    assert item["target"].dtype == (torch.uint8 if pixels.dtype == np.uint8 else torch.uint16)
    assert item["input"].dtype == item["target"].dtype
    whole = Aligned(str(tmp_path)).item(0, rng())["target"].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(whole, np.broadcast_to(pixels, (*pixels.shape[:2], 3))[:44, :60])


def test_kernels_are_drawn_for_crops_only(tmp_path):
    folder = fill(tmp_path, ["1.png"], 64, 64)
    whole = read(tmp_path / "1.png").pixels
    both = Aligned(folder, crop=64, kernel=("linear", "lanczos3"))
    made = {both.item(0, rng(n))["input"].numpy().tobytes() for n in range(30)}
    expected = {
        to_tensor(resize_uint8(whole, 0.25, kernel=k)).numpy().tobytes() for k in ("linear", "lanczos3")
    }  # fmt: skip
    assert made == expected
    validation = Aligned(folder, kernel=("linear", "lanczos3"))
    assert len({validation.item(0, rng(n))["input"].numpy().tobytes() for n in range(10)}) == 1


def test_an_item_is_a_function_of_index_and_numbers(tmp_path):
    folder = fill(tmp_path, ["1.png", "2.png", "3.png"])
    dataset = Aligned(folder, crop=24, flip=True, rotate=True, kernel=("cubic", "box"))
    again = pickle.loads(pickle.dumps(dataset))
    first = [dataset.item(n % 3, rng(n)) for n in range(9)]
    second = {n: again.item(n % 3, rng(n)) for n in reversed(range(9))}
    for n, item in enumerate(first):
        assert torch.equal(item["target"], second[n]["target"])
        assert torch.equal(item["input"], second[n]["input"])


def test_draws_have_a_fixed_order(tmp_path):
    """Row, column, kernel, mirror, turn: the options of one do not move the others."""
    folder = fill(tmp_path, ["1.png"], 90, 110)
    for seed in range(20):
        plain = Aligned(folder, crop=32).item(0, rng(seed))["target"].numpy()
        turned = Aligned(folder, crop=32, flip=True, rotate=True).item(0, rng(seed))["target"].numpy()
        assert any(
            (Turn(m, q)(plain.transpose(1, 2, 0)).transpose(2, 0, 1) == turned).all() for m in (0, 1) for q in range(4)
        )


def test_subset_and_limit(tmp_path):
    folder = fill(tmp_path / "HR", ["a/1.png", "a/2.png", "b/1.png", "3.png"])
    (tmp_path / "list.txt").write_text("b/1.png\n\na/2\n3.png\n", encoding="utf-8")
    dataset = Aligned(folder, subset_file=str(tmp_path / "list.txt"))
    assert [t.relative_to(tmp_path / "HR").as_posix() for t, _ in dataset.pairs()] == ["3.png", "a/2.png", "b/1.png"]
    assert len(Aligned(folder, subset_file=str(tmp_path / "list.txt"), limit=2)) == 2
    assert len(Aligned(folder, limit=100)) == 4
    (tmp_path / "list.txt").write_text("b/1.png\nb/11.png\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"1 files.*b/11.png.*Did you mean"):
        Aligned(folder, subset_file=str(tmp_path / "list.txt"))
    with pytest.raises(DataError, match="cannot be read"):
        Aligned(folder, subset_file=str(tmp_path / "no.txt"))


def test_folders_that_share_no_name_are_an_error(tmp_path):
    folder, lows = fill(tmp_path / "HR", ["1.png"]), fill(tmp_path / "LR", ["one.png"])
    with pytest.raises(DataError, match=r"no input.*1\.png.*one\.png"):
        Aligned(folder, lows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": 30}, "28 or 32"),
        ({"crop": 0}, "at least 1"),
        ({"scale": 0}, "at least 1"),
        ({"limit": 0}, "at least 1"),
        ({"channels": 2}, "1 or 3"),
        ({"small": "stretch"}, "stretch"),
        ({"kernel": ("cubic", "cubik")}, "cubik"),
        ({"kernel": ()}, "at least one"),
    ],
)
def test_values_that_do_not_fit_are_refused(tmp_path, options, message):
    folder = fill(tmp_path, ["1.png"])
    with pytest.raises(ValueError, match=message):
        Aligned(folder, **options)


def test_single_gives_whole_images(tmp_path):
    fill(tmp_path, ["2.png", "10.png"], 33, 47)
    dataset = Single(str(tmp_path))
    assert [p.name for p, _ in dataset.pairs()] == ["2.png", "10.png"]
    item = dataset.item(1, rng())
    np.testing.assert_array_equal(item["input"].permute(1, 2, 0), read(tmp_path / "10.png").pixels)
    assert set(item) == {"input", "path"}
    assert Single((str(tmp_path),), channels=1, limit=1).item(0, rng())["input"].shape == (1, 33, 47)
    with pytest.raises(ValueError, match="channels"):
        Single(str(tmp_path), channels=4)


def test_they_are_registered_by_name():
    assert DATASETS["aligned"] is Aligned
    assert DATASETS["single"] is Single


# survey


def test_survey_finds_what_is_wrong(tmp_path):
    folder = fill(tmp_path / "HR", [f"{n}.png" for n in range(30)], 64, 72)
    lows = shrink(folder, tmp_path / "LR", 4)
    write(tmp_path / "HR" / "30.png", files.photograph(40, 90))
    write(tmp_path / "HR" / "31.png", files.photograph16(100, 101, channels=1))
    (tmp_path / "HR" / "32.png").write_bytes(files.good_files()["rgba.png"][0])
    (tmp_path / "HR" / "33.png").write_bytes(b"not a picture")
    (tmp_path / "HR" / "5.png").write_bytes((tmp_path / "HR" / "5.png").read_bytes()[:500])
    (tmp_path / "LR" / "6.png").write_bytes(b"")
    write(tmp_path / "LR" / "7.png", files.photograph(16, 17))
    write(tmp_path / "LR" / "stray.png", files.photograph(16, 18))
    dataset = Aligned(folder, lows, crop=64)
    steps = []
    found = survey(
        dataset.pairs(), dataset.scale, dataset.crop, dataset.strays, progress=lambda *a: steps.append(a), threads=3
    )
    assert (found.targets, found.inputs) == (34, 30)
    assert steps == [(n, 34) for n in range(1, 35)]
    assert [line.split(": ")[0] for line in found.unreadable] == [
        str(tmp_path / p) for p in ("HR/5.png", "LR/6.png", "HR/33.png")
    ]
    tiny = survey([(tmp_path / "LR" / "7.png", None)], 18)
    assert (tiny.usable, len(tiny.unreadable)) == (0, 1)
    assert "smaller than a pixel at scale 18" in tiny.unreadable[0]
    assert len(found.mismatched) == 1
    assert "LR/7.png: 17x16" in found.mismatched[0].replace(os.sep, "/")
    assert "18x16" in found.mismatched[0]
    assert [line.rpartition(": ")[2] for line in found.small] == ["90x40", f"{files.WIDTH}x{files.HEIGHT}"]
    assert len(found.alone) == 4
    assert len(found.strays) == 1
    assert (found.smallest, found.largest) == ((files.WIDTH, files.HEIGHT), (101, 100))
    assert (found.gray, found.transparent, found.deep) == (1, 1, 1)
    assert found.usable == 34 - 4
    report = found.report(shown=2)
    assert "34 images, 30 with an input file, 61x46 to 101x100" in report
    assert "Unreadable: 3" in report
    assert "and 1 more" in report
    assert "stray.png" in report


def test_survey_of_a_sound_folder_says_little(tmp_path):
    found = survey(Single(fill(tmp_path, ["1.png", "2.png"], 20, 30)).pairs())
    assert found.report() == "2 images, 30x20"
    assert found.usable == 2


def test_opencv_decodes_one_image_as_we_do(tmp_path):
    """A plain colour file is what every other program sees."""
    folder = fill(tmp_path, ["1.png"], 64, 64)
    plain = cv2.imread(str(tmp_path / "1.png"))[:, :, ::-1]
    np.testing.assert_array_equal(Aligned(folder).item(0, rng())["target"].permute(1, 2, 0).numpy(), plain)
