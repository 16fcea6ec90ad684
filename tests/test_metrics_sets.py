"""MS-SSIM, DISTS and FID, and how metrics of whole sets are put together."""

import math
import re
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from runs import make, native, photographs, save_backbone, save_inception, train, write
from torch import nn
from torch.nn import functional as F

from darkroom.archs.dists import DISTSDistance
from darkroom.core.errors import WeightsError
from darkroom.engine import distributed
from darkroom.metrics import METRICS, SetMetric, fid
from darkroom.metrics.dists import DISTS
from darkroom.metrics.fid import FID, frechet_distance
from darkroom.metrics.fidelity import MSSSIM, ms_ssim, ssim


def bytes_pair(shape=(3, 180, 190), seed=0, noise=40):
    """An image with structure at several scales, and a noisy one, in 8 bits."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, shape[0], 12, 12, generator=generator)
    x = F.interpolate(coarse, size=shape[1:], mode="bicubic")[0].clamp(0, 1).mul(255).round()
    y = (x + torch.randint(-noise, noise + 1, shape, generator=generator)).clamp(0, 255)
    return y / 255, x / 255


# MS-SSIM


def naive_ms_ssim(x, y):
    """Every window for itself, centred, in two dimensions; halved by the mean of four."""
    window = torch.tensor([[math.exp(-((i - 5) ** 2 + (j - 5) ** 2) / 4.5) for i in range(11)] for j in range(11)])
    window = (window / window.sum()).double()
    value, x, y = 1.0, x.double() * 255, y.double() * 255
    for scale, exponent in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        a, b = (image.unfold(1, 11, 1).unfold(2, 11, 1) for image in (x, y))
        mean = lambda patches: (patches * window).sum(dim=(-2, -1), keepdim=True)  # noqa: E731
        ma, mb = mean(a), mean(b)
        va, vb, cov = mean((a - ma) ** 2), mean((b - mb) ** 2), mean((a - ma) * (b - mb))
        index = (2 * cov + 58.5225) / (va + vb + 58.5225)
        if scale == 4:
            index = index * (2 * ma * mb + 6.5025) / (ma**2 + mb**2 + 6.5025)
        value *= float(index.mean()) ** exponent
        x, y = (
            image[:, : image.shape[1] // 2 * 2, : image.shape[2] // 2 * 2]
            .unflatten(1, (-1, 2))
            .unflatten(3, (-1, 2))
            .mean(dim=(2, 4))
            for image in (x, y)
        )  # fmt: skip
    return value


def test_ms_ssim_is_wangs_formula():
    x, y = bytes_pair((1, 176, 183))
    assert MSSSIM()(x, y) == pytest.approx(naive_ms_ssim(x, y), rel=1e-6)
    assert 0.1 < MSSSIM()(x, y) < 0.99
    assert MSSSIM()(x, x) == pytest.approx(1)


def test_ms_ssim_is_nearly_that_of_torchmetrics():
    """Which at the last scale also counts windows over the border."""
    reference = pytest.importorskip("torchmetrics.functional.image")
    x, y = (torch.stack(side).double() for side in zip(bytes_pair(), bytes_pair(seed=1, noise=90), strict=True))
    options = {"data_range": 1.0, "reduction": "none"}
    expected = reference.multiscale_structural_similarity_index_measure(x, y, **options)
    torch.testing.assert_close(ms_ssim(x, y), expected, rtol=1e-3, atol=0)
    torch.testing.assert_close(ms_ssim(x[:1], y[:1]), ms_ssim(x, y)[:1])
    assert ssim(x, y).tolist() != pytest.approx(expected.tolist(), rel=1e-2)


def test_ms_ssim_of_images_that_are_opposite_is_0_and_not_nan():
    x, _ = bytes_pair((1, 176, 176))
    assert MSSSIM()(x, 1 - x) == 0


def test_ms_ssim_crops_measures_luma_and_refuses_what_is_too_small():
    x, y = bytes_pair()
    assert MSSSIM(crop_border=2)(x, y) == MSSSIM()(x[:, 2:-2, 2:-2], y[:, 2:-2, 2:-2])
    luma = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64)
    on_y = [(torch.einsum("c,chw->hw", luma, image.double()) + 16)[None] / 255 for image in (x, y)]
    assert MSSSIM(channel="y")(x, y) == pytest.approx(MSSSIM()(*on_y), rel=1e-9)
    with pytest.raises(ValueError, match="at least 176"):
        MSSSIM(crop_border=4)(x, y)


# DISTS


def test_dists_of_one_image_is_that_of_its_place_in_a_batch(tmp_path):
    weights = str(save_backbone(DISTSDistance().backbone, tmp_path / "vgg16.pth"))
    metric = DISTS(weights)
    pairs = [bytes_pair((3, 40, 36), seed=seed) for seed in range(2)]
    alone = [metric(*pair) for pair in pairs]
    batches = (torch.stack(side) for side in zip(*pairs, strict=True))
    assert metric.distance(*batches).tolist() == pytest.approx(alone, rel=1e-4)
    assert min(alone) > 1e-3
    a, b = pairs[0]
    assert metric(a, a) == pytest.approx(0, abs=1e-6)
    assert metric(a[:1], b[:1]) == pytest.approx(metric(a[:1].repeat(3, 1, 1), b[:1].repeat(3, 1, 1)))
    assert DISTS(weights, crop_border=3)(a, b) == pytest.approx(metric(a[:, 3:-3, 3:-3], b[:, 3:-3, 3:-3]))


# FID


@pytest.mark.parametrize(("n", "m", "d"), [(40, 40, 3), (5, 9, 12), (60, 2, 7)])
def test_frechet_distance_is_the_formula_with_covariances(n, m, d):
    generator = torch.Generator().manual_seed(n)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64) @ torch.randn(d, d, dtype=torch.float64)
    y = 2 + torch.randn(m, d, generator=generator, dtype=torch.float64)
    product = np.linalg.eigvals((torch.cov(x.T) @ torch.cov(y.T)).numpy())
    trace = float(torch.cov(x.T).trace() + torch.cov(y.T).trace()) - 2 * np.sqrt(product.astype(complex)).real.sum()
    expected = float((x.mean(0) - y.mean(0)).square().sum()) + trace
    assert float(frechet_distance(x, y)) == pytest.approx(expected, rel=1e-6)
    assert float(frechet_distance(y, x)) == pytest.approx(expected, rel=1e-6)
    assert float(frechet_distance(x, x)) == pytest.approx(0, abs=1e-9)
    assert float(frechet_distance(x, x + 3)) == pytest.approx(9 * d)


def test_frechet_distance_of_numbers_is_that_of_means_and_deviations():
    x, y = torch.randn(2, 30, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).unbind()
    expected = (x.mean() - y.mean()) ** 2 + (x.std() - y.std()) ** 2
    torch.testing.assert_close(frechet_distance(x, y), expected)


class TinyInception(nn.Module):
    """Sees bytes, as the real one."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 5, 4, stride=3)
        with torch.no_grad():
            for n, parameter in enumerate(self.parameters()):
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(n)) * 0.3)
        self.num_features = 5

    def forward(self, images):
        assert images.dtype == torch.uint8
        assert images.shape[1] == 3
        return self.layer(images.float() / 64 - 2).relu().mean(dim=(2, 3))


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(fid, "_inception", lambda features, weights: TinyInception())


@pytest.mark.parametrize("crop_border", [0, 3])
def test_fid_is_that_of_torchmetrics(tiny, crop_border):
    reference = pytest.importorskip("torchmetrics.image.fid").FrechetInceptionDistance(TinyInception())
    metric, seen = FID(crop_border=crop_border), []
    for seed in range(12):
        x, y = bytes_pair((3, 24 + seed, 20), seed)
        seen.append(metric(x, y))
        border = slice(crop_border, -crop_border or None)
        for image, real in ((x, False), (y, True)):
            reference.update(image[None, :, border, border].mul(255).round().byte(), real=real)
    assert [tuple(s.shape) for s in seen] == [(2, 5)] * 12
    assert metric.over(seen) == pytest.approx(float(reference.compute()), rel=1e-4)
    assert metric.over(seen[::-1]) == pytest.approx(metric.over(seen), rel=1e-9)
    assert math.isnan(metric.over(seen[:1]))
    assert metric.over([s[[1, 1]] for s in seen]) == pytest.approx(0, abs=1e-9)


def test_fid_of_gray_images_sees_rgb(tiny):
    x, y = bytes_pair((1, 24, 20))
    metric = FID()
    torch.testing.assert_close(metric(x, y), metric(x.repeat(3, 1, 1), y.repeat(3, 1, 1)))


def test_fid_without_what_it_needs_says_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="one of 64, 192, 768, 2048"):
        FID(features=100)
    with pytest.raises(ValueError, match="crop_border"):
        FID(crop_border=-1)
    monkeypatch.setattr(fid.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="pip install torch-fidelity"):
        FID()


def test_fid_with_the_real_network(tmp_path, monkeypatch):
    """With random weights, in the layout of the published file."""
    extractor = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    from torchmetrics.image.fid import FrechetInceptionDistance

    def offline(*_, **__):
        raise URLError("no network")

    monkeypatch.setattr(extractor, "load_state_dict_from_url", offline)
    with pytest.raises(WeightsError, match=r"weights-inception-2015-12-05-6726825d\.pth.*`weights:`"):
        FID()
    (tmp_path / "broken.pth").write_bytes(b"not a checkpoint")
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "other.pth")
    torch.save(nn.Linear(2, 2), tmp_path / "code.pth")
    for name in ("broken.pth", "other.pth", "code.pth", "none.pth"):
        with pytest.raises(WeightsError, match=rf"{name} cannot be had or does not fit"):
            FID(weights=str(tmp_path / name))
    save_inception(tmp_path / "inception.pth")
    options = {"feature": 64, "feature_extractor_weights_path": str(tmp_path / "inception.pth")}
    reference, metric, seen = FrechetInceptionDistance(**options), FID(64, str(tmp_path / "inception.pth")), []
    for seed in range(3):
        x, y = bytes_pair((3, 40, 30), seed)
        seen.append(metric(x, y))
        reference.update(x[None].mul(255).round().byte(), real=False)
        reference.update(y[None].mul(255).round().byte(), real=True)
    assert metric.over(seen) == pytest.approx(float(reference.compute()), rel=1e-3)


# How sets are put together


def features_of(folder, names):
    """What TinyInception sees of image files."""
    pixels = [torch.from_numpy(np.array(Image.open(folder / name).convert("RGB"))).permute(2, 0, 1) for name in names]
    with torch.no_grad():
        return torch.cat([TinyInception()(p[None]) for p in pixels]).double()


def validated(root, **changes):
    data = photographs(root / "HR", count=4, size=48)
    sets = {**native(root)["datasets"], "val": {"type": "aligned", "target": str(data)}}
    metrics = [{"type": "psnr"}, {"type": "fid"}, {"type": "fid", "name": "fid_c", "crop_border": 4}]
    return native(root, datasets=sets, train={"iterations": 1}, validate={"every": 1, "metrics": metrics}, **changes)


def test_a_validation_measures_the_set(tiny, tmp_path):
    run = make(write(tmp_path / "o.yml", validated(tmp_path)))
    run.train()
    run.close()
    (means,) = run.validate.means.values()
    assert list(means) == ["psnr", "fid", "fid_c"]
    names = [f"photo{i}" for i in range(4)]
    outputs = features_of(tmp_path / "experiments/t/val_images", [f"{n}/{n}_1.png" for n in names])
    targets = features_of(tmp_path / "HR", [f"{n}.png" for n in names])
    assert means["fid"] == pytest.approx(float(frechet_distance(outputs, targets)), rel=1e-4)
    assert means["fid_c"] != means["fid"] > 0


def test_processes_measure_their_shares_as_one_set(tiny, tmp_path, monkeypatch):
    run = make(write(tmp_path / "o.yml", validated(tmp_path)))
    run.validate(run.loop)
    (whole,) = run.validate.means.values()
    monkeypatch.setattr(distributed, "gather", lambda rows: [rows[2:], rows[:1], [], rows[1:2]])
    run.validate(run.loop)
    (shared,) = run.validate.means.values()
    run.close()
    assert shared == pytest.approx(whole, rel=1e-9)


def test_a_test_measures_the_set(tiny, tmp_path, capsys):
    from darkroom.build.plan import read_options
    from darkroom.build.testing import plan_testing, run_tests

    train(write(tmp_path / "t.yml", native(tmp_path, train={"iterations": 3})))
    options = {
        "name": "t", "model": "sr", "scale": 2, "gpu_ids": [],
        "path": {"root": str(tmp_path), "pretrain": {"G": str(tmp_path / "experiments/t/models/3_G.pth")}},
        "network_G": {"type": "compact", "nf": 8, "num_conv": 2},
        "datasets": {"test": {"type": "aligned", "name": "own", "target": str(tmp_path / "HR")}},
        "test": {"metrics": [{"type": "psnr"}, {"type": "fid"}]},
    }  # fmt: skip
    assert run_tests(plan_testing(read_options(write(tmp_path / "o.yml", options)))) == 0
    said = capsys.readouterr().out
    names = [f"photo{i}.png" for i in range(6)]
    expected = frechet_distance(features_of(tmp_path / "results/t/own", names), features_of(tmp_path / "HR", names))
    found = re.search(r"----Average metrics results for own----\nPSNR: [\d.]+, FID: ([\d.e+-]+)", said)
    assert float(found[1]) == pytest.approx(float(expected), rel=1e-3)
    assert len(re.findall(r"photo\d - PSNR: [\d.]+$", said, re.MULTILINE)) == 6


def test_the_metrics_of_sets_are_known():
    assert {"ms-ssim", "dists", "fid"} <= set(METRICS)
    sets = {name for name in METRICS if issubclass(METRICS[name], SetMetric)}
    assert sets == {"fid"}
