"""Option files: what is read, what is refused, and how that is said."""

import json
from pathlib import Path

import pytest
import yaml
from runs import GAN, ROOT, native, python, write

from darkroom.build.plan import plan_training, read_options
from darkroom.build.training import dump
from darkroom.config.source import changes, override, parse, plain, read, strip_comments
from darkroom.config.typed import convert
from darkroom.core.errors import OptionErrors


def errors_of(path, *settings) -> list[str]:
    with pytest.raises(OptionErrors) as error:
        plan_training(read_options(path, settings))
    return error.value.errors


def test_all_errors_at_once_with_file_and_line(tmp_path):
    text = (
        "name: t\nmodel: sr\nscale: 2\n"
        f"datasets:\n  train: {{type: aligned, target: [{tmp_path.as_posix()}], crop: 32, batch_sise: 4}}\n"
        "network_G: {type: compact, nff: 8}\n"
        "network_D: {type: patchgun}\n"
        "losses:\n  - {type: l1, weight: '0.01'}\n  - {type: gan, form: relativ}\n"
        "optim_G: {type: adam, lr: 1e-3}\noptim_D: {type: adam, lr: fast}\n"
        "train: {iteratons: 10}\nlogger: {every: 2.5}\nsceduler: {type: constant}\n"
    )
    path = tmp_path / "bad.yml"
    path.write_text(text, encoding="utf-8")
    found = errors_of(path)
    expected = [
        (15, "there is no section 'sceduler'. Did you mean 'schedule'?"),
        (13, "section 'train' has no option 'iteratons'. Did you mean 'iterations'?"),
        (13, "section 'train' needs 'iterations'"),
        (14, "every: expected a whole number, found 2.5"),
        (5, "has no option 'batch_sise'. Did you mean 'batch_size'?"),
        (6, "architecture 'compact' has no option 'nff'. Did you mean 'nf'?"),
        (7, "no architecture is called 'patchgun'. Did you mean 'patchgan'?"),
        (9, "weight: expected a number, found '0.01'"),
        (10, "form: expected 'standard' or 'relativistic', found 'relativ'"),
        (12, "lr: expected a number, found 'fast'"),
    ]
    for line, message in expected:
        assert any(e.startswith(f"{path}:{line}:") and message in e for e in found), (line, message, found)
    assert len(found) == len(expected), found


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"losses": [{"type": "l1"}, {"type": "l1"}]}, "two losses are called 'l1'"),
        ({"losses": [{"type": "l1", "of": "outptu"}]}, "there is no tensor 'outptu'. Did you mean 'output'?"),
        ({"losses": [{"type": "gan"}]}, "needs a section 'network_D' for its critic"),
        ({"losses": [{"type": "l1", "player": "E"}]}, "there is no player 'E'"),
        ({"losses": []}, "player 'G' has no loss to learn from"),
        ({"losses": "l1"}, "expected a list of entries"),
        ({"phases": [{"start": 3}]}, "phases must start at 0"),
        ({"phases": [{"losses": ["pixx"]}]}, "there is no loss 'pixx'"),
        ({"phases": [{"players": ["G", "E"]}]}, "there is no player 'E'"),
        ({"network_E": {"type": "compact"}}, "model 'sr' has no network 'E'"),
        ({"model": "srr"}, "no model is called 'srr'. Did you mean 'sr'?"),
        ({"train": {"iterations": 0}}, "iterations: expected at least 1, found 0"),
        ({"name": "a/b"}, "expected a name that a folder can have"),
        ({**GAN, "optim_D": None}, "needs 'type'"),
        ({"datasets": {}}, "needs 'train'"),
    ],
)
def test_what_no_section_can_know_alone(tmp_path, changed, message):
    found = errors_of(write(tmp_path / "o.yml", native(tmp_path, **changed)))
    assert any(message in e for e in found), found


def test_unused_discriminator_is_refused(tmp_path):
    options = native(tmp_path, network_D=GAN["network_D"], optim_D=GAN["optim_D"])
    assert any("player 'D' has no loss" in e for e in errors_of(write(tmp_path / "o.yml", options)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [1\n", ":3: "),
        ("a: 1\na: 2\n", ":2: 'a' is given twice"),
        ("- a\n", ":1: expected options such as"),
        ("", ":1: expected options such as"),
        ("a: 'x\n", ":2: "),
    ],
)
def test_broken_files(tmp_path, text, message):
    path = tmp_path / "o.yml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(OptionErrors) as error:
        read(path)
    assert message in str(error.value)


def test_absent_file_names_those_that_there_are(tmp_path):
    (tmp_path / "real.yml").write_text("a: 1")
    with pytest.raises(OptionErrors, match=r"no such option file. In that folder there are: real.yml"):
        read(tmp_path / "reel.yml")


def test_binary_file_is_refused(tmp_path):
    (tmp_path / "o.yml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(OptionErrors, match="cannot be read"):
        read(tmp_path / "o.yml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("5e5", 5e5),
        ("1.5E+3", 1500.0),
        ("-2e-1", -0.2),
        ("1.e2", 100.0),
        (".5e1", 5.0),
        ("12", 12),
        ("1e", "1e"),
    ],
)
def test_numbers(text, value):
    got = parse(f"a: {text}", "f")["a"]
    assert got == value
    assert type(got) is type(value)


def test_json_with_comments_is_the_yaml(tmp_path):
    text = (
        '{ // a comment\n  "url": "http://x//y" // after\n\t, "rate": 1e-4\n  , "list": [1, 2], "text": "a\\"//b"\n}\n'
    )
    (tmp_path / "o.json").write_text(text, encoding="utf-8")
    got = read(tmp_path / "o.json")
    assert plain(got) == {"url": "http://x//y", "rate": 1e-4, "list": [1, 2], "text": 'a"//b'}
    assert got.where("list").endswith("o.json:4")
    assert strip_comments(text).count("\n") == text.count("\n")


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (5e5, int, 500000), (1, float, 1.0), ([1, 2], tuple[int, ...], (1, 2)), (None, int | None, None),
        ("p", Path, Path("p")), ({"a": 1}, dict[str, float], {"a": 1.0}), (True, bool, True),
    ],
)  # fmt: skip
def test_convert(value, annotation, expected):
    got = convert(value, annotation)
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [("1", int), (True, int), (1, bool), (0.5, int), ("1e-4", float), (1, str), ([1], tuple[int, int]), (None, int)],
)
def test_nothing_is_guessed(value, annotation):
    with pytest.raises(ValueError, match="expected"):
        convert(value, annotation)


def test_settings_from_the_command_line(tmp_path):
    file = parse("train: {iterations: 5}\nlosses: [{type: l1}]\n", "f")
    override(file, ["train.iterations=7", "losses.0.weight=1e-2", "ema.decay=0.9", "name=x", "list=[1, a]"])
    assert plain(file) == {
        "train": {"iterations": 7}, "losses": [{"type": "l1", "weight": 0.01}], "ema": {"decay": 0.9},
        "name": "x", "list": [1, "a"],
    }  # fmt: skip
    for wrong in ("train", "=3", "losses.5.weight=1", "name.first=1"):
        with pytest.raises(OptionErrors, match="--set"):
            override(parse("name: x\nlosses: [{}]", "f"), [wrong])


def test_wrong_setting_is_named(tmp_path):
    path = write(tmp_path / "o.yml", native(tmp_path))
    assert errors_of(path, "train.iterations=many") == [
        "--set train.iterations=many: iterations: expected a whole number, found 'many'"
    ]


def test_changes_between_options():
    old = {"a": 1, "b": {"c": [1, {"d": 2}]}, "gone": 3}
    new = {"a": 1, "b": {"c": [1, {"d": 4}]}, "new": [1]}
    assert changes(old, new) == ["b.c.1.d: 2 -> 4", "gone: 3 -> None", "new: None -> [1]"]


def test_dry_run_prints_a_file_that_means_the_same(tmp_path):
    path = write(tmp_path / "o.yml", native(tmp_path, **GAN, ema={"decay": 0.9}, phases=[{"start": 0}]))
    plan = plan_training(read_options(path))
    again = tmp_path / "native.yml"
    again.write_text(dump(plan.native()), encoding="utf-8")
    assert plan_training(read_options(again)).native() == plan.native()


def test_dry_run_and_errors_from_the_command_line(tmp_path):
    path = write(tmp_path / "o.yml", native(tmp_path))
    command = ["train.py", "-opt", path, "--dry-run"]
    done = python(*command)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["network_G"]["nf"] == 8
    assert not (tmp_path / "experiments").exists()
    done = python(*command, "--set", "scal=3")
    assert done.returncode == 2
    assert "there is no section 'scal'. Did you mean 'scale'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_reference_and_schema_are_fresh():
    from darkroom.build.reference import documented_page, options_page, schema_text

    pages = {"options.md": options_page(), "options-documented.md": documented_page()}
    for name, text in {**pages, "options.schema.json": schema_text()}.items():
        path = ROOT / "docs" / name
        assert path.read_text(encoding="utf-8") == text, f"{name} is stale: run python -m darkroom options --schema"


def test_templates_point_at_the_schema_and_fit_it():
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema checks the templates as an editor does")
    schema = json.loads((ROOT / "docs" / "options.schema.json").read_text(encoding="utf-8"))
    templates = sorted(p for p in (ROOT / "options").rglob("*.yml") if p.name != "config.yml")  # of EdgeConnect
    assert len(templates) >= 21
    kind = jsonschema.validators.validator_for(schema)
    kind.check_schema(schema)  # once, as it takes longer than all templates
    validator = kind(schema)
    for path in templates:
        text = path.read_text(encoding="utf-8")
        line = text.splitlines()[0]
        assert line.startswith("# yaml-language-server: $schema="), path
        target = (path.parent / line.partition("$schema=")[2]).resolve()
        assert target == ROOT / "docs" / "options.schema.json"
        validator.validate(plain(parse(text, str(path))))
