"""test.py, with an option file and without: real processes over real files."""

import math
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from runs import GAN, ROOT, environment, native, photographs, python, train, write


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A trained x2 network's weights file."""
    root = tmp_path_factory.mktemp("trained")
    train(write(root / "o.yml", native(root)))
    return root / "experiments/t/models/6_G.pth"


@pytest.fixture(scope="module")
def esrgan(tmp_path_factory):
    from darkroom.archs.rrdb import RRDBNet
    from darkroom.inference.weights import save_weights

    torch.manual_seed(0)
    network = RRDBNet(nf=8, nb=1, scale=4, gaussian=False)
    for parameter in network.parameters():  # as initialised, its images are black
        torch.nn.init.normal_(parameter.data, std=0.15)
    path = tmp_path_factory.mktemp("esrgan") / "4x.safetensors"
    save_weights(network.to_public(network.state_dict()), path)
    return path


def options(root, model, **changes):
    return {
        "name": "t", "model": "sr", "scale": 2, "gpu_ids": [],
        "path": {"root": str(root), "pretrain": {"G": str(model)}},
        "network_G": {"type": "compact", "nf": 8, "num_conv": 2}, **changes,
    }  # fmt: skip


def results(root):
    return {str(p.relative_to(root)): Image.open(p) for p in sorted(root.rglob("*.png"))}


def test_a_folder_without_an_option_file(tmp_path, model):
    """Alpha, gray and 16 bits are kept; a broken file is reported, the rest is done, the exit code says so."""
    photos = photographs(tmp_path / "in", count=1, size=24)
    Image.open(photos / "photo0.png").convert("L").save(photos / "gray.png")
    Image.open(photos / "photo0.png").convert("RGBA").save(photos / "alpha.png")
    deep = (np.asarray(Image.open(photos / "photo0.png").convert("L"), np.uint16) * 257).astype(np.uint16)
    Image.fromarray(deep).save(photos / "deep.png")
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (photos / "sub").mkdir()
    Image.open(photos / "photo0.png").save(photos / "sub" / "photo.jpg")
    done = python("test.py", "-i", photos, "-m", model, "-o", tmp_path / "out")
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"5 done, 0 already there, 1 failed", done.stdout)
    assert "broken.png" in done.stdout
    found = results(tmp_path / "out")
    assert {n: (i.mode, i.size) for n, i in found.items()} == {
        "photo0.png": ("RGB", (48, 48)), "gray.png": ("L", (48, 48)), "alpha.png": ("RGBA", (48, 48)),
        "deep.png": ("I;16", (48, 48)), "sub/photo.png": ("RGB", (48, 48)),
    }  # fmt: skip


def test_tiles_and_self_ensemble_from_the_command_line(tmp_path, esrgan):
    photos = photographs(tmp_path / "in", count=1, size=40)
    command = ["test.py", "-i", photos, "-m", esrgan, "-o"]
    for name, more in (("whole", []), ("tiles", ["--tile", "36", "--overlap", "34"]), ("x8", ["--self-ensemble"])):
        done = python(*command, tmp_path / name, *more)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "RRDBNet x4" in done.stdout
    images = {n: np.asarray(next(iter(results(tmp_path / n).values())), int) for n in ("whole", "tiles", "x8")}
    assert images["whole"].shape == (160, 160, 3)
    assert abs(images["whole"] - images["tiles"]).max() <= 1
    assert abs(images["whole"] - images["x8"]).max() > 1


def test_sets_with_and_without_ground_truth(tmp_path, model):
    """Row 21: several datasets, suffix, RGB and Y metrics, their averages; LR made on the fly where there is none."""
    from darkroom.data.images import Picture, read
    from darkroom.data.images import write as save
    from darkroom.filters.resize import resize_uint8

    truth = photographs(tmp_path / "HR", count=3, size=48)
    (tmp_path / "LR").mkdir()
    for path in truth.iterdir():
        save(tmp_path / "LR" / path.name, Picture(resize_uint8(read(path).pixels, 0.5)))
    metrics = [
        {"type": "psnr", "crop_border": 2},
        {"type": "ssim", "crop_border": 2},
        {"type": "psnr", "crop_border": 2, "channel": "y", "name": "psnr_y"},
    ]
    sets = {
        "test_1": {"type": "aligned", "name": "paired", "target": str(truth), "input": str(tmp_path / "LR")},
        "test_2": {"type": "aligned", "name": "fly", "target": str(truth)},
        "test_3": {"type": "single", "name": "blind", "input": str(tmp_path / "LR")},
    }
    test = {"suffix": "_x2", "metrics": metrics}
    done = python("test.py", "-opt", write(tmp_path / "o.yml", options(tmp_path, model, datasets=sets, test=test)))
    assert done.returncode == 0, done.stdout + done.stderr
    found = results(tmp_path / "results/t")
    assert {*found} == {f"{s}/photo{i}_x2.png" for s in ("paired", "fly", "blind") for i in range(3)}
    pixels = {n: np.asarray(i) for n, i in found.items()}
    for i in range(3):
        assert np.array_equal(pixels[f"paired/photo{i}_x2.png"], pixels[f"fly/photo{i}_x2.png"])
        assert np.array_equal(pixels[f"paired/photo{i}_x2.png"], pixels[f"blind/photo{i}_x2.png"])
    errors = [
        (
            (pixels[f"paired/photo{i}_x2.png"].astype(float) - np.asarray(Image.open(truth / f"photo{i}.png")))[
                2:-2, 2:-2
            ]
            ** 2
        ).mean()
        for i in range(3)
    ]
    psnr = [10 * math.log10(255**2 / e) for e in errors]
    assert done.stdout.count(f"photo1 - PSNR: {psnr[1]:.5g}, SSIM: ") == 2
    averages = re.findall(
        r"----Average metrics results for (\w+)----\n(PSNR: [\d.]+), SSIM: [\d.]+\nY: PSNR_Y: ([\d.]+)", done.stdout
    )
    assert [(a[0], a[1]) for a in averages] == [(n, f"PSNR: {sum(psnr) / 3:.5g}") for n in ("paired", "fly")]
    assert float(averages[0][2]) != sum(psnr) / 3  # luma is another channel than RGB (fault 9.1-19)


def test_comparison_images(tmp_path, model):
    photographs(tmp_path / "LR", count=1, size=24)
    sets = {"test": {"type": "single", "input": str(tmp_path / "LR")}}
    done = python(
        "test.py", "-opt", write(tmp_path / "o.yml", options(tmp_path, model, datasets=sets, test={"comparison": True}))
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (image,) = results(tmp_path / "results/t/test").values()
    assert image.size == (96, 48)
    left = np.asarray(image)[:, :48]
    assert np.array_equal(left[::2, ::2], np.asarray(Image.open(tmp_path / "LR/photo0.png")))


def test_wrong_scale_is_told(tmp_path, model):
    truth = photographs(tmp_path / "HR", count=1, size=48)
    low = photographs(tmp_path / "LR", count=1, size=16)
    sets = {"test": {"type": "aligned", "target": str(truth), "input": str(low)}}
    test = {"metrics": [{"type": "psnr"}]}
    done = python("test.py", "-opt", write(tmp_path / "o.yml", options(tmp_path, model, datasets=sets, test=test)))
    assert done.returncode == 1
    assert "the result is 32x32, but" in done.stdout


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"datasets": {}}, "a test needs at least one dataset"),
        ({"path": {}}, "a test needs path.pretrain_model_G"),
        ({"sceduler": 1}, "there is no section 'sceduler'"),
        (
            {"datasets": {n: {"type": "single", "name": "same", "input": "LR"} for n in ("a", "b")}},
            "two test sets are called 'same'",
        ),
    ],
)
def test_wrong_options(tmp_path, model, changes, message):
    photographs(tmp_path / "LR", count=1, size=16)
    sets = {"test": {"type": "single", "input": str(tmp_path / "LR")}}
    path = write(tmp_path / "o.yml", {**options(tmp_path, model, datasets=sets), **changes})
    done = python("test.py", "-opt", path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected -opt FILE, or -i, -m and -o together"),
        (["-i", "x"], "expected -opt FILE, or -i, -m and -o together"),
        (["-opt", "x", "-m", "y"], "leave -opt away"),
        (["-opt", "x", "--device", "cpu", "--tile", "64"], "--tile, --device: with -opt the file says that"),
        (["-i", "x", "-m", "y", "-o", "z", "--set", "a=1"], "--set changes options of a file"),
    ],
)
def test_wrong_arguments(arguments, message):
    done = python("test.py", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize("content", [b"no weights", b""])
def test_what_is_no_model_is_refused(tmp_path, content):
    (tmp_path / "model.pth").write_bytes(content)
    photographs(tmp_path / "in", count=1, size=16)
    done = python("test.py", "-i", tmp_path / "in", "-m", tmp_path / "model.pth", "-o", tmp_path / "out")
    assert done.returncode == 1
    assert "model.pth" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_check_finds_everything_in_under_a_minute_and_leaves_nothing(tmp_path):
    """train.py --check: pairs, sizes, unreadable files; a step, an image, a checkpoint; and what to expect."""
    opts = native(tmp_path, **GAN)
    opts["datasets"]["val"] = {"type": "aligned", "target": opts["datasets"]["train"]["target"], "limit": 1}
    opts["validate"] = {"metrics": [{"type": "psnr"}]}
    low = photographs(tmp_path / "LR", count=6, size=36)
    (low / "photo1.png").write_bytes(b"broken")
    Image.open(low / "photo2.png").resize((30, 30)).save(low / "photo2.png")
    Image.open(low / "photo3.png").save(low / "stray.png")
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "HR" / "small.png")
    opts["datasets"]["train"]["input"] = [str(low)]
    done = python("train.py", "-opt", write(tmp_path / "o.yml", opts), "--check")
    assert done.returncode == 1, done.stdout + done.stderr
    for expected in (
        "Options: correct.", "photo1.png", "photo2.png", "stray.png", "small.png", "Training step [main]:",
        "Validation: one image of each set.", "written and read back.", "Memory: ",
        "Parameters:      G 2,292, D 78,993",
        "Iteration: ", "Until the end: ",
        "Training can start, but 2 files cannot be used and would be left out: see above.\n",
    ):  # fmt: skip
        assert expected in done.stdout, (expected, done.stdout)
    assert {p.name for p in tmp_path.iterdir()} == {"HR", "LR", "o.yml"}


def test_check_refuses_what_cannot_be_trained(tmp_path):
    opts = native(tmp_path)
    for path in (tmp_path / "HR").iterdir():
        path.write_bytes(b"broken")
    done = python("train.py", "-opt", write(tmp_path / "o.yml", opts), "--check")
    assert done.returncode == 1
    assert "none of its 6 images can be used" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_progress_bar_where_somebody_looks(tmp_path):
    """Loss, learning rate, it/s, share of time waiting for data, ETA; nothing of it where nobody looks."""
    import fcntl
    import pty
    import struct
    import termios

    opts = native(tmp_path, train={"iterations": 60}, logger={"every": 30, "tensorboard": False})
    command = [sys.executable, "train.py", "-opt", str(write(tmp_path / "o.yml", opts))]
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 140, 0, 0))
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    try:
        while part := os.read(ours, 65536):
            seen += part
    except OSError:  # the other end is closed: Linux's way to say so
        pass
    assert process.wait() == 0
    bars = [line for line in re.split(rb"[\r\n]+", seen) if b"/60 [" in line]
    assert any(re.search(rb"\d+/60 \[.*<.*(it/s|s/it), loss \S+ lr 1.00e-03 data \d+%", line) for line in bars), bars[
        -3:
    ]
    done = python("train.py", "-opt", tmp_path / "o.yml")
    assert "it/s" not in done.stdout + done.stderr


def test_colours_of_a_test_set_are_those_that_the_network_learnt_from(tmp_path):
    """A network of luma: its input, what it is measured against, and its result are luma as MATLAB has it."""
    from darkroom.archs import ARCHS
    from darkroom.inference.weights import save_weights

    torch.manual_seed(0)
    network = ARCHS["compact"](in_nc=1, out_nc=1, nf=8, num_conv=2, scale=2)
    save_weights(network.to_public(network.state_dict()), tmp_path / "y.pth")
    photographs(tmp_path / "hr", count=1, size=40)
    data = {"type": "aligned", "target": str(tmp_path / "hr"), "input_color": "y", "target_color": "y"}
    small = {"type": "compact", "in_nc": 1, "out_nc": 1, "nf": 8, "num_conv": 2}
    metrics = [{"type": "psnr", "crop_border": 0}]
    tree = options(tmp_path, tmp_path / "y.pth", datasets={"test": data}, network_G=small, test={"metrics": metrics})
    done = python("test.py", "-opt", write(tmp_path / "o.yml", tree))
    assert done.returncode == 0, done.stderr
    (result,) = results(tmp_path / "results").values()
    assert result.mode == "L"
    r, g, b = np.moveaxis(np.asarray(Image.open(tmp_path / "hr/photo0.png")).astype(float), 2, 0)
    truth = np.round((65.481 * r + 128.553 * g + 24.966 * b) / 255 + 16)
    psnr = 10 * math.log10(255**2 / np.mean((np.asarray(result).astype(float) - truth) ** 2))
    assert float(re.search(r"PSNR: ([\d.]+)", done.stdout)[1]) == pytest.approx(psnr, abs=0.02)
