"""What the presets of degradations do to samples: how often, how much, in which order.

Frequencies are of 2,000 samples each, within 4.5 standard deviations of what the specification's table 2.2 says.
"""

import collections
import itertools

import pytest
from test_dialect_degrade import GOAL, KERNELS, SIZE, about, drawn, filled

from darkroom.data.degrade.blurring import Blur
from darkroom.data.degrade.compression import ThroughJPEG, ThroughWebP
from darkroom.data.degrade.noises import AddGaussian, AddPoisson
from darkroom.data.degrade.patches import AddPatch
from darkroom.data.degrade.realistic import Estimated
from darkroom.data.degrade.resizes import DownUp, Resize

ALL_NOISES = ("gaussian", "poisson", "camera", "patch")


def words(plan):
    return [str(operation).split() for operation in plan]


def shares(found):
    counts = collections.Counter(found)
    return {name: count / sum(counts.values()) for name, count in counts.items()}


def check_shares(found, expected):
    found = [*found]
    assert {*found} == {*expected}
    for name, share in shares(found).items():
        assert about(share, expected[name], len(found)), (name, share)


def check_sizes(plans):
    for plan in plans:
        size = SIZE
        for operation in plan:
            size = operation.size(size)
        assert size == GOAL


def first_resize(plan):
    return next(o for o in plan if isinstance(o, (Resize, DownUp)))


def check_range(values, low, high):
    """All are in the range, and nearly fill it."""
    values = [*values]
    room = high - low
    assert low <= min(values) < low + 0.1 * room
    assert high - 0.1 * room < max(values) <= high


def sides(blurs):
    return {int(blur.label.split()[1]) for blur in blurs}


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folders = filled(tmp_path_factory.mktemp("samples"))
    return {
        "bsrgan": drawn({"augs_strategy": "bsrgan"}), "resrgan": drawn({"augs_strategy": "resrgan"}),
        "realsr": drawn({"augs_strategy": "realsr", **folders}),
        "combo": drawn({"augs_strategy": "combo", **folders}),
    }  # fmt: skip


@pytest.mark.parametrize("strategy", ["bsrgan", "resrgan", "realsr", "combo"])
def test_samples_end_in_the_size_of_inputs(samples, strategy):
    check_sizes(samples[strategy])
    assert len({tuple(map(str, plan)) for plan in samples[strategy]}) > (1900 if strategy != "realsr" else 3)


def test_samples_of_bsrgan(samples):
    plans = samples["bsrgan"]
    named = [[w[0] for w in words(plan)] for plan in plans]
    for name, expected in (("iso", {1: 1}), ("aniso", {1: 1}), ("gaussian", {1: 1}), ("camera", {0: 0.75, 1: 0.25})):
        check_shares((names.count(name) for names in named), expected)
    check_shares((names.count("jpeg") for names in named), {1: 0.25, 2: 0.75})
    shuffled = ("iso", "aniso", "gaussian", "camera")
    orders = [tuple(n for n in names if n in shuffled) for names in named]
    check_shares((o for o in orders if len(o) == 3), dict.fromkeys(itertools.permutations(shuffled[:3]), 1 / 6))
    assert {o for o in orders if len(o) == 4} == {*itertools.permutations(shuffled)}
    blurs = [o for plan in plans for o in plan if isinstance(o, Blur)]
    assert sides(blurs) == {*range(7, 22, 2)}
    numbers = [blur.label.split() for blur in blurs]
    check_range((float(n[2]) for n in numbers if n[0] == "iso"), 0.1, 2.8)
    for axis in (2, 3):
        check_range((float(n[axis]) for n in numbers if n[0] == "aniso"), 0.5, 8)
    check_range((float(n[5]) for n in numbers if n[0] == "aniso"), 0, 180)
    noises = [o for plan in plans for o in plan if isinstance(o, AddGaussian)]
    check_range((s for noise in noises for s in noise.sigmas), 1, 25)
    assert about(sum(n.color for n in noises) / 2000, 0.6)
    check_range((o.quality for plan in plans for o in plan if isinstance(o, ThroughJPEG)), 30, 95)


def test_resizes_of_bsrgan(samples):
    """The first one goes to between the final size and twice that; the last one may not be needed."""
    first = [first_resize(plan) for plan in samples["bsrgan"]]
    check_shares(
        (o.kernel if isinstance(o, Resize) else "down_up" for o in first),
        dict.fromkeys(("linear", "cubic", "nearest_aligned", "down_up"), 0.25),
    )
    free = [o for o in first if isinstance(o, DownUp) or o.kernel in ("linear", "cubic")]
    check_range((o.size(SIZE).width for o in free), 40, 80)
    assert {o.goal.width for o in first if isinstance(o, Resize) and o.kernel == "nearest_aligned"} == {40, 80}
    check_range((o.first.goal.width / o.second.goal.width for o in first if isinstance(o, DownUp)), 0.5, 4)


def test_last_stages_come_in_both_orders(samples):
    for strategy in ("resrgan", "combo"):
        ends = ["jpeg" if isinstance(plan[-1], ThroughJPEG) else "scale" for plan in samples[strategy]]
        check_shares(ends, {"jpeg": 0.5, "scale": 0.5})
    needed = [plan for plan in samples["bsrgan"] if first_resize(plan).size(SIZE) != GOAL]
    assert len(needed) > 1500
    ends = ["jpeg" if isinstance(plan[-1], ThroughJPEG) else "scale" for plan in needed]
    check_shares(ends, {"jpeg": 0.5, "scale": 0.5})


def rounds(plan):
    """What is done until the first compression, and after that."""
    first = next(n for n, o in enumerate(plan) if isinstance(o, (ThroughJPEG, ThroughWebP)))
    return plan[: first + 1], plan[first + 1 :]


def test_samples_of_resrgan(samples):
    plans = [rounds(plan) for plan in samples["resrgan"]]
    check_shares((first[0].label.split()[0] for first, _ in plans), {"sinc": 0.1, "iso": 0.58, "aniso": 0.32})
    again = [rest[0].label.split()[0] if isinstance(rest[0], Blur) else "" for _, rest in plans]
    check_shares(again, {"": 0.2, "sinc": 0.08, "iso": 0.464, "aniso": 0.256})
    for part, high, noise, scale in ((0, 3, 30, 3), (1, 1.5, 25, 2.5)):
        blurs = [plan[part][0].label.split() for plan in plans if isinstance(plan[part][0], Blur)]
        check_range((float(w[2]) for w in blurs if w[0] == "iso"), 0.2, high)
        check_range((float(w[3]) for w in blurs if w[0] == "aniso"), 0.2, high)
        check_range((float(w[5]) for w in blurs if w[0] == "aniso"), -180, 180)
        assert {int(w[1]) for w in blurs} == {*range(7, 22, 2)}
        noises = [o for plan in plans for o in plan[part] if isinstance(o, (AddGaussian, AddPoisson))]
        assert len(noises) == 2000
        check_shares((type(o) for o in noises), {AddGaussian: 0.5, AddPoisson: 0.5})
        assert about(sum(o.color for o in noises) / 2000, 0.6)
        check_range((s for o in noises if isinstance(o, AddGaussian) for s in o.sigmas), 1, noise)
        check_range((o.scale for o in noises if isinstance(o, AddPoisson)), 0.05, scale)
    check_range((o.quality for plan in samples["resrgan"] for o in plan if isinstance(o, ThroughJPEG)), 30, 95)


def test_resizes_of_resrgan(samples):
    plans = [rounds(plan) for plan in samples["resrgan"]]
    first = [next((o.goal.width for o in part if isinstance(o, Resize)), 160) for part, _ in plans]
    ways = ("up" if width > 160 else "down" if width < 160 else "keep" for width in first)
    check_shares(ways, {"up": 0.2, "down": 0.7, "keep": 0.1})
    check_range(first, 24, 240)
    kernels = [o.kernel for part, _ in plans for o in part if isinstance(o, Resize)]
    check_shares(kernels, dict.fromkeys(KERNELS, 1 / 3))
    rest = [part[1:] if isinstance(part[0], Blur) else part for _, part in plans]
    second = [part[0].goal.width for part in rest if isinstance(part[0], Resize)]
    assert len(second) > 1900, "few are of that size already"
    check_range(second, 12, 48)
    assert abs(sum(width > 40 for width in second) / len(second) - 0.3) < 0.05
    assert abs(sum(width < 40 for width in second) / len(second) - 0.4) < 0.05


def test_final_blur_of_resrgan(samples):
    found = []
    for plan in samples["resrgan"]:
        noise = max(n for n, o in enumerate(plan) if isinstance(o, (AddGaussian, AddPoisson)))
        found.append([o.label.split() for o in plan[noise:] if isinstance(o, Blur)])
    check_shares((len(blurs) for blurs in found), {0: 0.2, 1: 0.8})
    assert {name for blurs in found for name, *_ in blurs} == {"sinc"}
    check_range((float(cutoff) for blurs in found for _, _, cutoff in blurs), 1.04, 3.15)


def test_samples_of_realsr(samples):
    assert all(len(plan) == 2 for plan in samples["realsr"])
    kernels, noises = zip(*samples["realsr"], strict=True)
    assert {type(o) for o in kernels} == {Estimated}
    assert {type(o) for o in noises} == {AddPatch}
    check_shares((o.name for o in kernels), {"camera0": 0.5, "camera1": 0.5})
    assert len(shares(o.file for o in noises)) == 2
    assert {o.scale for o in kernels} == {4}


def test_samples_of_combo(samples):
    plans = [rounds(plan) for plan in samples["combo"]]
    for part in (0, 1):
        kinds = [w[0] for plan in plans for w in words(plan[part]) if w[0] in ALL_NOISES]
        check_shares(kinds, dict.fromkeys(ALL_NOISES, 0.25))
    check_shares((w[-1][0] for w in (words(first) for first, _ in plans)), {"jpeg": 0.75, "webp": 0.25})
    check_range((o.quality for plan in samples["combo"] for o in plan if isinstance(o, ThroughWebP)), 20, 90)
    resizes = [next((o for o in first if isinstance(o, (Resize, DownUp, Estimated))), None) for first, _ in plans]
    kinds = [o.kernel if isinstance(o, Resize) else type(o).__name__ for o in resizes]
    found = shares(kinds)
    for name in ("nearest_aligned", "DownUp", "Estimated"):
        assert about(found[name], 1 / 6), name
    for name in KERNELS:
        assert about(found[name] / 0.9, 1 / 6), (name, found[name])  # one of ten stays as it is
