"""Lists of files, as people have them, and the script that splits a folder into three."""

import importlib.util
import os
from pathlib import Path

import files
import pytest
from runs import ROOT, python

from darkroom.core.errors import DataError
from darkroom.data.flist import list_files, read_flist, split_folder, write_flists

SCRIPT = ROOT / "scripts" / "flist_train_split.py"


def images(folder, *names):
    for name in names:
        files.save(folder / name, files.photograph(8, 8))
    return folder


def listed(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_list_keeps_its_order_and_its_repetitions(tmp_path, end, encoding):
    names = ["b 2.png", "a#1.png", "ünï/10.png", "b 2.png", "#c.png"]
    images(tmp_path / "data", *names)
    lines = ["", *(str(tmp_path / "data" / name) for name in names), "   ", ""]
    path = listed(tmp_path / "a.flist", end.join(lines), encoding)
    assert read_flist(path) == [tmp_path / "data" / name for name in names]


def test_relative_paths_begin_at_the_list_or_where_one_stands(tmp_path, monkeypatch):
    images(tmp_path / "lists", "both.png", "beside.png")
    images(tmp_path / "here", "both.png", "data/standing.png")
    monkeypatch.chdir(tmp_path / "here")
    path = listed(tmp_path / "lists" / "a.txt", "both.png\nbeside.png\n./data/standing.png")
    found = read_flist(path)
    assert found == [tmp_path / "lists" / "both.png", tmp_path / "lists" / "beside.png", Path("data/standing.png")]
    assert all(p.is_file() for p in found)


def test_lists_folders_and_images_side_by_side(tmp_path):
    images(tmp_path / "folder", "10.png", "2.jpg", "sub/1.webp")
    (tmp_path / "folder" / "notes.txt").write_text("words", encoding="utf-8")
    images(tmp_path, "alone.png", "x.png", "y.png")
    path = listed(tmp_path / "a.flist", "y.png\nx.png\n")
    found = list_files([str(path), str(tmp_path / "folder"), str(tmp_path / "alone.png"), str(path)])
    names = [p.relative_to(tmp_path).as_posix() for p in found]
    assert names == [
        "y.png", "x.png", "folder/2.jpg", "folder/10.png", "folder/sub/1.webp", "alone.png", "y.png", "x.png",
    ]  # fmt: skip


def test_what_is_wrong_with_a_list_is_told_by_line(tmp_path):
    images(tmp_path, "there.png")
    (tmp_path / "folder.png").mkdir()
    path = listed(tmp_path / "a.flist", "there.png\n\nthere.pgn\nfolder.png\nthere.png\n/not/here.png")
    with pytest.raises(DataError) as caught:
        read_flist(path)
    message = str(caught.value)
    assert message.startswith(
        f"{path}: 3 of its 5 files are not there: line 3 'there.pgn', line 4 'folder.png', line 6"
    )
    assert f"Did you mean '{tmp_path / 'there.png'}'?" in message
    with pytest.raises(DataError, match=r"a\.flist names no files"):
        read_flist(listed(path, "\n \r\n"))
    with pytest.raises(DataError, match=r"a\.flist: expected paths, one a line, in UTF-8"):
        read_flist(listed(path, "grün.png", "latin-1"))
    with pytest.raises(DataError, match=r"cannot be read: (Is a directory|Permission)"):
        read_flist(tmp_path)
    with pytest.raises(DataError, match=r"there is no .*b\.flist\. Did you mean .*a\.flist"):
        list_files([str(tmp_path / "b.flist")])
    with pytest.raises(DataError, match=r"folder\.png has no images"):
        list_files([str(tmp_path / "folder.png")])


# the split


@pytest.mark.parametrize("count", [1, 2, 29, 30, 31, 65])
def test_rounds_of_thirty(tmp_path, count):
    """Counted from 1 as the original does: the first of a round validates, the second tests."""
    root = images(tmp_path / "data", *(f"{n:03}.png" for n in range(1, count + 1)))
    expected = {"train": [], "val": [], "test": []}
    for n in range(1, count + 1):
        part = {1: "val", 2: "test"}.get(n % 30, "train")
        expected[part].append(root / f"{n:03}.png")
    assert split_folder(root)._asdict() == expected


def test_rounds_of_other_lengths_go_through_subfolders(tmp_path):
    """Files are counted before subfolders, each by its characters; lists are in the order of the whole paths."""
    names = ["10.png", "2.png", "z.png", "a/3.png", "a/b/1.png", "a/b/2.png", "b/1.png"]
    root = images(tmp_path / "data", *names)
    parts = split_folder(root, train=2, val=2, test=1)
    kinds = ["val", "val", "test", "train", "train", "val", "val"]
    for name, found in parts._asdict().items():
        expected = [str(root / n) for n, kind in zip(names, kinds, strict=True) if kind == name]
        assert [str(p) for p in found] == sorted(expected)
    assert [p.name for p in split_folder(root, 1, 0, 0).train] == [Path(n).name for n in sorted(names)]
    assert split_folder(root, 0, 1, 1).train == []


def test_a_split_is_refused_without_images_or_numbers(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no images"):
        split_folder(tmp_path / "empty")
    with pytest.raises(DataError, match="there is no"):
        split_folder(tmp_path / "none")
    with pytest.raises(DataError, match="expected a folder of images, found a file"):
        split_folder(images(tmp_path, "1.png") / "1.png")
    for counts in ((0, 0, 0), (28, -1, 1)):
        with pytest.raises(ValueError, match="expected numbers from 0 on"):
            split_folder(tmp_path, *counts)


def test_lists_are_written_together_or_not_at_all(tmp_path):
    listed(tmp_path / "val.flist", "old")
    lists = {"train": [Path("/a b.png"), Path("/ü.png")], "val": [], "test": [Path("/c.png")]}
    with pytest.raises(DataError, match=r"val\.flist would be replaced; --force"):
        write_flists(tmp_path, lists)
    assert [p.name for p in tmp_path.iterdir()] == ["val.flist"]
    with pytest.raises(DataError, match="the lists cannot be written"):  # a name that is no text, in the last one
        write_flists(tmp_path, {**lists, "test": [Path("/\udcff.png")]}, force=True)
    assert {p.name: p.read_text(encoding="utf-8") for p in tmp_path.iterdir()} == {"val.flist": "old"}
    write_flists(tmp_path, lists, force=True)
    assert {p.name: p.read_text(encoding="utf-8") for p in tmp_path.iterdir()} == {
        "train.flist": "/a b.png\n/ü.png\n", "val.flist": "", "test.flist": "/c.png\n",
    }  # fmt: skip
    with pytest.raises(DataError, match="the lists cannot be written"):
        write_flists(tmp_path / "val.flist" / "below", lists)


def script(*arguments):
    """Its work in this process; the exit code."""
    spec = importlib.util.spec_from_file_location("flist_train_split", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        return module.main([*map(str, arguments)])
    except SystemExit as stop:
        return stop.code


def test_the_documented_command(tmp_path):
    images(tmp_path / "my data", *(f"{n}.png" for n in range(31)))
    numbers = ("--train", "28", "--val", "1", "--test", "1")
    done = python(SCRIPT, "--path", "my data", "--output", "out/lists", *numbers, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.rpartition(": ")[2] for line in done.stdout.splitlines()] == ["28 images", "2 images", "1 images"]
    found = {name: read_flist(tmp_path / "out" / "lists" / f"{name}.flist") for name in ("train", "val", "test")}
    by_name = sorted(f"{n}.png" for n in range(31))
    assert [p.name for p in found["val"]] == [by_name[0], by_name[30]]
    assert [p.name for p in found["test"]] == [by_name[1]]
    assert [p.name for p in found["train"]] == by_name[2:30]
    assert all(p.is_absolute() for paths in found.values() for p in paths)
    assert found["train"] == list_files([str(tmp_path / "out" / "lists" / "train.flist")])


def test_what_the_command_refuses(tmp_path, capsys):
    root, out = images(tmp_path / "data", "1.png"), tmp_path / "out"
    (tmp_path / "empty").mkdir()
    assert script("--path", tmp_path / "empty", "--output", out) == 1
    assert "has no images" in capsys.readouterr().err
    assert script("--path", root, "--output", out, "--val", "-1") == 2
    assert script("--path", root, "--output", out, "--val", "1.5") == 2
    assert script("--path", root) == 2
    assert not out.exists()
    capsys.readouterr()
    assert script("--path", root, "--output", out) == 0
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    assert before == {"train.flist": b"", "val.flist": f"{root / '1.png'}{os.linesep}".encode(), "test.flist": b""}
    images(root, "0.png")
    assert script("--path", root, "--output", out) == 1
    assert "--force" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    assert script("--path", root, "--output", out, "--force") == 0
    assert read_flist(out / "val.flist") == [root / "0.png"]
    assert script("--help") == 0
    text = capsys.readouterr().out
    assert "python scripts/flist_train_split.py --path" in text.partition("examples:")[2]
    assert "exit codes:" in text
