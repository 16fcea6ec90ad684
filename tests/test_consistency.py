"""Consistency enforcing: an orthogonal projection onto the images that reduce to the input."""

import pytest
import torch

from darkroom.filters.consistency import enforce
from darkroom.filters.resize import KERNELS, resize

CASES = [(kernel, scale) for kernel in ("cubic", "linear") for scale in (2, 3, 4)]


def pair(scale, h=7, w=5, batch=2, channels=3, dtype=torch.float32, seed=0):
    draw = torch.Generator().manual_seed(seed)
    output = torch.rand(batch, channels, h * scale, w * scale, generator=draw, dtype=dtype)
    return output, torch.rand(batch, channels, h, w, generator=draw, dtype=dtype)


def reduced(x, scale, kernel):
    return resize(x, 1 / scale, kernel=kernel)


@pytest.mark.parametrize(("kernel", "scale"), [*CASES, ("cubic", 8), ("lanczos3", 4), ("mitchell", 2)])
def test_the_result_reduces_to_the_input(kernel, scale):
    output, low = pair(scale)
    got = enforce(output, low, scale, kernel)
    assert (reduced(output, scale, kernel) - low).abs().max() > 0.1
    torch.testing.assert_close(reduced(got, scale, kernel), low, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("h", "w", "channels"), [(1, 1, 1), (2, 9, 4), (70, 3, 1)])
def test_any_size_and_channels(h, w, channels):
    output, low = pair(4, h, w, 1, channels)
    torch.testing.assert_close(reduced(enforce(output, low, 4), 4, "cubic"), low, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("kernel", "scale"), CASES)
def test_what_is_consistent_does_not_change(kernel, scale):
    output, low = pair(scale)
    torch.testing.assert_close(
        enforce(output, reduced(output, scale, kernel), scale, kernel), output, atol=2e-6, rtol=0
    )
    once = enforce(output, low, scale, kernel)
    torch.testing.assert_close(enforce(once, low, scale, kernel), once, atol=2e-6, rtol=0)


@pytest.mark.parametrize(("kernel", "scale"), CASES)
def test_it_is_the_nearest_such_image(kernel, scale):
    """The change is orthogonal to all that the reduction cannot see; against least squares with the whole matrix."""
    output, low = pair(scale, 4, 3, 1, 1, torch.float64)
    units = torch.eye(output.numel(), dtype=torch.float64).reshape(-1, 1, *output.shape[2:])
    matrix = reduced(units, scale, kernel).reshape(output.numel(), -1).T
    difference = enforce(output, low, scale, kernel) - output
    expected = torch.linalg.pinv(matrix) @ (low - reduced(output, scale, kernel)).flatten()
    torch.testing.assert_close(difference.flatten(), expected, atol=1e-10, rtol=0)
    unseen = torch.linalg.svd(matrix).Vh[low.numel() :]
    assert len(unseen) == output.numel() - low.numel()
    assert (unseen @ difference.flatten()).abs().max() < 1e-10


def test_gradient_is_that_of_the_formula_and_in_the_null_space():
    output, low = pair(2, 3, 2, 1, 2, torch.float64)
    output.requires_grad_()
    low.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: enforce(x, y, 2), (output, low))
    weight = torch.rand_like(output)
    (gradient,) = torch.autograd.grad((enforce(output, low, 2) * weight).sum(), output)
    assert gradient.abs().max() > 0.1
    assert reduced(gradient, 2, "cubic").abs().max() < 1e-12


def test_a_floor_follows_the_input_less():
    output, low = pair(4)
    errors = [
        (reduced(enforce(output, low, 4, floor=floor), 4, "cubic") - low).abs().mean().item()
        for floor in (0.0, 0.4, 0.9, 2.0)
    ]
    assert errors[0] < 1e-6
    assert errors[1] < 1e-6  # below all eigenvalues of a cubic reduction
    assert 1e-3 < errors[2] < errors[3]
    # a constant difference has the eigenvalue 1
    flat = torch.zeros(1, 1, 16, 16)
    torch.testing.assert_close(enforce(flat, flat[..., :4, :4] + 0.5, 4, floor=1.0), flat + 0.5)


@pytest.mark.parametrize("kernel", KERNELS)
def test_all_kernels_can_be_inverted(kernel):
    output, low = pair(3, dtype=torch.float64)
    torch.testing.assert_close(reduced(enforce(output, low, 3, kernel), 3, kernel), low, atol=1e-12, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype):
    output, low = pair(2)
    got = enforce(output.to(dtype), low, 2)
    assert got.dtype == torch.float32
    torch.testing.assert_close(reduced(got, 2, "cubic"), low, atol=1e-5, rtol=0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(enforce(output, low, 2), enforce(output, low, 2).float())
        torch.testing.assert_close(reduced(enforce(output, low, 2), 2, "cubic"), low, atol=1e-5, rtol=0)


def test_training_goes_on_after_a_validation_of_the_same_size():
    output, low = pair(2, 11, 13)
    resize(output, size=(11, 13))
    with torch.inference_mode():
        enforce(output, low, 2)
    output.requires_grad_()
    enforce(output, low, 2).square().sum().backward()
    assert output.grad.any()


def test_sizes_and_options_that_do_not_fit_say_so():
    output, low = pair(2)
    with pytest.raises(ValueError, match=r"3 times the size of the input \(2, 3, 7, 5\), found \(2, 3, 14, 10\)"):
        enforce(output, low, 3)
    with pytest.raises(ValueError, match="floor: expected 0 or more, found -1"):
        enforce(output, low, 2, floor=-1)
    with pytest.raises(ValueError, match="kernel: expected one of"):
        enforce(output, low, 2, "estimated")
