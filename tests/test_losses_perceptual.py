from urllib.error import URLError

import pytest
import torch
from torch.nn import functional as F

from darkroom.archs.vgg import VGGFeatures, layer_names
from darkroom.core.errors import WeightsError
from darkroom.losses.perceptual import Perceptual, gram_matrix


def images(shape):
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.rand(shape, generator=generator) for _ in "xy")


@pytest.fixture(scope="module")
def vgg11(tmp_path_factory):
    """Weights of the first two blocks of VGG11 in torchvision's layout."""
    torch.manual_seed(0)
    shapes = {"features.0": (64, 3), "features.3": (128, 64), "features.6": (256, 128)}
    state = {f"{key}.weight": torch.randn(*shape, 3, 3) / (3 * shape[1] ** 0.5) for key, shape in shapes.items()}
    state |= {f"{key}.bias": torch.randn(shape[0]) * 0.1 for key, shape in shapes.items()}
    path = tmp_path_factory.mktemp("weights") / "vgg11.pth"
    torch.save(state, path)
    return path, state


def by_hand(state, image):
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (image - mean[:, None, None]) / std[:, None, None]
    first = F.conv2d(x, state["features.0.weight"], state["features.0.bias"], padding=1)
    x = F.max_pool2d(F.relu(first), 2)
    second = F.conv2d(x, state["features.3.weight"], state["features.3.bias"], padding=1)
    return {"conv1_1": first, "relu1_1": F.relu(first), "conv2_1": second}


def gram_by_hand(maps):
    b, c, h, w = maps.shape
    rows = maps.reshape(b, c, h * w)
    return torch.stack([torch.stack([torch.stack([u @ v for v in r]) for u in r]) for r in rows]) / (c * h * w)


def test_perceptual_is_the_weighted_sum_over_layers(vgg11):
    path, state = vgg11
    x, y = images((2, 3, 12, 8))
    layers = {"conv1_1": 0.5, "conv_2_1": 2.0}
    loss = Perceptual("l2", "vgg11", layers, {"relu1_1": 3.0}, 0.7, 11.0, weights=str(path))
    on_x, on_y = by_hand(state, x), by_hand(state, y)
    expected = 0.7 * sum(w * F.mse_loss(on_x[n], on_y[n]) for n, w in (("conv1_1", 0.5), ("conv2_1", 2.0)))
    grams = [gram_by_hand(maps["relu1_1"][:, :]) for maps in (on_x, on_y)]
    expected = expected + 11 * 3 * F.mse_loss(*grams)
    torch.testing.assert_close(loss(x, y), expected, rtol=1e-4, atol=1e-6)


def test_perceptual_reaches_the_prediction_only_and_its_network_stays_as_it_is(vgg11):
    path, _ = vgg11
    loss = Perceptual("l1", "vgg11", {"conv2_1": 1.0}, style_weight=1.0, weights=str(path)).train()
    assert loss.style == {"conv2_1": 1.0}
    assert not loss.features.training
    assert [*loss.features.features._modules] == ["0", "1", "2", "3"], "layers beyond the deepest"
    x, y = (t.requires_grad_() for t in images((1, 3, 8, 8)))
    loss(x, y).backward()
    assert x.grad.abs().sum() > 0
    assert y.grad is None
    assert all(p.grad is None and not p.requires_grad for p in loss.parameters())
    assert float(loss(x, x).detach()) == 0


def test_gray_images_are_seen_as_rgb_and_znorm_as_what_they_stand_for(vgg11):
    path, _ = vgg11
    x, y = images((1, 1, 8, 8))
    options = {"network": "vgg11", "layers": {"conv1_1": 1.0}, "weights": str(path)}
    plain, shifted = Perceptual(**options), Perceptual(**options, znorm=True)
    expected = plain(x.repeat(1, 3, 1, 1), y.repeat(1, 3, 1, 1))
    torch.testing.assert_close(plain(x, y), expected)
    torch.testing.assert_close(shifted(2 * x - 1, 2 * y - 1), expected)
    with pytest.raises(ValueError, match="RGB or gray"):
        plain(x.repeat(1, 2, 1, 1), y.repeat(1, 2, 1, 1))


def test_gram_matrix_of_half_precision_does_not_overflow():
    maps = torch.full((1, 2, 16, 16), 500.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gram_matrix(maps.half())
    torch.testing.assert_close(found, torch.full((1, 2, 2), 500.0**2 / 2))


def test_changed_padding_pooling_and_removed_pooling(vgg11):
    _, state = vgg11
    x, _ = images((1, 3, 8, 8))
    first = {key: value for key, value in state.items() if key.startswith("features.0.")}
    changed = VGGFeatures("vgg11", ["conv1_1"], use_input_norm=False, change_padding=True)
    changed.load_state_dict(first)
    bordered = F.pad(x, (1, 1, 1, 1), mode="replicate")
    expected = F.conv2d(bordered, state["features.0.weight"], state["features.0.bias"])
    torch.testing.assert_close(changed(x)["conv1_1"], expected)
    two = {key: value for key, value in state.items() if not key.startswith("features.6.")}
    for options, side in (({"remove_pooling": True}, 8), ({"pooling_stride": 1}, 7), ({}, 4)):
        network = VGGFeatures("vgg11", ["conv2_1"], **options)
        network.load_state_dict(two)
        assert network(x)["conv2_1"].shape == (1, 128, side, side)
    with pytest.raises(ValueError, match="no layer 'pool1'"):
        VGGFeatures("vgg11", ["pool1"], remove_pooling=True)


def test_layers_are_torchvisions():
    torchvision = pytest.importorskip("torchvision")
    kinds = {"conv": "Conv2d", "bn": "BatchNorm2d", "relu": "ReLU", "pool": "MaxPool2d"}
    for network in ("vgg11", "vgg13_bn", "vgg16", "vgg19_bn"):
        names = layer_names(network)
        with torch.device("meta"):
            theirs = getattr(torchvision.models, network)().features
        assert [type(layer).__name__ for layer in theirs] == [kinds[n.rstrip("_12345")] for n in names]
        ours = VGGFeatures(network, [names[-1]])
        shapes = {key: tuple(value.shape) for key, value in theirs.state_dict().items()}
        assert {key.removeprefix("features."): tuple(v.shape) for key, v in ours.state_dict().items()} == shapes


def test_unknown_layers_are_refused_with_those_that_there_are(vgg11):
    path, _ = vgg11
    with pytest.raises(ValueError, match=r"no layer 'conv1_2'.*conv1_1, relu1_1, pool1, conv2_1"):
        Perceptual(network="vgg11", layers={"conv1_2": 1.0}, weights=str(path))
    with pytest.raises(ValueError, match="named twice"):
        Perceptual(network="vgg11", layers={"conv1_1": 1.0, "conv_1_1": 1.0}, weights=str(path))
    with pytest.raises(ValueError, match="feature_weight or a style_weight"):
        Perceptual(network="vgg11", layers={"conv1_1": 1.0}, feature_weight=0.0, weights=str(path))
    with pytest.raises(ValueError, match="expected one of vgg11"):
        VGGFeatures("vgg12")


def test_weights_that_cannot_be_had_say_where_to_put_them(vgg11, tmp_path, monkeypatch):
    _, state = vgg11
    options = {"network": "vgg11", "layers": {"conv2_1": 1.0}}
    with pytest.raises(WeightsError, match=r"there is no file .*none\.pth.*vgg11-8a719046\.pth"):
        Perceptual(**options, weights=str(tmp_path / "none.pth"))
    (tmp_path / "broken.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match="cannot be read"):
        Perceptual(**options, weights=str(tmp_path / "broken.pth"))
    torch.save({key: value for key, value in state.items() if "3.bias" not in key}, tmp_path / "part.pth")
    with pytest.raises(WeightsError, match=r"1 of 4 tensors .* features\.3\.bias"):
        Perceptual(**options, weights=str(tmp_path / "part.pth"))

    def offline(url, **_):
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    with pytest.raises(WeightsError, match=r"vgg11-8a719046\.pth .*checkpoints.*`weights:`"):
        Perceptual(**options)
    asked = []
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda url, **_: asked.append(url) or state)
    Perceptual(**options)
    assert asked == ["https://download.pytorch.org/models/vgg11-8a719046.pth"]


def test_safetensors_are_read_too(vgg11, tmp_path):
    from safetensors.torch import save_file

    path, state = vgg11
    save_file(state, tmp_path / "vgg11.safetensors")
    options = {"network": "vgg11", "layers": {"conv2_1": 1.0}}
    x, y = images((1, 3, 8, 8))
    one, two = (Perceptual(**options, weights=str(p))(x, y) for p in (path, tmp_path / "vgg11.safetensors"))
    assert float(one) == float(two)
