"""SFTGAN's networks and losses, and PPON's structural loss, against computations written out here."""

import inspect
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from darkroom.archs import ARCHS
from darkroom.archs.segmentation import OutdoorSceneSeg
from darkroom.archs.sft import SFTNet
from darkroom.archs.sft_discriminator import ACDiscriminator
from darkroom.core.network import Network
from darkroom.core.terms import LOSSES

TINY = {"nf": 6, "nb": 2, "classes": 3, "cond_nc": 4, "cond_nf": 5}
TINY_SEG = {"nf": 4, "blocks": (1, 2, 1, 1), "classes": 3}


def scene(scale=4, classes=3, size=(7, 5)):
    torch.manual_seed(1)
    height, width = (scale * side for side in size)
    return torch.rand(2, 3, *size), (5 * torch.rand(2, classes, height, width)).softmax(1)


def shaken(network):
    """With weights that let every part show in the output."""
    torch.manual_seed(0)
    for p in network.parameters():
        nn.init.normal_(p, std=1.2 / math.sqrt(p[0].numel()) if p.ndim > 1 else 0.2)
    return network


# SFT-Net


def by_hand(state, x, maps, version):
    """The network of two blocks, scale 4, as the paper (``torch``) or the later code (``pytorch``) has it."""
    conv = lambda t, key, padding=0, stride=1: F.conv2d(  # noqa: E731
        t, state[f"{key}.weight"], state[f"{key}.bias"], stride, padding
    )
    slope, more = (0.1, 1) if version == "pytorch" else (0.01, 0)
    cond = conv(maps, "CondNet.0", stride=4)
    for n in (2, 4, 6, 8):
        cond = conv(F.leaky_relu(cond, 0.1), f"CondNet.{n}")

    def sft(t, key):
        gamma, beta = (
            conv(F.leaky_relu(conv(cond, f"{key}.SFT_{what}_conv0"), slope), f"{key}.SFT_{what}_conv1")
            for what in ("scale", "shift")
        )
        return t * (gamma + more) + beta

    shallow = t = conv(x, "conv0", 1)
    for key in ("sft_branch.0", "sft_branch.1"):
        if version == "pytorch":
            inner = conv(sft(t, f"{key}.sft0"), f"{key}.conv0", 1).relu()
            t = t + conv(sft(inner, f"{key}.sft1"), f"{key}.conv1", 1)
        else:
            inner = conv(sft(t, f"{key}.sft0").relu(), f"{key}.conv0", 1)
            t = t + conv(sft(inner, f"{key}.sft1").relu(), f"{key}.conv1", 1)
    t = shallow + conv(sft(t, "sft_branch.2"), "sft_branch.3", 1)
    for n in (0, 3):
        if version == "pytorch":
            t = F.pixel_shuffle(conv(t, f"HR_branch.{n}", 1), 2).relu()
        else:
            t = conv(t.repeat_interleave(2, 2).repeat_interleave(2, 3), f"HR_branch.{n + 1}", 1).relu()
    return conv(conv(t, "HR_branch.6", 1).relu(), "HR_branch.8", 1)


@pytest.mark.parametrize("version", ["pytorch", "torch"])
def test_sft_net_is_what_its_version_says(version):
    network, (x, maps) = shaken(SFTNet(**TINY, version=version)), scene()
    with torch.no_grad():
        expected = by_hand(network.state_dict(), x, maps, version)
        torch.testing.assert_close(network(x, maps), expected, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(network(x, maps.flip(1)), expected, atol=1e-2)


@pytest.mark.parametrize("name", ["sft_net", "sft_arch", "sft_net_torch"])
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_sft_net_is_recognised_with_its_version(name, scale):
    network = shaken(ARCHS[name](**TINY, in_nc=3, out_nc=2, scale=scale))
    found = SFTNet.recognise(network.to_public(network.state_dict()))
    assert found == {
        **TINY,
        "in_nc": 3,
        "out_nc": 2,
        "scale": scale,
        "version": "torch" if name == "sft_net_torch" else "pytorch",
    }
    again = SFTNet(**found)
    again.load_state_dict(again.from_public(network.to_public(network.state_dict())))
    x, maps = scene(scale)
    with torch.no_grad():
        y = network(x, maps)
        assert y.shape == (2, 2, 7 * scale, 5 * scale)
        assert torch.equal(again(x, maps), y)


def test_sft_net_is_not_taken_for_another_nor_another_for_it():
    ours = SFTNet(**TINY).state_dict()
    others = [c for name in ARCHS if inspect.isclass(c := ARCHS[name]) and c is not SFTNet and issubclass(c, Network)]
    assert len(others) > 8
    for cls in others:
        assert cls.recognise(ours) is None, cls
    small = {"nf": 8, "nb": 1, "num_conv": 1, "unf": 8, "size": 16}
    for name in ("esrgan", "mrrdb_net", "srgan", "msrresnet", "compact", "espcn", "ppon", "pan", "a2n", "dis_acd"):
        known = inspect.signature(ARCHS[name]).parameters
        network = ARCHS[name](**{key: value for key, value in small.items() if key in known})
        assert SFTNet.recognise(network.to_public(network.state_dict())) is None, name


@pytest.mark.parametrize("version", ["pytorch", "torch"])
def test_sft_net_begins_near_what_it_is_without_maps(version):
    """As at first nothing is known of the maps, they must not matter much, and the image must come through."""
    torch.manual_seed(0)
    network = SFTNet(**{**TINY, "nf": 32}, version=version)
    (x, maps), (y, _) = scene(), (torch.rand(2, 3, 7, 5), None)
    with torch.no_grad():
        image = network(x, maps)
        by_maps, by_image = (network(x, maps.flip(1)) - image).std(), (network(y, maps) - image).std()
    assert by_image > 20 * by_maps > 0
    features = torch.rand(1, 32, 7, 5)
    with torch.no_grad():
        passed = network.sft_branch[-2](features, torch.zeros(1, 4, 7, 5))
    torch.testing.assert_close(passed, features)


def test_maps_of_another_size_are_refused():
    x, maps = scene()
    with pytest.raises(ValueError, match="as large as the enlarged image, 28 x 20, found 28 x 16"):
        SFTNet(**TINY)(x, maps[..., :16])


# The segmentation network


def test_segmentation_sees_bgr_less_its_mean():
    network = shaken(OutdoorSceneSeg(**TINY_SEG)).eval()
    torch.manual_seed(2)
    image = torch.rand(2, 3, 16, 24)
    seen = torch.stack([255 * image[:, 2] - 103.939, 255 * image[:, 1] - 116.779, 255 * image[:, 0] - 123.68], 1)
    with torch.no_grad():
        logits = network.deconv(network.feature(seen))
        found = network(image)
    torch.testing.assert_close(found, logits.exp() / logits.exp().sum(1, keepdim=True))
    assert found.std() > 0.01


def test_segmentation_has_an_answer_for_each_pixel_of_any_image():
    network = shaken(OutdoorSceneSeg(**TINY_SEG)).eval()
    image = torch.rand(1, 3, 24, 16)
    mirrored = torch.cat([image[..., :19, :], image[..., 13:18, :].flip(2)], 2)
    with torch.no_grad():
        part = network(image[..., :19, :13])
        whole = network(torch.cat([mirrored[..., :13], mirrored[..., 9:12].flip(3)], 3))
    assert part.shape == (1, 3, 19, 13)
    torch.testing.assert_close(part, whole[..., :19, :13])
    torch.testing.assert_close(part.sum(1), torch.ones(1, 19, 13))


def test_the_published_segmentation_network_has_a_stride_of_8_and_101_layers():
    with torch.device("meta"):
        network = OutdoorSceneSeg()
    main = [m for name, m in network.named_modules() if isinstance(m, nn.Conv2d) and "proj" not in name]
    assert len(main) == 3 + 3 * (3 + 4 + 23 + 3) + 2  # the stem has 3 for ResNet's one, the head 2 for its last layer
    assert math.prod(m.stride[0] for m in main) * 2 == network.deconv.stride[0] == 8
    assert sum(p.numel() for p in network.parameters()) == 52068296


# All of them


def made():
    x, maps = scene()
    image = torch.rand(2, 3, 40, 48)
    return {
        "sft_net": (SFTNet(**TINY), (x, maps)),
        "sft_net_torch": (SFTNet(**TINY, version="torch"), (x, maps)),
        "outdoor_scene_seg": (OutdoorSceneSeg(**TINY_SEG), (image,)),
    }


@pytest.mark.parametrize("name", ["sft_net", "sft_net_torch", "outdoor_scene_seg"])
def test_every_parameter_learns_and_bfloat16_stays_near(name):
    torch.manual_seed(0)
    network, given = made()[name]
    (network.train()(*given) - 0.3).square().sum().backward()
    idle = [
        n for n, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()
    ]
    assert idle == []
    shaken(network).eval()
    with torch.no_grad():
        exact = network(*given)
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(*given)
    torch.testing.assert_close(rough.float(), exact, rtol=0.05, atol=0.05 * exact.abs().max().item())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sft_net", {"scale": 1}, "scale to be 2, 3, 4 or 8, found 1"),
        ("sft_net", {"scale": 5}, "found 5"),
        ("sft_net", {"version": "lua"}, "pytorch or torch, found 'lua'"),
        ("dis_acd", {"size": 15}, "16 or more, found 15"),
        ("outdoor_scene_seg", {"blocks": (3, 4, 0, 3)}, r"four numbers of 1 or more, found \[3, 4, 0, 3\]"),
    ],
)
def test_bad_options_say_what_was_expected(name, options, message):
    with pytest.raises(ValueError, match=message):
        ARCHS[name](**options)


# The discriminator


@pytest.mark.parametrize("size", [16, 50])
def test_discriminator_of_any_size_has_two_heads_on_one_trunk(size):
    critic = ACDiscriminator(size, nf=4, classes=3, hidden=5).eval()
    score, logits = critic(torch.rand(2, 3, size, size))
    assert (score.shape, logits.shape) == ((2, 1), (2, 3))
    score.sum().backward(retain_graph=True)
    assert all(p.grad is None for p in critic.cls.parameters())
    assert all(p.grad is not None for p in (*critic.gan.parameters(), *critic.feature.parameters()))
    frozen = [
        name
        for stage in critic.stages()
        for path in stage
        for name, _ in critic.get_submodule(path).named_parameters(path)
    ]
    assert frozen == [name for name, _ in critic.named_parameters() if name.startswith("feature")]
    with pytest.raises(ValueError, match=rf"{size} x {size}.*found {size} x {size + 1}"):
        critic(torch.rand(1, 3, size, size + 1))


# The adversarial loss

CATEGORY = torch.tensor([2, 0, 1, 2])
JUDGE = {
    "vanilla": lambda x, real: math.log1p(math.exp(-x if real else x)),
    "lsgan": lambda x, real: (x - real) ** 2,
    "hinge": lambda x, real: max(0.0, 1 - x if real else 1 + x),
    "wgan": lambda x, real: -x if real else x,
}


def judged_images():
    """(scores, logits) in the place of fake and real images, for a critic that returns what it is given."""
    generator = torch.Generator().manual_seed(4)
    return [
        tuple(torch.randn(4, n, generator=generator, dtype=torch.float64, requires_grad=True) for n in (1, 3))
        for _ in range(2)
    ]


def cross_entropy(logits, category):
    """Of the images that are not background, one by one."""
    parts = [
        math.log(sum(math.exp(v) for v in row)) - row[c]
        for row, c in zip(logits.tolist(), category.tolist(), strict=True)
        if c
    ]
    return sum(parts) / len(parts)


@pytest.mark.parametrize("mode", JUDGE)
def test_acd_is_the_standard_form_and_the_cross_entropy_without_background(mode):
    fake, real = judged_images()
    loss, judge = LOSSES["acd"](mode), JUDGE[mode]
    mean = lambda side, is_real: sum(judge(x, is_real) for x in side[0].flatten().tolist()) / 4  # noqa: E731
    verdict = loss.discriminator(lambda x: x, fake, real, CATEGORY)
    expected = {
        "l_d_real": mean(real, True),
        "l_d_fake": mean(fake, False),
        "l_d_cls_real": cross_entropy(real[1], CATEGORY),
        "l_d_cls_fake": cross_entropy(fake[1], CATEGORY),
    }
    raw = {"D_real": float(real[0].detach().mean()), "D_fake": float(fake[0].detach().mean())}
    known = [n for n, label in enumerate(CATEGORY.tolist()) if label]
    right = sum(int(real[1][n].argmax()) == int(CATEGORY[n]) for n in known)
    found = {name: float(value) for name, value in verdict.figures.items()}
    assert found.pop("D_accuracy") == pytest.approx(right / len(known))
    assert found == pytest.approx({**expected, **raw}, rel=1e-12)
    assert not any(value.requires_grad for value in verdict.figures.values())
    assert float(verdict.loss.detach()) == pytest.approx(sum(expected.values()), rel=1e-12)
    fooled = -raw["D_fake"] if mode == "hinge" else mean(fake, True)
    generator = loss.generator(lambda x: x, fake, real, CATEGORY)
    assert float(generator.figures["l_g_cls"]) == pytest.approx(expected["l_d_cls_fake"], rel=1e-12)
    assert float(generator.loss.detach()) == pytest.approx(fooled + expected["l_d_cls_fake"], rel=1e-12)
    slopes = torch.autograd.grad(verdict.loss, (*fake, *real))
    assert all(slope.any() for slope in slopes[1::2])
    assert not slopes[1][1].any(), "the background image teaches a class"


def test_acd_of_background_only_has_no_class_loss():
    fake, real = judged_images()
    loss, nothing = LOSSES["acd"](), torch.zeros(4, dtype=torch.int64)
    verdict = loss.discriminator(lambda x: x, fake, real, nothing)
    assert verdict.figures["l_d_cls_real"] == verdict.figures["l_d_cls_fake"] == 0
    assert torch.autograd.grad(verdict.loss, real[1])[0].abs().sum() == 0


def test_acd_with_gradient_penalty_is_of_the_scores():
    torch.manual_seed(0)
    w = torch.tensor([3.0, -1.0, 2.0, 0.5], requires_grad=True)
    critic = lambda x: ((x * w).sum(1, keepdim=True), 1e6 * x[:, :3])  # noqa: E731
    fake, real = torch.rand(4, 4), torch.rand(4, 4)
    verdict = LOSSES["acd"]("wgan-gp", gp_weight=2.0).discriminator(critic, fake, real, CATEGORY)
    expected = 2 * (float(w.detach().norm()) - 1) ** 2
    assert float(verdict.figures["l_d_gp"]) == pytest.approx(expected, rel=1e-5)
    parts = [v for name, v in verdict.figures.items() if name.startswith("l_d_")]
    assert float(verdict.loss.detach()) == pytest.approx(float(sum(parts)), rel=1e-5)
    with pytest.raises(ValueError, match="gp_weight: only mode wgan-gp"):
        LOSSES["acd"]("lsgan", gp_weight=1.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_acd_in_half_precision_is_computed_wider(dtype):
    fake, real = ([t.detach().to(dtype) for t in side] for side in judged_images())
    loss = LOSSES["acd"]()
    half = loss.discriminator(lambda x: x, tuple(fake), tuple(real), CATEGORY).loss
    wide = loss.discriminator(
        lambda x: x, tuple(t.float() for t in fake), tuple(t.float() for t in real), CATEGORY
    ).loss
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, wide)


def test_a_critic_without_classes_is_refused():
    images = torch.rand(2, 3, 8, 8)
    with pytest.raises(ValueError, match="scores and class logits, such as dis_acd"):
        LOSSES["acd"]().generator(lambda x: x.mean((1, 2, 3)), images, images, CATEGORY[:2])


def test_the_auxiliary_head_learns_its_classes():
    """Of noise in three tints, judged beside grey fakes; images without a class are among them."""
    torch.manual_seed(0)
    category = torch.tensor([0, 1, 2, 1, 2, 0, 1, 2])
    tints = torch.tensor([[0.0, 0.0, 0.0], [0.4, 0.0, 0.0], [0.0, 0.0, 0.4]])
    real = torch.rand(8, 3, 16, 16) * 0.6 + tints[category][..., None, None]
    fake = torch.full_like(real, 0.5)
    critic, loss = ACDiscriminator(16, nf=4, classes=3, hidden=8), LOSSES["acd"]()
    optimizer = torch.optim.Adam(critic.parameters(), 1e-2)
    figures = []
    for _ in range(15):
        verdict = loss.discriminator(critic, fake, real, category)
        optimizer.zero_grad()
        verdict.loss.backward()
        optimizer.step()
        figures.append(float(verdict.figures["l_d_cls_real"]))
    told = critic(real)[1].argmax(1)
    shown = category > 0
    assert torch.equal(told[shown], category[shown])
    assert figures[-1] < figures[0] / 4


# PPON's structural loss


def test_ms_ssim_per_channel_is_the_mean_of_the_channels_alone():
    torch.manual_seed(3)
    x = torch.rand(2, 3, 40, 48, dtype=torch.float64)
    noise = torch.tensor([0.1, 0.4, 0.8]).reshape(1, 3, 1, 1)
    y = x * (1 - noise) + noise * torch.rand_like(x)
    options = {"shave": 0, "weights": (0.3, 0.3, 0.4)}
    loss, alone = LOSSES["ms-ssim"](**options, per_channel=True), LOSSES["ms-ssim"](**options)
    channels = torch.stack([alone(x[:, c : c + 1], y[:, c : c + 1]) for c in range(3)])
    torch.testing.assert_close(loss(x, y), channels.mean())
    assert abs(loss(x, y) - alone(x, y)) > 1e-4
