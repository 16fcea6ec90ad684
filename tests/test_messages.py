"""What a newcomer is told: the right place, the user's own words, what to do, and an exit code for scripts."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image
from runs import ROOT, environment, native, photographs, python, write

from darkroom.build.paths import check_training_folders
from darkroom.build.plan import plan_training, read_options
from darkroom.build.testing import plan_testing
from darkroom.build.training import open_run
from darkroom.cli.test import main as run_test
from darkroom.cli.train import main as run_train
from darkroom.core.errors import OptionErrors
from darkroom.data.folders import nearby
from darkroom.engine.chores import clock

TEXT = """\
name: t
model: sr
scale: 2
gpu_ids: []
datasets:
  train:
    mode: aligned
    dataroot_HR: {hr}
    crop_size: 32
    n_workers: 0
    batch_size: 2
network_G:
  which_model_G: compact
  nf: 8
  num_conv: 2
train:
  niter: 4
  pixel_criterion: l1
  pixel_weight: 1
path:
  root: {root}
"""


@pytest.fixture
def file(tmp_path):
    text = TEXT.format(hr=photographs(tmp_path / "HR").as_posix(), root=tmp_path.as_posix())
    (tmp_path / "x.yml").write_text(text, encoding="utf-8")
    return tmp_path / "x.yml"


def errors_of(file, *settings):
    with pytest.raises(OptionErrors) as error:
        open_run(plan_training(read_options(file, settings)), (), file)
    return error.value.errors


def change(file, old, new):
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        ("crop_size: 32", "crop_size: 63", 9, "crop_size: expected a multiple of the scale 2, such as 62 or 64"),
        ("niter: 4", "niter: -5", 17, "niter: expected at least 1, found -5"),
        ("niter: 4", "niter: many", 17, "niter: expected a whole number, found 'many'"),
        ("gpu_ids: []", "gpu_ids: 0", 4, "gpu_ids: expected a list such as [0, 1], found 0"),
        ("scale: 2", "scale: 2x", 3, "scale: expected a whole number, found '2x'"),
        ("weight: 1", "weight: 0", 19, "pixel_weight: there is nothing to learn from: every loss has weight 0"),
        ("criterion: l1", "criterion: L3", 18, "pixel_criterion: no loss is called 'l3'. There are: "),
        ("G: compact", "G: compakt", 13, "which_model_G: no architecture is called 'compakt'. Did you mean 'compact'?"),
        ("  niter", "\tniter", 17, "indent with spaces, not tabs"),
    ],
)
def test_place_and_words_are_the_users(file, old, new, place, message):
    (found,) = errors_of(change(file, old, new))
    assert found.startswith(f"{file}:{place}: {message}")


def test_a_setting_of_the_command_line_is_the_place(file):
    (found,) = errors_of(file, "datasets.train.crop_size=63")
    assert found.startswith("--set datasets.train.crop_size=63: crop_size: expected a multiple")


def test_no_loss_at_all(file):
    change(file, "  pixel_criterion: l1\n  pixel_weight: 1\n", "")
    (found,) = errors_of(file)
    assert "every loss has weight 0 or none is given; write such as pixel_criterion: l1" in found


def test_wrong_folders_are_named_all_at_once(file, tmp_path, capsys):
    wrong = (tmp_path / "HRR").as_posix()
    change(file, f"dataroot_HR: {(tmp_path / 'HR').as_posix()}", f"dataroot_HR: {wrong}\n    dataroot_LR: /nowhere/LR")
    plan = plan_training(read_options(file))
    with pytest.raises(OptionErrors) as error:
        check_training_folders(plan)
    assert error.value.errors == [
        f"{file}:8: dataroot_HR: dataset 'train': there is no folder {wrong}. Did you mean {str(tmp_path / 'HR')!r}?",
        f"{file}:9: dataroot_LR: dataset 'train': there is no folder /nowhere/LR.",
    ]
    for more in ([], ["--check"]):
        assert run_train(["-opt", str(file), *more]) == 2
        said = capsys.readouterr()
        assert said.err.startswith("error: the options have 2 errors:\n")
        assert said.out == ""


def test_the_nearest_folder_is_a_whole_path(tmp_path):
    (tmp_path / "mine/train/HR").mkdir(parents=True)
    assert nearby(tmp_path / "mine/trian/hr") == f" Did you mean {str(tmp_path / 'mine/train/HR')!r}?"
    assert nearby(tmp_path / "mine/other/HR") == ""


def test_missing_pretrained_weights(file, tmp_path):
    change(file, "path:\n", "path:\n  pretrain_model_G: models/absent.pth\n")
    (found,) = errors_of(file)
    assert found.startswith(f"{file}:21: path.pretrain_model_G: there is no weights file models/absent.pth.")
    assert found.endswith("Train one, or remove the line to start from scratch")


def test_a_training_file_for_a_test_is_one_line(file, capsys):
    with pytest.raises(OptionErrors) as error:
        plan_testing(read_options(file))
    (found,) = error.value.errors
    assert "this is a training file (it has a section train); for a test copy options/sr/test_sr.yml" in found
    assert run_test(["-opt", str(file)]) == 2
    assert capsys.readouterr().err.count("error: ") == 1


def test_option_errors_come_without_lines_of_the_building(file, capsys):
    assert run_train(["-opt", str(file), "--set", "datasets.train.crop_size=63"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: the options have an error:\n")


def test_the_log_says_on_what_it_runs_and_how_much_there_is(file, capsys):
    assert run_train(["-opt", str(file)]) == 0
    out = capsys.readouterr().out
    assert "Training on the CPU (" in out
    assert "Dataset train: 6 images" in out


def test_channels_of_images_and_network_are_compared_before_anything_starts(tmp_path):
    options = native(tmp_path)
    options["datasets"]["train"]["channels"] = 1
    path = write(tmp_path / "o.yml", options)
    with pytest.raises(OptionErrors, match=r"compact takes images of 3 channels \(in_nc\), and the dataset gives 1"):
        plan_training(read_options(path))
    options["network_G"] |= {"in_nc": 1, "out_nc": 1}
    plan_training(read_options(write(path, options)))


def test_check_counts_no_input_of_another_size_that_is_used_all_the_same(tmp_path, capsys):
    options = native(tmp_path)
    low = photographs(tmp_path / "LR", 6, 36)
    Image.open(low / "photo2.png").resize((30, 30)).save(low / "photo2.png")
    options["datasets"]["train"]["input"] = str(low)
    for misfit, code, line in (
        ("refuse", 1, "Inputs of the wrong size: 1"),
        ("resize_input", 0, "Inputs of another size, which the dataset resizes or makes anew: 1"),
        ("make", 0, "Inputs of another size, which the dataset resizes or makes anew: 1"),
    ):
        options["datasets"]["train"]["misfit"] = misfit
        assert run_train(["-opt", str(write(tmp_path / "o.yml", options)), "--check"]) == code
        assert line in capsys.readouterr().out


def test_check_counts_what_cannot_be_used_and_says_nothing_that_alarms(tmp_path, capsys):
    photographs(tmp_path / "HR", 12)
    options = native(tmp_path, checkpoint={"best": "psnr"}, validate={"metrics": [{"type": "psnr"}]})
    options["datasets"]["val"] = {"type": "aligned", "target": options["datasets"]["train"]["target"], "limit": 1}
    path = write(tmp_path / "o.yml", options)
    assert run_train(["-opt", str(path), "--check"]) == 0
    out = capsys.readouterr().out
    assert out.endswith("Training can start.\n")
    assert not re.search("Starting anew|PSNR|kept as best|saved at", out)
    (tmp_path / "HR/photo3.png").write_bytes(b"no image")
    assert run_train(["-opt", str(path), "--check"]) == 1
    assert (
        "Training can start, but 1 files cannot be used and would be left out: see above.\n" in capsys.readouterr().out
    )


@pytest.mark.parametrize("program", ["train", "test"])
def test_an_option_file_without_its_flag(program):
    done = python(f"{program}.py", "options/sr/quickstart.yml")
    assert done.returncode == 2
    assert f"{program}.py: error: did you mean -opt options/sr/quickstart.yml?" in done.stderr
    done = python("-m", "darkroom", program, "--help")
    assert done.stdout.startswith(f"usage: python -m darkroom {program} [-h]")


def test_a_gpu_that_is_not_there(tmp_path, capsys):
    arguments = ["-i", str(tmp_path), "-m", str(tmp_path / "x.pth"), "-o", str(tmp_path / "out")]
    assert run_test([*arguments, "--device", "cuda:99"]) == 2
    assert "--device cuda:99: there is no GPU 99; " in capsys.readouterr().err


def test_days():
    assert [clock(s) for s in (59, 3601, 90061, 3979 * 3600)] == [
        "00:59",
        "1:00:01",
        "1 day 1:01:01",
        "165 days 19:00:00",
    ]


def interrupted(*arguments, until=None, after=0.0):
    """Send SIGINT once a line that contains ``until`` has come, or after some seconds; exit code and output."""
    process = subprocess.Popen(
        [sys.executable, "-u", *map(str, arguments)], cwd=ROOT, env=environment(), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in process.stdout if until else ():
        if until in line:
            break
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    return process.returncode, err


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("command", ["train", "check", "test"])
@pytest.mark.parametrize("after", [0.3, 1.2])
def test_ctrl_c_while_it_starts_is_one_line(tmp_path, command, after):
    """Also in the middle of importing torch, which an exception would abort."""
    path = write(tmp_path / "o.yml", native(tmp_path, train={"iterations": 100000}))
    arguments = {
        "train": ["train.py", "-opt", path],
        "check": ["train.py", "-opt", path, "--check"],
        "test": ["test.py", "-i", tmp_path / "HR", "-m", tmp_path / "no.pth", "-o", tmp_path / "out"],
    }[command]
    code, err = interrupted(*arguments, after=after)
    assert (code, err) == (130, "Stopped.\n")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_in_a_check_leaves_nothing(tmp_path):
    path = write(tmp_path / "o.yml", native(tmp_path, path={"root": str(tmp_path)}))
    code = (
        "import sys, time, darkroom.build.check as c\n"
        "def slow(run):\n print('inside', run.experiment.folder, flush=True)\n time.sleep(60)\n"
        f"c._train = slow\nfrom darkroom.cli.train import main\nsys.exit(main(['-opt', {str(path)!r}, '--check']))"
    )
    os.environ["TMPDIR"], before = str(tmp_path), os.environ.get("TMPDIR")
    try:
        code, err = interrupted("-c", code, until="inside")
    finally:
        os.environ.pop("TMPDIR") if before is None else os.environ.update(TMPDIR=before)
    assert (code, err) == (130, "Stopped.\n")
    assert not [*tmp_path.glob("darkroom-check-*")]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_in_a_test_says_how_far_it_is(tmp_path):
    run = python("train.py", "-opt", write(tmp_path / "o.yml", native(tmp_path)))
    assert run.returncode == 0, run.stderr
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(4):
        Image.new("RGB", (8, 8)).save(folder / f"{i}.png")
    arguments = ["-i", str(folder), "-m", str(tmp_path / "experiments/t/models/6_G.pth"), "-o", str(tmp_path / "out")]
    code = (
        "import sys, time, darkroom.inference.folder as f\nplain, count = f.Upscaler.__call__, 0\n"
        "def slow(self, picture):\n global count\n count += 1\n"
        " if count == 4:\n  print('inside', flush=True)\n  time.sleep(60)\n return plain(self, picture)\n"
        f"f.Upscaler.__call__ = slow\nfrom darkroom.cli.test import main\nsys.exit(main({arguments!r}))"
    )
    code, err = interrupted("-c", code, until="inside")
    assert code == 130
    assert re.fullmatch(r"Stopped: [123] of 4 files are done; --skip-existing goes on from there\.\n", err)
