"""What the dataset tools share: places apart, threads, the journal, commands, and runs that are killed."""

import importlib
import os
import signal
import threading
import time

import files
import numpy as np
import pytest
from files import fill
from runs import killed_after, python, start

from darkroom.__main__ import main
from darkroom.core.errors import DataError
from darkroom.data.images import read, write
from darkroom.tools.crops import CropSettings, crops
from darkroom.tools.downscale import downscale
from darkroom.tools.similar import similar
from darkroom.tools.subimages import subimages
from darkroom.tools.transfer import transfer_colors
from darkroom.tools.work import Failure, Journal, Task, Workers, apart, carry_out, look_at, stamp, tasks

COMMANDS = ("align", "crops", "downscale", "faulty", "frames", "similar", "subimages", "transfer-colors")
QUIET = Workers(jobs=2, progress=False, say=lambda text: None)


def contents(folder):
    """The images below a folder, by name."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.png")}


def test_results_are_in_order_and_a_failure_is_one_of_them(tmp_path):
    told, running, most = [], set(), []

    def work(number):
        running.add(threading.get_ident())
        most.append(len(running))
        time.sleep(0.01 * (number % 3))
        running.discard(threading.get_ident())
        if number == 4:
            raise OSError("the disk is full")
        return number * 2

    workers = Workers(jobs=3, progress=False, say=told.append)
    found = list(workers.over(range(10), work, lambda n: tmp_path / str(n)))
    failure = Failure(tmp_path / "4", "OSError: the disk is full")
    assert found == [(n, n * 2 if n != 4 else failure) for n in range(10)]
    assert told == [f"{tmp_path / '4'}: OSError: the disk is full"]
    assert 1 < max(most) <= 3


def test_items_come_from_a_generator_only_as_they_are_needed(tmp_path):
    taken = []

    def items():
        for n in range(50):
            taken.append(n)
            yield n

    for n, _ in Workers(jobs=2, progress=False).over(items(), lambda n: n, lambda n: tmp_path, total=50):
        assert len(taken) <= n + 4
    assert len(taken) == 50


def test_a_fault_of_the_program_is_no_failure_of_a_file(tmp_path):
    with pytest.raises(KeyError):
        list(QUIET.over([1], lambda n: {}[n], lambda n: tmp_path))


def test_outputs_are_apart_from_inputs(tmp_path):
    (tmp_path / "in/deep").mkdir(parents=True)
    fill(tmp_path / "in", 1)
    (tmp_path / "link").symlink_to(tmp_path / "in", target_is_directory=True)
    file = tmp_path / "in/0.png"
    for inputs, output in (("in", "in"), ("in", "in/out"), ("in/deep", "in"), ("in", "link/out"), ("link", "in/x")):
        with pytest.raises(DataError, match="two places apart"):
            apart([tmp_path / inputs], [tmp_path / output])
    with pytest.raises(DataError, match="Nothing was written"):
        apart([file], [tmp_path / "in"])
    apart([tmp_path / "in", file], [tmp_path / "out", tmp_path / "in2"])


def test_a_task_for_each_image_keeps_subfolders_and_tells_apart_what_differs_in_its_ending(tmp_path):
    fill(tmp_path / "in/a.b", 1)
    (tmp_path / "in/a.b/0.bmp").write_bytes((tmp_path / "in/a.b/0.png").read_bytes())
    places = {
        t.source.name: t.place.relative_to(tmp_path / "out").as_posix()
        for t in tasks([tmp_path / "in"], tmp_path / "out")
    }
    assert places == {"0.png": "a.b/0_png", "0.bmp": "a.b/0_bmp"}


def test_the_journal_knows_files_until_they_change(tmp_path):
    source, other = tmp_path / "a.txt", tmp_path / "b.txt"
    source.write_text("one")
    other.write_text("two")
    folder = tmp_path / "out"
    Journal(folder, "t").note(stamp([source, other]), [1, {"x": 2.5}])
    assert Journal(folder, "t").known([source, other]) == [1, {"x": 2.5}]
    assert Journal(folder, "t").known([source]) is None
    assert Journal(folder, "u").known([source, other]) is None
    os.utime(other, ns=(1, 1))
    assert Journal(folder, "t").known([source, other]) is None
    other.unlink()
    assert Journal(folder, "t").known([source, other]) is None


def test_the_journal_survives_a_line_that_is_not_whole(tmp_path):
    files = [tmp_path / f"{n}.txt" for n in range(3)]
    for n, file in enumerate(files):
        file.write_text(str(n))
        if n < 2:
            Journal(tmp_path, "t", {"size": 3}).note(stamp([file]), n)
    path = tmp_path / ".darkroom-t.jsonl"
    path.write_bytes(path.read_bytes()[:-7])
    Journal(tmp_path, "t", {"size": 3}).note(stamp([files[2]]), 2)
    assert [Journal(tmp_path, "t", {"size": 3}).known([f]) for f in files] == [0, None, 2]


def test_other_settings_are_refused(tmp_path):
    (tmp_path / "a.txt").write_text("a", encoding="utf-8")
    Journal(tmp_path, "t", {"size": 9, "scales": (1, 2)})  # of which nothing was made
    Journal(tmp_path, "t", {"size": 3, "scales": (1, 2)}).note(stamp([tmp_path / "a.txt"]), 1)
    Journal(tmp_path, "t", {"size": 3, "scales": (1, 2)})
    with pytest.raises(DataError, match="made with size 3, now 4"):
        Journal(tmp_path, "t", {"size": 4, "scales": (1, 2)})


def test_results_are_not_taken_for_those_of_other_files(tmp_path):
    """Nor overwritten by theirs, as long as these are there; a new style of the same image may take its place."""
    for name, count in (("a", 3), ("b", 2)):
        fill(tmp_path / name, count)
    out = tmp_path / "out"
    assert len(downscale([tmp_path / "a"], out, workers=QUIET).done) == 3
    with pytest.raises(DataError, match="2 results would take the place of those of other files"):
        downscale([tmp_path / "b"], out, workers=QUIET)
    assert len(downscale([tmp_path / "a"], out, workers=QUIET).skipped) == 3
    (tmp_path / "a").rename(tmp_path / "moved")
    assert len(downscale([tmp_path / "moved"], out, workers=QUIET).done) == 3
    for folder in ("moved", "b"):
        write(tmp_path / folder / "p.png", files.photograph(200, 200))
    subimages([tmp_path / "moved" / "p.png"], tmp_path / "pieces", 100, 100, workers=QUIET)
    with pytest.raises(DataError, match=r"p_s001\.png, made of .*, now of "):
        subimages([tmp_path / "b" / "p.png"], tmp_path / "pieces", 100, 100, workers=QUIET)


def test_what_another_reference_made_is_made_again(tmp_path):
    fill(tmp_path / "in", 1)
    for name, seed in (("one", 1), ("two", 2)):
        write(tmp_path / f"{name}.png", files.photograph(40, 30 + seed))
    bits = []
    for name in ("one", "two", "one"):
        done = transfer_colors(tmp_path / f"{name}.png", [tmp_path / "in"], tmp_path / "out", workers=QUIET).done
        assert len(done) == 1
        (made,) = (tmp_path / "out").glob("*.png")
        bits.append(made.read_bytes())
    assert bits[0] == bits[2] != bits[1]


def test_what_was_made_of_an_earlier_version_of_an_image_goes(tmp_path):
    (tmp_path / "in").mkdir()
    for size, count in ((300, 9), (200, 4)):
        write(tmp_path / "in" / "p.png", files.photograph(size, size))
        subimages([tmp_path / "in"], tmp_path / "out", 100, 100, workers=QUIET)
        assert len([*(tmp_path / "out").glob("*.png")]) == count


def test_what_else_was_made_of_an_image_stays(tmp_path):
    fill(tmp_path / "in", 2, 64, 64)
    for scale in (2, 4):
        downscale([tmp_path / "in"], tmp_path / "out", (scale,), workers=QUIET)
    assert len(contents(tmp_path / "out")) == 4
    journal = Journal(tmp_path / "j", "t")
    one, two, three = (tmp_path / "in" / "0.png", tmp_path / "in" / "1.png", tmp_path / "j" / "a.png")
    three.write_bytes(b"")
    journal.wrote(stamp([one, two]), [three])
    journal.wrote(stamp([one]), [tmp_path / "j" / "b.png"])  # of the same image, without the other one
    assert three.exists()


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_where_nothing_can_be_written_is_said(where, tmp_path):
    fill(tmp_path / "in", 1)
    (tmp_path / "file").write_text("x", encoding="utf-8")
    for tool in (subimages, downscale, similar):
        with pytest.raises(DataError, match="cannot be written"):
            tool([tmp_path / "in"], tmp_path / where, workers=QUIET)


def test_what_is_missing_or_has_changed_is_made_again_and_nothing_else(tmp_path):
    fill(tmp_path / "in", 3)
    todo = tasks([tmp_path / "in"], tmp_path / "out")
    made = []

    def copy(task: Task):
        made.append(task.source.name)
        target = task.place.with_suffix(".png")
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(task.source.read_bytes())
        return [target]

    def run():
        made.clear()
        carry_out(todo, copy, Journal(tmp_path / "out", "t"), QUIET)
        return sorted(made)

    assert run() == ["0.png", "1.png", "2.png"]
    assert run() == []
    (tmp_path / "out/1.png").unlink()
    fill(tmp_path / "in", 1, seed=9)
    assert run() == ["0.png", "1.png"]
    assert run() == []


def test_what_was_seen_is_kept_and_failures_are_not(tmp_path):
    files = [tmp_path / f"{n}.txt" for n in range(4)]
    for file in files:
        file.write_text(file.name)
    seen = []

    def look(file):
        seen.append(file.name)
        if file.name == "2.txt":
            raise OSError("gone")
        return file.read_text()

    results = [look_at(files, look, lambda f: (f,), Journal(tmp_path / "out", "t"), QUIET) for _ in range(2)]
    failure = Failure(files[2], "OSError: gone")
    assert results == [["0.txt", "1.txt", failure, "3.txt"]] * 2
    assert sorted(seen) == ["0.txt", "1.txt", "2.txt", "2.txt", "3.txt"]


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_shows_how_to_use_it(name, capsys):
    module = importlib.import_module(f"darkroom.cli.{name.replace('-', '_')}")
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"  python -m darkroom {name} " in module.EPILOG
    assert module.EPILOG.strip() in shown
    assert "exit codes: 0" in shown
    assert "--jobs" in shown


def test_the_example_arguments_of_each_command_are_understood():
    for name in COMMANDS:
        module = importlib.import_module(f"darkroom.cli.{name.replace('-', '_')}")
        lines = [line.split() for line in module.EPILOG.splitlines() if line.startswith("  python -m darkroom")]
        assert lines
        for _, _, _, tool, *arguments in lines:
            assert tool == name
            module.parser().parse_args(arguments)


def test_help_imports_neither_torch_nor_the_tools():
    code = (
        "import importlib, sys\n"
        f"for name in {COMMANDS!r}:\n"
        "    try: importlib.import_module('darkroom.cli.' + name.replace('-', '_')).main(['--help'])\n"
        "    except SystemExit: pass\n"
        "assert not {'torch', 'numpy', 'cv2', 'darkroom.tools'} & {*sys.modules}"
    )
    done = python("-c", code, fresh=True)
    assert done.returncode == 0, done.stderr


def test_commands_end_with_the_code_that_they_say(tmp_path, capsys):
    fill(tmp_path / "in", 2)
    command = ["subimages", "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--jobs", "2"]
    assert main(command) == 0
    assert "2 done, 0 already there, 0 failed" in capsys.readouterr().out
    (tmp_path / "in/bad.png").write_bytes(b"no image")
    assert main(command) == 1
    shown = capsys.readouterr().out
    assert "0 done, 2 already there, 1 failed" in shown
    assert f"  {tmp_path / 'in/bad.png'}: it is not an image" in shown.splitlines()[-2]
    assert main([*command[:3], "-o", str(tmp_path / "in/out")]) == 1
    assert "two places apart" in capsys.readouterr().err
    assert main(["downscale", *command[1:3], "-o", str(tmp_path / "lr"), "--kernel", "sink"]) == 2
    assert "kernel: expected one of bell" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main([*command, "--step", "0"])
    assert ended.value.code == 2
    assert "expected a whole number from 1 on, found 0" in capsys.readouterr().err


def test_a_run_that_is_killed_goes_on_to_the_same_files(tmp_path):
    fill(tmp_path / "in", 4, 480, 640)
    (tmp_path / "in/0.png").rename(tmp_path / "in/deep.png")
    settings = CropSettings(size=48, scales=(1, 2), seed=5)
    command = ("-m", "darkroom", "crops", "-i", tmp_path / "in", "-o", tmp_path / "killed", "--size", "48")
    killed_after(tmp_path / "killed/0/100.png", *command, "--scales", "1", "2", "--seed", "5", "--jobs", "2")
    before = contents(tmp_path / "killed")
    for name in before:
        assert read(tmp_path / "killed" / name).size == (48, 48)
    report = crops([tmp_path / "in"], tmp_path / "killed", settings, QUIET)
    crops([tmp_path / "in"], tmp_path / "whole", settings, QUIET)
    after = contents(tmp_path / "killed")
    assert 100 < len(before) < len(after) == 4 * (133 + 33)
    assert report.done
    assert before.items() <= after.items()
    assert after == contents(tmp_path / "whole")


def test_ctrl_c_ends_with_whole_files_and_says_how_to_go_on(tmp_path):
    fill(tmp_path / "in", 30, 300, 400)
    command = (
        "-m",
        "darkroom",
        "subimages",
        "-i",
        tmp_path / "in",
        "-o",
        tmp_path / "out",
        "--size",
        "100",
        "--step",
        "10",
    )
    process = start(*command, "--jobs", "2")
    deadline = time.monotonic() + 60
    while not (tmp_path / "out/1_s001.png").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert "of 30 are done; the same command goes on from there" in out
    assert "Traceback" not in out
    assert not [*(tmp_path / "out").rglob("*.partial")]
    assert all(np.shape(read(p).pixels) == (100, 100, 3) for p in [*(tmp_path / "out").glob("*.png")][::50])
