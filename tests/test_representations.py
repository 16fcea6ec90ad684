"""Guided filter, gray images by random weights, superpixels: against loops that follow the descriptions."""

import copy
import pickle
import threading
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from skimage.feature import local_binary_pattern
from skimage.segmentation import felzenszwalb

from darkroom.data.images import read
from darkroom.data.photographs import write_sample
from darkroom.filters import superpixels as module
from darkroom.filters.gray import LUMA, SPREAD, draw_gray_weights, to_gray
from darkroom.filters.guided import box_mean, guided_filter
from darkroom.filters.merging import histograms, level_counts, merge_alike
from darkroom.filters.superpixels import Segmenter, darken, draw_gammas, segment, segment_colours, superpixels


@pytest.fixture(scope="module")
def photograph(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    write_sample(folder)
    return np.ascontiguousarray(read(folder / "val" / "HR" / "coffee.png").pixels[40:200, 100:260])


def pair(height=13, width=12, channels=2, batch=2, dtype=torch.float64, seed=0):
    draw = torch.Generator().manual_seed(seed)
    shape = (batch, channels, height, width)
    return tuple(torch.rand(shape, generator=draw, dtype=dtype) * 2 - 1 for _ in "xy")


# ---------------------------------------------------------------- guided filter


def naive_mean(plane, radius, border):
    height, width = plane.shape
    if border == "reflect":
        plane, offset = np.pad(plane, radius, mode="reflect"), radius
    else:
        offset = 0
    out = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            rows, columns = (slice(max(k + offset - radius, 0), k + offset + radius + 1) for k in (i, j))
            out[i, j] = plane[rows, columns].mean()
    return out


def naive_filter(x, y, radius, eps, border):
    def mean(plane):
        return naive_mean(plane, radius, border)

    a = (mean(x * y) - mean(x) * mean(y)) / (mean(x * x) - mean(x) ** 2 + eps)
    b = mean(y) - a * mean(x)
    return mean(a) * x + mean(b)


@pytest.mark.parametrize("border", ["reflect", "zero"])
@pytest.mark.parametrize("radius", [1, 2, 3, 5])
def test_guided_filter_is_the_double_loop(radius, border):
    x, y = pair()
    got = guided_filter(x, y, radius, 0.05, border)
    for b, c in np.ndindex(2, 2):
        want = naive_filter(x[b, c].numpy(), y[b, c].numpy(), radius, 0.05, border)
        np.testing.assert_allclose(got[b, c], want, atol=1e-12)


@pytest.mark.parametrize("border", ["reflect", "zero"])
def test_an_image_may_be_its_own_guide(border):
    x, _ = pair()
    torch.testing.assert_close(guided_filter(x, x, 2, 0.1, border), guided_filter(x, x.clone(), 2, 0.1, border))


@pytest.mark.parametrize("border", ["reflect", "zero"])
def test_limits_of_the_guided_filter(border):
    x, y = pair()
    constant = torch.full_like(x, 0.3)
    torch.testing.assert_close(guided_filter(x, constant, 2, 1e-3, border), constant)
    torch.testing.assert_close(guided_filter(x, x, 2, 1e-12, border), x)
    line = 0.5 * x + 0.25
    torch.testing.assert_close(guided_filter(x, line, 2, 1e-12, border), line)
    twice = box_mean(box_mean(y, 2, border), 2, border)
    torch.testing.assert_close(guided_filter(x, y, 2, 1e12, border), twice)


def test_the_gradient_of_the_guided_filter_reaches_both_images():
    x, y = (t[:1, :1, :6, :5].requires_grad_() for t in pair())
    for border in ("reflect", "zero"):
        assert torch.autograd.gradcheck(lambda a, b: guided_filter(a, b, 1, 0.1, border), (x, y))  # noqa: B023
        assert torch.autograd.gradcheck(lambda a: guided_filter(a, a, 1, 0.1, border), (x,))  # noqa: B023


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    x, y = (t.to(dtype) for t in pair(dtype=torch.float32))
    got = guided_filter(x, y, 2, 1e-3)
    assert got.dtype == dtype
    assert torch.equal(got, guided_filter(x.float(), y.float(), 2, 1e-3).to(dtype))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(got, guided_filter(x, y, 2, 1e-3))


def test_guided_filter_names_what_does_not_fit():
    x, y = pair(8, 7)
    guided_filter(x, y, 2)
    with pytest.raises(ValueError, match=r"radius 3 .* 7 x 7 pixels, found 8 x 7"):
        guided_filter(x, y, 3)
    with pytest.raises(ValueError, match="same shape"):
        guided_filter(x[:, :1], y)
    for wrong in ({"radius": 0}, {"eps": 0.0}, {"border": "replicate"}):
        with pytest.raises(ValueError, match="found radius"):
            guided_filter(x, y, **wrong)


# ---------------------------------------------------------------- gray


def test_gray_is_the_weighted_mean():
    draw = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, 4, 5, generator=draw, dtype=torch.float64)
    weights = torch.tensor([0.2, 0.5, 0.1], dtype=torch.float64)
    got = to_gray(image, weights)
    assert got.shape == (2, 1, 4, 5)
    for b, i, j in np.ndindex(2, 4, 5):
        r, g, bl = image[b, :, i, j].tolist()
        assert float(got[b, 0, i, j]) == pytest.approx((0.2 * r + 0.5 * g + 0.1 * bl) / 0.8, rel=1e-12)
    gray = image[:, :1].expand(-1, 3, -1, -1)
    torch.testing.assert_close(to_gray(gray, draw_gray_weights().double()), image[:, :1])
    assert to_gray(image.half(), draw_gray_weights()).dtype == torch.float16
    with pytest.raises(ValueError, match="RGB"):
        to_gray(image[:, :1], weights)


def test_gray_weights_are_distributed_as_described():
    draw = torch.Generator().manual_seed(0)
    for distribution, deviation in (("uniform", SPREAD / 3**0.5), ("normal", SPREAD)):
        found = torch.stack([draw_gray_weights(draw, distribution=distribution) for _ in range(3000)])
        torch.testing.assert_close(found.mean(0), torch.tensor(LUMA), atol=0.008, rtol=0)
        torch.testing.assert_close(found.std(0), torch.full((3,), deviation), atol=0.005, rtol=0)
        assert (torch.corrcoef(found.T) - torch.eye(3)).abs().max() < 0.1
        largest = (found - torch.tensor(LUMA)).abs().max()
        assert largest <= SPREAD + 1e-6 if distribution == "uniform" else largest > 2 * SPREAD
    with pytest.raises(ValueError, match="uniform or normal, found 'gauss'"):
        draw_gray_weights(distribution="gauss")


# ---------------------------------------------------------------- superpixels: painting and merging


def naive_paint(image, labels, kind):
    out = np.zeros_like(image)
    for label in np.unique(labels):
        pixels = image[labels == label]
        mean, median, deviation = pixels.mean(0), np.median(pixels, axis=0), pixels.std()
        if kind == "mix":
            colour = mean if deviation < 20 else median if deviation > 40 else 0.5 * mean + 0.5 * median
        else:
            colour = {"mean": mean, "median": median}[kind]
        out[labels == label] = colour
    return out


def naive_histogram(image, mask, bins):
    found = np.concatenate([np.histogram(image[..., c][mask], bins)[0] for c in range(3)]).astype(float)
    return found / found.sum()


def naive_neighbours(labels, label):
    mask = np.pad(labels == label, 1)
    around = mask[:-2, 1:-1] | mask[2:, 1:-1] | mask[1:-1, :-2] | mask[1:-1, 2:]
    return sorted(set(labels[around & (labels != label)].tolist()))


class NaiveMerging:
    """Every region by itself, as the reference describes it."""

    def __init__(self, image, labels):
        self.labels, self.elements = labels.copy(), image.size
        patterns = np.stack([local_binary_pattern(image[..., c], 8, 1) for c in range(3)], axis=-1)
        self.regions = {}
        for label in np.unique(labels).tolist():
            mask = labels == label
            rows, columns = np.nonzero(mask)
            self.regions[label] = {
                "size": int((labels == 1).sum()),
                "box": (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1),
                "colour": naive_histogram(image, mask, 25),
                "texture": naive_histogram(patterns, mask, 10),
            }
        self.pairs = {}
        for i in self.regions:
            self.pairs.update({(i, j): self.similarity(i, j) for j in naive_neighbours(labels, i) if i < j})

    def similarity(self, i, j):
        a, b = self.regions[i], self.regions[j]
        colour, texture = (sum(min(x, y) for x, y in zip(a[h], b[h], strict=True)) for h in ("colour", "texture"))
        (t1, l1, b1, r1), (t2, l2, b2, r2) = a["box"], b["box"]
        box = (max(b1, b2) - min(t1, t2)) * (max(r1, r2) - min(l1, l2))
        both = a["size"] + b["size"]
        return colour + texture + (1 - both / self.elements) + (1 - (box - a["size"] - b["size"]) / self.elements)

    def merge_best(self):
        i, j = sorted(self.pairs.items(), key=lambda item: item[1])[-1][0]
        a, b, new = self.regions.pop(i), self.regions.pop(j), max([i, j, *self.regions]) + 1
        size = a["size"] + b["size"]
        self.regions[new] = {
            "size": size,
            "box": tuple(f(x, y) for f, x, y in zip((min, min, max, max), a["box"], b["box"], strict=True)),
            **{h: (a[h] * a["size"] + b[h] * b["size"]) / size for h in ("colour", "texture")},
        }
        self.labels[(self.labels == i) | (self.labels == j)] = new
        self.pairs = {pair: s for pair, s in self.pairs.items() if not {i, j} & {*pair}}
        self.pairs.update({(k, new): self.similarity(k, new) for k in naive_neighbours(self.labels, new)})


def naive_merge(image, labels, segments):
    merging = NaiveMerging(image, labels)
    target = segments if len(merging.pairs) <= 2 * segments else int(0.8 * np.sqrt(labels.size))
    while len(merging.pairs) > target:
        merging.merge_best()
    return renumbered(merging.labels)


def renumbered(labels):
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape)


def segments_of(image, smallest=12):
    return felzenszwalb(image, scale=10, sigma=0.8, min_size=smallest)


def blocks(side=40, block=5, seed=0):
    """Random colours in blocks, in some of them noise: with pairs of segments that are exactly alike."""
    rng = np.random.default_rng(seed)
    count = side // block
    labels = np.kron(np.arange(count**2).reshape(count, count), np.ones((block, block), np.int64))
    image = rng.integers(0, 4, (count**2, 3))[labels] * 60
    noisy = rng.random((side, side, 1)) < (labels % 3 == 0)[..., None]
    return np.where(noisy, image + rng.integers(0, 60, image.shape), image).astype(np.uint8), labels


def test_level_counts_and_histograms(photograph):
    labels = segments_of(photograph, 40)
    counts = level_counts(photograph, labels)
    for c, s in np.ndindex(*counts.shape[:2]):
        np.testing.assert_array_equal(counts[c, s], np.bincount(photograph[labels == s, c], minlength=256))
    for bins in (10, 25):
        want = [naive_histogram(photograph, labels == s, bins) for s in range(counts.shape[1])]
        np.testing.assert_array_equal(histograms(counts, bins), want)


@pytest.mark.parametrize("seed", range(3))
def test_histograms_of_any_range(seed):
    """Also where a value is the edge of a bin, and where there is one value only."""
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 256, (60, 1))
    values = np.minimum(low + rng.integers(0, 256, (60, 40)) % rng.integers(1, 257 - low), 255).astype(np.uint8)
    image, labels = np.stack([values] * 3, axis=-1), np.repeat(np.arange(60)[:, None], 40, axis=1)
    for bins in (10, 25):
        want = [naive_histogram(image, labels == s, bins) for s in range(60)]
        np.testing.assert_array_equal(histograms(level_counts(image, labels), bins), want)


@pytest.mark.parametrize("kind", ["mix", "mean", "median"])
def test_colours_of_segments(photograph, kind):
    labels = segments_of(photograph, 30)
    deviations = [photograph[labels == s].std() for s in range(labels.max() + 1)]
    assert set(np.digitize(deviations, (20, 40))) == {0, 1, 2}
    got = segment_colours(photograph, labels, kind).astype(np.uint8)[labels]
    np.testing.assert_array_equal(got, naive_paint(photograph, labels, kind))


@pytest.mark.parametrize("segments", [5, 20, 45, 60, 200])
def test_merging_of_a_photograph_is_that_of_the_description(photograph, segments):
    part = photograph[:64, 30:94]
    labels = segments_of(part)
    for image in (part, naive_paint(part, labels, "mix")):
        got = merge_alike(image, labels, segments)
        np.testing.assert_array_equal(got, naive_merge(image, labels, segments))
    assert got.max() < labels.max() or segments == 200


@pytest.mark.parametrize("seed", range(3))
def test_merging_of_blocks(seed):
    """Up to the last pair, and on both sides of the number of pairs from which on the size of the image counts."""
    image, labels = blocks(seed=seed)
    pairs = len(NaiveMerging(image, labels).pairs)
    for segments in (3, (pairs - 1) // 2, -(-pairs // 2), pairs - 1):
        got = merge_alike(image, labels, segments)
        np.testing.assert_array_equal(got, naive_merge(image, labels, segments))
        assert got.max() < labels.max()


@pytest.mark.parametrize("segments", range(120, 180, 12))
def test_merging_of_equals_is_in_the_order_described(segments):
    """An image of one colour: all pairs within it are equally similar but for the boxes around them."""
    labels = np.random.default_rng(segments).permutation(100)[blocks(50, 5)[1]]
    image = np.full((50, 50, 3), 90, np.uint8)
    np.testing.assert_array_equal(merge_alike(image, labels, segments), naive_merge(image, labels, segments))


@pytest.mark.parametrize("segments", [10, 40, 200])
def test_superpixels_of_a_photograph(photograph, segments):
    labels = segment(photograph, "sk_felzenszwalb", segments)
    lab = cv2.cvtColor(photograph, cv2.COLOR_RGB2LAB)
    np.testing.assert_array_equal(labels, segments_of(lab, int(0.5 * (160 + 160) / 2.5)))
    merged = labels
    if labels.max() + 1 > segments:
        flat = cv2.cvtColor(naive_paint(photograph, labels, "mix"), cv2.COLOR_RGB2LAB)
        merged = naive_merge(flat, labels, segments)
    got = superpixels(photograph, segments=segments)
    np.testing.assert_array_equal(got, naive_paint(photograph, merged, "mix"))
    assert not np.array_equal(got, photograph)


# ---------------------------------------------------------------- superpixels: the other algorithms and options


def means_of(image, labels):
    return np.array([image[labels == s].mean(0) for s in range(labels.max() + 1)])


def test_cluster_leaves_so_many_colours(monkeypatch):
    """Segments of three groups of colours, to which the clusters must be equal."""
    centres = np.array([[30, 40, 50], [200, 60, 40], [90, 220, 180]])
    labels = blocks(40, 10)[1]
    rng = np.random.default_rng(0)
    group = rng.permutation(np.arange(16) % 3)
    palette = (centres[group] + rng.integers(-8, 9, (16, 3))).astype(np.uint8)
    monkeypatch.setattr(module, "segment", lambda *_: labels)
    got = superpixels(palette[labels], segments=3, reduction="cluster")
    want = np.array([palette[group == g].mean(0) for g in range(3)])[group]
    np.testing.assert_array_equal(got, (want + 1e-3).astype(np.uint8)[labels])


def test_rag_leaves_no_neighbours_of_like_colour(photograph):
    labels = segment(photograph, "sk_felzenszwalb", 10)
    got = superpixels(photograph, segments=10, reduction="rag", colours="mean").astype(float)

    def least(painted):
        steps = [np.linalg.norm(np.diff(painted, axis=axis), axis=2) for axis in (0, 1)]
        return min(step[step > 0].min() for step in steps)

    assert least(means_of(photograph, labels)[labels]) < 20
    assert least(got) > 35 - 2  # of colours that were rounded down


@pytest.mark.parametrize("reduction", ["selective", "cluster", "rag", None])
def test_few_segments_are_not_reduced(photograph, reduction):
    labels = segment(photograph, "sk_felzenszwalb", 200)
    assert labels.max() + 1 <= 200
    got = superpixels(photograph, segments=200, reduction=reduction, colours="mean")
    np.testing.assert_array_equal(got, means_of(photograph, labels).astype(np.uint8)[labels])


def test_slic_cuts_about_as_many_segments_as_asked(photograph):
    for segments in (20, 100):
        labels = segment(photograph, "sk_slic", segments)
        assert 0.7 * segments < labels.max() + 1 < 1.3 * segments
        assert np.bincount(labels.ravel()).min() > 0
        error, plain = (
            np.abs(photograph - painted).mean()
            for painted in (superpixels(photograph, "sk_slic", segments).astype(float), photograph.mean((0, 1)))
        )
        assert error < 0.7 * plain


def test_large_images_are_cut_when_small(photograph):
    small = cv2.resize(photograph[:, :100], (50, 80))
    want = cv2.resize(superpixels(small, segments=20), (100, 160))
    np.testing.assert_array_equal(superpixels(photograph[:, :100], segments=20, max_size=80), want)
    small_enough = superpixels(photograph, segments=20, max_size=160)
    np.testing.assert_array_equal(small_enough, superpixels(photograph, segments=20))


def test_opencv_is_asked_for_its_segments(photograph, monkeypatch):
    asked = []

    class Cutter:
        def __init__(self, *arguments):
            asked.append(arguments)

        def iterate(self, *arguments):
            self.count = arguments[-1]

        def getLabels(self):
            return (5 * (np.indices((160, 160)).sum(axis=0) // 40)).astype(np.int32)

    contributed = SimpleNamespace(
        SLIC=100, SLICO=101, MSLIC=102, createSuperpixelSLIC=Cutter, createSuperpixelSEEDS=Cutter
    )
    monkeypatch.setattr(cv2, "ximgproc", contributed, raising=False)
    for algorithm in ("slic", "slico", "mslic", "seeds"):
        labels = segment(photograph, algorithm, 100)
        np.testing.assert_array_equal(np.unique(labels), np.arange(8))
        painted = superpixels(photograph, algorithm, 100, colours="mean")
        np.testing.assert_array_equal(painted, means_of(photograph, labels).astype(np.uint8)[labels])
    assert [arguments[1:] for arguments in asked[:6:2]] == [(kind, 16, 10.0) for kind in (100, 101, 102)]
    assert asked[6][:4] == (160, 160, 3, 100)


def test_what_superpixels_refuse(photograph, monkeypatch):
    options = {"algorithm": "watershed", "reduction": "all", "segments": 0, "max_size": 0, "colours": "bright"}
    for wrong in ({name: value} for name, value in options.items()):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}: expected"):
            superpixels(photograph, **wrong)
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}: expected"):
            Segmenter(**wrong)
    with pytest.raises(ValueError, match="uint8"):
        superpixels(photograph / 255)
    monkeypatch.delattr(cv2, "ximgproc", raising=False)
    with pytest.raises(ValueError, match="opencv-contrib-python-headless"):
        Segmenter("slic")


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 2), (16, 5)])
def test_tiny_images(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert superpixels(image, segments=2).shape == image.shape


def test_darkening():
    levels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(darken(levels, 1.0), levels)
    for gamma in (1.07, 1.2):
        assert darken(levels, gamma).tolist() == [int(255 * (i / 255) ** gamma) for i in range(256)]


# ---------------------------------------------------------------- the segmenter


@pytest.fixture
def batch(photograph):
    pieces = [photograph[y : y + 64, x : x + 80] for y, x in ((0, 0), (30, 60), (90, 10), (60, 80))]
    return torch.from_numpy(np.stack(pieces)).permute(0, 3, 1, 2) / 255


GAMMAS = (1.0, 1.05, 1.1, 1.2)


@pytest.mark.parametrize("threads", [1, 2, None])
def test_a_batch_is_its_images_in_order(batch, threads):
    segmenter = Segmenter(segments=20, threads=threads)
    before = batch.clone()
    first, second = segmenter.start(batch, GAMMAS), segmenter.start(batch.flip(0), GAMMAS[::-1])
    got = first.result()
    for image, gamma, found in zip(batch, GAMMAS, got, strict=True):
        pixels = (image.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
        want = darken(superpixels(pixels, segments=20), gamma)
        np.testing.assert_array_equal((found.permute(1, 2, 0) * 255).round().numpy(), want)
    assert torch.equal(second.result(), got.flip(0))
    assert torch.equal(first.result(), got)
    assert torch.equal(batch, before)
    assert got.is_contiguous()


def test_images_beyond_black_and_white_are_clipped_and_rounded(batch):
    segmenter = Segmenter(segments=20)
    stretched = (batch * 1.5 - 0.25).requires_grad_()
    want = segmenter.start(stretched.detach().mul(255).round().div(255).clamp(0, 1), GAMMAS).result()
    got = segmenter.start(stretched, GAMMAS).result()
    assert not torch.equal(Segmenter(segments=20, colours="median").start(stretched, GAMMAS).result(), got)
    assert torch.equal(got, want)
    assert not got.requires_grad
    assert segmenter.start(batch.half(), GAMMAS).result().dtype == torch.float32
    assert segmenter.start(batch.double(), GAMMAS).result().dtype == torch.float64
    strided = batch.to(memory_format=torch.channels_last)
    assert torch.equal(segmenter.start(strided, GAMMAS).result(), segmenter.start(batch, GAMMAS).result())


def test_the_caller_does_not_wait(batch, monkeypatch):
    may_go = threading.Event()

    def slow(image, *_):
        assert may_go.wait(30)
        return image

    monkeypatch.setattr(module, "superpixels", slow)
    begun = Segmenter(threads=2).start(batch, [1.0] * 4)
    assert not any(image.done() for image in begun._work)
    may_go.set()
    torch.testing.assert_close(begun.result(), batch)


def test_what_goes_wrong_in_a_thread_is_raised(batch, monkeypatch):
    def third_fails(image, *_):
        if image.shape == (64, 80, 3) and np.array_equal(image, third):
            raise RuntimeError("the third image")
        return image

    third = (batch[2].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    monkeypatch.setattr(module, "superpixels", third_fails)
    segmenter = Segmenter(threads=2)
    with pytest.raises(RuntimeError, match="the third image"):
        segmenter.start(batch, GAMMAS).result()
    assert segmenter.start(batch[:2], GAMMAS[:2]).result().shape == (2, 3, 64, 80)


def test_a_segmenter_can_be_copied_and_pickled_in_use(batch):
    segmenter = Segmenter(segments=20, threads=2)
    want = segmenter.start(batch, GAMMAS).result()
    for other in (copy.deepcopy(segmenter), pickle.loads(pickle.dumps(segmenter))):
        assert torch.equal(other.start(batch, GAMMAS).result(), want)


def test_a_segmenter_names_what_does_not_fit(batch):
    with pytest.raises(ValueError, match="and 3 gammas"):
        Segmenter().start(batch, GAMMAS[:3])
    with pytest.raises(ValueError, match="RGB"):
        Segmenter().start(batch[:, :1], GAMMAS)
    with pytest.raises(ValueError, match="threads: expected 1 or more, found 0"):
        Segmenter(threads=0)


def test_gammas_are_hundredths_of_the_generator():
    drawn = [draw_gammas(600, (100, 120), torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert sorted(set(drawn[0])) == [percent / 100 for percent in range(100, 121)]
    assert draw_gammas(2, (110, 110)) == [1.1, 1.1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_cuda_goes_on_while_the_threads_work(batch):
    segmenter = Segmenter(segments=20)
    want = segmenter.start(batch, GAMMAS).result()
    images = batch.cuda()
    assert torch.equal(segmenter.start(images, GAMMAS).result().cpu(), want)  # pinned memory is made the first time
    torch.cuda._sleep(500_000_000)  # work in the queue before the images are there
    busy = torch.cuda.Event()
    images = images + 0
    busy.record()
    begun = segmenter.start(images, GAMMAS)
    assert not busy.query()
    got = begun.result()
    assert got.device == images.device
    assert torch.equal(got.cpu(), want)
