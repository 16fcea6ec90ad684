"""Two processes on the CPU (gloo) equal one with the same global batch."""

import os
import subprocess
import sys

import pytest
import torch
from runs import GAN, ROOT, environment, native, python, train, write


def options(root, norm=None, **changes):
    """SGD, as Adam would hide a wrong scale."""
    discriminator = {"type": "discriminator_vgg", "nf": 8, "size": 32, "norm_type": norm}
    sgd = {"type": "sgd", "momentum": 0, "lr": 0.05}
    given = native(root, **{**GAN, "network_D": discriminator, "optim_G": sgd, "optim_D": sgd}, **changes)
    given["datasets"]["val"] = {"type": "aligned", "target": given["datasets"]["train"]["target"], "limit": 3}
    return {**given, "validate": {"every": 6, "metrics": [{"type": "psnr"}]}}


def close(a, b, rtol=2e-4, atol=2e-6):
    """The tolerance of float32: sums over a batch in another order, through six steps."""
    assert a.keys() == b.keys()
    for key, value in a.items():
        torch.testing.assert_close(value, b[key], rtol=rtol, atol=atol, msg=lambda m, key=key: f"{key}: {m}")


def saved(root, name):
    from darkroom.inference.weights import read_state

    models = root / "experiments" / name / "models"
    return {f"{n}.{k}": v for n in "GD" for k, v in read_state(models / f"6_{n}.pth").items()}


def figures(root, name):
    import json

    lines = (root / "experiments" / name / "metrics.jsonl").read_text().splitlines()
    return [v for line in lines if (v := json.loads(line)).keys() >= {"psnr"}][-1]["psnr"]


def torchrun(*command):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launcher, *map(str, command)], cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_torchrun_equals_one_process_with_twice_the_batch(tmp_path):
    path = write(tmp_path / "o.yml", options(tmp_path))
    train(path, "name=one", "datasets.train.batch_size=4")
    out = torchrun("train.py", "-opt", path, "--set", "name=two")
    close(saved(tmp_path, "one"), saved(tmp_path, "two"))
    assert figures(tmp_path, "two") == pytest.approx(figures(tmp_path, "one"), abs=1e-2)
    assert out.count("Starting anew") == 1  # only the first process talks


def test_batch_norm_and_relativistic_means_are_over_all_processes(tmp_path):
    """In float64 nothing but rounding is left of the difference."""
    path = write(tmp_path / "o.yml", options(tmp_path, norm="batch", validate={"every": 100}))
    done = python("tests/double.py", path, "name=one", "datasets.train.batch_size=4")
    assert done.returncode == 0, done.stderr
    torchrun("tests/double.py", path, "name=two")
    one, two = saved(tmp_path, "one"), saved(tmp_path, "two")
    assert one["D.features.0.weight"].dtype == torch.float64
    close(one, two, rtol=1e-10, atol=1e-12)


def test_gpu_ids_start_the_processes(tmp_path):
    path = write(tmp_path / "o.yml", options(tmp_path))
    train(path, "name=one", "datasets.train.batch_size=4")
    env = {**environment(), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "train.py", "-opt", str(path), "--set", "name=two", "--set", "gpu_ids=[0, 1]"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "CUDA was asked for (GPU 0, 1), but there is none here: using the CPU." in done.stdout
    close(saved(tmp_path, "one"), saved(tmp_path, "two"))


def test_all_reduce_batch_norm_is_batch_norm_for_one_process():
    from darkroom.engine.distributed import AllReduceBatchNorm

    assert "WORLD_SIZE" not in os.environ
    x = torch.randn(4, 3, 5, 5)
    ours, torchs = AllReduceBatchNorm(3), torch.nn.BatchNorm2d(3)
    torch.testing.assert_close(ours(x), torchs(x))
    torch.testing.assert_close(ours.running_var, torchs.running_var)
