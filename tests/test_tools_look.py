"""Finders of damaged files, of near duplicates and of images of little detail. None of them changes a file."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from files import bad_files, encode, fill, good_files, photograph, photograph16
from skimage.data import astronaut, camera, chelsea, coffee

from darkroom.__main__ import main
from darkroom.core.errors import DataError
from darkroom.data.images import Picture, read, write
from darkroom.tools import faulty as faulty_module
from darkroom.tools import similar as similar_module
from darkroom.tools.detail import entropy, gray, sharpness
from darkroom.tools.faulty import faulty
from darkroom.tools.phash import near_pairs, perceptual_hash, popcount
from darkroom.tools.similar import Seen, groups, similar
from darkroom.tools.work import Workers

QUIET = Workers(jobs=2, progress=False, say=lambda text: None)


def state(folder):
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def lines(path):
    return path.read_text(encoding="utf-8").splitlines()


def names(path):
    return {line.rpartition("/")[2] for line in lines(path)}


# ------------------------------------------------------------------------------------------------------ damaged files


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Sound and damaged files of every kind, and the names of the damaged ones."""
    folder = tmp_path_factory.mktemp("mixed") / "in"
    good = {name: data for name, (data, _, _) in good_files().items()}
    for part, files in (("good", good), ("bad", bad_files())):
        (folder / part).mkdir(parents=True)
        for name, data in files.items():
            (folder / part / name).write_bytes(data)
    return folder


def test_every_damaged_file_is_found_and_no_sound_one(mixed, tmp_path):
    before = state(mixed)
    found, count = faulty([mixed], tmp_path / "out", QUIET)
    assert {f.source.name for f in found} == {*bad_files()}
    assert {f.source.parent.name for f in found} == {"bad"}
    assert count == len(good_files()) + len(bad_files())
    with (tmp_path / "out/faulty.csv").open(newline="") as file:
        rows = {row["file"]: row["reason"] for row in csv.DictReader(file)}
    assert rows == {str(f.source): f.reason for f in found}
    assert rows[str(mixed / "bad/empty.png")] == "the file is empty"
    assert rows[str(mixed / "bad/end.png")] == "it is truncated: the end of the PNG is missing"
    assert lines(tmp_path / "out/faulty.txt") == [*rows]
    assert state(mixed) == before


def test_a_second_look_decodes_only_what_has_changed(tmp_path, monkeypatch):
    fill(tmp_path / "in", 4)
    (tmp_path / "in/3.png").write_bytes(b"no image")
    faulty([tmp_path / "in"], tmp_path / "out", QUIET)
    decoded = []
    monkeypatch.setattr(faulty_module, "read", lambda file: decoded.append(file.name) or read(file))
    assert [f.source.name for f in faulty([tmp_path / "in"], tmp_path / "out", QUIET)[0]] == ["3.png"]
    assert decoded == []
    data = encode(photograph(), "PNG")
    (tmp_path / "in/1.png").write_bytes(data[:-20])
    (tmp_path / "in/3.png").write_bytes(data)
    assert [f.source.name for f in faulty([tmp_path / "in"], tmp_path / "out", QUIET)[0]] == ["1.png"]
    assert sorted(decoded) == ["1.png", "3.png"]


def test_the_command_names_them_and_ends_with_1(tmp_path, capsys):
    fill(tmp_path / "in", 2)
    command = ["faulty", "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    assert main(command) == 0
    assert "0 of 2 files are faulty" in capsys.readouterr().out
    (tmp_path / "in/page.jpg").write_bytes(b"<html>404</html>")
    assert main(command) == 1
    shown = capsys.readouterr().out
    assert f"{tmp_path / 'in/page.jpg'}: it is not an image of any known kind\n1 of 3 files are faulty" in shown
    with pytest.raises(DataError, match="two places apart"):
        faulty([tmp_path / "in"], tmp_path / "in/report", QUIET)


# ------------------------------------------------------------------------------------------------------------- hashes


def test_near_hashes_are_those_that_comparing_all_with_all_finds():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 400, dtype=np.uint64, endpoint=False)
    for i in range(200, 400):
        for bit in rng.choice(64, i % 14, replace=False):
            hashes[i] ^= np.uint64(1) << np.uint64(bit)
        hashes[i - 200] = hashes[i] ^ (np.uint64(7) << np.uint64(i % 60)) if i % 2 else hashes[i - 200]
    far = np.array([[bin(int(a) ^ int(b)).count("1") for b in hashes] for a in hashes])
    assert (popcount(hashes[:200] ^ hashes[200:]) == far[np.arange(200), np.arange(200, 400)]).all()
    for distance in (0, 1, 3, 4, 6, 9, 13):
        parts = [*near_pairs(hashes, distance)]
        found = {(int(i), int(j)): int(d) for part in parts for i, j, d in zip(*part, strict=True)}
        expected = {(i, j): far[i, j] for i in range(400) for j in range(i + 1, 400) if far[i, j] <= distance}
        assert found == expected
    assert len(expected) > 90
    assert not [*near_pairs(np.array([], np.uint64), 6)]
    with pytest.raises(ValueError, match="distance: expected 0 to 31 bits, found 32"):
        [*near_pairs(hashes, 32)]


def test_candidates_are_compared_in_parts(monkeypatch):
    hashes = np.random.default_rng(1).integers(0, 2**12, 500, dtype=np.uint64)
    whole = {(int(i), int(j)) for part in near_pairs(hashes, 3) for i, j, _ in zip(*part, strict=True)}
    monkeypatch.setattr("darkroom.tools.phash._AT_ONCE", 100)
    parts = [*near_pairs(hashes, 3)]
    assert {(int(i), int(j)) for part in parts for i, j, _ in zip(*part, strict=True)} == whole
    assert len(parts) > 1000


def test_hashes_of_100_000_images_are_not_compared_one_by_one():
    hashes = np.random.default_rng(0).integers(0, 2**64, 100_000, dtype=np.uint64, endpoint=False)
    hashes[50_000:50_100] = hashes[:100] ^ np.uint64(0b1011)
    found = {(int(i), int(j)) for part in near_pairs(hashes, 6) for i, j, _ in zip(*part, strict=True)}
    assert found == {(n, n + 50_000) for n in range(100)}


def versions(image):
    """The same picture in other files."""
    small = cv2.resize(image, None, fx=0.4, fy=0.5, interpolation=cv2.INTER_AREA)
    jpeg = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], cv2.IMREAD_UNCHANGED)
    noisy = image + np.random.default_rng(0).normal(0, 8, image.shape)
    return [small, jpeg, np.clip(noisy, 0, 255).astype(np.uint8), np.clip(image * 1.15 + 12, 0, 255).astype(np.uint8)]


def test_versions_of_a_picture_have_near_hashes_and_other_pictures_have_not():
    pictures = [astronaut()[:256, :256], astronaut()[256:, 256:], camera()[..., None], chelsea(), coffee()]
    hashes = [perceptual_hash(gray(Picture(p))) for p in pictures]
    for picture, own in zip(pictures, hashes, strict=True):
        for version in versions(picture):
            levels = gray(Picture(version if version.ndim == 3 else version[..., None]))
            assert bin(own ^ perceptual_hash(levels)).count("1") <= 6
    apart = [bin(a ^ b).count("1") for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(apart) > 16


# ------------------------------------------------------------------------------------------------------------- detail


def test_entropy_and_sharpness_of_known_images():
    assert entropy(np.arange(256, dtype=np.uint8).reshape(16, 16)) == 8
    assert entropy(np.repeat(np.uint8([3, 200]), 50).reshape(10, 10)) == 1
    assert entropy(np.full((5, 5), 9, np.uint8)) == 0
    assert sharpness(np.full((9, 9), 77, np.uint8)) == 0
    board = (np.indices((12, 12)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert sharpness(board) == 1020**2  # each pixel has four neighbours of the other colour
    ramp = np.tile(np.arange(40, dtype=np.uint8), (40, 1))
    inner = cv2.Laplacian(ramp, cv2.CV_32F)[:, 1:-1]
    assert inner.max() == 0


def test_16_bits_and_colours_are_measured_as_8_bits_of_luma():
    deep = photograph16(30, 40)
    assert (
        np.abs(gray(Picture(deep)).astype(int) - cv2.cvtColor((deep // 257).astype(np.uint8), cv2.COLOR_RGB2GRAY)).max()
        <= 1
    )


# ------------------------------------------------------------------------------------------------------ similar images


@pytest.fixture
def collection(tmp_path):
    folder = tmp_path / "in"
    (folder / "copies").mkdir(parents=True)
    for name, image in (("astronaut", astronaut()[:256, :256]), ("cat", chelsea()), ("cup", coffee())):
        write(folder / f"{name}.png", image)
        for n, version in enumerate(versions(image)[: 0 if name == "cup" else 2]):
            write(folder / f"copies/{name}{n}.png", version)
    write(folder / "blurred.png", cv2.GaussianBlur(coffee(), (0, 0), 9)[:, 100:400])
    write(folder / "flat.png", np.full((80, 80, 3), 40, np.uint8))
    write(folder / "flat2.png", np.full((80, 80, 3), 90, np.uint8))
    (folder / "damaged.png").write_bytes(encode(coffee(), "PNG")[:-500])
    return folder


def test_groups_and_low_detail(collection, tmp_path):
    before = state(collection)
    found = similar([collection], tmp_path / "out", workers=QUIET)
    assert [[s.file.name for s in group] for group in found.groups] == [
        ["astronaut.png", "astronaut1.png", "astronaut0.png"],  # by size in pixels, then in bytes
        ["cat.png", "cat1.png", "cat0.png"],
    ]
    assert names(tmp_path / "out/similar.txt") == {"astronaut0.png", "astronaut1.png", "cat0.png", "cat1.png"}
    assert names(tmp_path / "out/low_detail.txt") == {"blurred.png", "flat.png", "flat2.png"}
    assert [f.source.name for f in found.failed] == ["damaged.png"]
    assert state(collection) == before


def test_what_is_listed_is_near_to_something_that_is_not():
    """In a slow pan each frame is near the next, and the last one is not near the first."""
    hashes = [sum(1 << bit for bit in range(4 * n)) for n in range(12)]
    seen = [Seen(Path(f"{n:02}.png"), 10, 10, 1, 50.0, 7.0, 100.0, bits) for n, bits in enumerate(hashes)]
    found = groups(seen, 6)
    kept = {group[0].file for group in found} | {s.file for s in seen} - {s.file for g in found for s in g}
    assert len(kept) == 6
    for image in seen:
        assert min((image.hash ^ other.hash).bit_count() for other in seen if other.file in kept) <= 6


def test_the_report_has_a_row_for_each_image_and_the_sheet_a_row_for_each_pair(collection, tmp_path):
    found = similar([collection], tmp_path / "out", pairs_shown=3, workers=QUIET)
    with (tmp_path / "out/report.csv").open(newline="") as file:
        rows = {row["file"].rpartition("/")[2]: row for row in csv.DictReader(file)}
    assert len(rows) == 10 == len(found.seen)
    cat = gray(read(collection / "cat.png"))
    assert (rows["cat.png"]["width"], rows["cat.png"]["height"]) == ("451", "300")
    assert float(rows["cat.png"]["entropy"]) == pytest.approx(entropy(cat), abs=1e-3)
    assert float(rows["cat.png"]["sharpness"]) == pytest.approx(sharpness(cat), abs=1e-3)
    assert int(rows["cat.png"]["hash"], 16) == perceptual_hash(cat)
    assert {name for name, row in rows.items() if row["group"] == "2"} == {"cat.png", "cat0.png", "cat1.png"}
    assert rows["cup.png"]["group"] == rows["flat.png"]["group"] == ""
    assert {name for name, row in rows.items() if row["low_detail"] == "1"} == {"blurred.png", "flat.png", "flat2.png"}
    three = read(tmp_path / "out/similar.png").size[0]
    similar([collection], tmp_path / "out", pairs_shown=2, workers=QUIET)
    two = read(tmp_path / "out/similar.png").size[0]
    assert 128 < three - two < 128 + 40  # the third is a pair of cats of 192 x 128 pixels, with a label


def test_other_limits_need_no_second_look(collection, tmp_path, monkeypatch):
    first = similar([collection], tmp_path / "out", workers=QUIET)
    monkeypatch.setattr(similar_module, "gray", None)  # nothing is measured again
    again = similar([collection], tmp_path / "out", workers=QUIET)
    assert (again.groups, again.low) == (first.groups, first.low)
    strict = similar([collection], tmp_path / "out", distance=0, min_entropy=0, min_sharpness=0, workers=QUIET)
    assert sum(map(len, strict.groups)) < sum(map(len, first.groups))
    assert (strict.low, lines(tmp_path / "out/low_detail.txt")) == ([], [])


def test_the_command_of_similar_images(collection, tmp_path, capsys):
    command = ["similar", "-i", str(collection), "-o", str(tmp_path / "out"), "--jobs", "2"]
    assert main(command) == 1
    shown = capsys.readouterr().out
    assert "10 images looked at, 1 failed" in shown
    assert "4 are nearly another one, in 2 groups; 3 are of low detail" in shown
    assert f"{collection / 'damaged.png'}: it is truncated" in shown
    (collection / "damaged.png").unlink()
    assert main(command) == 0
    assert main([*command, "--distance", "40"]) == 2
