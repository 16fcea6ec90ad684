"""Data of image-to-image translation, in pairs and without, against files read and cut by hand."""

import pickle
from pathlib import Path

import cv2
import files
import numpy as np
import pytest
import torch
from files import fill

from darkroom.core.errors import DataError
from darkroom.data import DATASETS
from darkroom.data.dataset import UnreadableImage
from darkroom.data.images import Picture, read, write
from darkroom.data.paired import Paired
from darkroom.data.photographs import write_sample
from darkroom.data.single import Single
from darkroom.data.stream import prove, stream, whole
from darkroom.data.survey import refuse_misfits, survey
from darkroom.data.unaligned import ConcatUnaligned, Unaligned

CROP = {"preprocess": "resize_and_crop", "load_size": 40, "crop_size": 32, "flip": True}


@pytest.fixture(autouse=True)
def one_thread():
    """As in worker processes; for images this small, several threads mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rng(seed=0):
    return np.random.default_rng(seed)


def pixels(path):
    return read(path).pixels


def array(tensor):
    return tensor.permute(1, 2, 0).numpy()


def take(dataset, count, batch_size=4, start=0, seed=7, **options):
    data = stream(dataset, batch_size, seed, **options)
    batches = [b for b, _ in zip(data.batches(start), range(count), strict=False)]
    data.close()
    return batches


def same(a, b):
    assert len(a) == len(b)
    for one, two in zip(a, b, strict=True):
        assert one.keys() == two.keys()
        for name, value in one.items():
            assert torch.equal(value, two[name]) if isinstance(value, torch.Tensor) else value == two[name], name


# pairs side by side


def combined(root, count=3, height=48, width=128):
    return fill(root, count, height, width)


@pytest.mark.parametrize("width", [128, 129])
def test_halves_of_a_combined_image(tmp_path, width):
    folder = combined(tmp_path, width=width)
    there, back = Paired(combined=folder), Paired(combined=folder, direction="BtoA")
    assert len(there) == 3
    for n in range(3):
        both = pixels(tmp_path / f"{n}.png")
        item, other = there.item(n, rng()), back.item(n, rng())
        np.testing.assert_array_equal(array(item["input"]), both[:, :64])
        np.testing.assert_array_equal(array(item["target"]), both[:, 64:128])
        assert torch.equal(item["input"], other["target"])
        assert torch.equal(item["target"], other["input"])
        assert item["path"] == str(tmp_path / f"{n}.png")


def test_combined_images_are_what_two_folders_are(tmp_path):
    folder = combined(tmp_path / "AB")
    for n in range(3):
        both = pixels(tmp_path / "AB" / f"{n}.png")
        for part, half in (("A", both[:, :64]), ("B", both[:, 64:])):
            (tmp_path / part).mkdir(exist_ok=True)
            write(tmp_path / part / f"{n}.png", half)
    roots = {"target": str(tmp_path / "B"), "input": str(tmp_path / "A")}
    for direction in ("AtoB", "BtoA"):
        one = Paired(combined=folder, direction=direction, rotate=True, **CROP)
        two = Paired(**roots, direction=direction, rotate=True, **CROP)
        for n in range(3):
            for seed in range(4):
                a, b = one.item(n, rng(seed)), two.item(n, rng(seed))
                assert torch.equal(a["input"], b["input"])
                assert torch.equal(a["target"], b["target"])
                assert Path(b["path"]).parent.name == ("B" if direction == "AtoB" else "A")


def test_both_of_a_pair_lie_alike(tmp_path):
    """B is A with its colours inverted, and stays so wherever the crop is and however it lies."""
    (tmp_path / "AB").mkdir()
    image = files.photograph(60, 70)
    write(tmp_path / "AB" / "1.png", np.concatenate([image, 255 - image], axis=1))
    folder = str(tmp_path / "AB")
    crops = Paired(combined=folder, preprocess="crop", crop_size=32, flip=True, rotate=True)
    items = [crops.item(0, rng(seed)) for seed in range(60)]
    assert all(torch.equal(item["input"], 255 - item["target"]) for item in items)
    assert len({item["input"].numpy().tobytes() for item in items}) > 55
    for seed in range(10):
        item = Paired(combined=folder, rotate=True, **CROP).item(0, rng(seed))
        assert item["input"].shape == (3, 32, 32)
        assert (item["input"].int() + item["target"].int() - 255).abs().max() <= 1  # of rounding


def test_an_item_is_resized_and_cut_as_by_hand(tmp_path):
    folder = combined(tmp_path)
    large = cv2.resize(pixels(tmp_path / "1.png")[:, :64].copy(), (40, 40), interpolation=cv2.INTER_CUBIC)
    crops = {large[y : y + 32, x : x + 32][:, ::m].tobytes() for y in range(9) for x in range(9) for m in (1, -1)}
    dataset = Paired(combined=folder, **CROP)
    found = {array(dataset.item(1, rng(seed))["input"]).tobytes() for seed in range(100)}
    assert found <= crops
    assert len(found) > 60


def test_channels_and_depths_of_a_pair(tmp_path):
    deep, flat = files.photograph16(48, 64), files.photograph(48, 64, channels=1)
    for part, image in (("A", deep), ("B", flat)):
        (tmp_path / part).mkdir()
        write(tmp_path / part / "1.png", image)
    roots = {"target": str(tmp_path / "B"), "input": str(tmp_path / "A")}
    item = Paired(**roots, input_channels=1).item(0, rng())
    assert {k: (v.shape, v.dtype) for k, v in item.items() if k != "path"} == {
        "input": ((1, 48, 64), torch.uint16), "target": ((3, 48, 64), torch.uint8),
    }  # fmt: skip
    luma = deep.astype(float) @ np.array([0.299, 0.587, 0.114])
    assert np.abs(array(item["input"])[:, :, 0] - luma).max() <= 2
    np.testing.assert_array_equal(array(item["target"]), flat.repeat(3, axis=2))
    back = Paired(**roots, direction="BtoA", input_channels=1).item(0, rng())
    assert back["input"].shape == (1, 48, 64)
    np.testing.assert_array_equal(array(back["input"]), flat)
    gray = Paired(combined=combined(tmp_path / "AB"), target_channels=1).item(0, rng())
    right = pixels(tmp_path / "AB" / "0.png")[:, 64:].copy()
    np.testing.assert_array_equal(array(gray["target"])[:, :, 0], cv2.cvtColor(right, cv2.COLOR_RGB2GRAY))


def test_pairs_that_do_not_fit_are_named(tmp_path):
    roots = {"target": fill(tmp_path / "B", 12), "input": fill(tmp_path / "A", 12)}
    write(tmp_path / "A" / "3.png", files.photograph(48, 60))
    dataset = Paired(**roots)
    with pytest.raises(UnreadableImage, match=r"A.3\.png: it is 60x48, but its target .*B.3\.png is 64x48"):
        dataset.item(3, rng())
    found = survey(dataset.pairs(), 1, dataset.crop, dataset.strays)
    assert (found.targets, found.inputs, found.usable, len(found.mismatched)) == (12, 12, 11, 1)
    refuse_misfits("train", dataset.pairs(), 1)
    for n in range(12):
        write(tmp_path / "A" / f"{n}.png", files.photograph(24, 32))
    with pytest.raises(DataError, match="12 of 12 pairs"):
        refuse_misfits("train", dataset.pairs(), 1)
    write(tmp_path / "A" / "thin.png", files.photograph(48, 1))
    with pytest.raises(UnreadableImage, match="1x48 and has no two halves"):
        Paired(combined=str(tmp_path / "A" / "thin.png")).item(0, rng())


def test_targets_without_input_are_left_out(tmp_path):
    roots = {"target": fill(tmp_path / "B", 5), "input": fill(tmp_path / "A", 7)}
    (tmp_path / "A" / "2.png").unlink()
    dataset = Paired(**roots)
    assert (
        [t.name for t, _ in dataset.pairs()]
        == [i.name for _, i in dataset.pairs()]
        == [f"{n}.png" for n in (0, 1, 3, 4)]
    )
    assert [p.name for p in dataset.strays] == ["5.png", "6.png"]
    assert "1 targets have no input" in dataset.notes[0]
    assert "2 inputs have no target" in dataset.notes[1]
    assert Paired(combined=roots["target"]).notes == ()
    back = Paired(**roots, direction="BtoA")
    assert [Path(t).parent.name for t, _ in back.pairs()] == ["A"] * 4
    (tmp_path / "list.txt").write_text("4\n1.png\n", encoding="utf-8")
    listed = Paired(**roots, subset_file=str(tmp_path / "list.txt"))
    assert [t.name for t, _ in listed.pairs()] == ["1.png", "4.png"]
    listed = Paired(combined=roots["target"], subset_file=str(tmp_path / "list.txt"), limit=1)
    assert [(t.name, i) for t, i in listed.pairs()] == [("1.png", None)]
    with pytest.raises(DataError, match=r"no input .* need the same name"):
        Paired(target=str(tmp_path / "B" / "0.png"), input=str(tmp_path / "A" / "6.png"))


def test_a_test_takes_the_views_of_pictures_that_it_read(tmp_path):
    folder = combined(tmp_path / "AB", height=50, width=132)
    dataset = Paired(combined=folder, input_channels=1)
    item = dataset.item(1, rng())
    assert item["target"].shape == (3, 48, 64)  # 50x66, made multiples of 4: 12.5 and 16.5 fall to the even ones
    given, target = dataset.view(read(tmp_path / "AB" / "1.png"))
    np.testing.assert_array_equal(given, array(item["input"]))
    np.testing.assert_array_equal(target, array(item["target"]))
    apart = Paired(target=fill(tmp_path / "B", 1), input=fill(tmp_path / "A", 1, seed=9))
    given, target = apart.view(*(read(path) for path in apart.pairs()[0]))
    np.testing.assert_array_equal(given, pixels(tmp_path / "A" / "0.png"))
    np.testing.assert_array_equal(target, pixels(tmp_path / "B" / "0.png"))


# two sets


def test_an_item_has_its_image_of_a_and_any_of_b(tmp_path):
    a, b = fill(tmp_path / "A", 3), fill(tmp_path / "B", 5, 40, 32, seed=50)
    dataset = Unaligned(a, b)
    images = [pixels(tmp_path / "B" / f"{n}.png").tobytes() for n in range(5)]
    assert len(dataset) == 5
    for index in range(5):
        items = [dataset.item(index, rng(seed)) for seed in range(100)]
        for item in items:
            np.testing.assert_array_equal(array(item["real_A"]), pixels(tmp_path / "A" / f"{index % 3}.png"))
            assert item["path"] == str(tmp_path / "A" / f"{index % 3}.png")
        found = [images.index(array(item["real_B"]).tobytes()) for item in items]
        assert all(found.count(n) >= 5 for n in range(5))
    serial = Unaligned(b, a, serial=True)
    assert len(serial) == 5
    for index in range(5):
        item = serial.item(index, rng(index))
        np.testing.assert_array_equal(array(item["real_A"]), pixels(tmp_path / "B" / f"{index}.png"))
        np.testing.assert_array_equal(array(item["real_B"]), pixels(tmp_path / "A" / f"{index % 3}.png"))


def test_direction_counts(tmp_path):
    a, b = fill(tmp_path / "A", 3), fill(tmp_path / "B", 2, seed=50)
    there, back = Unaligned(b, a, **CROP, input_channels=1), Unaligned(a, b, "BtoA", **CROP, input_channels=1)
    for seed in range(5):
        one, two = (d.item(2, rng(seed)) for d in (there, back))
        assert one["path"] == two["path"] == str(tmp_path / "B" / "0.png")
        assert one["real_A"].shape == (1, 32, 32)
        assert torch.equal(one["real_A"], two["real_A"])
        assert torch.equal(one["real_B"], two["real_B"])


def test_both_are_cut_and_turned_by_themselves(tmp_path):
    """A and B are one image whose pixels say where they are."""
    image = np.zeros((48, 80, 3), np.uint8)
    image[:, :, 0], image[:, :, 1] = np.arange(48)[:, None], np.arange(80)
    write(tmp_path / "1.png", image)
    options = {"preprocess": "crop", "crop_size": 16, "flip": True, "rotate": True}
    dataset = Unaligned(str(tmp_path), str(tmp_path), **options)
    seen = {"top": set(), "left": set(), "way": set()}
    for seed in range(200):
        item = dataset.item(0, rng(seed))
        a, b = (item[name][:2].int() for name in dataset.yields)
        seen["top"].add(int(a[0].min() - b[0].min()))
        seen["left"].add(int(a[1].min() - b[1].min()))
        seen["way"].add(tuple(tuple((p[:, 0, 15] - p[:, 15, 0]).sign().tolist()) for p in (a, b)))
    assert len(seen["top"]) > 30
    assert len(seen["left"]) > 50
    assert len(seen["way"]) > 10


def test_an_unreadable_image_of_either_set_is_replaced_and_named(tmp_path):
    a, b = fill(tmp_path / "A", 6), fill(tmp_path / "B", 4, seed=50)
    broken = [tmp_path / "A" / "2.png", tmp_path / "B" / "0.png", tmp_path / "B" / "3.png"]
    for path in broken:
        path.write_bytes(path.read_bytes()[:300])
    sound = {n: pixels(tmp_path / "B" / f"{n}.png") for n in (1, 2)}
    for serial in (False, True):
        runs = []
        for workers in (0, 2):
            data = stream(Unaligned(a, b, serial=serial), 3, 7, workers=workers)
            batches = [batch for batch, _ in zip(data.batches(0), range(20), strict=False)]
            data.close()
            assert {*data.broken} == {str(path) for path in broken}
            runs.append(batches)
        same(*runs)
        for batch in runs[0]:
            assert all(p not in data.broken for p in batch["path"])
            for image in batch["real_B"]:
                assert any(np.array_equal(array(image), s) for s in sound.values())


def test_the_files_of_two_sets_are_no_pairs(tmp_path):
    a, b = fill(tmp_path / "A", 3), fill(tmp_path / "B", 5, 20, 30)
    (tmp_path / "B" / "4.png").write_bytes(b"words")
    for dataset in (Unaligned(a, b, preprocess="crop", crop_size=32), ConcatUnaligned((a, a), (b, b))):
        refuse_misfits("train", dataset.pairs(), 1)
        found = survey(dataset.pairs(), 1, dataset.crop, dataset.strays)
        assert found.mismatched == found.strays == found.alone == ()
        assert {line.split(": ")[0] for line in found.unreadable} == {str(tmp_path / "B" / "4.png")}
        assert (found.smallest, found.largest) == ((30, 20), (64, 48))
    assert survey(Unaligned(a, b, preprocess="crop", crop_size=32).pairs(), 1, 32).report().startswith("8 images")
    assert Unaligned(a, b).notes == ("3 images of A, 5 of B",)
    assert len(Unaligned(a, b, limit=2)) == len(Unaligned(b, a, limit=2)) == 2
    assert [p.name for p, _ in Unaligned(a, b, limit=2).pairs()] == ["0.png", "1.png"] * 2


# several pairs of sets


def groups(root, counts=((4, 7), (3, 2))):
    """Images whose green is the number of their group, and whose red and blue are their number in A and in B."""
    out = []
    for part in range(2):
        for group, many in enumerate(counts):
            folder = root / f"{'AB'[part]}{group}"
            folder.mkdir(parents=True)
            for n in range(many[part]):
                image = np.zeros((8, 8, 3), np.uint8)
                image[:, :, 1], image[:, :, 2 * part] = group, n
                write(folder / f"{n}.png", image)
        out.append(tuple(str(root / f"{'AB'[part]}{group}") for group in range(len(counts))))
    return out


def test_sets_are_zipped_and_a_batch_is_of_one_pair_of_them(tmp_path):
    a, b = groups(tmp_path)
    dataset = ConcatUnaligned(a, b)
    assert [group.length for group in dataset.groups] == [7, 3]
    assert len(dataset) == 10
    assert [len(dataset.pairs()), dataset.notes[1]] == [16, "20% of the batches: 3 images of A, 2 of B"]
    batches = take(dataset, 200, 5)
    chosen = []
    images = {0: [], 1: []}
    for batch in batches:
        marks = {*batch["real_A"][:, 1, 0, 0].tolist(), *batch["real_B"][:, 1, 0, 0].tolist()}
        assert len(marks) == 1
        chosen += marks
        images[chosen[-1]] += batch["real_A"][:, 0, 0, 0].tolist()
    bound = (np.log(2 / 1e-9) / 2 / 200) ** 0.5  # Hoeffding, as in test_stream
    assert abs(chosen.count(0) / 200 - 0.8) < bound
    for epoch in range(len(images[0]) // 7):  # seven items over the four images of A
        assert sorted(images[0][7 * epoch : 7 * epoch + 7]) == [0, 0, 1, 1, 2, 2, 3]
    for epoch in range(len(images[1]) // 3):
        assert sorted(images[1][3 * epoch : 3 * epoch + 3]) == [0, 1, 2]


def test_weights_of_sets(tmp_path):
    a, b = groups(tmp_path, ((2, 2), (2, 2), (2, 2)))
    # two are landscapes and faces, four fifths and a fifth, as documented
    for count, weights, shares in (
        (1, (), [1]),
        (2, (), [4, 1]),
        (3, (), [1, 1, 1]),
        (3, (1.0, 2.5, 5.0), [1, 2.5, 5]),
    ):
        assert [group.share for group in ConcatUnaligned(a[:count], b[:count], weights).groups] == shares
    found = [batch["real_A"][0, 1, 0, 0].item() for batch in take(ConcatUnaligned(a, b, (1e-9, 2.0, 1e-9)), 50, 2)]
    assert {*found} == {1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"a": 1}, "as many folders of a as of b, found 1 and 2"),
        ({"weights": (1.0,)}, "weights: expected 2 numbers above 0"),
        ({"weights": (1.0, 0.0)}, "weights: expected 2 numbers above 0"),
        ({"weights": (1.0, float("nan"))}, "weights"),
        ({"direction": "AB"}, "direction: expected AtoB or BtoA"),
        ({"limit": 0}, "limit"),
        ({"input_channels": 4}, "input_channels: expected 1 or 3"),
        ({"preprocess": "crop", "crop_size": 250}, "248 or 252"),
    ],
)
def test_wrong_options_of_sets_are_refused(tmp_path, options, message):
    a, b = groups(tmp_path)
    with pytest.raises(ValueError, match=message):
        ConcatUnaligned(a[: options.pop("a", 2)], b, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"combined": ""}, "either folders of combined images"),
        ({"combined": "", "target": "x"}, "either"),
        ({"target": "x"}, "either"),
        ({"combined": "x", "direction": "BtA"}, "direction"),
        ({"combined": "x", "limit": -1}, "limit"),
        ({"combined": "x", "target_channels": 2}, "target_channels"),
        ({"combined": "x", "preprocess": "resize_and_crop", "crop_size": 256}, "load_size"),
        ({"combined": "x", "preprocess": "crop", "crop_size": 250}, "248 or 252"),
    ],
)
def test_wrong_options_of_pairs_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Paired(**options)


# all of them, as they are used


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """Photographs, a few in colour and a few gray, and drawings made of them: their edges."""
    root = tmp_path_factory.mktemp("sample")
    write_sample(root)
    for path in [*(root / "train" / "HR").glob("astronaut_*"), *(root / "train" / "HR").glob("camera_*")]:
        image = pixels(path)
        edges = cv2.Laplacian(image, cv2.CV_8U).reshape(image.shape)
        folder = "gray" if image.shape[2] == 1 else "colour"
        for name, part in (("A", image), ("B", 255 - edges), ("AB", np.concatenate([image, 255 - edges], axis=1))):
            (root / f"{folder}_{name}").mkdir(exist_ok=True)
            write(root / f"{folder}_{name}" / path.name, part)
    return root


def every(root):
    """A dataset of each kind."""
    a, b = ([str(root / f"{kind}_{part}") for kind in ("colour", "gray")] for part in "AB")
    options = {"preprocess": "scale_width_and_crop", "load_size": (64, 72), "crop_size": 48, "flip": True}
    return {
        "paired": Paired(target=tuple(b), input=tuple(a), **options),
        "unaligned": Unaligned(tuple(a), tuple(b), **options),
        "concat_unaligned": ConcatUnaligned(tuple(a), tuple(b), **options),
        "combined": Paired(combined=str(root / "colour_AB"), **options),
        "single": Single(tuple(a), preprocess="resize_and_crop", load_size=64, crop_size=48),
    }


@pytest.mark.parametrize("kind", ["paired", "unaligned", "concat_unaligned", "combined", "single"])
def test_workers_and_restarts_change_nothing(sample, kind):
    dataset = every(sample)[kind]
    assert len(dataset) >= 4
    through = take(dataset, 10, 3)
    same(take(dataset, 10, 3, workers=2), through)
    same(take(pickle.loads(pickle.dumps(dataset)), 4, 3, start=6, workers=2), through[6:])
    for batch in through:
        assert all(batch[name].shape == (3, 3, 48, 48) and batch[name].dtype == torch.uint8 for name in dataset.yields)
    assert len({batch[dataset.yields[0]].numpy().tobytes() for batch in through}) == 10
    items = [*whole(dataset)]
    assert [batch["index"] for batch in items] == [[n] for n in range(len(dataset))]
    same([*whole(dataset, workers=2)], items)


def test_a_batch_of_sets_is_gray_or_coloured(sample):
    for batch in take(every(sample)["concat_unaligned"], 20, 3):
        gray = {bool((image[0] == image[1]).all()) for name in ("real_A", "real_B") for image in batch[name]}
        assert len(gray) == 1


def test_a_set_without_a_readable_image_is_told_before_training(tmp_path):
    a, b = groups(tmp_path)
    assert prove(ConcatUnaligned(a, b), 7)["real_A"].shape == (1, 3, 8, 8)
    for path in (tmp_path / "B1").iterdir():
        path.write_bytes(b"words")
    with pytest.raises(DataError, match=r"none of the 3 items.*B1.*not an image"):
        prove(ConcatUnaligned(a, b), 7)


def test_they_are_registered_by_name():
    assert DATASETS["paired"] is Paired
    assert DATASETS["unaligned"] is Unaligned
    assert DATASETS["concat_unaligned"] is ConcatUnaligned


# single images


def test_single_images_are_tested_at_the_size_that_they_were_trained_at(tmp_path):
    folder = fill(tmp_path, 2, 45, 64)
    image = pixels(tmp_path / "1.png")
    dataset = Single(folder, preprocess="scale_width", load_size=128)
    item = dataset.item(1, rng())
    expected = cv2.resize(image, (128, 88), interpolation=cv2.INTER_CUBIC)  # 90 is halfway; 22 is even
    np.testing.assert_array_equal(array(item["input"]), expected)
    np.testing.assert_array_equal(dataset.view(Picture(image)), expected)
    assert Single(folder, preprocess="none").item(1, rng())["input"].shape == (3, 44, 64)
    assert Single(folder).item(1, rng())["input"].shape == (3, 45, 64)
    np.testing.assert_array_equal(Single(folder, channels=1).view(Picture(image))[:, :, 0], cv2.cvtColor(image, 7))
    with pytest.raises(ValueError, match="preprocess: expected what to do"):
        Single(folder, load_size=128)
    small = Single(folder, preprocess="crop", crop_size=64, small="refuse")
    assert small.crop == 64
    with pytest.raises(UnreadableImage, match=r"1\.png: it is 64x45"):
        small.item(1, rng())
    with pytest.raises(UnreadableImage, match="the image: it is 64x45"):
        small.view(Picture(image))
