"""pix2pix, CycleGAN and white-box cartoonization: real runs on photographs, killed, resumed, tested on folders."""

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from runs import equal, killed_after, make, photographs, python, save_backbone, train, weights, write

from darkroom.core.errors import OptionErrors

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
            state = root / f"experiments/{kind}/training_state/3.state"
            killed_after(state, "train.py", "-opt", path, "--set", "logger.save_checkpoint_freq=1")
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


def test_pix2pix_learns_to_make_day_of_night(pictures, tmp_path):
    """On a photograph that it has not seen, the mean error is less than half of what it was to begin with."""
    (tmp_path / "A").mkdir()
    (tmp_path / "B").mkdir()
    names = ["photo0.png", "photo1.png"]
    for name in names:
        (tmp_path / "A" / name).write_bytes((pictures / "B" / name).read_bytes())
        (tmp_path / "B" / name).write_bytes((pictures / "A" / name).read_bytes())
    data = {"mode": "aligned", "dataroot_A": str(tmp_path / "A"), "dataroot_B": str(tmp_path / "B")}
    train_data = {**data, "crop_size": 32, "batch_size": 4, "n_workers": 0}
    path = options("pix2pix", pictures, tmp_path / "run", datasets={"train": train_data, "val": data})
    network = "network_G={which_model_G: unet_net, num_downs: 3, ngf: 16}"
    rates = ("train.lr_scheme=null", "train.fixed_niter=null", "train.niter_decay=null", "train.niter=120")
    run = make(path, network, *rates)
    run.train()
    night, day = (torch.from_numpy(np.asarray(Image.open(pictures / x / "photo2.png"))) / 255 for x in "BA")
    image = {"input": night.permute(2, 0, 1)[None].float()}
    made = run.validate.judge(run.loop, image)["output"]
    run.close()
    before, after = ((x - day.permute(2, 0, 1)).abs().mean() for x in (image["input"], made))
    assert float(after) < float(before) / 2


def test_cyclegan_comes_back_and_leaves_its_own_alone(pictures, tmp_path):
    """Cycle and identity losses fall to less than two thirds."""
    rates = ("train.lr_scheme=null", "train.fixed_niter=null", "train.niter_decay=null", "train.niter=100")
    run = make(options("cyclegan", pictures, tmp_path), *rates, "network_G.ngf=16", "train.gan_weight=0.1")
    batches, figures = run.loop.data(0), []
    for _ in range(100):
        run.loop.iterate([run.loop.on_device(next(batches))])
        figures.append(run.loop.meter.flush())
    run.close()
    for name in ("pix-l1_A", "pix-l1_B", "pix-l1_idt_A", "pix-l1_idt_B"):
        first, last = (sum(f[name] for f in part) / 5 for part in (figures[:5], figures[-5:]))
        assert last < first * 2 / 3, name


def test_the_structure_is_held_to_the_superpixel_image(pictures, tmp_path):
    """What the loss compares the output with is the output in areas of one colour, computed here once more."""
    from darkroom.filters.superpixels import darken, superpixels

    run = make(options("wbc", pictures, tmp_path), "model={type: wbc, gammas: [1.0, 1.0]}")
    model, batch = run.loop.model, run.loop.on_device(next(run.loop.data(0)))
    sample = model.sample(batch)
    term = next(term for term in run.loop.terms if term.name == "fea-vgg19-l1_struct")
    assert dict(term.inputs) == {"prediction": "fake_B", "target": "superpixels"}
    run.close()
    output, target = sample["fake_B"].detach(), sample["superpixels"]
    assert output.requires_grad is target.requires_grad is False
    for made, found in zip(output, target, strict=True):
        pixels = ((made + 1) / 2 * 255).round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()
        expected = darken(superpixels(pixels), 1.0)
        assert np.array_equal(((found + 1) / 2 * 255).round().byte().permute(1, 2, 0).numpy(), expected)
        colours = {tuple(colour) for colour in expected.reshape(-1, 3)}
        assert len(colours) < len({tuple(colour) for colour in pixels.reshape(-1, 3)}) / 4


def test_warm_up_is_of_the_generator_alone_and_changes_nothing_else(pictures, tmp_path):
    run = make(options("wbc", pictures, tmp_path), "model={type: wbc, warm_up: 2}")
    batches, seen = run.loop.data(0), []
    for _ in range(4):
        before = weights(run)
        run.loop.iterate([run.loop.on_device(next(batches))])
        moved = {key.split(".")[0] for key, value in weights(run).items() if not torch.equal(value, before[key])}
        seen.append((moved, set(run.loop.meter.flush())))
    run.close()
    assert seen[:2] == [({"G"}, {"warm-up-l1"})] * 2
    assert [moved for moved, _ in seen[2:]] == [{"G", "D_S", "D_T"}] * 2
    assert all("warm-up-l1" not in names and names >= LOGGED["wbc"] for _, names in seen[2:])


def test_two_processes_share_the_history_of_fakes(pictures, tmp_path):
    """And so equal one process with twice the batch, in float64, also after the history is full."""
    from test_distributed import close, torchrun

    path = options("cyclegan", pictures, tmp_path)
    tree = yaml.safe_load(path.read_text())
    del tree["datasets"]["val"], tree["train"]["val_freq"], tree["train"]["display_freq"]
    write(path, tree)
    found = {}
    steady = "train.optim_G=sgd", "train.optim_D=sgd"
    for name, size in (("one", 4), ("two", 2)):
        own = (*steady, f"name={name}", f"datasets.train.batch_size={size}")
        if name == "one":
            done = python("tests/double.py", path, *own)
            assert done.returncode == 0, done.stderr
        else:
            torchrun("tests/double.py", path, *own)
        models = tmp_path / "experiments" / name / "models"
        found[name] = {f"{n}.{k}": v for n in PLAYED["cyclegan"] for k, v in torch.load(models / f"6_{n}.pth").items()}
    close(found["one"], found["two"], rtol=1e-6, atol=1e-9)


def test_the_noise_of_pix2pix_and_statistics_of_the_image_at_test(pictures, tmp_path):
    from darkroom.archs.unet import UNetGenerator
    from darkroom.build.testing import translating
    from darkroom.config.options import TestOptions

    torch.manual_seed(0)
    network = UNetGenerator(num_downs=6, nf=4, use_dropout=True)
    images = torch.rand(1, 3, 64, 64)
    run = lambda seed=0, **o: translating(network, TestOptions(**o), seed).eval()(images)  # noqa: E731
    with torch.no_grad():
        plain, noisy = run(), run(dropout=True)
        assert torch.equal(plain, run())
        assert torch.equal(noisy, run(dropout=True)), "the same seed gives the same noise"
        assert not torch.equal(noisy, plain)
        assert not torch.equal(noisy, run(1, dropout=True))
        own = run(batch_statistics=True)
        expected = (UNetGenerator.forward(network.train().apply(_no_dropout), images * 2 - 1) + 1) / 2
    torch.testing.assert_close(own, expected)
    assert not torch.equal(own, plain)


def _no_dropout(layer):
    if isinstance(layer, torch.nn.Dropout):
        layer.eval()


def test_the_guided_filter_of_a_test_has_a_strength_of_its_own():
    from darkroom.archs.wbc import WBCUNet
    from darkroom.build.testing import translating
    from darkroom.config.options import TestOptions
    from darkroom.filters.guided import guided_filter

    torch.manual_seed(0)
    network, photo = WBCUNet(nf=4).eval(), torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        found = translating(network, TestOptions(guided_filter=0.02))(photo)
        signed = photo * 2 - 1
        expected = (guided_filter(signed, network(signed), 1, 0.02) + 1) / 2
        assert torch.equal(found, expected)
        assert not torch.equal(found, translating(network, TestOptions())(photo))
        assert torch.equal(translating(network, TestOptions(signed=False))(photo), network(photo))


def test_a_crop_that_the_generator_cannot_halve_is_refused_with_one_that_it_can(pictures, tmp_path):
    with pytest.raises(OptionErrors, match=r"crop_size: expected a multiple of 32, found 48: use 32 or 64"):
        make(options("pix2pix", pictures, tmp_path), "datasets.train.crop_size=48")
    assert not (tmp_path / "experiments").exists() or not any((tmp_path / "experiments/pix2pix").glob("*.log"))
