import math

import pytest
import torch

from darkroom.optim.schedules import SCHEDULES, Constant, Linear, MultiStep, Plateau, SWAAnneal, WarmUp

# Appendix A of the specification, restarts at the stated iteration and no rise after the end.
SEQUENCES = {
    "MultiStepLR": ({"milestones": (4, 8), "gamma": 0.1}, [1] * 4 + [0.1] * 4 + [0.01] * 4),
    "Linear": ({"fixed_niter": 4, "niter_decay": 4}, [1, 1, 1, 1, 0.75, 0.5, 0.25, 0, 0, 0]),
    "FlatCosineDecay": (
        {"fixed_niter": 4, "niter_decay": 4},
        [1, 1, 1, 1, 0.853553, 0.5, 0.146447, 0, 0, 0, 0],
    ),
    "StepLR": ({"step_size": 2, "gamma": 0.5}, [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125]),
    "StepLR_Restart": (
        {"step_sizes": (2, 2), "restarts": (5,), "restart_weights": (0.5,), "gamma": 0.5},
        [1, 1, 0.5, 0.5, 0.25, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.0625],
    ),
    "MultiStepLR_Restart": (
        {"milestones": (2, 4, 7), "restarts": (5, 8), "restart_weights": (0.8, 0.5), "gamma": 0.5, "rises": (10,)},
        [1, 1, 0.5, 0.5, 0.25, 0.8, 0.8, 0.4, 0.5, 0.5, 1],
    ),
    "CosineAnnealingLR": ({"T_max": 4, "eta_min": 0.2}, [1, 0.882843, 0.6, 0.317157, 0.2, 0.2, 0.2]),
    "CosineAnnealingLR_Restart": (
        {"T_period": (4, 2), "restarts": (4,), "restart_weights": (0.5,), "eta_min": 0.1},
        [1, 0.868198, 0.55, 0.231802, 0.5, 0.3, 0.1, 0.1, 0.1],
    ),
    "constant": ({}, [1, 1, 1]),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequence(name):
    options, expected = SEQUENCES[name]
    schedule = SCHEDULES[name](**options)
    assert [schedule(step, 1.0) for step in range(len(expected))] == pytest.approx(expected, abs=1e-6)
    if "eta_min" not in options:  # which is a rate, not a factor
        assert [schedule(step, 3e-4) / 3e-4 for step in range(len(expected))] == pytest.approx(expected, abs=1e-6)


def test_every_schedule_is_tested_here_under_both_names():
    assert set(SEQUENCES) | {"ReduceLROnPlateau"} == {n for n in SCHEDULES if n[0].isupper()} | {"constant"}
    native = {n for n in SCHEDULES if n[0].islower()} - {"constant"}
    assert {SCHEDULES[n] for n in native} == {SCHEDULES[n] for n in SCHEDULES if n[0].isupper()}


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("MultiStepLR", {"milestones": (3, 3, 9), "gamma": 0.3}, 15),
        ("StepLR", {"step_size": 4, "gamma": 0.7}, 15),
        ("CosineAnnealingLR", {"T_max": 12, "eta_min": 1e-3}, 13),
    ],
)
def test_torchs_schedulers_give_the_same(name, options, count):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4)
    theirs = getattr(torch.optim.lr_scheduler, name)(optimizer, **options)
    ours = SCHEDULES[name](**options)
    for step in range(count):
        assert ours(step, 0.4) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        theirs.step()


def test_warm_up_rises_to_the_schedule_and_leaves_no_trace():
    schedule = WarmUp(4, MultiStep((8,), 0.1))
    assert [schedule(s, 1.0) for s in range(10)] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 0.1, 0.1])
    over_decay = WarmUp(4, Linear(1, 4))
    assert over_decay(2, 1.0) == pytest.approx(0.75 * 0.5)
    assert [WarmUp(0, Constant())(s, 0.3) for s in range(2)] == [0.3, 0.3]


@pytest.mark.parametrize("strategy", ["cos", "linear"])
def test_swa_anneal_is_torchs_swalr(strategy):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4)
    theirs = torch.optim.swa_utils.SWALR(optimizer, swa_lr=0.05, anneal_epochs=6, anneal_strategy=strategy)
    ours = SWAAnneal(MultiStep((5,), 0.5), start=3, rate=0.05, anneal=6, strategy=strategy)
    assert [ours(s, 0.4) for s in range(3)] == [0.4] * 3
    for step in range(10):
        assert ours(3 + step, 0.4) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("mode", ["min", "max"])
def test_plateau_is_torchs_for_positive_metrics(mode):
    values = [20, 21, 21.001, 21, 20.5, 22, 22, 22, 22, 22.1, 21, 21, 21, 21]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode, factor=0.5, patience=2, threshold=1e-3)
    ours = Plateau("psnr", mode, factor=0.5, patience=2, threshold=1e-3)
    rates = []
    for step, value in enumerate(values):
        ours.observe(value)
        theirs.step(value)
        rates.append(ours(step, 0.4))
        assert rates[-1] == pytest.approx(optimizer.param_groups[0]["lr"])
    assert len(set(rates)) > 1


def test_plateau_before_the_first_validation_after_nan_below_zero_and_resumed():
    ours = Plateau("nll", "min", factor=0.5, patience=1, threshold=0.1)
    assert ours(1000, 0.4) == 0.4
    ours.observe(-2.0)
    for worse in (-1.9, math.nan):  # torch takes -1.9 for an improvement on -2
        ours.observe(worse)
    assert ours(0, 0.4) == pytest.approx(0.2)
    ours.observe(-2.1)  # not by a tenth
    resumed = Plateau("nll", "min", factor=0.5, patience=1, threshold=0.1)
    resumed.load_state_dict(ours.state_dict())
    for each in (ours, resumed):
        each.observe(-2.1)
    assert resumed(0, 0.4) == ours(0, 0.4) == pytest.approx(0.1)
    resumed.observe(-3.0)
    assert resumed.state_dict() == {"scale": 0.25, "best": -3.0, "bad": 0}


def test_options_that_do_not_fit_are_refused():
    wrong = [
        ("StepLR_Restart", {"step_sizes": (2,), "restarts": (5,)}, "expected 2 entries"),
        ("StepLR_Restart", {"step_sizes": (2, 0), "restarts": (5,)}, "at least 1"),
        ("CosineAnnealingLR_Restart", {"T_period": (2, 3), "restarts": ()}, "expected 1 entries"),
        ("MultiStepLR_Restart", {"milestones": (2,), "restarts": (5, 4)}, "rising"),
        ("MultiStepLR_Restart", {"milestones": (2,), "restarts": (4, 5), "restart_weights": (1.0,)}, "one for each"),
        ("StepLR", {"step_size": 0}, "at least 1"),
        ("CosineAnnealingLR", {"T_max": 0}, "at least 1"),
        ("ReduceLROnPlateau", {"mode": "up"}, "min or max"),
        ("ReduceLROnPlateau", {"factor": 1.5}, "between 0 and 1"),
    ]
    for name, options, message in wrong:
        with pytest.raises(ValueError, match=message):
            SCHEDULES[name](**options)
    with pytest.raises(ValueError, match="cos or linear"):
        SWAAnneal(Constant(), 0, 0.1, strategy="cosine")
