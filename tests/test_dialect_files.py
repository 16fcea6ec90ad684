"""The shipped option files of super-resolution, and the reference of documented keys."""

import re
from pathlib import Path

import pytest
from test_dialect import rows

from darkroom.archs import ARCHS
from darkroom.build.plan import plan_training, read_options
from darkroom.build.testing import plan_testing
from darkroom.config.describe import component_schema
from darkroom.config.dialects import documented_page, documented_schema, trainner, trainner_data
from darkroom.config.source import plain, read
from darkroom.core.errors import OptionErrors
from darkroom.data import DATASETS

TEMPLATES = Path(__file__).resolve().parents[1] / "options" / "sr"
TRAINING = ("train_sr.yml", "train_sr.json", "train_sr_psnr.yml", "quickstart.yml")
TESTING = ("test_sr.yml", "test_sr.json")


def test_these_are_all_templates():
    assert {p.name for p in TEMPLATES.iterdir()} >= {*TRAINING, *TESTING}
    assert len([p for p in TEMPLATES.iterdir() if p.name in (*TRAINING, *TESTING)]) == 6


@pytest.mark.parametrize("name", TRAINING + TESTING)
def test_template_is_documented_and_valid(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("test_a/LR", "test_b/LR", "test_b/HR"):
        (tmp_path / "datasets" / folder).mkdir(parents=True)
    options = read_options(TEMPLATES / name)
    notes = options.notes
    (plan_training if name in TRAINING else plan_testing)(options)
    assert trainner.recognises(read(TEMPLATES / name))
    assert notes == []


@pytest.mark.parametrize(
    ("yml", "json"), [(f"{name}.yml", f"{name}.json") for name in ("train_sr", "test_sr", "train_sftgan")]
)
def test_yaml_and_json_templates_say_the_same(yml, json):
    assert plain(read_options(TEMPLATES / yml).file) == plain(read_options(TEMPLATES / json).file)


@pytest.mark.parametrize("name", [n for n in TRAINING + TESTING if n.endswith(".yml")])
def test_commented_options_of_a_template_are_known(name, tmp_path):
    """A line such as ``# key: value`` is an option that can be switched on."""
    lines = (TEMPLATES / name).read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# yaml-language-server: $schema=../../docs/options.schema.json"
    options = [i for i, line in enumerate(lines) if re.match(r" *# [a-zA-Z_]+: ", line)][1:]
    path = tmp_path / "try.yml"
    complaints = []
    for i in options:
        text = [*lines[:i], lines[i].replace("# ", "", 1), *lines[i + 1 :]]
        path.write_text("\n".join(text), encoding="utf-8")
        try:
            errors = read_options(path).errors  # such as a weight without its type, in the next line
        except OptionErrors as error:  # the option is there twice, as it is meant to replace another
            errors = error.errors
        complaints += [e for e in errors if "no option" in e or "not in this version" in e]
    assert complaints == []
    assert len(options) == {"train_sr.yml": 25, "train_sr_psnr.yml": 6, "test_sr.yml": 5, "quickstart.yml": 0}[name]


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
    schema = documented_schema(native, network, component_schema(DATASETS))["properties"]
    assert {"iterations", "niter", "pixel_criterion"} <= {*schema["train"]["properties"]}
    assert schema["train"]["properties"]["niter"]["anyOf"] == [{"type": "integer"}, {"type": "null"}]
    assert {"use_amp", "suffix", "seed", "datasets"} <= {*schema}
    assert "crop_size" in schema["datasets"]["properties"]["train"]["properties"]
    assert schema["train"]["properties"]["clear_state"]["deprecated"] is True
