import cv2
import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from darkroom.data.colors import check_color, converted
from darkroom.filters.lab import lab_to_rgb, rgb_to_lab

COLOURS = np.random.default_rng(0).random((64, 64, 3))
COLOURS[0, :6] = [[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0.01, 0.02, 0.03]]


def planes(image):
    return torch.from_numpy(np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1)))


def test_it_is_the_lab_of_the_standard():
    found = rgb_to_lab(planes(COLOURS)).permute(1, 2, 0).numpy()
    own = np.stack([found[:, :, 0] * 100, found[:, :, 1] * 255 - 128, found[:, :, 2] * 255 - 128], axis=2)
    assert np.abs(own - rgb2lab(COLOURS)).max() < 0.01
    np.testing.assert_allclose(own[0, 1], [100, 0, 0], atol=0.01)
    np.testing.assert_allclose(own[0, 0], [0, 0, 0], atol=0.01)
    assert 0 <= found.min() <= found.max() <= 1


def test_there_and_back():
    image = planes(COLOURS)[None].repeat(2, 1, 1, 1)
    torch.testing.assert_close(lab_to_rgb(rgb_to_lab(image)), image, atol=1e-9, rtol=0)
    torch.testing.assert_close(lab_to_rgb(rgb_to_lab(image.float())), image.float(), atol=2e-5, rtol=0)
    with pytest.raises(ValueError, match="three channels"):
        rgb_to_lab(image[:, :2])


def test_in_integers_it_is_that_of_opencv():
    image = np.rint(COLOURS * 255).astype(np.uint8)
    lab = converted(planes(image), "lab").permute(1, 2, 0).numpy()
    difference = np.abs(lab.astype(int) - cv2.cvtColor(image, cv2.COLOR_RGB2Lab))
    assert difference.max() <= 2  # its tables are coarse
    assert (difference == 0).mean() > 0.85
    deep = converted(planes(np.rint(COLOURS * 65535).astype(np.uint16)), "lab").permute(1, 2, 0).numpy()
    assert np.abs(deep / 257 - lab).max() < 1.5


def test_gray_and_y_are_those_of_single_channels():
    image = np.rint(COLOURS * 255).astype(np.uint8)
    gray = converted(planes(image), "gray")
    assert gray.shape == (1, 64, 64)
    assert np.abs(gray[0].numpy() - cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(int)).max() <= 1
    assert np.abs(gray[0].numpy() - image @ [0.299, 0.587, 0.114]).max() <= 0.51
    y = converted(planes(image), "y")
    assert (y.min(), y.max()) == (16, 235)
    assert converted(planes(image), "rgb").equal(planes(image))
    with pytest.raises(ValueError, match="expected one of rgb, gray, y, lab"):
        check_color("color", "hsv", 3)
