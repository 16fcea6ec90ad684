"""AdaTarget: pieces warped against a loop, and the network that says how."""

import math

import pytest
import torch

from darkroom.archs import ARCHS
from darkroom.filters.adaptive import adapt, pieces

SIZES = [(28, 21), (30, 25), (7, 7), (13, 40)]


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def identity(b, h, w, p):
    return torch.eye(2, 3).expand(b, (h // p) * (w // p), 2, 3).clone()


def locnet(**options):
    torch.manual_seed(0)
    return ARCHS["locnet"](**options)


def naive(target, theta, p, s):
    """One image after the other, one pixel after the other."""
    margin = (s - p) // 2
    new = target.clone()
    batch, _, height, width = target.shape
    for b in range(batch):
        for n in range((height // p) * (width // p)):
            top, left = p * (n // (width // p)), p * (n % (width // p))
            for i in range(p):
                for j in range(p):
                    y, x = (2 * i + 1) / p - 1, (2 * j + 1) / p - 1
                    u, v = (float(row @ torch.tensor([x, y, 1.0])) for row in theta[b, n])
                    v, u = ((c + 1) * p / 2 - 0.5 for c in (v, u))  # pixels of the piece
                    v, u = (min(max(c, -margin), p - 1 + margin) for c in (v, u))  # of its surroundings
                    value = torch.zeros(target.shape[1])
                    for q in (math.floor(v), math.floor(v) + 1):
                        for r in (math.floor(u), math.floor(u) + 1):
                            weight = (1 - abs(v - q)) * (1 - abs(u - r))
                            inside = min(max(top + q, 0), height - 1), min(max(left + r, 0), width - 1)
                            value += weight * target[b, :, inside[0], inside[1]]
                    new[b, :, top + i, left + j] = value
    return new


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("p", "s"), [(7, 9), (5, 5), (4, 8)])
def test_identity_changes_nothing(size, p, s):
    target = rand(2, 3, *size)
    torch.testing.assert_close(adapt(target, identity(2, *size, p), p, s), target, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("p", "s"), [(3, 5), (4, 4), (2, 6)])
def test_against_a_loop(p, s):
    target = rand(2, 2, 11, 9)
    theta = identity(2, 11, 9, p)
    theta = theta + 0.8 * (rand(*theta.shape, seed=1) - 0.5)
    expected = naive(target, theta, p, s)
    assert (expected - target).abs().mean() > 0.02
    torch.testing.assert_close(adapt(target, theta, p, s), expected, atol=1e-5, rtol=0)


def test_a_translation_by_a_pixel_reads_the_neighbouring_piece():
    target, p = rand(1, 3, 21, 21), 7
    theta = identity(1, 21, 21, p)
    theta[..., 0, 2] = 2 / p
    got = adapt(target, theta, p, 9)
    torch.testing.assert_close(got[..., :-1], target[..., 1:], atol=1e-5, rtol=0)
    torch.testing.assert_close(got[..., -1], target[..., -1], atol=1e-5, rtol=0)
    theta[..., 0, 2] = 6 / p  # further than the surroundings go
    got = adapt(target, theta, p, 9)
    torch.testing.assert_close(got[..., 6], target[..., 7], atol=1e-5, rtol=0)


def test_pieces_are_read_row_by_row():
    image = torch.arange(2 * 6 * 5.0).reshape(1, 2, 6, 5)
    got = pieces(image, 2, 2)
    assert got.shape == (1, 6, 8)
    assert torch.equal(got[0, 3], image[0, :, 2:4, 2:4].flatten())
    assert torch.equal(pieces(image, 4, 2)[0, 3], image[0, :, 1:5, 1:5].flatten())
    corner = pieces(image, 4, 2)[0, 0].reshape(2, 4, 4)
    assert torch.equal(corner[:, 0], corner[:, 1])
    assert torch.equal(corner[:, 1:, 1:], image[0, :, :3, :3])


def test_gradient_reaches_target_and_transforms():
    target = rand(1, 1, 7, 6).double().requires_grad_()
    theta = identity(1, 7, 6, 3).double() + 0.1 * rand(1, 4, 2, 3, seed=2).double()
    assert torch.autograd.gradcheck(lambda x, t: adapt(x, t, 3, 5), (target, theta.requires_grad_()))


def test_it_keeps_the_type_and_computes_in_single():
    target = rand(1, 3, 16, 16)
    theta = identity(1, 16, 16, 7) + 0.1
    exact = adapt(target, theta, 7, 9)
    rough = adapt(target.bfloat16(), theta.bfloat16(), 7, 9)
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, atol=0.02, rtol=0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(adapt(target, theta, 7, 9), exact)


def test_the_network_begins_with_the_identity():
    network, output, target = locnet(), rand(2, 3, 30, 23), rand(2, 3, 30, 23, seed=1)
    theta = network.transforms(output, target)
    assert theta.shape == (2, 4 * 3, 2, 3)
    assert torch.equal(theta, identity(2, 30, 23, 7))
    assert (network.p_size, network.s_size) == (7, 9)


def test_the_network_moves_the_output():
    network, output, target = locnet(p_size=3, s_size=5, nf=8).eval(), rand(1, 3, 9, 10), rand(1, 3, 9, 10, seed=1)
    torch.testing.assert_close(network(output, target), output, atol=1e-5, rtol=0)
    torch.nn.init.normal_(network.layer4.weight)
    theta = network.transforms(output, target).detach()
    moved = network(output, target)
    torch.testing.assert_close(moved, naive(output, theta, 3, 3), atol=1e-4, rtol=0)
    assert (moved - output).abs().mean() > 0.01


def test_the_network_has_the_published_layers():
    shapes = {k: tuple(v.shape) for k, v in locnet().state_dict().items() if v.ndim == 2}
    assert shapes == {
        "layer1.weight": (780, 390),
        "layer2.weight": (780, 780),
        "layer3.weight": (390, 780),
        "layer4.weight": (6, 390),
    }
    small = locnet(p_size=3, s_size=7, in_nc=1, nf=8)
    assert small.transforms(rand(1, 1, 9, 9), rand(1, 1, 9, 9)).shape == (1, 9, 2, 3)
    assert small.layer2.weight.shape == (8, 8)


def test_the_network_reads_the_output_first():
    network = locnet(nf=4).eval()
    torch.nn.init.normal_(network.layer4.weight)
    torch.nn.init.zeros_(network.layer1.weight[:, 3 * 49 :])
    output, target = rand(1, 3, 7, 7), rand(1, 3, 7, 7, seed=1)
    assert torch.equal(network.transforms(output, target), network.transforms(output, target * 0))
    assert not torch.equal(network.transforms(output, target), network.transforms(output * 0, target))


def test_the_network_sees_each_piece_for_itself():
    network = locnet(nf=16).eval()
    torch.nn.init.normal_(network.layer4.weight)
    output, target = rand(1, 3, 21, 21), rand(1, 3, 21, 21, seed=1)
    theta = network.transforms(output, target)
    output = output.clone()
    output[..., 8, 15] += 1  # in piece 1, 2
    target = target.clone()
    target[..., 14, 3] += 1  # in piece 2, 0 and beside piece 1, 0
    changed = (network.transforms(output, target) != theta).flatten(2).any(2)[0].reshape(3, 3)
    assert changed.nonzero().tolist() == [[1, 0], [1, 2], [2, 0]]


def test_it_learns_to_undo_a_shift():
    torch.manual_seed(0)
    network = locnet(p_size=5, s_size=9, nf=32)
    ramp = torch.nn.functional.interpolate(rand(2, 3, 8, 8), (40, 40), mode="bicubic")
    output, target = ramp[..., :, 1:36], ramp[..., :, :35]
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    losses = []
    for _ in range(25):
        loss = (adapt(target, network.transforms(output, target), 5, 9) - output).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    idle = [n for n, p in network.named_parameters() if not p.grad.any()]
    assert [n for n in idle if not n.endswith("bias")] == []  # a bias before a batch norm has no effect


def test_the_network_computes_in_single_under_autocast():
    network, output, target = locnet(nf=8).eval(), rand(1, 3, 14, 14), rand(1, 3, 14, 14, seed=1)
    torch.nn.init.normal_(network.layer4.weight)
    exact = network.transforms(output, target)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network.transforms(output, target), exact)
        assert network.transforms(output.bfloat16(), target).dtype == torch.float32


def test_what_does_not_fit_says_so():
    with pytest.raises(ValueError, match=r"2 x 3 pieces, \(1, 6, 2, 3\), found \(1, 5, 2, 3\)"):
        adapt(rand(1, 3, 14, 21), torch.zeros(1, 5, 2, 3), 7, 9)
    with pytest.raises(ValueError, match="even number of pixels, found 8 around 7"):
        adapt(rand(1, 3, 14, 21), torch.zeros(1, 6, 2, 3), 7, 8)
    with pytest.raises(ValueError, match="found 7 and 5"):
        locnet(s_size=5)
    with pytest.raises(ValueError, match=r"at least 7 x 7, found \(1, 3, 6, 9\)"):
        locnet()(rand(1, 3, 6, 9), rand(1, 3, 6, 9))
