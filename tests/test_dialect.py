"""Documented option files as native sections.

The tables in the folder ``dialect`` are those of keys in the specification, typed again: what becomes of each key.
"""

from pathlib import Path

import pytest
import yaml
from test_srflow_model import OPTIONS as SRFLOW

from darkroom.archs import ARCHS
from darkroom.build.plan import SUPPLIED
from darkroom.config.dialects import to_native, trainner, trainner_data, trainner_stages
from darkroom.config.source import parse, plain, strip_comments
from darkroom.config.typed import parameters
from darkroom.data import DATASETS
from darkroom.losses.pixel import CRITERIA

TEMPLATES = Path(__file__).resolve().parents[1] / "options" / "sr"

TRAIN_FILE = """
name: x4
model: sr
scale: 4
datasets:
  train: {mode: aligned, dataroot_HR: hr, crop_size: 128, batch_size: 8}
  val: {mode: aligned, dataroot_HR: val_hr}
path: {root: .}
network_G: esrgan
network_D: discriminator_vgg
train: {niter: 1000, pixel_criterion: l1, pixel_weight: 1, gan_type: vanilla, gan_weight: 1e-3}
logger: {print_freq: 100}
"""
TEST_FILE = """
name: x4
model: sr
scale: 4
datasets:
  test_1: {mode: LR, dataroot_LR: lr}
path: {pretrain_model_G: g.pth}
network_G: esrgan
"""


def rows(name):
    """The table of that name, less its heading."""
    lines = (Path(__file__).parent / "dialect" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [tuple(cell.strip() for cell in line.split("|")) for line in lines if not line.startswith("#")]


def flow(text):
    return parse("{" + text + "}", "row.yml")


def translate(text, file="run.yml"):
    errors, notes = [], []
    return to_native(parse(text, file), errors, notes), errors, notes


def changed(section, keys):
    """The base file with these keys in a section, as text."""
    tree = yaml.safe_load(TEST_FILE if section == "test" else TRAIN_FILE)
    target = tree
    for name in (section if section != "test" else "").split("."):
        if name == "network_G":
            tree[name] = {"which_model_G": "esrgan"}
        if name == "perceptual_opt":
            tree["train"] |= {"feature_criterion": "l1", "feature_weight": 1}
        if name == "cem_config":
            tree["use_cem"] = True
        target = target.setdefault(name, {}) if name else target
    target.update(plain(keys))
    return yaml.safe_dump(tree, sort_keys=False)


def dig(tree, path):
    for name in path.split("."):
        if isinstance(tree, list):
            (tree,) = [entry for entry in tree if entry["name"] == name]
        else:
            tree = tree[name]
    return plain(tree)


@pytest.mark.parametrize("row", rows("understood"), ids=lambda row: f"{row[0]}.{row[1][:60]}")
def test_key_becomes(row):
    section, keys, wanted = row
    native, errors, _ = translate(changed(section, flow(keys)))
    assert errors == []
    path, _, value = wanted.partition(" = ")
    assert dig(native, path) == plain(parse(value, "row.yml"))


@pytest.mark.parametrize("row", rows("switched"), ids=lambda row: row[1])
def test_parameter_of_a_feature_counts_if_the_feature_is_on(row):
    switch, keys, wanted = row
    text = changed("train", flow(keys))
    native, errors, notes = translate(f"{text}{switch}: true\n")
    path, _, value = wanted.partition(" = ")
    assert dig(native, path) == parse(value, "row.yml")
    assert errors == []
    assert len(notes) == (switch == "use_swa" and "start" not in keys) == sum("at 0.75 of the run" in n for n in notes)
    native, errors, notes = translate(f"{text}{switch}: false\n")
    assert path.split(".")[0] not in native
    assert not errors
    assert not notes
    native, errors, notes = translate(text)
    assert path.split(".")[0] not in native
    assert not errors
    (note,) = notes
    assert note.startswith("run.yml:")
    assert f"there is no {switch}" in note


def refused():
    return [(s, key, value, why) for s, keys, value, why in rows("refused") for key in keys.split()]


@pytest.mark.parametrize("row", refused(), ids=lambda row: f"{row[0]}.{row[1]}")
def test_refused_key_says_why_and_off_is_fine(row):
    section, key, value, why = row
    text = changed(section, {key: yaml.safe_load(value)})
    home = parse(text, "run.yml")
    for name in filter(None, section.split(".")):
        home = home[name]
    _, errors, _ = translate(text)
    (error,) = errors
    assert error.startswith(f"{home.where(key)}: {key}: ")
    assert why in error
    before = plain(translate(changed(section, {}))[0])
    for off in (None, False, 0, [], ""):
        native, errors, notes = translate(changed(section, {key: off}))
        assert (plain(native), errors, notes) == (before, [], [])


def companions():
    return [(s, switch, key) for s, switch, keys in rows("companions") for key in keys.split()]


@pytest.mark.parametrize("row", companions(), ids=lambda row: f"{row[0]}.{row[2]}")
def test_parameter_of_a_refused_feature(row):
    section, switch, key = row
    _, errors, notes = translate(changed(section, {switch: False, key: 1}))
    assert not errors
    assert not notes
    _, errors, notes = translate(changed(section, {key: 1}))
    assert not errors
    assert len(notes) == 1
    assert f"{key} has no effect, as there is no {switch}" in notes[0]
    _, errors, notes = translate(changed(section, {switch: 1, key: 1}))
    assert len(errors) == 1
    assert f": {switch}: " in errors[0]
    assert not notes


@pytest.mark.parametrize("row", rows("belongs"), ids=lambda row: f"{row[0]}.{row[2]}")
def test_parameter_of_a_feature_that_nothing_switches_on(row):
    section, switch, key, value = row
    before = plain(translate(changed(section, {}))[0])
    value = plain(flow(f"x: {value}")["x"])
    native, errors, (note,) = translate(changed(section, {key: value}))
    assert (plain(native), errors) == (before, [])
    assert note.startswith("run.yml:")
    assert f": {key} has no effect, as there is no {switch}" in note
    native, errors, notes = translate(changed(section, {switch: False, key: value}))
    assert (plain(native), errors, notes) == (before, [], [])


@pytest.mark.parametrize("key", trainner_stages.KEYS)
def test_degradation_that_is_off(key):
    before = plain(translate(changed("datasets.train", {}))[0])
    for off in (None, False, 0, [], ""):
        native, errors, notes = translate(changed("datasets.train", {key: off}))
        assert (plain(native), errors, notes) == (before, [], [])


def test_adatarget_is_switched_at_the_top():
    for key, value, start in (("atg_start_iter", 300, 300), ("atg_start_iter_rel", 0.5, 500)):
        text = changed("train", {key: value, "D_init_iters": 100})
        assert translate(f"{text}use_atg: false\n")[1:] == ([], [])
        assert "use_atg" in translate(text)[2][0]
        native, errors, notes = translate(f"{text}use_atg: true\n")
        assert (errors, notes) == ([], [])
        assert plain(native["phases"]) == [
            {"name": "warm-up of D", "start": 0, "players": ["D"]},
            {"name": "main", "start": 100},
            {"name": "fitted output", "start": start, "bind": {"fitted": "fitted_output"}},
        ]


def test_parameters_of_extras_need_their_switch():
    parameters = {
        "mixup": "mixopts mixprob mixalpha aux_mixprob aux_mixalpha mix_p",
        "diffaug": "dapolicy",
        "fs": "lpf_type hpf_type",
        "gan_featmaps": "dis_feature_criterion dis_feature_weight",
        "display_freq": "overwrite_disp_imgs",
    }
    for switch, keys in parameters.items():
        for key in keys.split():
            (note,) = translate(changed("train", {key: [1]}))[2]
            assert f"{key} has no effect, as there is no {switch}" in note
            assert translate(changed("train", {key: [1], switch: False}))[1:] == ([], [])


def test_consistency_says_what_it_does_not_need():
    _, errors, notes = translate(changed("cem_config", {"cem_lmb": 0.35, "cem_alg": "torch"}))
    assert errors == []
    assert len(notes) == 2
    assert all("has no effect: here the inverse is computed exactly" in note for note in notes)


def covered():
    """Section -> the keys that some row above tries."""
    found = {}
    for section, keys, _ in rows("understood"):
        section = "" if section == "test" else section
        for key, value in flow(keys).items():
            found.setdefault(section, set()).add(key)
            if key in ("network_G", "network_D", "perceptual_opt") and isinstance(value, dict):
                found.setdefault({"perceptual_opt": "train.perceptual_opt"}.get(key, "network_G"), set()).update(value)
    for _, keys, _ in rows("switched"):
        found["train"] |= set(flow(keys))
    for section, key, *_ in refused():
        found.setdefault(section, set()).add(key)
    for section, _, key in companions():
        found[section].add(key)
    for section, _, key, _ in rows("belongs"):
        found[section].add(key)
    found["train"] |= {"atg_start_iter", "atg_start_iter_rel"}
    found[""] |= {"datasets", "path", "logger", "train"}
    srflow = yaml.safe_load(SRFLOW.format(root="."))
    found |= {"network_G.flow": {*srflow["network_G"]["flow"]}, "val": {*srflow["val"]}}
    return found


def test_every_specified_key_is_known_and_tried():
    tried = covered()
    count = 0
    for section, keys in rows("specified"):
        for key in keys.split():
            assert key in trainner.KEYS[section], (section, key)
            assert key in tried[section], (section, key)
            count += 1
    assert count == 360


def test_every_key_of_the_dialect_is_tried():
    """No key is in the tables only: those that are native too are the builder's to test."""
    tried = covered()
    tried["datasets.val"] |= tried["datasets.train"]
    for section, table in trainner.KEYS.items():
        own = trainner.tables.OWN.get(section, trainner_data.OWN if section.startswith("datasets") else ())
        assert {*table} - {*own} <= tried[section], section


def test_native_keys_of_datasets_are_those_of_the_classes():
    for name in ("aligned", "segmented"):
        assert {*parameters(DATASETS[name])} - {*SUPPLIED} <= {*trainner_data.OWN}
    for name in ("single", "paired", "unaligned", "concat_unaligned"):
        assert {*parameters(DATASETS[name])} - {*SUPPLIED} <= {*trainner_data.OWN, *trainner_data.SHARED}
    assert {*trainner_data.SHARED} <= {*parameters(DATASETS["paired"])} - {*trainner_data.OWN}


def test_kernels_are_those_that_there_are():
    from darkroom.filters.resize import find_kernel
    from darkroom.filters.resize_taps import NAMES

    assert all(find_kernel(kernel) for kernel in trainner_data.KERNELS.values())
    assert {*trainner_data.KERNELS.values()} | {*trainner_data.PLAIN_KERNELS.values()} <= {*NAMES}
    assert {*NAMES} <= {*trainner_data.KERNELS, *trainner_data.PLAIN_KERNELS, "nearest_aligned"}
    assert len(trainner_data.KERNELS) + len(trainner_data.PLAIN_KERNELS) == 33


def test_discriminators_that_get_a_size_take_one():
    sized = [n for n in ARCHS if n.startswith("discriminator_vgg") and "size" in parameters(ARCHS[n])]
    assert {"discriminator_vgg", "discriminator_vgg_fea"} <= {*trainner.tables.SIZED} & {*sized}
    assert all("size" in parameters(ARCHS[n]) for n in trainner.tables.SIZED)


@pytest.mark.parametrize("name", sorted(CRITERIA))
def test_every_pixel_criterion_is_a_loss(name):
    from darkroom.core.terms import LOSSES

    native, errors, _ = translate(changed("train", {"pixel_criterion": name}))
    assert not errors
    assert dig(native, f"losses.pix-{name}.type") in LOSSES


# The parser examples of the specification's appendix A


def test_parser_examples():
    text = changed("train", {"niter": 5e5, "lr_scheme": "MultiStepLR", "lr_steps_rel": [0.1, 0.2, 0.4, 0.6]})
    native, errors, _ = translate(text)
    assert not errors
    assert native["schedule"]["milestones"] == [50000, 100000, 200000, 300000]
    text = changed("train", {"niter": 5e5, "swa_start_iter_rel": 0.75})
    assert translate(text + "use_swa: true\n")[0]["swa"] == {"start": 375000}
    text = changed("", {"batch_multiplier": 4})
    assert translate(text)[0]["train"]["accumulate"] == 4  # of a batch of 8: virtual_batch_size 32
    assert translate(changed("path", {"resume_state": "e/training_state/200.state"}))[0]["path"]["resume_state"]


def test_scientific_notation_and_comments_in_json():
    text = '{ // a comment\n  "name": "a//b" // another\n  , "url": "http://x" //\n\t, "lr": 1e-4\n  , "n": 5e3\n}'
    assert plain(parse(strip_comments(text), "f.json")) == {"name": "a//b", "url": "http://x", "lr": 1e-4, "n": 5000.0}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("x_debug_y", (8, 2, 8, False)), ("debug_nochkp", (8, 2, 10**7, False)), ("deb", (50, 100, 5, True))],
)
def test_debug_in_the_name_shortens_everything(name, wanted):
    text = changed("train", {"val_freq": 50})
    text = text.replace("name: x4", f"name: {name}").replace(
        "print_freq: 100", "print_freq: 100\n  save_checkpoint_freq: 5"
    )
    native, errors, notes = translate(text + "use_tb_logger: true\n")
    found = (native["validate"]["every"], native["logger"]["every"], native["checkpoint"]["every"])
    assert (*found, native["logger"]["tensorboard"]) == wanted
    assert not errors
    assert len(notes) == ("debug" in name)


def test_debug_run_at_the_places_of_the_name():
    native, _, _ = translate(changed("", {"name": "debug"}))
    assert native["validate"].where("every") == native["logger"].where("tensorboard") == "run.yml:1"


# Errors: all at once, each at its line, with a hint


def test_all_errors_at_once_with_hints():
    text = """\
name: x4
model: sr
scale: 4
metrics: psnr
use_cm: true
datasets:
  train:
    mode: aligned
    dataroot_HR: hr
    crop_sise: 128
    batch_size: 8
    virtual_batch_size: 20
    dataroot_ref: r
network_G: esrgan
network_D: discriminator_vgg
train:
  niter: many
  niterr: 5
  print_freq: 5
  pixel_weight: 1
  gan_type: vanila
  gan_weight: 1
  clear_state: true
  lr_steps: [5]
logger:
  print_freq: 1.5
"""
    _, errors, _ = translate(text)
    wanted = [
        (4, "metrics: belongs to section train"),
        (5, "there is no option 'use_cm' in the top of the file. Did you mean 'use_cem'?"),
        (10, "there is no option 'crop_sise' in section 'datasets.train'. Did you mean 'crop_size'?"),
        (12, "virtual_batch_size: 20 is not a multiple of batch_size, 8; write 16 or 24"),
        (13, "dataroot_ref: "),
        (17, "niter: expected a whole number, found 'many'"),
        (18, "there is no option 'niterr' in section 'train'. Did you mean 'niter'?"),
        (19, "there is no option 'print_freq' in section 'train'. It belongs to section 'logger'."),
        (20, "pixel_weight: says how much, but not what: pixel_criterion is missing"),
        (21, "gan_type: expected one of vanilla, lsgan, hinge, wgan, wgan-gp, wgangp, found 'vanila'. Did you mean"),
        (23, "clear_state: "),
        (24, "lr_steps: is part of a schedule, but lr_scheme is missing"),
        (26, "print_freq: expected a whole number"),
    ]
    assert len(errors) == len(wanted)
    for line, words in wanted:
        assert any(e.startswith(f"run.yml:{line}: {words}") for e in errors), (line, words, errors)


@pytest.mark.parametrize("row", rows("wrong"), ids=lambda row: f"{row[0]}.{row[1][:60]}")
def test_wrong_values(row):
    section, keys, words = row
    _, errors, _ = translate(changed(section, flow(keys)))
    assert any(words in e for e in errors), errors
    assert all(e.startswith("run.yml:") for e in errors)
    assert len(errors) == 1 or keys == "train: [1]", errors


def test_restoration_needs_inputs():
    _, errors, notes = translate(changed("", {"scale": 1}))
    assert len(errors) == 2
    assert all("at scale 1 the input would be the target itself" in e for e in errors)
    assert any("random crops are taken" in n for n in notes)


def test_metrics_have_no_border_at_scale_1():
    native, _, _ = translate(changed("train", {"metrics": "psnr"}).replace("scale: 4", "scale: 1"))
    assert native["validate"]["metrics"][0]["crop_border"] == 0


# Losses that are off, and the discriminator that then has nothing to do


@pytest.mark.parametrize("off", ["gan_weight: 0", "gan_weight: null", "gan_type: null"])
def test_without_adversarial_loss_there_is_no_discriminator_and_the_user_is_told(off):
    text = changed("train", {**flow(off), "lr_D": 1e-4, "optim_D": "adam"})
    native, errors, notes = translate(text.replace("root: .", "pretrain_model_D: d.pth"))
    assert not errors
    assert "network_D" not in native
    assert "optim_D" not in native
    assert [e["name"] for e in native["losses"]] == ["pix-l1"]
    assert native["path"] == {"pretrain": {}}
    (note,) = notes
    assert all(key in note for key in ("network_D", "lr_D", "optim_D", "pretrain_model_D"))


@pytest.mark.parametrize("off", ["pixel_weight: 0", "pixel_weight: null", "pixel_criterion: null"])
def test_loss_that_is_off(off):
    native, errors, notes = translate(changed("train", flow(off)))
    assert not errors
    assert not notes
    assert [e["name"] for e in native["losses"]] == ["gan"]


def test_losses_are_in_the_order_of_the_log_and_native_ones_follow():
    more = {"ssim_type": "ssim", "ssim_weight": 1, "feature_criterion": "l1", "feature_weight": 1}
    native, errors, _ = translate(changed("train", more) + "losses:\n- {name: own, type: l2, weight: 3}\n")
    assert not errors
    assert [e["name"] for e in native["losses"]] == ["pix-l1", "fea-vgg19-l1", "ssim", "gan", "own"]


@pytest.mark.parametrize("value", [True, -1, 1.5, "x", [], [1], {}, {"a": 1}, [{"a": 1}], float("nan")], ids=repr)
def test_no_value_of_any_key_stops_the_translation(value):
    for section, table in [*trainner.KEYS.items(), ("test", trainner.tables.TOP_OF_TEST)]:
        everything = {key: value for key in table if key != "model"}
        for keys in (everything, *({key: value} for key in [*table][:: 1 if value == {"a": 1} else 9])):
            _, errors, notes = translate(changed(section, keys))
            assert all(line.startswith("run.yml:") for line in [*errors, *notes])
