"""What a review found could ruin a run: each finding has the test that would have caught it."""

import math
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from runs import GAN, ROOT, environment, equal, make, native, train, weights, write

from darkroom.core.errors import DivergedError, OptionErrors
from darkroom.engine.guard import Guard
from darkroom.engine.loop import Every


def turn(guard, step, player, *, finite, loss=1.0):
    guard.watch(step, player, torch.tensor(finite), {"l1": torch.tensor(loss)}, ["a.png"])


def test_limit_holds_when_one_player_of_two_is_well():
    said = []
    guard = Guard(3, said.append)
    with pytest.raises(DivergedError, match="3 iterations in a row"):
        for step in range(10):
            turn(guard, step, "G", finite=True)
            turn(guard, step, "D", finite=False)
    assert step == 2
    assert guard.skipped == 3


def test_good_iterations_between_start_the_count_anew():
    guard = Guard(3, lambda message: None)
    for step in range(12):
        turn(guard, step, "G", finite=step % 3 == 0)
    assert guard.skipped == 8


def test_fp16_may_search_its_scale_but_not_for_ever():
    said = []
    guard = Guard(3, said.append, scaled=True)
    for step in range(20):
        turn(guard, step, "G", finite=False)
    assert not said
    with pytest.raises(DivergedError):
        for step in range(20, 200):
            turn(guard, step, "G", finite=False)
    with pytest.raises(DivergedError):
        for step in range(300, 310):
            turn(guard, step, "G", finite=False, loss=math.nan)


def test_a_step_that_is_left_out_leaves_no_batch_statistics(tmp_path):
    network = {"type": "discriminator_vgg", "nf": 8, "size": 32, "norm_type": "batch"}
    run = make(write(tmp_path / "o.yml", native(tmp_path, **{**GAN, "network_D": network})))
    inner = run.loop.prepare

    def poisoned(batch):
        batch = dict(inner(batch))
        return batch | {"target": batch["target"] * math.nan} if run.loop.step == 1 else batch

    run.loop.prepare = poisoned
    for steps in (1, 2):
        run.loop.steps = steps
        run.loop.run()
        states = weights(run)
        assert all(v.isfinite().all() for v in states.values()), steps
    run.close()


def test_a_failing_validation_loses_nothing(tmp_path):
    run = make(write(tmp_path / "o.yml", native(tmp_path, checkpoint={"every": 100})))

    def fail(loop):
        raise ValueError("a metric failed")

    run.loop.chores = [*run.loop.chores, Every(4, fail)]
    with pytest.raises(ValueError, match="a metric failed"):
        run.train()
    after = weights(run)
    run.close()
    state = torch.load(tmp_path / "experiments/t/training_state/latest.state", weights_only=True)
    assert state["parts"]["loop"]["step"] == 4
    assert torch.equal(state["parts"]["network_G"]["body.0.weight"], after["G.body.0.weight"])


def test_keep_last_after_a_resume_from_an_older_state(tmp_path, capsys):
    path = write(tmp_path / "o.yml", native(tmp_path, checkpoint={"every": 1}))
    train(path)
    states = tmp_path / "experiments/t/training_state"
    train(path, f"path.resume_state={states / '2.state'}", "train.iterations=4", "checkpoint.keep=2")
    assert "of the branch that is left, 4 states are kept as *.state.left" in capsys.readouterr().out
    assert {p.name for p in states.iterdir()} == {"3.state", "4.state", *(f"{n}.state.left" for n in (3, 4, 5, 6))}


def test_options_that_begin_or_end_at_a_resume(tmp_path, capsys):
    path = write(tmp_path / "o.yml", native(tmp_path, ema={"decay": 0.9}))
    train(path)
    options = native(tmp_path, swa={"start": 0}, train={"iterations": 8})
    swapped = write(tmp_path / "p.yml", options)
    run = make(swapped, "path.resume_state=auto")
    assert equal(weights(run), {f"G.{k}": v for k, v in run.loop.averages[0].networks["G"].state_dict().items()})
    run.train()
    run.close()
    out = capsys.readouterr().out
    assert "swa begins now: the state has none." in out
    assert "ema is no longer used." in out


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop", "adamp", "lion", "adan", "prodigy", "ranger"])
def test_every_optimizer_resumes_exactly(tmp_path, optimizer):
    options = native(tmp_path, optim_G={"type": optimizer, "lr": 1.0 if optimizer == "prodigy" else 1e-3})
    path = write(tmp_path / "o.yml", options)
    whole = train(path)
    (tmp_path / "experiments/t/training_state/6.state").unlink()
    assert equal(whole, train(path, "path.resume_state=auto"))


def test_another_optimizer_is_refused(tmp_path):
    from darkroom.core.errors import CheckpointError

    path = write(tmp_path / "o.yml", native(tmp_path))
    train(path)
    with pytest.raises(CheckpointError, match="expected the state of RMSprop, found that of Adam"):
        make(path, "path.resume_state=auto", "optim_G.type=rmsprop", "train.iterations=7")


def test_the_copy_of_the_options_can_be_used(tmp_path):
    train(write(tmp_path / "o.yml", native(tmp_path)))
    folder = tmp_path / "experiments/t"
    train(folder / "options.yml", "path.resume_state=auto", "train.iterations=7")
    train(folder / "options.yml")
    assert (folder / "options.yml").exists()


def test_a_run_that_cannot_be_built_leaves_the_earlier_one_alone(tmp_path):
    from darkroom.core.errors import DarkroomError

    path = write(tmp_path / "o.yml", native(tmp_path))
    train(path)
    with pytest.raises(DarkroomError):
        make(path, f"path.pretrain.G={tmp_path / 'absent.pth'}")
    assert (tmp_path / "experiments/t/models/6_G.pth").exists()
    assert not list((tmp_path / "experiments").glob("*archived*"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phases": [{"trains": ["G.body"]}], **GAN}, "player 'D' plays, but 'trains' has nothing of it"),
        ({"phases": [{"trains": ["G.trunk"]}]}, "there is no module 'G.trunk', but: G.body"),
        ({"optim_G": {"type": "adam", "groups": {"G.tail": {"lr": 1e-4}}}}, "groups: there is no module 'G.tail'"),
        ({"optim_G": {"type": "adam", "groups": {"G.body": {"lrr": 1e-4}}}}, "has no option 'lrr'. Did you mean 'lr'?"),
        ({"losses": [{"type": "l1", "pool": 3}]}, "pool: only adversarial losses have a critic"),
        ({"test": {"tile": 3}}, "there is no section 'test'"),
        ({"swa": {"start": 1.5}}, "start: expected an iteration or a fraction of the run, found 1.5"),
        ({"optim_G": {"type": "adam", "clip": -1.0}}, "clip: expected more than 0, found -1"),
        ({"checkpoint": {"best": "psnr"}}, "best: validation does not measure 'psnr', only nothing"),
        ({"path": {"pretrain": {"E": "x.pth"}}}, "pretrain: there is no network 'E', only G"),
        ({"network_G": {"type": "mrrdb_net", "act_type": "prelu"}}, "layout"),
    ],
)
def test_wrong_before_training(tmp_path, changes, message):
    path = write(tmp_path / "o.yml", native(tmp_path, **changes))
    with pytest.raises((OptionErrors, ValueError)) as error:
        make(path, f"path.root={tmp_path}")
    assert message in str(error.value)


@pytest.mark.skipif(sys.platform == "win32", reason="process groups are POSIX")
@pytest.mark.parametrize("gpus", ["[]", "[0, 1]"])
def test_sigterm_to_the_whole_group_saves(tmp_path, gpus):
    """As slurm, systemd and timeout send it: to the process, its data workers and its launcher."""
    options = native(tmp_path, train={"iterations": 50000}, checkpoint={"every": 50000}, logger={"every": 5})
    options["datasets"]["train"]["workers"] = 2
    path = write(tmp_path / "o.yml", {**options, "logger": {"every": 5, "tensorboard": False}})
    command = [sys.executable, "train.py", "-opt", str(path), "--set", f"gpu_ids={gpus}"]
    process = subprocess.Popen(
        command, cwd=ROOT, env={**environment(), "CUDA_VISIBLE_DEVICES": ""}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    for line in process.stdout:
        if "iter:" in line:
            break
    os.killpg(process.pid, signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 143, out
    assert (tmp_path / "experiments/t/training_state/latest.state").exists()


def test_a_reader_that_leaves_does_not_stop_the_run(tmp_path):
    path = write(tmp_path / "o.yml", native(tmp_path, train={"iterations": 200}))
    command = [sys.executable, "train.py", "-opt", str(path)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    process.stdout.readline()
    process.stdout.close()
    end = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
    assert (tmp_path / "experiments/t/models/200_G.pth").exists()
