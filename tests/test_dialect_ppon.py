"""The options of PPON, old and new, as native sections."""

import pytest
from test_dialect import plain, translate

FILE = """
name: p
model: ppon
scale: 4
datasets:
  train: {{mode: aligned, dataroot_HR: hr, crop_size: 64, batch_size: 8}}
network_G: ppon
network_D: discriminator_vgg
train: {{{train}, pixel_criterion: l1, pixel_weight: 1, gan_type: vanilla, gan_weight: 5e-3}}
"""


def native(train):
    found, errors, notes = translate(FILE.format(train=train))
    return plain(found), errors, notes


def test_stages_and_losses_are_options_of_the_model():
    found, errors, notes = native(
        "niter: 900, ppon_stages: [300, 600], p1_losses: [pix], p2_losses: [ms-ssim], p3_losses: [fea]"
    )
    assert (errors, notes) == ([], [])
    assert found["model"] == {
        "type": "ppon", "ppon_stages": [300, 600], "p1_losses": ["pix"], "p2_losses": ["ms-ssim"], "p3_losses": ["fea"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("older", "stages", "iterations"),
    [
        ("train_phase: 1, phase1_s: 100, phase2_s: 150, phase3_s: 200", [100, 150], 200),
        ("train_phase: 3, phase1_s: -1, phase2_s: -1, phase3_s: 10000", [0, 0], 10000),
        ("train_phase: 2, phase1_s: -1, phase2_s: 70, phase3_s: 90", [0, 70], 90),
        ("train_phase: 1, phase1_s: 50, phase2_s: -1, phase3_s: 90", [50, 50], 90),
        ("niter: 60, phase1_s: 50, phase2_s: 60, phase3_s: -1", [50, 60], 60),
        ("niter: 60, phase1_s: 50, phase2_s: -1, phase3_s: -1", [50, 60], 60),
    ],
)
def test_older_keys(older, stages, iterations):
    found, errors, notes = native(older)
    assert (errors, notes) == ([], [])
    assert found["model"]["ppon_stages"] == stages
    assert found["train"]["iterations"] == iterations


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("niter: 9, train_phase: 4", "train_phase: expected 1, 2 or 3, found 4"),
        ("niter: 9, phase1_s: 4, ppon_stages: [1, 2]", "remove one of them"),
        ("niter: 9, ppon_stages: [1]", "ppon_stages: "),
    ],
)
def test_mistakes(keys, says):
    _, (error,), _ = native(keys)
    assert says in error


def test_the_schedule_restarts_where_stages_begin():
    keys = "niter: 900, ppon_stages: [300, 600], lr_scheme: StepLR_Restart, lr_step_sizes: [100, 50, 50], lr_gamma: 0.5"
    found, errors, notes = native(keys)
    assert (errors, notes) == ([], [])
    assert found["schedule"]["restarts"] == [300, 600]
    found, errors, (note,) = native(f"{keys}, restarts: [300, 500], restart_weights: [1, 1]")
    assert errors == []
    assert found["schedule"]["restarts"] == [300, 500]
    assert "restarts at [300, 500], but stages begin at [300, 600]" in note
