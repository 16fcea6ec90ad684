"""Batch augmentations: input and target get the same, and what each one gives can be found again in the batch."""

import itertools

import pytest
import torch

from darkroom.data.batch_augment import BATCH_AUGMENTS, OneOf, enlarged

NAMES = ("none", "blend", "rgb", "mixup", "cutmix", "cutmixup", "cutout", "cutblur")
ALPHAS = {"blend": 0.6, "rgb": 1.0, "mixup": 1.2, "cutmix": 0.7, "cutmixup": 0.7, "cutout": 0.001, "cutblur": 0.7}


def batch(scale=2, size=4, h=6, w=10, seed=0):
    """A target that is its input with every pixel repeated: what keeps that is aligned."""
    image = torch.rand(size, 3, h, w, generator=torch.Generator().manual_seed(seed))
    return {"input": image, "target": big(image, scale), "path": [f"{n}.png" for n in range(size)]}


def big(x, scale):
    return x.repeat_interleave(scale, 2).repeat_interleave(scale, 3)


def sharp(given):
    """The batch with a target that has more detail than its input."""
    return {**given, "target": given["target"] * 0.5 + 0.5 * torch.rand_like(given["target"])}


def run(name, given, seed=0, **options):
    torch.manual_seed(seed)
    return BATCH_AUGMENTS[name](**options)(given)


def box_of(mask):
    """Top, bottom, left and right of the true pixels (H, W), which must fill a box."""
    rows, columns = (mask.any(d).nonzero().flatten() for d in (1, 0))
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    assert mask[top:bottom, left:right].all()
    return top, bottom, left, right


def test_names_and_defaults():
    assert tuple(sorted(BATCH_AUGMENTS)) == tuple(sorted(NAMES))
    assert {name: BATCH_AUGMENTS[name]().alpha for name in ALPHAS} == ALPHAS
    assert {BATCH_AUGMENTS[name]().prob for name in NAMES} == {1.0}
    mixup = BATCH_AUGMENTS["cutmixup"]()
    assert (mixup.aux_prob, mixup.aux_alpha) == (1.0, 1.2)


@pytest.mark.parametrize("name", NAMES)
def test_the_given_batch_stays_and_the_seed_decides(name):
    given = sharp(batch())
    before = {k: v.clone() for k, v in given.items() if k != "path"}
    more = {"alpha": 0.3} if name == "cutout" else {}
    first, again = run(name, given, 3, **more), run(name, given, 3, **more)
    others = [run(name, given, seed, **more) for seed in range(4, 9)]
    assert first is not given
    assert first["path"] == given["path"]
    assert all(torch.equal(given[k], before[k]) for k in before)
    assert all(torch.equal(first[k], again[k]) for k in first if k != "path")
    assert (first["input"].dtype, first["target"].shape) == (torch.float32, given["target"].shape)
    changed = [not torch.equal(enlarged(o)["input"], enlarged(given)["input"]) for o in [first, *others]]
    assert any(changed) is (name != "none")
    assert name == "none" or any(not torch.equal(o["input"], first["input"]) for o in others)


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("name", ["blend", "rgb", "mixup", "cutmix", "cutmixup"])
def test_input_and_target_stay_aligned(name, scale):
    for seed in range(8):
        got = run(name, batch(scale), seed)
        torch.testing.assert_close(got["target"], big(got["input"], scale), atol=0, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_probability(name):
    given = sharp(batch())
    assert run(name, given, prob=0.0).keys() == given.keys()
    assert torch.equal(run(name, given, prob=0.0)["target"], given["target"])
    more = {"alpha": 0.3} if name == "cutout" else {}
    plain = enlarged(given)["input"]
    changed = [not torch.equal(enlarged(run(name, given, s, prob=0.3, **more))["input"], plain) for s in range(150)]
    if name not in ("none", "rgb", "mixup", "cutmix", "cutmixup"):  # which may pick a sample or an order itself
        assert 0.15 < sum(changed) / 150 < 0.45
    else:
        assert sum(changed) / 150 < 0.45
        assert any(changed) is (name != "none")


def test_blend_lays_one_colour_over_each_sample():
    given = batch()
    shares = []
    for seed in range(60):
        got = run("blend", given, seed)
        share = (got["input"][0, 0, 0, 0] - got["input"][0, 0, 1, 1]) / (
            given["input"][0, 0, 0, 0] - given["input"][0, 0, 1, 1]
        )
        colour = got["input"] - share * given["input"]
        assert colour.flatten(2).std(2).max() < 1e-4
        assert colour[:, :, 0, 0].std() > 0
        assert (colour <= 1 - share + 1e-4).all()
        shares.append(share.item())
    assert 0.6 - 1e-4 < min(shares) < 0.66
    assert 0.94 < max(shares) <= 1 + 1e-4


def test_rgb_is_one_permutation_of_the_channels():
    given, found = batch(), set()
    for seed in range(60):
        got = run("rgb", given, seed)["input"]
        found.add(next(p for p in itertools.permutations(range(3)) if torch.equal(given["input"][:, list(p)], got)))
    assert len(found) == 6


def test_mixup_is_a_convex_combination_with_the_same_share_in_both():
    given, shares = batch(), []
    for seed in range(200):
        got = run("mixup", given, seed, alpha=1.2)
        torch.manual_seed(seed)
        torch.rand(())
        partners = torch.randperm(4)
        moved = [i for i in range(4) if partners[i] != i]
        for name in ("input", "target"):
            if not moved:
                torch.testing.assert_close(got[name], given[name])
                continue
            step = (given[name] - given[name][partners])[moved]
            share = ((got[name] - given[name][partners])[moved] * step).sum() / step.square().sum()
            torch.testing.assert_close(got[name], share * given[name] + (1 - share) * given[name][partners])
            shares.append(share.item())
    assert min(shares) >= -1e-5
    assert max(shares) <= 1 + 1e-5
    values = torch.tensor(shares)
    assert values.mean().item() == pytest.approx(0.5, abs=0.05)
    assert values.var().item() == pytest.approx(1 / (4 * (2 * 1.2 + 1)), rel=0.25)  # of Beta(a, a)


def test_cutmix_pastes_one_box_of_other_samples():
    given = batch(scale=3, size=5, h=20, w=30)
    corners = set()
    for seed in range(30):
        got = run("cutmix", given, seed)
        changed = (got["input"] != given["input"]).any(1)
        if not changed.any():
            continue
        boxes = {box_of(sample) for sample in changed if sample.any()}
        assert len(boxes) == 1
        top, bottom, left, right = boxes.pop()
        corners.add((top, left))
        assert 0.66 * 20 - 1 < bottom - top < 0.74 * 20
        assert 0.66 * 30 - 1 < right - left < 0.74 * 30
        piece = got["input"][:, :, top:bottom, left:right]
        sources = [[torch.equal(p, s[:, top:bottom, left:right]) for s in given["input"]].index(True) for p in piece]
        assert sorted(sources) == list(range(5))
        torch.testing.assert_close(got["target"], big(got["input"], 3), atol=0, rtol=0)
    assert len(corners) > 10


def test_cutmixup_mixes_inside_or_outside_of_the_box():
    given = batch(size=2, h=20, w=20)
    inside = []
    for seed in range(60):
        changed = ((run("cutmixup", given, seed)["input"] - given["input"]).abs() > 1e-5).any(1)[0]
        if changed.any():  # or no partner, but the sample itself
            border = torch.cat([changed[0], changed[-1], changed[:, 0], changed[:, -1]])
            inside.append(border.float().mean().item() < 0.5)
            box_of(changed if inside[-1] else ~changed)
    assert len(inside) > 20
    assert set(inside) == {True, False}
    pure = [run("cutmixup", given, seed, aux_prob=0.0)["input"] for seed in range(20)]
    values = {*given["input"].flatten().tolist()}
    assert all(set(x.flatten().tolist()) <= values for x in pure)
    assert not set(run("cutmixup", given, 1)["input"].flatten().tolist()) <= values


def test_cutout_drops_pixels_and_marks_what_is_left():
    given = batch(scale=4, size=8, h=40, w=30)
    got = run("cutout", given, alpha=0.1)
    keep = got["keep"]
    assert keep.shape == (8, 1, 160, 120)
    assert set(keep.flatten().tolist()) == {0.0, 1.0}
    assert 1 - keep.mean().item() == pytest.approx(0.1, abs=0.015)
    assert torch.equal(got["target"], given["target"] * keep)
    assert torch.equal(got["target"], big(got["input"], 4))
    assert torch.equal(keep, big(keep[:, :, ::4, ::4], 4))
    assert not torch.equal(keep[0], keep[1])
    assert 0 < 1 - run("cutout", given)["keep"].mean() < 0.004


@pytest.mark.parametrize("scale", [1, 4])
def test_cutblur_swaps_a_box_of_input_and_target(scale):
    given = batch(scale, h=20, w=20)
    given["target"] = given["target"] + 2
    coarse = big(given["input"], scale)
    kinds = set()
    for seed in range(20):
        got = run("cutblur", given, seed)
        assert torch.equal(got["target"], given["target"])
        sharp = (got["input"] > 1.5).all(1)
        assert torch.equal(got["input"], torch.where(sharp[:, None], given["target"], coarse))
        assert (sharp == sharp[0]).all()
        inside = not sharp[0].all(1).any()
        top, bottom, left, right = box_of(sharp[0] if inside else ~sharp[0])
        assert 13 <= (bottom - top) / scale <= 14.8
        assert 13 <= (right - left) / scale <= 14.8
        kinds.add(inside)
    assert kinds == {True, False}


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_one_picks_itself(name):
    given = batch(size=1)
    got = run(name, given)
    assert got["target"].shape == given["target"].shape
    if name in ("mixup", "cutmix", "cutmixup"):
        torch.testing.assert_close(got["target"], given["target"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", NAMES)
def test_any_dtype(name, dtype):
    given = batch()
    given |= {k: given[k].to(dtype) for k in ("input", "target")}
    got = run(name, given)
    assert {got[k].dtype for k in ("input", "target")} == {dtype}
    assert got["target"].min() >= 0
    assert got["target"].max() <= 1


def test_one_of_draws_by_shares():
    given, counts = batch(), {"cutout": 0, "none": 0}
    choices = [BATCH_AUGMENTS["cutout"](alpha=0.3), BATCH_AUGMENTS["none"](), BATCH_AUGMENTS["rgb"]()]
    augment = OneOf(choices, (3, 1, 0))
    torch.manual_seed(0)
    for _ in range(200):
        got = augment(given)
        counts["cutout" if "keep" in got else "none"] += 1
        assert "keep" in got or torch.equal(got["input"], given["input"])
    assert 0.65 < counts["cutout"] / 200 < 0.85
    equal = OneOf(choices[:2])
    assert 70 < sum("keep" in equal(given) for _ in range(200)) < 130


def test_cutblur_makes_all_choices_take_inputs_of_the_targets_size():
    given = batch(scale=4)
    augment = OneOf(
        [BATCH_AUGMENTS["none"](), BATCH_AUGMENTS["cutblur"](prob=0.5), BATCH_AUGMENTS["cutout"](alpha=0.2)]
    )
    torch.manual_seed(0)
    seen = [augment(given) for _ in range(30)]
    assert {got["input"].shape for got in seen} == {given["target"].shape}
    assert any(torch.equal(got["input"], big(given["input"], 4)) for got in seen)
    assert {got["keep"].shape for got in seen if "keep" in got} == {(4, 1, 24, 40)}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mixup", {"prob": 1.5}, "prob of Mixup: expected 0 to 1, found 1.5"),
        ("mixup", {"alpha": -1.0}, "alpha of Mixup: expected 0 to inf, found -1"),
        ("cutmix", {"alpha": 2.0}, "alpha of CutMix: expected 0 to 1, found 2"),
        ("cutmixup", {"aux_prob": 2.0}, "prob of Mixup"),
    ],
)
def test_bad_options_say_what_was_expected(name, options, message):
    with pytest.raises(ValueError, match=message):
        BATCH_AUGMENTS[name](**options)


def test_what_does_not_fit_says_so():
    given = batch()
    with pytest.raises(ValueError, match=r"same multiple.*\(4, 3, 6, 10\) and \(4, 3, 12, 19\)"):
        run("cutmix", {**given, "target": given["target"][..., :-1]})
    with pytest.raises(ValueError, match="found 1 and"):
        OneOf([BATCH_AUGMENTS["none"]()], [1, 2])
    with pytest.raises(ValueError, match="found 0 and"):
        OneOf([])
