import copy
import inspect

import pytest
import torch
from torch import nn

from darkroom.optim.clipping import AutoClip, ClipNorm, ClipValue
from darkroom.optim.optimizers import OPTIMIZERS

RATES = {
    "sgd": 1e-2,
    "sgdp": 1e-2,
    "madgrad": 1e-2,
    "lion": 2e-2,
    "prodigy": 1.0,
    "ranger": 5e-2,
    "schedulefree_sgd": 1e-1,
}


def gradients(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in ((3, 4), (5,), ())]


def total_norm(grads):
    return torch.linalg.vector_norm(torch.cat([g.flatten() for g in grads]))


def test_the_optimizers_that_there_are():
    assert set(OPTIMIZERS) == {
        *("adam", "adamw", "sgd", "rmsprop", "adamp", "sgdp", "madgrad"),
        *("ranger", "lion", "adan", "prodigy"),
        *("schedule_free", "schedulefree_adamw", "schedulefree_sgd"),
    }
    for name in OPTIMIZERS:
        first, *rest = inspect.signature(OPTIMIZERS[name]).parameters.values()
        assert first.name == "params"
        assert all(p.default is not inspect.Parameter.empty for p in rest), name


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_it_finds_the_minimum_of_a_bowl(name):
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(12))  # Ranger centres the gradients of matrices
    goal = torch.randn(12)
    optimizer = OPTIMIZERS[name]([weight], lr=RATES.get(name, 2e-2))
    depths = []
    for _ in range(150):
        optimizer.zero_grad()
        depth = (weight - goal).square().sum()
        depth.backward()
        optimizer.step()
        depths.append(float(depth.detach()))
    assert depths[-1] < 0.3 * depths[0]
    assert depths[5] < depths[1] < depths[0], "the first steps go uphill"


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_it_resumes_from_its_state(name):
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(4, 3))
    steps = torch.randn(6, 4, 3)
    optimizer = OPTIMIZERS[name]([{"params": [weight]}], weight_decay=1e-2)
    for step in steps[:3]:
        weight.grad = step.clone()
        optimizer.step()
    twin = nn.Parameter(weight.detach().clone())
    resumed = OPTIMIZERS[name]([{"params": [twin]}], weight_decay=1e-2)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    before = weight.detach().clone()
    for step in steps[3:]:
        for parameter, each in ((weight, optimizer), (twin, resumed)):
            parameter.grad = step.clone()
            each.step()
    torch.testing.assert_close(twin, weight, rtol=0, atol=0)
    assert not torch.equal(weight, before)


def one_step(name, **options):
    weight = nn.Parameter(torch.tensor([2.0, -1.0]))
    weight.grad = torch.tensor([0.5, -0.1])
    optimizer = OPTIMIZERS[name]([weight], **options)
    optimizer.step()
    return (weight.detach() - torch.tensor([2.0, -1.0])).tolist(), optimizer


def test_options_reach_the_rule():
    """First steps in closed form; decoupled decay is relative to the weight, coupled decay is part of the gradient."""
    moved, _ = one_step("adam", lr=0.1, eps=0.5)
    assert moved == pytest.approx([-0.1 * 0.5 / 1.0, 0.1 * 0.1 / 0.6])
    moved, _ = one_step("adamw", lr=0.1, eps=0.0, weight_decay=0.2)
    assert moved == pytest.approx([-0.1 - 0.1 * 0.2 * 2, 0.1 + 0.1 * 0.2 * 1])
    moved, _ = one_step("sgd", lr=0.1, momentum=0.5, nesterov=True, weight_decay=0.2)
    assert moved == pytest.approx([-0.1 * 1.5 * (0.5 + 0.4), 0.1 * 1.5 * (0.1 + 0.2)])
    moved, _ = one_step("rmsprop", lr=0.1, alpha=0.75, eps=0.0)
    assert moved == pytest.approx([-0.1 / 0.5, 0.1 / 0.5])
    moved, _ = one_step("lion", lr=0.1, weight_decay=0.2)
    assert moved == pytest.approx([-0.1 - 0.1 * 0.2 * 2, 0.1 + 0.1 * 0.2 * 1])
    _, optimizer = one_step("ranger", alpha=0.25, k=3, betas=(0.8, 0.9))
    assert {key: optimizer.defaults[key] for key in ("alpha", "k", "betas")} == {
        "alpha": 0.25,
        "k": 3,
        "betas": (0.8, 0.9),
    }
    _, optimizer = one_step("adamp", delta=0.3, wd_ratio=0.7, betas=(0.5, 0.6))
    assert [optimizer.defaults[key] for key in ("delta", "wd_ratio", "betas")] == [0.3, 0.7, (0.5, 0.6)]


def test_torchs_run_in_batches_of_tensors():
    for name in ("adam", "adamw", "sgd", "rmsprop"):
        parameters = (nn.Parameter(torch.zeros(2)) for _ in range(2))
        group = OPTIMIZERS[name](parameters).param_groups[0]
        assert group["foreach"] is True
        assert len(group["params"]) == 2, "an iterator was used up"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_torchs_run_fused_on_a_gpu():
    for name in ("adam", "adamw", "sgd"):
        weight = nn.Parameter(torch.zeros(2, device="cuda"))
        assert OPTIMIZERS[name]([{"params": [weight]}]).param_groups[0]["fused"] is True
        mixed = OPTIMIZERS[name]([weight, nn.Parameter(torch.zeros(2))]).param_groups[0]
        assert mixed["foreach"] is True


# Clipping


@pytest.mark.parametrize("threshold", [0.5, 100.0])
def test_clip_norm_is_torchs(threshold):
    ours, theirs = gradients(), [nn.Parameter(torch.zeros_like(g)) for g in gradients()]
    for parameter, gradient in zip(theirs, gradients(), strict=True):
        parameter.grad = gradient
    torch.nn.utils.clip_grad_norm_(theirs, threshold)
    ClipNorm(threshold)(ours, total_norm(ours))
    torch.testing.assert_close(ours, [p.grad for p in theirs])
    assert float(total_norm(ours)) <= max(threshold, 0) or threshold == 100


def test_clip_value_cuts_each_element():
    ours = gradients()
    ClipValue(0.5)(ours, total_norm(ours))
    torch.testing.assert_close(ours, [g.clamp(-0.5, 0.5) for g in gradients()])
    assert any((g.abs() > 0.5).any() for g in gradients())


def test_auto_clip_takes_the_percentile_of_the_last_norms():
    generator = torch.Generator().manual_seed(0)
    clip, history = AutoClip(25.0, window=6), []
    for size in torch.rand(15, generator=generator).tolist():
        grads = [size * g for g in gradients()]
        norm = total_norm(grads)
        history.append(norm)
        clip(grads, norm)
        threshold = torch.quantile(torch.stack(history[-6:]), 0.25)
        torch.testing.assert_close(total_norm(grads), torch.minimum(norm, threshold), rtol=1e-5, atol=1e-6)


def test_auto_clip_forgets_what_is_not_finite_and_resumes():
    clip, resumed = AutoClip(50.0, window=8), AutoClip(50.0, window=8)
    for norm in (3.0, float("inf"), 1.0, float("nan"), 2.0):
        clip([torch.ones(1)], torch.tensor(norm))
    resumed.load_state_dict(clip.state_dict())
    for each in (clip, resumed):
        grads = [torch.tensor([6.0, 8.0])]
        each(grads, torch.tensor(10.0))
        torch.testing.assert_close(grads[0], torch.tensor([6.0, 8.0]) * 2.5 / 10)


@pytest.mark.parametrize("name", ["schedulefree_adamw", "schedulefree_sgd"])
def test_the_weights_to_judge_by_are_those_of_the_library(name):
    from darkroom.optim.schedule_free import ScheduleFreeWeights

    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 3))
    optimizer = OPTIMIZERS[name](network.parameters(), lr=0.05)
    average = ScheduleFreeWeights({"G": network}, {"G": optimizer})
    assert not average.started
    for _ in range(5):
        optimizer.zero_grad()
        network(torch.rand(2, 1, 9, 9)).square().mean().backward()
        optimizer.step()
        before = copy.deepcopy(network.state_dict())
        found = {k: v.clone() for k, v in average.networks["G"].state_dict().items()}
        assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items()), "looking changes nothing"
    twin = copy.deepcopy(network)
    other = OPTIMIZERS[name](twin.parameters(), lr=0.05)
    other.load_state_dict(optimizer.state_dict())
    other.eval()
    assert average.started
    assert not torch.equal(found["0.weight"], before["0.weight"])
    torch.testing.assert_close(found, dict(twin.state_dict()))


def test_thresholds_are_positive():
    for bad in (lambda: ClipNorm(0.0), lambda: ClipValue(-1.0), lambda: AutoClip(101.0), lambda: AutoClip(10.0, 0)):
        with pytest.raises(ValueError, match="expected"):
            bad()
