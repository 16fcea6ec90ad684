"""PAN, A2N, ABPN, A-SRResNet and PPON: what the reference vectors and the tests over the registry do not show."""

import pytest
import torch
from conformance.recipes import entries
from torch import nn

from darkroom.archs.a2n import A2N
from darkroom.archs.abpn import ABPN
from darkroom.archs.asrresnet import ASRResNet
from darkroom.archs.attention import FlexibleSelfAttention, SpectralConv1d, attend
from darkroom.archs.blocks import init_kaiming
from darkroom.archs.pan import PAN
from darkroom.archs.ppon import PPON
from darkroom.inference.weights import load_any, save_weights

SMALL = {
    PAN: {"nf": 8, "unf": 6, "nb": 2},
    A2N: {"nf": 8, "unf": 6, "nb": 2},
    ABPN: {"dim": 4},
    ASRResNet: {"nf": 8},
    PPON: {"nf": 8, "nb": 1},
}
ATTENTIVE = {PAN: {"self_attention": True}}


def build(cls, **more):
    """A small network in use, with weights that make a difference and its gates of attention open."""
    torch.manual_seed(0)
    network = cls(**{**SMALL[cls], **more}).eval()
    if cls is PPON:
        init_kaiming(network, 0.5)
    for module in network.modules():
        if isinstance(module, FlexibleSelfAttention):
            nn.init.ones_(module.gamma)
    return network


def image(height=9, width=6, channels=3, batch=1):
    torch.manual_seed(1)
    return torch.rand(batch, channels, height, width)


@pytest.mark.parametrize("options", [{"scale": s} for s in (1, 2, 3, 4, 8)] + [{"in_nc": 1, "out_nc": 1}], ids=str)
@pytest.mark.parametrize("cls", [PAN, A2N, ASRResNet, PPON])
def test_files_are_recognised_at_every_scale(cls, options, tmp_path):
    network = build(cls, **options)
    path = tmp_path / "x.safetensors"
    save_weights(network.to_public(network.state_dict()), path)
    again = load_any(path, list(SMALL), network.scale).eval()
    assert type(again) is cls
    x = image(channels=options.get("in_nc", 3))
    with torch.no_grad():
        y = network(x)
        assert torch.equal(again(x), y)
    assert y.shape[1:] == (x.shape[1], x.shape[2] * network.scale, x.shape[3] * network.scale)


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (PAN, {"self_attention": True}),
        (PAN, {"double_scpa": True, "in_nc": 1}),
        (A2N, {"mode": "m"}),
        (ABPN, {}),
        (ABPN, {"dim": 3, "in_nc": 1}),
        (ASRResNet, {"spectral_norm": False}),
        (ASRResNet, {"self_attention": False, "scale": 2}),
        (PPON, {"act_type": "prelu", "scale": 1}),
        (PPON, {"act_type": "swish", "scale": 2}),
    ],
    ids=str,
)
def test_options_are_recognised(cls, options):
    network = build(cls, **options)
    public = network.to_public(network.state_dict())
    found = cls.recognise(public)
    assert options.items() <= found.items()
    again = cls(**found).eval()
    assert entries(again.to_public(again.state_dict())) == entries(public)
    again.load_state_dict(again.from_public(public))
    x = image(channels=options.get("in_nc", 3))
    with torch.no_grad():
        assert torch.equal(again(x), network(x))


def test_files_of_the_authors_of_pan_are_not_taken_for_ours():
    network = build(PAN)
    state = network.to_public(network.state_dict())
    theirs = {key.replace("upsample.1.", "upconv1."): tensor for key, tensor in state.items()}
    assert PAN.recognise(theirs) is None


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (PAN, {"scale": 5}, "1, 2, 3, 4 or 8, found 5"),
        (A2N, {"scale": 6}, "1, 2, 3, 4 or 8, found 6"),
        (ASRResNet, {"scale": 0}, "1, 2, 3, 4 or 8, found 0"),
        (PPON, {"scale": 5}, "1, 2, 3, 4 or 8, found 5"),
        (ABPN, {"scale": 2}, "4 times only; found scale 2"),
        (PAN, {"in_nc": 4}, "1 or out_nc, 3, for the input is added; found 4"),
        (A2N, {"in_nc": 4}, "1 or out_nc, 3, for the input is added; found 4"),
        (PAN, {"ups_inter_mode": "area"}, "nearest, bilinear or bicubic, found 'area'"),
        (A2N, {"mode": "x"}, "n or m, found 'x'"),
        (PAN, {"self_attention": True, "nf": 7}, "nf from 8 .* found 7"),
        (ASRResNet, {"poolsize": 0}, "poolsize from 1 on, found 8 and 0"),
        (PPON, {"act_type": "gelu"}, "activations relu.*found 'gelu'"),
    ],
    ids=str,
)
def test_bad_options_say_what_was_expected(cls, options, message):
    with pytest.raises(ValueError, match=message):
        build(cls, **options)


@pytest.mark.parametrize("cls", SMALL)
def test_outputs_are_capped(cls):
    network, x = build(cls), 3 * image() - 1
    with torch.no_grad():
        plain = network(x)
        capped = build(cls, outm="tanh")(x)
    assert torch.equal(capped, plain.tanh())
    assert not torch.equal(capped, plain)


@pytest.mark.parametrize("cls", SMALL)
def test_each_image_of_a_batch_is_enlarged_by_itself(cls):
    network, x = build(cls, **ATTENTIVE.get(cls, {})), image(batch=3)
    with torch.no_grad():
        torch.testing.assert_close(network(x), torch.cat([network(one) for one in x.split(1)]))


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_pan_enlarges_features_by_its_mode(mode):
    network, features = build(PAN, ups_inter_mode=mode), image(5, 4, channels=8)
    expected = nn.functional.interpolate(features, scale_factor=2, mode=mode)
    torch.testing.assert_close(network.upsample[0](features), expected)


def test_pan_goes_through_both_trunks():
    network, x = build(PAN, double_scpa=True), image()
    network(x).sum().backward()
    assert all(p.grad.any() for p in network.parameters())
    single = build(PAN)
    single.load_state_dict(network.state_dict(), strict=False)
    assert not torch.equal(single(x), network(x))


def naive_attention(query, key, value):
    """Softmax over all pixels, one batch and one pixel after the other."""
    out = torch.zeros_like(value)
    for b in range(value.shape[0]):
        for i in range(query.shape[2]):
            scores = torch.stack([query[b, :, i] @ key[b, :, j] for j in range(key.shape[2])])
            out[b, :, i] = (scores.softmax(0) * value[b]).sum(1)
    return out


@pytest.mark.parametrize("wide", [3, 8])
def test_attention_is_that_of_the_formula(wide):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, c, 15) for c in (3, 3, wide))
    torch.testing.assert_close(attend(query, key, value), naive_attention(query, key, value))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("wide", [8, 32])
def test_attention_survives_products_beyond_half_precision(dtype, wide):
    torch.manual_seed(0)
    query, key, value = ((scale * torch.randn(1, c, 20)).to(dtype) for c, scale in ((8, 300), (8, 300), (wide, 1)))
    assert (query.float().transpose(1, 2) @ key.float()).abs().max() > torch.finfo(torch.float16).max
    expected = attend(query.float(), key.float(), value.float())
    torch.testing.assert_close(attend(query, key, value).float(), expected, rtol=0.01, atol=0.01)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("cls", SMALL)
def test_networks_with_attention_stay_near_in_half_precision(cls, dtype):
    network, x = build(cls, **ATTENTIVE.get(cls, {})), image()
    with torch.no_grad():
        exact = network(x)
        with torch.autocast("cpu", dtype):
            rough = network(x).float()
    torch.testing.assert_close(rough, exact, rtol=0.05, atol=0.05 * exact.abs().max().item())


@pytest.mark.parametrize(("height", "width"), [(16, 12), (13, 11), (3, 9), (2, 1)])
def test_flexible_attention_takes_any_size(height, width):
    torch.manual_seed(0)
    layer, x = FlexibleSelfAttention(8, 4, "bicubic"), image(height, width, channels=8)
    assert torch.equal(layer(x), x)  # the gate is shut at the start
    nn.init.constant_(layer.gamma, 0.5)
    size = min(4, height, width)
    pooled = nn.functional.max_pool2d(x, size) if size > 1 else x
    mixed = naive_attention(*(conv(pooled.flatten(2)) for conv in (layer.conv_f, layer.conv_g, layer.conv_h)))
    mixed = nn.functional.interpolate(mixed.reshape(pooled.shape), (height, width), mode="bicubic")
    torch.testing.assert_close(layer(x), x + 0.5 * mixed)


@pytest.mark.parametrize("options", [{"max_pool": False}, {"poolsize": 2}, {"spectral_norm": False}], ids=str)
def test_asrresnet_learns_through_its_attention(options):
    network = build(ASRResNet, scale=2, **options).train()
    network(image(batch=2)).square().sum().backward()
    learning = {name for name, p in network.named_parameters() if p.grad.any()}
    # a bias of the key adds the same to all scores of a pixel: no effect but for rounding
    assert {name for name, _ in network.named_parameters()} - learning <= {"attention.conv_g.bias"}


def test_spectral_convolution_is_that_of_torch():
    torch.manual_seed(0)
    conv, x = SpectralConv1d(6, 5).train(), torch.rand(2, 6, 9)
    reference = nn.utils.spectral_norm(nn.Conv1d(6, 5, 1))
    reference.load_state_dict(conv.state_dict())
    for _ in range(3):
        torch.testing.assert_close(conv(x), reference(x))


def test_abpn_keeps_what_its_files_hold_and_nothing_uses():
    network, x = build(ABPN), image(6, 5)
    public = network.to_public(network.state_dict())
    unused = [key for key in public if key.startswith(("down10.", "SA10.", "weight_down8."))]
    assert len(unused) == 3 + 5 * 3 + 4 * 2  # a shortcut, five convolutions with PReLU, the four of an attention
    other = {key: torch.randn_like(t) if key in unused else t for key, t in public.items()}
    again = build(ABPN)
    again.load_state_dict(again.from_public(other))
    assert all(torch.equal(t, other[key]) for key, t in again.to_public(again.state_dict()).items())
    with torch.no_grad():
        assert torch.equal(again(x), network(x))
    trained = set(network.to_public(dict(network.named_parameters())))
    assert set(public) - trained == set(unused)


def test_ppon_computes_and_trains_one_image_after_the_other():
    network, x = build(PPON), image(batch=2)
    whole = network.images(x)
    assert torch.equal(network(x), whole[2])
    for count, parts in ((1, {"CFEM", "CRM"}), (2, {"CFEM", "CRM", "SFEM", "SRM"})):
        network.zero_grad()
        images = network.images(x, count)
        assert len(images) == count
        assert torch.equal(images[-1], whole[count - 1])
        images[-1].square().sum().backward()
        assert {n.partition(".")[0] for n, p in network.named_parameters() if p.grad is not None} == parts


def test_ppon_adds_alpha_times_the_perceptual_residue():
    x = image()
    with torch.no_grad():
        (content, structure, whole), half = build(PPON).images(x), build(PPON, alpha=0.5).images(x)
    assert torch.equal(half[0], content)
    assert torch.equal(half[1], structure)
    torch.testing.assert_close(half[2], (structure + whole) / 2)
    assert not torch.equal(structure, whole)


def test_ppon_learns_the_structure_and_perception_on_top_of_a_frozen_content():
    network, x = build(PPON), image()
    for part in (network.CFEM, network.CRM):
        part.requires_grad_(False)
    structure = network.images(x, 2)[-1]
    structure.sum().backward()
    assert all((p.grad is not None) == name.startswith(("SFEM", "SRM")) for name, p in network.named_parameters())
