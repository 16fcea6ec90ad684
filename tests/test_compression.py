from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch

from darkroom.data.degrade import DEGRADATIONS
from darkroom.data.degrade.compression import ThroughJPEG, ThroughWebP
from darkroom.data.degrade.operation import Ragged, Size
from darkroom.filters.jpeg import jpeg


@pytest.fixture(scope="module")
def photos():
    from skimage import data

    return {"astronaut": data.astronaut(), "chelsea": data.chelsea(), "coffee": data.coffee()}


def through_a_file(pixels, quality):
    """What a JPEG file of (H, W, 3 or 1) shows."""
    _, file = cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(file, cv2.IMREAD_UNCHANGED).reshape(pixels.shape)[..., ::-1]


def filtered(pixels, quality):
    image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None].float() / 255
    return jpeg(image, [quality])[0].mul(255).round().byte().permute(1, 2, 0).numpy()


def worst(found, expected):
    """Mean and largest difference, in levels."""
    difference = np.abs(found.astype(int) - expected.astype(int))
    return difference.mean(), difference.max()


@pytest.mark.parametrize("quality", [1, 10, 30, 49, 50, 60, 75, 90, 95, 100])
@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee"])
def test_the_filter_is_libjpeg_level_by_level(name, quality, photos):
    pixels = photos[name][40:210, 100:290]
    assert worst(filtered(pixels, quality), through_a_file(pixels, quality)) == (0, 0)
    gray = pixels[..., 1:2]
    assert worst(filtered(gray, quality), through_a_file(gray, quality)) == (0, 0)


@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (2, 3), (8, 8), (16, 17), (17, 16), (15, 31), (24, 40), (41, 56), (50, 9), (5, 70)]
)
def test_any_size_is_as_libjpeg_has_it(height, width, photos):
    pixels = photos["coffee"][100 : 100 + height, 200 : 200 + width]
    assert worst(filtered(pixels, 40), through_a_file(pixels, 40)) == (0, 0)


def test_noise_is_as_libjpeg_has_it():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 70, 3), dtype=np.uint8)
    assert worst(filtered(pixels, 100), through_a_file(pixels, 100)) == (0, 0)


def test_images_of_a_batch_know_nothing_of_each_other_or_of_what_is_beside_them(photos):
    sizes, qualities = [(40, 56), (33, 20), (16, 16)], [35, 80, 95]
    images = torch.rand(3, 3, 45, 60, generator=torch.Generator().manual_seed(0))
    crops = [photos["chelsea"][50 : 50 + h, 80 : 80 + w] for h, w in sizes]
    for place, crop in zip(images, crops, strict=True):
        place[:, : crop.shape[0], : crop.shape[1]] = torch.from_numpy(crop.transpose(2, 0, 1) / np.float32(255))
    done = jpeg(images, qualities, sizes)
    assert done.shape == images.shape
    for found, (h, w), crop, quality in zip(done, sizes, crops, qualities, strict=True):
        shown = found[:, :h, :w].mul(255).round().permute(1, 2, 0).numpy()
        assert worst(shown, through_a_file(crop, quality)) == (0, 0)


def test_half_precision_around_it_changes_nothing(photos):
    image = torch.from_numpy(photos["coffee"][:48, :48].transpose(2, 0, 1)[None] / np.float32(255))
    with torch.autocast("cpu", torch.bfloat16):
        inside = jpeg(image, [60])
    torch.testing.assert_close(inside, jpeg(image, [60]), rtol=0, atol=0)


def test_the_filter_says_what_it_wants():
    with pytest.raises(ValueError, match="1 or 3"):
        jpeg(torch.zeros(1, 2, 8, 8), [50])
    with pytest.raises(ValueError, match="qualities: expected 1 to 100"):
        jpeg(torch.zeros(1, 1, 8, 8), [0])


@pytest.mark.parametrize("operation", [ThroughJPEG(90), ThroughWebP(90)], ids=str)
def test_colours_stay_in_their_channels(operation):
    flat = np.tile(np.float32((0.8, 0.4, 0.1)), (32, 32, 1))
    np.testing.assert_allclose(operation.on_host(flat), flat, atol=0.02)


@pytest.mark.parametrize("kind", [ThroughJPEG, ThroughWebP])
@pytest.mark.parametrize("channels", [1, 3])
def test_more_quality_is_less_loss(kind, channels, photos):
    image = photos["astronaut"][:96, 200:296, :channels] / np.float32(255)
    errors = [np.square(kind(quality).on_host(image) - image).mean() for quality in (5, 30, 60, 95)]
    assert all(a > 1.2 * b for a, b in pairwise(errors))


def test_colours_are_halved_at_the_highest_quality_too():
    stripes = np.zeros((32, 32, 3), np.float32)
    stripes[:, 0::2, 0], stripes[:, 1::2, 2] = 1, 1
    done = ThroughJPEG(100).on_host(stripes)
    assert np.ptp(done[8:-8, 8:-8, 0] - done[8:-8, 8:-8, 2], axis=1).max() < 0.05


def test_the_file_is_read_by_others_as_by_the_filter(photos):
    from io import BytesIO

    from PIL import Image

    pixels = photos["chelsea"][:60, :75]
    file = BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", quality=55, subsampling="4:2:0")
    assert worst(filtered(pixels, 55), np.asarray(Image.open(file)))[0] < 0.05


def test_device_and_host_agree_to_the_last_bit(photos):
    sizes = [Size(30, 44), Size(44, 31)]
    crops = [torch.from_numpy(photos["coffee"][:h, :w].transpose(2, 0, 1) / np.float32(255)) for h, w in sizes]
    operations = [ThroughJPEG(33), ThroughJPEG(94)]
    done = ThroughJPEG.on_device(operations, Ragged.of(crops))
    for found, operation, crop in zip(done.each(), operations, crops, strict=True):
        expected = operation.on_host(np.ascontiguousarray(crop.permute(1, 2, 0)))
        np.testing.assert_array_equal(found.permute(1, 2, 0), expected)


@pytest.mark.parametrize(("name", "default"), [("jpeg", (30, 95)), ("webp", (20, 90))])
def test_qualities_are_drawn_from_the_whole_range(name, default):
    rng, size = np.random.default_rng(0), Size(8, 8)
    assert DEGRADATIONS[name]().quality == default
    drawn = {DEGRADATIONS[name](quality=(40, 43)).draw(rng, size, size).quality for _ in range(100)}
    assert drawn == {40, 41, 42, 43}
    for bad in ((0, 50), (60, 50), (50, 101)):
        with pytest.raises(ValueError, match="quality: expected a range in 1 to 100"):
            DEGRADATIONS[name](quality=bad)
