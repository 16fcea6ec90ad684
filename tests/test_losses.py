import itertools
import math

import pytest
import torch

from darkroom.core.errors import DataError
from darkroom.core.terms import LOSSES
from darkroom.losses import pixel
from darkroom.losses.pool import ImagePool

PIXELS = {
    "l1": lambda x, y: abs(x - y),
    "l2": lambda x, y: (x - y) ** 2,
    "cb": lambda x, y: math.sqrt((x - y) ** 2 + 1e-12),
    "elastic": lambda x, y: 0.2 * (x - y) ** 2 + 0.8 * abs(x - y),
    "relativel1": lambda x, y: abs(x / (y + 0.01) - y / (y + 0.01)),
    "clipl1": lambda x, y: min(abs(x - y), 10),
}
ALIASES = {"mse": "l2", "charbonnier": "cb"}
OTHERS = {"l1cosinesim", "fro", "multiscale"}


def images(seed=0, shape=(2, 3, 16, 18), dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.rand(shape, generator=generator, dtype=dtype) for _ in "xy")


def registered():
    return [name for name in LOSSES if LOSSES[name].__module__ == "darkroom.losses.pixel"]


def test_every_pixel_loss_is_tested_here():
    assert set(registered()) == {*PIXELS, *ALIASES, *OTHERS}
    assert set(pixel.CRITERIA) == set(registered()) - {"multiscale"}


@pytest.mark.parametrize("name", [*PIXELS, *ALIASES])
def test_mean_over_pixels(name):
    x, y = images()
    element = PIXELS[ALIASES.get(name, name)]
    expected = sum(element(a, b) for a, b in zip(x.flatten().tolist(), y.flatten().tolist(), strict=True)) / x.numel()
    assert float(LOSSES[name]()(x, y)) == pytest.approx(expected, rel=1e-12)


def test_l1_cosine_is_l1_and_the_angle_of_colours():
    x, y = images()
    cosine = 0.0
    for b, i, j in itertools.product(range(2), range(16), range(18)):
        u, v = x[b, :, i, j], y[b, :, i, j]
        cosine += float(1 - u @ v / (u.norm() * v.norm())) / (2 * 16 * 18)
    expected = float((x - y).abs().mean()) + 3 * cosine
    assert float(LOSSES["l1cosinesim"](cosine_weight=3.0)(x, y)) == pytest.approx(expected, rel=1e-12)


def test_l1_cosine_has_a_bounded_gradient_at_black():
    x = torch.zeros(1, 3, 4, 4, requires_grad=True)
    LOSSES["l1cosinesim"]()(x, torch.rand(1, 3, 4, 4)).backward()
    assert x.grad.abs().max() < 1e3 / 16 * 5 + 1


def test_frobenius():
    x, y = images()
    assert float(LOSSES["fro"]()(x, y)) == pytest.approx(math.sqrt(float(((x - y) ** 2).sum())) / 3, rel=1e-12)


def test_multiscale_sums_the_criterion_over_a_pyramid():
    x, y = images(shape=(1, 2, 8, 12))
    halve = lambda t: t.reshape(1, 2, t.shape[2] // 2, 2, t.shape[3] // 2, 2).mean(dim=(3, 5))  # noqa: E731
    expected = 2 * ((x - y) ** 2).mean() + 0.5 * ((halve(x) - halve(y)) ** 2).mean()
    expected = expected + 0.25 * ((halve(halve(x)) - halve(halve(y))) ** 2).mean()
    loss = LOSSES["multiscale"](criterion="l2", weights=(2.0, 0.5, 0.25))
    torch.testing.assert_close(loss(x, y), expected)
    with pytest.raises(ValueError, match="sides of at least 4"):
        loss(x[..., :3], y[..., :3])


@pytest.mark.parametrize("name", registered())
def test_gradient_is_right_and_the_value_does_not_depend_on_the_batch(name):
    x, y = images(shape=(2, 3, 16, 16))
    loss = LOSSES[name]()
    small = [t[:1, :, :, :].clone() for t in (x, y)]
    assert torch.autograd.gradcheck(lambda t: loss(t, small[1]), small[0].requires_grad_(), fast_mode=True)
    if name != "fro":
        each = torch.stack([loss(x[i : i + 1], y[i : i + 1]) for i in range(2)])
        torch.testing.assert_close(loss(x, y), each.mean())


@pytest.mark.parametrize("name", registered())
def test_equal_images_are_a_minimum_with_a_finite_gradient(name):
    _, y = images(dtype=torch.float32)
    x = y.clone().requires_grad_()
    value = LOSSES[name]()(x, y)
    value.backward()
    assert 0 <= float(value.detach()) < 5e-6
    assert x.grad.isfinite().all()
    assert x.grad.abs().max() < 1e-3


@pytest.mark.parametrize("name", registered())
def test_half_precision_neither_overflows_nor_underflows(name):
    large = torch.full((1, 3, 16, 16), 600.0)
    for x, y in ((large, -large), (large * 1e-6, large * 0)):
        loss = LOSSES[name]()
        half = loss(x.half(), y.half())
        assert half.dtype == torch.float32
        torch.testing.assert_close(half, loss(x.half().float(), y.half().float()))
        assert half.isfinite()


def test_nothing_is_broadcast():
    x, y = images()
    for name in registered():
        with pytest.raises(ValueError, match="one shape"):
            LOSSES[name]()(x, y[:, :1])


def test_bad_options_are_refused():
    for name, options in {"cb": {"eps": 0.0}, "clipl1": {"clip_min": 2.0, "clip_max": 1.0}}.items():
        with pytest.raises(ValueError, match="expected"):
            LOSSES[name](**options)
    with pytest.raises(ValueError, match="one of l1, l2"):
        LOSSES["multiscale"](criterion="l3")


# The pool


class ScriptedDraws:
    """torch.rand and torch.randint of the pool, from the lists that the naive pool will use too."""

    def __init__(self, monkeypatch, seed):
        self.generator = torch.Generator().manual_seed(seed)
        self.log = []
        monkeypatch.setattr(torch, "rand", self.rand)
        monkeypatch.setattr(torch, "randint", self.randint)

    def rand(self, count, generator):
        self.coins = torch.empty(count).uniform_(generator=self.generator)
        return self.coins

    def randint(self, high, shape, generator):
        slots = torch.empty(shape, dtype=torch.int64).random_(high, generator=self.generator)
        self.log += zip((self.coins > 0.5).tolist(), slots.tolist(), strict=True)
        return slots


@pytest.mark.parametrize(("size", "batch"), [(3, 1), (2, 3), (1, 4), (5, 4)])
def test_pool_is_the_history_taken_image_by_image(monkeypatch, size, batch):
    draws, pool = ScriptedDraws(monkeypatch, size), ImagePool(size)
    ids = torch.arange(12 * batch, dtype=torch.float32)
    returned = torch.cat([pool(chunk.reshape(batch, 1, 1, 1)) for chunk in ids.split(batch)]).flatten().tolist()
    history, expected = [], []
    for image, (swap, slot) in zip(ids.tolist(), draws.log, strict=True):
        if len(history) < size:
            history.append(image)
            expected.append(image)
        elif swap:
            expected.append(history[slot])
            history[slot] = image
        else:
            expected.append(image)
    assert returned == expected
    assert returned != ids.tolist(), "no image was ever exchanged: the test shows nothing"
    assert pool.kept.flatten().tolist() == history


def test_pool_resumes_from_its_state_and_draws_by_itself():
    torch.manual_seed(0)
    pool, resumed = ImagePool(4), ImagePool(4)
    for _ in range(3):
        pool(torch.rand(2, 3, 4, 4))
    resumed.load_state_dict(pool.state_dict())
    fakes = torch.rand(5, 3, 4, 4)
    outputs = []
    for number, each in enumerate((pool, resumed)):
        torch.manual_seed(number)
        outputs.append(each(fakes))
    torch.testing.assert_close(*outputs, rtol=0, atol=0)
    assert not torch.equal(outputs[0], fakes)
    with pytest.raises(DataError, match=r"\(3, 4, 4\) and was given \(3, 8, 8\)"):
        pool(torch.rand(1, 3, 8, 8))


def test_pool_keeps_no_graph_and_copies_what_it_keeps():
    pool = ImagePool(2)
    fakes = torch.rand(2, 1, 2, 2, requires_grad=True)
    out = pool(fakes)
    assert not out.requires_grad
    before = pool.kept.clone()
    with torch.no_grad():
        fakes.zero_()
        out.zero_()
    torch.testing.assert_close(pool.kept, before, rtol=0, atol=0)
    assert ImagePool(0)(fakes).data_ptr() == fakes.data_ptr()


def test_relative_l1_of_signed_values_never_divides_by_zero():
    """``grad`` and ``hfen`` give it values below 0, where y + eps may be 0."""
    y = torch.tensor([-0.01, -0.01 + 1e-9, -0.5, 0.0])
    x = (y + 0.1).requires_grad_()
    loss = LOSSES["relativel1"]()(x, y)
    loss.backward()
    assert loss.isfinite()
    assert x.grad.isfinite().all()
    assert float(LOSSES["relativel1"]()(y[2:] + 0.1, y[2:])) == pytest.approx((0.1 / 0.49 + 0.1 / 0.01) / 2)
