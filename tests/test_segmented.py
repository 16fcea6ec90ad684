"""Images with segmentation maps, against files read and cut by hand."""

import pickle
from pathlib import Path

import cv2
import files
import numpy as np
import pytest
import torch
from PIL import Image

from darkroom.core.errors import DataError
from darkroom.data import DATASETS
from darkroom.data.aligned import Aligned
from darkroom.data.dataset import UnreadableImage
from darkroom.data.images import read, write
from darkroom.data.segmented import Segmented, as_bytes, category_of, find_maps, read_maps
from darkroom.data.stream import draws, generator, prove, stream, to_unit, whole
from darkroom.filters.resize import resize_uint8

SCENES = ("sky/1.png", "water/1.png", "grass_7.png", "street.png")


@pytest.fixture(autouse=True)
def one_thread():
    """As in worker processes; for images this small, several threads mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rng(seed=0):
    return np.random.default_rng(seed)


def probabilities(height, width, seed=0, classes=8):
    """Smooth maps that sum to 1."""
    coarse = rng(seed).normal(0, 4, (height // 8 + 2, width // 8 + 2, classes)).astype(np.float32)
    logits = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return torch.from_numpy(logits).softmax(2).permute(2, 0, 1).contiguous()


def save_maps(path, maps, kind="pth"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path = path.with_suffix(f".{kind}")
    if kind == "npz":
        np.savez_compressed(path, maps=np.rint(maps.numpy() * 255).astype(np.uint8))
    elif kind == "png":
        Image.fromarray(maps.argmax(0).byte().numpy()).save(path)
    else:
        torch.save(maps, path)
    return path


def scenes(root, names=SCENES, height=64, width=72, kind="pth", cut=1, mark="_bic"):
    """The published layout: img/ and bicseg/ beside it, with probabilities (8, H, W); what the maps are by name."""
    maps = {}
    for seed, name in enumerate(names):
        (root / "img" / name).parent.mkdir(parents=True, exist_ok=True)
        write(root / "img" / name, files.photograph(height, width, seed))
        maps[name] = probabilities(height // cut * cut, width // cut * cut, seed)
        stem = (root / "bicseg" / name).with_suffix("")
        save_maps(stem.with_name(stem.name + mark), maps[name], kind)
    return maps


def rounded(maps):
    return np.rint(maps.numpy() * 255).astype(np.uint8)


def named(dataset, name):
    """The index of a target."""
    return next(i for i, (t, _) in enumerate(dataset.pairs()) if t.as_posix().endswith(name))


# what an item is


@pytest.mark.parametrize("scale", [2, 4])
def test_whole_images_have_maps_of_their_size_and_the_input_that_aligned_makes(tmp_path, scale):
    maps = scenes(tmp_path, height=61, width=70)
    dataset = Segmented(str(tmp_path / "img"), scale=scale)
    aligned = Aligned(str(tmp_path / "img"), scale=scale)
    assert len(dataset) == 4
    for i, (path, _) in enumerate(dataset.pairs()):
        item, plain = dataset.item(i, rng()), aligned.item(i, rng())
        height, width = 61 // scale * scale, 70 // scale * scale
        assert torch.equal(item["input"], plain["input"])
        assert torch.equal(item["target"], plain["target"])
        assert item["path"] == plain["path"] == str(path)
        expected = rounded(maps[path.relative_to(tmp_path / "img").as_posix()])[:, :height, :width]
        assert np.array_equal(item["maps"], expected)
        assert item["maps"].is_contiguous()


def test_images_are_cut_to_the_maps_that_the_published_script_made(tmp_path):
    maps = scenes(tmp_path, ["sky.png"], height=61, width=70, cut=8)  # maps of 56 x 64
    item = Segmented(str(tmp_path / "img"), scale=4).item(0, rng())
    assert np.array_equal(item["maps"], rounded(maps["sky.png"]))
    assert np.array_equal(item["target"], read(tmp_path / "img" / "sky.png").pixels[:56, :64].transpose(2, 0, 1))
    assert item["input"].shape == (3, 14, 16)


def test_crop_flip_and_turn_are_the_same_for_image_and_maps(tmp_path):
    """Maps that say of each pixel where it is, so that any misplacement shows."""
    height, width = 48, 80
    image = np.zeros((height, width, 3), np.uint8)
    image[:, :, 0], image[:, :, 1] = np.arange(height)[:, None], np.arange(width)
    (tmp_path / "img").mkdir()
    write(tmp_path / "img" / "a.png", image)
    places = np.zeros((8, height, width), np.uint8)
    places[:2] = image[:, :, :2].transpose(2, 0, 1)
    (tmp_path / "bicseg").mkdir()
    np.savez(tmp_path / "bicseg" / "a.npz", maps=places)
    dataset = Segmented(str(tmp_path / "img"), crop=16, scale=4, flip=True, rotate=True)
    ways, starts = set(), set()
    for seed in range(200):
        item = dataset.item(0, rng(seed))
        assert torch.equal(item["target"][:2], item["maps"][:2])
        assert item["input"].shape == (3, 4, 4)
        rows, columns = item["target"][0].int(), item["target"][1].int()
        corners = [int((p[y, x] - p[0, 0]).sign()) for p in (rows, columns) for y, x in ((15, 0), (0, 15))]
        ways.add(tuple(corners))
        starts.add((int(rows.min()), int(columns.min())))
    assert len(starts) > 50
    assert all(r % 4 == 0 and c % 4 == 0 for r, c in starts)
    assert len(ways) == 8


@pytest.mark.parametrize("given", [False, True])
def test_an_input_is_that_part_of_the_whole_small_image(tmp_path, given):
    """Of the file, whose colours are inverted here, or of what is made."""
    scenes(tmp_path, ["sky.png"])
    target = read(tmp_path / "img" / "sky.png").pixels
    small = resize_uint8(target, 1 / 4)
    options = {}
    if given:
        small = 255 - small
        (tmp_path / "LR").mkdir()
        write(tmp_path / "LR" / "sky.png", small)
        options = {"input": str(tmp_path / "LR"), "shrink": (0.5,)}  # for targets without input files only
    dataset = Segmented(str(tmp_path / "img"), crop=32, scale=4, **options)
    for seed in range(8):
        item = dataset.item(0, rng(seed))
        found = [
            (y, x)
            for y in range(small.shape[0] - 7)
            for x in range(small.shape[1] - 7)
            if np.array_equal(target[4 * y : 4 * y + 32, 4 * x : 4 * x + 32].transpose(2, 0, 1), item["target"])
        ]
        ((y, x),) = found
        assert np.array_equal(small[y : y + 8, x : x + 8].transpose(2, 0, 1), item["input"])


def test_crops_of_shrunk_images(tmp_path):
    """Half the size: each pixel is the mean of four, and the maps are those of a pixel at its place."""
    height, width = 64, 96
    scenes(tmp_path, ["sky.png"], height, width)
    target = read(tmp_path / "img" / "sky.png").pixels
    half = target.reshape(height // 2, 2, width // 2, 2, 3).astype(float).mean((1, 3))
    dataset = Segmented(str(tmp_path / "img"), crop=32, scale=4, shrink=(0.5,))
    item = dataset.item(0, rng())
    (left,) = [
        x
        for x in range(0, 17, 4)
        if np.abs(half[:, x : x + 32].transpose(2, 0, 1) - item["target"].numpy()).max() <= 0.5
    ]
    expected = rounded(probabilities(height, width))[:, 1::2, 1::2][:, :, left : left + 32]
    assert np.array_equal(item["maps"], expected)


def test_all_sizes_are_drawn(tmp_path):
    """The crop is as large as the image at the smallest size, so its first column tells the size."""
    scenes(tmp_path, ["sky.png"], 64, 64)
    dataset = Segmented(str(tmp_path / "img"), crop=32, scale=4, shrink=(1.0, 0.75, 0.5))
    sizes = {}
    for seed in range(40):
        target = dataset.item(0, rng(seed))["target"].permute(1, 2, 0).numpy()
        for side in (64, 48, 32):
            image = read(tmp_path / "img" / "sky.png").pixels
            image = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) if side < 64 else image
            places = range(0, side - 31, 4)
            if any(np.array_equal(image[y : y + 32, x : x + 32], target) for y in places for x in places):
                sizes[side] = sizes.get(side, 0) + 1
    assert sum(sizes.values()) == 40
    assert min(sizes[side] for side in (64, 48, 32)) > 5


def test_small_images_are_enlarged_to_the_crop_in_proportion_or_left_out_if_their_inputs_are_files(tmp_path):
    scenes(tmp_path, ["sky.png"], height=24, width=48)
    dataset = Segmented(str(tmp_path / "img"), crop=32, scale=4)
    item = dataset.item(0, rng())
    expected = cv2.resize(read(tmp_path / "img" / "sky.png").pixels, (64, 32), interpolation=cv2.INTER_CUBIC)
    found = [x for x in range(0, 33, 4) if np.array_equal(expected[:, x : x + 32].transpose(2, 0, 1), item["target"])]
    rows, columns = (np.arange(32) * 24 + 12) // 32, (np.arange(found[0], found[0] + 32) * 48 + 24) // 64
    assert np.array_equal(item["maps"], rounded(probabilities(24, 48))[:, rows][:, :, columns])
    (tmp_path / "LR").mkdir()
    write(tmp_path / "LR" / "sky.png", files.photograph(6, 12))
    small = Segmented(str(tmp_path / "img"), input=str(tmp_path / "LR"), crop=32, scale=4)
    with pytest.raises(UnreadableImage, match="shorter side is 24, smaller than the crop of 32"):
        small.item(0, rng())


def test_gray_and_deep_images(tmp_path):
    scenes(tmp_path, ["sky.png"], height=40, width=40)
    write(tmp_path / "img" / "sky.png", files.photograph16(40, 40))
    deep = Segmented(str(tmp_path / "img"), crop=16, scale=2, shrink=(0.7,)).item(0, rng())
    assert deep["target"].dtype == torch.uint16
    assert deep["input"].shape == (3, 8, 8)
    gray = Segmented(str(tmp_path / "img"), crop=16, scale=2, channels=1, shrink=(0.7,)).item(0, rng())
    assert gray["target"].shape == (1, 16, 16)
    assert gray["maps"].shape == (8, 16, 16)


def test_several_kernels_are_all_used(tmp_path):
    scenes(tmp_path, ["sky.png"], height=32, width=32)
    dataset = Segmented(str(tmp_path / "img"), crop=32, scale=4, kernel=("cubic", "box"))
    target = read(tmp_path / "img" / "sky.png").pixels
    made = [resize_uint8(target, 1 / 4, kernel=k).transpose(2, 0, 1) for k in ("cubic", "box")]
    found = [[np.array_equal(m, dataset.item(0, rng(s))["input"]) for m in made] for s in range(12)]
    assert {tuple(f) for f in found} == {(True, False), (False, True)}


def test_kernels_have_shares_and_may_be_opencvs(tmp_path):
    scenes(tmp_path, ["sky.png"], height=32, width=32)
    dataset = Segmented(str(tmp_path / "img"), crop=32, scale=4, kernel={"cv2_linear": 3, "area": 1, "cubic": 0})
    target = read(tmp_path / "img" / "sky.png").pixels
    made = [cv2.resize(target, (8, 8), interpolation=kind) for kind in (cv2.INTER_LINEAR, cv2.INTER_AREA)]
    items = [dataset.item(0, rng(seed))["input"].numpy().transpose(1, 2, 0).astype(int) for seed in range(200)]
    counts = [sum(np.abs(item - low).max() <= 1 for item in items) for low in made]
    assert sum(counts) == 200
    assert 125 < counts[0] < 175


# backgrounds


def test_one_item_in_ten_is_background(tmp_path):
    scenes(tmp_path, ["sky.png"])
    (tmp_path / "general").mkdir()
    for i in range(3):
        write(tmp_path / "general" / f"sky{i}.png", files.photograph(50, 50, 20 + i))
    dataset = Segmented(str(tmp_path / "img"), background=str(tmp_path / "general"), crop=32, scale=4)
    assert len(dataset) == 1
    items = [dataset.item(0, rng(seed)) for seed in range(400)]
    drawn = [i for i in items if "general" in i["path"]]
    assert 20 < len(drawn) < 65  # 40 expected, standard deviation 6
    assert {i["path"] for i in drawn} == {str(tmp_path / "general" / f"sky{i}.png") for i in range(3)}
    for item in drawn:
        assert (item["maps"][0] == 255).all()
        assert (item["maps"][1:] == 0).all()
        assert item["maps"].shape == (8, 32, 32)
        assert item["category"] == 0  # whatever its name says
        whole_image = read(item["path"]).pixels[:48, :48].transpose(2, 0, 1)
        assert any(
            np.array_equal(whole_image[:, y : y + 32, x : x + 32], item["target"])
            for y in range(0, 17, 4)
            for x in range(0, 17, 4)
        )
    assert {int(i["category"]) for i in items if "general" not in i["path"]} == {5}


def test_a_broken_background_is_named_and_replaced(tmp_path):
    scenes(tmp_path, ["sky.png", "water.png"])
    (tmp_path / "general").mkdir()
    write(tmp_path / "general" / "good.png", files.photograph(50, 50))
    (tmp_path / "general" / "broken.png").write_bytes(b"")
    dataset = Segmented(
        str(tmp_path / "img"), background=str(tmp_path / "general"), background_share=1.0, crop=32, scale=4
    )
    told = []
    batches = stream(dataset, 4, seed=0, warn=told.append).batches()
    assert {path for _ in range(4) for path in next(batches)["path"]} == {str(tmp_path / "general" / "good.png")}
    assert len(told) == 1
    assert "broken.png: the file is empty" in told[0]


# categories


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("OST/img/building/0001.png", 1), ("img/plant_01.png", 2), ("img/mountains/3.png", 3), ("a/Water-7.jpg", 4),
        ("data/sky/grass_2.png", 6), ("sky/img/9.png", 5), ("sky1.png", 5), ("animal.png", 7), ("img/1.png", 0),
        ("img/skyline.png", 0), ("img/implants.png", 0), ("water/street_plants.png", 2), ("building plant.png", 1),
        ("sky/grass/9.png", 6),
    ],
)  # fmt: skip
def test_the_class_is_the_word_nearest_to_the_file(path, number):
    assert category_of(Path(path)) == number


def test_classes_by_name_and_what_the_log_says_of_them(tmp_path):
    scenes(tmp_path)
    dataset = Segmented(str(tmp_path / "img"))
    found = {dataset.item(i, rng())["path"]: int(dataset.item(i, rng())["category"]) for i in range(4)}
    assert found == {str(tmp_path / "img" / n): c for n, c in zip(SCENES, (5, 4, 6, 0), strict=True)}
    assert dataset.notes == ("classes by name: background 1, water 1, sky 1, grass 1",)
    other = Segmented(str(tmp_path / "img"), categories=("street", "sky"))
    assert {int(other.item(i, rng())["category"]) for i in range(4)} == {0, 1, 2}
    none = Segmented(str(tmp_path / "img"), categories=("car",))
    assert none.notes == (
        "classes by name: background 4. The class loss is 0 throughout; category: maps takes the classes from the maps",
    )


def test_classes_by_maps_are_those_of_the_crop(tmp_path):
    (tmp_path / "img").mkdir()
    (tmp_path / "bicseg").mkdir()
    write(tmp_path / "img" / "a.png", files.photograph(32, 64))
    maps = torch.zeros(8, 32, 64)
    maps[3, :, :32] = maps[6, :, 32:] = 1
    torch.save(maps, tmp_path / "bicseg" / "a_bic.pth")
    dataset = Segmented(str(tmp_path / "img"), crop=16, scale=4, category="maps", flip=True)
    found = set()
    for seed in range(30):
        item = dataset.item(0, rng(seed))
        share = [(item["maps"][c] == 255).float().mean() for c in (3, 6)]
        assert item["category"].dtype == torch.int64
        assert item["category"] == (3 if share[0] >= share[1] else 6)
        found.add(int(item["category"]))
    assert found == {3, 6}
    assert dataset.notes == ()


# files of maps


def test_every_kind_of_file_gives_the_same_maps(tmp_path):
    maps = probabilities(24, 32)
    expected = rounded(maps)
    old = tmp_path / "old.pth"
    torch.save(maps, old, _use_new_zipfile_serialization=False)
    torch.save(maps[None], tmp_path / "batch.pt")
    torch.save(maps.half(), tmp_path / "half.pth")
    np.savez(tmp_path / "floats.npz", maps=maps.numpy())
    for path in (save_maps(tmp_path / "a", maps), save_maps(tmp_path / "a", maps, "npz"), old, tmp_path / "batch.pt"):
        assert np.array_equal(as_bytes(read_maps(path), 8), expected)
    assert np.array_equal(as_bytes(read_maps(tmp_path / "floats.npz"), 8), expected)
    assert np.abs(as_bytes(read_maps(tmp_path / "half.pth"), 8).astype(int) - expected).max() <= 1
    one_hot = np.eye(8, dtype=np.uint8)[maps.argmax(0)].transpose(2, 0, 1) * 255
    assert np.array_equal(as_bytes(read_maps(save_maps(tmp_path / "a", maps, "png")), 8), one_hot)


def test_label_images_with_a_palette_and_unlabelled_pixels(tmp_path):
    labels = np.array([[0, 3, 7], [255, 1, 2]], np.uint8)
    image = Image.fromarray(labels)
    image = image.copy()
    image.putpalette([n for i in range(256) for n in (i, 255 - i, 7)])
    image.save(tmp_path / "a.png")
    found = as_bytes(read_maps(tmp_path / "a.png"), 8)
    assert found.argmax(0).tolist() == [[0, 3, 7], [0, 1, 2]]
    assert (found.sum(0) == 255).all()


@pytest.mark.parametrize("kind", ["pth", "npz", "png"])
def test_kinds_of_files_in_a_dataset(tmp_path, kind):
    maps = scenes(tmp_path, kind=kind, mark="" if kind == "png" else "_bic")
    dataset = Segmented(str(tmp_path / "img"), crop=32, scale=4)
    for name, whole_maps in maps.items():
        item = dataset.item(named(dataset, name), rng(3))
        target = read(tmp_path / "img" / name).pixels.transpose(2, 0, 1)
        ((y, x),) = [
            (y, x)
            for y in range(0, 33, 4)
            for x in range(0, 41, 4)
            if np.array_equal(target[:, y : y + 32, x : x + 32], item["target"])
        ]
        part = whole_maps[:, y : y + 32, x : x + 32]
        if kind == "png":
            assert np.array_equal(item["maps"].argmax(0), part.argmax(0))
        else:
            assert np.array_equal(item["maps"], rounded(part))


BROKEN = {
    "empty.pth": (b"", "cannot be read"),
    "text.npz": (b"hello", "cannot be read"),
    "text.png": (b"hello", "cannot be read|cannot identify"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_damaged_files_are_named(tmp_path, name):
    content, reason = BROKEN[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableImage, match=reason) as error:
        read_maps(tmp_path / name)
    assert error.value.path == str(tmp_path / name)


def test_files_of_something_else_are_named(tmp_path):
    torch.save({"maps": torch.zeros(8, 4, 4)}, tmp_path / "dict.pth")
    torch.save(torch.zeros(4, 4), tmp_path / "flat.pth")
    torch.save(files.photograph, tmp_path / "code.pth")
    np.savez(tmp_path / "other.npz", arr=np.zeros((8, 4, 4)))
    write(tmp_path / "colour.png", files.photograph(8, 8))
    for name, reason in (
        ("dict.pth", "expected a tensor, found a dict"), ("flat.pth", r"expected maps .*, found \(4, 4\)"),
        ("code.pth", "Weights only load failed"), ("other.npz", "no array 'maps', only arr"),
        ("colour.png", "found an image of mode RGB"), ("none.pth", "No such file"),
    ):  # fmt: skip
        with pytest.raises(UnreadableImage, match=reason):
            read_maps(tmp_path / name)


def test_numbers_that_are_no_probabilities():
    with pytest.raises(ValueError, match="numbers from -3 to 5, expected probabilities"):
        as_bytes(np.array([[[-3.0, 5.0]]] * 8), 8)
    with pytest.raises(ValueError, match="from nan"):
        as_bytes(np.full((8, 2, 2), np.nan), 8)
    with pytest.raises(ValueError, match="maps of 8 classes, expected 5"):
        as_bytes(np.zeros((8, 2, 2)), 5)
    with pytest.raises(ValueError, match="a class 9, expected 0 to 7"):
        as_bytes(np.full((2, 2), 9, np.uint8), 8)


def test_maps_of_another_image_are_refused(tmp_path):
    scenes(tmp_path, ["sky.png", "water.png"], height=40, width=56)
    save_maps(tmp_path / "bicseg" / "sky_bic", probabilities(40, 48))
    dataset = Segmented(str(tmp_path / "img"), crop=16, scale=4)
    with pytest.raises(UnreadableImage, match=r"the maps are 48x40, but their target .*sky.png is 56x40"):
        dataset.item(named(dataset, "sky.png"), rng())
    broken = {}
    batches = [b["path"] for b in whole(Segmented(str(tmp_path / "img"), scale=4), broken=broken)]
    assert batches == [[str(tmp_path / "img" / "water.png")]]
    assert list(broken) == [str(tmp_path / "bicseg" / "sky_bic.pth")]


# finding maps


def test_maps_are_found_by_name(tmp_path):
    names = ["a/1.png", "b/1.png", "c/2.png", "3.jpg", "3.png", "lone_bic.png"]
    maps = ["a/1_bic.pth", "b/1.npz", "2_bic.npz", "3_jpg_bic.pth", "3_png_bic.pth", "lone_bic.pth", "a/1.png", "z.npz"]
    for root, paths in (("img", names), ("maps", maps)):
        for path in paths:
            (tmp_path / root / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / root / path).write_bytes(b"x")
    targets = [tmp_path / "img" / n for n in names]
    found, unused = find_maps(targets, [str(tmp_path / "img")], [str(tmp_path / "maps")])
    names_of = {t.relative_to(tmp_path / "img"): m.relative_to(tmp_path / "maps") for t, m in found.items()}
    assert {t.as_posix(): m.as_posix() for t, m in names_of.items()} == {
        "a/1.png": "a/1_bic.pth", "b/1.png": "b/1.npz", "c/2.png": "2_bic.npz", "3.jpg": "3_jpg_bic.pth",
        "3.png": "3_png_bic.pth", "lone_bic.png": "lone_bic.pth",
    }  # fmt: skip
    assert [p.name for p in unused] == ["z.npz"]


def test_as_many_folders_of_maps_as_of_targets_belong_together(tmp_path):
    for part, seed in (("one", 0), ("two", 5)):
        (tmp_path / part).mkdir()
        write(tmp_path / part / "same.png", files.photograph(16, 16, seed))
        save_maps(tmp_path / f"{part}_maps" / "same", probabilities(16, 16, seed), "npz")
    roots, maps = ((str(tmp_path / f"one{s}"), str(tmp_path / f"two{s}")) for s in ("", "_maps"))
    dataset = Segmented(roots, maps=maps, scale=2)
    for i, seed in enumerate((0, 5)):
        assert np.array_equal(dataset.item(i, rng())["maps"], rounded(probabilities(16, 16, seed)))


def test_what_is_missing_is_said(tmp_path):
    scenes(tmp_path)
    (tmp_path / "bicseg" / "street_bic.pth").rename(tmp_path / "bicseg" / "lane_bic.pth")
    dataset = Segmented(str(tmp_path / "img"), limit=2)
    assert len(dataset) == len(dataset.pairs()) == 2
    assert "1 of 4 targets have no maps and are not used" in dataset.notes[0]
    assert "street.png" in dataset.notes[0]
    assert dataset.notes[1].startswith("1 maps have no target and are not used")
    with pytest.raises(DataError, match=r"no maps in .*bicseg have the name .*: the targets are street.png, the maps"):
        Segmented(str(tmp_path / "img" / "street.png"), maps=str(tmp_path / "bicseg"))
    with pytest.raises(DataError, match=r"there is no folder of segmentation maps .*bicsag. Did you mean .*bicseg"):
        Segmented(str(tmp_path / "img"), maps=str(tmp_path / "bicsag"))
    (tmp_path / "img").rename(tmp_path / "HR")
    with pytest.raises(DataError, match=r"is not called img, beside which one called bicseg"):
        Segmented(str(tmp_path / "HR"))
    assert len(Segmented(str(tmp_path / "HR"), maps=str(tmp_path / "bicseg"))) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": 30}, "crop: expected a multiple of the scale 4"),
        ({"background_share": 1.5}, "background_share: expected 0 to 1, found 1.5"),
        ({"shrink": (0.5, 2.0)}, "shrink: expected sizes above 0 up to 1"),
        ({"shrink": ()}, "shrink: expected sizes"),
        ({"limit": 0}, "limit: expected at least 1, found 0"),
        ({"classes": 0}, "classes: expected at least 1"),
        ({"category": "folder"}, "category: expected name or maps, found 'folder'"),
        ({"background": "x"}, "background: is for training on crops"),
    ],
)
def test_wrong_options(tmp_path, options, message):
    scenes(tmp_path, ["sky.png"])
    with pytest.raises(ValueError, match=message):
        Segmented(str(tmp_path / "img"), **options)


# in use


@pytest.mark.parametrize("workers", [0, 1])
def test_batches(tmp_path, workers):
    scenes(tmp_path)
    dataset = DATASETS["segmented"](str(tmp_path / "img"), crop=32, scale=4, flip=True, rotate=True, shrink=(1.0, 0.6))
    prove(dataset, 0)
    batches = stream(dataset, 4, seed=7, workers=workers)
    batch = next(batches.batches(3))
    batches.close()
    assert batch["maps"].dtype == torch.uint8
    assert batch["maps"].shape == (4, 8, 32, 32)
    assert batch["category"].dtype == torch.int64
    assert sorted(batch["category"].tolist()) == [0, 4, 5, 6]
    by_hand = [dataset.item(d.item, generator(7, d.number)) for d in draws(7, 4, 12, 4)]
    assert all(torch.equal(batch["maps"][n], item["maps"]) for n, item in enumerate(by_hand))
    unit = to_unit(batch)
    assert unit["category"].dtype == torch.int64
    assert (unit["maps"].sum(1) - 1).abs().max() < 4 / 255  # eight numbers, each off by half a level at most


def test_it_goes_to_other_processes_and_names_what_it_yields(tmp_path):
    scenes(tmp_path, ["sky.png"])
    dataset = pickle.loads(pickle.dumps(Segmented(str(tmp_path / "img"), crop=16, scale=2)))
    item = dataset.item(0, rng())
    assert {*item} - {"path"} == {*Segmented.yields}
