"""Option files of image-to-image methods that are run: those of the reference, sizes, and faults that it has."""

import copy
import json
import math
from pathlib import Path

import pytest
import yaml
from runs import make, photographs
from test_dialect import translate as native_of
from test_dialect_translation import FILES, merged, of_test, planned, wrong

from darkroom.build.parts import make_averages
from darkroom.build.paths import check_training_folders
from darkroom.build.plan import Options, plan_training
from darkroom.build.testing import plan_testing
from darkroom.config.dialects import trainner
from darkroom.config.source import parse
from darkroom.core.errors import OptionErrors

# The files of the reference


@pytest.fixture
def reference(tmp_path, monkeypatch):
    """The reference's templates, and the folders that they name, from where they are run."""
    (tmp_path / "codes").mkdir()
    monkeypatch.chdir(tmp_path / "codes")
    file = Path(__file__).parent / "golden" / "i2i" / "i2i_templates_values.json"
    templates = json.loads(file.read_text(encoding="utf-8"))["templates"]
    for template in templates.values():
        data = template["datasets"]["train"]
        for roots in (data[key] for key in data if key.startswith("dataroot")):
            for root in [roots] if isinstance(roots, str) else roots:
                Path(root).mkdir(parents=True)
    return templates


@pytest.mark.parametrize("model", FILES)
def test_templates_of_the_reference_are_understood(model, reference):
    template = reference[model]
    file = parse(json.dumps(template), "train.json")
    assert trainner.recognises(file)
    errors, notes = [], []
    native = trainner.translate(file, errors, notes)
    assert errors == []
    assert [n.partition(": ")[2] for n in notes] == ["load_size has no effect with preprocess: crop"] * (model == "wbc")
    plan = plan_training(Options(native, notes, errors))
    check_training_folders(plan)
    data, train, logger = template["datasets"]["train"], template["train"], template["logger"]
    assert plan.run.name == template["name"]
    assert (plan.train.iterations, plan.run.seed) == (train["niter"], train["manual_seed"])
    assert (plan.logger.every, plan.checkpoint.every) == (logger["print_freq"], logger["save_checkpoint_freq"])
    assert plan.display.every == train["display_freq"]
    assert (plan.loader.batch_size, plan.loader.workers) == (data["batch_size"], data["n_workers"])
    assert plan.dataset.arguments["crop_size"] == data["crop_size"]
    assert plan.dataset.arguments["load_size"] == data["load_size"]
    assert plan.dataset.arguments["preprocess"] == data["preprocess"]
    assert plan.model.arguments["signed"] is data["znorm"]
    paths = {key.removeprefix("pretrain_model_"): v for key, v in template["path"].items() if key != "root"}
    assert plan.path.pretrain == paths
    for player in "GD":
        assert plan.players[player].optimizer.arguments["lr"] == train[f"lr_{player}"]
        assert plan.players[player].optimizer.arguments["betas"] == (train[f"beta1_{player}"], 0.999)
        schedule = plan.players[player].schedule.arguments
        assert (schedule["fixed_niter"], schedule["niter_decay"]) == (train["fixed_niter"], train["niter_decay"])
    gans = [t for t in plan.terms if t.adversarial]
    assert {t.loss.arguments["mode"] for t in gans} == {train["gan_type"]}
    assert {t.options.weight for t in gans} == {train["gan_weight"]}
    assert {t.options.pool for t in gans} == {template.get("pool_size", 0)}
    weights = {"pix": train.get("pixel_weight"), "fea": train.get("feature_weight"), "tv": train.get("tv_weight")}
    for term in (t for t in plan.terms if not t.adversarial):
        assert term.options.weight == weights[term.name.partition("-")[0]]
    assert len(plan.terms) == {"pix2pix": 2, "cyclegan": 4, "wbc": 5}[model]


# Faults that the inventory lists in 9.1, as far as options are concerned


@pytest.mark.parametrize("model", FILES)
def test_row_1_a_virtual_batch_is_whole_and_turns_are_counted_in_iterations(model):
    plan = planned(model, "datasets: {train: {batch_size: 2, virtual_batch_size: 8}}, train: {D_update_ratio: 3}")
    assert plan.train.accumulate == 4
    assert (plan.players["G"].options.every, plan.players["D"].options.every) == (3, 1)


@pytest.mark.parametrize("model", FILES)
def test_row_8_validation_needs_no_metrics(model):
    mode = "aligned" if model == "pix2pix" else "unaligned"
    val = f"datasets: {{val: {{mode: {mode}, dataroot_A: a, dataroot_B: b}}}}"
    assert planned(model, val).metrics == []


@pytest.mark.parametrize("model", FILES)
def test_rows_24_and_33_what_a_network_lacks_is_said_before_training(model):
    wrong(model, "use_atg: true", f"use_atg: model {model} has no such option; remove it")
    with pytest.raises(OptionErrors, match="has no option 'outm'"):
        planned(model, "train: {finalcap: tanh}")


def test_row_32_an_empty_suffix_and_no_img_size(tmp_path):
    (tmp_path / "a").mkdir()
    native, errors, notes = of_test("pix2pix", f"suffix: null, datasets: {{test_1: {{dataroot_A: {tmp_path}/a}}}}")
    plan = plan_testing(Options(native, notes, errors))
    assert plan.test.suffix == ""


# Real runs


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    photographs(root / "a", count=3, size=64)
    photographs(root / "b", count=3, size=64)
    return root


def started(model, pictures, root, *changes):
    """The run of such a file, on photographs, with changes in YAML without outer braces."""
    tree = yaml.safe_load(FILES[model])
    for change in (*changes, f"gpu_ids: [], path: {{root: {root.as_posix()}}}, datasets: {{train: {{n_workers: 0}}}}"):
        merged(tree, yaml.safe_load(f"{{{change}}}"))
    for data in tree["datasets"].values():
        data |= {f"dataroot_{x}": str(pictures / x.lower()) for x in "AB" if f"dataroot_{x}" in data}
    if model == "wbc":
        tree["datasets"]["train"] |= {f"dataroot_{x}": [str(pictures / x.lower())] for x in "AB"}
    path = root / "o.yml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return make(path)


@pytest.mark.parametrize("model", ["pix2pix", "cyclegan"])
@pytest.mark.parametrize(
    "changes",
    [
        "network_D: {which_model_D: multiscale, num_D: 2}",
        "network_D: {which_model_D: multiscale, num_D: 2}, train: {gan_featmaps: true}",
        "network_D: {patch_output: false}",
        "train: {gan_featmaps: true, freeze_loc: 1}",
        "train: {gan_opt: {form: relativistic}, diffaug: true}",
    ],
)
def test_rows_28_and_30_discriminators_of_all_kinds_train(model, changes, pictures, tmp_path):
    run = started(model, pictures, tmp_path, changes, "train: {niter: 1}, datasets: {train: {batch_size: 2}}")
    run.train()
    run.close()
    lines = (run.experiment.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    found = json.loads(lines[-1])
    marks = [""] if model == "pix2pix" else ["_A", "_B"]
    names = {f"{name}{mark}" for name in ("l_g_gan", "l_d_real", "l_d_fake", "D_real", "D_fake") for mark in marks}
    assert names <= {*found}
    assert all(math.isfinite(found[name]) for name in names)


def test_row_16_averages_hold_both_generators_of_cyclegan(pictures, tmp_path):
    run = started("cyclegan", pictures, tmp_path, "use_swa: true, use_ema: true, train: {swa_start_iter: 5}")
    averages = make_averages(run.plan, run.loop.model, run.loop.players)
    assert {kind: {*a.networks} for kind, a in averages.items()} == {"ema": {"G_A", "G_B"}, "swa": {"G_A", "G_B"}}
    run.close()


@pytest.mark.parametrize("signed", [True, False])
def test_row_29_losses_that_mean_images_in_the_unit_range_get_such(signed, pictures, tmp_path):
    losses = "ssim_type: ssim, ssim_weight: 1, of_type: overflow, of_weight: 1"
    changes = f"datasets: {{train: {{znorm: {str(signed).lower()}}}}}, train: {{{losses}}}"
    run = started("pix2pix", pictures, tmp_path, changes)
    found = {t.name: t.signed for t in run.loop.terms if t.name in ("pix-l1", "ssim", "overflow")}
    assert found == {"pix-l1": False, "ssim": signed, "overflow": signed}
    run.close()


UNET = "network_G: {which_model_G: unet_net, num_downs: 5, n_blocks: null}"


@pytest.mark.parametrize(
    ("model", "key", "changes", "says"),
    [
        ("pix2pix", "crop_size", "crop_size: 48", "expected a multiple of 32, found 48: use 32 or 64"),
        ("pix2pix", "crop_size", "crop_size: 20", "expected a multiple of 32, found 20: use 32"),
        ("pix2pix", "HR_size", "crop_size: null, HR_size: 48", "expected a multiple of 32, found 48: use 32 or 64"),
        ("cyclegan", "crop_size", "crop_size: 30", "expected a multiple of 4, found 30: use 28 or 32"),
        ("wbc", "crop_size", "crop_size: 30", "expected a multiple of 4, found 30: use 28 or 32"),
        (
            "pix2pix",
            "load_size",
            "preprocess: resize, load_size: 48",
            "expected a multiple of 32, found 48: use 32 or 64",
        ),
        (
            "wbc",
            "load_size",
            "preprocess: resize_and_crop, load_size: 16",
            "expected at least the crop_size 32, found 16",
        ),
        ("pix2pix", "load_size", "preprocess: resize_and_crop", "expected a size for preprocess: resize_and_crop"),
        ("cyclegan", "crop_size", "crop_size: null", "expected a size for preprocess: crop, found none"),
    ],
)
def test_impossible_sizes_are_errors_before_training(model, key, changes, says, pictures, tmp_path):
    with pytest.raises(OptionErrors) as error:
        started(model, pictures, tmp_path, f"datasets: {{train: {{{changes}}}}}")
    (found,) = error.value.errors
    assert f"{key}: {says}" in found
    lines = (tmp_path / "o.yml").read_text(encoding="utf-8").splitlines()
    places = [n for n, text in enumerate(lines, 1) if text.strip().startswith(f"{key}:") and "null" not in text]
    assert found.startswith(f"{tmp_path / 'o.yml'}:{places[0] if places else lines.index('  train:') + 2}: ")


def test_sizes_are_those_of_the_network(pictures, tmp_path):
    with pytest.raises(OptionErrors, match="crop_size: expected a multiple of 32, found 40: use 32 or 64"):
        started("cyclegan", pictures, tmp_path, UNET, "datasets: {train: {crop_size: 40}}")
    started("cyclegan", pictures, tmp_path, "datasets: {train: {crop_size: 40}}").close()


def test_impossible_sizes_of_validation_are_errors_before_training_too(pictures, tmp_path):
    val = "datasets: {val: {mode: aligned, dataroot_A: a, dataroot_B: b, preprocess: resize, load_size: 48}}"
    with pytest.raises(OptionErrors, match="load_size: expected a multiple of 32, found 48: use 32 or 64"):
        started("pix2pix", pictures, tmp_path, val)


@pytest.mark.parametrize("value", [True, -1, 1.5, "x", [], [1], {}, {"a": 1}, [{"a": 1}], float("nan")], ids=repr)
@pytest.mark.parametrize("model", FILES)
def test_no_value_of_any_key_stops_the_translation(model, value):
    tables = {"": trainner.tables.TOP, "train": trainner.TRAIN, "path": trainner.tables.PATH}
    for section, table in tables.items():
        keys = {key: value for key in table if key not in ("model", "train")}
        tree = yaml.safe_load(FILES[model])
        for changed in (keys, *({key: value} for key in [*keys][::7])):
            other = copy.deepcopy(tree)
            (other[section] if section else other).update(changed)
            _, errors, notes = native_of(yaml.safe_dump(other, sort_keys=False))
            assert all(line.startswith("run.yml:") for line in [*errors, *notes])
    data = trainner.data.TRAIN
    for changed in (dict.fromkeys(data, value), *({key: value} for key in data)):
        tree = yaml.safe_load(FILES[model])
        tree["datasets"]["train"].update(changed)
        _, errors, notes = native_of(yaml.safe_dump(tree, sort_keys=False))
        assert all(line.startswith("run.yml:") for line in [*errors, *notes])
