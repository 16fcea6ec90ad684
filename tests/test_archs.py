"""Every registered architecture: sizes, gradients, half precision, and weights out to each public layout and back."""

import inspect
import json
import math

import pytest
import torch
from conformance import GOLDEN
from conformance.recipes import entries
from torch import nn

from darkroom.archs import ARCHS
from darkroom.archs.blocks import GaussianNoise, PartialConv2d, PublicNetwork, SpectralConv2d, init_kaiming
from darkroom.archs.patchgan import PatchGAN
from darkroom.archs.rrdb import RRDBNet
from darkroom.archs.srresnet import MSRResNet, SRResNet
from darkroom.core.network import Network

FEWEST = 57
"""Names that the package registers at least."""

SMALL = {"nf": 8, "nb": 2, "gc": 4, "num_conv": 2, "n_layers": 2, "hidden": 8, "unf": 8, "ngf": 8, "n_blocks": 2}
"""Small values of options, for every constructor that has them."""
TINY: dict[str, dict] = {
    "multiscale": {"num_D": 2},
    "asr_resnet": {"self_attention": False},  # whose gate is shut at the start
    "abpn": {"dim": 8},
    "abpn_net": {"dim": 8},
    "srflow": {"K": 1, "hidden_channels": 8},
    "srflow_net": {"K": 1, "hidden_channels": 8},
    **{name: {"num_downs": 6} for name in ("unet", "unet_net", "unet_256")},  # unet_128 is as large as its name says
}
"""Other arguments of single architectures."""
SHUT = ("srflow", "srflow_net")
"""Networks whose last layers are 0 at the start, so that no input moves their output: they are nudged."""
CRITICS = (
    "patchgan",
    "vgg_discriminator",
    "unet_discriminator",
    "sft_discriminator",
    "wbc_discriminator",
    "edgeconnect_discriminator",
)
"""Modules of networks that judge images instead of making them."""
ELSEWHERE: tuple[str, ...] = ("locnet", "spandrel", "sft", "segmentation", "edgeconnect")
"""Modules of networks that take more than one image, or make none; they are tested beside their own tests."""

NAMES = [name for name in ARCHS if ARCHS[name].__module__.rpartition(".")[2] not in ELSEWHERE]


def build(name, **more):
    torch.manual_seed(0)
    wanted = {**SMALL, **TINY.get(name, {}), **more}
    known = inspect.signature(ARCHS[name]).parameters
    network = ARCHS[name](**{k: v for k, v in wanted.items() if k in known})
    assert isinstance(network, Network)
    if name in SHUT:
        with torch.no_grad():
            for p in network.parameters():
                p.add_(torch.randn_like(p), alpha=0.05)
    return network


def is_critic(name):
    return ARCHS[name].__module__.rpartition(".")[2] in CRITICS


def image(network, batch=2):
    """Odd sizes, as far as the network says that it takes any."""
    torch.manual_seed(1)
    size = vars(network).get("size")
    height, width = (
        (size, size) if size else (-(-side // network.multiple_of) * network.multiple_of for side in (37, 29))
    )
    return torch.rand(batch, 3, height, width)


def flat(judged):
    """All tensors of a critic's answer."""
    return [judged] if isinstance(judged, torch.Tensor) else [t for entry in judged for t in flat(entry)]


def test_the_names_are_all_there():
    assert len(NAMES) >= FEWEST
    assert {"esrgan", "esrgan-lite", "mrrdb_net", "srgan", "msrresnet", "compact", "espcn"} <= set(NAMES)
    assert {"discriminator_vgg_128_SN", "patchgan", "multiscale", "pixelgan", "unet_discriminator"} <= set(NAMES)


@pytest.mark.parametrize("name", [n for n in NAMES if not is_critic(n)])
def test_generator_enlarges_any_size_by_its_scale(name):
    network = build(name).eval()
    x = image(network)
    with torch.no_grad():
        y = network(x)
    assert y.shape == (2, 3, x.shape[2] * network.scale, x.shape[3] * network.scale)
    assert y.isfinite().all()
    assert y.std() > 0


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns(name):
    network = build(name).train()
    x = image(network)
    loss = sum((t.float() - 0.3).square().mean() for t in flat(network(x)))
    loss.backward()
    idle = [
        n for n, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()
    ]
    assert idle == []


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_autocast_stays_near(name):
    network = build(name).eval()
    x = image(network, batch=1)
    with torch.no_grad():
        exact = flat(network(x))
        with torch.autocast("cpu", torch.bfloat16):
            rough = flat(network(x))
    for a, b in zip(exact, rough, strict=True):
        assert b.isfinite().all()
        torch.testing.assert_close(b.float(), a, rtol=0.05, atol=0.05 * a.abs().max().item() + 1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_weights_survive_every_public_layout(name):
    network = build(name).eval()
    x = image(network, batch=1)
    layouts = network.layouts() if isinstance(network, PublicNetwork) else ()
    for layout in (None, *layouts):
        try:
            public = network.to_public(network.state_dict(), layout)
        except ValueError:  # a layout without names for norms, say
            assert layout not in (None, network.layout)
            continue
        other = build(name).eval()
        with torch.no_grad():
            for p in other.parameters():
                p.zero_()
        other.load_state_dict(other.from_public(public))
        with torch.no_grad():
            for a, b in zip(flat(network(x)), flat(other(x)), strict=True):
                assert torch.equal(a, b), layout


@pytest.mark.parametrize(
    "options",
    [
        {"scale": 1},
        {"scale": 2},
        {"scale": 8, "upsample_mode": "pixelshuffle"},
        {"scale": 3, "upsample_mode": "pixelshuffle"},
        {"nr": 2, "gc": 6},
        {"plus": True, "in_nc": 1, "out_nc": 1},
        {"unshuffle": 2, "scale": 2},
        {"unshuffle": 4, "scale": 1},
        {"norm_type": "batch"},
        {"norm_type": "batch", "mode": "NAC"},
        {"act_type": "prelu"},
        {"act_type": "swish"},
        {"finalact": "sigmoid"},
    ],
    ids=str,
)
def test_rrdb_recognises_its_options_in_every_layout(options):
    network = build("esrgan", **options)
    recognised = 0
    for layout in network.layouts():
        try:
            public = network.to_public(network.state_dict(), layout)
        except ValueError:
            assert layout != "old"  # which has names for everything
            continue
        found = RRDBNet.recognise(public)
        again = RRDBNet(**found, gaussian=False)
        again.load_state_dict(again.from_public(public))
        assert (again.scale, again.unshuffle) == (network.scale, network.unshuffle)
        assert entries(again.to_public(again.state_dict())) == entries(public)
        if "finalact" not in options:
            x = torch.rand(1, options.get("in_nc", 3), 9, 7)
            with torch.no_grad():
                assert torch.equal(again.eval()(x), network.eval()(x))
        recognised += 1
    assert recognised >= (3 if not {"norm_type", "act_type"} & set(options) else 1)


def test_rrdb_key_table_of_the_vectors():
    path = GOLDEN / "sr" / "mapping_rrdb_x4_nb2.json"
    if not path.exists():
        pytest.skip(f"{path} absent")
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    network = build("esrgan")
    columns = [list(network.to_public(network.state_dict(), layout)) for layout in ("old", "new", "realesrgan")]
    assert list(map(list, zip(*columns, strict=True))) == rows
    assert len(rows) == 72


def test_a_layout_that_cannot_name_a_part_says_so():
    network = build("esrgan", act_type="prelu")
    with pytest.raises(ValueError, match=r"'realesrgan' has no name for trunk\.0.*act.*old"):
        network.to_public(network.state_dict(), "realesrgan")
    with pytest.raises(ValueError, match="key layouts old, new, realesrgan, not 'odd'"):
        network.to_public(network.state_dict(), "odd")


@pytest.mark.parametrize("mode", ["CNA", "NAC", "CNAC"])
@pytest.mark.parametrize("norm", [None, "batch", "instance"])
@pytest.mark.parametrize(
    ("scale", "upsample"), [(1, "pixelshuffle"), (2, "upconv"), (3, "pixelshuffle"), (4, "pixelshuffle")]
)
def test_srresnet_recognises_its_options(mode, norm, scale, upsample):
    network = build("srgan", mode=mode, norm_type=norm, scale=scale, upsample_mode=upsample)
    public = network.to_public(network.state_dict())
    found = SRResNet.recognise(public)
    again = SRResNet(**found)
    again.load_state_dict(again.from_public(public))
    x = torch.rand(1, 3, 8, 6)
    if (mode, norm) != ("CNAC", "instance"):  # which has the keys of CNA
        with torch.no_grad():
            assert torch.equal(again.eval()(x), network.eval()(x))


def test_residual_blocks_are_ordered_by_their_mode():
    kinds = {
        "CNA": ["Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "BatchNorm2d"],
        "NAC": ["BatchNorm2d", "ReLU", "Conv2d", "BatchNorm2d", "ReLU", "Conv2d"],
        "CNAC": ["Conv2d", "BatchNorm2d", "ReLU", "Conv2d"],
    }
    for mode, expected in kinds.items():
        block = build("srgan", mode=mode, norm_type="batch").trunk[0]
        assert [type(m).__name__ for conv in block.children() for m in conv.children()] == expected


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("layout", ["new", "basicsr"])
def test_msrresnet_recognises_its_options(scale, layout):
    network = build("msrresnet", scale=scale, layout=layout)
    public = network.to_public(network.state_dict())
    assert MSRResNet.recognise(public) == {
        "in_nc": 3,
        "out_nc": 3,
        "nf": 8,
        "nb": 2,
        "scale": scale,
        "layout": layout,
    }


@pytest.mark.parametrize("name", ["compact", "espcn"])
@pytest.mark.parametrize(("channels", "scale"), [(3, 1), (3, 2), (1, 3), (3, 4)])
def test_light_networks_recognise_their_options(name, channels, scale):
    network = build(name, in_nc=channels, out_nc=channels, scale=scale)
    found = type(network).recognise(network.to_public(network.state_dict()))
    again = type(network)(**found)
    again.load_state_dict(network.state_dict())
    assert again.scale == scale


def test_recognition_declines_other_networks():
    states = {name: (type(n := build(name)), n.to_public(n.state_dict())) for name in NAMES}
    for name, (_, state) in states.items():
        for cls, _ in states.values():
            found = cls.recognise(state)
            assert found is None or states[name][0] is cls, f"{cls.__name__} claims {name}"


def test_pixel_unshuffle_takes_any_size():
    network = build("esrgan", unshuffle=4, scale=1).eval()
    x = torch.rand(1, 3, 16, 12)
    with torch.no_grad():
        whole = network(x)
        assert network(x[..., :15, :9]).shape == (1, 3, 15, 9)
        assert network(torch.rand(1, 3, 3, 2)).shape == (1, 3, 3, 2)
        mirrored = torch.cat([x[..., :15, :], x[..., 13:14, :]], 2)
        assert torch.equal(network(x[..., :15, :]), network(mirrored)[..., :15, :])
    assert whole.shape == x.shape


def test_partial_convolution_is_a_mean_over_the_pixels_inside():
    conv = PartialConv2d(2, 3, 5, padding=2)
    x = torch.rand(1, 2, 4, 7)
    mask = torch.ones(1, 1, 4, 7)
    inside = nn.functional.conv2d(mask, torch.ones(1, 1, 5, 5), padding=2)
    sums = nn.functional.conv2d(x, conv.weight, padding=2)
    torch.testing.assert_close(conv(x), sums * 25 / inside + conv.bias[:, None, None])


def test_gaussian_noise_has_its_sigma_in_training_only():
    torch.manual_seed(0)
    noise, x = GaussianNoise(0.1), torch.full((200_000,), 2.0, requires_grad=True)
    assert noise.eval()(x) is x
    y = noise.train()(x)
    assert abs((y - x).std().item() - 0.2) < 2e-3
    y.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def test_spectral_norm_is_the_largest_singular_value():
    torch.manual_seed(0)
    conv = SpectralConv2d(3, 6, 4, 2, 1).train()
    x = torch.rand(2, 3, 8, 8)
    for _ in range(100):
        conv(x)
    largest = torch.linalg.svdvals(conv.weight_orig.flatten(1))[0]
    torch.testing.assert_close(conv.eval().weight(), conv.weight_orig / largest, rtol=1e-4, atol=1e-6)
    reference = nn.utils.spectral_norm(nn.Conv2d(3, 6, 4, 2, 1))
    reference.load_state_dict(conv.state_dict())
    conv.train()
    a, b = conv(x) + conv(x * 2), reference(x) + reference(x * 2)  # two forwards before a backward
    torch.testing.assert_close(a, b)
    a.square().sum().backward()
    b.square().sum().backward()
    torch.testing.assert_close(conv.weight_orig.grad, reference.weight_orig.grad)


def test_initialisation_has_the_scale_it_says():
    network = nn.Sequential(nn.Conv2d(64, 64, 3), nn.BatchNorm2d(64), nn.Linear(256, 512))
    nn.init.constant_(network[1].weight, 5)
    init_kaiming(network, 0.1)
    for layer, fan_in in ((network[0], 64 * 9), (network[2], 256)):
        assert layer.weight.std().item() == pytest.approx(0.1 * math.sqrt(2 / fan_in), rel=0.05)
        assert not layer.bias.any()
    assert network[1].weight.eq(1).all()


def test_critics_of_one_size_say_which_and_what_to_do():
    critic = build("discriminator_vgg_128")
    with pytest.raises(ValueError, match=r"128 x 128.*found 96 x 128.*discriminator_vgg, whose option"):
        critic(torch.rand(1, 3, 96, 128))
    with pytest.raises(ValueError, match=r"multiples of 8, found 20 x 24"):
        build("unet_discriminator")(torch.rand(1, 3, 20, 24))


@pytest.mark.parametrize("size", [32, 50, 100])
def test_vgg_critic_of_any_size(size):
    critic = build("discriminator_vgg", size=size)
    assert critic(torch.rand(2, 3, size, size)).shape == (2, 1)


@pytest.mark.parametrize(
    "name", [n for n in NAMES if is_critic(n) and "get_feats" in inspect.signature(ARCHS[n]).parameters]
)
def test_critics_give_maps_that_end_in_their_scores(name):
    plain, maps = build(name, get_feats=False).eval(), build(name, get_feats=True).eval()
    maps.load_state_dict(plain.state_dict())
    x = image(plain, batch=1)
    with torch.no_grad():
        scores, judged = plain(x), maps(x)
    scores = scores if isinstance(scores, list) else [scores]
    assert [len(scale) >= 3 for scale in judged] == [True] * len(scores)
    for score, scale in zip(scores, judged, strict=True):
        assert torch.equal(scale[-1], score)


def test_patchgan_takes_files_with_what_instance_norms_cannot_use():
    ours = PatchGAN(nf=8, n_layers=2, norm_type="instance")
    public = ours.to_public(ours.state_dict())
    public["model.2.bias"] = torch.rand(16)
    public["model.3.running_mean"] = torch.rand(16)
    loaded = ours.from_public(public)
    assert list(loaded) == list(ours.state_dict())
    biased = PatchGAN(nf=8, n_layers=2, norm_type="instance", bias=True)
    biased.load_state_dict(biased.from_public(ours.to_public(ours.state_dict())))
    x = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(biased(x), ours(x))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("esrgan", {"scale": 5}, "scale to be 1, 2, 3, 4 or 8, found 5"),
        ("esrgan", {"act_type": "gelu"}, "activations relu.*found 'gelu'"),
        ("esrgan", {"upsample_mode": "nearest"}, "upconv or pixelshuffle, found 'nearest'"),
        ("esrgan", {"convtype": "Conv3D"}, "Conv2D, PartialConv2D, found 'Conv3D'"),
        ("srgan", {"mode": "ABC"}, "CNA, NAC or CNAC, found 'ABC'"),
        ("srgan", {"norm_type": "layer"}, "batch, instance or none, found 'layer'"),
        ("msrresnet", {"in_nc": 1}, "out_nc to be in_nc, 1"),
        ("compact", {"act_type": "gelu"}, "relu, prelu, leakyrelu, found 'gelu'"),
        ("patchgan", {"n_layers": 0}, "1 or more, found 0"),
        ("discriminator_vgg", {"size": 2}, "4 or more, found 2"),
    ],
)
def test_bad_options_say_what_was_expected(name, options, message):
    with pytest.raises(ValueError, match=message):
        build(name, **options)
