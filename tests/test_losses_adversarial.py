import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from darkroom.losses.adversarial import GAN, batch_mean, gradient_penalty


def scores_themselves(scores):
    return scores


def pair_of_scores(shape=(4, 1), seed=1):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64) * 1.5 for _ in range(2))


JUDGE = {
    "vanilla": lambda x, real: math.log1p(math.exp(-x if real else x)),
    "lsgan": lambda x, real: (x - real) ** 2,
    "hinge": lambda x, real: max(0.0, 1 - x if real else 1 + x),
    "wgan": lambda x, real: -x if real else x,
}


def mean_of(judge, scores, real):
    return sum(judge(x, real) for x in scores) / len(scores)


@pytest.mark.parametrize("mode", JUDGE)
def test_standard_form(mode):
    fake, real = pair_of_scores()
    judge, loss = JUDGE[mode], GAN(mode)
    fakes, reals = fake.flatten().tolist(), real.flatten().tolist()
    verdict = loss.discriminator(scores_themselves, fake, real)
    on_real, on_fake = mean_of(judge, reals, True), mean_of(judge, fakes, False)
    share = 1 if mode in ("hinge", "wgan") else 0.5
    expected = {"l_d_real": on_real, "l_d_fake": on_fake, "D_real": sum(reals) / 4, "D_fake": sum(fakes) / 4}
    assert {name: float(value) for name, value in verdict.figures.items()} == pytest.approx(expected, rel=1e-12)
    assert float(verdict.loss) == pytest.approx(share * (on_real + on_fake), rel=1e-12)
    fooled = -sum(fakes) / 4 if mode == "hinge" else mean_of(judge, fakes, True)
    assert float(loss.generator(scores_themselves, fake, real)) == pytest.approx(fooled, rel=1e-12)


@pytest.mark.parametrize("mode", JUDGE)
def test_relativistic_form_compares_with_the_mean_of_the_other_side(mode):
    """Jolicoeur-Martineau 2018: with the average form, hinge has its margins on both sides in both turns."""
    fake, real = pair_of_scores()
    judge, loss = JUDGE[mode], GAN(mode, "relativistic")
    fakes, reals = fake.flatten().tolist(), real.flatten().tolist()
    more_fake = [x - sum(reals) / 4 for x in fakes]
    more_real = [x - sum(fakes) / 4 for x in reals]
    verdict = loss.discriminator(scores_themselves, fake, real)
    expected = (mean_of(judge, more_real, True) + mean_of(judge, more_fake, False)) / 2
    assert float(verdict.loss) == pytest.approx(expected, rel=1e-12)
    expected = (mean_of(judge, more_real, False) + mean_of(judge, more_fake, True)) / 2
    assert float(loss.generator(scores_themselves, fake, real)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("mode", "form"), [*itertools.product(JUDGE, ("standard", "relativistic"))])
def test_scales_are_summed_and_of_feature_lists_the_last_is_the_score(mode, form):
    shapes = ((2, 1, 4, 4), (2, 1, 2, 2))
    fakes, reals = zip(*(pair_of_scores(shape, seed) for seed, shape in enumerate(shapes)), strict=True)
    loss = GAN(mode, form)
    single = [loss.discriminator(scores_themselves, f, r) for f, r in zip(fakes, reals, strict=True)]
    fooled = sum(loss.generator(scores_themselves, f, r) for f, r in zip(fakes, reals, strict=True))
    with_maps = [[[torch.rand(3), t] for t in side] for side in (fakes, reals)]
    for fake, real in ((list(fakes), list(reals)), with_maps):
        verdict = loss.discriminator(scores_themselves, fake, real)
        torch.testing.assert_close(verdict.loss, sum(v.loss for v in single))
        torch.testing.assert_close(verdict.figures["D_fake"], sum(v.figures["D_fake"] for v in single) / 2)
        torch.testing.assert_close(loss.generator(scores_themselves, fake, real), fooled)


def test_labels():
    fake, real = pair_of_scores()
    loss = GAN("lsgan", real_label=0.9, fake_label=0.1)
    figures = loss.discriminator(scores_themselves, fake, real).figures
    torch.testing.assert_close(figures["l_d_real"], ((real - 0.9) ** 2).mean())
    torch.testing.assert_close(figures["l_d_fake"], ((fake - 0.1) ** 2).mean())
    smoothed = GAN("vanilla", real_label=0.9).generator(scores_themselves, fake, real)
    torch.testing.assert_close(smoothed, (0.9 * F.softplus(-fake) + 0.1 * F.softplus(fake)).mean())


@pytest.mark.parametrize("mode", JUDGE)
def test_extreme_scores_stay_finite_in_half_precision(mode):
    fake, real = torch.tensor([[6e4], [-6e4]]).half().requires_grad_(), torch.tensor([[-6e4], [6e4]]).half()
    for form in ("standard", "relativistic"):
        loss = GAN(mode, form)
        value = loss.generator(scores_themselves, fake, real) + loss.discriminator(scores_themselves, fake, real).loss
        (gradient,) = torch.autograd.grad(value, fake)
        assert value.dtype == torch.float32
        assert value.isfinite()
        assert not gradient.isnan().any()


@pytest.mark.parametrize(("mode", "form"), [*itertools.product(JUDGE, ("standard", "relativistic"))])
def test_each_side_moves_its_player_the_right_way(mode, form):
    torch.manual_seed(0)
    critic = nn.Linear(3, 1)
    image, real = torch.randn(8, 3, requires_grad=True), torch.randn(8, 3)
    loss = GAN(mode, form)
    before = critic(image).mean()
    (up,) = torch.autograd.grad(loss.generator(critic, image, real), image)
    assert critic(image - 0.1 * up).mean() > before
    verdict = loss.discriminator(critic, image.detach(), real)
    gap = lambda: critic(real).mean() - critic(image).mean()  # noqa: E731
    before = gap()
    gradients = torch.autograd.grad(verdict.loss, list(critic.parameters()), allow_unused=True)
    with torch.no_grad():
        for parameter, gradient in zip(critic.parameters(), gradients, strict=True):
            parameter -= 0.01 * gradient
    assert gap() > before


def test_the_generators_side_looks_at_real_images_only_if_it_must_and_without_graph():
    calls = []

    def critic(image):
        calls.append(torch.is_grad_enabled())
        return image

    fake, real = pair_of_scores()
    GAN("vanilla", "standard").generator(critic, fake, real)
    assert calls == [True]
    GAN("vanilla", "relativistic").generator(critic, fake, real)
    assert calls == [True, True, False]


def test_gradient_penalty_of_a_linear_and_of_a_quadratic_critic():
    torch.manual_seed(0)
    fake, real = torch.randn(2, 3, 2, 4, 4, dtype=torch.float64)
    weight = torch.randn(2, 4, 4, dtype=torch.float64, requires_grad=True)
    penalty = gradient_penalty(lambda x: (x * weight).sum(dim=(1, 2, 3)), fake, real)
    torch.testing.assert_close(penalty, (weight.norm() - 1) ** 2)
    (slope,) = torch.autograd.grad(penalty, weight)
    torch.testing.assert_close(slope, (2 * (weight.norm() - 1) * weight / weight.norm()).detach())
    share = torch.tensor([0.0, 0.5, 1.0])
    between = torch.stack([real[0], (real[1] + fake[1]) / 2, fake[2]])
    expected = (2 * between.flatten(1).norm(dim=1) - 1).square().mean()
    torch.testing.assert_close(gradient_penalty(lambda x: x.square().sum(dim=(1, 2, 3)), fake, real, share), expected)


def test_gradient_penalty_of_scales_and_of_a_constant_critic():
    torch.manual_seed(0)
    fake, real = torch.randn(2, 3, 1, 4, 4)
    weight = torch.zeros(1, requires_grad=True)
    penalty = gradient_penalty(
        lambda x: [x.sum(dim=(1, 2, 3)) * weight, [x, x.mean(dim=(1, 2, 3)) * weight]], fake, real
    )
    penalty.backward()
    assert float(penalty.detach()) == 1.0
    assert weight.grad.isfinite().all()


def test_gradient_penalty_is_float32_under_autocast_and_reproducible():
    critic = nn.Conv2d(1, 1, 3)
    fake, real = torch.randn(2, 2, 1, 8, 8)
    torch.manual_seed(3)
    plain = gradient_penalty(critic, fake, real)
    torch.manual_seed(3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = gradient_penalty(critic, fake, real)
    torch.testing.assert_close(mixed, plain, rtol=0, atol=0)


def test_wgan_gp_is_wgan_with_ten_penalties_by_default():
    critic = nn.Linear(3, 1)
    fake, real = torch.randn(2, 4, 3)
    parts = {}
    for mode, weight in (("wgan", None), ("wgan-gp", None), ("wgan", 10.0), ("vanilla", 2.5)):
        torch.manual_seed(0)
        parts[mode, weight] = GAN(mode, gp_weight=weight).discriminator(critic, fake, real)
    penalty = float((critic.weight.detach().norm() - 1) ** 2)
    assert float((parts["wgan-gp", None].loss - parts["wgan", None].loss).detach()) == pytest.approx(
        10 * penalty, abs=1e-5
    )
    assert torch.equal(parts["wgan", 10.0].loss, parts["wgan-gp", None].loss)
    assert "l_d_gp" not in parts["wgan", None].figures
    assert float(parts["vanilla", 2.5].figures["l_d_gp"]) == pytest.approx(2.5 * penalty, abs=1e-5)


def test_unknown_modes_are_refused():
    for options in ({"mode": "ragan"}, {"form": "average"}, {"gp_weight": -1.0}):
        with pytest.raises(ValueError, match="expected"):
            GAN(**options)


def _one_of_two(rank, file, fake, real, out):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=file, rank=rank, world_size=2)
    critic = nn.Linear(3, 1)
    nn.init.constant_(critic.weight, 0.3)
    nn.init.constant_(critic.bias, 0.0)
    fake = fake[rank::2].clone().requires_grad_()
    loss = GAN("vanilla", "relativistic")
    total = loss.generator(critic, fake, real[rank::2]) + loss.discriminator(critic, fake, real[rank::2]).loss
    gradients = torch.autograd.grad(total, [fake, critic.weight])
    mean = batch_mean(fake.detach())
    torch.save([total.detach(), mean, *gradients], f"{out}.{rank}")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_two_processes_equal_one_with_the_whole_batch(tmp_path):
    torch.manual_seed(0)
    fake, real = torch.randn(2, 6, 3)
    init = (tmp_path / "init").as_uri()
    torch.multiprocessing.spawn(_one_of_two, (init, fake, real, str(tmp_path / "out")), nprocs=2)
    one, two = (torch.load(tmp_path / f"out.{rank}", weights_only=True) for rank in range(2))
    critic = nn.Linear(3, 1)
    nn.init.constant_(critic.weight, 0.3)
    nn.init.constant_(critic.bias, 0.0)
    fake.requires_grad_()
    loss = GAN("vanilla", "relativistic")
    total = loss.generator(critic, fake, real) + loss.discriminator(critic, fake, real).loss
    on_fake, on_critic = torch.autograd.grad(total, [fake, critic.weight])
    torch.testing.assert_close((one[0] + two[0]) / 2, total.detach())
    torch.testing.assert_close(one[1], fake.detach().mean())
    torch.testing.assert_close((one[3] + two[3]) / 2, on_critic)
    torch.testing.assert_close(torch.stack([one[2], two[2]], dim=1).flatten(0, 1) / 2, on_fake)


def test_batch_mean_alone_is_the_mean():
    x = torch.rand(3, 1, 2, 2)
    assert batch_mean(x) == x.mean()
