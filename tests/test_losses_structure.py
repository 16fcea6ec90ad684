"""Losses of structure: ssim, ms-ssim, hfen, tv, grad, gpl, cpl, overflow, range."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from darkroom.core.terms import LOSSES
from darkroom.losses import gradients, hfen, pixel, ssim

ALONE = {
    "tv": ("tv", {}),
    "dtv": ("tv", {"directions": 4, "norm": 2}),
    "overflow": ("overflow", {}),
    "range": ("range", {}),
}
PAIRED = {
    "ssim": ("ssim", {}),
    "ssim padded": ("ssim", {"padding": True, "shave": 0}),
    "ms-ssim": ("ms-ssim", {}),
    "ms-ssim of traiNNer": ("ms-ssim", {"repeat_last": True}),
    "ms-ssim of PPON": ("ms-ssim", {"per_channel": True, "shave": 0}),
    "gpl": ("gpl", {}),
    "cpl": ("cpl", {}),
    "cpl of rgb": ("cpl", {"yuv": False, "yuvgrad": False}),
    **{f"hfen {name}": ("hfen", {"criterion": name}) for name in pixel.CRITERIA},
    **{f"grad {name}": ("grad", {"criterion": name}) for name in pixel.CRITERIA},
}
NAMES = [*ALONE, *PAIRED]


def images(shape=(2, 3, 24, 28), dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.rand(shape, generator=generator, dtype=dtype) for _ in "xy")


def made(label):
    """The loss as a function of two images."""
    if label in ALONE:
        name, options = ALONE[label]
        loss = LOSSES[name](**options)
        return lambda x, y: loss(x)
    name, options = PAIRED[label]
    return LOSSES[name](**options)


# What holds for all of them


def test_every_loss_of_these_modules_is_tested_here():
    modules = {f"darkroom.losses.{name}" for name in ("ssim", "hfen", "gradients", "profile", "range")}
    registered = {name for name in LOSSES if LOSSES[name].__module__ in modules}
    assert registered == {name for name, _ in (*ALONE.values(), *PAIRED.values())}
    assert registered == {"ssim", "ms-ssim", "hfen", "tv", "grad", "gpl", "cpl", "overflow", "range"}


@pytest.mark.parametrize("label", NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_any_precision_and_any_images_give_finite_values_and_gradients(label, dtype):
    """Flat, black, white and equal images; a bound on the gradient where the criterion divides by no small number."""
    loss = made(label)
    x, y = images((1, 3, 24, 28), torch.float32)
    black, dark, white = torch.zeros_like(x), torch.full_like(x, 0.02), torch.ones_like(x)
    pairs = [(x, y), (x, x), (x, 1 - x), (3 * x - 1, y), *itertools.product((black, dark, white, x), (black, white, x))]
    for a, b in pairs:
        given = a.to(dtype).requires_grad_()
        value = loss(given, b.to(dtype))
        (gradient,) = torch.autograd.grad(value, given)
        assert value.dtype == torch.float32
        assert value.isfinite()
        assert gradient.isfinite().all()
        if "relative" not in label:
            assert gradient.abs().max() < 1e3
    half = loss(x.to(dtype), y.to(dtype))
    torch.testing.assert_close(half, loss(x.to(dtype).float(), y.to(dtype).float()))


@pytest.mark.parametrize("label", NAMES)
def test_gradient_is_right(label):
    loss = made(label)
    x, y = images((1, 3, 20, 19))
    assert torch.autograd.gradcheck(lambda t: loss(2 * t - 0.5, y), x.requires_grad_(), fast_mode=True)


@pytest.mark.parametrize("label", [n for n in NAMES if "hfen" not in n and "fro" not in n])
def test_the_value_does_not_depend_on_the_batch(label):
    loss = made(label)
    x, y = images()
    x = 2 * x - 0.5
    each = torch.stack([loss(x[i : i + 1], y[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(loss(x, y), each.mean())


@pytest.mark.parametrize("label", [n for n in NAMES if n != "cpl"])
def test_gray_images(label):
    """As one channel of three that are alike: a mean is the same, a sum over channels a third."""
    x, y = images((2, 1, 24, 28))
    loss = made(label)
    value, of_three = loss(x, y), loss(x.expand(-1, 3, -1, -1), y.expand(-1, 3, -1, -1))
    if "cosine" in label or "fro" in label:
        assert value.isfinite()
        return
    summed = {"gpl", "cpl of rgb", *(f"hfen {name}" for name in hfen.SUMMED)}
    torch.testing.assert_close(value * 3 if label in summed else value, of_three)


@pytest.mark.parametrize("label", NAMES)
def test_memory_format_and_state(label):
    x, y = images(dtype=torch.float32)
    loss = made(label)
    last = loss(*(image.contiguous(memory_format=torch.channels_last) for image in (x, y)))
    torch.testing.assert_close(last, loss(x, y), rtol=1e-3 if "relative" in label else 1e-5, atol=1e-6)
    if label in PAIRED:
        assert not loss.state_dict()
        with pytest.raises(ValueError, match="one shape"):
            loss(x[..., 1:], y)


def test_bad_options_are_refused():
    bad = [
        ("ssim", {"window_size": 10}),
        ("ssim", {"window_sigma": 0.0}),
        ("ssim", {"shave": -1}),
        ("ms-ssim", {"data_range": 0.0}),
        ("ms-ssim", {"weights": (1.0,)}),
        ("hfen", {"kernel_size": 4}),
        ("hfen", {"sigma": -1.0}),
        ("hfen", {"criterion": "l3"}),
        ("tv", {"directions": 3}),
        ("tv", {"norm": 3}),
        ("grad", {"directions": 1}),
        ("grad", {"criterion": "l3"}),
        ("cpl", {"rgb": False, "yuv": False, "yuvgrad": False}),
        ("range", {"legit_range": (1.0, 0.0)}),
        ("overflow", {"legit_range": (1.0, 1.0)}),
    ]
    for name, options in bad:
        with pytest.raises(ValueError, match=f"{next(iter(options))}.*expected|criterion"):
            LOSSES[name](**options)


def test_images_that_are_too_small_or_have_no_colour_are_refused():
    x, y = images((1, 3, 18, 30))
    with pytest.raises(ValueError, match=r"at least 19 pixels.*\(18, 30\)"):
        LOSSES["ssim"]()(x, y)
    with pytest.raises(ValueError, match="at least 9 pixels"):
        LOSSES["ms-ssim"]()(x[..., :8], y[..., :8])
    assert LOSSES["ms-ssim"]()(x[..., :9], y[..., :9]).isfinite()
    with pytest.raises(ValueError, match="RGB image"):
        LOSSES["cpl"]()(x[:, :1], y[:, :1])


# Structural similarity


def bell(size, sigma):
    window = torch.tensor([[math.exp(-(i * i + j * j) / (2 * sigma**2)) for i in centred(size)] for j in centred(size)])
    return (window / window.sum()).double()


def centred(size):
    return range(-(size // 2), size // 2 + 1)


def windows_of(x, y, size, sigma, data_range=1.0):
    """SSIM and contrast times structure of every window by the definitions of Wang et al. 2004: (places, B, C) each."""
    window, found = bell(size, sigma), []
    for i, j in itertools.product(range(x.shape[2] - size + 1), range(x.shape[3] - size + 1)):
        a, b = x[:, :, i : i + size, j : j + size], y[:, :, i : i + size, j : j + size]
        ma, mb = ((window * t).sum((2, 3), keepdim=True) for t in (a, b))
        va, vb, cov = ((window * t).sum((2, 3)) for t in ((a - ma) ** 2, (b - mb) ** 2, (a - ma) * (b - mb)))
        ma, mb, c1, c2 = ma[..., 0, 0], mb[..., 0, 0], (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
        structure = (2 * cov + c2) / (va + vb + c2)
        found.append(((2 * ma * mb + c1) / (ma**2 + mb**2 + c1) * structure, structure))
    return (torch.stack(kind) for kind in zip(*found, strict=True))


def similar(shape, seed=0):
    x, noise = images(shape, seed=seed)
    return x, 0.7 * x + 0.3 * noise


def test_ssim_is_the_mean_over_all_windows():
    x, y = similar((2, 2, 19, 17))
    index, _ = windows_of(x[..., 2:-2, 2:-2], y[..., 2:-2, 2:-2], 7, 1.2, 2.0)
    loss = LOSSES["ssim"](window_size=7, window_sigma=1.2, data_range=2.0, shave=2)
    assert float(loss(x, y)) == pytest.approx(1 - float(index.mean()), rel=1e-5)
    padded = (F.pad(t, (3, 3, 3, 3)) for t in (x, y))
    index, _ = windows_of(*padded, 7, 1.2)
    loss = LOSSES["ssim"](window_size=7, window_sigma=1.2, shave=0, padding=True)
    assert float(loss(x, y)) == pytest.approx(1 - float(index.mean()), rel=1e-5)


def test_ssim_and_ms_ssim_agree_with_torchmetrics():
    from torchmetrics.functional.image import structural_similarity_index_measure as measured

    x, y = similar((2, 3, 184, 216))
    a, b = (t[..., 4:-4, 4:-4] for t in (x, y))
    mirrored = {"data_range": 1.0, "reduction": "none"}  # beyond the border, which is to be cut off
    index = measured(a, b, **mirrored, return_full_image=True)[1][..., 5:-5, 5:-5]
    torch.testing.assert_close(1 - LOSSES["ssim"]()(x, y), index.mean(), rtol=1e-6, atol=0)
    expected = 1.0
    for weight in (0.0448, 0.2856, 0.3001, 0.2363):
        expected = expected * measured(a, b, **mirrored, return_contrast_sensitivity=True)[1] ** weight
        a, b = (F.avg_pool2d(t, 2) for t in (a, b))
    index = measured(a, b, **mirrored, return_full_image=True)[1][..., 5:-5, 5:-5]
    expected = expected * index.mean((1, 2, 3)) ** 0.1333
    torch.testing.assert_close(1 - LOSSES["ms-ssim"](repeat_last=False)(x, y), expected.mean(), rtol=1e-6, atol=0)


def test_ms_ssim_shrinks_the_window_with_the_image():
    x, y = similar((2, 2, 40, 27))
    scales = [(11, (32, 19)), (9, (16, 10)), (5, (8, 5)), (3, (4, 3)), (1, (2, 2))]
    weights, expected = (0.1, 0.3, 0.2, 0.25, 0.15), 1.0
    a, b = x[..., 4:-4, 4:-4], y[..., 4:-4, 4:-4]
    for weight, (size, sides) in zip(weights, scales, strict=True):
        assert a.shape[2:] == sides
        index, structure = windows_of(a, b, size, 1.5 * size / 11)
        expected = expected * (index if size == 1 else structure).mean((0, 2)) ** weight
        even = (F.pad(t, (t.shape[3] % 2, 0, t.shape[2] % 2, 0)) for t in (a, b))
        a, b = (t.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5)) for t in even)
    loss = LOSSES["ms-ssim"](weights=weights, repeat_last=False)
    torch.testing.assert_close(loss(x, y), 1 - expected.mean(), rtol=1e-5, atol=0)


def test_ms_ssim_repeats_the_last_scale_once_per_other_scale():
    x, y = similar((2, 3, 64, 64))
    repeated = LOSSES["ms-ssim"](weights=(0.2, 0.3, 0.4, 0.1), repeat_last=True)
    torch.testing.assert_close(repeated(x, y), LOSSES["ms-ssim"](weights=(0.2, 0.3, 0.4, 0.3), repeat_last=False)(x, y))
    assert float(repeated(x, x)) == pytest.approx(0, abs=1e-9)


def test_negative_structure_counts_as_none():
    x, _ = images((1, 1, 40, 40), torch.float32)
    given = x.requires_grad_()
    value = LOSSES["ms-ssim"]()(given, 1 - x.detach())
    (gradient,) = torch.autograd.grad(value, given)
    assert float(value.detach()) == 1
    assert gradient.isfinite().all()


def test_the_power_of_a_similarity_has_a_finite_slope_everywhere():
    base = torch.tensor([-1.0, -1e-12, 0.0, 1e-12, 5e-5, 1e-3, 0.5, 1.0], dtype=torch.float64, requires_grad=True)
    power = ssim.bounded_power(base, 0.0448)
    line = 1e-4**0.0448 * 1e4
    expected = [0, 0, 0, 1e-12 * line, 5e-5 * line, 1e-3**0.0448, 0.5**0.0448, 1]
    assert power.tolist() == pytest.approx(expected, rel=1e-12)
    (slope,) = torch.autograd.grad(power.sum(), base)
    assert slope.abs().max() <= line * (1 + 1e-12)


# High frequencies


def test_laplacian_of_gaussian():
    kernel = hfen.laplacian_of_gaussian(5, 0.8)
    raw = [[math.exp(-(i * i + j * j) / 1.28) * (i * i + j * j - 1.28) for i in centred(5)] for j in centred(5)]
    total = sum(map(sum, raw))
    assert kernel.flatten().tolist() == pytest.approx([-value / total for row in raw for value in row], rel=1e-12)
    assert float(hfen.laplacian_of_gaussian(15, 2.5).sum()) == pytest.approx(-1, rel=1e-9)


def under(image, kernel):
    """Each channel under the kernel, place by place, black beyond the border."""
    margin = len(kernel) // 2
    wide, out = F.pad(image, (margin,) * 4), torch.empty_like(image)
    for i, j in itertools.product(range(image.shape[2]), range(image.shape[3])):
        out[:, :, i, j] = (wide[:, :, i : i + len(kernel), j : j + len(kernel)] * kernel).sum((2, 3))
    return out


@pytest.mark.parametrize("criterion", pixel.CRITERIA)
def test_hfen_compares_what_the_filter_leaves(criterion):
    x, y = images((2, 2, 9, 8))
    loss = LOSSES["hfen"](criterion, kernel_size=7, sigma=1.3)
    on_x, on_y = (under(image, loss.kernel.double()) for image in (x, y))
    d = on_x - on_y
    sums = {
        "l1": d.abs().sum(),
        "l2": d.square().sum(),
        "elastic": 0.2 * d.square().sum() + 0.8 * d.abs().sum(),
        "relativel1": (d / (on_y + 0.01)).abs().sum(),
        "cb": (d.square() + 1e-12).sqrt().mean(),
        "clipl1": d.abs().clamp(max=10).mean(),
        "fro": d.square().sum().sqrt() / 2,
        "l1cosinesim": d.abs().mean() + 5 * (1 - (on_x * on_y).sum(1) / (on_x.norm(dim=1) * on_y.norm(dim=1))).mean(),
    }
    expected = sums[{"mse": "l2", "charbonnier": "cb"}.get(criterion, criterion)]
    torch.testing.assert_close(loss(x, y), expected)


# Neighbouring pixels


def neighbours(image):
    """The four differences of one channel, pixel by pixel, as the reference has them at the borders."""
    h, w = image.shape
    at = lambda i, j: float(image[i, j]) if i < h and j < w else 0.0  # noqa: E731
    places = list(itertools.product(range(h), range(w)))
    right = [at(i, j + 1) - at(i, j) if j + 1 < w else 0.0 for i, j in places]
    down = [at(i + 1, j) - at(i, j) if i + 1 < h else 0.0 for i, j in places]
    rising = [at(i, j + 1) - at(i + 1, j) if i + 1 < h else 0.0 for i, j in places]
    falling = [at(i + 1, j + 1) - at(i, j) for i, j in places]
    return [right, down, rising, falling]


@pytest.mark.parametrize("directions", [2, 4])
def test_differences(directions):
    x, _ = images((2, 2, 4, 5))
    found = gradients.differences(x, directions)
    for b, c in itertools.product(range(2), range(2)):
        expected = neighbours(x[b, c])[:directions]
        assert [d[b, c].flatten().tolist() for d in found] == [pytest.approx(e, rel=1e-12) for e in expected]


@pytest.mark.parametrize(("directions", "norm"), [*itertools.product((2, 4), (1, 2))])
def test_total_variation(directions, norm):
    x, _ = images((2, 3, 4, 5))
    planes = [neighbours(plane)[:directions] for plane in x.flatten(0, 1)]
    expected = sum(abs(d) ** norm for plane in planes for direction in plane for d in direction) / x.numel()
    assert float(LOSSES["tv"](directions, norm)(x)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("directions", "criterion"), [*itertools.product((2, 4), pixel.CRITERIA)])
def test_gradients_are_compared_by_the_criterion(directions, criterion):
    x, y = images((2, 3, 4, 5))
    planes = [
        torch.tensor([neighbours(p) for p in t.flatten(0, 1)], dtype=t.dtype).reshape(2, 3, 4, 4, 5) for t in (x, y)
    ]
    each = [pixel.CRITERIA[criterion](planes[0][:, :, d], planes[1][:, :, d]) for d in range(directions)]
    torch.testing.assert_close(LOSSES["grad"](directions, criterion)(x, y), sum(each) / directions)


# Profiles


def traces(x, y):
    """sum_c (1/H tr(x y^T) + 1/W tr(x^T y)) with rows, then columns, of length 1, image by image."""
    unit = lambda t, dim: t / t.norm(dim=dim, keepdim=True).clamp_min(1e-12)  # noqa: E731
    total = 0.0
    for a, b in zip(x.flatten(0, 1), y.flatten(0, 1), strict=True):
        total += float(torch.trace(unit(a, 1) @ unit(b, 1).T)) / a.shape[0]
        total += float(torch.trace(unit(a, 0).T @ unit(b, 0))) / a.shape[1]
    return total / len(x)


def edges(x):
    planes = torch.tensor([neighbours(plane)[:2] for plane in x.flatten(0, 1)], dtype=x.dtype)
    return planes.reshape(*x.shape[:2], 2, *x.shape[2:]).unbind(2)


def yuv(x):
    r, g, b = x.unbind(1)
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    return torch.stack([luma, 0.493 * (b - luma) + 0.5, 0.877 * (r - luma) + 0.5], dim=1)


def test_profiles_are_the_traces_of_the_paper():
    x, y = images((2, 3, 7, 9))
    on_edges = lambda a, b: sum(traces(*pair) for pair in zip(edges(a), edges(b), strict=True))  # noqa: E731
    assert float(LOSSES["gpl"]()(x, y)) == pytest.approx(-on_edges(x, y), rel=1e-9)
    parts = {"rgb": traces(x, y), "yuv": traces(yuv(x), yuv(y)), "yuvgrad": on_edges(yuv(x), yuv(y))}
    for chosen in itertools.product((False, True), repeat=3):
        if any(chosen):
            expected = -sum(part for part, counts in zip(parts.values(), chosen, strict=True) if counts)
            loss = LOSSES["cpl"](**dict(zip(parts, chosen, strict=True)))
            assert float(loss(x, y)) == pytest.approx(expected, rel=1e-9)


def test_profiles_are_free_of_contrast_and_least_for_equal_images():
    x, y = images((2, 3, 7, 9))
    torch.testing.assert_close(LOSSES["gpl"]()(0.3 * x + 0.2, y), LOSSES["gpl"]()(x, y))
    assert float(LOSSES["cpl"](yuv=False, yuvgrad=False)(0.5 * y, y)) == pytest.approx(-6)


# Range


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0)])
def test_out_of_range(low, high):
    x = torch.randn((2, 3, 5, 7), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    far = [max(low - value, value - high, 0) for value in x.flatten().tolist()]
    bounds = {} if low == 0 else {"legit_range": (low, high)}
    assert float(LOSSES["range"](**bounds)(x)) == pytest.approx(sum(far) / len(far), rel=1e-12)
    expected = sum(math.log(1 + value) for value in far) / len(far)
    assert float(LOSSES["overflow"](**bounds)(x)) == pytest.approx(expected, rel=1e-12)
    for name in ("range", "overflow"):
        assert float(LOSSES[name](**bounds)(x.clamp(low, high))) == 0
