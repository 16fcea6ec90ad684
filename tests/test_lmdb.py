import multiprocessing
import os
import pickle
import sys

import cv2
import files
import numpy as np
import pytest
import torch

from darkroom.cli.pack import main
from darkroom.core.errors import DataError
from darkroom.data import lmdb_folder
from darkroom.data.aligned import Aligned
from darkroom.data.dataset import UnreadableImage
from darkroom.data.folders import list_images, natural, pair
from darkroom.data.images import header, read, write
from darkroom.data.lmdb_writer import create_lmdb
from darkroom.data.pack import PackedReader
from darkroom.data.packing import pack
from darkroom.data.single import Single
from darkroom.data.stream import stream
from darkroom.data.unaligned import Unaligned

lmdb = pytest.importorskip("lmdb")


def as_others(folder, entries, meta=True):
    """An LMDB folder as BasicSR's and traiNNer's scripts write it: ``entries`` are encoded images by key."""
    environment = lmdb.open(str(folder), map_size=2**26)
    lines = []
    with environment.begin(write=True) as writing:
        for key, data in entries.items():
            writing.put(key.encode("ascii"), data)
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
            height, width, *channels = image.shape
            lines.append(f"{key}.png ({height},{width},{(channels or [1])[0]}) 1\n")
    environment.close()
    if meta:
        (folder / "meta_info.txt").write_text("".join(lines), encoding="utf-8")
    return folder


def contents(folder):
    environment = lmdb.open(str(folder), readonly=True, lock=False)
    with environment.begin() as reading:
        found = {bytes(key).decode(): bytes(value) for key, value in reading.cursor()}
    environment.close()
    return found


@pytest.mark.parametrize("meta", [True, False])
def test_all_kinds_of_pixels_are_read_as_from_files_and_keys_with_dots_are_whole(tmp_path, meta):
    """Neither cut at the first dot, nor forced to 8 bits and three channels, as traiNNer does."""
    chosen = ("rgb.png", "gray.png", "rgb16.png", "gray16.png", "rgba.png", "rgba16.png", "palette.png")
    good = files.good_files()
    keys = {f"v1.2.{name.removesuffix('.png')}": good[name][0] for name in chosen}
    folder = as_others(tmp_path / "HR.lmdb", keys | {"v1.2.turned": files.oriented(good["rgb.png"][1], 6, "PNG")}, meta)
    listed = list_images([folder])
    assert {path.name for path in listed} == {f"{key}.png" for key in (*keys, "v1.2.turned")}
    assert listed == list_images([str(folder)]) == sorted(listed, key=lambda path: natural(path.name))
    for path in listed:
        data = keys.get(path.name.removesuffix(".png")) or files.oriented(good["rgb.png"][1], 6, "PNG")
        (tmp_path / "file.png").write_bytes(data)
        expected, found = read(tmp_path / "file.png"), read(str(path))
        assert np.array_equal(found.pixels, expected.pixels)
        assert found.pixels.dtype == expected.pixels.dtype
        assert (found.alpha is None) == (expected.alpha is None)
        assert found.alpha is None or np.array_equal(found.alpha, expected.alpha)
        assert header(path) == header(tmp_path / "file.png")


def test_keys_that_hold_their_ending_and_folders_in_keys(tmp_path):
    data = {key: files.encode(files.photograph(9, 8, n), "PNG") for n, key in enumerate(("a.png", "b/c", "b/c.x"))}
    folder = as_others(tmp_path / "odd.lmdb", data, meta=False)
    listed = list_images([folder])
    assert [path.relative_to(folder).as_posix() for path in listed] == ["a.png", "b/c.png", "b/c.x.png"]
    for n, path in enumerate(listed):
        assert np.array_equal(read(path).pixels, files.photograph(9, 8, n))


@pytest.fixture
def both(tmp_path):
    """The same pairs as files and as LMDB folders: of two folders each."""
    roots = []
    for kind, side in (("hr", 64), ("lr", 16)):
        for part in (0, 1):
            folder = tmp_path / f"{kind}{part}"
            folder.mkdir()
            for n in (0, 1, 2, 10):
                make = files.photograph16 if n == 2 else files.photograph
                write(folder / f"p{part}.{n}.png", make(side, side, 10 * part + n))
            create_lmdb(tmp_path / f"{kind}{part}.lmdb", folder)
            roots.append(str(folder))
    return roots[:2], roots[2:]


def in_lmdb(roots):
    return [f"{root}.lmdb" for root in roots]


def equal(one, two):
    return all(
        torch.equal(a[key], b[key])
        for a, b in zip(one, two, strict=True)
        for key, value in a.items()
        if isinstance(value, torch.Tensor)
    )


def batches(dataset, **options):
    data = stream(dataset, 3, 5, **options)
    found = [batch for batch, _ in zip(data.batches(), range(7), strict=False)]
    data.close()
    return found


@pytest.mark.parametrize("options", [{}, {"workers": 2}, {"workers": 2, "workers_are": "threads"}], ids=str)
def test_lists_of_lmdb_folders_train_as_the_files_do(both, options):
    high, low = both
    settings = {"crop": 32, "flip": True, "rotate": True}
    plain = batches(Aligned(tuple(high), tuple(low), **settings))
    assert equal(batches(Aligned(tuple(in_lmdb(high)), tuple(in_lmdb(low)), **settings), **options), plain)
    mixed = Aligned(tuple(in_lmdb(high)), tuple(low), **settings)
    assert equal(batches(mixed, **options), plain)


def test_targets_alone_and_other_datasets(both):
    """traiNNer asks for both, or a folder name it takes for a string."""
    (high, _), (low, _) = both
    plain, own = (Aligned(root, crop=32) for root in (high, f"{high}.lmdb"))
    assert equal(batches(plain), batches(own))
    assert [p is None for _, p in own.pairs()] == [True] * 4
    assert equal(batches(Single(low, limit=2), workers=1), batches(Single(f"{low}.lmdb", limit=2)))
    settings = {"preprocess": "crop", "crop_size": 16}
    assert equal(
        batches(Unaligned(high, low, **settings)),
        batches(Unaligned(f"{high}.lmdb", f"{low}.lmdb", **settings)),
    )


def test_pairs_are_found_by_key(both):
    (high, _), (low, _) = both
    found = pair([f"{high}.lmdb"], [f"{low}.lmdb"], 4)
    assert [(t.name, i.name) for t, i in found.pairs] == [(f"p0.{n}.png",) * 2 for n in (0, 1, 2, 10)]
    assert not found.strays


def test_lmdb_folders_are_packed_like_others(both, tmp_path):
    (high, _), _ = both
    assert pack([f"{high}.lmdb"], tmp_path / "store").images == 4
    reader = pickle.loads(pickle.dumps(PackedReader(tmp_path / "store", [f"{high}.lmdb"])))
    for path in list_images([f"{high}.lmdb"]):
        picture = reader(str(path))
        assert not picture.pixels.flags.writeable
        assert np.array_equal(picture.pixels, read(path).pixels)
    os.utime(f"{high}.lmdb/data.mdb", ns=(0, 10**18))
    assert reader(str(path)).pixels.flags.writeable


def _sum_of(path):
    return int(read(path).pixels.sum())


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_an_open_folder_is_opened_anew_in_other_processes(both, context):
    if context not in multiprocessing.get_all_start_methods():
        pytest.skip("this platform cannot")
    path = str(list_images([f"{both[0][0]}.lmdb"])[0])
    expected = _sum_of(path)
    with multiprocessing.get_context(context).Pool(2) as pool:
        assert pool.map(_sum_of, [path] * 8) == [expected] * 8
    assert _sum_of(path) == expected


def test_one_folder_by_several_names(both, tmp_path, monkeypatch):
    path = list_images([f"{both[0][0]}.lmdb"])[0]
    monkeypatch.chdir(tmp_path)
    assert _sum_of(path) == _sum_of(str(path.relative_to(tmp_path)))


def test_what_is_wrong_is_told(tmp_path, both, monkeypatch):
    folder = tmp_path / "hr0.lmdb"
    with pytest.raises(UnreadableImage, match="has no image of that name"):
        read(folder / "none.png")
    broken = as_others(tmp_path / "broken.lmdb", {"a": files.encode(files.photograph(9, 9), "PNG")})
    environment = lmdb.open(str(broken))
    with environment.begin(write=True) as writing:
        writing.put(b"a", files.encode(files.photograph(9, 9), "PNG")[:-20])
    environment.close()
    with pytest.raises(UnreadableImage, match=r"broken\.lmdb/a\.png: it is truncated"):
        read(broken / "a.png")
    (broken / "data.mdb").write_bytes(b"no database")
    (tmp_path / "other.lmdb").mkdir()
    (tmp_path / "other.lmdb" / "data.mdb").write_bytes(b"no database")
    with pytest.raises(UnreadableImage, match="cannot be read"):
        read(tmp_path / "other.lmdb" / "a.png")
    with pytest.raises(DataError, match="cannot be read"):
        list_images([tmp_path / "other.lmdb"])
    (broken / "meta_info.txt").write_text("a.png 9x9\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"meta_info\.txt:1: expected .* found 'a\.png 9x9'"):
        list_images([broken])
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(DataError, match=r"pip install darkroom\[lmdb\]"):
        read(folder / "p0.0.png")


# writing


def test_png_files_are_copied_and_others_become_png(tmp_path):
    root = tmp_path / "photos"
    (root / "more").mkdir(parents=True)
    good = files.good_files()
    for name in ("rgb.png", "gray16.png", "rgba.png"):
        (root / "more" / f"x.{name}").write_bytes(good[name][0])
    (root / "rgb_1.jpg").write_bytes(good["rgb.jpg"][0])
    (root / "rgb_2.bmp").write_bytes(good["rgb.bmp"][0])
    calls = []
    assert create_lmdb(tmp_path / "out.lmdb", root, lambda done, total: calls.append((done, total))) == 5
    assert calls == [(n, 5) for n in range(1, 6)]
    found = contents(tmp_path / "out.lmdb")
    for name in ("rgb.png", "gray16.png", "rgba.png"):
        assert found[f"more/x.{name.removesuffix('.png')}"] == good[name][0]
    for key, name in (("rgb_1", "rgb.jpg"), ("rgb_2", "rgb.bmp")):
        assert found[key].startswith(b"\x89PNG")
        image = cv2.imdecode(np.frombuffer(found[key], np.uint8), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(image[:, :, ::-1], good[name][1])
    lines = (tmp_path / "out.lmdb" / "meta_info.txt").read_text(encoding="utf-8").splitlines()
    assert set(lines) == {
        f"more/x.rgb.png ({files.HEIGHT},{files.WIDTH},3) 1",
        f"more/x.gray16.png ({files.HEIGHT},{files.WIDTH},1) 1",
        f"more/x.rgba.png ({files.HEIGHT},{files.WIDTH},4) 1",
        f"rgb_1.png ({files.HEIGHT},{files.WIDTH},3) 1",
        f"rgb_2.png ({files.HEIGHT},{files.WIDTH},3) 1",
    }
    assert len(list_images([tmp_path / "out.lmdb"])) == 5


def test_more_than_fits_at_first(tmp_path, monkeypatch):
    monkeypatch.setattr("darkroom.data.lmdb_writer._CHUNK", 20_000)
    root = files.fill(tmp_path / "many", 40, 40, 40)
    create_lmdb(tmp_path / "many.lmdb", tmp_path / "many")
    for path in list_images([tmp_path / "many.lmdb"]):
        assert np.array_equal(read(path).pixels, read(f"{root}/{path.name}").pixels)


def test_what_cannot_be_written(tmp_path):
    root = tmp_path / "hr"
    files.fill(root, 2)
    out = tmp_path / "out.lmdb"
    with pytest.raises(DataError, match=r"ends in \.lmdb"):
        create_lmdb(tmp_path / "out", root)
    write(root / "1.jpg", files.photograph())
    with pytest.raises(DataError, match="2 files '1'"):
        create_lmdb(out, root)
    (root / "1.jpg").write_bytes(b"words")
    (root / "1.png").unlink()
    with pytest.raises(UnreadableImage, match=r"1\.jpg"):
        create_lmdb(out, root)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hr"]
    (root / "1.jpg").unlink()
    (tmp_path / ".out.lmdb.partial").mkdir()  # of a run that was killed
    (tmp_path / ".out.lmdb.partial" / "data.mdb").write_bytes(b"half")
    assert create_lmdb(out, root) == 1
    with pytest.raises(DataError, match="is there already"):
        create_lmdb(out, root)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hr", "out.lmdb"]


def test_damage_inside_of_a_png_is_found_and_lmdb_folders_are_copied(tmp_path):
    files.fill(tmp_path / "hr", 2)
    create_lmdb(tmp_path / "one.lmdb", tmp_path / "hr")
    create_lmdb(tmp_path / "two.lmdb", tmp_path / "one.lmdb")
    for name in ("0.png", "1.png"):
        assert lmdb_folder.contents(tmp_path / "two.lmdb" / name) == (tmp_path / "hr" / name).read_bytes()
    data = bytearray((tmp_path / "hr" / "0.png").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    (tmp_path / "hr" / "0.png").write_bytes(data)
    with pytest.raises(UnreadableImage, match=r"0\.png"):
        create_lmdb(tmp_path / "three.lmdb", tmp_path / "hr")
    assert not (tmp_path / "three.lmdb").exists()


def test_flags_that_are_not_for_lmdb_folders_are_refused(tmp_path):
    root = files.fill(tmp_path / "hr", 2)
    for more in (["--dry-run"], ["--verify"], ["--store", "s"], ["--threads", "2"]):
        with pytest.raises(SystemExit):
            main(["--lmdb", str(tmp_path / "x.lmdb"), root, *more])
    with pytest.raises(SystemExit):
        main(["--list", root])
    assert not (tmp_path / "x.lmdb").exists()


def test_command_writes_an_lmdb_folder(tmp_path, capsys):
    root = files.fill(tmp_path / "hr", 3)
    out = tmp_path / "hr.lmdb"
    assert main(["--lmdb", str(out), root]) == 0
    assert "3 images are in" in capsys.readouterr().out
    assert set(contents(out)) == {"0", "1", "2"}
    assert main(["--lmdb", str(out), root]) == 1
    assert "is there already" in capsys.readouterr().err
