import pickle

import cv2
import numpy as np
import pytest
import torch

from darkroom.core.errors import DataError
from darkroom.data.degrade import DEGRADATIONS
from darkroom.data.degrade.operation import Ragged, Size
from darkroom.data.degrade.pipeline import Pipeline, Stage, degrade
from darkroom.data.degrade.realistic import Estimated, Realistic
from darkroom.data.degrade.resizes import DownUp, Resize
from darkroom.data.degrade.resizing import FinalScale, NearestAligned, RandomDownUp, RandomResize
from darkroom.filters.resize import KERNELS, imresize
from darkroom.filters.resize_taps import NAMES, Line, joined_taps, kernel_name, sum_taps, sum_taps_by_adding, taps

BIG, GOAL = Size(160, 160), Size(40, 40)
TOLERANCE = {"cv2_lanczos4": 5e-5}  # OpenCV's own float32 weights are off by so much


def picture(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).random((height, width, channels), dtype=np.float32)


def as_batch(*images, beyond=0.0):
    """Images in one tensor with something else around them."""
    height, width = max(i.shape[0] for i in images) + 2, max(i.shape[1] for i in images) + 3
    whole = torch.full((len(images), images[0].shape[2], height, width), beyond)
    for place, image in zip(whole, images, strict=True):
        place[:, : image.shape[0], : image.shape[1]] = torch.from_numpy(image.transpose(2, 0, 1))
    return Ragged(whole, [Size(*i.shape[:2]) for i in images])


def check_on_device(operations, images, tolerance):
    done = type(operations[0]).on_device(operations, as_batch(*images, beyond=-5e3))
    for operation, image, got, size in zip(operations, images, done.each(), done.sizes, strict=True):
        expected = operation.on_host(image)
        assert size == operation.size(Size(*image.shape[:2])) == expected.shape[:2]
        np.testing.assert_allclose(got.permute(1, 2, 0), expected, atol=tolerance, err_msg=str(operation))


def drawn(degradation, size=BIG, goal=GOAL, count=2000):
    rng = np.random.default_rng(7)
    return [degradation.draw(rng, size, goal) for _ in range(count)]


# ---- resizing to a size


@pytest.mark.parametrize("name", sorted(KERNELS))
@pytest.mark.parametrize("goal", [(13, 7), (30, 41), (64, 50)])
def test_antialiased_kernels_on_the_host(name, goal):
    image = picture(31, 29)
    expected = np.clip(imresize(image.astype(np.float64), size=goal, kernel=name), 0, 1)
    np.testing.assert_allclose(Resize(name, Size(*goal)).on_host(image), expected, atol=2e-6)


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("nearest", cv2.INTER_NEAREST),
        ("cv2_nearest", cv2.INTER_NEAREST),
        ("area", cv2.INTER_AREA),
        ("cv2_area", cv2.INTER_AREA),
        ("cv2_linear", cv2.INTER_LINEAR),
        ("cv2_linear_exact", cv2.INTER_LINEAR_EXACT),
        ("cv2_cubic", cv2.INTER_CUBIC),
        ("cv2_lanczos4", cv2.INTER_LANCZOS4),
    ],
)
def test_opencv_kernels_on_both(name, flag):
    goals = [(8, 8), (16, 12), (11, 9), (33, 25), (40, 50), (64, 48), (20, 40), (50, 10)]
    images = [picture(32, 24, seed=n) for n in range(len(goals))]
    operations = [Resize(name, Size(*goal)) for goal in goals]
    for operation, image, (height, width) in zip(operations, images, goals, strict=True):
        expected = cv2.resize(image, (width, height), interpolation=flag).clip(0, 1)
        np.testing.assert_array_equal(operation.on_host(image), expected)
    check_on_device(operations, images, TOLERANCE.get(name, 2e-6))


@pytest.mark.parametrize("name", ["area", "nearest"])
def test_opencv_kernels_at_all_sizes(name):
    # of a unit matrix resized in one direction come all weights
    for length in range(1, 50, 2):
        operations = [Resize(name, Size(out, length)) for out in range(1, 80, 3)]
        check_on_device(operations, [np.eye(length, dtype=np.float32)[:, :, None]] * len(operations), 2e-6)


@pytest.mark.parametrize("name", NAMES)
def test_device_and_host(name):
    rng = np.random.default_rng(3)
    images = [picture(*rng.integers(4, 60, 2), seed=n) for n in range(8)]
    sigmas = [0.0, 0.3, 1.7, 2.4] * 2 if name == "nearest_aligned" else [0.0] * 8
    operations = [Resize(name, Size(*map(int, rng.integers(4, 90, 2))), sigma) for sigma in sigmas]
    check_on_device(operations, images, TOLERANCE.get(name, 2e-6))


def test_a_batch_of_all_kernels():
    rng = np.random.default_rng(4)
    operations = [Resize(name, Size(*map(int, rng.integers(4, 70, 2)))) for name in NAMES]
    images = [picture(*rng.integers(4, 60, 2), channels=1, seed=n) for n in range(len(operations))]
    check_on_device(operations, images, 5e-5)


def test_autocast_makes_no_difference():
    operations = [Resize("cubic", Size(9, 11)), Resize("area", Size(20, 7))]
    batch = as_batch(picture(16, 20), picture(18, 18))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        done = Resize.on_device(operations, batch)
    assert done.images.dtype == torch.float32
    torch.testing.assert_close(done.images, Resize.on_device(operations, batch).images, rtol=0, atol=0)


def test_sums_where_there_is_no_kernel_for_them():
    lines = [Line("cubic", 9, 4), Line("nearest", 7, 6), Line("area", 9, 2)]
    table = torch.rand(3 * 9, 5)
    arguments = [torch.from_numpy(a) for a in joined_taps(lines, 9)]
    expected = torch.zeros(3, 6, 5)
    for place, line, image in zip(expected, lines, table.view(3, 9, 5), strict=True):
        pixels, weights = (torch.from_numpy(a) for a in taps(line))
        place[: line.out] = (image[pixels] * weights[:, :, None]).sum(dim=1)
    for add in (sum_taps, sum_taps_by_adding):
        torch.testing.assert_close(add(table, *arguments).view(3, 6, 5), expected)


@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize("sigma", [0.2, 0.7, 1.9])
def test_nearest_aligned_as_bsrgan_has_it(k, sigma):
    """A Gaussian of 25 x 25, moved by (k - 1) / 2 by linear interpolation, and every k-th pixel of the image."""
    image, side = picture(8 * k, 6 * k, 1), 25
    x = np.arange(side) - 12.0
    kernel = np.exp(-(x**2) / (2 * sigma**2))
    moved = np.interp(x - (k - 1) / 2, x, kernel, left=0, right=0)
    weights = np.outer(moved, moved)
    weights /= weights.sum()
    padded = np.pad(image[:, :, 0].astype(np.float64), 12 + k, mode="symmetric")[k:, k:]
    expected = np.empty((8, 6))
    for i in range(8):
        for j in range(6):
            expected[i, j] = (padded[i * k : i * k + side, j * k : j * k + side] * weights).sum()
    got = Resize("nearest_aligned", Size(8, 6), sigma).on_host(image)[:, :, 0]
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_nearest_aligned_moves_nothing():
    ramp = np.tile(np.linspace(0, 1, 64, dtype=np.float32)[:, None], (1, 64))[:, :, None]
    centres = (np.arange(16) * 4 + 1.5) / 63
    for sigma in (0.0, 1.3):
        got = Resize("nearest_aligned", Size(16, 16), sigma).on_host(ramp)[3:-3, 8, 0]
        np.testing.assert_allclose(got, centres[3:-3], atol=1e-5)
    assert abs(Resize("nearest", Size(16, 16)).on_host(ramp)[3:-3, 8, 0] - centres[3:-3]).min() > 0.02


def test_an_operation_leaves_its_argument_and_pickles():
    image = picture(20, 20)
    before = image.copy()
    for operation in (Resize("lanczos3", Size(9, 30)), Resize("area", Size(20, 20)), Resize("cubic", Size(5, 5))):
        done = operation.on_host(image)
        done[:] = 0
        np.testing.assert_array_equal(image, before)
        assert pickle.loads(pickle.dumps(operation)) == operation
    operation = DownUp(Resize("linear", Size(11, 12)), Resize("cubic", Size(13, 14)))
    assert pickle.loads(pickle.dumps(operation)) == operation
    assert str(operation) == "linear 12x11, cubic 14x13"
    assert str(Resize("nearest_aligned", Size(10, 12), 1.234)) == "nearest_aligned 1.23 12x10"


def test_results_stay_in_range():
    image = (picture(40, 40) > 0.5).astype(np.float32)
    operations = [Resize(name, Size(57, 17)) for name in ("cubic", "lanczos4", "cv2_cubic", "cv2_lanczos4", "sinc5")]
    done = Resize.on_device(operations, as_batch(*[image] * len(operations)))
    for result in (*(o.on_host(image) for o in operations), done.images.numpy()):
        assert result.min() == 0
        assert result.max() == 1


def test_an_unknown_kernel():
    with pytest.raises(ValueError, match=r"kernel: expected one of area, .*, found 'bicubik'"):
        kernel_name("bicubik")
    for make in (RandomResize, RandomDownUp, FinalScale):
        with pytest.raises(ValueError, match="found 'bicubik'"):
            make(kernels=("linear", "bicubik"))


# ---- what is drawn


def sides(operations, size=BIG):
    return np.array([size.height if o is None else o.size(size).height for o in operations])


def test_up_down_and_keep():
    found = sides(drawn(RandomResize(up=2, down=7, keep=1), count=4000)) / 160
    up, down, keep = found[found > 1], found[found < 1], found[found == 1]
    assert len(up) / 4000 == pytest.approx(0.2, abs=0.03)
    assert len(down) / 4000 == pytest.approx(0.7, abs=0.03)
    assert len(keep) / 4000 == pytest.approx(0.1, abs=0.02)
    for part, low, high in ((up, 1, 1.5), (down, 0.15, 1)):
        assert part.min() == pytest.approx(low, abs=0.02)
        assert part.max() == pytest.approx(high, abs=0.02)
        assert part.mean() == pytest.approx((low + high) / 2, abs=0.02)


def test_factors_of_the_goal():
    found = sides(drawn(RandomResize(up=3, down=4, keep=3, up_range=(1, 1.2), down_range=(0.3, 1), of="goal")))
    assert found.min() == 12
    assert found.max() == 48
    assert (found == 40).mean() > 0.25  # what is kept ends as the goal


def test_without_a_range_of_factors():
    found = sides(drawn(RandomResize(kernels=("linear",), down_range=None, of="goal")))
    assert (found.min(), found.max()) == (40, 80)
    assert found.mean() == pytest.approx(60, abs=1)
    nearly = sides(drawn(RandomResize(down_range=None), size=Size(60, 60)), Size(60, 60))
    assert (nearly.min(), nearly.max()) == (40, 60)


def test_shares_of_kernels():
    operations = drawn(RandomResize(kernels=("area", "bilinear", "cubic"), shares=(1, 0, 3)), count=3000)
    names = [o.kernel for o in operations if o]
    assert names.count("area") / len(names) == pytest.approx(0.25, abs=0.03)
    assert set(names) == {"area", "cubic"}


@pytest.mark.parametrize("kernel", ["nearest", "cv2_nearest", "box", "nearest_aligned"])
@pytest.mark.parametrize(
    ("side", "expected"), [(160, {80, 40}), (120, {60, 40}), (123, {62, 41}), (80, {40}), (40, {})]
)
def test_whole_factors(kernel, side, expected):
    size = Size(side, side)
    operations = drawn(RandomResize(kernels=(kernel,), up=5), size=size, count=60)
    ends = {o.goal.height for o in operations if o}
    assert ends == {*expected} if side != 80 else ends == {40}
    assert {o.goal.height for o in drawn(NearestAligned(), size=size, count=60) if o} == ends


def test_sigma_of_nearest_aligned():
    operations = drawn(NearestAligned())
    for end, k in ((40, 4), (80, 2)):
        sigmas = np.array([o.sigma for o in operations if o.goal.height == end])
        assert sigmas.min() == pytest.approx(0.1, abs=0.02)
        assert sigmas.max() == pytest.approx(0.6 * k, abs=0.02)


@pytest.mark.parametrize("side", [36, 40, 44])
def test_an_image_at_its_goal_loses_half_as_much(side):
    size = Size(side, side)
    found = sides(drawn(RandomResize(), size=size), size)
    assert found.min() == pytest.approx(0.575 * side, abs=0.6)
    assert sides(drawn(RandomResize(adaptive=False), size=size), size).min() == pytest.approx(0.15 * side, abs=0.6)
    firsts = [o.first.goal.height for o in drawn(RandomDownUp(), size=size)]
    assert min(firsts) == pytest.approx(0.75 * side / max(1, side / 40), abs=1)
    far = Size(side, side + 10)  # one side only, at most
    assert sides(drawn(RandomResize(), size=far), far).min() < 0.2 * side


def test_down_up():
    operations = drawn(RandomDownUp(), count=4000)
    first = np.array([o.first.goal.height for o in operations])
    last = np.array([o.second.goal.height for o in operations])
    assert (last.min(), last.max()) == (40, 80)  # s1 from 2 to 4
    assert last.mean() == pytest.approx(160 * np.log(2) / 2, abs=1)
    ratio = first / last  # a from 1/2 to s1
    assert ratio.min() == pytest.approx(0.5, abs=0.02)
    assert (ratio <= 160 / last + 0.03).all()
    assert first.max() == pytest.approx(160, abs=2)
    assert (first < last).mean() > 0.1
    assert {o.first.kernel for o in operations} == {o.second.kernel for o in operations} == {"linear", "cubic"}
    check_on_device(operations[:5], [picture(160, 160, 1, n) for n in range(5)], 2e-6)


def test_final_scale():
    operations = drawn(FinalScale())
    assert {o.goal for o in operations} == {GOAL}
    assert {o.kernel for o in operations} == {"area", "linear", "cubic"}
    assert operations[0].on_host(picture(*BIG)).shape == (40, 40, 3)
    assert drawn(FinalScale(), size=GOAL, count=3) == [None] * 3


def test_no_side_below_four():
    found = [o.goal for o in drawn(RandomResize(down_range=(0.01, 0.02)), size=Size(50, 3), goal=Size(10, 2)) if o]
    assert set(found) == {Size(4, 3)}


@pytest.mark.parametrize("name", ["resize", "nearest_aligned", "down_up", "final_scale"])
def test_the_count_of_random_numbers_is_the_same_for_all(name):
    degradation = DEGRADATIONS[name]()
    counts = set()
    for side in (160, 40, 20):
        for seed in range(10):
            rng, same = np.random.default_rng(seed), np.random.default_rng(seed)
            degradation.draw(rng, Size(side, side), GOAL)
            after = rng.random()
            counts.add([*same.random(9)].index(after))
    assert len(counts) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomResize(up=0, down=0), "up, down and keep"),
        (lambda: RandomResize(up=-1), "up, down and keep"),
        (lambda: RandomResize(down_range=(0, 1)), r"down_range: .*\(0, 1\)"),
        (lambda: RandomResize(up_range=(2, 1)), r"up_range: .*\(2, 1\)"),
        (lambda: RandomResize(shares=(1,)), r"shares: expected one for each of 3 kernels"),
        (lambda: RandomResize(shares=(0, 0, 0)), "not all 0"),
        (lambda: FinalScale(kernels=()), "at least one"),
        (lambda: RandomDownUp(least=0), "least"),
        (lambda: NearestAligned(sigma=(0, 1)), "sigma"),
    ],
)
def test_numbers_out_of_order(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_in_a_pipeline_the_size_is_exact():
    resizes = Stage([RandomResize(up=1), NearestAligned(), RandomDownUp()], [1, 1, 1])
    pipeline = Pipeline(stages=[resizes, resizes], last=[Stage([FinalScale()], [1])])
    for seed in range(20):
        operations = pipeline.draw(np.random.default_rng(seed), Size(64, 80), Size(16, 20))
        assert degrade(picture(64, 80), operations).shape == (16, 20, 3)


# ---- estimated kernels


def blob(side, centre, width=1.5):
    """A Gaussian with its centre of mass at ``centre`` (y, x) from the middle."""
    y, x = (np.arange(side) - (side - 1) / 2 - c for c in centre)
    kernel = np.exp(-(y[:, None] ** 2 + x**2) / (2 * width**2))
    return kernel / kernel.sum()


def naive_realistic(image, kernel, scale):
    """Correlation with the kernel around each pixel, and every ``scale``-th of these."""
    padded = np.pad(image.astype(np.float64), 6, mode="symmetric")
    rows, columns = (range(0, side, scale) for side in image.shape)
    return np.array([[(padded[y : y + 13, x : x + 13] * kernel).sum() for x in columns] for y in rows])


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("shape", [(24, 32), (25, 30)])
def test_realistic(tmp_path, scale, shape):
    made = [blob(13, ((scale - 1) / 2,) * 2, width=w) for w in (0.8, 1.2, 1.6)]
    for n, kernel in enumerate(made):
        (tmp_path / f"080{n}").mkdir()
        np.save(tmp_path / f"080{n}" / f"kernel_x{scale}.npy", 3 * kernel)
    np.save(tmp_path / "0800" / "kernel_x8.npy", np.eye(3))
    image = picture(*shape, 1)
    size = Size(*shape)
    goal = Size(*(side // scale for side in shape))
    degradation = Realistic(str(tmp_path), kernel_scale=scale)
    operations = [degradation.draw(np.random.default_rng(seed), size, goal) for seed in range(30)]
    assert {str(o) for o in operations} == {f"realistic 080{n} x{scale}" for n in range(3)}
    for operation in operations[:6]:
        kernel = made[int(operation.name[-1])]
        np.testing.assert_allclose(operation.kernel, kernel, atol=1e-6)
        got = operation.on_host(image)
        assert got.shape[:2] == operation.size(size)
        np.testing.assert_allclose(got[:, :, 0], naive_realistic(image[:, :, 0], kernel, scale), atol=1e-5)
    restored = pickle.loads(pickle.dumps(operations[0]))
    np.testing.assert_array_equal(restored.on_host(image), operations[0].on_host(image))


def test_realistic_on_both():
    kernels = [blob(13, c).astype(np.float32) for c in ((0, 0), (1.5, 1.5), (-2, 1), (0.5, 0.5))]
    operations = [Estimated(str(n), k, s) for n, (k, s) in enumerate(zip(kernels, (4, 4, 3, 2), strict=True))]
    images = [picture(*shape, seed=n) for n, shape in enumerate([(40, 40), (33, 50), (29, 30), (21, 24)])]
    check_on_device(operations, images, 2e-6)


@pytest.mark.parametrize("centre", [(0, 0), (1.5, 1.5), (2, -1)])
def test_realistic_moves_by_half_a_pixel_at_most(centre):
    ramp = np.tile(np.arange(64, dtype=np.float32)[:, None] / 63, (1, 64))
    operation = Estimated("", blob(13, centre, 1.0).astype(np.float32), 4)
    expected = np.arange(16) * 4 + 1.5
    for image, axis in ((ramp, 0), (ramp.T, 1)):
        lines = np.moveaxis(operation.on_host(image[:, :, None].copy())[:, :, 0], axis, 0)
        assert abs(lines[4:-4, 8] * 63 - expected[4:-4]).max() <= 0.51


def test_kernels_of_other_sizes_and_files(tmp_path):
    from scipy.io import savemat

    wide = blob(25, (1, 1), 3.0)
    savemat(tmp_path / "img_1_kernel_x4.mat", {"Kernel": wide})
    np.save(tmp_path / "img_2_kernel_x4.npy", blob(5, (0, 0), 1.0))
    kernels = {}
    for seed in range(20):
        operation = Realistic(str(tmp_path)).draw(np.random.default_rng(seed), BIG, GOAL)
        kernels[operation.name] = operation.kernel
    middle = wide[6:-6, 6:-6]
    np.testing.assert_allclose(kernels["img_1"], middle / middle.sum(), atol=1e-6)
    np.testing.assert_allclose(kernels["img_2"], np.pad(blob(5, (0, 0), 1.0), 4), atol=1e-6)


def test_realistic_gives_way_where_an_image_is_small_already(tmp_path):
    np.save(tmp_path / "kernel_x4.npy", blob(13, (1.5, 1.5)))
    degradation = Realistic(str(tmp_path))
    assert {type(o) for o in drawn(degradation, size=Size(150, 146), count=20)} == {Estimated}
    for side, least in ((40, 23), (100, 15)):
        operations = [o for o in drawn(degradation, size=Size(side, side)) if o]
        assert {o.kernel for o in operations} == {"area", "linear", "cubic"}
        assert min(o.goal.height for o in operations) == pytest.approx(least, abs=1)


def test_folders_without_kernels(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        Realistic(str(tmp_path / "nowhere"))
    np.save(tmp_path / "kernel_x2.npy", np.eye(13))
    with pytest.raises(DataError, match=r"no \*kernel_x4.npy or .mat .* expected KernelGAN's output"):
        Realistic(str(tmp_path))
    with pytest.raises(ValueError, match="kernel_scale"):
        Realistic(str(tmp_path), kernel_scale=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((13, 13)), "positive sum"),
        (np.zeros(13), r"shape \(13,\)"),
        (np.full((13, 13), np.nan), "finite"),
        (None, "cannot be read"),
    ],
)
@pytest.mark.parametrize("suffix", ["npy", "mat"])
def test_files_that_are_no_kernels(tmp_path, content, message, suffix):
    from scipy.io import savemat

    path = tmp_path / f"kernel_x4.{suffix}"
    if content is None:
        path.write_bytes(b"no kernel")
    elif suffix == "npy":
        np.save(path, content)
    else:
        savemat(path, {"Kernel": content})
        message = r"shape|sum" if content.ndim == 1 else message  # there are no vectors in such files
    with pytest.raises(DataError, match=message) as caught:
        Realistic(str(tmp_path))
    assert str(path) in str(caught.value)
