"""Presets of degradations: what counts before what, where they are found, and how their parameters are spelled."""

import pytest
import yaml
from test_dialect import flow, rows
from test_dialect_degrade import JPEG, errors_of, of, one, section

from darkroom.config.source import plain


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder of presets of one's own below ``options``, where the program looks."""
    folder = tmp_path / "options" / "mine"
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    def write(name, text):
        (folder / name).write_text(text, encoding="utf-8")
        return folder / name

    return write


def test_keys_of_the_file_count_before_those_of_presets(own):
    own("base_noise.yaml", "kind: Noise\nconfig: {pipeline: {lr_noise: true, lr_noise_types: webp}}\n")
    own("x_noise.yaml", "kind: Noise\nconfig: {pipeline: {lr_noise_types: [poisson], compression: jpeg}}\n")
    top = {"presets_root": "mine"}
    assert [c["type"] for c in of({"lr_blur": True, "lr_blur_types": "iso"}, **top)] == ["webp"]
    assert [c["type"] for c in of({"augs_strategy": "x"}, **top)] == ["poisson_noise"]
    assert [c["type"] for c in of({"augs_strategy": "x", "lr_noise_types": "maxrgb"}, **top)] == ["maxrgb"]
    found, _ = section({"augs_strategy": "x", "lr_noise": False}, **top)
    assert [stage["name"] for stage in found["stages"]] == ["compression"]
    found, _ = section({"augs_strategy": "resrgan", "blur_prob2": 0.5, "final_blur": False})
    assert [s.get("probability") for s in found["stages"] if s["name"].startswith("blur")] == [1, 0.5]
    assert [stage["name"] for stage in found["last"]] == ["final_compression", "final_scale"]


def test_parameters_of_the_file_count_before_those_of_presets(own):
    own("base_blur.yaml", "kind: Blur\nconfig: {iso: {sigma: [1, 2], noise: 0.1, kernel_size: [9, 9]}}\n")
    own("x_blur.yaml", "kind: Blur\nconfig: {pipeline: {lr_blur: true, lr_blur_types: iso}, iso: {sigma: [3, 4]}}\n")
    top = {"presets_root": "mine"}
    switched = {"lr_blur": True, "lr_blur_types": "iso"}
    assert of(switched, "blur", **top) == [one("iso", sigma=[1, 2], noise=0.1, kernel_size=[9, 9])]
    assert of({"augs_strategy": "x"}, "blur", **top) == [one("iso", sigma=[3, 4], noise=0.1, kernel_size=[9, 9])]
    keys = {"augs_strategy": "x", "aug_configs": {"lr_blur_types": {"iso": {"sigma": [5, 6]}}}}
    assert of(keys, "blur", **top) == [one("iso", sigma=[5, 6], noise=0.1, kernel_size=[9, 9])]
    assert of({**keys, "base_blur_preset": "x_blur"}, "blur", **top) == [one("iso", sigma=[5, 6])]


def test_names_of_parameters(own):
    """Of one place count: several names together, a name, the name for the second round, the key of the types."""
    own(
        "x_noise.yaml",
        """
kind: Noise
config:
  pipeline: {lr_noise: true, lr_noise_types: [poisson, jpeg], lr_noise2: true, lr_noise_types2: [poisson, jpeg]}
  lr_noise_types2: {jpeg: {quality: 7}}
  poisson2: {color: 0.3, scale: [1, 2]}
  poisson: {color: 0.2}
  webp|poisson: {p: 0.5, color: 0.1}
""",
    )
    first, second = (of({"augs_strategy": "x"}, name, presets_root="mine") for name in ("noise", "noise2"))
    rest = one("clean", 0.5)
    assert first == [one("poisson_noise", 0.5, scale=[0.5, 1], color=0.2), rest, JPEG]
    assert second == [one("poisson_noise", 0.5, scale=[1, 2], color=0.3), rest, one("jpeg", quality=[7, 7])]
    keys = {"augs_strategy": "x", "aug_configs": {"lr_noise_types2": {"poisson2|jpeg": {"p": 1}}}}
    assert [c["weight"] for c in of(keys, "noise2", presets_root="mine")] == [1.0, 1.0]
    keys["aug_configs"]["lr_noise_types2"]["color"] = 0.4  # for all of them, but jpeg has none
    assert of(keys, "noise2", presets_root="mine")[0]["color"] == 0.4
    (error,) = errors_of(keys, presets_root="mine")
    assert "degradation 'jpeg' has no option 'color'" in error


def test_synonyms_have_the_same_parameters():
    keys = {"lr_noise": True, "lr_noise_types": ["simplequantize", "quantize", "fs_dither_x"]}
    keys["aug_configs"] = {"lr_noise_types": {"simple_quantize": {"rgb_range": 30}, "dither": {"levels": 5}}}
    assert of(keys) == [
        one("simple_quantize", rgb_range=30), one("som_quantize", num_colors=32), one("dither", levels=5),
    ]  # fmt: skip


def test_presets_by_name_folder_and_path(own, tmp_path):
    text = "kind: noise\nversion: 1\nmetadata: {name: x}\nconfig: {pipeline: {compression: webp}}\n"
    path = own("Mine_noise.yml", text)
    own("deep_noise.json", '{"kind": "Noise", // mine\n "config": {"pipeline": {"compression": {"webp": 2}}}}')
    expected = [one("webp", quality=[20, 90])]
    assert of({"augs_strategy": "Mine"}, "compression", presets_root="mine") == expected
    assert of({"augs_strategy": "Mine"}, "compression", presets_root=str(path.parent)) == expected
    assert of({"add_noise_preset": "Mine_noise"}, "compression", presets_root="mine") == expected
    assert of({"add_noise_preset": "Mine_noise.yml"}, "compression", presets_root="mine") == expected
    assert of({"add_noise_preset": str(path)}, "compression") == expected
    assert of({"add_noise_preset": "options/mine/Mine_noise.yml"}, "compression") == expected
    assert of({"add_noise_preset": str(path.with_suffix(""))}, "compression") == expected
    assert of({"add_noise_preset": "deep_noise"}, "compression", presets_root="mine")[0]["weight"] == 2
    found, _ = section({"augs_strategy": "bsrgan", "add_noise_preset": str(path)}, presets_root="mine")
    assert [stage["name"] for stage in found["stages"]] == ["blur", "resize", "compression", "blur2"]


def test_range_of_a_resize_preset_of_ones_own(own):
    """Without a range it is 1/s to 2/s, as in bsrgan, and not that of the base preset."""
    text = "kind: Resize\nconfig: {pipeline: {resize_strat: in, lr_downscale_types: linear}, resize: {%s}}\n"
    for said, found in (("down_up_min: 0.5", None), ("resize_range_down: [0.5, 1]", [0.5, 1])):
        own("x_resize.yaml", text % said)
        assert of({"augs_strategy": "x"}, "resize", presets_root="mine")[0]["down_range"] == found


@pytest.mark.parametrize(("text", "line", "words"), rows("wrong_presets"))
def test_what_is_wrong_in_a_preset_has_its_place(own, text, line, words):
    path = own("x_blur.yaml", text.replace(";", "\n").replace(",jpeg", "|jpeg") + "\n")
    keys = {"augs_strategy": "x", "lr_blur": True, "lr_blur_types": "iso"}
    (error,) = errors_of(keys, presets_root="mine")
    assert error.startswith(f"options/mine/{path.name}:{line}: ")
    assert words in error


def test_presets_that_are_not_there(own):
    own("x_blur.yaml", "kind: Blur\n")
    top = {"presets_root": "mine"}
    (error,) = errors_of({"augs_strategy": "y"}, **top)
    assert error.startswith("run.yml:10: augs_strategy: there are no presets y_blur, y_resize or y_noise in options/m")
    assert error.endswith("There are: bsrgan, combo, realsr, resrgan, x")
    (error,) = errors_of({"augs_strategy": "bsrgam", "add_blur_preset": "x_blur"}, **top)
    assert "Did you mean 'bsrgan'?" in error
    (error,) = errors_of({"add_noise_preset": "x_nose"}, **top)
    assert "run.yml:10: add_noise_preset: there is no preset 'x_nose' in options/mine" in error
    assert error.endswith("Did you mean 'base_noise'?")
    (error,) = errors_of({"base_noise_preset": "/nowhere/noise.yaml"}, **top)
    assert "there is no preset '/nowhere/noise.yaml'" in error
    (error,) = errors_of({"augs_strategy": "bsrgan"}, presets_root="yours")
    assert "presets_root: there is no folder yours, nor options/yours" in error


def test_parameters_without_effect_are_noted():
    keys = {"compression": "jpeg", "aug_configs": {"compression": {"webp": {"p": 0.5}}, "lr_blur_types": {"iso": {}}}}
    _, notes = section(keys)
    assert [note.split(": ", 1)[1] for note in notes] == [
        "aug_configs: webp has no effect, as it is none of compression",
        "aug_configs: lr_blur_types has no effect, as there is no such stage",
    ]
    _, notes = section({"lr_noise": True, "lr_noise_types": "jpeg", "noise_data": "a", "down_up_types": "box"})
    assert [note.split(": ", 1)[1] for note in notes] == [
        "down_up_types has no effect, as there is no down_up in lr_downscale_types",
        "noise_data has no effect, as there is no patches in lr_noise_types",
    ]
    _, notes = section({"compression": "jpeg", "final_scale": True, "final_scale_types": "area"})
    assert [note.split(": ", 1)[1] for note in notes] == [
        f"{key} has no effect, as there is no resize_strat: in" for key in ("final_scale", "final_scale_types")
    ]


# How users of this family spell parameters


FAMILIES = {"lr_blur_types": "blur", "lr_downscale_types": "resize"}


@pytest.mark.parametrize("row", rows("spellings"), ids=lambda row: f"{row[1]} {row[2]}")
def test_spellings(row, own):
    """For a name, or for all of a key at once; in the file, or in a preset."""
    types, name, said, native = (plain(flow(f"x: {cell}")["x"]) for cell in row)
    switch = types.replace("_types", "")
    keys = {"resize_strat": "in", types: "area" if name == "resize" else name, switch: True}
    family = FAMILIES.get(types, "noise")
    own(f"x_{family}.yaml", yaml.safe_dump({"kind": family, "config": {name: said}}))
    ways = [{"aug_configs": {types: {name: said}}}, {"augs_strategy": "x"}]
    ways += [] if "resize_prob" in said else [{"aug_configs": {types: said}}]
    for way in ways:
        found, _ = section({**keys, **way}, presets_root="mine")
        (choice,) = [c for stage in found["stages"] for c in stage["of"]]
        assert {k: v for k, v in choice.items() if k not in ("type", "weight")} == native
        assert errors_of({**keys, **way}, presets_root="mine") == []


def test_down_up_of_a_resize():
    """``down_up_min`` stands with ``resize``, too."""
    keys = {"resize_strat": "in", "lr_downscale_types": ["area", "down_up"]}
    keys["aug_configs"] = {"lr_downscale_types": {"resize": {"down_up_min": 0.7}}}
    resize, down_up = of(keys, "resize")
    assert down_up == one("down_up", least=0.7)
    assert "down_up_min" not in resize


@pytest.mark.parametrize(
    ("name", "said", "words"),
    [
        ("gaussian", {"mean": 3}, "mean: expected 0, as it is always here; found 3"),
        ("gaussian", {"mean": False}, "mean: expected 0, as it is always here; found False"),
        ("gaussian", {"var_limitt": [1, 2]}, "has no option 'var_limitt'."),
        ("gaussian", {"colour": 1}, "has no option 'colour'. Did you mean 'color'?"),
        ("jpeg", {"min_quality": 60, "max_quality": 40}, "quality: expected a range in 1 to 100"),
        ("jpeg", {"max_quality": "best"}, "max_quality: expected a list such as [0, 1], found 'best'"),
        ("camera", {"rg_range": [1, 2], "bg_range": [1, 3]}, "red and blue gains share one range"),
        ("speckle", {"prob_color": 0.5}, "prob_color: expected 1, as it is always here; found 0.5"),
        ("superpixels", {"interpolation": "nearest"}, 'interpolation: expected "bilinear", as it is always here'),
        ("jpeg", {"sigmaX": 2}, "has no option 'sigmaX'. It takes: quality"),
    ],
)
def test_spellings_that_are_none(name, said, words):
    keys = {"lr_noise": True, "lr_noise_types": name, "aug_configs": {"lr_noise_types": {name: said}}}
    errors = errors_of(keys)
    assert len(errors) == {"rg_range": 2}.get(next(iter(said)), 1)
    assert all(words in error and error.startswith("run.yml:") for error in errors)
