"""Documented option files as native sections: places, purity, and both languages in one file."""

import copy
from pathlib import Path

import pytest
import yaml
from test_dialect import TRAIN_FILE, changed, flow, translate

from darkroom.build.plan import Options, plan_training, read_options
from darkroom.config.dialects import to_native
from darkroom.config.source import Section, parse, plain
from darkroom.core.errors import OptionErrors


def test_places_are_those_of_the_keys():
    text = """\
name: x4
model: sr
scale: 4
datasets:
  train:
    mode: aligned
    dataroot_HR: hr
    crop_size: 128
network_G: esrgan
network_D:
  which_model_D: discriminator_vgg
  nf: 32
train:
  niter: 1000
  lpips_type: net
  lpips_weight: 1
  lpips_net: x
  gan_weight: 1e-3
  gan_type: vanilla
  lr_steps_rel: [0.5]
  lr_scheme: MultiStepLR
  lr_D: 2e-4
  metrics: psnr
"""
    native, errors, _ = translate(text)
    assert not errors
    lpips, gan = native["losses"]
    found = {
        "dataroot_HR": native["datasets"]["train"].where("target"),
        "mode": native["datasets"]["train"].where("type"),
        "crop_size": {native["datasets"]["train"].where("crop"), native["network_D"].where("size")},
        "which_model_D": native["network_D"].where("type"),
        "nf": native["network_D"].where("nf"),
        "network_G": native["network_G"].where("type"),
        "niter": native["train"].where("iterations"),
        "lpips_type": {lpips.where(), lpips.where("linear"), lpips.where("type")},
        "lpips_weight": lpips.where("weight"),
        "lpips_net": lpips.where("net"),
        "gan_type": {gan.where(), gan.where("mode")},
        "gan_weight": gan.where("weight"),
        "lr_steps_rel": native["schedule"].where("milestones"),
        "lr_scheme": native["schedule"].where("type"),
        "lr_D": native["optim_D"].where("lr"),
        "metrics": native["validate"]["metrics"][0].where("crop_border"),
    }
    lines = {t.strip().split(":")[0]: f"run.yml:{i}" for i, t in enumerate(text.splitlines(), 1)}
    assert {k: v if isinstance(v, str) else {*v} for k, v in found.items()} == {
        k: lines[k] if isinstance(v, str) else {lines[k]} for k, v in found.items()
    }


def test_builder_names_the_line_of_a_documented_key():
    text = changed("train", {"optim_G": "adamm", "lpips_type": "net", "lpips_weight": 1})
    lines = text.splitlines()
    native, errors, _ = translate(text)
    assert not errors
    with pytest.raises(OptionErrors) as raised:
        plan_training(Options(native, [], []))
    line = next(i for i, t in enumerate(lines, 1) if "adamm" in t)
    assert f"run.yml:{line}: optim_G: no optimizer is called 'adamm'. Did you mean 'adam'?" in str(raised.value)


def test_the_file_is_not_changed():
    file = parse(TRAIN_FILE + "losses: [{name: own, type: l1, weight: 1}]\nvalidate: {table: true}\n", "run.yml")
    before = copy.deepcopy(plain(file))
    native = to_native(file, [], [])
    native["losses"][-1]["name"] = "other"
    native["validate"]["every"] = 1
    assert plain(file) == before
    assert isinstance(file["losses"][0], Section)


def test_native_file_is_returned_as_it_is():
    text = """
name: t
model: sr
scale: 2
datasets: {train: {type: aligned, target: [hr], crop: 32, batch_size: 2}}
network_G: {type: compact, nf: 8}
losses: [{type: l1}]
optim_G: {type: adam}
train: {iterations: 6, amp: auto}
logger: {every: 5}
path: {root: .}
"""
    file = parse(text, "run.yml")
    assert to_native(file, [], []) is file


def test_native_sections_in_a_documented_file():
    text = (
        changed("train", {"amp": "bf16"})
        .replace("print_freq: 100", "every: 50")
        .replace("root: .", "pretrain: {G: g.pth}")
    )
    text += "optim_G: {type: lion, lr: 1e-5}\nphases: [{name: a}, {name: b, start: 0.5}]\n"
    text += "checkpoint: {keep: 2}\nswa: {start: 0.5}\n"
    native, errors, notes = translate(text)
    assert not errors
    assert not notes
    assert native["train"] == {"iterations": 1000, "amp": "bf16"}
    assert native["logger"]["every"] == 50
    assert native["optim_G"] == {"type": "lion", "lr": 1e-5}
    assert len(native["phases"]) == 2
    assert native["path"]["pretrain"] == {"G": "g.pth"}
    assert native["checkpoint"] == {"keep": 2}


def test_native_adversarial_loss_in_a_documented_file():
    text = changed("train", {"gan_weight": 0, "gan_type": None, "lr_D": 3e-4})
    native, errors, notes = translate(text + "losses: [{name: gan, type: gan, weight: 1}]\n")
    assert not errors
    assert not notes
    assert native["optim_D"] == {"type": "adam", "lr": 3e-4}
    assert native["network_D"] == {"type": "discriminator_vgg", "size": 128}


def test_native_dataset_in_a_documented_file():
    tree = yaml.safe_load(TRAIN_FILE)
    tree["datasets"]["train"] = {"type": "of_my_own", "files": 3, "batch_size": 2}
    native, errors, _ = translate(yaml.safe_dump(tree))
    assert not errors
    assert native["datasets"]["train"] == tree["datasets"]["train"]


@pytest.mark.parametrize(
    ("own", "keys", "words"),
    [
        ("validate: {every: 9}", "val_freq: 5", "val_freq: says 5, but validate.every"),
        ("optim_G: {type: adam}", "lr_G: 1e-4", "lr_G: there is a section optim_G"),
        ("phases: [{name: a}]", "D_init_iters: 5", "D_init_iters: says"),
        ("seed: 5", "manual_seed: 6", "manual_seed: says 6, but seed"),
    ],
)
def test_contradictions_between_the_languages(own, keys, words):
    _, errors, _ = translate(changed("train", flow(keys)) + own + "\n")
    assert len(errors) == 1
    assert words in errors[0]


def test_strict_counts_for_networks_that_load_weights():
    tree = yaml.safe_load(TRAIN_FILE)
    tree["network_G"] = {"which_model_G": "esrgan", "strict": False}
    tree["network_D"] = {"which_model_D": "discriminator_vgg", "strict": True}
    assert "strict" not in translate(yaml.safe_dump(tree))[0]["path"]
    tree["path"]["pretrain_model_G"] = "g.pth"
    assert translate(yaml.safe_dump(tree))[0]["path"]["strict"] is False
    tree["path"]["pretrain_model_D"] = "d.pth"
    assert "network_D.strict: says True, but network_G.strict" in translate(yaml.safe_dump(tree))[1][0]


def test_home_folder_is_found(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("USERPROFILE", "/home/me")
    tree = yaml.safe_load(TRAIN_FILE)
    tree["path"] = {"root": "~/runs", "pretrain_model_G": "~/g.pth"}
    tree["datasets"]["train"]["dataroot_HR"] = ["~/hr", "a~b"]
    native = translate(yaml.safe_dump(tree))[0]
    home = str(Path("~").expanduser())
    assert native["path"]["root"].startswith(home)
    assert native["path"]["pretrain"]["G"].startswith(home)
    assert native["datasets"]["train"]["target"][0].startswith(home)
    assert native["datasets"]["train"]["target"][1] == "a~b"


def test_settings_of_the_command_line_are_named(tmp_path):
    path = tmp_path / "run.yml"
    path.write_text(TRAIN_FILE, encoding="utf-8")
    (error,) = read_options(path, ["train.nitr=5"]).errors
    assert "--set train.nitr=5: there is no option 'nitr'" in error
    assert read_options(path, ["train.niter=5"]).file["train"]["iterations"] == 5
