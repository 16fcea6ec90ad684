"""EdgeConnect: its phases on photographs, killed, resumed, one after the other in a folder of its own, and tested."""

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from runs import ROOT, equal, killed_after, make, photographs, python, save_backbone, weights, write

from darkroom.build.inpainting import newest, newest_set, training_options
from darkroom.build.plan import plan_training
from darkroom.config.dialects.edgeconnect import KEYS
from darkroom.core.errors import OptionErrors
from darkroom.engine.experiment import NothingToDoError

PHASES = {1: "train_edge", 2: "train_inpaint", 3: "train_edge_inpaint", 4: "train_joint"}
LEARNING = {1: ("G", "D"), 2: ("G", "D"), 3: ("G", "D"), 4: ("G", "D", "E", "D_E")}
SMALL = {"residual_blocks": 1, "nf": 8}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Photographs, masks, and torch's cache with a feature network of random weights."""
    from darkroom.archs.vgg import VGGFeatures

    root = tmp_path_factory.mktemp("edgeconnect")
    photographs(root / "photos", count=3, size=64)
    (root / "masks").mkdir()
    for n in range(2):
        mask = np.zeros((64, 64), np.uint8)
        mask[8 + 8 * n : 40, 16:48] = 255
        Image.fromarray(mask).save(root / "masks" / f"{n}.png")
    vgg = VGGFeatures(layers=("relu5_2",))
    (root / "torch/hub/checkpoints").mkdir(parents=True)
    torch.manual_seed(0)
    save_backbone(VGGFeatures(layers=("conv5_4",)), root / "torch/hub/checkpoints" / vgg.file)
    return root


@pytest.fixture(autouse=True)
def _cache(pictures, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(pictures / "torch"))


def template(phase, pictures, root, **changes):
    """The shipped template with small networks, on these pictures."""
    tree = yaml.safe_load((ROOT / "options/inpaint" / f"{PHASES[phase]}.yml").read_text())
    own = {"images": str(pictures / "photos"), "masks": str(pictures / "masks"), "size": 32}
    tree["datasets"]["train"] |= {**own, "batch_size": 2, "workers": 0}
    tree["datasets"]["val"] |= {**own, "limit": 1}
    for key in [key for key in tree if key.startswith("network_")]:
        tree[key] |= {"nf": 8} if tree[key]["type"].endswith("discriminator") else SMALL
    tree |= {"name": "e", "gpu_ids": [], "train": {"iterations": 6}, "path": {"root": str(root), **changes}}
    tree["validate"]["every"] = tree["display"]["every"] = 6
    tree["display"]["images"] = 1
    tree["checkpoint"] = {"every": 50}
    tree["logger"] = {"every": 1, "tensorboard": False}
    root.mkdir(exist_ok=True)
    return write(root / "o.yml", tree)


@pytest.mark.parametrize("phase", PHASES)
def test_killed_and_resumed_it_ends_in_the_same_bits(phase, pictures, tmp_path):
    found = {}
    for name in ("whole", "killed"):
        root = tmp_path / name
        path = template(phase, pictures, root, resume_state="auto")
        if name == "killed":
            state = root / "experiments/e/training_state/3.state"
            killed_after(state, "train.py", "-opt", path, "--set", "checkpoint.every=1")
        done = python("train.py", "-opt", path)
        assert done.returncode == 0, done.stderr
        assert ("Continuing" in done.stdout) == (name == "killed")
        models = root / "experiments/e/models"
        found[name] = {n: torch.load(models / f"6_{n}.pth") for n in LEARNING[phase]}
        assert {file.stem for file in models.glob("6_*")} == {f"6_{n}" for n in LEARNING[phase]}
    for name in LEARNING[phase]:
        assert equal(found["whole"][name], found["killed"][name]), name


def test_what_learns_in_which_phase(pictures, tmp_path):
    for phase, names in LEARNING.items():
        run = make(template(phase, pictures, tmp_path / str(phase)))
        before = weights(run)
        run.loop.iterate([run.loop.on_device(next(run.loop.data(0)))])
        figures = set(run.loop.meter.flush())
        moved = {key.split(".")[0] for key, value in weights(run).items() if not torch.equal(value, before[key])}
        run.close()
        assert moved == set(names), phase
        edges = {"l_d1", "l_g1", "l_fm", "precision", "recall"} if phase in (1, 4) else set()
        filling = {"l_d2", "l_g2", "l_l1", "l_per", "l_sty", "psnr", "mae"} if phase > 1 else set()
        assert figures >= edges | filling


def test_which_edges_lead_the_filling(pictures, tmp_path):
    """The true ones, those of E in the hole, or either by a coin that is the same for the same iteration."""
    run = make(template(3, pictures, tmp_path), "model={type: inpaint, lead: coin}")
    model, batch = run.loop.model, run.loop.on_device(next(run.loop.data(0)))
    tosses = []
    for seed in range(24):
        torch.manual_seed(seed)
        sample = model.sample(batch)
        edges, hole = sample["edges"], batch["mask"]
        assert not edges.requires_grad
        torch.testing.assert_close(edges * (1 - hole), batch["edge"] * (1 - hole))
        tosses.append(torch.equal(edges, batch["edge"]))
    assert 4 < sum(tosses) < 20
    shown = model.infer(model.sample(batch))
    assert not torch.equal(shown["edges"], batch["edge"]), "what is shown is what a test will make"
    torch.testing.assert_close(shown["merged"] * (1 - hole), batch["image"] * (1 - hole))
    run.close()


CONFIG = """
MODE: 1
MASK: 1
SEED: 10
DEVICE: 0
DEBUG: 1
SKIP_PHASE2: 1
TRAIN_FLIST: {root}/photos
VAL_FLIST: {root}/photos
TRAIN_MASK_FLIST: {root}/masks
BATCH_SIZE: 1
INPUT_SIZE: 32
SIGMA: 1
MAX_ITERS: 2
SAVE_INTERVAL: 1
SAMPLE_INTERVAL: 2
SAMPLE_SIZE: 2
LOG_INTERVAL: 1
PRINT_INTERVAL: 1
"""


def test_a_folder_from_edges_to_a_filled_picture(pictures, tmp_path):
    """Full-size networks: phase 1, phase 3 with SKIP_PHASE2, another SIGMA, and test.py."""
    folder = tmp_path / "m"
    folder.mkdir()
    config = folder / "config.yml"
    config.write_text(CONFIG.format(root=pictures))
    command = ("train.py", "--path", folder, "--model")
    done = python(*command, 3)
    assert done.returncode == 2
    assert "model 3 needs the edge generator" in done.stderr
    for model, part in ((1, "EdgeModel"), (3, "InpaintingModel")):
        done = python(*command, model)
        assert done.returncode == 0, done.stdout + done.stderr
        names = {f"{part}_{kind}_{step}.pth" for kind in ("gen", "dis") for step in (1, 2)}
        assert names == {file.name for file in folder.glob(f"{part}*")}
    generator = torch.load(folder / "InpaintingModel_gen_2.pth")
    assert (generator["iteration"], set(generator)) == (2, {"iteration", "generator"})
    lines = [line.split() for line in (folder / "log_edge_inpaint.dat").read_text().splitlines()]
    assert [line[1] for line in lines] == ["1", "2"]
    assert all(len(line) == 9 and np.isfinite([float(x) for x in line]).all() for line in lines)
    assert (folder / "samples/edge/2.png").exists()
    assert (folder / "samples/edge_inpaint/2.png").exists()
    again = python(*command, 3)
    assert again.returncode == 0
    assert "raise MAX_ITERS" in again.stderr + again.stdout
    config.write_text(
        CONFIG.format(root=pictures).replace("SIGMA: 1", "SIGMA: 0").replace("MAX_ITERS: 2", "MAX_ITERS: 3")
    )
    done = python(*command, 3)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Continuing" in done.stdout
    assert (folder / "InpaintingModel_gen_3.pth").exists()
    done = python(
        "test.py", "--model", 3, "--path", folder, "--input", pictures / "photos", "--mask", pictures / "masks/0.png",
        "--output", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    kinds = ("", "_edge", "_masked")
    assert {f.name for f in (tmp_path / "out").iterdir()} == {f"photo{n}{k}.png" for n in range(3) for k in kinds}
    hole = np.asarray(Image.open(pictures / "masks/0.png")) > 0
    given, made = (np.asarray(Image.open(root / "photo0.png")) for root in (pictures / "photos", tmp_path / "out"))
    assert np.array_equal(given[~hole], made[~hole])
    assert not np.array_equal(given[hole], made[hole])


def test_published_weights_are_where_a_folder_begins(pictures, tmp_path):
    """The four files of the authors, without numbers; their iteration goes on."""
    from darkroom.archs import ARCHS

    (tmp_path / "config.yml").write_text(CONFIG.format(root=pictures).replace("MAX_ITERS: 2", "MAX_ITERS: 2e6"))
    for part, kinds in (
        ("EdgeModel", {"gen": ("edge_generator", 3), "dis": ("edgeconnect_discriminator", 2)}),
        ("InpaintingModel", {"gen": ("inpaint_generator", 4), "dis": ("edgeconnect_discriminator", 3)}),
    ):
        for kind, (name, channels) in kinds.items():
            network = ARCHS[name](in_nc=channels)
            key = {"gen": "generator", "dis": "discriminator"}[kind]
            step = {"iteration": 1999990} if kind == "gen" else {}
            torch.save({**step, key: network.to_public(network.state_dict())}, tmp_path / f"{part}_{kind}.pth")
            if (part, kind) == ("InpaintingModel", "gen"):
                expected = network.state_dict()
    options, source = training_options(tmp_path, 3, [], print)
    from darkroom.build.training import open_run

    run = open_run(plan_training(options), options.notes, source)
    try:
        assert run.loop.step == 1999990
        assert equal(dict(run.loop.model.G.state_dict()), dict(expected))
        assert not run.loop.model.E.training
    finally:
        run.close()


def test_the_published_files_plan_unchanged_but_for_paths(pictures, tmp_path):
    """Both example files of the golden case, in all phases, and every key is known."""
    import json

    examples = json.loads((ROOT / "tests/golden/i2i/edgeconnect_config.json").read_text())
    for name in ("example_edge_connect", "example_anime"):
        values = examples[name]
        assert set(values) <= set(KEYS)
        paths = {key: str(pictures / ("masks" if "MASK" in key else "photos")) for key in values if "FLIST" in key}
        folder = tmp_path / name
        folder.mkdir()
        (folder / "EdgeModel_gen.pth").write_bytes(b"")
        (folder / "config.yml").write_text(yaml.safe_dump({**values, **paths}))
        for phase in PHASES:
            options, _ = training_options(folder, phase, [], print)
            plan = plan_training(options)
            assert plan.train.iterations == int(float(values["MAX_ITERS"]))
            weight = {t.name: t.options.weight for t in plan.terms}
            if phase > 1:
                keys = ("STYLE_LOSS_WEIGHT", "CONTENT_LOSS_WEIGHT", "INPAINT_ADV_LOSS_WEIGHT")
                assert [weight[n] for n in ("l_sty", "l_per", "l_g2")] == [values[key] for key in keys]
    assert {key: KEYS[key].default for key in examples["default_config"]} == examples["default_config"]


def test_which_files_are_the_newest():
    """By the number, not by the spelling; a generator and a discriminator of one iteration, where there are any."""
    import json

    case = json.loads((ROOT / "tests/golden/i2i/anime_checkpoint_selection.json").read_text())
    for row, picked in zip(case["table"], case["numeric_pick"], strict=True):
        for key, file in picked.items():
            assert newest(row["files"], *key.split("_")) == file
    sets = {"gen": (900, 1000, 2000), "dis": (900, 1000)}
    files = [f"EdgeModel_{kind}_{n}.pth" for kind, numbers in sets.items() for n in numbers]
    assert newest_set(files, "EdgeModel") == {"gen": "EdgeModel_gen_1000.pth", "dis": "EdgeModel_dis_1000.pth"}
    assert newest_set(["EdgeModel_gen_5.pth"], "EdgeModel") == {"gen": "EdgeModel_gen_5.pth"}
    assert newest_set([], "EdgeModel") == {}


def test_wrong_keys_and_values_are_all_told_with_their_lines(tmp_path):
    (tmp_path / "config.yml").write_text("MASC: 3\nGAN_LOSS: wgan\nSKIP_PHASE2: 1\nLR: fast\n")
    with pytest.raises(OptionErrors) as told:
        plan_training(training_options(tmp_path, 2, [], print)[0])
    text = str(told.value)
    parts = (
        "config.yml:1: there is no option 'MASC'. Did you mean 'MASK'?",
        "config.yml:2: GAN_LOSS: expected one of",
        "config.yml:3: SKIP_PHASE2: phase 2 is merged into phase 3",
        "config.yml:4: LR: ",
        "TRAIN_FLIST",
    )
    for part in parts:
        assert part in text, part


def test_what_is_wrong_is_told_where_nothing_is_left_to_do(pictures, tmp_path):
    config = f"TRAIN_FLIST: {pictures / 'photos'}\nMASK: 1\nMAX_ITERS: 5\n"
    (tmp_path / "config.yml").write_text(config)
    for kind in ("gen", "dis"):
        torch.save({"iteration": 5}, tmp_path / f"EdgeModel_{kind}.pth")
    with pytest.raises(NothingToDoError):
        training_options(tmp_path, 1, [], print)
    (tmp_path / "config.yml").write_text(f"{config}TYPO_KEY: 5\n")
    with pytest.raises(OptionErrors, match="there is no option 'TYPO_KEY'"):
        plan_training(training_options(tmp_path, 1, [], print)[0])


def test_numbers_that_cannot_be_are_told_by_their_keys(tmp_path):
    wrong = {
        "SEED": -3, "BATCH_SIZE": 0, "INPUT_SIZE": 3, "SIGMA": -2, "MAX_ITERS": 0, "SAVE_INTERVAL": -1,
        "SAMPLE_SIZE": 0, "PRINT_INTERVAL": -2,
    }  # fmt: skip
    (tmp_path / "config.yml").write_text("".join(f"{key}: {value}\n" for key, value in wrong.items()))
    with pytest.raises(OptionErrors) as told:
        plan_training(training_options(tmp_path, 1, [], print)[0])
    for line, key in enumerate(wrong, 1):
        assert f"config.yml:{line}: {key}: expected" in str(told.value)


def test_filling_beats_the_mean_colour(pictures, tmp_path):
    """On another part of the photograph that it learnt from; benchmarks/inpainting.py has photographs of their own."""
    (tmp_path / "train").mkdir()
    for n in range(2):
        (tmp_path / "train" / f"{n}.png").write_bytes((pictures / "photos" / f"photo{n}.png").read_bytes())
    path = template(2, pictures, tmp_path / "run")
    fool = "{name: l_d2, type: judged, player: D}"
    losses = f"losses=[{{name: l_l1, type: masked_l1, to: image, player: G}}, {fool}]"
    data = {"images": tmp_path / "train", "mask": "block", "masks": [], "size": 64}
    settings = [f"datasets.train.{key}={value}" for key, value in data.items()]
    settings += ["optim_G.lr=5e-4", "optim_G.betas=[0.5, 0.99]", "network_G.nf=16", "train.iterations=120"]
    run = make(path, losses, *settings)
    run.train()
    image = torch.from_numpy(np.array(Image.open(pictures / "photos/photo2.png"))).permute(2, 0, 1)[None] / 255
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 16:48, 16:48] = 1
    edge = torch.zeros_like(mask)
    merged = run.validate.judge(run.loop, {"image": image, "mask": mask, "edge": edge})["merged"]
    run.close()
    known = image * (1 - mask)
    mean = known.sum((2, 3), keepdim=True) / (1 - mask).sum()
    error = lambda x: float(((x - image).square() * mask).sum())  # noqa: E731
    assert error(merged) < error(mean * mask + known)


def test_external_edges_strokes_and_original_size(pictures, tmp_path):
    """Edges of files, thinned out by Canny's; holes of a brush; photographs that are neither square nor of one size."""
    from darkroom.filters.canny import canny, gray

    for name in ("photos", "edges"):
        (tmp_path / name).mkdir()
    for n, (height, width) in enumerate([(48, 64), (72, 40)]):
        photo = Image.open(pictures / f"photos/photo{n}.png").resize((width, height))
        photo.save(tmp_path / f"photos/{n}.png")
        edges = np.zeros((height, width), np.uint8)
        edges[:, : width // 2] = 255
        Image.fromarray(edges).save(tmp_path / f"edges/{n}.png")
    data = {"images": tmp_path / "photos", "edges": tmp_path / "edges", "mask": "strokes", "masks": [], "size": 0}
    settings = [f"datasets.train.{key}={value}" for key, value in {**data, "batch_size": 1, "sigma": 1}.items()]
    run = make(template(2, pictures, tmp_path / "run"), *settings, "train.iterations=4", "datasets.train.flip=false")
    before, sizes = weights(run), set()
    batches = run.loop.data(0)
    for batch in (next(batches) for _ in range(4)):
        photo = Image.open(batch["path"][0])
        sizes.add(photo.size)
        own = canny(gray(np.asarray(photo)), 1.0)
        own[:, photo.width // 2 :] = False
        assert np.array_equal(batch["edge"][0, 0].numpy(), own * np.uint8(255))
        assert 0 < batch["mask"].float().mean() < 255
    assert sizes == {(64, 48), (40, 72)}
    run.train()
    learnt = {key.split(".")[0] for key, value in weights(run).items() if not torch.equal(value, before[key])}
    run.close()
    assert learnt == {"G", "D"}


def test_a_check_leaves_no_weights_behind(pictures, tmp_path):
    (tmp_path / "config.yml").write_text(CONFIG.format(root=pictures))
    done = python("train.py", "--model", 1, "--path", tmp_path, "--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {file.name for file in tmp_path.iterdir()} == {"config.yml"}


def test_without_images_to_validate_with_there_are_no_samples(pictures, tmp_path):
    """Which is said, not found out after days; and the numbers of both models stand in the published order."""
    text = CONFIG.format(root=pictures).replace(f"VAL_FLIST: {pictures}/photos\n", "")
    assert text != CONFIG.format(root=pictures)
    (tmp_path / "config.yml").write_text(text)
    options, _ = training_options(tmp_path, 4, [], print)
    assert any("there are no samples" in note and "VAL_FLIST" in note for note in options.notes)
    plan = plan_training(options)
    assert plan.display is None
    assert plan.logger.numbers[:5] == ("l_d1", "l_g1", "l_fm", "precision", "recall")
    assert plan.logger.numbers[5:7] == ("l_d2", "l_g2")


def test_joint_training_numbers_both_models_above_what_there_is(pictures, tmp_path):
    """So that what it saves is what the next run finds newest."""
    (tmp_path / "config.yml").write_text(CONFIG.format(root=pictures).replace("MAX_ITERS: 2", "MAX_ITERS: 1000"))
    for name, step in (("EdgeModel", 700), ("InpaintingModel", 20)):
        for kind in ("gen", "dis"):
            torch.save({"iteration": step}, tmp_path / f"{name}_{kind}_{step}.pth")
    options, _ = training_options(tmp_path, 4, [], print)
    plan = plan_training(options)
    assert plan.path.start == 700
    assert set(plan.path.pretrain) == {"G", "D", "E", "D_E"}
    assert {key for key, file in plan.checkpoint.publish.items() if "EdgeModel" in file} == {"E", "D_E"}


def test_edges_alone_need_no_filling(pictures, tmp_path):
    """Model 1 is tested without an inpainting model, and with no edges around the hole for SIGMA -1."""
    from darkroom.archs import ARCHS

    network = ARCHS["edge_generator"]()
    torch.save({"iteration": 1, "generator": network.to_public(network.state_dict())}, tmp_path / "EdgeModel_gen.pth")
    (tmp_path / "config.yml").write_text(CONFIG.format(root=pictures).replace("SIGMA: 1", "SIGMA: -1"))
    files = (
        "--input",
        pictures / "photos/photo0.png",
        "--mask",
        pictures / "masks/0.png",
        "--output",
        tmp_path / "out",
    )
    done = python("test.py", "--model", 1, "--path", tmp_path, *files)
    assert done.returncode == 0, done.stdout + done.stderr
    hole = np.asarray(Image.open(pictures / "masks/0.png")) > 0
    made = np.asarray(Image.open(tmp_path / "out/photo0.png"))
    assert not made[~hole].any()
    assert made[hole].any()
    done = python("test.py", "--model", 3, "--path", tmp_path, *files, "--edge", pictures / "masks/0.png")
    assert done.returncode == 2
    assert "models 3 and 4 fill along edges that they predict" in done.stderr
