"""Losses of spectra, of averages, and of what networks see: fft, fdpl, avg, color, contextual, lpips, dists."""

import cmath
import itertools
import math
import sys
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import torch
from runs import save_backbone
from torch.nn import functional as F

from darkroom.archs.dists import DISTSDistance
from darkroom.archs.lpips import LPIPSDistance
from darkroom.archs.vgg import VGGFeatures
from darkroom.core.errors import DataError, WeightsError
from darkroom.core.terms import LOSSES
from darkroom.losses import contextual, frequency, pixel

PLAIN = ("fft", "fdpl", "avg", "color")


def images(shape=(2, 3, 16, 24), dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.rand(shape, generator=generator, dtype=dtype) for _ in "xy")


@pytest.fixture(scope="module")
def backbones(tmp_path_factory):
    """Files with random weights in torchvision's layout: the first two blocks of VGG19, AlexNet and VGG16."""
    folder = tmp_path_factory.mktemp("weights")
    networks = {
        "vgg19": VGGFeatures("vgg19", ["conv2_2"]),
        "alex": LPIPSDistance("alex").backbone,
        "vgg16": VGGFeatures("vgg16", ["relu5_3"]),
    }
    return {name: str(save_backbone(network, folder / f"{name}.pth")) for name, network in networks.items()}


@pytest.fixture(scope="module")
def every(backbones):
    """One of each loss, by a name of its own."""
    made = {name: LOSSES[name]() for name in PLAIN}
    for form in ("regular", "bilateral", "symetric"):
        layers = {"conv1_2": 1.0, "conv2_2": 0.5}
        options = {"layers": layers, "calc_type": form, "max_1d_size": 8, "weights": backbones["vgg19"]}
        made[f"contextual {form}"] = LOSSES["contextual"](**options)
    made["lpips"] = LOSSES["lpips"]("alex", weights=backbones["alex"])
    made["dists"] = LOSSES["dists"](backbones["vgg16"])
    return made


NAMES = [*PLAIN, "contextual regular", "contextual bilateral", "contextual symetric", "lpips", "dists"]


# What holds for all of them


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_any_precision_and_any_images_give_finite_values_and_gradients(every, name, dtype):
    x, y = images((1, 3, 36, 33), torch.float32)
    flat, black, bright = torch.full_like(x, 0.3), torch.zeros_like(x), torch.ones_like(x)
    for a, b in ((x, y), (x, x), (flat, flat), (flat, bright), (black, x)):
        given = a.to(dtype).requires_grad_()
        value = every[name](given, b.to(dtype))
        (gradient,) = torch.autograd.grad(value, given)
        assert value.dtype == torch.float32
        assert value.isfinite()
        assert gradient.isfinite().all()
        assert gradient.abs().max() < 1e3
    half = every[name](x.to(dtype), y.to(dtype))
    if "contextual" not in name:  # which draws places
        torch.testing.assert_close(half, every[name](x.to(dtype).float(), y.to(dtype).float()))


@pytest.mark.parametrize("name", NAMES)
def test_under_autocast_it_is_about_the_same(every, name):
    x, y = images((1, 3, 36, 33), torch.float32)
    torch.manual_seed(1)
    expected = every[name](x, y)
    torch.manual_seed(1)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not every[name].full_precision):
        found = every[name](x, y)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.03, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_equal_images_are_best(every, name):
    x, y = images((1, 3, 36, 33), torch.float32)
    torch.manual_seed(1)
    same = float(every[name](x, x))
    torch.manual_seed(1)
    assert same < float(every[name](x, y))
    if "bilateral" not in name:
        assert same == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_broadcast(every, name):
    x, y = images((2, 3, 36, 33), torch.float32)
    with pytest.raises(ValueError, match="one shape"):
        every[name](x, y[:1])


@pytest.mark.parametrize("name", PLAIN)
def test_gradient_is_right_and_the_value_is_a_mean_over_the_batch(name):
    x, y = images((2, 3, 11, 9))
    loss = LOSSES[name]()
    assert torch.autograd.gradcheck(lambda t: loss(t, y), x.clone().requires_grad_(), fast_mode=True)
    torch.testing.assert_close(loss(x, y), torch.stack([loss(x[i : i + 1], y[i : i + 1]) for i in range(2)]).mean())


# fft and fdpl


def test_fft_is_the_mean_difference_of_two_dimensional_spectra():
    x, y = images((1, 2, 5, 6))
    total = 0.0
    for c, u, v in itertools.product(range(2), range(5), range(6)):
        waves = [[cmath.exp(-2j * math.pi * (u * i / 5 + v * j / 6)) for j in range(6)] for i in range(5)]
        on_x, on_y = (sum(float(p[0, c, i, j]) * waves[i][j] for i in range(5) for j in range(6)) for p in (x, y))
        total += abs(on_x.real - on_y.real) + abs(on_x.imag - on_y.imag)
    assert float(LOSSES["fft"]()(x, y)) == pytest.approx(total / (2 * 2 * 5 * 6), rel=1e-12)


def naive_dct(block):
    """T.81, A.3.3, of 8 x 8 numbers."""
    factor = lambda k: math.sqrt((2 if k else 1) / 8)  # noqa: E731
    wave = lambda n, k: math.cos((2 * n + 1) * k * math.pi / 16)  # noqa: E731
    return [
        [
            factor(u)
            * factor(v)
            * sum(block[i][j] * wave(i, u) * wave(j, v) for i in range(8) for j in range(8))
            for v in range(8)
        ]
        for u in range(8)
    ]  # fmt: skip


def naive_planes(image):
    """JPEG's Y, Cb, Cr with the three digits in use, each (H, W), continued to multiples of 8."""
    r, g, b = image.numpy()
    y = 0.299 * r + 0.587 * g + 0.114 * b
    pads = [(0, -side % 8) for side in y.shape]
    return [np.pad(plane, pads, mode="edge") for plane in (y, 0.564 * (b - y) + 0.5, 0.713 * (r - y) + 0.5)]


def naive_spectra(image):
    """(3, blocks, 8, 8)."""
    planes = naive_planes(image)
    corners = [(i, j) for i in range(0, planes[0].shape[0], 8) for j in range(0, planes[0].shape[1], 8)]
    return np.array([[naive_dct(plane[i : i + 8, j : j + 8]) for i, j in corners] for plane in planes])


@pytest.mark.parametrize("suffix", [None, ".npy", ".pt"])
def test_fdpl_weighs_the_dct_of_blocks(tmp_path, suffix):
    x, y = images((1, 3, 16, 11))
    means = np.random.default_rng(0).uniform(0.1, 1.5, (3, 8, 8))
    file = tmp_path / f"means{suffix}"
    if suffix == ".npy":
        np.save(file, means)
    elif suffix == ".pt":
        torch.save(torch.from_numpy(means), file)
    else:
        means, file = np.ones((3, 8, 8)), None
    tables = np.array([frequency._LUMINANCE, frequency._CHROMINANCE, frequency._CHROMINANCE], dtype=float)
    weights = means / tables
    weights /= weights.mean()
    differences = naive_spectra(x[0]) - naive_spectra(y[0])
    expected = (weights[:, None] * differences**2).mean()
    assert float(LOSSES["fdpl"](file and str(file))(x, y)) == pytest.approx(expected, rel=1e-6)


def test_fdpl_sees_frequencies_as_jpeg_does():
    """The tables are those that Pillow writes into a file of quality 50."""
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", quality=50)
    written = Image.open(file).quantization
    for n, table in enumerate((frequency._LUMINANCE, frequency._CHROMINANCE)):
        assert [v for row in table for v in row] == list(written[n])


def test_fdpl_of_gray_is_that_of_luma_and_without_weights_it_is_l2():
    x, y = images((1, 1, 16, 16))
    loss = LOSSES["fdpl"]()
    y_only = loss(*(t.expand(-1, 3, -1, -1) for t in (x, y)))
    torch.testing.assert_close(loss(x, y), 3 * y_only)
    loss.weights.fill_(1)
    torch.testing.assert_close(loss(x, y), pixel.l2(x, y))


def test_mean_differences_are_relative():
    x, y = images((1, 3, 8, 16))
    on_x, on_y = naive_spectra(x[0]), naive_spectra(y[0])
    expected = (2 * abs(on_x - on_y) / (abs(on_x) + abs(on_y))).mean(axis=1)
    np.testing.assert_allclose(frequency.mean_differences(x, y).numpy(), expected, rtol=1e-6)


def test_files_that_are_no_mean_differences_are_refused(tmp_path):
    one = np.ones((3, 8, 8))
    for name, means in {"shape": one[0], "sign": -one, "nan": one * np.nan, "zero": one * 0}.items():
        np.save(tmp_path / f"{name}.npy", means)
        with pytest.raises(DataError, match=r"expected \(3, 8, 8\) numbers"):
            LOSSES["fdpl"](str(tmp_path / f"{name}.npy"))
    (tmp_path / "text.pt").write_text("no tensors")
    for name in ("text.pt", "none.npy"):
        with pytest.raises(DataError, match="cannot be read"):
            LOSSES["fdpl"](str(tmp_path / name))


# avg and color


@pytest.mark.parametrize("criterion", ["l1", "l2", "cb", "elastic", "relativel1", "l1cosinesim", "clipl1", "fro"])
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_averages_and_their_colours_are_compared(criterion, scale):
    x, y = images((2, 3, 7, 8))
    means = []
    for image in (x, y):
        rows = []
        for i in range(0, 8 - scale, scale):
            squares = [image[..., i : i + scale, j : j + scale] for j in range(0, 9 - scale, scale)]
            rows.append(torch.stack([square.mean(dim=(2, 3)) for square in squares], dim=-1))
        means.append(torch.stack(rows, dim=2))
    compare = pixel.CRITERIA[criterion]
    torch.testing.assert_close(LOSSES["avg"](criterion, scale)(x, y), compare(*means))
    colours = []
    for r, g, b in (image.unbind(1) for image in means):
        luma = 0.299 * r + 0.587 * g + 0.114 * b
        colours.append(torch.stack([(b - luma) * 0.493 + 0.5, (r - luma) * 0.877 + 0.5], dim=1))
    torch.testing.assert_close(LOSSES["color"](criterion, scale)(x, y), compare(*colours))


@pytest.mark.parametrize("name", ["avg", "color"])
def test_what_cannot_be_averaged_is_refused(name):
    x, y = images((1, 3, 4, 8))
    with pytest.raises(ValueError, match="squares of 8 pixels"):
        LOSSES[name](scale=8)(x, y)
    with pytest.raises(ValueError, match="expected at least 1"):
        LOSSES[name](scale=0)
    with pytest.raises(ValueError, match="one of l1, l2"):
        LOSSES[name](criterion="l3")


# Contextual


def naive_similarities(x, y, kind, b, h):
    """The paper's equations, with its b, between rows of two matrices."""
    if kind == "cosine":
        d = [[(1 - u @ v / (u.norm() * v.norm())) / 2 for v in y] for u in x]
    else:
        d = [[(u - v).abs().sum() if kind == "l1" else (u - v).square().sum() for v in y] for u in x]
    rows = []
    for row in d:
        least = torch.stack(row).min()
        w = torch.stack([((b - value / (least + 1e-5)) / h).exp() for value in row])
        rows.append(w / w.sum())
    return torch.stack(rows)


def naive_contextual(x, y, kind, form, b, h):
    if form == "symetric":
        return (naive_contextual(x, y, kind, "regular", b, h) + naive_contextual(y, x, kind, "regular", b, h)) / 2
    height, width = x.shape[-2:]
    centre = y.mean(dim=(0, 2, 3), keepdim=True) if kind == "cosine" else 0
    losses = []
    for one, other in zip(x - centre, y - centre, strict=True):
        cx = naive_similarities(one.flatten(1).T, other.flatten(1).T, kind, b, h)
        if form == "regular":
            losses.append(-cx.max(dim=0).values.mean().log())
            continue
        where = torch.tensor([[i / (height + 1), j / (width + 1)] for i in range(height) for j in range(width)])
        cx = 0.9 * cx + 0.1 * naive_similarities(where.to(x), where.to(x), "l2", b, h)
        losses.append(-(cx.reshape(height, width, -1).max(dim=1).values.mean(dim=0) + 1e-5).log().mean())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("kind", ["cosine", "l1", "l2"])
@pytest.mark.parametrize("form", ["regular", "bilateral", "symetric"])
def test_contextual_follows_the_papers_equations(kind, form, monkeypatch):
    monkeypatch.setattr(contextual, "_LARGEST", 2 * 4 * 20 * 3)  # three rows at a time
    x, y = (torch.randn(2, 4, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(n)) for n in range(2))
    values, gradients = [], []
    for function in (
        lambda a: contextual.contextual(a, y, kind, form, 0.4, 64),
        lambda a: naive_contextual(a, y, kind, form, 1.7, 0.4),
    ):
        given = x.clone().requires_grad_()
        values.append(function(given))
        gradients.append(torch.autograd.grad(values[-1], given)[0])
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("form", ["regular", "bilateral", "symetric"])
def test_of_large_maps_random_places_are_compared(form):
    x, y = (torch.randn(2, 4, 5, 4, generator=torch.Generator().manual_seed(n)) for n in range(2))
    torch.manual_seed(3)
    found = contextual.contextual(x, y, "l2", form, 0.5, 3)
    torch.manual_seed(3)
    places = torch.randperm(20)[:9]
    small = [t.flatten(2)[..., places].reshape(2, 4, 3, 3) for t in (x, y)]
    if form == "bilateral":
        where = torch.stack([places // 4 / 6, places % 4 / 5], dim=1)
        cx = [
            0.9 * naive_similarities(*(t[n].flatten(1).T for t in small), "l2", 1, 0.5)
            + 0.1 * naive_similarities(where, where, "l2", 1, 0.5)
            for n in range(2)
        ]
        best = torch.stack([c.reshape(3, 3, 9).max(dim=1).values.mean(dim=0) for c in cx])
        expected = -(best + 1e-5).log().mean()
    else:
        expected = contextual.contextual(*small, "l2", form, 0.5, 3)
    torch.testing.assert_close(found, expected)
    assert float(contextual.contextual(x, y, "l2", form, 0.5, 3)) != float(found), "other places"


def test_contextual_reads_vgg19(backbones):
    x, y = (t.float() for t in images((1, 3, 16, 16)))
    loss = LOSSES["contextual"]({"conv_1_1": 2.0, "conv2_1": 0.5}, "cosine", weights=backbones["vgg19"])
    reader = VGGFeatures("vgg19", ["conv1_1", "conv2_1"])
    state = torch.load(backbones["vgg19"], weights_only=True)
    reader.load_state_dict({key: value for key, value in state.items() if key in reader.state_dict()})
    on_x, on_y = reader(x), reader(y)
    how = "cosine", "regular", 0.5, 64
    expected = 2 * contextual.contextual(on_x["conv1_1"], on_y["conv1_1"], *how)
    expected = expected + 0.5 * contextual.contextual(on_x["conv2_1"], on_y["conv2_1"], *how)
    torch.testing.assert_close(loss(x, y), expected)
    x, y = x.requires_grad_(), y.requires_grad_()
    loss(x, y).backward()
    assert x.grad.abs().sum() > 0
    assert y.grad is None
    assert not any(p.requires_grad for p in loss.parameters())


def test_contextual_options_that_mean_nothing_are_refused(backbones):
    weights = backbones["vgg19"]
    for options, message in (
        ({"layers": {"conv9_9": 1.0}}, "there is no layer 'conv9_9'"),
        ({"layers": {"conv1_1": 1.0, "conv_1_1": 1.0}}, "each once"),
        ({"layers": {"conv1_1": 0.0}}, "not all 0"),
        ({"layers": {}}, "not all 0"),
        ({"distance_type": "l3"}, "one of cosine, l1, l2"),
        ({"calc_type": "symmetric"}, "one of regular, bilateral, symetric"),
        ({"band_width": 0.0}, "band_width above 0"),
        ({"max_1d_size": 0}, "max_1d_size of 1 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            LOSSES["contextual"](weights=weights, **options)
    assert LOSSES["contextual"].__init__.__defaults__[0] == {"conv3_2": 1.0, "conv4_2": 1.0}


# LPIPS and DISTS


@pytest.mark.parametrize("linear", [True, False])
def test_lpips_is_the_mean_of_the_spatial_distance(backbones, linear):
    x, y = (t.float() for t in images((2, 3, 40, 48)))
    loss = LOSSES["lpips"]("alex", linear, weights=backbones["alex"])
    total = torch.zeros(2, 1, 40, 48)
    for maps in loss.distance.layers(x, y):
        total += F.interpolate(maps, size=(40, 48), mode="bilinear")
    torch.testing.assert_close(loss(x, y), total.sum() / (2 * 40 * 48))
    gray = x[:, :1]
    torch.testing.assert_close(loss(gray, y[:, :1]), loss(gray.repeat(1, 3, 1, 1), y[:, :1].repeat(1, 3, 1, 1)))
    assert len(loss.distance.heads) == (5 if linear else 0)


def test_lpips_has_the_nets_of_the_option_file():
    for net, linear in itertools.product(("squeeze", "alex", "vgg"), (True, False)):
        assert LPIPSDistance(net, linear).net_name == net
    with pytest.raises(ValueError, match="one of alex, vgg, squeeze"):
        LOSSES["lpips"]("vgg19")


@pytest.fixture
def torchmetrics_dists(backbones, monkeypatch):
    """torchmetrics' DISTS over the same backbone."""
    pytest.importorskip("torchvision")
    reference = pytest.importorskip("torchmetrics.functional.image.dists")
    from torchvision.models.vgg import cfgs, make_layers

    features = make_layers(cfgs["D"])
    state = torch.load(backbones["vgg16"], weights_only=True)
    features.load_state_dict({key.removeprefix("features."): value for key, value in state.items()})
    for layer in features:
        if isinstance(layer, torch.nn.ReLU):
            layer.inplace = False
    monkeypatch.setattr(reference, "vgg16", lambda **_: SimpleNamespace(features=features))
    return reference.DISTSNetwork()


@pytest.mark.parametrize("shape", [(2, 3, 48, 40), (1, 3, 33, 64)])
def test_dists_is_torchmetrics(backbones, torchmetrics_dists, shape):
    x, y = (t.float() for t in images(shape))
    distance = DISTSDistance()
    distance.load(backbones["vgg16"])
    found, gradients = [], []
    for network in (distance, lambda a, b: torchmetrics_dists(a, b, require_grad=True)):
        given = x.clone().requires_grad_()
        found.append(network(given, y).reshape(-1))
        gradients.append(torch.autograd.grad(found[-1].sum(), given)[0])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(LOSSES["dists"](backbones["vgg16"])(x, y), found[1].mean(), rtol=1e-4, atol=1e-5)


def test_dists_without_weights_says_what_to_do(backbones, tmp_path, monkeypatch):
    def offline(url, **_):
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    with pytest.raises(WeightsError, match=r"vgg16-397923af\.pth .*Put the file there"):
        LOSSES["dists"]()
    with pytest.raises(WeightsError, match="there is no file"):
        LOSSES["dists"](str(tmp_path / "none.pth"))
    (tmp_path / "torchmetrics").mkdir()
    (tmp_path / "torchmetrics" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    for name in [n for n in sys.modules if n.split(".")[0] == "torchmetrics"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(WeightsError, match="pip install -U torchmetrics"):
        LOSSES["dists"](backbones["vgg16"])
