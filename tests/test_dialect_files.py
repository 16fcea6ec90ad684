"""The shipped option files of super-resolution, and the reference of documented keys."""

import json
import re
from pathlib import Path

import pytest
from test_dialect import rows

from darkroom.archs import ARCHS
from darkroom.build.plan import SUPPLIED, plan_training, read_options
from darkroom.build.testing import plan_testing
from darkroom.build.training import dump
from darkroom.config.describe import component_schema
from darkroom.config.dialects import documented_page, documented_schema, trainner, trainner_data
from darkroom.config.source import plain, read
from darkroom.core.errors import OptionErrors
from darkroom.data import DATASETS

OPTIONS = Path(__file__).resolve().parents[1] / "options"
TEMPLATES = OPTIONS / "sr"
ALL = sorted(p for folder in ("i2i", "sr", "srflow") for p in (OPTIONS / folder).iterdir())
NATIVE = sorted((OPTIONS / "inpaint").glob("train_*.yml"))
"""Those of inpainting are written in the native language."""


def name_of(path):
    return path.relative_to(OPTIONS).as_posix()


def is_test(path):
    return path.name.startswith("test_")


def test_these_are_all_templates():
    there = {p for p in OPTIONS.rglob("*") if p.suffix in (".yml", ".json")}
    assert there == {*ALL, *NATIVE, OPTIONS / "inpaint" / "config.yml"}, "the last is of yet another language"
    assert [name_of(p) for p in ALL] == [
        *(f"i2i/{kind}_{name}.yml" for kind in ("test", "train") for name in ("cyclegan", "pix2pix", "wbc")),
        *("sr/quickstart.yml", "sr/test_ppon.yml", "sr/test_sftgan.yml", "sr/test_sr.json", "sr/test_sr.yml"),
        *("sr/train_ppon.yml", "sr/train_ppon_finetune.yml", "sr/train_sftgan.json", "sr/train_sftgan.yml"),
        *("sr/train_sr.json", "sr/train_sr.yml", "sr/train_sr_psnr.yml"),
        *("srflow/test_srflow.yml", "srflow/train_srflow.yml"),
    ]


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_template_is_documented_and_valid(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in re.findall(r"[\"\s,](datasets/[\w/]+)", path.read_text(encoding="utf-8")):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    options = read_options(path)
    notes = options.notes
    (plan_testing if is_test(path) else plan_training)(options)
    assert trainner.recognises(read(path))
    assert notes == []


@pytest.mark.parametrize("path", [*NATIVE, *(p for p in ALL if not is_test(p))], ids=name_of)
def test_native_form_of_a_template_is_native_and_says_the_same(path, tmp_path):
    """As ``native.yml`` in the folder of an experiment, from which the run can be repeated."""
    plan = plan_training(read_options(path))
    again = tmp_path / "native.yml"
    again.write_text(dump(plan.native()), encoding="utf-8")
    assert not trainner.recognises(read(again))
    assert json.dumps(plan_training(read_options(again)).native()) == json.dumps(plan.native())


@pytest.mark.parametrize(
    ("yml", "json"), [(f"{name}.yml", f"{name}.json") for name in ("train_sr", "test_sr", "train_sftgan")]
)
def test_yaml_and_json_templates_say_the_same(yml, json):
    assert plain(read_options(TEMPLATES / yml).file) == plain(read_options(TEMPLATES / json).file)


COMMENTED = {
    "i2i/test_cyclegan.yml": 2, "i2i/test_pix2pix.yml": 2, "i2i/test_wbc.yml": 2, "i2i/train_cyclegan.yml": 10,
    "i2i/train_pix2pix.yml": 8, "i2i/train_wbc.yml": 7,
    "sr/quickstart.yml": 0, "sr/test_sr.yml": 6, "sr/train_sr.yml": 29, "sr/train_sr_psnr.yml": 7,
}  # fmt: skip


@pytest.mark.parametrize("name", COMMENTED)
def test_commented_options_of_a_template_are_known(name, tmp_path):
    """A line such as ``# key: value`` is an option that can be switched on."""
    lines = (OPTIONS / name).read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# yaml-language-server: $schema=../../docs/options.schema.json"
    begin = next(i for i, line in enumerate(lines) if line.startswith("name:"))
    options = [i for i, line in enumerate(lines) if i > begin and re.match(r" *# [a-zA-Z_]+: ", line)]
    path = tmp_path / "try.yml"
    complaints = []
    for i in options:
        text = [*lines[:i], lines[i].replace("# ", "", 1), *lines[i + 1 :]]
        path.write_text("\n".join(text), encoding="utf-8")
        try:
            errors = read_options(path).errors  # such as a weight without its type, in the next line
        except OptionErrors as error:  # the option is there twice, as it is meant to replace another
            errors = error.errors
        complaints += [e for e in errors if re.search("no option|not in this version|belongs to", e)]
    assert complaints == []
    assert len(options) == COMMENTED[name]


def test_esrgan_template_is_the_recipe():
    native = plain(read_options(TEMPLATES / "train_sr.yml").file)
    assert native["losses"] == [
        {"name": "pix-l1", "type": "l1", "weight": 0.01},
        {"name": "fea-vgg19-l1", "type": "perceptual", "criterion": "l1", "weight": 1.0, "network": "vgg19"},
        {"name": "gan", "type": "gan", "mode": "vanilla", "form": "relativistic", "weight": 0.005},
    ]
    assert native["optim_G"] == {"type": "adam", "lr": 1e-4, "clip": 0.1, "clip_by": "norm"}
    assert native["schedule"] == {"type": "multistep", "milestones": [50000, 100000, 200000, 300000], "gamma": 0.5}
    assert native["train"] == {"iterations": 500000, "amp": "auto", "accumulate": 1}
    assert native["datasets"]["train"]["crop"] == 128
    assert native["datasets"]["train"]["batch_size"] == 8


# The reference


def test_documented_page_has_every_key_once():
    page = documented_page()
    for section, keys in rows("specified"):
        part = page.split(f"## Section `{section}`\n" if section else "## The top of the file\n")[1].split("\n## ")[0]
        for key in keys.split():
            own = key in trainner.tables.OWN.get(section, ()) or (
                section == "datasets.train" and key in trainner_data.OWN
            )
            assert part.count(f"| `{key}` |") == (0 if own else 1), (section, key)


def test_documented_schema_knows_both_languages():
    native = {"train": {"type": "object", "properties": {"iterations": {"type": "integer"}}}, "seed": {}}
    network = component_schema(ARCHS)
    schema = documented_schema(native, network, component_schema(DATASETS, given=SUPPLIED))["properties"]
    assert {"iterations", "niter", "pixel_criterion"} <= {*schema["train"]["properties"]}
    assert schema["train"]["properties"]["niter"]["anyOf"] == [{"type": "integer"}, {"type": "null"}]
    assert {"use_amp", "suffix", "seed", "datasets"} <= {*schema}
    assert "crop_size" in schema["datasets"]["properties"]["train"]["properties"]
    assert schema["train"]["properties"]["clear_state"]["deprecated"] is True
