"""PPON's three stages: who learns when, from what, and what is written."""

import pytest
import torch
import yaml
from runs import equal, killed_after, make, photographs, python, train, weights, write

from darkroom.core.errors import OptionErrors

OPTIONS = """
name: p
model: ppon
scale: 2
gpu_ids: []
datasets:
  train: {{mode: aligned, dataroot_HR: {root}/HR, crop_size: 48, batch_size: 2, n_workers: 0, use_flip: true}}
  val: {{mode: aligned, dataroot_HR: {root}/HR, max_dataset_size: 1}}
path: {{root: {root}}}
network_G: {{which_model_G: ppon, nf: 8, nb: 1}}
network_D: {{which_model_D: discriminator_vgg, nf: 8, G_arch: PPON}}
train:
  niter: 6
  manual_seed: 1
  lr_G: 1e-3
  lr_D: 1e-3
  lr_scheme: StepLR_Restart
  lr_step_sizes: [4, 2, 2]
  restart_weights: [1, 0.5]
  lr_gamma: 0.5
  pixel_criterion: l1
  pixel_weight: 1
  ms_criterion: multiscale-l1
  ms_weight: 1
  ssim_type: ms-ssim
  ssim_weight: 1
  hfen_criterion: l1
  hfen_weight: 1e-4
  gan_type: vanilla
  gan_weight: 5e-3
  ppon_stages: [2, 4]
  p1_losses: [pix]
  p2_losses: [pix-multiscale, ms-ssim]
  p3_losses: [hfen]
  val_freq: 3
  metrics: psnr
logger: {{print_freq: 1, save_checkpoint_freq: 2}}
"""
RESTARTS = ("lr_step_sizes", "restart_weights")


def options(root, **settings):
    photographs(root / "HR", 3)
    tree = yaml.safe_load(OPTIONS.format(root=root))
    tree["train"] |= settings
    return write(root / "o.yml", tree)


def moved(before, after):
    """The top modules of G, and D, whose weights changed."""
    changed = [key for key in before if not torch.equal(before[key], after[key])]
    return {key.split(".")[1] if key.startswith("G.") else "D" for key in changed}


def test_each_stage_trains_its_modules_and_nothing_else(tmp_path):
    run = make(options(tmp_path))
    batches, loop = run.loop.data(0), run.loop
    stages = []
    for _ in range(6):
        before = weights(run)
        loop.iterate([loop.on_device(next(batches))])
        stages.append((loop.phase.name, moved(before, weights(run)), set(loop.meter.flush())))
    run.close()
    judged = {"l_g_gan", "l_d_real", "l_d_fake", "D_real", "D_fake"}
    assert stages == [
        *[("content", {"CFEM", "CRM"}, {"pix-l1"})] * 2,
        *[("structure", {"SFEM", "SRM"}, {"pix-multiscale-l1", "ms-ssim"})] * 2,
        *[("perceptual", {"PFEM", "PRM", "D"}, {"hfen-l1", *judged})] * 2,
    ]
    rates = [run.loop.players["G"].rates(step)[0] for step in range(6)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 1e-3, 5e-4, 5e-4]), "each stage begins with its own rate"


@pytest.mark.parametrize(
    ("stages", "names"),
    [
        ([0, 0], ["perceptual"]),
        ([0, 1000], ["structure"]),
        ([1000, 1000], ["content"]),
        ([3, 3], ["content", "perceptual"]),
    ],
)
def test_stages_that_are_left_out(tmp_path, stages, names):
    run = make(options(tmp_path, ppon_stages=stages, lr_scheme="MultiStepLR", lr_steps=[4], **dict.fromkeys(RESTARTS)))
    run.close()
    assert [phase.name for phase in run.loop.phases.phases] == names
    assert run.loop.phases.phases[0].start == 0


def test_a_stage_without_its_loss_is_told(tmp_path):
    with pytest.raises(OptionErrors, match="p3_losses: there is no loss 'contextual', only pix-l1, "):
        make(options(tmp_path, p3_losses=["contextual"]))
    with pytest.raises(OptionErrors, match="ppon_stages: expected two iterations that do not fall"):
        make(options(tmp_path, ppon_stages=[5, 3]))


def trained(root, *settings):
    """The weights after iteration 6 of a process."""
    more = [word for setting in settings for word in ("--set", setting)]
    done = python("train.py", "-opt", root / "o.yml", *more)
    assert done.returncode == 0, done.stderr
    models = root / "experiments/p/models"
    return {f"{n}.{k}": v for n in "GD" for k, v in torch.load(models / f"6_{n}.pth").items()}


def test_killed_and_resumed_it_ends_in_the_same_bits(tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    options(tmp_path / "whole")
    whole = trained(tmp_path / "whole")
    path = options(tmp_path / "killed")
    states = tmp_path / "killed/experiments/p/training_state"
    longer = ("--set", "logger.save_checkpoint_freq=1", "--set", "train.niter=60")
    killed_after(states / "3.state", "train.py", "-opt", path, *longer)
    for file in states.glob("*.state"):
        if int(file.stem) > 4:
            file.unlink()
    assert equal(whole, trained(tmp_path / "killed", "path.resume_state=auto"))


def test_all_three_images_are_saved(tmp_path):
    path = options(tmp_path)
    train(path)
    written = {file.name for file in (tmp_path / "experiments/p/val_images/photo0").iterdir()}
    assert written == {
        f"photo0_{step}{tag}.png" for step in (3, 6) for tag in ("", "_content", "_structure", "_perceptual")
    }
    test = yaml.safe_load(OPTIONS.format(root=tmp_path))
    test = {key: test[key] for key in ("name", "model", "scale", "gpu_ids", "network_G")} | {
        "datasets": {"test_1": {"mode": "LR", "dataroot_LR": str(tmp_path / "HR")}},
        "path": {"root": str(tmp_path), "pretrain_model_G": str(tmp_path / "experiments/p/models/6_G.pth")},
        "ppon_phase": 1,
    }
    done = python("test.py", "-opt", write(tmp_path / "test.yml", test))
    assert done.returncode == 0, done.stderr
    results = tmp_path / "results/p/test_1"
    assert len([*results.iterdir()]) == 12
    images = {tag: (results / f"photo0{tag}.png").read_bytes() for tag in ("", "_content", "_structure", "_perceptual")}
    assert images[""] == images["_content"] != images["_structure"]
    assert images["_structure"] != images["_perceptual"]
