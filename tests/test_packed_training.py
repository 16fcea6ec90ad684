"""pack: true trains as the files do, bit for bit, while it packs and after."""

import torch
from runs import equal, native, photographs, python, write


def options(root, **changes):
    photographs(root / "hr", count=8)
    tree = native(root)
    tree["datasets"]["train"] |= {"target": str(root / "hr"), "workers": 2, "flip": True, "rotate": True}
    tree |= {"pack_store": str(root / "store"), **changes}
    tree["checkpoint"] = {"every": 100}
    return write(root / "o.yml", tree)


def test_training_is_the_same_from_files_while_packing_and_when_packed(tmp_path):
    weights, logs = [], []
    for pack, workers in ((False, "processes"), (True, "auto"), (True, "auto"), (True, "processes")):
        path = options(tmp_path, pack=pack)
        setting = ("--set", f"datasets.train.workers_are={workers}")
        done = python("train.py", "-opt", path, *setting)
        assert done.returncode == 0, done.stderr
        logs.append(done.stdout)
        weights.append(torch.load(tmp_path / "experiments/t/models/6_G.pth"))
        if pack and len(weights) == 2:  # whatever the short training left over
            done = python("-m", "darkroom", "pack", "-opt", path)
            assert done.returncode == 0, done.stderr
            assert (tmp_path / "store").is_dir()
    assert all(equal(weights[0], other) for other in weights[1:])
    assert all("the disk has room for" in log for log in logs[1:])
