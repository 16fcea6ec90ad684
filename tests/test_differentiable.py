"""DiffAugment: one draw for all images, each policy against plain loops."""

from typing import get_args

import pytest
import torch

from darkroom.filters.differentiable import Augment, Policy

POLICIES = get_args(Policy)
GEOMETRIC = [p for p in POLICIES if p != "color"]


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def augment(policies, images, seed=0, only_moved=()):
    torch.manual_seed(seed)
    return Augment(policies)(images, only_moved)


def one(policy, x, seed=0):
    return augment((policy,), {"x": x}, seed)["x"]


@pytest.mark.parametrize("policy", POLICIES)
def test_all_images_get_the_same_draw(policy):
    x = rand(5, 3, 16, 16)
    got = augment((policy,), {"fake": x, "real": x.clone(), "both": torch.cat([x, x], 1)})
    assert torch.equal(got["fake"], got["real"])
    if policy != "color":  # whose means are those of all channels
        torch.testing.assert_close(got["both"], torch.cat([got["fake"], got["fake"]], 1))


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_changes_something_by_the_seed_and_keeps_the_input(policy):
    x = rand(6, 3, 16, 16)
    before = x.clone()
    first, again, other = one(policy, x, 1), one(policy, x, 1), one(policy, x, 2)
    assert torch.equal(x, before)
    assert first.shape == x.shape
    assert torch.equal(first, again)
    assert not torch.equal(first, x)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("policy", [p for p in POLICIES if p != "shift"])
def test_every_sample_has_a_draw_of_its_own(policy):
    got = one(policy, rand(1, 3, 16, 16).expand(12, -1, -1, -1))
    assert len({tuple(sample.flatten().tolist()) for sample in got}) > 1


def test_shift_is_the_same_for_the_batch():
    got = one("shift", rand(1, 3, 16, 16).expand(4, -1, -1, -1), seed=3)
    assert all(torch.equal(sample, got[0]) for sample in got)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("policy", POLICIES)
def test_any_dtype_follows_the_same_draw(policy, dtype):
    x = rand(3, 3, 16, 16)
    got = one(policy, x.to(dtype), 4)
    assert got.dtype == dtype
    torch.testing.assert_close(got.float(), one(policy, x, 4), atol=0.02, rtol=0.02)


@pytest.mark.parametrize("policy", POLICIES)
def test_gradient_flows_as_derived(policy):
    x = rand(2, 2, 6, 6).double().requires_grad_()

    def function(x):
        return one(policy, x, 5)

    assert torch.autograd.gradcheck(function, x)
    assert torch.autograd.grad(function(x).sum(), x)[0].any()


def test_a_condition_is_moved_but_not_coloured():
    x = rand(4, 3, 12, 12)
    got = augment(("color", "flip", "translation"), {"fake": x, "given": x}, only_moved=("given",))
    plain = augment(("color", "flip", "translation"), {"fake": x, "given": x})
    assert torch.equal(got["fake"], plain["fake"])
    assert set(got["given"].flatten().tolist()) <= {0.0, *x.flatten().tolist()}
    assert not torch.equal(got["given"], got["fake"])
    # undo the colours of a sample by a linear fit: what moved is the same
    for sample in range(4):
        shown = got["fake"][sample].mean(0).flatten()
        moved = got["given"][sample].mean(0).flatten()
        shown, moved = shown[moved > 0], moved[moved > 0]
        assert torch.corrcoef(torch.stack([shown, moved]))[0, 1] > 0.999


def test_colour_against_a_loop():
    x = rand(5, 3, 8, 6)
    got = one("color", x, 7)
    torch.manual_seed(7)
    draws = [torch.rand(5, 1, 1, 1).flatten().tolist() for _ in range(3)]
    for i, (brightness, saturation, contrast) in enumerate(zip(*draws, strict=True)):
        bright = x[i] + (brightness - 0.5)
        grey = (bright[0] + bright[1] + bright[2]) / 3
        coloured = torch.stack([grey + 2 * saturation * (channel - grey) for channel in bright])
        expected = coloured.mean() + (0.5 + contrast) * (coloured - coloured.mean())
        torch.testing.assert_close(got[i], expected)


def moved(x, down, right):
    """One image in a loop, black beyond."""
    new = torch.zeros_like(x)
    _, height, width = x.shape
    for i in range(height):
        for j in range(width):
            if 0 <= i - down < height and 0 <= j - right < width:
                new[:, i, j] = x[:, i - down, j - right]
    return new


def test_translation_is_by_an_eighth_at_most():
    x = rand(1, 2, 16, 24).expand(64, -1, -1, -1) + 0.1
    candidates = {(d, r): moved(x[0], d, r) for d in range(-2, 3) for r in range(-3, 4)}
    found = [next(k for k, v in candidates.items() if torch.equal(v, sample)) for sample in one("translation", x)]
    assert {d for d, _ in found} == set(range(-2, 3))
    assert {r for _, r in found} == set(range(-3, 4))


@pytest.mark.parametrize(("policy", "dims"), [("offset", (1, 2)), ("offset_v", (1,)), ("offset_h", (2,))])
def test_offset_rolls_by_any_amount(policy, dims):
    x = rand(1, 2, 4, 5).expand(200, -1, -1, -1)
    ranges = [range(x.shape[1 + d]) if d in dims else (0,) for d in (1, 2)]
    candidates = {(d, r): x[0].roll((d, r), (1, 2)) for d in ranges[0] for r in ranges[1]}
    found = {next(k for k, v in candidates.items() if torch.equal(v, sample)) for sample in one(policy, x)}
    assert found == set(candidates)


def test_shift_is_down_and_right_and_mirrored():
    x = rand(1, 2, 12, 10)
    padded = torch.nn.functional.pad(x, (7, 0, 7, 0), mode="reflect")
    found = set()
    for seed in range(60):
        got = one("shift", x, seed)
        down, right = (got[0, 0, -1, -1] == padded[0, 0]).nonzero()[-1].tolist()  # the last place of that value
        found.add((18 - down, 16 - right))
        assert torch.equal(got, padded[:, :, down - 11 : down + 1, right - 9 : right + 1])
    assert {d for d, _ in found} == {r for _, r in found} == set(range(8))


def test_flip_and_quarter_turns_of_a_known_pattern():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).expand(50, 1, 2, 2)
    assert {tuple(s.flatten().tolist()) for s in one("flip", x)} == {(1, 2, 3, 4), (2, 1, 4, 3)}
    assert {tuple(s.flatten().tolist()) for s in one("rotate", x)} == {(1, 2, 3, 4), (2, 4, 1, 3), (3, 1, 4, 2)}


def test_cutout_is_a_box_of_half_the_side_clipped_at_the_border():
    got = one("cutout", torch.ones(300, 2, 8, 11), 1)
    sizes = set()
    for sample in got:
        assert torch.equal(sample[0], sample[1])
        rows, columns = (sample[0] == 0).any(1), (sample[0] == 0).any(0)
        sizes.add((int(rows.sum()), int(columns.sum())))
        assert torch.equal(sample[0] == 0, rows[:, None] & columns)
        for hidden in (rows, columns):
            at = hidden.nonzero().flatten()
            assert len(at) == 0 or int(at[-1] - at[0]) + 1 == len(at)
    assert max(sizes) == (4, 6)
    assert min(h for h, _ in sizes) == 2  # the box's middle is in the image
    assert got.mean().item() == pytest.approx(1 - (4 / 8) * (6 / 11) * 0.75**2, abs=0.08)


def zoomed(x, extent, top, left):
    """One channel in a loop: linear interpolation at (top + i * extent, left + j * extent), black beyond."""
    height, width = x.shape
    new = torch.zeros_like(x)
    for i in range(height):
        for j in range(width):
            v, u = top + i * extent, left + j * extent
            for p in range(height):
                for q in range(width):
                    new[i, j] += max(0, 1 - abs(v - p)) * max(0, 1 - abs(u - q)) * x[p, q]
    return new


def test_zoom_against_a_loop():
    x = rand(8, 1, 6, 7)
    got = one("zoom", x, 2)
    torch.manual_seed(2)
    draws = [torch.rand(8, 1, 1, 1).flatten().tolist() for _ in range(5)]
    kinds = set()
    for i, (choice, inward, outward, lean_v, lean_u) in enumerate(zip(*draws, strict=True)):
        extent = 1 / (1 + inward) if choice < 0.5 else 1.1 + 0.9 * outward
        kinds.add(extent < 1)
        starts = [(n - 1) / 2 * (1 - extent) * (1 + (2 * lean - 1)) for n, lean in ((6, lean_v), (7, lean_u))]
        torch.testing.assert_close(got[i, 0], zoomed(x[i, 0], extent, *starts), atol=1e-5, rtol=0)
    assert kinds == {True, False}


def test_zoom_in_never_leaves_the_image_and_zoom_out_does():
    got = one("zoom", torch.ones(64, 1, 9, 9))
    inside = got.flatten(1).min(1).values > 1 - 1e-5
    assert 0 < inside.sum() < 64
    assert (got[~inside].mean((1, 2, 3)) < 0.95).all()


def test_transl_zoom_is_one_of_three():
    x = rand(1, 1, 16, 16).expand(90, -1, -1, -1) + 0.1
    values = set(x[0].flatten().tolist()) | {0.0}
    got = one("transl_zoom", x)
    whole = torch.tensor([set(sample.flatten().tolist()) <= values for sample in got])
    black = (got == 0).flatten(1).any(1)
    shares = [whole, ~whole & ~black, ~whole & black]
    assert [0.2 < share.float().mean() < 0.47 for share in shares] == [True] * 3


def test_gradient_equals_that_of_a_loop_over_samples():
    """Each sample's gradient depends on its own draw only."""
    policies = ("color", "transl_zoom", "flip", "rotate", "cutout", "offset", "shift")
    x, weight = rand(4, 3, 12, 12).requires_grad_(), rand(4, 3, 12, 12, seed=1)
    (whole,) = torch.autograd.grad((augment(policies, {"x": x})["x"] * weight).sum(), x)
    for i in range(4):
        mask = torch.zeros(4, 1, 1, 1)
        mask[i] = 1
        (single,) = torch.autograd.grad((augment(policies, {"x": x})["x"] * weight * mask).sum(), x)
        torch.testing.assert_close(single[i], whole[i])
        assert not single[[j for j in range(4) if j != i]].any()


def test_bad_policies_and_images_say_what_was_expected():
    with pytest.raises(ValueError, match=r"color, translation.*found 'colour'"):
        Augment(("flip", "colour"))
    with pytest.raises(ValueError, match=r"rotate: expected square images, found 8 x 6"):
        one("rotate", torch.rand(1, 3, 8, 6))
    with pytest.raises(ValueError, match="one batch and size"):
        augment(("flip",), {"fake": torch.rand(1, 3, 8, 8), "real": torch.rand(1, 3, 8, 6)})
