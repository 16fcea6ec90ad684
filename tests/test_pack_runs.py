import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import files
import pytest
import torch
from filelock import FileLock
from runs import environment
from test_pack import at_once, folder, from_pack, paths, place

from darkroom.cli.pack import main
from darkroom.data.aligned import Aligned
from darkroom.data.images import read, write
from darkroom.data.pack import PackedReader
from darkroom.data.pack_background import PackInBackground
from darkroom.data.packing import pack, stored, verify
from darkroom.data.stream import stream

__all__ = ["at_once"]  # a fixture


# training


def batches(dataset, count, **options):
    data = stream(dataset, 4, 11, **options)
    found = [batch for batch, _ in zip(data.batches(), range(count), strict=False)]
    data.close()
    return found


def equal(one, two):
    return len(one) == len(two) and all(
        a.keys() == b.keys()
        and all(torch.equal(a[k], b[k]) if isinstance(a[k], torch.Tensor) else a[k] == b[k] for k in a)
        for a, b in zip(one, two, strict=True)
    )


@pytest.fixture
def pairs(tmp_path):
    high, low = files.fill(tmp_path / "hr", 10, 64, 72), files.fill(tmp_path / "lr", 10, 16, 18, 50)
    write(f"{high}/10.png", files.photograph16(68, 76))
    write(f"{low}/10.png", files.photograph16(17, 19))
    (tmp_path / "hr" / "3.png").write_bytes(b"damaged")

    def make(reader=read):
        return Aligned(high, low, crop=32, scale=4, flip=True, rotate=True, reader=reader)

    return [high, low], make


@pytest.mark.parametrize("options", [{}, {"workers": 2}, {"workers": 2, "workers_are": "threads"}], ids=str)
def test_training_from_the_pack_has_the_same_bits(tmp_path, pairs, options):
    roots, make = pairs
    plain = batches(make(), 9)
    pack(roots, tmp_path / "store")
    assert equal(batches(make(PackedReader(tmp_path / "store", roots)), 9, **options), plain)
    assert any(path.endswith("hr/3.png") for batch in plain for path, _ in batch["unreadable"])


@pytest.mark.parametrize("workers_are", ["threads", "processes"])
def test_a_pack_that_appears_in_the_middle_changes_no_bit(tmp_path, pairs, workers_are):
    roots, make = pairs
    plain = batches(make(), 14)
    reader = PackedReader(tmp_path / "store", roots)
    data = stream(make(reader), 4, 11, workers=1, workers_are=workers_are)
    found = []
    for n, (batch, _) in enumerate(zip(data.batches(), range(14), strict=False)):
        found.append(batch)
        if n in (3, 7):
            pack(roots[n // 4 :][:1], tmp_path / "store")
    data.close()
    assert equal(found, plain)
    assert from_pack(reader(f"{roots[0]}/0.png"))


# in the background


def test_it_packs_in_a_process_of_its_own_and_says_so(tmp_path):
    root, said = folder(tmp_path / "hr", 5), []
    (tmp_path / "hr" / "bad.png").write_bytes(b"words")
    with PackInBackground([root], tmp_path / "store", say=said.append) as packer:
        packer.wait(60)
        assert not packer.running
    assert len(said) == 2
    assert said[0].startswith("6 images to pack take")
    assert "all 5 images" in said[1]
    assert "1 are unreadable" in said[1]
    assert Path(root, "0.png").exists()
    reader = PackedReader(tmp_path / "store", [root])
    assert all(from_pack(reader(path)) for path in paths(root) if "bad" not in path)


def test_without_room_it_says_so_and_is_no_error(tmp_path):
    root, said = folder(tmp_path / "hr", 5), []
    with PackInBackground([root], tmp_path / "store", 1e-6, say=said.append) as packer:
        packer.wait(60)
    assert len(said) == 1
    assert "training reads the files" in said[0]


def gone(pid, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_it_ends_when_it_is_closed(tmp_path):
    root = folder(tmp_path / "hr", 2)
    place(tmp_path).mkdir(parents=True)
    said = []
    with FileLock(place(tmp_path) / "lock"):  # so that it cannot finish
        packer = PackInBackground([root], tmp_path / "store", say=said.append)
        packer.start()
        while len(said) < 2:
            time.sleep(0.02)
        assert packer.running
        start = time.monotonic()
        packer.close()
        assert time.monotonic() - start < 9
    assert not packer.running
    packer.close()


TRAINING = """
import sys, time
sys.path[:0] = {paths!r}
from darkroom.data.pack_background import PackInBackground
packer = PackInBackground({roots!r}, {store!r}, say=lambda line: print(packer._process.pid, line, flush=True))
packer.start()
time.sleep(600)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_it_ends_when_the_training_is_killed(tmp_path):
    root, script = folder(tmp_path / "hr", 2), tmp_path / "train.py"
    place(tmp_path).mkdir(parents=True)
    codes = str(Path(__file__).parents[1] / "codes")
    script.write_text(TRAINING.format(paths=[codes], roots=[root], store=str(tmp_path / "store")), encoding="utf-8")
    with FileLock(place(tmp_path) / "lock"):
        process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
        process.stdout.readline()
        pid, _, waiting = process.stdout.readline().partition(" ")
        assert "another process" in waiting
        os.kill(int(pid), signal.SIGINT)  # the terminal's Ctrl-C is the training's
        time.sleep(0.2)
        assert not gone(int(pid), 0.1)
        process.kill()
        process.wait()
        process.stdout.close()
        assert gone(int(pid))


# the command


def test_command_packs_verifies_and_lists(tmp_path, capsys):
    root, store = folder(tmp_path / "hr", 4), str(tmp_path / "store")
    assert main([root, "--store", store, "--dry-run"]) == 0
    assert "4 images to pack take" in capsys.readouterr().out
    assert main([root, "--store", store, "--threads", "2"]) == 0
    assert "4 images are packed" in capsys.readouterr().out
    assert main(["--verify", "--store", store]) == 0
    assert main(["--list", "--store", store]) == 0
    assert str(tmp_path / "hr") in capsys.readouterr().out
    with (place(tmp_path) / "pixels-000.bin").open("r+b") as file:
        file.write(b"!!!")
    assert main(["--verify", "--store", store, root]) == 1
    assert f"damaged: {root}/0.png" in capsys.readouterr().out
    (tmp_path / "hr" / "bad.png").write_bytes(b"")
    assert main([root, "--store", store]) == 1
    assert "1 files cannot be decoded" in capsys.readouterr().out
    assert main([str(tmp_path / "hrr"), "--store", store]) == 1
    assert "Did you mean" in capsys.readouterr().err
    assert main([root, "--store", str(tmp_path / "s"), "--limit-gb", "1e-6"]) == 1
    assert "Raise the limit" in capsys.readouterr().err
    for wrong in ([], ["--threads", "0", root], [root, "--set", "a=1"], ["--lmdb", "a.lmdb", root, root]):
        with pytest.raises(SystemExit) as ended:
            main(wrong)
        assert ended.value.code == 2


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text are Linux's")
def test_folders_whose_names_are_no_text(tmp_path, capsys):
    root = folder(Path(os.fsdecode(os.fsencode(tmp_path) + b"/lat\xe9")), 2)
    assert pack([root], tmp_path / "store").images == 2
    assert verify(tmp_path / "store") == []
    assert [size > 0 for _, size in stored(tmp_path / "store")] == [True]


def test_interrupted_command_keeps_what_it_has(tmp_path):
    root = folder(tmp_path / "hr", 400)
    command = [sys.executable, "-m", "darkroom.cli.pack", root, "--store", str(tmp_path / "store")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    assert "400 images to pack" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert verify(tmp_path / "store") == []
    assert pack([root], tmp_path / "store").images == 400
