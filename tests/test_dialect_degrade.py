"""The documented degradations and their presets: what they come to natively, and how often.

The numbers of the presets are those of the specification's table 2.2, typed again.
"""

import collections
import itertools
import math

import numpy as np
import pytest
import yaml
from PIL import Image
from test_dialect import TRAIN_FILE, changed, translate

from darkroom.build.degrading import plan_degrading
from darkroom.config.planner import Planner
from darkroom.config.source import plain
from darkroom.core.errors import OptionErrors
from darkroom.data.degrade import DEGRADATIONS
from darkroom.data.degrade.operation import Size
from darkroom.data.degrade.pipeline import degrade
from darkroom.data.degrade.resizes import Resize

SIZE, GOAL = Size(160, 160), Size(40, 40)


def filled(root):
    """Kernels of two cameras and two patches of noise, as keys of a training set."""
    rng = np.random.default_rng(0)
    (root / "noise").mkdir()
    for n in range(2):
        (root / f"kernels/camera{n}").mkdir(parents=True)
        np.save(root / f"kernels/camera{n}/kernel_x4.npy", rng.random((13, 13)))
        Image.fromarray(rng.integers(100, 150, (64, 64, 3), np.uint8)).save(root / f"noise/{n}.png")
    return {"dataroot_kernels": str(root / "kernels"), "noise_data": str(root / "noise") + "/"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("degrade"))


def section(keys, **top):
    """The section ``degrade`` of a training set with these keys, and the notes."""
    text = changed("datasets.train", keys) + (yaml.safe_dump(top) if top else "")
    native, errors, notes = translate(text)
    assert errors == []
    return plain(native.get("degrade")), notes


def made(keys, **top):
    """What the dataset is given."""
    native, errors, _ = translate(changed("datasets.train", keys) + (yaml.safe_dump(top) if top else ""))
    p = Planner(native)
    plan = plan_degrading(p)
    if errors or p.errors:
        raise OptionErrors(errors or p.errors)
    return plan.arguments() if plan else None


def errors_of(keys, **top):
    """All that is wrong with these keys."""
    try:
        made(keys, **top)
    except OptionErrors as error:
        return error.errors
    return []


def drawn(keys, count=2000, size=SIZE, goal=GOAL):
    """What is done to so many samples, as lists of operations."""
    pipeline, rng = made(keys)["degrade"], np.random.default_rng(7)
    return [[*pipeline.draw(rng, size, goal), *pipeline.draw_after(rng, goal)] for _ in range(count)]


def of(keys, name="noise", part="stages", **top):
    """The choices of one stage."""
    found, _ = section(keys, **top)
    (stage,) = [stage for stage in found[part] if stage["name"] == name]
    return stage["of"]


def about(share, expected, count=2000):
    """Whether a share of so many draws is what is expected of it, within 4.5 standard deviations."""
    return abs(share - expected) <= 4.5 * math.sqrt(max(expected * (1 - expected), 1e-9) / count)


# The presets


def one(kind, weight=1.0, **parameters):
    return {"type": kind, "weight": weight, **parameters}


JPEG = one("jpeg", quality=[30, 95])
SINC = one("sinc", 0.1, kernel_size=[7, 21])
FINAL_SINC = one("sinc", kernel_size=[7, 21], cutoff=[1.0472, 3.1415])
KERNELS = ["area", "linear", "cubic"]
UP_AND_DOWN = {"up": 0.2, "down": 0.7, "keep": 0.1, "up_range": [1, 1.5], "down_range": [0.15, 1]}
UP_AND_DOWN2 = {"up": 0.3, "down": 0.4, "keep": 0.3, "up_range": [1, 1.2], "down_range": [0.3, 1], "of": "goal"}
FINAL_COMPRESSION = {"name": "final_compression", "group": "compression", "of": [JPEG]}


def iso(weight, sigma):
    return one("iso", weight, kernel_size=[7, 21], sigma=sigma, noise=0)


def aniso(weight, sigma, angle):
    return one("aniso", weight, kernel_size=[7, 21], sigma_x=sigma, sigma_y=sigma, angle=angle, noise=0)


def gaussian(high, color=0.6):
    return one("gaussian_noise", sigma=[1, high], color=color)


def poisson(high):
    return one("poisson_noise", scale=[0.05, high], color=0.6)


def presets(folders):
    patches = one("noise_patches", folder=folders["noise_data"], amplitude=1)
    four = [gaussian(30), poisson(3), one("camera_noise"), patches]
    four2 = [gaussian(25), poisson(2.5), one("camera_noise"), patches]
    realistic = one("realistic", folder=folders["dataroot_kernels"], kernel_scale=4)
    down_up = one("down_up", least=0.5, kernels=["linear", "cubic", "mitchell"])
    more = [one("nearest_aligned"), down_up, realistic]
    final = [
        FINAL_COMPRESSION,
        {"name": "final_scale", "group": "scale", "of": [one("final_scale", 3.0, kernels=KERNELS)]},
        {"name": "final_blur", "group": "scale", "probability": 0.8, "of": [FINAL_SINC]},
    ]
    return {
        "bsrgan": {
            "start": "target",
            "shuffle": True,
            "stages": [
                {"name": "blur", "probability": 1, "of": [iso(1.0, [0.1, 2.8])]},
                {
                    "name": "resize",
                    "of": [
                        one("resize", 2.0, up=0, down=1, keep=0, up_range=[1, 1.5], down_range=None,
                            kernels=["linear", "cubic"]),
                        one("nearest_aligned"),
                        one("down_up", least=0.5, kernels=["linear", "cubic"]),
                    ],
                },
                {"name": "noise", "of": [gaussian(25)]},
                {"name": "compression", "of": [{**JPEG, "weight": 0.75}, one("clean", 0.25)]},
                {"name": "blur2", "probability": 1, "of": [aniso(1.0, [0.5, 8], [0, 180])]},
                {"name": "noise2", "of": [one("camera_noise", 0.25), one("clean", 0.75)]},
            ],
            "last": [
                FINAL_COMPRESSION,
                {"name": "final_scale", "group": "scale", "of": [one("final_scale", 2.0, kernels=["linear", "cubic"])]},
            ],
        },
        "resrgan": {
            "start": "target",
            "stages": [
                {"name": "blur", "probability": 1,
                 "of": [SINC, iso(0.58, [0.2, 3]), aniso(0.32, [0.2, 3], [-180, 180])]},
                {"name": "resize", "of": [one("resize", 3.0, **UP_AND_DOWN, kernels=KERNELS)]},
                {"name": "noise", "of": [gaussian(30), poisson(3)]},
                {"name": "compression", "of": [JPEG]},
                {"name": "blur2", "probability": 0.8,
                 "of": [SINC, iso(0.58, [0.2, 1.5]), aniso(0.32, [0.2, 1.5], [-180, 180])]},
                {"name": "resize2", "of": [one("resize", 3.0, **UP_AND_DOWN2, kernels=KERNELS)]},
                {"name": "noise2", "of": [gaussian(25), poisson(2.5)]},
            ],
            "last": final,
        },
        "realsr": {
            "start": "target",
            "first": [{"name": "downscale", "of": [realistic]}],
            "stages": [{"name": "noise", "of": [patches]}],
        },
        "combo": {
            "start": "target",
            "stages": [
                {"name": "blur", "probability": 1,
                 "of": [SINC, iso(0.58, [0.1, 3]), aniso(0.32, [0.2, 5], [0, 180])]},
                {"name": "resize", "of": [one("resize", 3.0, **UP_AND_DOWN, kernels=KERNELS), *more]},
                {"name": "noise", "of": four},
                {"name": "compression", "of": [{**JPEG, "weight": 0.75}, one("webp", 0.25, quality=[20, 90])]},
                {"name": "blur2", "probability": 0.8,
                 "of": [SINC, iso(0.58, [0.2, 1.5]), aniso(0.32, [0.2, 1.5], [0, 180])]},
                {"name": "resize2", "of": [one("resize", 3.0, **UP_AND_DOWN2, kernels=KERNELS), *more]},
                {"name": "noise2", "of": four2},
            ],
            "last": final,
        },
    }  # fmt: skip


@pytest.mark.parametrize("strategy", ["bsrgan", "resrgan", "realsr", "combo"])
def test_preset_is_the_table(strategy, folders):
    """With resizing among the stages because the preset says so (fault 17)."""
    needed = folders if strategy in ("realsr", "combo") else {}
    found, notes = section({"augs_strategy": strategy.upper(), **needed})
    assert found == presets(folders)[strategy]
    assert notes == []
    assert errors_of({"augs_strategy": strategy, **needed}) == []
    lists = [found.get(part, []) for part in ("first", "stages", "last")]
    assert all(choice["type"] in DEGRADATIONS for stage in itertools.chain(*lists) for choice in stage["of"])


def test_presets_say_what_they_need():
    errors = errors_of({"augs_strategy": "combo"})
    assert len(errors) == 4
    assert all("combo_" in error and ".yaml:" in error for error in errors)
    assert sum("realistic needs dataroot_kernels" in error for error in errors) == 2
    assert sum("patches needs noise_data" in error for error in errors) == 2
    assert errors_of({"augs_strategy": "resrgan"}) == []


def test_nothing_is_on_without_a_key():
    """Base presets hold parameters only (fault 17), and ``lr_downscale: false`` asks for nothing (fault 39)."""
    plain_file = translate(TRAIN_FILE)[0]
    assert "degrade" not in plain_file
    for keys in ({"base_blur_preset": "base_blur"}, {"resize_strat": "in"}, {"degrade_on": None}):
        assert section(keys)[0] is None
    native, errors, notes = translate(changed("datasets.train", {"lr_downscale": False}))
    assert plain(native) == plain(plain_file)
    assert errors == []
    assert len(notes) == 1
    assert "they are made from the targets" in notes[0]
    found, notes = section({"lr_downscale": False, "augs_strategy": "bsrgan"})
    assert [stage["name"] for stage in found["stages"]] == ["blur", "noise", "compression", "blur2", "noise2"]


def test_inputs_of_files_are_degraded_as_they_are():
    native, errors, _ = translate(changed("datasets.train", {"dataroot_LR": "lr", "augs_strategy": "resrgan"}))
    assert errors == []
    assert "start" not in native["degrade"]
    assert native["datasets"]["train"]["input"] == ["lr"]
    native = translate(changed("datasets.train", {"augs_strategy": "resrgan", "resize_strat": "pre"}))[0]
    assert [stage["name"] for stage in native["degrade"]["last"]] == ["final_compression", "final_blur"]
    assert "start" not in native["degrade"]
    native = translate(changed("datasets.train", {"augs_strategy": "resrgan", "resize_strat": "pre_in"}))[0]
    assert [stage["name"] for stage in native["degrade"]["stages"]][1] == "resize"
    assert "start" not in native["degrade"], "the input is made first, and then resized"


def test_restoration_of_degraded_targets():
    """At scale 1 an input is made of its target by degradations alone."""
    text = changed("datasets.train", {"compression": "jpeg", "preprocess": "crop"}).replace("scale: 4", "scale: 1")
    native, errors, _ = translate(text.replace("  val:\n    mode: aligned\n    dataroot_HR: val_hr\n", ""))
    assert errors == []
    assert "input" not in native["datasets"]["train"]
    _, errors, _ = translate(text.replace("compression", "hr_auto_levels").replace("jpeg", "true"))
    assert len(errors) == 2
    assert "write dataroot_LR, or degradations such as lr_noise" in errors[0]


# The vocabulary


BLURS = {
    "average": "average_blur", "box": "box_blur", "gaussian": "gaussian_blur", "median": "median_blur",
    "bilateral": "bilateral_blur", "motion": "motion_blur", "complexmotion": "complex_motion_blur", "iso": "iso",
    "aniso": "aniso", "sinc": "sinc", "clean": "clean",
}  # fmt: skip
NOISES = {
    "gaussian": "gaussian_noise", "poisson": "poisson_noise", "s&p": "salt_and_pepper", "speckle": "speckle_noise",
    "jpeg": "jpeg", "webp": "webp", "dither": "dither", "fs_dither": "dither", "fs_dither_x": "dither",
    "dither_bayer": "dither_bayer", "dither_fs_bw": "dither_fs_bw", "dither_avg_bw": "dither_avg_bw",
    "dither_bayer_bw": "dither_bayer_bw", "dither_bin_bw": "dither_bin_bw", "dither_rnd_bw": "dither_rnd_bw",
    "simplequantize": "simple_quantize", "simple_quantize": "simple_quantize", "quantize": "som_quantize",
    "som_quantize": "som_quantize", "km_quantize": "km_quantize", "maxrgb": "maxrgb", "clahe": "clahe",
    "patches": "noise_patches", "camera": "camera_noise", "superpixels": "superpixels", "clean": "clean",
}  # fmt: skip
RESIZES = [
    "nearest", "cv2_nearest", "cv2_linear", "cv2_cubic", "area", "cv2_area", "cv2_lanczos4", "cv2_linear_exact",
    "linear", "bilinear", "box", "lanczos2", "lanczos3", "cubic", "bicubic", "matlab_bicubic", "mitchell", "hermite",
    "lanczos4", "lanczos5", "bell", "catrom", "hanning", "hamming", "gaussian", "sinc2", "sinc3", "sinc4", "sinc5",
    "blackman2", "blackman3", "blackman4", "blackman5",
]  # fmt: skip
SPECIAL = ["nearest_aligned", "down_up", "realistic"]


def test_these_are_all_names():
    assert (len(BLURS), len(NOISES) - 1, len(RESIZES) + len(SPECIAL)) == (11, 25, 36)  # fs_dither* is one
    assert {*BLURS.values(), *NOISES.values()} <= {*DEGRADATIONS}


@pytest.mark.parametrize(("stage", "names"), [("blur", BLURS), ("noise", NOISES)])
def test_every_type_runs(stage, names, folders):
    """Alone, in a list and with whole weights; in the reference several did nothing, or crashed in a list."""
    switch, types = {f"lr_{stage}": True}, f"lr_{stage}_types"
    for name, native in names.items():
        for value, weight in ((name.upper(), 1.0), ({name: 3}, 3.0)):
            (choice,) = of({**folders, **switch, types: value}, stage)
            assert (choice["type"], choice["weight"]) == (native, weight)
    assert [choice["type"] for choice in of({**folders, **switch, types: [*names]}, stage)] == [*names.values()]
    everything = {**folders, **switch, types: {name: n for n, name in enumerate(names, 1)}}
    found = [(choice["type"], choice["weight"]) for choice in of(everything, stage)]
    assert found == [(native, float(n)) for n, native in enumerate(names.values(), 1)]
    plan = made(everything)["degrade"]
    (only,) = plan.stages
    image = np.random.default_rng(0).random((24, 28, 3), np.float32)
    for choice, native in zip(only.choices, names.values(), strict=True):
        operation = choice.draw(np.random.default_rng(1), Size(24, 28), Size(24, 28))
        assert (operation is None) == (native == "clean")
        if operation is not None:
            done = operation.on_host(image)
            assert done.shape == image.shape
            assert not np.array_equal(done, image)


def test_compression_has_the_types_of_noise(folders):
    for key, part in (("compression", "stages"), ("final_compression", "last")):
        found = of({**folders, key: [*NOISES]}, key, part)
        assert [choice["type"] for choice in found] == [*NOISES.values()]


@pytest.mark.parametrize("types", ["lr_downscale_types", "lr_downscale_types2", "final_scale_types"])
def test_every_algorithm_runs(types, folders):
    """Also with weights, which are keys of a mapping (in the reference they crashed)."""
    switch = types.replace("_types", "")
    image = np.random.default_rng(0).random((32, 32, 3), np.float32)
    for name in (*RESIZES, *SPECIAL) if types == "lr_downscale_types" else SPECIAL:
        keys = {**folders, "resize_strat": "in", switch: True, types: {name: 2}}
        (operations,) = drawn(keys, 1, Size(32, 32), Size(8, 8))
        assert degrade(image, operations).shape == (8, 8, 3)
    keys = {**folders, "resize_strat": "in", switch: True, types: [*RESIZES, *SPECIAL, "clean"]}
    part, name = ("last", "final_scale") if "final" in types else ("stages", switch.replace("lr_downscale", "resize"))
    kernels, *special = of(keys, name, part)
    assert kernels["weight"] == len(RESIZES) == 33
    assert len(kernels["kernels"]) == len({*kernels["kernels"]}) == 28
    assert [choice["type"] for choice in special] == [*SPECIAL, "clean"]
    shares = dict(zip(kernels["kernels"], kernels["shares"], strict=True))
    assert shares == {name: {"cubic": 3, "linear": 2, "nearest": 2, "area": 2}.get(name, 1) for name in shares}


def test_algorithms_of_inputs_that_are_made_first(folders):
    for name in RESIZES:
        native, errors, _ = translate(changed("datasets.train", {"lr_downscale_types": name}))
        assert errors == []
        assert "degrade" not in native
    found, _ = section({"lr_downscale_types": ["bicubic", "down_up", "nearest_aligned"], "down_up_types": "box"})
    assert found["start"] == "target"
    assert [stage["name"] for stage in found["first"]] == ["downscale", "the rest"]
    assert [choice["type"] for choice in found["first"][0]["of"]] == ["final_scale", "down_up", "nearest_aligned"]
    for operations in drawn({"lr_downscale_types": SPECIAL, "lr_noise": True, "lr_noise_types": "s&p", **folders}, 60):
        size = SIZE
        for operation in operations[:-1]:
            size = operation.size(size)
        assert size == GOAL, "before the noise"


def test_realistic_kernels_are_those_of_the_scale(folders):
    keys = {"lr_downscale": True, "lr_downscale_types": ["realistic"], **folders}
    assert of(keys, "downscale", "first")[0]["kernel_scale"] == 4
    text = changed("datasets.train", keys).replace("scale: 4", "scale: 2")
    assert plain(translate(text)[0])["degrade"]["first"][0]["of"][0]["kernel_scale"] == 2
    inside = text.replace("    lr_downscale: true", "    resize_strat: in")
    assert plain(translate(inside)[0])["degrade"]["stages"][0]["of"][0]["kernel_scale"] == 4
    assert of({**keys, "realk_scale": 2}, "downscale", "first")[0]["kernel_scale"] == 2


@pytest.mark.parametrize("slash", ["", "/"])
def test_noise_folder_may_end_with_a_slash(folders, slash):
    """And patches count wherever they are listed (faults 17 and 18)."""
    folder = folders["noise_data"].rstrip("/") + slash
    for stage in ("lr_noise", "lr_noise2", "hr_noise"):
        types = "lr_noise_types2" if stage == "lr_noise2" else f"{stage}_types"
        found = made({stage: True, types: ["patches"], "noise_data": folder, "noise_data_size": 32})
        pipeline = found["degrade_target" if stage == "hr_noise" else "degrade"]
        (operation,) = pipeline.draw(np.random.default_rng(0), Size(16, 16), Size(16, 16))
        assert operation.side == 32
        assert operation.noise((16, 16, 3)).std() > 0


def test_kernel_of_a_preset(tmp_path):
    """An additional preset may say how inputs are made before all stages."""
    (tmp_path / "my_resize.yaml").write_text(
        "kind: Resize\nconfig: {pipeline: {lr_downscale: true, lr_downscale_types: {lanczos3: 2, box: 1}}}\n"
    )
    keys = {"augs_strategy": "my", "compression": "jpeg"}
    native, errors, _ = translate(changed("datasets.train", keys) + f"presets_root: {tmp_path}\n")
    assert errors == []
    assert native["datasets"]["train"]["kernel"] == {"lanczos3": 2.0, "box": 1.0}
    keys["lr_downscale_types"] = "linear"
    native = translate(changed("datasets.train", keys) + f"presets_root: {tmp_path}\n")[0]
    assert native["datasets"]["train"]["kernel"] == "linear"


# Probabilities


def test_probability_of_nothing_stays_nothing():
    """In the reference 0 became 1 (fault 17)."""
    keys = {"lr_blur": True, "lr_blur_types": "iso", "blur_prob": 0, "lr_unsharp_mask": True, "lr_rand_unsharp": 0}
    assert drawn(keys, 300) == [[Resize("cubic", GOAL)]] * 300
    never = {"compression": ["jpeg"], "aug_configs": {"compression": {"jpeg": {"p": 0}}}}
    assert of(never, "compression") == [{**JPEG, "weight": 0.0}, one("clean", 1.0)]
    assert drawn(never, 300) == [[Resize("cubic", GOAL)]] * 300


def test_chances_count():
    """``lr_rand_unsharp`` was discarded, ``final_compression: {p}`` ignored, and p with iso and others (17, 18)."""
    keys = {"lr_unsharp_mask": True, "lr_rand_unsharp": 0.3, "lr_fringes": True, "lr_fringes_chance": 0.6}
    keys |= {"lr_blur": True, "lr_blur_types": "iso", "final_compression": "jpeg"}
    keys["aug_configs"] = {"lr_blur_types": {"iso": {"p": 0.4}}, "final_compression": {"p": 0.25}}
    plans = [" ".join(str(operation).split()[0] for operation in plan) for plan in drawn(keys)]
    for word, share in (("unsharp", 0.3), ("fringes", 0.6), ("iso", 0.4), ("jpeg", 0.25)):
        assert about(sum(word in plan for plan in plans) / 2000, share), word


def test_no_sample_is_cut_and_erased():
    keys = {"lr_cutout": True, "lr_cutout_p": 0.6, "lr_erasing": True, "lr_erasing_p": 0.2}
    (stage,) = section(keys)[0]["after"]
    assert [(c["type"], c["weight"]) for c in stage["of"]] == [
        *(("cutout", 0.6), ("clean", 0.4), ("erasing", 0.2), ("clean", 0.8)),
    ]
    found = collections.Counter(
        tuple(str(o).split()[0] for o in plan if not isinstance(o, Resize)) for plan in drawn(keys)
    )
    assert {*found} == {(), ("cutout",), ("erasing",)}
    assert about(found[("cutout",)] / 2000, 0.3)
    assert about(found[("erasing",)] / 2000, 0.1)
    (error,) = errors_of({**keys, "lr_cutout_p": 1.5})
    assert "lr_cutout_p: expected 0 to 1, found 1.5" in error


def test_auto_levels_of_old():
    for value, parts in (("lr", ["stages"]), ("HR", ["target"]), ("both", ["stages", "target"])):
        found, _ = section({"auto_levels": value, "rand_auto_levels": 0.3})
        assert [*found] == parts
        stage = {"name": "auto_levels", "probability": 0.3, "of": [one("auto_levels", percent=10)]}
        assert all(found[part] == [stage] for part in parts)
    found, _ = section({"auto_levels": "both", "hr_auto_levels": False})
    assert [*found] == ["stages"]
    assert found["stages"][0]["probability"] == 1.0


def test_where_it_is_done():
    assert section({"compression": "jpeg", "degrade_on": "Device"})[0]["run_on"] == "device"
    assert made({"compression": "jpeg", "degrade_on": "device"})["deferred"]
    assert not made({"compression": "jpeg"})["deferred"]
    (error,) = errors_of({"compression": "jpeg", "degrade_on": "gpu"})
    assert "run.yml:" in error
    assert "degrade_on: expected 'cpu' or 'device', found 'gpu'" in error
    found, notes = section({"degrade_on": "device"})
    assert found is None
    assert notes == ["run.yml:10: degrade_on has no effect, as there is no degradation"]
