"""SRFlow: the inverse is exact, densities are densities, first batches settle it, and what diverges is replaced."""

import json
import math
import threading

import pytest
import torch
from conformance import GOLDEN
from torch import nn
from torch.nn import functional as F

from darkroom.archs import flow
from darkroom.archs.flow import ActNorm, InvertibleConv, NormConv
from darkroom.archs.rrdb import RRDBNet
from darkroom.archs.srflow import SRFlow, sound

TINY = {"nf": 8, "nb": 4, "gc": 4, "K": 2, "hidden_channels": 8}


@pytest.fixture(autouse=True)
def _one_thread():
    """Small tensors: threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(*, nudge=0.03, **options):
    """A small network whose couplings do something."""
    torch.manual_seed(0)
    network = SRFlow(**{**TINY, **options})
    with torch.no_grad():
        for p in network.parameters():
            p.add_(torch.randn_like(p), alpha=nudge)
    return network.eval()


def pair(batch=2, scale=4, side=4, channels=3):
    torch.manual_seed(1)
    return torch.rand(batch, channels, side * scale, side * scale), torch.rand(batch, channels, side, side)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"correct_splits": True},
        {"split": False},
        {"L": 1},
        {"L": 2, "additional": 0, "blocks": (0, 2)},
        {"scale": 8, "L": 4, "in_nc": 1, "out_nc": 1, "K": 1},
        {"scale": 16, "L": 5, "K": 1, "nudge": 0.02},
    ],
    ids=str,
)
def test_decoding_inverts_encoding(options):
    network = build(**options)
    image, low = pair(scale=network.scale, channels=options.get("in_nc", 3), side=2)
    with torch.no_grad():
        z, _ = network.encode(image, low)
        again = network.decode(low, z)
        drawn = network.draw(low, 0.8, torch.Generator().manual_seed(2))
        back, _ = network.encode(network.decode(low, drawn), low)
    torch.testing.assert_close(again, image, rtol=0, atol=1e-4)
    assert [x.shape[1:] for x in z] == network.shapes(low)
    assert sum(x[0].numel() for x in z) == image[0].numel()
    for a, b in zip(back, drawn, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-3)


@pytest.mark.parametrize("correct_splits", [False, True])
def test_log_determinant_is_that_of_the_jacobian(correct_splits):
    network = build(in_nc=1, out_nc=1, K=1, correct_splits=correct_splits, nudge=0.2).double()
    image, low = (x.double() for x in pair(batch=1, side=2, channels=1))

    def latents(x):
        return torch.cat([part.flatten() for part in network.encode(x, low)[0]])

    jacobian = torch.autograd.functional.jacobian(latents, image).reshape(64, 64)
    z, logdet = network.encode(image, low)
    normal = torch.distributions.Normal(0, 1)
    left = sum(normal.log_prob(part).sum() for part in z[:-1])
    expected = torch.linalg.slogdet(jacobian).logabsdet
    torch.testing.assert_close(logdet[0] - left, expected)
    density = expected + normal.log_prob(latents(image)).sum()
    torch.testing.assert_close(network.nll(image, low)[0], -density / (math.log(2) * 64))


def test_noise_stays_within_a_gray_level_and_is_paid_for():
    network = build(quant=32)
    image, low = pair()
    with torch.no_grad():
        z, logdet = network.encode(image, low, add_noise=True, noise=torch.zeros(()))
        noisy, _ = network.encode(image, low, add_noise=True)
        plain, bare = network.encode(image, low)
        moved = network.decode(low, noisy) - image
    assert all(torch.equal(a, b) for a, b in zip(z, plain, strict=True))
    torch.testing.assert_close(bare - logdet, torch.full((2,), math.log(32) * 256))
    assert 0.4 / 32 < moved.abs().max() < 0.501 / 32
    assert moved.mean().abs() < 0.1 / 32


def test_first_batch_of_training_settles_every_actnorm():
    torch.manual_seed(0)
    network = SRFlow(**TINY)
    image, low = pair(batch=4)
    seen = []
    norms = [m for m in network.modules() if isinstance(m, ActNorm)]
    for norm in norms:
        norm.register_forward_hook(lambda _m, _x, y: seen.append(y.detach()))
    network.train().nll(image, low)
    assert len(seen) == len(norms) == 3 * 4 + 3 * 2 * 4
    for y in seen:
        torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(y.shape[1]), rtol=0, atol=1e-4)
        torch.testing.assert_close(y.var((0, 2, 3), correction=0), torch.ones(y.shape[1]), rtol=0, atol=1e-3)
    settled = {k: t.clone() for k, t in network.state_dict().items()}
    network.nll(1 - image, low)
    resumed = SRFlow(**TINY).train()
    resumed.load_state_dict(settled)
    resumed.nll(1 - image, low)
    for other in (network, resumed):
        assert all(torch.equal(t, settled[k]) for k, t in other.state_dict().items())


def test_evaluation_settles_nothing():
    network = SRFlow(**TINY).eval()
    image, low = pair()
    network.nll(image, low)
    assert all(not m.bias.any() for m in network.modules() if isinstance(m, ActNorm))


def test_processes_settle_on_their_common_batch(monkeypatch):
    x = torch.randn(4, 3, 5, 5) * 2 + 1
    together, apart = ActNorm(3), [ActNorm(3), ActNorm(3)]
    together(x)
    parts, barrier = {}, threading.Barrier(2, timeout=60)

    def total(mine):
        barrier.wait()
        parts[threading.get_ident()] = mine
        barrier.wait()
        return sum(parts.values())

    monkeypatch.setattr(flow, "processes", lambda: 2)
    monkeypatch.setattr(flow, "sum_over_processes", total)
    threads = [threading.Thread(target=norm, args=(half,)) for norm, half in zip(apart, x.chunk(2), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for norm in apart:
        torch.testing.assert_close(norm.bias, together.bias)
        torch.testing.assert_close(norm.logs, together.logs)


@pytest.mark.parametrize("first", ["photograph", "black", "tiny"])
def test_a_batch_of_one_trains(first):
    torch.manual_seed(0)
    network = SRFlow(**TINY).train()
    optimizer = torch.optim.Adam(network.parameters(), 2.5e-4)
    image, low = pair(batch=8)
    batches = [(image[i : i + 1], low[i : i + 1]) for i in range(8)]
    if first == "black":
        batches.insert(0, (image[:1] * 0, low[:1] * 0))
    if first == "tiny":
        batches.insert(0, (image[:1, :, :8, :8], low[:1, :, :2, :2]))
    found = []
    for crop, small in batches * 2:
        nll = network.nll(crop, small, add_noise=True).mean()
        optimizer.zero_grad()
        nll.backward()
        optimizer.step()
        found.append(nll.item())
    assert all(math.isfinite(nll) and nll < 1000 for nll in found)
    assert all(p.isfinite().all() for p in network.parameters())
    assert network(low).isfinite().all()


def test_training_lowers_the_likelihoods_cost():
    torch.manual_seed(0)
    network = SRFlow(**TINY).train()
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    high = F.interpolate(torch.rand(4, 3, 4, 4), scale_factor=4, mode="bicubic")
    low = F.avg_pool2d(high, 4)
    found = []
    for _ in range(40):
        nll = network.nll(high, low, add_noise=True).mean()
        optimizer.zero_grad()
        nll.backward()
        optimizer.step()
        found.append(nll.item())
    assert sum(found[-5:]) / 5 < sum(found[1:6]) / 5 - 1


def test_every_parameter_has_a_gradient_from_the_likelihood():
    network = build().train()
    network.nll(*pair()).sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_samples_share_the_features_of_their_images():
    network = build()
    _, low = pair()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        z = network.draw(low, [0, 0, 0.5, 0.9, 1, 1], generator)
        together = network.decode(low, z)
        features = network.features(low)
        for i in range(6):
            one = slice(i % 2, i % 2 + 1)
            alone = network.decode(low[one], [part[i : i + 1] for part in z], [seen[one] for seen in features])
            torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-4)
        torch.testing.assert_close(together[:2], network(low), rtol=0, atol=1e-4)


def test_latents_have_their_temperature():
    network = build()
    low = torch.rand(3, 3, 16, 16)
    z = network.draw(low, torch.tensor([0.0, 0.5, 0.9]), torch.Generator().manual_seed(0))
    for part in z:
        assert not part[0].any()
        assert part[1].std() == pytest.approx(0.5, rel=0.1)
        assert part[2].std() == pytest.approx(0.9, rel=0.1)
    again = network.draw(low, [0.0, 0.5, 0.9], torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(z, again, strict=True))
    with pytest.raises(ValueError, match="multiple of 3, for as many images, found 2"):
        network.draw(low, [0.5, 0.9])


def test_images_of_any_size_go_in():
    network = build()
    low = torch.rand(1, 3, 5, 7)
    with torch.no_grad():
        found = network(low)
        mirrored = network(F.pad(low, (0, 1, 0, 1), mode="reflect"))
    assert torch.equal(found, mirrored[..., :20, :28])
    with pytest.raises(ValueError, match="multiples of 2, found 5 x 7"):
        network.decode(low)
    with pytest.raises(ValueError, match="4 times as large as 4 x 4, found 12 x 16"):
        network.encode(torch.rand(1, 3, 12, 16), torch.rand(1, 3, 4, 4))


def test_what_diverges_is_replaced_and_the_rest_untouched():
    network = build()
    _, low = pair(batch=3)
    with torch.no_grad():
        z = network.draw(low, 0.7, torch.Generator().manual_seed(0))
        good = network.decode(low, z)
        for part in z:
            part[1] *= 1e30
        z[0][2] = math.nan
        raw = network.decode(low, z)
        image, replaced = network.decode_safely(low, z)
    assert sound(good).all()
    assert sound(raw).tolist() == [True, False, False]
    assert replaced.tolist() == [False, True, True]
    assert sound(image).all()
    assert torch.equal(image[0], raw[0])
    assert image[1].std() > 0


def test_latents_too_hot_are_cooled_no_more_than_needed():
    network = build()
    _, low = pair(batch=1)
    with torch.no_grad():
        z = [part * 10 for part in network.draw(low, 1.0, torch.Generator().manual_seed(0))]
        hot = [network.decode(low, [part * factor for part in z]) for factor in (1, 0.5, 0.25, 0)]
        image, replaced = network.decode_safely(low, z)
    first = next(i for i, candidate in enumerate(hot) if sound(candidate).all())
    assert first > 0
    assert replaced.tolist() == [True]
    torch.testing.assert_close(image, hot[first])


def test_a_broken_network_enlarges_bicubically():
    network = build()
    _, low = pair()
    with torch.no_grad():
        network.levels[0].steps[0].invconv.weight.fill_(0)
        image, replaced = network.decode_safely(low)
    assert replaced.all()
    torch.testing.assert_close(image, F.interpolate(low, scale_factor=4, mode="bicubic"))


@pytest.mark.parametrize(("value", "expected"), [(0.5, True), (-3.0, True), (1e22, False), (math.nan, False)])
def test_soundness_is_told_per_image(value, expected):
    image = torch.rand(3, 3, 4, 4)
    image[1, 2, 3, 0] = value
    assert sound(image).tolist() == [True, expected, True]


def test_ill_conditioned_convolutions_are_inverted_in_double_precision():
    torch.manual_seed(0)
    conv = InvertibleConv(12)
    with torch.no_grad():
        conv.weight.copy_(conv.weight @ torch.diag(torch.logspace(-3, 0, 12)) @ conv.weight.T)
    x = torch.randn(1, 12, 3, 3, dtype=torch.float64)
    y = torch.einsum("ij,bjhw->bihw", conv.weight.double(), x)
    torch.testing.assert_close(conv.inverse(y), x, rtol=0, atol=1e-9)


def test_convolution_of_parts_is_that_of_their_concatenation():
    torch.manual_seed(0)
    conv = NormConv(5, 4, 3).eval()
    a, b = torch.rand(4, 2, 6, 5), torch.rand(2, 3, 6, 5)
    joined = nn.functional.conv2d(torch.cat([a, torch.cat([b, b])], 1), conv.weight, padding=1)
    torch.testing.assert_close(conv(a, b), conv.actnorm(joined))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scale": 8, "L": 4},
        {"scale": 16, "L": 4, "K": 1},
        {"L": 2, "K": 3, "additional": 1},
        {"L": 3, "correct_splits": True, "hidden_channels": 5, "gc": 6},
        {"L": 1, "split": False, "in_nc": 1, "out_nc": 1},
        {"additional": 0, "nb": 5, "blocks": (2, 4)},
    ],
    ids=str,
)
def test_recognises_its_options(options):
    network = build(**options)
    public = network.to_public(network.state_dict())
    found = SRFlow.recognise(public)
    expected = {**TINY, "scale": 4, "L": 3, "additional": 2, "split": True, "correct_splits": False, **options}
    expected.pop("blocks", None)
    assert expected.items() <= found.items()
    again = SRFlow(**found)
    again.load_state_dict(again.from_public(public))
    assert len(again.blocks) == len(network.blocks)


@pytest.mark.parametrize(
    ("name", "nb", "blocks", "scale"),
    [("keys_srflow_df2k_x4", 23, (1, 8, 15, 22), 4), ("keys_srflow_celeba_x8", 8, (1, 3, 5, 7), 8)],
)
def test_recognises_published_files(name, nb, blocks, scale):
    path = GOLDEN / "sr" / f"{name}.json"
    if not path.exists():
        pytest.skip(f"{path} absent")
    listed = json.loads(path.read_text(encoding="utf-8"))["state_dict"]
    public = {key: torch.empty(shape, device="meta") for key, shape, _ in listed}
    found = SRFlow.recognise(public)
    assert (found["nb"], found["blocks"], found["scale"], found["K"]) == (nb, blocks, scale, 16)
    with torch.device("meta"):
        network = SRFlow(nb=nb, scale=scale, L=found["L"])
    assert network.blocks == blocks
    assert network.from_public(public).keys() == network.state_dict().keys()


@pytest.mark.parametrize("layout", ["old", "new", "realesrgan"])
def test_encoder_takes_esrgan_weights_in_any_layout(layout):
    esrgan = RRDBNet(nf=8, nb=4, gc=4)
    network = build()
    network.RRDB.load_state_dict(network.RRDB.from_public(esrgan.to_public(esrgan.state_dict(), layout)))
    for ours, theirs in zip(network.RRDB.state_dict().values(), esrgan.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 2}, "4, 8 or 16, found 2"),
        ({"L": 4}, "enlarges 4 times, in 1 to 3, found 4"),
        ({"L": 0}, "in 1 to 3, found 0"),
        ({"K": 0}, "K of 1 or more and quant above 0, found 0 and 255"),
        ({"out_nc": 1}, "out_nc to be in_nc, 3, found 1"),
        ({"blocks": (1, 4)}, r"from 0 to 3 as there are 4, found \[1, 4\]"),
        ({"blocks": ()}, "from 0 to 3"),
    ],
)
def test_bad_options_say_what_was_expected(options, message):
    with pytest.raises(ValueError, match=message):
        SRFlow(**{**TINY, **options})
