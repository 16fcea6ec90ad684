"""Networks of image-to-image translation: authors' files, recognition, and layers that the reference vectors lack."""

import json
import re

import numpy as np
import pytest
import torch
from conformance import GOLDEN, Case
from conformance.recipes import fill
from torch import nn
from torch.nn import functional as F

from darkroom.archs import ARCHS
from darkroom.archs.resnet import ResNetGenerator
from darkroom.archs.unet import UNetGenerator
from darkroom.archs.wbc import WBCUNet, bilinear_tf
from darkroom.archs.wbc_discriminator import WBCDiscriminator
from darkroom.build.auto import recognisable
from darkroom.core.errors import WeightsError
from darkroom.inference.weights import load_any, load_weights, save_weights

RESNETS = [
    {"n_blocks": 1},
    {"n_blocks": 6, "use_dropout": True, "in_nc": 1},
    {"n_blocks": 2, "norm_type": "batch", "padding_type": "zero", "upsample_mode": "upconv", "out_nc": 2},
    {"n_blocks": 2, "norm_type": "batch", "padding_type": "zero", "use_dropout": True},
    {"n_blocks": 3, "padding_type": "zero", "upsample_mode": "upconv_bilinear"},
]
UNETS = [
    {"num_downs": 2, "in_nc": 6},
    {"num_downs": 3, "norm_type": "instance", "upsample_mode": "upconv", "out_nc": 1},
    {"num_downs": 5, "upsample_mode": "upconv_bilinear"},
    {"num_downs": 7},
]


def make(cls, **options):
    """A small network whose weights make a difference."""
    torch.manual_seed(0)
    network = cls(**{"nf": 4, **options}).eval()
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randn_like(p) * 0.1 + (p.ndim == 1))
        for name, buffer in network.named_buffers():
            if name.endswith(("mean", "var")):
                buffer.copy_(1 + torch.rand_like(buffer))
    return network


def run(network, *shape):
    torch.manual_seed(1)
    with torch.no_grad():
        return network(torch.rand(shape) * 2 - 1)


def noise(network, batch=1, units=2):
    channels = next(p for p in network.parameters() if p.ndim == 4).shape[1]
    return run(network, batch, channels, units * network.multiple_of, (units + 1) * network.multiple_of)


@pytest.mark.parametrize(
    ("cls", "options"), [*((ResNetGenerator, o) for o in RESNETS), *((UNetGenerator, o) for o in UNETS)], ids=str
)
def test_files_tell_the_options(cls, options, tmp_path):
    network = make(cls, **options)
    public = network.to_public(network.state_dict())
    found = cls.recognise(public)
    assert {"nf": 4, **options}.items() <= found.items()
    save_weights(public, tmp_path / "x.pth")
    again = load_any(tmp_path / "x.pth", recognisable()).eval()
    assert type(again) is cls
    assert torch.equal(noise(again), noise(network))


def vector(name):
    path = GOLDEN / "i2i" / f"{name}.json"
    if not path.exists():
        pytest.skip(f"{path} absent")
    return json.loads(path.read_text(encoding="utf-8")), Case(path)


def test_a_cyclegan_file_of_before_torch_0_4_is_recognised_and_loaded(tmp_path):
    data, case = vector("keys_resnet_9blocks")
    listed = [[key, [max(n // 8, 1) if n > 7 else n for n in shape], dtype] for key, shape, dtype in data["state_dict"]]
    state = fill(case, listed, 0.7)
    extra = {key: torch.full((), 3) if key.endswith("tracked") else torch.rand(8) for key in data[EXTRA]}
    save_weights({**state, **extra}, tmp_path / "latest_net_G.pth")
    network = load_any(tmp_path / "latest_net_G.pth", recognisable())
    assert isinstance(network, ResNetGenerator)
    loaded = network.to_public(network.state_dict())
    assert list(loaded) == list(state)
    assert all(torch.equal(loaded[key], state[key]) for key in state)


EXTRA = "extra_keys_in_published_files"


def test_a_pix2pix_file_without_counters_is_recognised_and_loaded(tmp_path):
    data, case = vector("keys_unet_256")
    listed = [
        [key, [max(n // 16, 1) if n > 7 else n for n in shape], dtype] for key, shape, dtype in data["state_dict"]
    ]
    state = {key: tensor for key, tensor in fill(case, listed, 0.7).items() if not key.endswith("tracked")}
    save_weights(state, tmp_path / "latest_net_G.pth")
    network = load_any(tmp_path / "latest_net_G.pth", recognisable())
    assert isinstance(network, UNetGenerator)
    loaded = network.to_public(network.state_dict())
    assert all(torch.equal(loaded[key], state[key]) for key in state)
    network.load_state_dict(network.from_public(state))  # torch itself makes up for the counters


@pytest.mark.parametrize("padding", ["reflect", "zero"])
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_files_with_dropout_and_without_load_into_either(padding, norm):
    options = {"n_blocks": 2, "padding_type": padding, "norm_type": norm}
    networks = {dropout: make(ResNetGenerator, use_dropout=dropout, **options) for dropout in (False, True)}
    first = 1 if padding == "reflect" else 0
    for dropout, network in networks.items():
        public = network.to_public(network.state_dict())
        second = 2 * first + 3 + dropout
        assert {f"model.10.conv_block.{n}.weight" for n in (first, second)} <= set(public)
        for other in (False, True):
            again = make(ResNetGenerator, use_dropout=other, **options)
            nn.init.zeros_(again.trunk[1].conv2.conv.weight)
            again.load_state_dict(again.from_public(public))
            assert torch.equal(noise(again), noise(network))
    a, b = (network.to_public(network.state_dict(), "dropout") for network in networks.values())
    assert list(a) == list(b)


def test_a_file_of_another_padding_is_refused_with_the_padding_that_it_has(tmp_path):
    network = make(ResNetGenerator, n_blocks=1, padding_type="zero")
    save_weights(network.to_public(network.state_dict()), tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="padding_type: zero"):
        load_weights(make(ResNetGenerator, n_blocks=1), tmp_path / "x.pth")


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_unet_is_the_recursion_of_the_paper(norm):
    """Against levels within levels, each of which joins its own output to its input."""
    network = make(UNetGenerator, num_downs=6, norm_type=norm)
    levels = list(zip(network.downs, reversed(network.ups), strict=True))

    def level(x, number):
        down, up = levels[number]
        inner = down(F.leaky_relu(x, 0.2))
        if number + 1 < len(levels):
            inner = level(inner, number + 1)
        return torch.cat([F.leaky_relu(x, 0.2), up(F.relu(inner))], 1)

    torch.manual_seed(1)
    x = torch.rand(2, 3, 64, 128) * 2 - 1
    down, up = levels[0]
    with torch.no_grad():
        expected = torch.tanh(up(F.relu(level(down(x), 1))))
        torch.testing.assert_close(network(x), expected)


def test_unet_drops_only_in_the_inner_levels_of_full_width():
    network = UNetGenerator(nf=4, num_downs=8, use_dropout=True)
    dropping = [any(isinstance(m, nn.Dropout) for m in up.modules()) for up in network.ups]
    assert dropping == [False, True, True, True, False, False, False, False]
    assert network.load_state_dict(UNetGenerator(nf=4, num_downs=8).state_dict())
    x = torch.rand(2, 3, 256, 256)
    with torch.no_grad():
        assert not torch.equal(network.train()(x), network(x))
        assert torch.equal(network.eval()(x), network(x))


def test_resnet_drops_between_the_convolutions_of_a_block():
    block = make(ResNetGenerator, n_blocks=1, use_dropout=True).trunk[0].train()
    seen = []
    block.conv2.register_forward_pre_hook(lambda _, given: seen.append((given[0] == 0).float().mean()))
    before = []
    block.conv1.register_forward_hook(lambda _m, _i, out: before.append((out == 0).float().mean()))
    block(torch.randn(4, 16, 32, 32))
    assert seen[0] == pytest.approx(0.5 + before[0].item() / 2, abs=0.01)


@pytest.mark.parametrize(("cls", "options"), [(ResNetGenerator, {"n_blocks": 1}), (UNetGenerator, {"num_downs": 2})])
def test_bilinear_enlarging_is_interpolation_reflection_and_a_convolution(cls, options):
    network = make(cls, upsample_mode="upconv_bilinear", **options)
    layer = network.ups[0].conv
    torch.manual_seed(1)
    x = torch.rand(1, layer[2].in_channels, 3, 5)
    expected = torch.zeros(1, layer[2].out_channels, 6, 10)
    at = [np.clip((np.arange(2 * n) + 0.5) / 2 - 0.5, 0, n - 1) for n in (3, 5)]  # half-pixel centres
    weights = [
        torch.tensor(np.maximum(1 - abs(a[:, None] - np.arange(n)), 0)).float() for a, n in zip(at, (3, 5), strict=True)
    ]
    large = weights[0] @ x @ weights[1].T
    rows, columns = ([1, *range(n), n - 2] for n in (6, 10))
    padded = large[..., rows, :][..., columns]
    for i in range(3):
        for j in range(3):
            expected += torch.einsum("oc,bchw->bohw", layer[2].weight[..., i, j], padded[..., i : i + 6, j : j + 10])
    if layer[2].bias is not None:
        expected += layer[2].bias[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("corners", [2, 4])
def test_tensorflow_interpolation_place_by_place(corners):
    torch.manual_seed(1)
    x = torch.rand(2, 3, 4, 5)
    y = bilinear_tf(x, corners)
    assert y.shape == (2, 3, 8, 10)
    for i in range(8):
        for j in range(10):
            rows, columns = {i // 2, min((i + 1) // 2, 3)}, {j // 2, min((j + 1) // 2, 4)}
            places = [(r, c) for r in rows for c in columns]
            if corners == 2 and i % 2 and j % 2:
                places = [(i // 2, j // 2), (max(rows), max(columns))]
            expected = torch.stack([x[..., r, c] for r, c in places]).mean(0)
            torch.testing.assert_close(y[..., i, j], expected)
    assert torch.autograd.gradcheck(lambda x: bilinear_tf(x, corners), x[:1, :1].double().requires_grad_())


def test_white_box_network_takes_the_variables_of_tensorflow(tmp_path):
    data, _ = vector("keys_wbcunet")
    network = make(WBCUNet, mode="tf")
    own = network.state_dict()
    assert list(own) == list(data["tf_names"])
    turned = {"conv.weight": 1, "conv_9.weight": 0, "conv_9.bias": 0}  # TensorFlow's network takes and gives BGR
    bgr = {key: v.flip(turned[key]) if key in turned else v for key, v in own.items()}
    kernels = {data["tf_names"][key]: v.permute(2, 3, 1, 0) if v.ndim == 4 else v for key, v in bgr.items()}
    save_weights(kernels, tmp_path / "model-33999.pth")
    again = load_any(tmp_path / "model-33999.pth", recognisable()).eval()
    assert (type(again), again.mode, again.corners) == (WBCUNet, "tf", 4)
    assert torch.equal(noise(again), noise(network))
    with_suffix = {f"{name}:0": v for name, v in kernels.items()}
    assert all(torch.equal(v, own[key]) for key, v in again.from_public(with_suffix).items())


def test_white_box_network_is_recognised_by_its_own_names():
    network = make(WBCUNet, in_nc=1, out_nc=2)
    assert WBCUNet.recognise(network.state_dict()) == {"in_nc": 1, "out_nc": 2, "nf": 4, "mode": "pt"}


@pytest.mark.parametrize("mode", ["pt", "tf"])
def test_white_box_network_takes_sides_that_are_multiples_of_4(mode):
    network = make(WBCUNet, mode=mode)
    assert network.multiple_of == 4
    assert run(network, 2, 3, 4, 12).shape == (2, 3, 4, 12)
    assert run(network, 1, 3, 20, 8).abs().max() > 1  # nothing bounds it
    with pytest.raises(ValueError, match=r"multiples of 4, found 6 x 8"):
        run(network, 1, 3, 6, 8)


@pytest.mark.parametrize(("height", "width"), [(16, 24), (17, 23), (1, 10)])
def test_white_box_critic_pads_as_tensorflow(height, width):
    """TensorFlow's own rule: as many outputs as there are strides begun, and the odd pixel of padding comes last."""
    critic = make(WBCDiscriminator).eval()
    torch.manual_seed(1)
    x = expected = torch.rand(1, 3, height, width)
    for smaller, same in zip(critic.smaller, critic.same, strict=True):
        pads = []
        for side in reversed(expected.shape[-2:]):
            total = max((-(-side // 2) - 1) * 2 + 3 - side, 0)
            pads += [total // 2, total - total // 2]
        expected = F.conv2d(F.pad(expected, pads), smaller.weight(), smaller.bias, 2)
        expected = F.leaky_relu(expected, 0.2)
        expected = F.leaky_relu(F.conv2d(expected, same.weight(), same.bias, 1, 1), 0.2)
    expected = F.conv2d(expected, critic.last.weight(), critic.last.bias)
    with torch.no_grad():
        torch.testing.assert_close(critic(x), expected)
    assert expected.shape == (1, 1, -(-height // 8), -(-width // 8))


def test_presets_have_the_depth_of_their_names():
    assert [ARCHS[n](nf=2).multiple_of for n in ("unet_128", "unet_256", "unet", "resnet_6blocks")] == [
        128,
        256,
        256,
        4,
    ]
    assert [len(ARCHS[n](nf=2).trunk) for n in ("resnet_6blocks", "resnet_9blocks", "resnet")] == [6, 9, 9]
    assert [ARCHS[n](nf=2).mode for n in ("wbcunet", "wbcunet_tf")] == ["pt", "tf"]


@pytest.mark.parametrize("cls", [ResNetGenerator, UNetGenerator])
def test_images_are_signed(cls):
    torch.manual_seed(0)
    network = cls(nf=4)
    assert network.signed
    y = noise(network)
    assert y.min() < 0 < y.max()
    assert y.abs().max() <= 1


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (ResNetGenerator, {"n_blocks": 0}, "1 or more, found 0"),
        (ResNetGenerator, {"norm_type": "none"}, "batch or instance, found 'none'"),
        (ResNetGenerator, {"padding_type": "mirror"}, "reflect, replicate or zero, found 'mirror'"),
        (UNetGenerator, {"num_downs": 1}, "2 or more, found 1"),
        (UNetGenerator, {"upsample_mode": "pixelshuffle"}, "deconv, upconv or upconv_bilinear, found 'pixelshuffle'"),
        (WBCUNet, {"mode": "jax"}, "pt or tf, found 'jax'"),
        (WBCUNet, {"corners": 3, "mode": "tf"}, "2 or 4, found 3"),
        (WBCUNet, {"corners": 2}, "mode tf with corners 2, found pt"),
    ],
)
def test_bad_options_say_what_was_expected(cls, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        cls(**options)


def test_a_unet_says_which_sides_it_takes():
    with pytest.raises(ValueError, match=r"multiples of 8, found 16 x 20; choose another crop size"):
        run(make(UNetGenerator, num_downs=3), 1, 3, 16, 20)
