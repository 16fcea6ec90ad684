import itertools
import math
from urllib.error import URLError

import pytest
import torch
from conformance import IMAGES

from darkroom.core.errors import WeightsError
from darkroom.filters.color import luma, rgb_to_gray, rgb_to_ycbcr, rgb_to_yuv, ycbcr_to_rgb, yuv_to_rgb
from darkroom.metrics import METRICS
from darkroom.metrics.fidelity import PSNR, SSIM, psnr, ssim
from darkroom.metrics.lpips import LPIPS, LPIPSDistance


def bytes_pair(shape=(3, 20, 17), seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(256, shape, generator=generator)
    noise = torch.randint(-20, 21, shape, generator=generator)
    return x.float() / 255, (x + noise).clamp(0, 255).float() / 255


def test_the_metrics_that_there_are():
    assert {"psnr", "ssim", "lpips"} <= set(METRICS)


def test_psnr_is_that_of_8_bit_images():
    x, y = bytes_pair()
    error = sum((a - b) ** 2 for a, b in zip((x * 255).flatten().tolist(), (y * 255).flatten().tolist(), strict=True))
    assert PSNR()(x, y) == pytest.approx(20 * math.log10(255 / math.sqrt(error / x.numel())), rel=1e-6)
    assert math.isinf(PSNR()(x, x))
    assert PSNR()(torch.zeros(1, 4, 4), torch.ones(1, 4, 4)) == 0


def naive_ssim(x, y):
    window = torch.tensor([[math.exp(-((i - 5) ** 2 + (j - 5) ** 2) / 4.5) for i in range(11)] for j in range(11)])
    window = window.double() / window.double().sum()
    values = []
    for c, i, j in itertools.product(range(x.shape[0]), range(x.shape[1] - 10), range(x.shape[2] - 10)):
        a, b = x[c, i : i + 11, j : j + 11].double() * 255, y[c, i : i + 11, j : j + 11].double() * 255
        ma, mb = (window * a).sum(), (window * b).sum()
        va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
        cov = (window * (a - ma) * (b - mb)).sum()
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        values.append((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    return float(torch.stack(values).mean())


def test_ssim_is_the_mean_over_all_windows_and_channels():
    x, y = bytes_pair(shape=(2, 14, 13))
    assert SSIM()(x, y) == pytest.approx(naive_ssim(x, y), rel=1e-6)
    assert SSIM()(x[:1], y[:1]) == pytest.approx(naive_ssim(x[:1], y[:1]), rel=1e-6)
    assert SSIM()(x, x) == pytest.approx(1)
    with pytest.raises(ValueError, match="at least 11"):
        SSIM()(x[:, :10], y[:, :10])


def test_ssim_of_a_flat_image_is_exact():
    """Where variances are 0 only the means count: float32 would leave noise of the size of the constants."""
    x, y = (torch.full((1, 12, 12), value, dtype=torch.float64) for value in (0.9, 0.8))
    assert SSIM()(x, y) == pytest.approx((2 * 0.72 + 1e-4) / (0.81 + 0.64 + 1e-4), rel=1e-9)


@pytest.mark.parametrize("kind", [PSNR, SSIM])
def test_border_and_luma(kind):
    x, y = bytes_pair()
    assert kind(crop_border=2)(x, y) == kind()(x[:, 2:-2, 2:-2], y[:, 2:-2, 2:-2])
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64)
    on_y = [(torch.einsum("c,chw->hw", weights, image.double()) + 16)[None] / 255 for image in (x, y)]
    assert kind(channel="y")(x, y) == pytest.approx(kind()(*on_y), rel=1e-9)
    assert kind(channel="y")(x[:1], y[:1]) == kind()(x[:1], y[:1])


@pytest.mark.parametrize("function", [psnr, ssim])
def test_each_image_of_a_batch_is_measured_alone(function):
    pairs = [bytes_pair(seed=seed) for seed in range(3)]
    x, y = (torch.stack(side) for side in zip(*pairs, strict=True))
    alone = torch.stack([function(*pair) for pair in pairs])
    torch.testing.assert_close(function(x, y), alone)
    torch.testing.assert_close(function(x[:1], y[:1]), alone[:1])


def test_what_cannot_be_measured_is_refused():
    x, y = bytes_pair()
    with pytest.raises(ValueError, match="one shape"):
        PSNR()(x, y[:, :, :-1])
    with pytest.raises(ValueError, match="leaves nothing"):
        PSNR(crop_border=9)(x, y)
    with pytest.raises(ValueError, match="RGB image"):
        PSNR(channel="y")(x[:2], y[:2])
    for options in ({"crop_border": -1}, {"channel": "Y"}):
        with pytest.raises(ValueError, match="expected"):
            SSIM(**options)


@pytest.mark.skipif(not IMAGES.is_dir(), reason=f"photographs {IMAGES} absent")
def test_ssim_and_psnr_agree_with_scikit_image_on_a_photograph():
    import cv2
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    image = cv2.imread(str(IMAGES / "Set5" / "butterfly.bmp"))[:120, :100, ::-1]
    blurred = cv2.GaussianBlur(image, (5, 5), 1.0)
    x, y = (torch.from_numpy(i.copy()).movedim(-1, 0) / 255 for i in (image, blurred))
    assert PSNR()(y, x) == pytest.approx(peak_signal_noise_ratio(image, blurred), rel=1e-6)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": 2}
    _, full = structural_similarity(image, blurred, data_range=255, full=True, **options)
    assert SSIM()(y, x) == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-6)


# Colour


def test_studio_range():
    colours = torch.tensor([[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]], dtype=torch.uint8)
    expected = [[16, 128, 128], [235, 128, 128], [81, 90, 240], [145, 54, 34], [41, 240, 110]]
    assert rgb_to_ycbcr(colours.T.reshape(3, 5, 1)).reshape(3, 5).T.tolist() == expected


def test_bytes_are_the_rounded_floats_and_back():
    values = torch.arange(0, 256, 17, dtype=torch.uint8)
    cube = torch.cartesian_prod(values, values, values).T.reshape(3, 64, 64)
    exact = rgb_to_ycbcr(cube.double() / 255) * 255
    assert (rgb_to_ycbcr(cube) - exact).abs().max() < 0.5 + 1e-9
    torch.testing.assert_close(luma(cube.double() / 255)[0], exact[0] / 255)
    torch.testing.assert_close(ycbcr_to_rgb(exact / 255), cube.double() / 255)
    assert (ycbcr_to_rgb(rgb_to_ycbcr(cube)).int() - cube.int()).abs().max() <= 2


def test_yuv_and_gray():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 5, 4, generator=generator)
    for constants in ("ycbcr", "yuvK"):
        torch.testing.assert_close(yuv_to_rgb(rgb_to_yuv(x, constants), constants), x, rtol=0, atol=2e-3)
    gray = torch.full((1, 3, 2, 2), 0.3)
    for constants, centre in (("yuv", 0.5), ("ycbcr", 0.5), ("BT709", 0.5), ("yuvK", 0.0)):
        expected = torch.tensor([0.3, centre, centre]).reshape(1, 3, 1, 1).expand(1, 3, 2, 2)
        torch.testing.assert_close(rgb_to_yuv(gray, constants), expected)
    torch.testing.assert_close(rgb_to_gray(gray), torch.full((1, 1, 2, 2), 0.3), atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="one of yuv, ycbcr"):
        rgb_to_yuv(x, "hsv")
    with pytest.raises(ValueError, match="RGB image"):
        rgb_to_yuv(x[:, :1])


# LPIPS


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory):
    """Random weights in torchvision's layout."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    backbone = LPIPSDistance("alex").backbone
    torch.save({key: torch.randn_like(value) * 0.05 for key, value in backbone.state_dict().items()}, path)
    return path


def test_lpips_of_one_image_is_that_of_its_place_in_a_batch(alexnet):
    torch.manual_seed(1)
    x, y = torch.rand(2, 3, 3, 48, 40)
    metric = LPIPS("alex", weights=str(alexnet))
    alone = [metric(a, b) for a, b in zip(x, y, strict=True)]
    assert metric.distance(x, y).tolist() == pytest.approx(alone, rel=1e-4)
    assert min(alone) > 0
    assert metric(x[0], x[0]) == 0
    assert LPIPS("alex", weights=str(alexnet), crop_border=4)(x[0], y[0]) == pytest.approx(
        metric(x[0, :, 4:-4, 4:-4], y[0, :, 4:-4, 4:-4])
    )
    assert metric(x[0, :1], y[0, :1]) == pytest.approx(metric(x[0, :1].repeat(3, 1, 1), y[0, :1].repeat(3, 1, 1)))


def test_lpips_sees_rgb_in_the_range_of_its_networks(alexnet):
    """Its first layer by hand: 2 x - 1, the published shift and scale, unit length, the published weights."""
    torch.manual_seed(2)
    x, y = torch.rand(2, 1, 3, 40, 40)
    metric = LPIPS("alex", weights=str(alexnet))
    state = torch.load(alexnet, weights_only=True)
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    units = []
    for image in (x, y):
        seen = (2 * image - 1 - shift[:, None, None]) / scale[:, None, None]
        maps = torch.conv2d(seen, state["features.0.weight"], state["features.0.bias"], stride=4, padding=2).relu()
        units.append(maps / (maps.square().sum(dim=1, keepdim=True).sqrt() + 1e-10))
    head = metric.distance.heads[0]
    assert float(head.sum()) == pytest.approx(2.34953231, rel=1e-6), "not the LPIPS v0.1 weights"
    expected = ((units[0] - units[1]).square() * head).sum(dim=1, keepdim=True)
    torch.testing.assert_close(metric.distance.layers(x, y)[0], expected)


def test_lpips_as_a_loss_has_a_finite_gradient_at_equality(alexnet):
    distance = LPIPSDistance("alex")
    distance.load(str(alexnet))
    x = torch.zeros(1, 3, 40, 40, requires_grad=True)
    distance(x, torch.zeros(1, 3, 40, 40)).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("net", ["alex", "vgg", "squeeze"])
def test_lpips_without_weights_fails_when_it_is_made(net, monkeypatch):
    asked = []

    def offline(url, **_):
        asked.append(url.rpartition("/")[2])
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    with pytest.raises(WeightsError, match="Put the file there"):
        LPIPS(net)
    assert asked[0].startswith({"alex": "alexnet-owt", "vgg": "vgg16", "squeeze": "squeezenet1_1"}[net])


def test_backbones_have_torchvisions_layout():
    models = pytest.importorskip("torchvision").models
    for net, factory in (("alex", models.alexnet), ("vgg", models.vgg16), ("squeeze", models.squeezenet1_1)):
        with torch.device("meta"):
            theirs = {key: tuple(value.shape) for key, value in factory().state_dict().items()}
        backbone = LPIPSDistance(net).backbone
        ours = {key: tuple(value.shape) for key, value in backbone.state_dict().items()}
        assert ours == {key: theirs.get(key) for key in ours}
        assert getattr(models, "get_weight", None) is None or backbone.file in [
            weights.url.rpartition("/")[2] for weights in models.get_model_weights(factory)
        ]
