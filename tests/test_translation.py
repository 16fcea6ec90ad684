"""pix2pix, CycleGAN and white-box cartoonization: real runs on photographs, killed, resumed, tested on folders."""

import json
import signal
import time

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from runs import equal, make, photographs, python, save_backbone, start, train, write

DATA = {
    "pix2pix": "{mode: aligned, dataroot_A: ROOT/A, dataroot_B: ROOT/B, crop_size: 32, batch_size: 2, n_workers: 0}",
    "cyclegan": "{mode: unaligned, dataroot_A: ROOT/A, dataroot_B: ROOT/B, crop_size: 32, batch_size: 2, n_workers: 0}",
    "wbc": "{mode: concat_unaligned, dataroot_A: [ROOT/A, ROOT/B], dataroot_B: [ROOT/B, ROOT/A], crop_size: 32,"
    " batch_size: 2, n_workers: 0}",
}
VALIDATION = {
    "pix2pix": "{mode: aligned, dataroot_A: ROOT/A, dataroot_B: ROOT/B, max_dataset_size: 1}",
    "cyclegan": "{mode: unaligned, dataroot_A: ROOT/A, dataroot_B: ROOT/B, max_dataset_size: 1, serial_batches: true}",
    "wbc": "{mode: unaligned, dataroot_A: ROOT/A, dataroot_B: ROOT/B, max_dataset_size: 1, serial_batches: true}",
}
NETWORKS = {
    "pix2pix": "{which_model_G: unet_net, num_downs: 5, ngf: 4, use_dropout: true}",
    "cyclegan": "{which_model_G: resnet_net, n_blocks: 1, ngf: 4}",
    "wbc": "{which_model_G: wbcunet, nf: 4}",
}
LOSSES = {
    "pix2pix": "{pixel_criterion: l1, pixel_weight: 100}",
    "cyclegan": "{pixel_criterion: l1, pixel_weight: 10, lambda_identity: 0.5}",
    "wbc": "{feature_criterion: l1, feature_weight: 0.002, perceptual_opt: {pretrained_path: ROOT/vgg.pth},"
    " tv_type: normal, tv_weight: 0.045, tv_norm: 2, surface_scale: 0.2}",
}
METHODS = tuple(DATA)
PLAYED = {"pix2pix": ("G", "D"), "cyclegan": ("G_A", "G_B", "D_A", "D_B"), "wbc": ("G", "D_S", "D_T")}
GENERATOR = {"pix2pix": "G", "cyclegan": "G_A", "wbc": "G"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Photographs A, and B: the same as if by night, and a feature network of random weights."""
    from darkroom.archs.vgg import VGGFeatures

    root = tmp_path_factory.mktemp("pictures")
    (root / "B").mkdir()
    for file in photographs(root / "A", count=3, size=64).iterdir():
        day = np.asarray(Image.open(file)).astype(float)
        Image.fromarray((day * (0.2, 0.3, 0.5)).astype(np.uint8)).save(root / "B" / file.name)
    torch.manual_seed(0)
    save_backbone(VGGFeatures(layers=("conv5_4",)), root / "vgg.pth")
    return root


def options(kind, pictures, root, **changes):
    read = lambda table: yaml.safe_load(table[kind].replace("ROOT", str(pictures)))  # noqa: E731
    tree = {
        "name": kind,
        "model": kind,
        "gpu_ids": [],
        "pool_size": 3,
        "datasets": {"train": read(DATA), "val": read(VALIDATION)},
        "path": {"root": str(root)},
        "network_G": read(NETWORKS),
        "network_D": {"which_model_D": "patchgan", "nf": 4, "n_layers": 2},
        "train": {
            "niter": 6, "manual_seed": 3, "lr_G": 2e-3, "lr_D": 2e-3, "gan_type": "lsgan", "gan_weight": 1,
            "lr_scheme": "Linear", "fixed_niter": 3, "niter_decay": 3, "val_freq": 50, "display_freq": 3,
            **read(LOSSES),
        },
        "logger": {"print_freq": 1, "save_checkpoint_freq": 50},
    }  # fmt: skip
    for key, value in changes.items():
        tree[key] = {**tree[key], **value} if isinstance(value, dict) and key in tree else value
    root.mkdir(exist_ok=True)
    return write(root / "o.yml", tree)


@pytest.mark.parametrize("kind", METHODS)
def test_killed_and_resumed_it_ends_in_the_same_bits(kind, pictures, tmp_path):
    found = {}
    for name in ("whole", "killed"):
        root = tmp_path / name
        path = options(kind, pictures, root)
        if name == "killed":
            process = start("train.py", "-opt", path, "--set", "logger.save_checkpoint_freq=1")
            states, deadline = root / f"experiments/{kind}/training_state", time.monotonic() + 120
            while not (states / "3.state").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
        done = python("train.py", "-opt", path, "--set", "path.resume_state=auto")
        assert done.returncode == 0, done.stderr
        assert ("Continuing" in done.stdout) == (name == "killed")
        models = root / f"experiments/{kind}/models"
        found[name] = {n: torch.load(models / f"6_{n}.pth") for n in PLAYED[kind]}
    for name in PLAYED[kind]:
        assert equal(found["whole"][name], found["killed"][name]), name


ROWS = {
    "pix2pix": [("input", "output", "target")],
    "cyclegan": [("real_A", "fake_B", "rec_A", "idt_B"), ("real_B", "fake_A", "rec_B", "idt_A")],
    "wbc": [("real_A", "fake_B", "real_B")],
}
LOGGED = {
    "pix2pix": {"pix-l1", "l_g_gan", "l_d_real", "l_d_fake", "D_real", "D_fake"},
    "cyclegan": {
        f"{name}_{x}"
        for x in "AB"
        for name in ("pix-l1", "pix-l1_idt", "l_g_gan", "l_d_real", "l_d_fake", "D_real", "D_fake")
    },
    "wbc": {
        "fea-vgg19-l1_struct", "fea-vgg19-l1_cont", "tv-l2_reg",
        *(f"{name}_{x}" for x in "ST" for name in ("l_g_gan", "l_d_real", "l_d_fake", "D_real", "D_fake")),
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", METHODS)
def test_what_is_logged_and_shown(kind, pictures, tmp_path):
    train(options(kind, pictures, tmp_path), "train.metrics=psnr")
    folder = tmp_path / "experiments" / kind
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {key for line in lines for key in line} >= LOGGED[kind] | {"psnr"}
    assert {file.name for file in (folder / "disp_images").iterdir()} == {"3.png", "6.png"}
    images = [name for row in ROWS[kind] for name in row if not name.startswith(("real", "input", "target"))]
    written = {file.name for file in (folder / "val_images" / "photo0").iterdir()}
    marks = ["" if name == "output" else f"_{name}" for name in images]
    assert written == {f"photo0_6{mark}.png" for mark in (*marks, "_sheet")}
    width, height = Image.open(folder / "val_images/photo0/photo0_6_sheet.png").size
    assert height > 64 * len(ROWS[kind])
    assert width > 64 * len(ROWS[kind][0])


@pytest.mark.parametrize("kind", METHODS)
def test_test_py_at_another_size(kind, pictures, tmp_path):
    path = options(kind, pictures, tmp_path)
    run = make(path)
    network = run.loop.model.networks[GENERATOR[kind]]
    torch.save(network.to_public(network.state_dict()), tmp_path / "G.pth")
    run.close()
    (tmp_path / "in").mkdir()
    photo = photographs(tmp_path / "big", count=1, size=100) / "photo0.png"
    colour = np.asarray(Image.open(photo))[:70]
    Image.fromarray(colour).save(tmp_path / "in" / "colour.png")
    Image.fromarray(colour).convert("L").save(tmp_path / "in" / "gray.png")
    tree = yaml.safe_load(path.read_text())
    test = {key: tree[key] for key in ("name", "model", "gpu_ids", "network_G")} | {
        "datasets": {"test_1": {"mode": "single", "dataroot_A": str(tmp_path / "in")}},
        "path": {"root": str(tmp_path), f"pretrain_model_{GENERATOR[kind]}": str(tmp_path / "G.pth")},
    }
    done = python("test.py", "-opt", write(tmp_path / "t.yml", test))
    assert done.returncode == 0, done.stdout + done.stderr
    results = tmp_path / "results" / kind / "test_1"
    assert {file.name for file in results.iterdir()} == {"colour.png", "gray.png"}
    for name in ("colour", "gray"):
        assert np.asarray(Image.open(results / f"{name}.png")).shape == (70, 100, 3), "a gray image may get colours"
    test["datasets"]["test_1"] |= {"preprocess": "scale_width", "load_size": 48}
    test["name"] = "small"
    done = python("test.py", "-opt", write(tmp_path / "t.yml", test))
    assert done.returncode == 0, done.stdout + done.stderr
    assert Image.open(tmp_path / "results/small/test_1/colour.png").size == (48, 32)
