"""A run that is stopped in any way and started again ends in the same bits as one that was left alone."""

import errno
import random
import re
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from runs import GAN, equal, make, native, python, start, train, weights, write

from darkroom.engine.loop import Every, Loop

EVERYTHING = {
    **GAN,
    "losses": [GAN["losses"][0], {**GAN["losses"][1], "pool": 3}],
    "ema": {"decay": 0.9},
    "swa": {"start": 4, "rate": 1e-4, "anneal": 2},
    "optim_G": {"type": "adam", "lr": 1e-3, "clip": "auto"},
    "schedule": {"type": "plateau", "metric": "psnr", "patience": 0, "factor": 0.5, "warmup": 2},
    "validate": {"every": 2, "metrics": [{"type": "psnr"}], "save_images": False},
}


def everything(root, **changes):
    options = native(root, **EVERYTHING)
    options["datasets"]["val"] = {"type": "aligned", "target": options["datasets"]["train"]["target"], "limit": 1}
    return {**options, "train": {"iterations": 12}, "checkpoint": {"every": 5, "best": "psnr"}, **changes}


def final(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of the last state: networks, optimizers, averages, pools, clipping."""
    states = [torch.load(path, weights_only=True) for path in folder.glob("training_state/*.state")]
    state = max(states, key=lambda s: s["parts"]["loop"]["step"])
    found = {}

    def walk(value, path):
        if isinstance(value, torch.Tensor):
            found[path] = value
        elif isinstance(value, dict):
            for k, v in value.items():
                walk(v, f"{path}.{k}")
        elif isinstance(value, (list, tuple)):
            for i, v in enumerate(value):
                walk(v, f"{path}.{i}")

    walk(state["parts"], "")
    return found


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_is_exact_with_everything_that_has_state(tmp_path, workers):
    options = everything(tmp_path)
    options["datasets"]["train"]["workers"] = workers
    path = write(tmp_path / "o.yml", options)
    train(path)
    whole = final(tmp_path / "experiments" / "t")
    assert any("pool" in k for k in whole)
    assert any("ema" in k for k in whole)
    assert any("optim_D" in k for k in whole)
    half = make(path, "name=h")
    half.loop.chores = [*half.loop.chores, Every(7, Loop.stop)]
    half.train()  # stops after 7 of 12 and saves as latest
    half.close()
    train(path, "name=h", "path.resume_state=auto")
    assert equal(whole, final(tmp_path / "experiments" / "h"))


@pytest.mark.parametrize("how", ["file", "folder", "experiment", "auto"])
def test_ways_to_say_what_to_resume(tmp_path, how, capsys):
    path = write(tmp_path / "o.yml", native(tmp_path))
    whole = train(path)
    states = tmp_path / "experiments/t/training_state"
    (states / "6.state").write_bytes(b"not whole")  # the newest is broken: the one before it is taken
    if how == "file":
        resume = states / "3.state"
    else:
        resume = {"folder": states, "experiment": states.parent, "auto": "auto"}[how]
    again = train(path, f"path.resume_state={resume}")
    out = capsys.readouterr().out
    assert "after iteration 3, from" in out
    assert ("6.state: not a whole training state" in out) == (how != "file")
    assert equal(whole, again)


def test_changed_options_are_listed(tmp_path, capsys):
    path = write(tmp_path / "o.yml", native(tmp_path))
    train(path)
    train(path, "path.resume_state=auto", "train.iterations=8", "optim_G.lr=0.002")
    out = capsys.readouterr().out
    assert "Changed since that state was saved: train.iterations: 6 -> 8" in out
    assert "Changed since that state was saved: optim_G.lr: 0.001 -> 0.002" in out
    assert len(re.findall("Changed since", out)) == 2


def test_the_same_command_again_destroys_nothing(tmp_path, capsys):
    path = write(tmp_path / "o.yml", native(tmp_path))
    first = train(path)
    train(path)
    out = capsys.readouterr().out
    kept = [p for p in (tmp_path / "experiments").iterdir() if re.fullmatch(r"t_archived_\d{6}-\d{6}", p.name)]
    assert len(kept) == 1
    assert f"the earlier run is kept as {kept[0]}" in out
    from darkroom.inference.weights import read_state

    saved = read_state(kept[0] / "models" / "6_G.pth")
    assert all(torch.equal(saved[k.removeprefix("G.")], v) for k, v in first.items())


def test_missing_state_is_an_error_that_says_what_there_is(tmp_path):
    from darkroom.core.errors import CheckpointError

    path = write(tmp_path / "o.yml", native(tmp_path))
    train(path)
    states = tmp_path / "experiments/t/training_state"
    with pytest.raises(CheckpointError, match=r"there are: 3.state, 6.state"):
        make(path, f"path.resume_state={states / '200.state'}")
    assert (states / "6.state").exists()


def test_other_networks_are_refused_by_name(tmp_path):
    from darkroom.core.errors import CheckpointError

    path = write(tmp_path / "o.yml", native(tmp_path))
    train(path)
    with pytest.raises(CheckpointError) as error:
        make(path, "path.resume_state=auto", "network_G.nf=12", "train.iterations=7")
    lines = str(error.value).splitlines()
    assert "network_G does not fit the options of this run" in lines[0]
    assert "body.0.weight (8, 3, 3, 3) instead of (12, 3, 3, 3), body.0.bias" in lines[0]
    assert lines[1:] == [
        "The state was made with other options (then -> now):",
        "  network_G.nf: 8 -> 12",
        "Set them as they were then, or remove path.resume_state to start anew.",
    ]


def test_a_second_process_in_the_same_folder_is_refused(tmp_path):
    from darkroom.core.errors import CheckpointError

    path = write(tmp_path / "o.yml", native(tmp_path))
    run = make(path)
    with pytest.raises(CheckpointError, match="another process is training there"):
        make(path)
    run.close()
    train(path)


def test_keep_last_and_best(tmp_path):
    options = everything(tmp_path, checkpoint={"every": 2, "keep": 2, "best": "psnr"})
    train(write(tmp_path / "o.yml", options))
    folder = tmp_path / "experiments/t"
    assert {p.name for p in folder.glob("training_state/*")} == {"10.state", "12.state"}
    kept = {f"{n}_{label}.pth" for n in (10, 12, "best") for label in ("G", "D", "emaG", "swaG")}
    assert {p.name for p in folder.glob("models/*")} == kept


def test_overwritten_checkpoints_keep_one_before(tmp_path):
    train(write(tmp_path / "o.yml", native(tmp_path, checkpoint={"every": 2, "overwrite": True})))
    folder = tmp_path / "experiments/t"
    assert {p.name for p in folder.glob("training_state/*")} == {"latest.state", "previous.state"}
    assert {p.name for p in folder.glob("models/*")} == {"latest_G.pth", "previous_G.pth"}
    steps = {
        n: torch.load(folder / f"training_state/{n}.state", weights_only=True)["parts"]["loop"]["step"]
        for n in ("latest", "previous")
    }
    assert steps == {"latest": 6, "previous": 4}


class FullDisk:
    """After ``after`` bytes the disk is full."""

    def __init__(self, monkeypatch, after):
        from darkroom.engine import checkpoint

        whole = checkpoint.write_whole

        def write(path, writer):
            class Full:
                def __init__(self, file):
                    self.file, self.left = file, after

                def write(self, data):
                    self.left -= len(data)
                    if self.left < 0:
                        raise OSError(errno.ENOSPC, "No space left on device")
                    return self.file.write(data)

                def __getattr__(self, name):
                    return getattr(self.file, name)

            whole(path, lambda file: writer(Full(file)))

        monkeypatch.setattr(checkpoint, "write_whole", write)


def test_full_disk_keeps_the_last_whole_checkpoint_and_says_what_to_do(tmp_path, monkeypatch, capsys):
    from darkroom.core.errors import CheckpointError

    run = make(write(tmp_path / "o.yml", native(tmp_path)))
    run.loop.steps = 3
    run.loop.run()
    run.saver.wait()
    FullDisk(monkeypatch, 5000)
    run.loop.steps = 6
    with pytest.raises(CheckpointError, match="the one before it is whole"):
        run.train()
    run.close()
    states = tmp_path / "experiments/t/training_state"
    assert {p.name for p in states.iterdir()} == {"3.state"}
    out = capsys.readouterr().out
    assert "MiB are free at" in out
    assert "Make room" in out
    monkeypatch.undo()
    again = train(tmp_path / "o.yml", "path.resume_state=auto")
    assert equal(again, train(tmp_path / "o.yml", "name=other"))


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL and process groups are POSIX")
def test_killed_at_random_moments_ends_in_the_same_bits(tmp_path):
    """Real processes with two data workers, at least ten SIGKILLs, one of them while a checkpoint is being written."""
    options = everything(tmp_path, train={"iterations": 600}, checkpoint={"every": 4, "keep": 3})
    options["datasets"]["train"]["workers"] = 2
    options["swa"]["start"] = 300
    options["validate"]["every"] = 50
    path = write(tmp_path / "o.yml", options)
    done = python("train.py", "-opt", path, "--set", "name=whole")
    assert done.returncode == 0, done.stdout + done.stderr
    rng, kills, writing, deadline = random.Random(5), 0, 0, time.monotonic() + 400
    states = tmp_path / "experiments/killed/training_state"
    while time.monotonic() < deadline:
        process = start("train.py", "-opt", path, "--set", "name=killed", "--set", "path.resume_state=auto")
        try:
            if kills < 11:
                caught = wait_for_moment(process, states, during_write=kills in (3, 7), rng=rng)
                process.kill()
                kills += process.wait() == -signal.SIGKILL
                writing += caught
                continue
            out, _ = process.communicate(timeout=200)
            assert process.returncode == 0, out
            break
        finally:
            process.kill()
            process.wait()
    print(f"killed {kills} times, {writing} of them while a checkpoint was being written")
    assert kills >= 10
    assert writing >= 1
    assert equal(final(tmp_path / "experiments/whole"), final(tmp_path / "experiments/killed"))


def wait_for_moment(process, states, *, during_write, rng):
    """Until a random moment after the first log line, or until a partial state lies on the disk."""
    for line in process.stdout:
        if "iter:" in line:
            break
    if not during_write:
        time.sleep(rng.uniform(0, 0.5))
        return False
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        if any(states.glob("*.partial")):
            return True
    return False


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_finish_the_iteration_and_save(tmp_path, number, code):
    options = native(
        tmp_path, train={"iterations": 5000}, checkpoint={"every": 5000}, logger={"every": 5, "tensorboard": False}
    )
    options["datasets"]["train"]["workers"] = 1
    path = write(tmp_path / "o.yml", options)
    process = start("train.py", "-opt", path)
    for line in process.stdout:
        if "iter:" in line:
            break
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == code, out
    assert "finishing this iteration, then saving" in out
    step = int(re.search(r"Stopped after iteration ([\d,]+)", out)[1].replace(",", ""))
    folder = tmp_path / "experiments/t"
    assert {p.name for p in folder.glob("models/*")} == {"latest_G.pth"}
    assert torch.load(folder / "training_state/latest.state", weights_only=True)["parts"]["loop"]["step"] == step
    steps = f"train.iterations={step + 3}"
    for name, resume in (("t", "auto"), ("whole", "null")):  # processes again: the number of threads changes the bits
        settings = ["--set", f"name={name}", "--set", f"path.resume_state={resume}", "--set", steps]
        done = python("train.py", "-opt", path, *settings)
        assert done.returncode == 0, done.stdout + done.stderr
    assert equal(final(folder), final(folder.with_name("whole")))


def test_a_crash_exits_non_zero(tmp_path):
    path = write(tmp_path / "o.yml", native(tmp_path))
    broken = "import darkroom.engine.loop as l\ndef boom(*a): raise RuntimeError('boom')\nl.Loop.iterate = boom\n"
    code = f"{broken}from darkroom.cli.train import main\nraise SystemExit(main(['-opt', {str(path)!r}]))"
    done = python("-c", code)
    assert done.returncode == 1
    assert "boom" in done.stderr


def test_resumed_weights_are_those_of_the_state(tmp_path):
    """Fault 9.1-6: with a folder as resume_state, the weights were sought under the folder's name."""
    path = write(tmp_path / "o.yml", native(tmp_path))
    whole = train(path)
    run = make(path, f"path.resume_state={tmp_path / 'experiments/t/training_state'}", "train.iterations=7")
    assert equal(whole, weights(run))
    run.close()


def test_schedule_free_training_resumes_exactly_and_is_judged_by_its_average(tmp_path):
    free = {
        "optim_G": {"type": "schedulefree_adamw", "lr": 5e-3},
        "validate": {"every": 2, "metrics": [{"type": "psnr"}]},
    }
    options = native(tmp_path, **free)
    options["datasets"]["val"] = {"type": "aligned", "target": options["datasets"]["train"]["target"], "limit": 1}
    whole = train(write(tmp_path / "o.yml", options))
    quiet = native(tmp_path, optim_G=free["optim_G"], name="quiet")
    assert equal(whole, train(write(tmp_path / "q.yml", quiet))), "validation changes nothing"
    train(write(tmp_path / "h.yml", {**options, "name": "half", "train": {"iterations": 3}}))
    path = {"root": str(tmp_path), "resume_state": "auto"}
    assert equal(whole, train(write(tmp_path / "h.yml", {**options, "name": "half", "path": path})))
    saved, judged = (torch.load(tmp_path / "experiments/t/models" / f"6_{name}.pth") for name in ("G", "sfG"))
    assert saved.keys() == judged.keys()
    assert not torch.equal(saved["body.0.weight"], judged["body.0.weight"])
