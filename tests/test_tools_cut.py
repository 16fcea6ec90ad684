"""Sub-images, low-resolution images and training crops."""

import csv

import cv2
import numpy as np
import pytest
import torch
from files import ORIENTATIONS, bad_files, encode, fill, oriented, photograph, photograph16
from skimage.data import astronaut

from darkroom.core.errors import DataError
from darkroom.data.aligned import Aligned
from darkroom.data.images import Picture, header, read, write
from darkroom.filters.resize import KERNELS, imresize, resize_uint8
from darkroom.tools import crops as crops_module
from darkroom.tools.crops import CropSettings, crops, reductions
from darkroom.tools.downscale import downscale
from darkroom.tools.subimages import starts, subimages
from darkroom.tools.work import Workers

QUIET = Workers(jobs=2, progress=False, say=lambda text: None)


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.png")}


def pixels(path):
    return read(path).pixels


@pytest.fixture(scope="module")
def photo():
    return np.ascontiguousarray(astronaut()[:301, :437])


# --------------------------------------------------------------------------------------------------------- sub-images


def test_pieces_of_a_side_as_in_the_definition():
    for side in range(1, 70):
        for size, step, threshold in ((10, 5, 0), (10, 5, 2), (10, 10, 3), (10, 13, 4), (24, 7, 50)):
            found = starts(side, size, step, threshold)
            if side <= size:
                assert found == [0]
                continue
            regular = [n for n in range(0, side, step) if n + size <= side]
            rest = side - regular[-1] - size
            assert found == regular + ([side - size] if rest > threshold else [])


def test_an_image_of_div2k_gives_forty_pieces():
    assert len(starts(2040, 480, 240, 48)) * len(starts(1356, 480, 240, 48)) == 8 * 5


def test_pieces_are_parts_of_the_image_row_by_row(tmp_path, photo):
    (tmp_path / "in/deep").mkdir(parents=True)
    write(tmp_path / "in/deep/a.png", photo)
    report = subimages([tmp_path / "in"], tmp_path / "out", 160, 80, 20, QUIET)
    places = [(top, left) for top in (0, 80, 141) for left in (0, 80, 160, 240, 277)]
    assert len(report.done) == 1
    assert len(contents(tmp_path / "out")) == 15
    for number, (top, left) in enumerate(places, 1):
        found = pixels(tmp_path / f"out/deep/a_s{number:03d}.png")
        assert (found == photo[top : top + 160, left : left + 160]).all(), number


def test_pieces_keep_depth_gray_and_transparency_and_small_images_stay_whole(tmp_path):
    (tmp_path / "in").mkdir()
    deep, gray = photograph16(70, 90), photograph(70, 90, channels=1)
    alpha = photograph(70, 90, seed=3, channels=1)[:, :, 0]
    write(tmp_path / "in/deep.png", deep)
    write(tmp_path / "in/gray.png", gray)
    write(tmp_path / "in/clear.png", Picture(photograph(70, 90), alpha))
    write(tmp_path / "in/small.png", gray[:20])
    subimages([tmp_path / "in"], tmp_path / "out", 40, 40, 0, QUIET)
    assert (pixels(tmp_path / "out/deep_s006.png") == deep[30:, 50:]).all()
    assert (pixels(tmp_path / "out/gray_s001.png") == gray[:40, :40]).all()
    assert (read(tmp_path / "out/clear_s002.png").alpha == alpha[:40, 40:80]).all()
    assert (pixels(tmp_path / "out/small_s003.png") == gray[:20, 50:]).all()
    assert len([*(tmp_path / "out").glob("small*")]) == 3


def test_pieces_of_pairs_are_pairs(tmp_path, photo):
    (tmp_path / "in").mkdir()
    write(tmp_path / "in/a.png", photo[:300, :436])
    downscale([tmp_path / "in"], tmp_path, (4,), hr=True, workers=QUIET)
    subimages([tmp_path / "HR/X4"], tmp_path / "high", 160, 80, 16, QUIET)
    subimages([tmp_path / "LR/X4"], tmp_path / "low", 40, 20, 4, QUIET)
    low = pixels(tmp_path / "LR/X4/a.png")
    assert len(contents(tmp_path / "high")) == len(contents(tmp_path / "low")) == 15
    for n, (top, left) in enumerate((t, c) for t in (0, 80, 140) for c in (0, 80, 160, 240, 276)):
        part = low[top // 4 : top // 4 + 40, left // 4 : left // 4 + 40]
        assert (pixels(tmp_path / f"low/a_s{n + 1:03d}.png") == part).all()


# ------------------------------------------------------------------------------------------- low-resolution images


def test_low_resolution_images_are_those_that_training_makes(tmp_path, photo):
    for name, image in (("a", photo), ("b", photograph(45, 62, channels=1)), ("c", photograph16(50, 63))):
        (tmp_path / "in/sub").mkdir(parents=True, exist_ok=True)
        write(tmp_path / f"in/sub/{name}.png", image)
    for kernel in ("cubic", "lanczos3", "bilinear"):
        downscale([tmp_path / "in"], tmp_path / kernel, (2, 3), kernel, hr=True, workers=QUIET)
        for scale in (2, 3):
            data = Aligned(target=[str(tmp_path / "in")], scale=scale, kernel=kernel)
            for index, name in enumerate("abc"):
                item = data.item(index, np.random.default_rng(0))
                for key, kind in (("input", "LR"), ("target", "HR")):
                    found = read(tmp_path / kernel / f"{kind}/X{scale}/sub/{name}.png").as_channels(3)
                    assert (torch.from_numpy(found.astype(np.int32)) == item[key].int().permute(1, 2, 0)).all()


def test_every_kernel_makes_its_images(tmp_path):
    image = photograph(48, 60)
    (tmp_path / "in").mkdir()
    write(tmp_path / "in/a.png", image)
    seen = set()
    for kernel in KERNELS:
        downscale([tmp_path / "in"], tmp_path / kernel, (4,), kernel, enlarged=True, workers=QUIET)
        low = pixels(tmp_path / kernel / "LR/X4/a.png")
        again = pixels(tmp_path / kernel / "enlarged/X4/a.png")
        exact = imresize(image.astype(np.float64), 1 / 4, kernel=kernel).clip(0, 255)
        assert np.abs(low - exact).max() <= 0.51
        assert np.abs(again - imresize(low.astype(np.float64), 4, kernel=kernel).clip(0, 255)).max() <= 0.51
        seen.add(low.tobytes())
    assert len(seen) >= len(KERNELS) - 1  # cubic and catrom are the same


def test_transparency_is_reduced_too_and_a_scale_can_be_added_later(tmp_path):
    (tmp_path / "in").mkdir()
    alpha = photograph(40, 60, seed=3, channels=1)[:, :, 0]
    write(tmp_path / "in/a.png", Picture(photograph(40, 60), alpha))
    assert len(downscale([tmp_path / "in"], tmp_path, (2,), workers=QUIET).done) == 1
    assert len(downscale([tmp_path / "in"], tmp_path, (2,), workers=QUIET).skipped) == 1
    assert len(downscale([tmp_path / "in"], tmp_path, (2, 5), workers=QUIET).done) == 1
    assert len(downscale([tmp_path / "in"], tmp_path, (5,), workers=QUIET).skipped) == 1
    assert (read(tmp_path / "LR/X5/a.png").alpha == resize_uint8(alpha, 1 / 5)).all()
    with pytest.raises(DataError, match="made with kernel cubic, now box"):
        downscale([tmp_path / "in"], tmp_path, (2,), "box", workers=QUIET)


def test_what_is_no_image_or_too_small_is_named_and_the_rest_is_done(tmp_path):
    fill(tmp_path / "in", 2)
    write(tmp_path / "in/tiny.png", photograph(3, 50))
    (tmp_path / "in/cut.png").write_bytes(encode(photograph(), "PNG")[:900])
    report = downscale([tmp_path / "in"], tmp_path / "out", (4,), workers=QUIET)
    assert {f.source.name: f.reason.partition(",")[0] for f in report.failed} == {
        "cut.png": "it is truncated: the end of the PNG is missing",
        "tiny.png": "it is 50x3",
    }
    assert sorted(contents(tmp_path / "out")) == ["LR/X4/0.png", "LR/X4/1.png"]


def test_high_resolution_images_never_land_in_the_folder_they_come_from(tmp_path):
    fill(tmp_path / "HR", 1)
    with pytest.raises(DataError, match="two places apart"):
        downscale([tmp_path / "HR"], tmp_path, (2,), hr=True, workers=QUIET)
    downscale([tmp_path / "HR"], tmp_path, (2,), workers=QUIET)
    assert sorted(contents(tmp_path)) == ["HR/0.png", "LR/X2/0.png"]


# --------------------------------------------------------------------------------------------------------------- crops


def plan(folder):
    with (folder / "crops.csv").open(newline="") as file:
        return {
            row["photograph"].rpartition("/")[2]: (int(row["first"]), int(row["count"])) for row in csv.DictReader(file)
        }


def contains(image, crop):
    """Whether the crop is a part of the image, every level the same."""
    found = cv2.matchTemplate(image, crop, cv2.TM_SQDIFF)
    top, left = np.unravel_index(found.argmin(), found.shape)
    return (image[top : top + crop.shape[0], left : left + crop.shape[1]] == crop).all()


def test_a_photograph_gives_some_dozens_of_crops():
    assert reductions((1500, 2000), False, CropSettings()) == [1] * 46 + [2] * 11 + [4] * 3
    assert reductions((1500, 2000), True, CropSettings()) == [2] * 11 + [4] * 3
    assert reductions((1500, 2000), False, CropSettings(density=0.1, scales=(4, 2))) == [4, 2]
    assert reductions((255, 9000), False, CropSettings()) == []


def test_crops_are_parts_of_the_reduced_photographs(tmp_path, photo):
    (tmp_path / "in").mkdir()
    write(tmp_path / "in/a.png", photo)
    write(tmp_path / "in/b.jpg", photo)
    report = crops([tmp_path / "in"], tmp_path / "out", CropSettings(size=64, scales=(1, 2, 4)), QUIET)
    assert (len(report.done), len(report.failed)) == (2, 0)
    assert plan(tmp_path / "out") == {"a.png": (0, 32 + 8 + 2), "b.jpg": (42, 8 + 2)}
    factors = [1] * 32 + [2] * 8 + [4] * 2 + [2] * 8 + [4] * 2
    for number, factor in enumerate(factors):
        source = pixels(tmp_path / ("in/a.png" if number < 42 else "in/b.jpg"))
        crop = pixels(tmp_path / f"out/0/{number}.png")
        assert crop.shape == (64, 64, 3)
        assert contains(resize_uint8(source, 1 / factor) if factor > 1 else source, crop), number
    assert len({*contents(tmp_path / "out").values()}) > 40


def test_a_thousand_crops_to_a_folder(tmp_path):
    (tmp_path / "in").mkdir()
    write(tmp_path / "in/a.png", photograph(330, 330, channels=1))
    crops([tmp_path / "in"], tmp_path / "out", CropSettings(size=8, scales=(1,), density=0.65), QUIET)
    names = {*contents(tmp_path / "out")}
    assert names == {f"{n // 1000}/{n}.png" for n in range(1106)}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_photographs_are_turned_upright(tmp_path, kind):
    upright = photograph(90, 130)
    backward = {6: 8, 8: 6}
    found = set()
    for orientation in ORIENTATIONS:
        stored = np.ascontiguousarray(ORIENTATIONS[backward.get(orientation, orientation)](upright))
        folder = tmp_path / str(orientation)
        (folder / "in").mkdir(parents=True)
        (folder / "in/a.img.png").write_bytes(oriented(stored, orientation, kind))
        settings = CropSettings(size=40, scales=(1,), jpeg_shrink=1)
        crops([folder / "in"], folder / "out", settings, QUIET)
        made = contents(folder / "out")
        assert len(made) == 7
        found.add(tuple(made[f"0/{n}.png"] for n in range(7)) if kind != "JPEG" else None)
        assert header(folder / "in/a.img.png").width == 130
        for n in range(7):
            assert contains(read(folder / "in/a.img.png").pixels, pixels(folder / f"out/0/{n}.png"))
            if kind == "JPEG":  # another picture once it is compressed, but nearly the same at the same place
                near = np.abs(pixels(folder / f"out/0/{n}.png").astype(int) - pixels(tmp_path / f"1/out/0/{n}.png"))
                assert near.mean() < 12
    assert len(found) == 1


def test_the_seed_and_the_path_decide_and_not_the_other_photographs(tmp_path, photo):
    for name, images in (("one", "b"), ("many", "abc")):
        (tmp_path / name / "in").mkdir(parents=True)
        for shift, letter in enumerate(images):
            write(tmp_path / name / f"in/{letter}.png", photo if letter == "b" else np.roll(photo, 50 * shift + 9, 0))
        crops([tmp_path / name / "in"], tmp_path / name / "out", CropSettings(size=64, seed=3), QUIET)
    alone, among = contents(tmp_path / "one/out"), contents(tmp_path / "many/out")
    first, count = plan(tmp_path / "many/out")["b.png"]
    assert count == 32 + 8 + 2
    assert [among[f"0/{first + n}.png"] for n in range(count)] == [alone[f"0/{n}.png"] for n in range(count)]
    crops([tmp_path / "one/in"], tmp_path / "other", CropSettings(size=64, seed=4), QUIET)
    assert contents(tmp_path / "other") != alone


def test_new_photographs_get_the_numbers_that_follow(tmp_path, photo, monkeypatch):
    fill(tmp_path / "in", 2, 130, 130)
    settings = CropSettings(size=64, scales=(1,))
    crops([tmp_path / "in"], tmp_path / "out", settings, QUIET)
    before = contents(tmp_path / "out")
    write(tmp_path / "in/00.png", photo)
    report = crops([tmp_path / "in"], tmp_path / "out", settings, QUIET)
    assert ([job.source.name for job in report.done], len(report.skipped)) == (["00.png"], 2)
    assert plan(tmp_path / "out") == {"0.png": (0, 4), "1.png": (4, 4), "00.png": (8, 32)}
    assert before.items() < contents(tmp_path / "out").items()

    monkeypatch.setattr(crops_module, "read", None)  # nothing is read
    monkeypatch.setattr(crops_module, "header", None)
    assert len(crops([tmp_path / "in"], tmp_path / "out", settings, QUIET).skipped) == 3
    with pytest.raises(DataError, match="made with size 64, now 32"):
        crops([tmp_path / "in"], tmp_path / "out", CropSettings(size=32, scales=(1,)), QUIET)


def test_flat_crops_are_left_out_on_request(tmp_path, photo):
    (tmp_path / "in").mkdir()
    half = np.concatenate([np.full((300, 300, 3), 90, np.uint8), photo[:300, :300]], axis=1)
    write(tmp_path / "in/half.png", half)
    write(tmp_path / "in/flat.png", np.full((200, 200), 7, np.uint8))
    settings = CropSettings(size=64, scales=(1,), min_detail=30)
    report = crops([tmp_path / "in"], tmp_path / "out", settings, QUIET)
    assert len(report.done) == 2
    (first, count), made = plan(tmp_path / "out")["half.png"], contents(tmp_path / "out")
    assert {first <= int(name.partition("/")[2][:-4]) < first + count for name in made} == {True}
    assert len(made) > 0.9 * count
    assert (
        min(
            cv2.Laplacian(cv2.cvtColor(pixels(tmp_path / "out" / n), cv2.COLOR_RGB2GRAY), cv2.CV_64F).var()
            for n in made
        )
        >= 30
    )
    assert len(crops([tmp_path / "in"], tmp_path / "out", settings, QUIET).skipped) == 2
    crops([tmp_path / "in"], tmp_path / "all", CropSettings(size=64, scales=(1,)), QUIET)
    assert len(contents(tmp_path / "all")) == count + 10


def test_photographs_of_every_kind_and_damaged_ones(tmp_path):
    (tmp_path / "in").mkdir()
    for name, data in list(bad_files().items())[::4]:
        (tmp_path / "in" / name).write_bytes(data)
    bad = len([*(tmp_path / "in").iterdir()])
    write(tmp_path / "in/gray.png", photograph(60, 60, channels=1))
    write(tmp_path / "in/deep.png", photograph16(60, 60))
    write(tmp_path / "in/clear.png", Picture(photograph(60, 60), photograph(60, 60, channels=1)[:, :, 0]))
    write(tmp_path / "in/small.png", photograph(20, 60))
    told = []
    workers = Workers(jobs=2, progress=False, say=told.append)
    report = crops([tmp_path / "in"], tmp_path / "out", CropSettings(size=30, scales=(1,)), workers)
    assert len(report.failed) == bad > 8
    assert {job.source.name for job in report.done} == {"gray.png", "deep.png", "clear.png"}
    numbers = plan(tmp_path / "out")
    first = {name: read(tmp_path / f"out/0/{numbers[name][0]}.png") for name in ("gray.png", "deep.png", "clear.png")}
    assert (first["gray.png"].gray, first["deep.png"].bits, first["clear.png"].alpha) == (True, 16, None)
    assert f"1 of {bad + 4} photographs are too small for crops of 30" in told
