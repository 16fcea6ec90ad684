"""Training SFTGAN on a tiny labelled set: categories are learnt, runs resume exactly, test.py makes the maps itself."""

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from runs import equal, killed_after, make, photographs, python, train, write

from darkroom.archs.segmentation import OutdoorSceneSeg

OPTIONS = """
name: sft
model: sftgan
scale: 4
gpu_ids: []
datasets:
  train:
    mode: LRHRseg_bg
    dataroot_HR: {root}/img
    dataroot_seg: {root}/bicseg
    dataroot_HR_bg: {root}/bg
    crop_size: 32
    batch_size: 4
    n_workers: 0
    use_flip: true
  val: {{mode: LRHRseg_bg, dataroot_HR: {root}/img, dataroot_seg: {root}/bicseg, max_dataset_size: 1}}
path: {{root: {root}}}
network_G: {{which_model_G: sft_net, nf: 8, nb: 1, cond_nc: 4, cond_nf: 8}}
network_D: {{which_model_D: dis_acd, size: 32, nf: 8}}
train:
  niter: 6
  manual_seed: 1
  lr_G: 1e-4
  lr_D: 1e-3
  lr_scheme: MultiStepLR
  lr_steps: [1000]
  lr_gamma: 0.5
  pixel_criterion: l1
  pixel_weight: 1
  gan_type: vanilla
  gan_weight: 5e-3
  val_freq: 3
  metrics: psnr
logger: {{print_freq: 1, save_checkpoint_freq: 2}}
"""
SKY, GRASS = (90, 150, 240), (60, 160, 50)


def options(root):
    """Two categories of the photograph in two tints, their maps, and backgrounds."""
    photographs(root / "bg", 2)
    photographs(root / "plain", 4)
    for part in ("img", "bicseg"):
        (root / part).mkdir()
    for n, file in enumerate(sorted((root / "plain").iterdir())):
        word, tint, channel = (("sky", SKY, 1), ("grass", GRASS, 3))[n % 2]
        pixels = np.asarray(Image.open(file), np.float32)
        Image.fromarray((0.3 * pixels + 0.7 * np.array(tint)).astype(np.uint8)).save(root / f"img/{word}_{n}.png")
        maps = np.zeros((8, *pixels.shape[:2]), np.uint8)
        maps[channel] = 255
        np.savez_compressed(root / f"bicseg/{word}_{n}.npz", maps=maps)
    return write(root / "o.yml", yaml.safe_load(OPTIONS.format(root=root)))


def test_the_auxiliary_head_learns_the_categories(tmp_path):
    run = make(options(tmp_path), "train.niter=60")
    batches, loop, seen = run.loop.data(0), run.loop, []
    for _ in range(60):
        loop.iterate([loop.on_device(next(batches))])
        seen.append(loop.meter.flush())
    loop.guard.settle()
    run.close()
    assert loop.guard.skipped == 0
    assert {"pix-l1", "l_g_gan", "l_d_real", "l_d_fake", "l_d_cls_real", "l_d_cls_fake", "D_real", "D_fake"} < seen[
        0
    ].keys()
    first, last = (np.mean([figures["D_accuracy"] for figures in part]) for part in (seen[:10], seen[-10:]))
    assert last > 0.8
    assert last > first
    losses = [np.mean([figures["l_d_cls_real"] for figures in part]) for part in (seen[:10], seen[-10:])]
    assert losses[1] < losses[0] / 2


def test_what_modulates_may_learn_first(tmp_path):
    path = options(tmp_path)
    run = make(path, "model={type: sftgan, condition_first: 2}")
    batches, before = run.loop.data(0), {k: v.clone() for k, v in run.loop.model.G.state_dict().items()}
    for _ in range(2):
        run.loop.iterate([run.loop.on_device(next(batches))])
    first = {k: v.clone() for k, v in run.loop.model.G.state_dict().items()}
    run.loop.iterate([run.loop.on_device(next(batches))])
    then = run.loop.model.G.state_dict()
    run.close()
    moved = {k for k in before if not torch.equal(before[k], first[k])}
    assert moved
    assert all("SFT_" in key or key.startswith("CondNet") for key in moved)
    assert any("SFT_" not in k and not torch.equal(first[k], then[k]) for k in then)


def test_killed_and_resumed_it_ends_in_the_same_bits(tmp_path):
    found = {}
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        path = options(tmp_path / name)
        more = ["--set", "logger.save_checkpoint_freq=1", "--set", "path.resume_state=auto"]
        if name == "killed":
            state = tmp_path / name / "experiments/sft/training_state/2.state"
            killed_after(state, "train.py", "-opt", path, *more)
        done = python("train.py", "-opt", path, *more)
        assert done.returncode == 0, done.stderr
        models = tmp_path / name / "experiments/sft/models"
        found[name] = {f"{n}.{k}": v for n in "GD" for k, v in torch.load(models / f"6_{n}.pth").items()}
    assert equal(found["whole"], found["killed"])


def test_test_py_makes_the_maps(tmp_path):
    train(options(tmp_path))
    assert [*(tmp_path / "experiments/sft/val_images").rglob("*_6.png")]
    tree = yaml.safe_load(OPTIONS.format(root=tmp_path))
    test = {key: tree[key] for key in ("name", "model", "scale", "gpu_ids", "network_G")} | {
        "datasets": {"test_1": {"mode": "LR", "dataroot_LR": str(tmp_path / "bg")}},
        "path": {"root": str(tmp_path), "pretrain_model_G": str(tmp_path / "experiments/sft/models/6_G.pth")},
    }
    done = python("test.py", "-opt", write(tmp_path / "test.yml", test))
    assert done.returncode == 2
    assert "SFTNet reads maps of what is where; write pretrain_model_seg" in done.stderr
    test["path"]["pretrain_model_seg"] = str(tmp_path / "seg.pth")
    torch.save(OutdoorSceneSeg().state_dict(), tmp_path / "seg.pth")
    done = python("test.py", "-opt", write(tmp_path / "test.yml", test))
    assert done.returncode == 0, done.stderr
    sizes = [Image.open(file).size for file in (tmp_path / "results/sft/test_1").iterdir()]
    assert sizes == [(288, 288)] * 2


@pytest.mark.parametrize(
    ("setting", "says"),
    [("train.gan_opt={form: relativistic}", "model sftgan has the standard form only"),
     ("train.diffaug=true", "diffaug: model sftgan has no such option")],
)  # fmt: skip
def test_mistakes(tmp_path, setting, says):
    from darkroom.core.errors import OptionErrors

    with pytest.raises(OptionErrors, match=says):
        make(options(tmp_path), setting)
