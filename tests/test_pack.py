import os
import pickle
import random
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import files
import numpy as np
import pytest
from filelock import FileLock

from darkroom.core.errors import DataError
from darkroom.data import images, pack_writer, packing
from darkroom.data import pack as packed
from darkroom.data.dataset import UnreadableImage
from darkroom.data.images import read, write
from darkroom.data.pack import ENTRY, Index, Packed, PackedReader, base_of, place_of, read_index
from darkroom.data.packing import NoRoom, pack, verify

CASES = {**files.good_files(), **{f"turned{n}.{k}": (None, n, k) for n in range(1, 9) for k in ("JPEG", "PNG")}}


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Readers look for news whenever they read."""
    monkeypatch.setattr(packed, "_POLL", 0.0)
    monkeypatch.setattr(packed, "_REST", 0)


def same(one, two):
    both = [(one.pixels, two.pixels), *([(one.alpha, two.alpha)] if one.alpha is not None else [])]
    return (one.alpha is None) == (two.alpha is None) and all(
        a.dtype == b.dtype and a.shape == b.shape and a.flags.c_contiguous and np.array_equal(a, b) for a, b in both
    )


def from_pack(picture):
    """Only what is mapped cannot be written to."""
    return not picture.pixels.flags.writeable


def paths(root):
    return sorted(str(path) for path in Path(root).rglob("*") if path.is_file())


def folder(path, count=8, size=40):
    return files.fill(path, count, size, size + 8)


def place(tmp_path, name="hr"):
    return place_of(tmp_path / "store", tmp_path / name)


# what is read


def test_every_kind_of_image_is_the_same_from_the_pack(tmp_path):
    root = tmp_path / "all"
    (root / "deeper" / "still").mkdir(parents=True)
    for n, (name, (data, *rest)) in enumerate(sorted(CASES.items())):
        data = data or files.oriented(files.photograph(20, 30, n), *rest)
        where = root if n % 3 else root / "deeper" / "still"
        (where / name).write_bytes(data)
    done = pack([root], tmp_path / "store", threads=3)
    reader = PackedReader(tmp_path / "store", [root])
    assert done.images == done.new == len(CASES) > 50
    assert done.whole
    for path in paths(root):
        picture = reader(path)
        assert from_pack(picture), path
        assert same(picture, read(path)), path
        assert same(picture, reader(Path(path)))


def test_files_elsewhere_and_what_cannot_be_read_are_left_to_the_file_reader(tmp_path):
    root, other = folder(tmp_path / "hr", 2), folder(tmp_path / "hr2", 1)
    (tmp_path / "hr" / "bad.png").write_bytes(b"words")
    done = pack([root], tmp_path / "store")
    assert (done.images, done.unreadable, done.whole) == (2, 1, True)
    reader = PackedReader(tmp_path / "store", [root])
    assert same(reader(f"{other}/0.png"), read(f"{other}/0.png"))
    assert not from_pack(reader(f"{other}/0.png"))
    for missing in ("bad.png", "none.png"):
        with pytest.raises(UnreadableImage) as own:
            reader(f"{root}/{missing}")
        with pytest.raises(UnreadableImage) as plain:
            read(f"{root}/{missing}")
        assert str(own.value) == str(plain.value)


def test_a_changed_file_is_read_and_packed_anew(tmp_path):
    root = folder(tmp_path / "hr")
    pack([root], tmp_path / "store")
    reader = PackedReader(tmp_path / "store", [root])
    path, other = f"{root}/3.png", f"{root}/4.png"
    assert from_pack(reader(path))
    write(path, files.photograph(30, 50, 99))
    assert same(reader(path), read(path))
    assert not from_pack(reader(path))
    assert from_pack(reader(other))
    assert pack([root], tmp_path / "store").new == 1
    assert from_pack(reader(path))
    assert same(reader(path), read(path))
    status = Path(path).stat()  # the same size, a nanosecond later
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert not from_pack(reader(path))


def test_a_reader_sees_what_comes_later_and_goes_anywhere(tmp_path):
    root = folder(tmp_path / "hr", 4)
    reader = PackedReader(tmp_path / "store", [root])
    assert not from_pack(reader(f"{root}/0.png"))
    pack([root], tmp_path / "store")
    assert from_pack(reader(f"{root}/0.png"))
    again = pickle.loads(pickle.dumps(reader))
    assert all(from_pack(again(path)) and same(again(path), read(path)) for path in paths(root))
    assert len(pickle.dumps(reader)) < 2000


def test_single_images_and_links_are_packed_too(tmp_path, monkeypatch):
    folder(tmp_path / "hr", 3)
    (tmp_path / "link").symlink_to(tmp_path / "hr", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    assert pack(["hr/1.png"], tmp_path / "store").images == 1
    assert pack(["link"], tmp_path / "store").new == 2  # it is the same folder
    for root, path in (("hr/1.png", "hr/1.png"), ("hr", "hr/2.png"), ("link", "link/0.png"), (".", "hr/1.png")):
        assert from_pack(PackedReader(tmp_path / "store", [root])(path)) == (root != ".")
    monkeypatch.chdir(tmp_path / "hr")
    assert from_pack(PackedReader(tmp_path / "store", ["."])("2.png"))
    assert base_of("1.png") == Path()


def test_images_below_two_roots_are_packed_once(tmp_path):
    inner = folder(tmp_path / "hr" / "in", 3)
    outer = folder(tmp_path / "hr", 2)
    assert pack([outer, inner], tmp_path / "store").images == 5
    reader = PackedReader(tmp_path / "store", [inner, outer])
    assert all(from_pack(reader(path)) for path in paths(outer))


# how it is written


def test_several_segments_and_many_threads(tmp_path, monkeypatch):
    monkeypatch.setattr(pack_writer, "SEGMENT", 20_000)
    root = folder(tmp_path / "hr", 12, 60)
    pack([root], tmp_path / "store", threads=4)
    assert len(list(place(tmp_path).glob("pixels-*.bin"))) > 3
    reader = PackedReader(tmp_path / "store", [root])
    assert all(from_pack(reader(path)) and same(reader(path), read(path)) for path in paths(root))
    assert verify(tmp_path / "store") == []


def cut(path, length):
    path.write_bytes(path.read_bytes()[:length])


def test_any_torn_end_of_the_index_is_left_out_and_mended(tmp_path):
    """Of a write that was interrupted: cut anywhere, or with rubbish at the end."""
    root = folder(tmp_path / "hr", 5)
    pack([root], tmp_path / "store")
    index, size = place(tmp_path) / "index.bin", ENTRY.itemsize
    whole = index.read_bytes()
    for length in (0, 1, size - 1, size, 2 * size + 7, 5 * size - 1):
        index.write_bytes(whole[:length])
        reader = PackedReader(tmp_path / "store", [root])
        found = [from_pack(reader(path)) and same(reader(path), read(path)) for path in paths(root)]
        assert found == [n < length // size for n in range(5)]
        assert pack([root], tmp_path / "store").new == 5 - length // size
        assert all(from_pack(reader(path)) and same(reader(path), read(path)) for path in paths(root))
    index.write_bytes(whole[: 3 * size] + bytes(range(size)) * 2 + b"more")
    assert len(read_index(place(tmp_path))) == 3
    assert pack([root], tmp_path / "store").new == 2
    assert index.stat().st_size == 5 * size
    assert verify(tmp_path / "store") == []


def test_pixels_without_an_entry_are_overwritten_and_those_that_are_gone_not_read(tmp_path):
    root = folder(tmp_path / "hr", 4)
    pack([root], tmp_path / "store")
    pixels = place(tmp_path) / "pixels-000.bin"
    whole = pixels.stat().st_size
    with pixels.open("ab") as file:
        file.write(b"x" * 1000)
    write(f"{root}/9.png", files.photograph(40, 48, 9))
    assert pack([root], tmp_path / "store").new == 1
    assert pixels.stat().st_size < whole + 1000 + 40 * 48 * 3
    cut(pixels, whole - 10)
    reader = PackedReader(tmp_path / "store", [root])
    assert [from_pack(reader(path)) for path in paths(root)] == [True, True, True, False, False]
    assert all(same(reader(path), read(path)) for path in paths(root))
    assert sorted(verify(tmp_path / "store")) == [f"{root}/3.png", f"{root}/9.png"]
    assert pack([root], tmp_path / "store").new == 2
    assert all(from_pack(reader(path)) and same(reader(path), read(path)) for path in paths(root))


def test_verifying_finds_what_was_altered_and_lets_the_file_be_read(tmp_path):
    root = folder(tmp_path / "hr", 6)
    pack([root], tmp_path / "store")
    reader = PackedReader(tmp_path / "store", [root])
    entry = Index.of(place(tmp_path)).find("2.png")
    with (place(tmp_path) / "pixels-000.bin").open("r+b") as file:
        file.seek(entry.at + 77)
        byte = file.read(1)[0]
        file.seek(entry.at + 77)
        file.write(bytes([byte ^ 4]))
    assert from_pack(reader(f"{root}/2.png"))
    assert not same(reader(f"{root}/2.png"), read(f"{root}/2.png"))
    assert verify(tmp_path / "store", [root]) == [f"{root}/2.png"]
    assert not from_pack(reader(f"{root}/2.png"))
    assert verify(tmp_path / "store") == []
    assert pack([root], tmp_path / "store").new == 1
    assert same(reader(f"{root}/2.png"), read(f"{root}/2.png"))
    assert from_pack(reader(f"{root}/2.png"))


def test_verifying_what_was_hardly_begun_or_is_not_there(tmp_path):
    root, store = folder(tmp_path / "hr", 3), tmp_path / "store"
    with pytest.raises(DataError, match=r"nothing is packed in .*hr\. Pack it first"):
        verify(store, [root])
    place(tmp_path).mkdir(parents=True)
    (place(tmp_path) / "folder.txt").write_text(f"{root}\n", encoding="utf-8")  # and was killed then
    assert verify(store, [root]) == verify(store) == []
    assert pack([root], store).new == 3


def test_verifying_touches_nothing_while_another_process_writes(tmp_path):
    root, store = folder(tmp_path / "hr", 3), tmp_path / "store"
    pack([root], store)
    with (place(tmp_path) / "index.bin").open("ab") as file:
        file.write(b"half an entry")
    before = (place(tmp_path) / "index.bin").read_bytes()
    with FileLock(place(tmp_path) / "lock"):
        assert verify(store, [root], stop=lambda: True) == []
    assert (place(tmp_path) / "index.bin").read_bytes() == before


SLOWLY = """
import sys, time
sys.path[:0] = {paths!r}
from darkroom.data import images, pack_writer
from darkroom.data.packing import pack
pack_writer._COMMIT_BYTES = 30_000  # a commit for every few images
real = images.read
def slow(path):
    time.sleep(0.002)
    return real(path)
images.read = slow
print("go", flush=True)
pack({roots!r}, __import__("pathlib").Path({store!r}), threads=2)
print("done", flush=True)
"""


def slowly(tmp_path, roots, name="slow.py"):
    script = tmp_path / name
    codes = str(Path(__file__).parents[1] / "codes")
    text = SLOWLY.format(paths=[codes], roots=roots, store=str(tmp_path / "store"))
    script.write_text(textwrap.dedent(text), encoding="utf-8")
    return subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)


def test_killed_at_any_instant_and_run_again(tmp_path):
    root = folder(tmp_path / "hr", 60)
    chance = random.Random(3)
    for _ in range(4):
        process = slowly(tmp_path, [root])
        assert process.stdout.readline() == "go\n"
        time.sleep(chance.uniform(0.02, 0.1))
        process.kill()
        process.communicate()
        reader = PackedReader(tmp_path / "store", [root])
        assert all(same(reader(path), read(path)) for path in paths(root))
        assert verify(tmp_path / "store") == []
    assert pack([root], tmp_path / "store").images == 60
    assert all(from_pack(reader(path)) and same(reader(path), read(path)) for path in paths(root))


def test_two_processes_pack_one_folder_without_doing_anything_twice(tmp_path):
    root = folder(tmp_path / "hr", 60)
    both = [slowly(tmp_path, [root], f"{n}.py") for n in range(2)]
    reader = PackedReader(tmp_path / "store", [root])
    while any(process.poll() is None for process in both):
        assert all(same(reader(path), read(path)) for path in paths(root))
    assert [process.communicate()[0] for process in both] == ["go\ndone\n"] * 2
    assert len(read_index(place(tmp_path))) == 60
    assert all(from_pack(reader(path)) for path in paths(root))
    assert verify(tmp_path / "store") == []


def test_waiting_for_another_ends_when_it_is_told_to(tmp_path):
    root = folder(tmp_path / "hr", 2)
    place(tmp_path).mkdir(parents=True)
    said, ended = [], threading.Event()
    with FileLock(place(tmp_path) / "lock"):
        work = threading.Thread(
            target=pack, args=([root], tmp_path / "store"), kwargs={"say": said.append, "stop": ended.is_set}
        )
        work.start()
        while len(said) < 2:
            time.sleep(0.01)
        assert "another process" in said[1]
        ended.set()
        work.join(20)
        assert not work.is_alive()
    assert not (place(tmp_path) / "index.bin").exists()


def test_unreadable_files_are_listed_and_not_tried_again_until_they_change(tmp_path, monkeypatch):
    root = folder(tmp_path / "hr", 3)
    bad = tmp_path / "hr" / "bad\tname.png"
    bad.write_bytes((tmp_path / "hr" / "1.png").read_bytes()[:200])
    pack([root], tmp_path / "store")
    listed = (place(tmp_path) / "unreadable.txt").read_text(encoding="utf-8")
    assert "truncated" in listed
    assert len(listed.splitlines()) == 1
    tried = []
    monkeypatch.setattr(images, "read", lambda path: tried.append(path) or read(path))
    done = pack([root], tmp_path / "store")
    assert (done.new, done.unreadable, done.whole, tried) == (0, 1, True, [])
    write(bad, files.photograph(20, 20, 1))
    done = pack([root], tmp_path / "store")
    assert (done.new, done.unreadable, tried) == (1, 0, [bad])
    assert (place(tmp_path) / "unreadable.txt").read_text(encoding="utf-8") == ""


def test_a_file_that_changes_while_it_is_read_is_left_for_later(tmp_path, monkeypatch):
    root = folder(tmp_path / "hr", 3)

    def restless(path):
        picture = read(path)
        if path.name == "1.png":
            write(path, files.photograph(24, 24, 5))
        return picture

    monkeypatch.setattr(images, "read", restless)
    done = pack([root], tmp_path / "store")
    assert (done.images, done.whole) == (2, False)
    monkeypatch.undo()
    done = pack([root], tmp_path / "store")
    assert (done.images, done.whole) == (3, True)
    assert same(PackedReader(tmp_path / "store", [root])(f"{root}/1.png"), read(f"{root}/1.png"))


# room


def test_what_it_takes_is_known_and_shown_before(tmp_path):
    root, said = tmp_path / "hr", []
    for n, (name, (data, *_)) in enumerate(sorted(files.good_files().items())):
        files.save(root / f"{n}{name}", files.photograph(8, 8, n))
        (root / f"{n}{name}").write_bytes(data)
    pack([root], tmp_path / "store", say=said.append, dry=True)
    assert not (tmp_path / "store").exists()
    (work,) = packing.find_work([root], tmp_path / "store")
    with packing.ThreadPoolExecutor(1) as pool:
        packing._measure([work], pool, 1, lambda what, done, total: None, lambda: False)
    pack([root], tmp_path / "store")
    taken = sum((place(tmp_path) / name).stat().st_size for name in ("pixels-000.bin", "index.bin", "names.bin"))
    assert taken <= work.bytes <= taken + 64 * len(work.files)
    assert f"{len(work.files)} images to pack take {work.bytes / 1e6:.1f} MB" in said[0]


def test_beyond_the_limit_or_the_disk_nothing_is_packed(tmp_path, monkeypatch):
    first, second = folder(tmp_path / "hr", 3), folder(tmp_path / "more", 3)
    each = 3 * (40 * 48 * 3 + ENTRY.itemsize + 6)
    with pytest.raises(NoRoom, match=r"3 images to pack take 0\.0 MB.*of at most 1e-05 GB.*Raise the limit to 0\.1"):
        pack([first], tmp_path / "store", limit_gb=1e-5)
    pack([first], tmp_path / "store", limit_gb=(each + 500) / 1e9)
    with pytest.raises(NoRoom, match=rf"no longer used:\n.*{place(tmp_path).name}"):
        pack([first, second], tmp_path / "store", limit_gb=(2 * each - 100) / 1e9)
    assert not place(tmp_path, "more").exists()
    assert pack([first, second], tmp_path / "store", limit_gb=(2 * each + 1000) / 1e9).images == 6
    third = folder(tmp_path / "third", 1)
    monkeypatch.setattr(packing, "RESERVE", 10**30)
    with pytest.raises(NoRoom, match="another disk"):
        pack([third], tmp_path / "store")
    assert pack([first], tmp_path / "store").images == 3


class FullDisk:
    """A file that takes so many bytes."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, data):
        self.room -= len(memoryview(data).cast("B"))
        if self.room < 0:
            raise OSError(28, "No space left on device")
        return self.file.write(data)

    def __getattr__(self, name):
        return getattr(self.file, name)


def test_a_disk_that_fills_up_leaves_a_whole_pack(tmp_path, monkeypatch):
    root, real = folder(tmp_path / "hr", 6), pack_writer._append

    def append(path, length=None):
        file = real(path, length)
        return FullDisk(file, 15_000) if path.name.startswith("pixels") else file

    monkeypatch.setattr(pack_writer, "_append", append)
    monkeypatch.setattr(pack_writer, "_COMMIT_BYTES", 1)
    with pytest.raises(NoRoom, match="No space left"):
        pack([root], tmp_path / "store")
    monkeypatch.undo()
    assert len(read_index(place(tmp_path))) == 2
    assert verify(tmp_path / "store") == []
    assert pack([root], tmp_path / "store").new == 4


def test_a_store_that_cannot_be_written_is_explained(tmp_path):
    (tmp_path / "store").write_bytes(b"a file")
    with pytest.raises(DataError, match="cannot be written"):
        pack([folder(tmp_path / "hr", 1)], tmp_path / "store")


def test_packed_folders_find_each_other_by_where_they_really_are(tmp_path):
    folder(tmp_path / "hr", 1)
    (tmp_path / "link").symlink_to(tmp_path / "hr", target_is_directory=True)
    one, two = (place_of("s", tmp_path / name) for name in ("hr", "link"))
    assert one == two
    assert one != place_of("s", tmp_path / "other")
    assert Packed(one).find("0.png", (tmp_path / "hr" / "0.png").stat()) is None
