"""EdgeConnect: networks beside the test of all architectures, losses, and what is logged."""

import itertools
import math

import pytest
import torch
from conformance import GOLDEN, Case
from conformance.recipes import entries, entries_of, fill, inputs, state
from torch import nn
from torch.nn import functional as F

from darkroom.archs import ARCHS
from darkroom.archs.blocks import SpectralConv2d, SpectralNorm
from darkroom.archs.edgeconnect import EdgeGenerator, InpaintGenerator, SpectralConvTranspose2d
from darkroom.archs.edgeconnect_discriminator import EdgeConnectDiscriminator
from darkroom.archs.vgg import VGGFeatures
from darkroom.build.auto import recognisable
from darkroom.core.errors import WeightsError
from darkroom.core.terms import LOSSES
from darkroom.filters.edges import edge_accuracy, logged_mae, logged_psnr
from darkroom.inference.weights import identify, load_weights, save_weights
from darkroom.metrics import METRICS

MODES = ("nsgan", "lsgan", "hinge")
SMALL = {"nf": 4, "residual_blocks": 2}
CHANNELS = {"edge_generator": (3, 1), "inpaint_generator": (4, 3)}


def generator(name, **more):
    torch.manual_seed(0)
    network = ARCHS[name](**{**SMALL, **more})
    with torch.no_grad():  # the start is so small that inputs hardly matter
        for p in network.parameters():
            p.mul_(5).add_(torch.randn_like(p), alpha=0.1)
    return network


def discriminator(**more):
    torch.manual_seed(0)
    return EdgeConnectDiscriminator(**{"nf": 4, **more})


# Networks


@pytest.mark.parametrize("name", CHANNELS)
def test_generators_give_images_in_their_range(name):
    given, made = CHANNELS[name]
    network, x = generator(name).eval(), torch.rand(2, given, 24, 20)
    with torch.no_grad():
        y, one, moved = network(x), network(x[1:]), network(x.flip(-1))
        assert network(x[..., :23, :19]).shape == (2, made, 20, 16)
    assert y.shape == (2, made, 24, 20)
    assert network.multiple_of == 4
    assert 0 <= y.min() < y.max() <= 1
    assert not torch.allclose(y, moved)
    torch.testing.assert_close(one, y[1:])


@pytest.mark.parametrize("name", CHANNELS)
def test_all_weights_of_generators_learn(name):
    network = generator(name).train()
    (network(torch.rand(2, CHANNELS[name][0], 16, 16)) - 0.3).square().mean().backward()
    weights = {n: p.grad for n, p in network.named_parameters() if p.ndim > 1}
    assert len(weights) == 3 + 2 * 2 + 3
    assert [n for n, slope in weights.items() if slope is None or not slope.isfinite().all() or not slope.any()] == []


@pytest.mark.parametrize("name", CHANNELS)
def test_generators_in_bfloat16_stay_near(name):
    network, x = generator(name).eval(), torch.rand(1, CHANNELS[name][0], 16, 16)
    with torch.no_grad():
        exact = network(x)
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(x)
    torch.testing.assert_close(rough.float(), exact, rtol=0, atol=0.05)


def test_as_published_by_default():
    """Spectral norm in the generator of edges only, biases where it has none, N(0, 0.02) to begin with."""
    edge, inpaint = (ARCHS[name]() for name in CHANNELS)
    assert {len(network.middle) for network in (edge, inpaint)} == {8}
    assert sum(isinstance(m, SpectralNorm) for m in edge.modules()) == 3 + 2 * 8 + 2
    assert not any(isinstance(m, SpectralNorm) for m in inpaint.modules())
    assert edge.middle[0].conv_block[1].bias is None
    assert inpaint.middle[0].conv_block[1].bias is not None
    for weight in (edge.decoder[0].weight_orig, inpaint.encoder[4].weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.02)


@pytest.mark.parametrize(("spectral_norm", "in_nc"), [*itertools.product([True, False], [2, 3])])
def test_discriminator_gives_what_each_convolution_gives(spectral_norm, in_nc):
    network = discriminator(spectral_norm=spectral_norm, in_nc=in_nc).eval()
    assert network.get_feats
    x = torch.rand(2, in_nc, 40, 32)
    with torch.no_grad():
        (maps,) = network(x)
    assert [tuple(each.shape) for each in maps] == [
        (2, 4, 20, 16), (2, 8, 10, 8), (2, 16, 5, 4), (2, 32, 4, 3), (2, 1, 3, 2),
    ]  # fmt: skip
    for n, stride in enumerate((2, 2, 2, 1, 1)):
        conv = network.get_submodule(f"conv{n + 1}.0")
        weight, bias = (conv.weight(), None) if spectral_norm else (conv.weight, conv.bias)
        y = F.conv2d(x if n == 0 else maps[n - 1], weight, bias, stride, 1)
        torch.testing.assert_close(maps[n], y if n == 4 else torch.where(y > 0, y, 0.2 * y))


def test_three_judgements_before_one_gradient():
    """D sees real images, fakes, and fakes again for G; each time its norms iterate."""
    network = discriminator().train()
    fake = torch.rand(1, 3, 32, 32, requires_grad=True)
    judged = [network(x) for x in (torch.rand(1, 3, 32, 32), fake.detach(), fake)]
    verdict = LOSSES["judged"]()(judged[0], judged[1])
    slopes = torch.autograd.grad(verdict.loss, [*network.parameters()])
    LOSSES["fooled"]()(judged[2]).backward()
    assert all(slope.any() for slope in slopes)
    assert fake.grad.any()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (SpectralConvTranspose2d(6, 4, 4, 2, 1), nn.ConvTranspose2d(6, 4, 4, 2, 1)),
        (SpectralConv2d(6, 4, 3, padding=2, dilation=2, bias=False), nn.Conv2d(6, 4, 3, 1, 2, 2, bias=False)),
    ],
    ids=["transposed", "dilated"],
)
def test_spectral_norm_is_that_of_torch(ours, theirs):
    theirs = nn.utils.spectral_norm(theirs, dim=type(ours).outputs)
    assert entries_of(ours) == entries_of(theirs)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 6, 7, 9)
    for layer in (ours, theirs):
        (layer.train()(x) + layer(2 * x)).square().sum().backward()
    torch.testing.assert_close(ours.weight_orig.grad, theirs.weight_orig.grad)
    torch.testing.assert_close(ours.weight_v, theirs.weight_v)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


# Files


def published(network, parallel=False):
    """As EdgeConnect saves it; several GPUs put ``module.`` before every name."""
    prefix = "module." if parallel else ""
    given = {prefix + key: tensor for key, tensor in network.to_public(network.state_dict()).items()}
    if isinstance(network, EdgeConnectDiscriminator):
        return {"discriminator": given}
    return {"iteration": 2000000, "generator": given}


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("edge_generator", {}),
        ("edge_generator", {"spectral_norm": False, "residual_blocks": 1}),
        ("inpaint_generator", {"nf": 6}),
        ("inpaint_generator", {"in_nc": 5, "spectral_norm": True}),
    ],
    ids=str,
)
def test_published_generators_are_known_by_their_weights(tmp_path, name, options, parallel):
    network = generator(name, **options).eval()
    torch.save(published(network, parallel), tmp_path / "EdgeModel_gen.pth")
    found, arguments = identify(tmp_path / "EdgeModel_gen.pth", recognisable())
    defaults = {"in_nc": CHANNELS[name][0], "spectral_norm": name == "edge_generator"}
    assert arguments == {**SMALL, **defaults, **options}
    x = torch.rand(1, arguments["in_nc"], 16, 20)
    with torch.no_grad():
        assert torch.equal(found.eval()(x), network(x))
    torch.manual_seed(1)
    again = type(network)(**arguments)
    assert load_weights(again, tmp_path / "EdgeModel_gen.pth") == []
    assert all(
        torch.equal(a, b) for a, b in zip(again.state_dict().values(), network.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("spectral_norm", [True, False])
def test_published_discriminators_hold_their_first_convolution_twice(tmp_path, spectral_norm, suffix):
    network, path = discriminator(spectral_norm=spectral_norm).eval(), tmp_path / f"EdgeModel_dis{suffix}"
    public = network.to_public(network.state_dict())
    reference = nn.Module()
    reference.conv1 = reference.features = network.conv1
    for n in range(2, 6):
        reference.add_module(f"conv{n}", network.get_submodule(f"conv{n}"))
    assert entries(public) == entries(reference.state_dict())
    if suffix == ".pth":
        torch.save(published(network, parallel=True), path)
    else:
        save_weights(public, path)
    torch.manual_seed(1)
    other = EdgeConnectDiscriminator(nf=4, spectral_norm=spectral_norm).eval()
    assert load_weights(other, path) == []
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(other(x)[0][-1], network(x)[0][-1])


@pytest.mark.parametrize("network", [generator("edge_generator"), discriminator()], ids=["generator", "discriminator"])
def test_files_of_torch_04_hold_the_normalised_weight(tmp_path, network):
    """By torch's own reader of such files as the reference, layer by layer."""
    old = {}
    for key, tensor in network.to_public(network.state_dict()).items():
        old[key] = tensor
        if key.endswith("weight_orig"):
            layer = network.get_submodule(key.removesuffix(".weight_orig").replace("features.", "conv1."))
            old[key.removesuffix("_orig")] = layer.eval().weight().detach()
    old = {key: tensor for key, tensor in old.items() if not key.endswith("weight_v")}
    torch.save(old, tmp_path / "a.pth")
    torch.manual_seed(1)
    other = type(network)(**(SMALL if isinstance(network, EdgeGenerator) else {"nf": 4}))
    assert load_weights(other, tmp_path / "a.pth") == []
    layers = {path: layer for path, layer in other.named_modules() if isinstance(layer, SpectralNorm)}
    assert layers
    for path, layer in layers.items():
        made, given, *kernel = layer.weight_orig.transpose(0, layer.outputs).shape
        kind = nn.ConvTranspose2d if layer.outputs else nn.Conv2d
        theirs = nn.utils.spectral_norm(kind(given, made, kernel[0], bias=layer.bias is not None), dim=layer.outputs)
        theirs.load_state_dict(
            {key.removeprefix(f"{path}."): t for key, t in old.items() if key.startswith(f"{path}.")}
        )
        torch.testing.assert_close(layer.eval().weight(), old[f"{path}.weight"])
        x = torch.rand(1, given, 8, 8)
        theirs.eval()(x)
        torch.testing.assert_close(layer.weight(), theirs.weight)
        theirs.train()(x)
        torch.testing.assert_close(layer.train().weight(), theirs.weight)


def test_the_other_generator_is_refused_by_name(tmp_path):
    torch.save(published(generator("edge_generator")), tmp_path / "EdgeModel_gen.pth")
    with pytest.raises(WeightsError, match=r"does not fit InpaintGenerator(.|\n)*encoder.1.weight_orig"):
        load_weights(InpaintGenerator(**SMALL), tmp_path / "EdgeModel_gen.pth")
    with pytest.raises(ValueError, match="residual_blocks to be 1 or more, found 0"):
        EdgeGenerator(residual_blocks=0)


# Losses


def naive(mode, x, real):
    p = 1 / (1 + math.exp(-x))
    if mode == "nsgan":
        return -math.log(p if real else 1 - p)
    return (p - real) ** 2 if mode == "lsgan" else max(0, 1 - x if real else 1 + x)


def judged_maps(seed):
    """What a discriminator might give, its logits of both signs and beyond the margins of the hinge."""
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.randn(2, c, s, s, generator=generator) for c, s in ((4, 8), (3, 4), (1, 5))]
    return [[(2 * each).double().requires_grad_() for each in maps]]


@pytest.mark.parametrize("mode", MODES)
def test_verdicts_are_means_over_the_logits(mode):
    real, fake = judged_maps(0), judged_maps(1)
    values = {"real": real[0][-1].flatten().tolist(), "fake": fake[0][-1].flatten().tolist()}
    expected = {n: sum(naive(mode, x, n == "real") for x in each) / len(each) for n, each in values.items()}
    loss, figures = LOSSES["judged"](mode)(real, fake)
    assert float(loss.detach()) == pytest.approx((expected["real"] + expected["fake"]) / 2, rel=1e-9)
    for name, each in values.items():
        assert float(figures[f"l_d_{name}"]) == pytest.approx(expected[name], rel=1e-9)
        assert float(figures[f"D_{name}"]) == pytest.approx(sum(each) / len(each), rel=1e-9)
    assert not any(figure.requires_grad for figure in figures.values())
    fooled = sum(-x if mode == "hinge" else naive(mode, x, True) for x in values["fake"]) / len(values["fake"])
    assert float(LOSSES["fooled"](mode)(fake).detach()) == pytest.approx(fooled, rel=1e-9)
    slopes = [torch.autograd.grad(value, fake[0][-1])[0] for value in (loss, LOSSES["fooled"](mode)(fake))]
    assert (slopes[0] * slopes[1] <= 0).all()  # one pushes the logits of fakes down, the other up
    assert slopes[1].lt(0).all()


@pytest.mark.parametrize("mode", MODES)
def test_verdicts_hold_in_half_precision_and_far_out(mode):
    """The published code cuts the logarithm of a probability off at -100."""
    far = [[torch.tensor([[300.0]], dtype=torch.float16, requires_grad=True)]]
    loss = LOSSES["judged"](mode)([[-far[0][0]]], far).loss
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx({"nsgan": 300, "lsgan": 1, "hinge": 301}[mode])
    for name in ("judged", "fooled"):
        with pytest.raises(ValueError, match="nsgan, lsgan or hinge, found 'vanilla'"):
            LOSSES[name]("vanilla")


def test_feature_matching_sums_over_maps_and_logits():
    fooling, real = judged_maps(0), judged_maps(1)
    loss = LOSSES["feature_matching"]()(fooling, real)
    pairs = [zip(a.flatten().tolist(), b.flatten().tolist(), strict=True) for a, b in zip(*fooling, *real, strict=True)]
    assert float(loss.detach()) == pytest.approx(
        sum(sum(d) / len(d) for d in ([abs(a - b) for a, b in p] for p in pairs))
    )
    loss.backward()
    assert all(each.grad.any() for each in fooling[0])
    assert all(each.grad is None for each in real[0])


def test_masked_l1_is_relative_to_the_hole_of_the_whole_batch():
    torch.manual_seed(0)
    x, y, mask = torch.rand(2, 3, 6, 8), torch.rand(2, 3, 6, 8), torch.zeros(2, 1, 6, 8)
    mask[0, :, :3], mask[1, :, :, 7:] = 1, 1
    loss = LOSSES["masked_l1"]()
    expected = ((x - y).abs().sum() / x.numel()) / ((24 + 6) / 96)
    torch.testing.assert_close(loss(x, y, mask), expected)
    assert loss(x, y, torch.zeros_like(mask)).isfinite()
    assert loss(x.half(), y.half(), mask.half()).dtype == torch.float32
    with pytest.raises(ValueError, match="one shape"):
        loss(x, y[:, :1], mask)


CONTENT = {f"relu{n}_1": 1.0 for n in range(1, 6)}
STYLE = dict.fromkeys(("relu2_2", "relu3_4", "relu4_4", "relu5_2"), 1.0)


def test_the_losses_of_a_published_step(tmp_path):
    """All numbers of the first step of model 2: the perceptual loss is content and style of the original."""
    step = Case(GOLDEN / "i2i" / "edgeconnect_train_inpaint_model2.json")
    if not step.path.exists():
        pytest.skip(f"{step.path} absent")
    vgg = VGGFeatures("vgg19", ["relu5_2"])
    torch.save(fill(step, entries_of(vgg), 1.3), tmp_path / "vgg.pth")
    common = {"use_input_norm": False, "weights": str(tmp_path / "vgg.pth")}
    content = LOSSES["perceptual"](layers=CONTENT, **common)
    style = LOSSES["perceptual"](feature_weight=0.0, style_weight=1.0, style_layers=STYLE, **common)

    G, D = InpaintGenerator().train(), EdgeConnectDiscriminator().train()
    for network, prefix in ((G, "IG."), (D, "ID.")):
        listed = entries(network.to_public(network.state_dict()))
        g = next(n["g"] for n in step.data["networks"].values() if n["prefix"] == prefix)
        network.load_state_dict(network.from_public(state(step, prefix, listed, g)))
    batch = inputs(step)
    image, mask, weight = batch["images"], batch["masks"], step.data["config"]
    with torch.no_grad():
        output = G(torch.cat([image * (1 - mask) + mask, batch["edges"]], dim=1))
        on_real, on_fake, on_fooling = (D(x) for x in (image, output, output))
        merged = output * mask + image * (1 - mask)
        found = {
            "l_d2": LOSSES["judged"]()(on_real, on_fake).loss,
            "l_g2": weight["INPAINT_ADV_LOSS_WEIGHT"] * LOSSES["fooled"]()(on_fooling),
            "l_l1": weight["L1_LOSS_WEIGHT"] * LOSSES["masked_l1"]()(output, image, mask),
            "l_per": weight["CONTENT_LOSS_WEIGHT"] * content(output, image),
            "l_sty": weight["STYLE_LOSS_WEIGHT"] * style(output * mask, image * mask),
            "psnr": logged_psnr(image, merged),
            "mae": logged_mae(image, merged),
        }
    expected = step.data["logs"][0]
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected, rel=1e-4)


# What is logged


def maps(seed, share):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(2, 1, 5, 6, generator=generator) * share).round(decimals=1)


@pytest.mark.parametrize("threshold", [0.3, 0.5])
def test_edges_are_counted_over_the_whole_batch(threshold):
    truth, prediction = maps(0, 1.0), maps(1, 0.8)
    prediction[1] = 0
    pairs = [(t > threshold, p > threshold) for t, p in zip(truth.flatten(), prediction.flatten(), strict=True)]
    hits = sum(bool(t and p) for t, p in pairs)
    relevant, selected = (sum(bool(each[n]) for each in pairs) for n in (0, 1))
    precision, recall = edge_accuracy(truth, prediction, threshold)
    assert 0 < hits < min(selected, relevant)
    assert (float(precision), float(recall)) == pytest.approx((hits / selected, hits / relevant))
    nothing = torch.zeros_like(truth)
    assert [float(x) for x in edge_accuracy(nothing, nothing)] == [1, 1]
    assert [float(x) for x in edge_accuracy(nothing, prediction, threshold)] == [0, 0]
    assert [float(x) for x in edge_accuracy(truth, nothing, threshold)] == [0, 0]


def test_logged_psnr_is_of_levels_cut_down_and_0_of_equal_images():
    x = torch.full((1, 1, 2, 2), 100.9 / 255)
    y = x + torch.tensor([[[[1.0, 2.0], [0.0, -3.0]]]]) / 255
    error = ((100 - 101) ** 2 + (100 - 102) ** 2 + (100 - 97) ** 2) / 4
    assert float(logged_psnr(x, y)) == pytest.approx(10 * math.log10(255**2 / error))
    assert float(logged_psnr(x, x + 0.09 / 255)) == 0
    assert float(logged_mae(x, 2 * x)) == pytest.approx(1)


def test_nothing_waits_for_the_device():
    """A tensor on ``meta`` has no value that anything could wait for."""
    x, y = torch.rand(2, 3, 8, 8, device="meta"), torch.rand(2, 3, 8, 8, device="meta")
    assert [t.device.type for t in (*edge_accuracy(x, y), logged_psnr(x, y), logged_mae(x, y))] == ["meta"] * 4


def test_mae_is_between_0_and_1():
    x, y = torch.rand(3, 12, 10), torch.rand(3, 12, 10)
    metric = METRICS["mae"]()
    expected = sum(abs(a - b) for a, b in zip(x.flatten().tolist(), y.flatten().tolist(), strict=True)) / x.numel()
    assert metric(x, y) == pytest.approx(expected, rel=1e-6)
    assert metric(torch.zeros(1, 4, 4), torch.ones(1, 4, 4)) == 1
    assert (metric(x, x), metric.higher) == (0, False)
    assert METRICS["mae"](crop_border=2)(x, y) == pytest.approx(metric(x[:, 2:-2, 2:-2], y[:, 2:-2, 2:-2]))
