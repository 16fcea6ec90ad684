import os
import random
import re
import shutil
import time

import pytest

from darkroom.core.errors import DataError
from darkroom.data import listing
from darkroom.data.folders import list_by_root, list_images, natural


def by_parts(name):
    """What ``natural`` stands for: text and numbers in turn, each compared as what it is."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(0, int(p), p) if p.isdecimal() else (1, 0, p) for p in parts if p], name


def test_natural_order_is_that_of_text_and_numbers():
    chance = random.Random(4)
    for letters in ("a01", "aAbß09_.-/ ", "0", "aé\x01\u0663\u066912", "x10/"):
        for _ in range(300):
            names = {"".join(chance.choices(letters, k=chance.randint(1, 7))) for _ in range(30)}
            assert sorted(names, key=natural) == sorted(names, key=by_parts)


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Every listing is kept, and every walk counted."""
    monkeypatch.setenv("DARKROOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(listing, "WORTH_KEEPING", 0)
    walks, walk = [], listing._walk
    monkeypatch.setattr(listing, "_walk", lambda root: walks.append(root) or walk(root))
    return walks


def make(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    settle(root)


def settle(root):
    """As if the folders had changed a while ago, each at a time of its own."""
    for n, folder in enumerate([root, *(path for path in root.rglob("*") if path.is_dir())]):
        moment = folder.stat().st_mtime_ns - 10**10 + n
        os.utime(folder, ns=(moment, moment))


def names(root):
    return [path.relative_to(root).as_posix() for path in list_images([root])]


def test_a_listing_is_kept_until_a_folder_changes(tmp_path, kept):
    root = tmp_path / "hr"
    make(root, "b/10.png", "b/9.png", "a.jpg", "b/c/x.png", "note.txt", ".hidden.png")
    expected = ["a.jpg", "b/9.png", "b/10.png", "b/c/x.png"]
    assert [names(root) for _ in range(3)] == [expected] * 3
    assert len(kept) == 1
    changes = (
        lambda: (root / "b" / "1.png").touch(),
        lambda: (root / "b" / "c" / "x.png").unlink(),
        lambda: (root / "a.jpg").rename(root / "z.jpg"),
        lambda: (root / "new" / "deep").mkdir(parents=True),
        lambda: (root / "new" / "deep" / "n.png").touch(),
        lambda: shutil.rmtree(root / "b"),
    )
    for number, change in enumerate(changes):
        change()
        settle(root)
        plain = sorted((p for p in root.rglob("*.[pj][np]g") if p.name[0] != "."), key=lambda p: natural(str(p)))
        assert names(root) == names(root) == [path.relative_to(root).as_posix() for path in plain]
        assert len(kept) == number + 2


def test_where_images_really_are_is_kept_too(tmp_path, kept):
    make(tmp_path / "hr", "1.png", "in/2.png")
    (tmp_path / "link").symlink_to(tmp_path / "hr", target_is_directory=True)
    for _ in range(2):
        found = list_by_root([tmp_path / "link", tmp_path / "hr", tmp_path / "hr" / "in"])
        assert [len(images) for images in found] == [2, 0, 0]
    assert len(kept) == 3
    (tmp_path / "link").unlink()
    make(tmp_path / "other", "3.png")
    (tmp_path / "link").symlink_to(tmp_path / "other", target_is_directory=True)
    assert names(tmp_path / "link") == ["3.png"]


def test_links_to_folders_and_images(tmp_path, kept):
    make(tmp_path / "hr", "1.png")
    make(tmp_path / "far", "2.png", "deep/3.png")
    (tmp_path / "hr" / "more").symlink_to(tmp_path / "far", target_is_directory=True)
    (tmp_path / "far" / "back").symlink_to(tmp_path / "hr", target_is_directory=True)
    settle(tmp_path)
    expected = ["1.png", "more/2.png", "more/deep/3.png"]
    assert names(tmp_path / "hr") == names(tmp_path / "hr") == expected
    assert len(kept) == 1
    (tmp_path / "far" / "deep" / "4.png").touch()
    assert names(tmp_path / "hr") == [*expected, "more/deep/4.png"]
    (tmp_path / "hr" / "0.png").symlink_to(tmp_path / "elsewhere.png")
    settle(tmp_path)
    walks = len(kept)
    assert names(tmp_path / "hr") == names(tmp_path / "hr")
    assert len(kept) == walks + 2  # links to images may turn without a trace


def test_what_just_changed_is_not_kept(tmp_path, kept):
    root = tmp_path / "hr"
    make(root, "1.png")
    now = time.time_ns()
    os.utime(root, ns=(now, now))
    assert names(root) == names(root)
    assert len(kept) == 2


def test_a_short_listing_is_not_kept_and_the_cache_can_be_turned_off(tmp_path, kept, monkeypatch):
    root = tmp_path / "hr"
    make(root, "1.png")
    monkeypatch.setattr(listing, "WORTH_KEEPING", 2)
    names(root)
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(listing, "WORTH_KEEPING", 0)
    monkeypatch.setenv("DARKROOM_CACHE", "")
    names(root)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1, 2]\0a.png", b"\xff\xfe", None])
def test_a_damaged_cache_is_made_anew(tmp_path, kept, damage):
    root = tmp_path / "hr"
    make(root, "1.png", "2.png")
    names(root)
    (file,) = (tmp_path / "cache" / "listings").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] if damage is None else damage)
    assert names(root) == ["1.png", "2.png"]
    assert file.read_bytes() == whole
    assert len(kept) == 2


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, kept):
    make(tmp_path / "hr", "1.png")
    (tmp_path / "cache").touch()
    assert names(tmp_path / "hr") == names(tmp_path / "hr") == ["1.png"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read all")
def test_a_folder_that_may_not_be_read(tmp_path):
    make(tmp_path / "hr", "1.png", "in/2.png")
    (tmp_path / "hr" / "in").chmod(0)
    with pytest.raises(DataError, match="may not be read"):
        list_images([tmp_path / "hr"])
    (tmp_path / "hr" / "in").chmod(0o755)
