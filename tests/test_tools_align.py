"""The check of pairs: shifts of known size are measured, and what is wrong with a pair is said."""

import csv

import cv2
import numpy as np
import pytest
from files import fill, photograph
from skimage.data import astronaut, camera, coffee, grass

from darkroom.__main__ import main
from darkroom.core.errors import DataError
from darkroom.data.images import write
from darkroom.filters.resize import resize_uint8
from darkroom.tools import align as align_module
from darkroom.tools.align import align, fitting_scale, summary
from darkroom.tools.registration import find_shift
from darkroom.tools.work import Workers

QUIET = Workers(jobs=2, progress=False, say=lambda text: None)
PHOTOS = {
    "astronaut": astronaut(),
    "camera": camera()[..., None],
    "coffee": coffee()[:, 40:],
    "grass": grass()[..., None],
}


def shifted(photo, dx, dy, scale):
    """A pair whose second image shows the first one's pixel (x, y) at (x + dx, y + dy), both multiples of a half.

    Both are cut out of a photograph and reduced twofold, so that half a pixel is a whole one there.
    """
    x, y = int(2 * dx), int(2 * dy)
    edge = 16
    height, width = (side - 2 * edge for side in photo.shape[:2])
    height, width = height // (2 * scale) * 2 * scale, width // (2 * scale) * 2 * scale
    first = photo[edge : edge + height, edge : edge + width]
    second = photo[edge - y : edge - y + height, edge - x : edge - x + width]
    return resize_uint8(first, 0.5), resize_uint8(second, 0.5 / scale)


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("name", PHOTOS)
def test_shifts_are_measured_to_a_tenth_of_a_pixel(tmp_path, name, scale):
    shifts = [(0, 0), (0.5, -0.5), (1.5, 0), (-4, 6.5)]
    for folder in ("hr", "lr"):
        (tmp_path / folder).mkdir()
    for n, (dx, dy) in enumerate(shifts):
        high, low = shifted(PHOTOS[name], dx, dy, scale)
        write(tmp_path / f"hr/{n}.png", high)
        low = np.clip(low * 0.8 + 20, 0, 255).astype(np.uint8)  # as a camera of another exposure has it
        write(tmp_path / f"lr/{n}.jpg", low, quality=80)
    checked = align([tmp_path / "hr"], [tmp_path / "lr"], tmp_path / "out", workers=QUIET)
    for found, (dx, dy) in zip(checked, shifts, strict=True):
        assert (found.dx, found.dy) == (pytest.approx(dx, abs=0.1), pytest.approx(dy, abs=0.1))
        assert found.correlation > 0.8
        assert bool(found.fault) == (np.hypot(dx, dy) > 0.5)


def test_large_shifts_and_an_image_without_detail():
    image = cv2.cvtColor(astronaut(), cv2.COLOR_RGB2GRAY).astype(np.float32)
    found = find_shift(image[100:400, 100:400], image[63:363, 141:441])
    assert (found.dx, found.dy) == (pytest.approx(-41, abs=0.01), pytest.approx(37, abs=0.01))
    flat = find_shift(np.full((50, 60), 9, np.float32), np.full((50, 60), 30, np.float32))
    assert flat.contrast < 1e-3
    with pytest.raises(ValueError, match="two images of one size"):
        find_shift(image[:50], image[:51])


def test_scales_of_sizes():
    assert fitting_scale(40, 60, 10, 15) == 4
    assert fitting_scale(43, 62, 10, 15) == fitting_scale(43, 62, 11, 16) == 4
    assert fitting_scale(40, 60, 40, 60) == 1
    assert fitting_scale(40, 60, 10, 20) is None
    assert fitting_scale(40, 60, 80, 120) is None


@pytest.fixture
def pairs(tmp_path):
    """Sound pairs at scale 4, and one of each fault."""
    for folder in ("hr", "lr"):
        (tmp_path / folder).mkdir()
    for n in range(4):
        image = np.ascontiguousarray(astronaut()[30 * n : 30 * n + 200, 40 * n : 40 * n + 222])
        write(tmp_path / f"hr/sound{n}.png", image)
        write(tmp_path / f"lr/sound{n}x4.png", resize_uint8(image[:200, :220], 1 / 4))
    image = np.ascontiguousarray(coffee()[:200, :240])
    for name in ("every_fourth", "other", "scale2", "stretched", "damaged", "alone", "flat"):
        write(tmp_path / f"hr/{name}.png", image if name != "flat" else np.full_like(image, 50))
    write(tmp_path / "lr/every_fourth.png", np.ascontiguousarray(image[::4, ::4]))
    write(tmp_path / "lr/other.png", resize_uint8(np.ascontiguousarray(astronaut()[:200, :240]), 1 / 4))
    write(tmp_path / "lr/scale2.png", resize_uint8(image, 1 / 2))
    write(tmp_path / "lr/stretched.png", resize_uint8(image, size=(50, 70)))
    write(tmp_path / "lr/flat.png", np.full((50, 60, 3), 70, np.uint8))
    (tmp_path / "lr/damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return tmp_path


def test_each_fault_is_named(pairs):
    checked = align([pairs / "hr"], [pairs / "lr"], pairs / "out", workers=QUIET)
    faults = {c.target.stem: c.fault for c in checked if c.fault}
    assert {*faults} == {"every_fourth", "other", "scale2", "stretched", "damaged", "alone"}
    every = next(c for c in checked if c.target.stem == "every_fourth")
    assert (every.dx, every.dy) == (pytest.approx(1.5, abs=0.3), pytest.approx(1.5, abs=0.3))  # (4 - 1) / 2
    assert faults["every_fourth"].startswith("it is shifted by (+1.")
    assert "it shows something else" in faults["other"]
    assert faults["scale2"] == "it is 120x100, its target 240x200, at scale 4 it should be 60x50"
    assert faults["stretched"] == "it is 70x50, its target 240x200, at scale 4 it should be 60x50"
    assert faults["alone"] == "it has no partner"
    with (pairs / "out/align.csv").open(newline="") as file:
        rows = {row["target"].rpartition("/")[2][:-4]: row for row in csv.DictReader(file)}
    assert len(rows) == 11
    assert {name: row["fault"] for name, row in rows.items() if row["fault"]} == faults
    assert rows["flat"]["dx"] == ""  # nothing can be said about it
    listed = (pairs / "out/align.txt").read_text().splitlines()
    assert {line.rpartition("/")[2][:-4] for line in listed} == {*faults}


def test_summary_of_a_folder_that_was_made_without_care(tmp_path):
    fill(tmp_path / "hr", 5, 120, 160)
    (tmp_path / "lr").mkdir()
    for n in range(5):
        image = photograph(120, 160, n)
        write(tmp_path / f"lr/{n}.png", np.ascontiguousarray(cv2.GaussianBlur(image, (0, 0), 1)[::2, ::2]))
    checked = align([tmp_path / "hr"], [tmp_path / "lr"], tmp_path / "out", workers=QUIET)
    text = summary(checked)
    assert text.startswith("5 pairs, 5 measured, 5 faulty\nshift: median (+0.50, +0.50)")


def test_scale_and_threshold_can_be_changed_without_another_look(pairs, monkeypatch):
    align([pairs / "hr"], [pairs / "lr"], pairs / "out", workers=QUIET)
    seen = []
    monkeypatch.setattr(align_module, "find_shift", lambda *a: seen.append(a))
    checked = align([pairs / "hr"], [pairs / "lr"], pairs / "out", threshold=3, workers=QUIET)
    assert {c.target.stem for c in checked if c.fault} == {"other", "scale2", "stretched", "damaged", "alone"}
    checked = align([pairs / "hr"], [pairs / "lr"], pairs / "out", scale=2, threshold=9, workers=QUIET)
    assert "scale2" not in {c.target.stem for c in checked if c.fault}
    assert not seen


def test_one_flat_image_of_a_pair_and_damage_of_either_are_told(tmp_path):
    for folder, size in (("hr", 64), ("lr", 32)):
        (tmp_path / folder).mkdir()
        for name in ("flat", "both", "broken"):
            write(tmp_path / folder / f"{name}.png", np.zeros((size, size, 3), np.uint8))
    write(tmp_path / "lr" / "flat.png", photograph()[:32, :32])
    write(tmp_path / "lr" / "stray.png", photograph()[:32, :32])
    (tmp_path / "hr" / "broken.png").write_bytes(b"broken")
    found = {c.target.name: c.fault for c in align([tmp_path / "hr"], [tmp_path / "lr"], tmp_path / "o", workers=QUIET)}
    assert found.pop("flat.png").startswith("it shows something else")
    assert found.pop("broken.png").startswith(f"its target {tmp_path / 'hr' / 'broken.png'} cannot be used")
    assert found == {"both.png": "", "stray.png": "it is an input without a target"}


def test_the_command_of_pairs(pairs, capsys):
    command = ["align", "--hr", str(pairs / "hr"), "--lr", str(pairs / "lr"), "-o", str(pairs / "out")]
    assert main(command) == 1
    shown = capsys.readouterr().out
    assert "11 pairs, 6 measured, 6 faulty" in shown
    assert f"  {pairs / 'hr/alone.png'}: it has no partner" in shown
    assert main([*command[:5], "-o", str(pairs / "lr/out")]) == 1
    assert "two places apart" in capsys.readouterr().err
    (pairs / "none").mkdir()
    write(pairs / "none/zebra.png", photograph())
    with pytest.raises(DataError, match="no image has a partner of its name"):
        align([pairs / "hr"], [pairs / "none"], pairs / "out", workers=QUIET)
