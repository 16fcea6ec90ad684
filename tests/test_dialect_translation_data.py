"""The documented datasets of image-to-image methods, and their files for test.py, as native sections."""

import pytest
import yaml
from test_dialect import translate as native_of
from test_dialect_translation import FILES, fine, of_test, planned, text_of, translate, wrong

from darkroom.build.plan import Options, plan_training
from darkroom.config.dialects import trainner
from darkroom.config.source import parse, plain

# Datasets


@pytest.mark.parametrize(
    ("model", "keys", "section"),
    [
        ("pix2pix", "", {"type": "paired", "input": ["a"], "target": ["b"]}),
        (
            "pix2pix",
            "mode: LRHR, dataroot_A: null, dataroot_lq: x",
            {"type": "paired", "input": ["x"], "target": ["b"]},
        ),
        ("pix2pix", "mode: single", {"type": "paired", "input": ["a"], "target": ["b"]}),
        ("cyclegan", "", {"type": "unaligned", "a": ["a"], "b": ["b"]}),
        ("cyclegan", "dataroot_A: [x, y]", {"type": "unaligned", "a": ["x", "y"], "b": ["b"]}),
        ("cyclegan", "dataroot_A: null, dataroot_LR: x", {"type": "unaligned", "a": ["x"], "b": ["b"]}),
        ("cyclegan", "serial_batches: true", {"type": "unaligned", "a": ["a"], "b": ["b"], "serial": True}),
        ("wbc", "", {"type": "concat_unaligned", "a": ["a", "c"], "b": ["b", "d"]}),
        (
            "wbc",
            "sampler_weights: [4, 1], max_dataset_size: 7",
            {"type": "concat_unaligned", "a": ["a", "c"], "b": ["b", "d"], "weights": [4.0, 1.0], "limit": 7},
        ),
    ],
)
def test_folders(model, keys, section):
    native = fine(model, f"datasets: {{train: {{{keys}}}}}")
    assert native["datasets"]["train"] == {**section, "preprocess": "crop", "crop_size": 32}
    assert planned(model, f"datasets: {{train: {{{keys}}}}}").dataset.type == section["type"]


def test_images_side_by_side():
    folders = "dataroot_A: null, dataroot_B: null"
    for key in ("dataroot_AB", "dataroot"):
        data = fine("pix2pix", f"datasets: {{train: {{{folders}, {key}: ab, direction: btoa}}}}")["datasets"]["train"]
        assert data == {
            "type": "paired", "combined": ["ab"], "direction": "BtoA", "preprocess": "crop", "crop_size": 32,
        }  # fmt: skip


@pytest.mark.parametrize("model", FILES)
def test_the_way_back(model):
    """In the reference ``direction`` has no effect on unaligned data."""
    for written, native in (("BtoA", "BtoA"), ("btoa", "BtoA"), ("AtoB", "AtoB")):
        data = f"datasets: {{train: {{direction: {written}}}}}"
        assert fine(model, data)["datasets"]["train"]["direction"] == native
        assert planned(model, data).dataset.arguments["direction"] == native
    wrong(model, "datasets: {train: {direction: AtoC}}", "direction: expected AtoB or BtoA, found 'AtoC'")


@pytest.mark.parametrize("model", FILES)
@pytest.mark.parametrize(
    ("keys", "preprocess"),
    [
        ("crop_size: 32", "crop"),
        ("HR_size: 32, crop_size: null", "crop"),
        ("load_size: 48, crop_size: null", "resize"),
        ("load_size: [40, 48]", "resize_and_crop"),
    ],
)
def test_a_missing_preprocess_follows_from_the_sizes_and_is_noted(model, keys, preprocess):
    text = text_of(model, f"datasets: {{train: {{preprocess: null, {keys}}}}}")
    native, errors, notes = native_of(text)
    assert errors == []
    assert notes == [f"run.yml:5: no preprocess is given: it is {preprocess}"]
    assert native["datasets"]["train"]["preprocess"] == preprocess


def test_sizes_of_image_to_image_data():
    keys = "preprocess: Scale_Width_and_Crop, load_size: 64, HR_size: 32, crop_size: null, default_none: ModCrop"
    data = fine("cyclegan", f"datasets: {{train: {{{keys}, use_flip: true, use_rot: true, dim_change: resize}}}}")
    assert data["datasets"]["train"] == {
        "type": "unaligned", "a": ["a"], "b": ["b"], "preprocess": "scale_width_and_crop", "load_size": 64,
        "crop_size": 32, "none": "modcrop", "flip": True, "rotate": True, "small": "resize",
    }  # fmt: skip
    keys = "preprocess: fixed, aspect_ratio: 1.5, center_crop_size: 40"
    native, errors, notes = translate("pix2pix", f"datasets: {{train: {{{keys}}}}}")
    assert errors == []
    assert native["datasets"]["train"]["aspect_ratio"] == 1.5
    assert len(notes) == 1
    assert "center_crop_size has no effect with preprocess: fixed" in notes[0]


@pytest.mark.parametrize(
    ("written", "given", "made"),
    [
        ("image_channels: 1", 1, 1), ("input_nc: 1, output_nc: 1", 1, 1), ("input_nc: 1", 1, 3), ("output_nc: 1", 3, 1),
        ("image_channels: 1, output_nc: 3", 1, 3), ("image_channels: 3, input_nc: 1", 1, 3),
    ],
)  # fmt: skip
def test_channels_of_images_and_networks_agree(written, given, made):
    data = f"datasets: {{train: {{{written}}}}}"
    plan = planned("pix2pix", f"{data}, network_G: {{in_nc: {given}, out_nc: {made}}}")
    found = [plan.dataset.arguments.get(f"{name}_channels", 3) for name in ("input", "target")]
    assert found == [given, made]
    _, errors, _ = translate("pix2pix", data)
    assert len(errors) == [given, made].count(1)
    assert all("the images have 1, but network_G has" in error for error in errors)
    _, errors, _ = translate("pix2pix", f"network_G: {{in_nc: {given}, out_nc: {made}}}")
    assert len(errors) == [given, made].count(1)
    assert all("the images have 3, but network_G has" in error for error in errors)


def test_generators_of_cyclegan_need_one_number_of_channels():
    gray = "datasets: {train: {image_channels: 1}}, network_G: {in_nc: 1, out_nc: 1}"
    assert fine("cyclegan", gray)["network_D"]["in_nc"] == 1
    changes = "datasets: {train: {input_nc: 1}}, network_G: {in_nc: 1}"
    wrong("cyclegan", changes, "both generators are of one kind, so in_nc, 1, and out_nc, 3, should be one number")
    wrong("wbc", gray, "cartoons have colours, so in_nc and out_nc are 3, not 1 and 1")


@pytest.mark.parametrize("model", FILES)
def test_znorm_is_of_model_and_test(model):
    for on in (True, False):
        native = fine(model, f"datasets: {{train: {{znorm: {str(on).lower()}}}}}")
        assert native["model"] == {"type": model, "signed": on}
        assert "znorm" not in str(native)
        found, errors, _ = of_test(model, f"datasets: {{test_1: {{znorm: {str(on).lower()}}}}}")
        assert errors == []
        assert found["test"]["signed"] is on
    val = "val: {mode: unaligned, dataroot_A: a, dataroot_B: b, znorm: false}"
    if model != "pix2pix":
        wrong(model, f"datasets: {{train: {{znorm: true}}, {val}}}", "znorm: says False, but znorm (run.yml:")


@pytest.mark.parametrize(
    ("model", "keys", "says"),
    [
        ("cyclegan", "dataroot_B: null", "datasets.train: mode unaligned needs dataroot_B, the folder of the images"),
        ("cyclegan", "dataroot_A: null, dataroot_B: null", "mode unaligned needs dataroot_A and dataroot_B"),
        ("wbc", "dataroot_A: []", "mode concat_unaligned needs dataroot_A"),
        ("pix2pix", "dataroot_B: null", "mode aligned needs dataroot_B, the folder of the images; or dataroot_AB"),
        ("pix2pix", "dataroot_AB: ab", "dataroot_AB: has inputs and targets in it; remove the other folders"),
        ("pix2pix", "mode: unaligned", "mode: model pix2pix learns from aligned images, not unaligned"),
        ("pix2pix", "mode: LRHRseg_bg", "mode: model pix2pix learns from aligned images, not LRHRseg_bg"),
        ("cyclegan", "mode: aligned", "mode: model cyclegan learns from unaligned or concat_unaligned images"),
        ("wbc", "mode: single", "mode: model wbc learns from unaligned or concat_unaligned images, not single"),
        ("cyclegan", "mode: concat_aligned", "mode: model cyclegan learns from unaligned or concat_unaligned images"),
        ("cyclegan", "dataroot_AB: ab", "dataroot_AB: belongs to pairs of images of one size, mode aligned"),
        ("cyclegan", "sampler_weights: [4, 1]", "sampler_weights: belongs to mode concat_unaligned"),
        ("cyclegan", "subset_file: a.txt", "subset_file: belongs to pairs of images"),
        ("pix2pix", "serial_batches: true", "serial_batches: belongs to mode unaligned or concat_unaligned"),
        ("pix2pix", "lr_downscale: true", "lr_downscale: belongs to datasets whose inputs are smaller"),
        ("wbc", "lr_downscale_types: linear", "lr_downscale_types: belongs to datasets whose inputs are smaller"),
        ("wbc", "use_shuffle: false", "use_shuffle: training images always come in random order"),
        ("wbc", "rand_flip_A_B: true", "rand_flip_A_B: belongs to mode aligned, for super-resolution and restoration"),
        ("pix2pix", "augs_strategy: bsrgan", "augs_strategy: belongs to mode aligned, for super-resolution"),
        ("cyclegan", "preprocess: resize_and_corp, load_size: 48", "there is no 'corp'. Did you mean 'crop'?"),
        ("cyclegan", "load_size: 48x", "load_size: expected"),
    ],
)
def test_datasets_that_do_not_fit(model, keys, says):
    wrong(model, f"datasets: {{train: {{{keys}}}}}", says)


def test_sets_for_validation_may_be_resized_and_fit_the_method():
    val = "datasets: {val: {mode: %s, dataroot_A: a, dataroot_B: b, preprocess: resize, load_size: 64}}"
    assert fine("pix2pix", val % "aligned")["datasets"]["val"] == {
        "type": "paired", "input": ["a"], "target": ["b"], "preprocess": "resize", "load_size": 64,
    }  # fmt: skip
    assert fine("wbc", val % "unaligned")["datasets"]["val"]["type"] == "unaligned"
    wrong("cyclegan", val % "aligned", "mode: model cyclegan learns from unaligned or concat_unaligned images")
    wrong("pix2pix", val % "unaligned", "mode: model pix2pix learns from aligned images, not unaligned")
    wrong("pix2pix", "datasets: {val: {mode: aligned, dataroot_AB: ab, use_flip: true}}", "validated and tested whole")
    assert fine("pix2pix", "datasets: {val: {mode: LR, dataroot_A: a}}")["datasets"]["val"]["type"] == "single"


# Tests


@pytest.mark.parametrize("model", FILES)
def test_a_test_runs_one_generator(model):
    native, errors, notes = of_test(model)
    assert (errors, notes) == ([], [])
    assert native["path"]["pretrain"] == {"G": "g.pth"}
    assert plain(native["datasets"]) == {"test_1": {"type": "single", "input": ["a"]}}


def test_either_generator_of_cyclegan_but_not_both():
    back = of_test("cyclegan", "path: {pretrain_model_G_A: null, pretrain_model_G_B: b.pth}")[0]
    assert back["path"]["pretrain"] == {"G": "b.pth"}
    alone = of_test("cyclegan", "path: {pretrain_model_G_A: null, pretrain_model_G: x.pth}")[0]
    assert alone["path"]["pretrain"] == {"G": "x.pth"}
    _, (error,), _ = of_test("cyclegan", "path: {pretrain_model_G_B: b.pth}")
    assert "pretrain_model_G_A and pretrain_model_G_B: a test runs one generator" in error


@pytest.mark.parametrize(
    ("keys", "section"),
    [
        ("dataroot_B: b", {"type": "paired", "input": ["a"], "target": ["b"]}),
        ("mode: aligned, dataroot_A: null, dataroot_AB: ab", {"type": "paired", "combined": ["ab"]}),
        ("direction: BtoA, dataroot_A: null, dataroot_B: b", {"type": "single", "input": ["b"]}),
        ("image_channels: 1", {"type": "single", "input": ["a"], "channels": 1}),
        ("input_nc: 1, output_nc: 3", {"type": "single", "input": ["a"], "channels": 1}),
        (
            "preprocess: scale_width, load_size: 64",
            {"type": "single", "input": ["a"], "preprocess": "scale_width", "load_size": 64},
        ),
    ],
)
def test_images_of_a_test(keys, section):
    native, errors, notes = of_test("pix2pix", f"datasets: {{test_1: {{{keys}}}}}")
    assert (errors, notes) == ([], [])
    assert plain(native["datasets"]["test_1"]) == section


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ("datasets: {test_1: {mode: unaligned, dataroot_B: b}}", "a test runs on single or aligned images"),
        ("datasets: {test_1: {direction: BtoA}}", "mode single needs dataroot_B, the folder of the images"),
        ("datasets: {test_1: {dataroot_A: null}}", "mode single needs dataroot_A, the folder of the images"),
        ("pool_size: 50", "pool_size: is for training; remove it from a file for test.py"),
        ("scale: 2", "scale: model cyclegan keeps the size of images"),
        ("use_cem: true", "use_cem: model cyclegan has no such option"),
    ],
)
def test_mistakes_in_a_test(changes, says):
    _, (error,), _ = of_test("cyclegan", changes)
    assert says in error


# Both languages in one file


def test_a_native_dataset_in_a_documented_file_stays_as_it_is():
    data = "{type: unaligned, a: [x], b: [y], preprocess: crop, crop_size: 32, direction: BtoA, serial: true}"
    tree = yaml.safe_load(FILES["cyclegan"])
    tree["datasets"]["train"] = yaml.safe_load(data)
    native, errors, notes = native_of(yaml.safe_dump(tree))
    assert (errors, notes) == ([], [])
    assert plain(native["datasets"]["train"]) == yaml.safe_load(data)
    assert plan_training(Options(native, notes, errors)).dataset.arguments["direction"] == "BtoA"


def test_crop_size_is_a_documented_key_where_the_native_one_has_another_name():
    file = parse("{datasets: {train: {type: aligned, target: [hr], crop_size: 32}}}", "run.yml")
    assert trainner.recognises(file)
    file["datasets"]["train"].put("type", "paired", "run.yml:1")
    assert not trainner.recognises(file)
