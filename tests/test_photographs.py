import numpy as np
import pytest
import skimage.data

from darkroom.core.errors import DataError
from darkroom.data.aligned import Aligned
from darkroom.data.images import read
from darkroom.data.photographs import TRAIN, VAL, write_sample


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "sample"
    write_sample(folder)
    return folder


def original(name):
    return getattr(skimage.data, name)()


def test_the_pieces_are_pieces_of_the_photographs(sample):
    coffee = read(sample / "val" / "HR" / "coffee.png").pixels
    np.testing.assert_array_equal(coffee, original("coffee")[2:398])
    np.testing.assert_array_equal(read(sample / "val" / "HR" / "chelsea.png").pixels, original("chelsea")[:, 3:447])
    tiles = [read(sample / "train" / "HR" / f"astronaut_{n}.png").pixels for n in range(1, 5)]
    whole = np.vstack([np.hstack(tiles[:2]), np.hstack(tiles[2:])])
    np.testing.assert_array_equal(whole, original("astronaut"))
    low = read(sample / "train" / "HR" / "rocket_3.png").pixels
    np.testing.assert_array_equal(low, original("rocket")[171:427, 64:320])


def test_train_and_val_share_no_photograph(sample):
    assert not {p.file for p in TRAIN} & {p.file for p in VAL}
    train, val = (sorted((sample / part / "HR").iterdir()) for part in ("train", "val"))
    assert len(train) >= 20
    assert len({p.stem.rpartition("_")[0] for p in train}) == len(TRAIN) >= 5
    assert [p.stem for p in val] == ["chelsea", "coffee"]


def test_they_are_photographs(sample):
    """Every piece has detail, and those of the validation have colour and sides for scales 2, 3 and 4."""
    for path in sample.rglob("*.png"):
        pixels = read(path).pixels.astype(float)
        assert pixels.std() > 8, path
        assert np.abs(np.diff(pixels, axis=1)).mean() > 0.5, path
    for path in (sample / "val" / "HR").iterdir():
        pixels = read(path).pixels
        assert pixels.shape[2] == 3
        assert not (pixels[:, :, 0] == pixels[:, :, 2]).all()
        assert pixels.shape[0] % 12 == pixels.shape[1] % 12 == 0


def test_a_second_time_changes_nothing_and_mends_what_is_missing(sample):
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in sample.rglob("*.png")}
    lost = sample / "train" / "HR" / "camera_2.png"
    lost.unlink()
    write_sample(sample)
    after = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in sample.rglob("*.png")}
    assert after.pop(lost)[1] == before.pop(lost)[1]
    assert after == before
    assert not [p for p in sample.rglob("*") if "partial" in p.name]


def test_nothing_is_downloaded(sample, monkeypatch, tmp_path):
    import socket

    def refuse(*_, **__):
        raise AssertionError("it tried to reach the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    write_sample(tmp_path)
    assert len(list(tmp_path.rglob("*.png"))) == len(list(sample.rglob("*.png")))


def test_a_package_without_its_pictures_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(skimage, "__file__", str(tmp_path / "skimage" / "__init__.py"))
    with pytest.raises(DataError, match=r"astronaut\.png"):
        write_sample(tmp_path / "sample")


def test_they_can_be_trained_on(sample):
    dataset = Aligned(str(sample / "train" / "HR"), crop=128, scale=4, flip=True, rotate=True)
    for index in range(len(dataset)):
        item = dataset.item(index, np.random.default_rng(index))
        assert item["input"].shape == (3, 32, 32)
