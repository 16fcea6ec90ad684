"""Images with holes and edges: shapes against closed forms, files against files read and cut by hand."""

import pickle

import cv2
import files
import numpy as np
import pytest
import torch
from files import fill
from skimage.feature import canny as scikit_canny

from darkroom.core.errors import DataError
from darkroom.data import DATASETS
from darkroom.data.dataset import UnreadableImage
from darkroom.data.images import read, write
from darkroom.data.masked import Masked, central, resized
from darkroom.data.masks import block, half, strokes
from darkroom.data.photographs import write_sample
from darkroom.data.stream import prove, stream, whole
from darkroom.data.survey import refuse_misfits, survey
from darkroom.filters.canny import canny, gray


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rng(seed=0):
    return np.random.default_rng(seed)


def places(height=48, width=64):
    """Pixels that say where they are."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, :, 0], image[:, :, 1] = np.arange(height)[:, None], np.arange(width)
    return image


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, pixels)
    return str(path)


def dot(height, width, top, left, value=255):
    mask = np.zeros((height, width), np.uint8)
    mask[top, left] = value
    return mask


def array(tensor):
    return tensor.permute(1, 2, 0).numpy()


def hole(item):
    found = array(item["mask"])[:, :, 0]
    assert {*np.unique(found)} <= {0, 255}
    return found > 0


def edges(item):
    return array(item["edge"])[:, :, 0]


def expected_edges(image, sigma, mask=None):
    x = image.astype(np.float64) / 255
    return scikit_canny(0.2125 * x[..., 0] + 0.7154 * x[..., 1] + 0.0721 * x[..., 2], sigma=sigma, mask=mask)


def near(count, draws, share):
    """Hoeffding: wrong once in a billion times."""
    return abs(count / draws - share) < (np.log(2e9) / 2 / draws) ** 0.5


# shapes


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (6, 11), (2, 5), (1, 1)])
def test_a_block_is_half_as_high_and_half_as_wide_and_anywhere(size):
    height, width = (max(side // 2, 1) for side in size)
    seen = set()
    for seed in range(600):
        found = block(size, rng(seed))
        rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
        assert found.shape == size
        assert found.sum() == len(rows) * len(columns) == height * width
        assert (np.ptp(rows), np.ptp(columns)) == (height - 1, width - 1)
        seen.add((rows[0], columns[0]))
    assert seen == {(y, x) for y in range(size[0] - height + 1) for x in range(size[1] - width + 1)}


@pytest.mark.parametrize("size", [(4, 8), (5, 9), (3, 1)])
def test_a_half_is_left_or_right(size):
    width = max(size[1] // 2, 1)
    left = np.zeros(size, bool)
    left[:, :width] = True
    right = np.roll(left, size[1] // 2, axis=1)
    found = [half(size, rng(seed)) for seed in range(400)]
    lefts = sum(np.array_equal(f, left) for f in found)
    assert all(np.array_equal(f, left) or np.array_equal(f, right) for f in found)
    assert size[1] == 1 or near(lefts, 400, 0.5)


def test_strokes_are_a_few_pieces_of_moderate_size_and_their_own_every_time():
    found = [strokes((96, 128), rng(seed)) for seed in range(300)]
    areas = np.array([f.mean() for f in found])
    assert (areas > 0).all()
    assert areas.max() < 0.75
    assert 0.1 < areas.mean() < 0.35
    assert max(cv2.connectedComponents(f.astype(np.uint8))[0] - 1 for f in found) <= 8
    assert len({f.tobytes() for f in found}) > 295
    assert all(np.array_equal(f, strokes((96, 128), rng(seed))) for seed, f in enumerate(found[:20]))
    everywhere = np.mean(found, axis=0)
    assert everywhere.min() > 0.02
    corners = [everywhere[y : y + 48, x : x + 64].mean() for y in (0, 48) for x in (0, 64)]
    assert max(corners) < 1.5 * min(corners)  # mirrored


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 3), (300, 20)])
def test_strokes_fit_any_picture(size):
    for seed in range(50):
        found = strokes(size, rng(seed))
        assert found.shape == size
        assert found.any()


def test_strokes_grow_with_the_picture():
    small, large = (np.mean([strokes((n, n), rng(seed)).mean() for seed in range(200)]) for n in (128, 512))
    assert abs(small - large) < 0.15 * large


# images


@pytest.mark.parametrize(("height", "width"), [(48, 64), (64, 48), (48, 48), (51, 48), (48, 49)])
def test_the_square_in_the_middle(tmp_path, height, width):
    path = save(tmp_path / "1.png", places(height, width))
    item = Masked(path, size=48).item(0, rng())
    top, left = (height - 48) // 2, (width - 48) // 2
    np.testing.assert_array_equal(array(item["image"]), places(height, width)[top : top + 48, left : left + 48])
    assert {name: tuple(item[name].shape) for name in Masked.yields} == {
        "image": (3, 48, 48), "mask": (1, 48, 48), "edge": (1, 48, 48),
    }  # fmt: skip
    assert item["path"] == path
    as_it_is = Masked(path, size=0).item(0, rng())
    np.testing.assert_array_equal(array(as_it_is["image"]), places(height, width))
    assert hole(as_it_is).sum() == (height // 2) * (width // 2)


def test_resizing_averages_by_a_triangle():
    """Half the size: 1, 3, 3, 1 eighths of the pixels around, less of them at the border."""
    image = files.photograph(32, 48)
    rows = resized(image, (16, 48)).astype(float)
    for y in range(16):
        weights = {2 * y - 1: 1, 2 * y: 3, 2 * y + 1: 3, 2 * y + 2: 1}
        inside = {k: w for k, w in weights.items() if 0 <= k < 32}
        mean = sum(w * image[k].astype(float) for k, w in inside.items()) / sum(inside.values())
        assert np.abs(rows[y] - mean).max() <= 0.51
    assert resized(image, (32, 48)) is image
    assert resized(image[:, :, :1], (5, 7)).shape == (5, 7, 1)
    np.testing.assert_array_equal(resized(image, (70, 20))[:, :, 1:2], resized(image[:, :, 1:2], (70, 20)))
    assert central(image).shape == (32, 32, 3)


@pytest.mark.parametrize("size", [0, 20])
def test_gray_deep_and_transparent_files_become_three_bytes_a_pixel(tmp_path, size):
    sound = files.good_files()
    for name in ("gray.png", "gray16.png", "rgb16.png", "rgba.png", "gray_alpha16.png", "palette.gif", "cmyk.jpg"):
        (tmp_path / name).write_bytes(sound[name][0])
        item = Masked(str(tmp_path / name), size=size).item(0, rng())
        stored = sound[name][1].astype(float)
        pixels = np.round(stored / 257 if sound[name][1].dtype == np.uint16 else stored).astype(np.uint8)
        expected = np.repeat(pixels, 3 // pixels.shape[2], axis=2)
        expected = resized(central(expected), (20, 20)) if size else expected
        np.testing.assert_array_equal(array(item["image"]), expected)
        assert {item[n].dtype for n in Masked.yields} == {torch.uint8}
        np.testing.assert_array_equal(edges(item) > 0, expected_edges(expected, 2))


def test_a_flip_mirrors_all_three(tmp_path):
    path = save(tmp_path / "1.png", files.photograph())
    plain, flipped = Masked(path, size=32), Masked(path, size=32, flip=True)
    count = 0
    for seed in range(200):
        one, other = plain.item(0, rng(seed)), flipped.item(0, rng(seed))
        mirrored = not torch.equal(one["image"], other["image"])
        count += mirrored
        for name in Masked.yields:
            assert torch.equal(one[name].flip(2) if mirrored else one[name], other[name])
    assert near(count, 200, 0.5)


# masks of files


def test_any_external_mask_grows_by_what_is_interpolated(tmp_path):
    image = save(tmp_path / "1.png", places(32, 32))
    masks = [save(tmp_path / "masks" / f"{n}.png", dot(64, 96, 20 + 8 * n, 40)) for n in range(4)]
    dataset = Masked(image, str(tmp_path / "masks"), mask="external", size=32)
    counts = dict.fromkeys(range(4), 0)
    for seed in range(400):
        found = hole(dataset.item(0, rng(seed)))
        n = next(n for n in range(4) if found[10 + 4 * n].any())
        counts[n] += 1
        rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
        assert [*rows] == [9 + 4 * n, 10 + 4 * n]  # (1, 3, 3, 1) eighths twice, rounded, are more than 0
        assert [*columns] == [11, 12]  # the middle square begins at column 16
    assert all(near(count, 400, 0.25) for count in counts.values())
    assert len(masks) == 4
    assert dataset.notes == ("4 masks",)


@pytest.mark.parametrize(
    "mask",
    [
        dot(32, 32, 5, 7, 1),
        dot(32, 32, 5, 7).astype(np.uint16) * 257,
        dot(32, 32, 5, 7, 1).astype(np.uint16),
        np.dstack([dot(32, 32, 0, 0, 0)] * 2 + [dot(32, 32, 5, 7, 1)]),
    ],
    ids=["one", "sixteen bits", "one of sixteen bits", "blue"],
)
@pytest.mark.parametrize("kind", ["external", "paired"])
def test_what_is_not_black_is_missing(tmp_path, mask, kind):
    image, path = save(tmp_path / "1.png", places(32, 32)), save(tmp_path / "m.png", mask)
    found = hole(Masked(image, path, mask=kind, size=32).item(0, rng()))
    np.testing.assert_array_equal(found, dot(32, 32, 5, 7) > 0)


@pytest.mark.parametrize(
    ("kind", "shares"),
    [("external_block", {"external": 1 / 2, "block": 1 / 2}),
     ("external_block_half", {"external": 1 / 3, "block": 1 / 3, "half": 1 / 3})],
)  # fmt: skip
def test_kinds_choose_among_shapes(tmp_path, kind, shares):
    image, path = save(tmp_path / "1.png", places(16, 16)), save(tmp_path / "m.png", dot(16, 16, 3, 4))
    dataset = Masked(image, path, mask=kind, size=16, sigma=-1)
    names = {1: "external", 64: "block", 128: "half"}
    found = [names[hole(dataset.item(0, rng(seed))).sum()] for seed in range(900)]
    assert {*found} == {*shares}
    assert all(near(found.count(name), 900, share) for name, share in shares.items())


def test_masks_in_pairs_have_the_number_of_their_image(tmp_path):
    images = fill(tmp_path / "images", 3)
    for n in range(3):
        save(tmp_path / "masks" / f"mask{n}.png", dot(48, 64, 10 * n, 12))
    dataset = Masked(images, str(tmp_path / "masks"), mask="paired", size=0)
    for n in range(3):
        np.testing.assert_array_equal(hole(dataset.item(n, rng())), dot(48, 64, 10 * n, 12) > 0)
        square = hole(Masked(images, str(tmp_path / "masks"), mask="paired", size=48).item(n, rng()))
        np.testing.assert_array_equal(square, dot(48, 48, 10 * n, 4) > 0)  # cut as the image is
    one = Masked(images, str(tmp_path / "masks" / "mask1.png"), mask="paired", size=0)
    assert [np.argwhere(hole(one.item(n, rng()))).tolist() for n in range(3)] == [[[10, 12]]] * 3
    assert (dataset.notes, one.notes) == (("3 masks",), ("1 masks",))
    save(tmp_path / "masks" / "mask1.png", np.full((12, 16), 255, np.uint8))
    assert hole(dataset.item(1, rng())).all()  # another size, enlarged
    save(tmp_path / "masks" / "mask1.png", np.zeros((12, 16), np.uint8))
    assert not hole(dataset.item(1, rng())).any()


@pytest.mark.parametrize(("count", "alone"), [(2, "images.2.png"), (4, "others.3.png")])
def test_lists_of_another_length_are_refused(tmp_path, count, alone):
    images, others = fill(tmp_path / "images", 3), fill(tmp_path / "others", count)
    said = rf"expected one for each of the 3 images, in the same order, found {count}; .*{alone}"
    with pytest.raises(DataError, match=f"masks: {said}"):
        Masked(images, others, mask="paired")
    with pytest.raises(DataError, match=f"edges: {said}"):
        Masked(images, edges=others)
    assert len(Masked(images, others, mask="external")) == 3


def test_a_mask_without_a_hole_is_named_and_replaced(tmp_path):
    images = fill(tmp_path / "images", 6, 32, 32)
    save(tmp_path / "masks" / "0.png", np.zeros((32, 32), np.uint8))
    save(tmp_path / "masks" / "1.png", dot(32, 32, 5, 7))
    save(tmp_path / "masks" / "2.png", dot(32, 64, 5, 2))  # outside of the middle square
    data = stream(Masked(images, str(tmp_path / "masks"), mask="external", size=32), 2, 3)
    batches = [batch for batch, _ in zip(data.batches(), range(20), strict=False)]
    data.close()
    assert {*data.broken} == {str(tmp_path / "masks" / f"{n}.png") for n in (0, 2)}
    assert all("black throughout" in reason for reason in data.broken.values())
    assert all((batch["mask"] > 0).sum() == 2 for batch in batches)


# edges


def test_edges_are_those_of_the_whole_image(tmp_path):
    path = save(tmp_path / "1.png", files.photograph(80, 64))
    dataset = Masked(path, size=48, sigma=1.5)
    for seed in range(5):
        item = dataset.item(0, rng(seed))
        expected = expected_edges(array(item["image"]), 1.5)
        assert expected.any()
        np.testing.assert_array_equal(edges(item), expected * 255)
    assert not edges(Masked(path, size=48, sigma=-1).item(0, rng())).any()


def test_a_sigma_of_0_is_any_of_four(tmp_path):
    path = save(tmp_path / "1.png", files.photograph(64, 64))
    dataset = Masked(path, size=64, sigma=0)
    possible = [expected_edges(files.photograph(64, 64), sigma).tobytes() for sigma in (1, 2, 3, 4)]
    assert len({*possible}) == 4
    found = [possible.index((edges(dataset.item(0, rng(seed))) > 0).tobytes()) for seed in range(160)]
    assert all(near(found.count(n), 160, 0.25) for n in range(4))


def test_masked_edges_tell_nothing_of_the_hole(tmp_path):
    image = files.photograph(64, 64)
    path = save(tmp_path / "1.png", image)
    found = Masked(path, size=64, masked_edges=True).item(0, rng())
    inside = hole(found)
    np.testing.assert_array_equal(edges(found) > 0, expected_edges(image, 2, ~inside))
    assert edges(found).any()
    assert not (edges(found) > 0)[inside].any()
    image[inside] = 255 - image[inside]
    other = Masked(save(tmp_path / "2.png", image), size=64, masked_edges=True).item(0, rng())
    np.testing.assert_array_equal(edges(other), edges(found))
    assert not canny(gray(image), 2.0, np.zeros((64, 64), bool)).any()


def test_external_edges_are_thinned_out_by_canny(tmp_path):
    images = fill(tmp_path / "images", 2, 64, 64)
    for n in range(2):
        save(tmp_path / "edges" / f"{n}.png", files.photograph(64, 64, 40 + n, 1))
    for n in range(2):
        given = files.photograph(64, 64, 40 + n, 1)[:, :, 0]
        raw = Masked(images, edges=str(tmp_path / "edges"), nms=False, size=0).item(n, rng())
        np.testing.assert_array_equal(edges(raw), given)
        small = Masked(images, edges=str(tmp_path / "edges"), nms=False, size=20).item(n, rng())
        np.testing.assert_array_equal(edges(small), resized(given[:, :, None], (20, 20))[:, :, 0])
        for sigma in (0.0, 1.5):  # 0 is no draw here
            thin = Masked(images, edges=str(tmp_path / "edges"), sigma=sigma, size=0).item(n, rng())
            np.testing.assert_array_equal(edges(thin), given * expected_edges(array(thin["image"]), sigma))
            assert edges(thin).any()
    assert Masked(images, edges=str(tmp_path / "edges")).notes == ("2 files of edges",)


@pytest.mark.parametrize("size", [0, 48])
def test_external_edges_stay_where_they_are_in_the_image(tmp_path, size):
    """The file of edges is the image itself, as gray."""
    image = np.repeat(files.photograph(48, 64, channels=1), 3, axis=2)
    path = save(tmp_path / "1.png", image)
    item = Masked(path, edges=path, nms=False, size=size, flip=True).item(0, rng(3))
    np.testing.assert_array_equal(edges(item), array(item["image"])[:, :, 0])


# files


def test_lists_subsets_and_limits(tmp_path):
    fill(tmp_path / "images", 4)
    fill(tmp_path / "edges", 3, seed=9)
    text = "images/2.png\r\nimages/0.png\r\nimages/3.png\r\n"
    (tmp_path / "a.flist").write_text("\ufeff" + text, encoding="utf-8")
    (tmp_path / "subset.txt").write_text("3.png\n2\n", encoding="utf-8")
    options = {"edges": str(tmp_path / "edges"), "nms": False, "size": 0}
    dataset = Masked(str(tmp_path / "a.flist"), **options)
    names = [path.relative_to(tmp_path).as_posix() for path, other in dataset.pairs() if other is None]
    assert names == [*text.split(), "edges/0.png", "edges/1.png", "edges/2.png"]
    chosen = Masked(str(tmp_path / "a.flist"), subset_file=str(tmp_path / "subset.txt"), **options)
    assert len(chosen) == 2
    for n, place in enumerate((0, 2)):  # the edges are still those of their images
        assert chosen.item(n, rng())["path"] == str(tmp_path / text.split()[place])
        assert torch.equal(chosen.item(n, rng())["edge"], dataset.item(place, rng())["edge"])
    limited = Masked(str(tmp_path / "images"), subset_file=str(tmp_path / "subset.txt"), limit=1)
    assert [path.name for path, _ in limited.pairs()] == ["2.png"]
    assert len(Masked((str(tmp_path / "a.flist"), str(tmp_path / "images" / "1.png")))) == 4
    with pytest.raises(DataError, match="3 files that"):
        (tmp_path / "subset.txt").write_text("7.png\n8.png\n9.png\n", encoding="utf-8")
        Masked(str(tmp_path / "images"), subset_file=str(tmp_path / "subset.txt"))


def test_a_survey_sees_every_file_once(tmp_path):
    images, masks = fill(tmp_path / "images", 3), fill(tmp_path / "masks", 5, 20, 30)
    (tmp_path / "masks" / "4.png").write_bytes(b"words")
    for dataset in (
        Masked(images, masks, images, mask="external"),
        Masked(images, (masks,) * 3, mask="external", limit=3),
    ):
        refuse_misfits("train", dataset.pairs(), 1)
        found = survey(dataset.pairs(), 1, dataset.crop, dataset.strays)
        assert found.mismatched == found.strays == found.alone == found.small == ()
        assert [line.split(": ")[0] for line in found.unreadable] == [str(tmp_path / "masks" / "4.png")]
        assert (found.targets, found.usable) == (8, 7)
    shared = Masked(images, str(tmp_path / "masks" / "0.png"), mask="paired", limit=2)
    assert [path.name for path, _ in shared.pairs()] == ["0.png", "1.png", "0.png"]


def test_damaged_files_of_any_sort_are_named(tmp_path):
    images, masks = fill(tmp_path / "images", 5, 32, 32), fill(tmp_path / "masks", 4, 32, 32, 20)
    given = fill(tmp_path / "edges", 5, 32, 32, 40)
    broken = [tmp_path / "images" / "1.png", tmp_path / "masks" / "2.png", tmp_path / "edges" / "3.png"]
    for path in broken:
        path.write_bytes(path.read_bytes()[:300])
    runs = []
    for workers in (0, 2):
        data = stream(Masked(images, masks, given, "external", 16), 3, 7, workers=workers)
        runs.append([batch for batch, _ in zip(data.batches(), range(15), strict=False)])
        data.close()
        assert {*data.broken} == {str(path) for path in broken}
    same(*runs)
    used = {path for batch in runs[0] for path in batch["path"]}
    assert used == {str(tmp_path / "images" / f"{n}.png") for n in (0, 2, 4)}
    with pytest.raises(UnreadableImage, match=r"masks.2\.png"):
        Masked(images, str(tmp_path / "masks" / "2.png"), mask="paired").item(0, rng())


def test_nothing_readable_is_told_before_training(tmp_path):
    images = fill(tmp_path / "images", 3)
    mask = tmp_path / "m.png"
    mask.write_bytes(b"words")
    with pytest.raises(DataError, match=r"none of the 3 items.*m\.png.*not an image"):
        prove(Masked(images, str(mask), mask="external"), 7)


def same(a, b):
    assert len(a) == len(b)
    for one, two in zip(a, b, strict=True):
        assert one.keys() == two.keys()
        for name, value in one.items():
            assert torch.equal(value, two[name]) if isinstance(value, torch.Tensor) else value == two[name], name


def take(dataset, count, start=0, workers=0):
    data = stream(dataset, 3, 7, workers=workers)
    batches = [b for b, _ in zip(data.batches(start), range(count), strict=False)]
    data.close()
    return batches


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    root = tmp_path_factory.mktemp("sample")
    write_sample(root)
    fill(root / "masks", 4, 100, 140)
    return root


@pytest.mark.parametrize("options", [
    {"mask": "external_block_half", "masks": True, "sigma": 0.0},
    {"mask": "strokes", "masked_edges": True},
])  # fmt: skip
def test_workers_and_restarts_change_nothing(sample, options):
    options = {**options, "masks": str(sample / "masks") if options.get("masks") else ()}
    dataset = Masked(str(sample / "train" / "HR"), size=64, flip=True, **options)
    through = take(dataset, 8)
    same(take(dataset, 8, workers=2), through)
    same(take(pickle.loads(pickle.dumps(dataset)), 3, start=5, workers=2), through[5:])
    assert {batch[name].shape[1:] for batch in through for name in dataset.yields} == {(3, 64, 64), (1, 64, 64)}
    assert len({batch["mask"].numpy().tobytes() for batch in through}) == 8
    items = [*whole(dataset)]
    assert [batch["index"] for batch in items] == [[n] for n in range(len(dataset))]


def test_whole_photographs_for_a_test(sample):
    """As ``test.py --input --mask`` has them: each of its size, with its mask and the edges around it."""
    mask = str(sample / "masks" / "0.png")
    dataset = Masked(str(sample / "val" / "HR"), mask, mask="paired", size=0, masked_edges=True)
    items = [*whole(dataset)]
    same([*whole(dataset, workers=2)], items)
    for batch, (path, _) in zip(items, dataset.pairs(), strict=False):
        pixels = read(path).pixels
        np.testing.assert_array_equal(array(batch["image"][0]), pixels)
        expected = resized(read(mask).pixels, pixels.shape[:2]).max(axis=2) > 0
        np.testing.assert_array_equal(batch["mask"][0, 0].numpy() > 0, expected)
        assert batch["path"] == [str(path)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": ()}, "images: expected a list, a folder or an image"),
        ({"mask": "blocks"}, "mask: expected external_block, .*found 'blocks'"),
        ({"mask": "external"}, "masks: expected files for mask: external, found none"),
        ({"mask": "paired", "masks": ""}, "masks: expected files"),
        ({"masks": "x"}, "masks: expected none, because mask: block reads none"),
        ({"mask": "strokes", "masks": "x"}, "masks: expected none"),
        ({"size": -1}, "size: expected 0 or more, found -1"),
        ({"sigma": -2.0}, "sigma: expected more than 0"),
        ({"sigma": float("nan")}, "sigma"),
        ({"sigma": float("inf")}, "sigma"),
        ({"edges": "x", "sigma": -1}, "nms: expected false with sigma: -1"),
        ({"limit": 0}, "limit: expected at least 1"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Masked(**{"images": "x", **options})


def test_it_is_registered_by_name():
    assert DATASETS["masked"] is Masked
