import io
import os

import files
import numpy as np
import pytest
from PIL import Image

from darkroom.data.images import Picture, UnreadableImage, header, read, write

GOOD = files.good_files()
BAD = files.bad_files()


@pytest.mark.parametrize("name", GOOD)
def test_every_kind_gives_its_pixels(tmp_path, name):
    data, pixels, alpha = GOOD[name]
    (path := tmp_path / name).write_bytes(data)
    picture = read(path)
    assert picture.pixels.dtype == pixels.dtype
    assert picture.pixels.shape == pixels.shape
    lossy = 1 if name.endswith(("jpg", "jpeg", "webp")) or name.startswith("a_jpeg") else 0
    assert np.abs(picture.pixels.astype(int) - pixels).max() <= lossy
    assert picture.pixels.flags.c_contiguous
    assert (picture.alpha is None) == (alpha is None)
    if alpha is not None:
        np.testing.assert_array_equal(picture.alpha, alpha)


@pytest.mark.parametrize("name", GOOD)
def test_the_header_says_what_reading_gives(tmp_path, name):
    (path := tmp_path / name).write_bytes(GOOD[name][0])
    head, picture = header(path), read(path)
    assert (head.height, head.width) == picture.size
    assert (head.channels, head.bits) == (picture.pixels.shape[2], picture.bits)
    assert head.alpha == (picture.alpha is not None)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", files.ORIENTATIONS)
def test_orientation_is_applied(tmp_path, kind, orientation):
    stored = files.photograph()
    (path := tmp_path / f"x.{kind.lower()}").write_bytes(files.oriented(stored, orientation, kind))
    if kind == "JPEG":
        stored = np.asarray(Image.open(io.BytesIO(files.encode(stored, "JPEG"))))
    picture = read(path)
    np.testing.assert_array_equal(picture.pixels, files.ORIENTATIONS[orientation](stored))
    head = header(path)
    assert (head.height, head.width) == picture.size


@pytest.mark.parametrize("name", BAD)
def test_what_is_broken_is_refused_by_name(tmp_path, name):
    (path := tmp_path / name).write_bytes(BAD[name])
    with pytest.raises(UnreadableImage) as caught:
        read(path)
    assert caught.value.path == str(path)
    assert caught.value.reason
    assert "Traceback" not in str(caught.value)


# how long a GIF must be is known only by decoding it
@pytest.mark.parametrize(
    "name", [n for n in BAD if n.startswith(("cut", "empty", "text", "page", "one", "float")) and "gif" not in n]
)
def test_the_header_of_an_incomplete_file_is_refused(tmp_path, name):
    (path := tmp_path / name).write_bytes(BAD[name])
    with pytest.raises(UnreadableImage):
        header(path)


def test_missing_files_and_folders_are_refused(tmp_path):
    for path, reason in ((tmp_path / "no.png", "No such file"), (tmp_path, "directory")):
        with pytest.raises(UnreadableImage, match=reason):
            read(path)
        with pytest.raises(UnreadableImage, match=reason):
            header(path)


def test_every_truncation_of_a_png_and_a_jpeg_is_refused(tmp_path):
    for name in ("rgb.png", "progressive.jpeg", "thumbnail.jpg", "gray.jpg"):
        data = GOOD[name][0]
        path = tmp_path / name
        for length in (*range(0, len(data), 97), *range(len(data) - 12, len(data))):
            path.write_bytes(data[:length])
            with pytest.raises(UnreadableImage):
                read(path)


def test_a_name_in_any_script_is_read(tmp_path):
    path = tmp_path / "Fotos größer" / "猫の写真 №1.png"
    path.parent.mkdir()
    pixels = files.photograph()
    write(path, pixels)
    np.testing.assert_array_equal(read(path).pixels, pixels)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".webp"])
def test_lossless_round_trip(tmp_path, suffix):
    for channels in (1, 3):
        if suffix == ".webp" and channels == 1:
            continue
        pixels = files.photograph(channels=channels)
        write(tmp_path / f"x{suffix}", pixels, quality=100)
        np.testing.assert_array_equal(read(tmp_path / f"x{suffix}").pixels, pixels)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_round_trip_of_16_bits(tmp_path, suffix):
    for channels in (1, 3):
        pixels = files.photograph16(channels=channels)
        write(tmp_path / f"x{suffix}", pixels)
        np.testing.assert_array_equal(read(tmp_path / f"x{suffix}").pixels, pixels)


@pytest.mark.parametrize("name", ["rgba.png", "gray_alpha.png", "rgba16.png", "rgba.webp"])
def test_round_trip_of_alpha(tmp_path, name):
    data, pixels, alpha = GOOD[name]
    (path := tmp_path / name).write_bytes(data)
    write(tmp_path / f"again_{name}", read(path), quality=100)
    again = read(tmp_path / f"again_{name}")
    seen = alpha > 0
    np.testing.assert_array_equal(again.as_channels(3)[seen], np.broadcast_to(pixels, (*alpha.shape, 3))[seen])
    np.testing.assert_array_equal(again.alpha, alpha)


def test_jpeg_quality_counts(tmp_path):
    pixels = files.photograph()
    write(tmp_path / "a.jpg", pixels, quality=98)
    write(tmp_path / "b.jpg", pixels, quality=20)
    errors = [np.abs(read(tmp_path / f"{n}.jpg").pixels.astype(int) - pixels).mean() for n in "ab"]
    assert errors[0] < 0.7 * errors[1]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    write(path, files.photograph())
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    monkeypatch.setattr(type(path), "replace", full)
    with pytest.raises(OSError, match="No space"):
        write(path, files.photograph(seed=9))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]


@pytest.mark.parametrize(
    ("name", "image", "message"),
    [
        ("x.png", np.zeros((4, 4, 3), np.float32), "float32"),
        ("x.png", np.zeros((4, 4, 2), np.uint8), "4, 4, 2"),
        ("x.jpg", np.zeros((4, 4, 3), np.uint16), "8 bits"),
        ("x.xyz", np.zeros((4, 4, 3), np.uint8), "xyz"),
        ("x.jpg", Picture(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8)), "transparency"),
    ],
)
def test_what_a_format_does_not_hold_is_refused(tmp_path, name, image, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path / name, image)
    assert not list(tmp_path.iterdir())


def test_channels_are_converted():
    rgb = Picture(files.photograph())
    luma = rgb.as_channels(1)
    exact = rgb.pixels @ np.array([0.299, 0.587, 0.114])
    assert luma.shape == (files.HEIGHT, files.WIDTH, 1)
    assert np.abs(luma[:, :, 0] - exact).max() <= 0.51
    wide = Picture(files.photograph16())
    assert np.abs(wide.as_channels(1)[:, :, 0] - wide.pixels @ np.array([0.299, 0.587, 0.114])).max() <= 2
    gray = Picture(files.photograph(channels=1))
    assert gray.gray
    assert not rgb.gray
    for channel in range(3):
        np.testing.assert_array_equal(gray.as_channels(3)[:, :, channel], gray.pixels[:, :, 0])
    with pytest.raises(ValueError, match="2"):
        rgb.as_channels(2)
