"""The documentation says what is so: its commands run, its examples work, its links, keys and messages are there."""

import ast
import functools
import importlib
import importlib.util
import json
import math
import re
import shlex
import shutil
from collections import Counter

import pytest
import yaml
from PIL import Image
from runs import ROOT, photographs, python
from test_layers import ALLOWED

TRAINING, TESTING, ARCHITECTURE = (ROOT / "docs" / f"{name}.md" for name in ("training-sr", "testing", "architecture"))
FIRST = [ROOT / "README.md", TRAINING, TESTING]
PAGES = [*FIRST, *sorted({*(ROOT / "docs").glob("*.md")} - {*FIRST})]
"""Whose commands are run, in the order in which they build on each other."""
WRITTEN = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "datasets" / "README.md"]
GENERATED = ("options.md", "options-documented.md", "options.schema.json")

COMMANDS = {
    "README.md": 9,
    "training-sr.md": 8,
    "testing.md": 5,
    "training-ppon.md": 4,
    "training-sftgan.md": 5,
    "training-srflow.md": 3,
    "training-pix2pix.md": 3,
    "training-cyclegan.md": 4,
    "training-wbc.md": 7,
    "training-edgeconnect.md": 11,
    "translation.md": 2,
    "architecture.md": 2,
    "models.md": 6,
    "srflow-tools.md": 6,
    "data-tools.md": 9,
    "degradations.md": 1,
    "reading.md": 2,
}
"""How many there are on each page."""
SFTGAN = [
    c.replace("MODELS", "experiments/pretrained_models").replace("DATA", "datasets/mine/train")
    for c in (
        "python scripts/test_seg.py -i DATA/img -o DATA/bicseg -m MODELS/seg.pth --format npz --preview",
        "python scripts/transfer_params_sft.py -m MODELS/srresnet_x4.pth -o MODELS/sft_net_ini.pth",
        "python train.py -opt options/sr/train_sftgan.yml --check",
        "python train.py -opt options/sr/train_sftgan.yml",
        "python test.py -opt options/sr/test_sftgan.yml",
    )
]
EDGECONNECT = [
    "mkdir -p checkpoints/mine",
    "cp options/inpaint/config.yml checkpoints/mine/config.yml",
    "python train.py --model 1 --path checkpoints/mine --check",
    "python train.py --model 1 --path checkpoints/mine",
    "python train.py --model 3 --path checkpoints/mine",
    "python train.py -opt options/inpaint/train_edge.yml --check",
    "python train.py -opt options/inpaint/train_edge.yml",
    (
        "python test.py --model 3 --path checkpoints/mine "
        "--input datasets/mine/test.flist --mask datasets/mine/test_masks --output results/filled"
    ),
    "python -m darkroom eval results/filled datasets/mine/photos --metrics psnr,ssim,mae",
]
FRAMES = [
    "python -m darkroom frames -i film.mkv -o datasets/film --every 24 --min-change 4 --scale 4",
    "python -m darkroom frames -i bluray.mkv --low dvd.mkv -o datasets/film2 --start 60 --end 300",
]
SKIPPED = {
    "pip install -e .": "it installs",
    "pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu": "it installs",
    "pip install -e '.[test]'": "it installs",
    **dict.fromkeys(
        SFTGAN, "it needs labelled images and published weights; see test_sftgan_model and test_seg_scripts"
    ),
    **dict.fromkeys(EDGECONNECT, "it needs lists in its config.yml, and full-size networks; see test_edgeconnect.py"),
    "python -m darkroom paint --path checkpoints/mine": "it is a server that never ends; see test_paint.py",
    **dict.fromkeys(FRAMES, "it needs a film; see test_tools_frames.py"),
    "pytest": "it would run itself",
    "tensorboard --logdir tb_logger": "it is a server that never ends",
    'python train.py -opt options/sr/train_sr.yml --set "gpu_ids=[0, 1]"': "it wants two GPUs; see test_distributed.py",
    'torchrun --nproc_per_node 2 train.py -opt options/sr/train_sr.yml --set "gpu_ids=[0, 1]"': "likewise",
}
ONNX = "python -m darkroom export experiments/001_psnr_x4/models/best_G.pth --onnx results/x4.onnx"
if importlib.util.find_spec("onnxscript") is None:
    SKIPPED[ONNX] = "it needs an extra, which is not installed"

ESRGAN = "network_G={which_model_G: esrgan, nf: 8, nb: 1, gc: 4}"
PPON = "network_G={which_model_G: ppon, nf: 8, nb: 1}"
STAGES = (PPON, "train.ppon_stages=[1, 2]", "train.restarts=null", "network_D.nf=8", "use_tb_logger=false")
SRFLOW = "network_G={which_model_G: srflow_net, nf: 8, nb: 2, gc: 4, flow: {K: 1, stackRRDB: {blocks: [0, 1]}}}"
UNET = "network_G={which_model_G: unet_net, num_downs: 5, nf: 4, use_dropout: true}"
RESNET = "network_G={which_model_G: resnet_net, n_blocks: 1, nf: 4}"
WBC = "network_G={which_model_G: wbcunet, nf: 4}"
LOADED = ("datasets.train.load_size=40", "network_D.nf=4", "use_tb_logger=false")
SMALL = {
    "train_pix2pix.yml": (UNET, "datasets.val.load_size=32", *LOADED),
    "test_pix2pix.yml": (UNET,),
    "train_cyclegan.yml": (RESNET, *LOADED),
    "test_cyclegan.yml": (RESNET,),
    "train_wbc.yml": (WBC, *LOADED[1:]),
    "test_wbc.yml": (WBC,),
    "train_ppon.yml": STAGES,
    "train_ppon_finetune.yml": STAGES,
    "test_ppon.yml": (PPON,),
    "train_srflow.yml": (SRFLOW, "path.load_submodule=false", "path.pretrain_model_G=null", "use_tb_logger=false"),
    "test_srflow.yml": (SRFLOW,),
    "quickstart.yml": (
        "network_G.nf=4",
        "network_G.num_conv=1",
        "datasets.train.crop_size=16",
        "datasets.val.max_dataset_size=1",
    ),
    "train_sr_psnr.yml": (ESRGAN,),
    "train_sr.yml": (ESRGAN, "datasets.train.virtual_batch_size=2", "use_tb_logger=false"),
    "test_sr.yml": (ESRGAN,),
}
"""What makes the runs of an option file small."""
SHORT = (
    "datasets.train.n_workers=0",
    "datasets.train.batch_size=2",
    "datasets.train.crop_size=32",
    "train.val_freq=100000",
    "logger.save_checkpoint_freq=100000",
    "logger.print_freq=2",
)
"""What makes all training runs short. Validation and saving happen at the end anyway."""
NITER, RESUMED = 4, 6
"""Iterations of a run whose command does not say how many, and of one that goes on."""


def fences(page):
    """(language, title, text) of every fenced block, also of those in lists."""
    pattern = r'^( *)```(\w+)(?: title="([^"]+)")?\n(.*?)^ *```$'
    page_text = page.read_text(encoding="utf-8")
    for indent, language, title, text in re.findall(pattern, page_text, re.DOTALL | re.MULTILINE):
        yield language, title, re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)


def commands(page):
    """The commands of a page in order."""
    for language, _, text in fences(page):
        if language == "bash":
            lines = text.replace("\\\n", " ").splitlines()
            yield from (part.strip() for line in lines if line and line[0] != "#" for part in line.split(" && "))


SKIPPED |= dict.fromkeys(commands(ROOT / "docs" / "srflow-tools.md"), "it needs a model; see test_srflow_tools.py")


def words(page):
    """What a page has in backticks, fenced blocks left out."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`\n]+)`", text)


@pytest.fixture
def sandbox(tmp_path):
    """A copy of the repository in which the commands find what they name."""
    for name in ("train.py", "test.py"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("options", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "codes", tmp_path / "codes", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    return tmp_path


def execute(command, folder, *settings):
    """Run it with further settings, as a real process; its output."""
    more = [word for setting in settings for word in ("--set", setting)]
    program, *arguments = shlex.split(command)
    assert program == "python", command
    known = {"PYTHONPATH": str(folder / "codes"), "TORCH_HOME": str(folder / "hub")}
    done = python(*arguments, *more, cwd=folder, env=known)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def cut(command):
    """The settings that make the command's run small; what the command says itself stays."""
    file = re.search(r"-opt \S+/(\w+\.yml)", command)
    if file is None:
        return ()
    settings = SMALL[file[1]]
    if command.startswith("python train.py"):
        settings = (*SHORT, f"train.niter={RESUMED if 'resume_state' in command else NITER}", *settings)
        if "name=" in command:
            settings += ("validate.table=false",)
    said = {s.partition("=")[0] for s in shlex.split(command) if "=" in s}
    return tuple(s for s in settings if s.partition("=")[0] not in said)


def full_length(command, folder):
    """Give the last weights of a run that was cut the name that they have at the end of the full run."""
    from darkroom.config.source import read

    file = re.search(r"-opt (\S+)", command)
    if not command.startswith("python train.py") or "train.niter" in command:
        return
    options = read(folder / file[1])
    name = re.search(r" name=(\S+)", command)
    for ours in (NITER, RESUMED):
        for path in (folder / "experiments" / (name[1] if name else options["name"]) / "models").glob(f"{ours}_*.pth"):
            shutil.copy(path, path.with_name(path.name.replace(str(ours), str(int(options["train"]["niter"])), 1)))


def weights_of_the_rulers(folder):
    """Random weights for VGG19 and SqueezeNet, where torch looks for the downloaded ones."""
    import torch

    from darkroom.archs.vgg import VGGFeatures
    from darkroom.metrics.lpips import LPIPSDistance

    folder.mkdir(parents=True)
    torch.manual_seed(0)
    for network, file in ((v := VGGFeatures("vgg19"), v.file), (b := LPIPSDistance("squeeze").backbone, b.file)):
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, 0, 0.02)
        torch.save(network.state_dict(), folder / file)


def images(folder):
    """The images that the templates name: photographs of 72 pixels, and inputs of a quarter of that."""
    for part, count in (("mine/train", 4), ("mine/val", 2), ("test_b", 2)):
        photographs(folder / part / "HR", count)
    photographs(folder / "mine" / "photos", 3)
    for part in ("test_a", "test_b"):
        (folder / part / "LR").mkdir(parents=True)
        for path in (folder / "test_b" / "HR").iterdir():
            Image.open(path).resize((18, 18), Image.Resampling.BICUBIC).save(folder / part / "LR" / path.name)
    strip = Image.open(next((folder / "test_b" / "HR").iterdir())).resize((300, 20), Image.Resampling.BICUBIC)
    strip.save(folder / "test_a" / "LR" / "strip.png")  # longer than a tile
    for part in ("trainA", "trainB", "testA", "testB"):
        photographs(folder / "apple2orange" / part, 2)
    for part in ("scenery", "face", "val", "test"):
        photographs(folder / "wbc" / f"{part}_photo", 2)
        photographs(folder / "wbc" / f"{part}_cartoon", 2)
    photographs(folder / "facades" / "testB", 2)
    for part in ("train", "val"):
        (folder / "facades" / part).mkdir()
        for path in (folder / "facades" / "testB").iterdir():
            image = Image.open(path)
            both = Image.new("RGB", (144, 72))
            both.paste(image, (0, 0))
            both.paste(image.convert("L"), (72, 0))
            both.save(folder / "facades" / part / path.name)


def test_commands_are_found():
    found = {page.name: [*commands(page)] for page in PAGES}
    assert {name: len(list_) for name, list_ in found.items() if list_} == COMMANDS
    everything = {c for list_ in found.values() for c in list_}
    assert everything.issuperset(SKIPPED), "what is skipped is documented no more"


def test_commands_run(sandbox):
    """All commands for users, in the order of the pages, in one folder."""
    images(sandbox / "datasets")
    weights_of_the_rulers(sandbox / "hub" / "hub" / "checkpoints")
    output = {}
    for page in PAGES:
        for command in commands(page) if page != ARCHITECTURE else ():
            if command not in SKIPPED and command not in output:
                output[command] = execute(command, sandbox, *cut(command))
                full_length(command, sandbox)
    assert len(output) == 55 - (ONNX in SKIPPED)
    check_files(sandbox)
    check_log(output)


def check_files(folder):
    """What the pages say that there is afterwards."""
    experiments, results = folder / "experiments", folder / "results"
    assert (experiments / "quickstart" / "comparison.png").stat().st_size > 1000
    for name in ("options.yml", "native.yml", "metrics.jsonl", "training_state/300.state", "models/300_G.pth"):
        assert (experiments / "first" / name).is_file(), name
    assert not (experiments / "first" / "models" / "latest_G.pth").exists()
    assert (experiments / "001_psnr_x4" / "models" / "best_G.pth").is_file()
    assert [*(folder / "tb_logger" / "001_psnr_x4").iterdir()]
    assert {p.name for p in (results / "first").iterdir()} == {"coffee.png", "chelsea.png"}
    assert {p.name for p in (results / "esrgan_x4" / "set_b").iterdir()} == {"photo0_esrgan.png", "photo1_esrgan.png"}
    assert {len([*(results / name).iterdir()]) for name in ("photos", "tiles", "ensemble")} == {3}
    same(results / "photos" / "strip.png", results / "tiles" / "strip.png")
    written = {"pix2pix/facades_test": "_fake", "cyclegan/apple2orange_test": "_fake_B", "wbc/photographs": "_cartoon"}
    for place, suffix in written.items():
        assert {p.name for p in (results / place).iterdir()} == {f"photo{n}{suffix}.png" for n in (0, 1)}


def same(a, b):
    """Tiles that overlap by more than twice the radius leave no trace, testing.md says."""
    import numpy as np

    whole, tiled = (np.asarray(Image.open(path)).astype(int) for path in (a, b))
    assert whole.shape == (80, 1200, 3)
    assert np.abs(whole - tiled).max() <= 1


def check_log(output):
    """What the pages say that is printed."""
    shown = next(text for language, _, text in fences(TRAINING) if language == "text" and "iter:" in text)
    runs = {c: out for c, out in output.items() if "train_sr.yml" in c}
    gan, resumed = (next(out for c, out in runs.items() if part in c) for part in ("model_G=exp", "=auto"))
    printed = next(line for line in gan.splitlines() if "iter:" in line)
    names, real = (re.findall(r"([A-Za-z][\w-]*):", line.partition("<")[2]) for line in (shown, printed))
    assert names == real
    assert len(names) == 13
    assert f"after iteration {NITER}" in resumed
    assert "# Validation # PSNR: " in gan
    measured = next(out for c, out in output.items() if "test_sr.yml" in c and "metrics" in c)
    assert "----Average metrics results for set_b----\nPSNR: " in measured
    assert "\nY: PSNR_Y: " in measured


def test_examples_work(sandbox):
    """The components of architecture.md, as files in the package: they train, are measured, and remove noise."""
    examples = {title: text for language, title, text in fences(ARCHITECTURE) if title}
    assert Counter(title.split("/")[-2] for title in examples) == Counter(
        ["archs", "losses", "metrics", "data", "optim", "models", "options"]
    )
    for title, text in examples.items():
        assert not (sandbox / title).exists(), title
        (sandbox / title).write_text(text, encoding="utf-8")
    settings = ("datasets.train.workers=0", "logger.tensorboard=false")
    train, test = commands(ARCHITECTURE)
    out = execute(train, sandbox, *settings)
    assert "DnCNN x1 from" in execute(test, sandbox)
    lines = [json.loads(s) for s in (sandbox / "experiments/denoise/metrics.jsonl").read_text().splitlines()]
    rates = {line["iter"]: line["lr/base"] for line in lines if "lr/base" in line}
    assert rates == pytest.approx({n: 2e-3 * (1 - (n - 1) / 200) for n in range(20, 201, 20)})
    measured = [line for line in lines if "abs_error" in line]
    assert len(measured) == 2
    noisy = -20 * math.log10(0.1)
    assert all(line["psnr"] > noisy + 1 for line in measured), out
    rms = 255 * 10 ** (-measured[-1]["psnr"] / 20)
    assert 0.5 * rms < measured[-1]["abs_error"] < rms  # of Gaussian errors it is 0.8
    first = next(line["log_cosh"] for line in lines if line["iter"] == 20)
    assert 0 < first < 0.1


@pytest.mark.parametrize("page", WRITTEN, ids=lambda p: p.name)
def test_links(page):
    if page.name in GENERATED:
        return
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if re.match(r"https?:", target) or file.name in GENERATED:
            continue
        assert file.is_file(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}, target


@functools.cache
def known_keys():
    """Every option by section, in both spellings."""
    import dataclasses

    from darkroom.archs import ARCHS
    from darkroom.build.degrading import LISTS
    from darkroom.config import options
    from darkroom.config.dialects import trainner, trainner_tables
    from darkroom.config.typed import parameters
    from darkroom.core.terms import LOSSES
    from darkroom.data import DATASETS
    from darkroom.data.degrade import DEGRADATIONS
    from darkroom.metrics import METRICS
    from darkroom.optim.optimizers import OPTIMIZERS
    from darkroom.optim.schedules import SCHEDULES

    def arguments(registry, cls=None):
        shared = {f.name for f in dataclasses.fields(cls)} if cls else set()
        return {"type", *shared, *(p for name in registry for p in parameters(registry[name]))}

    keys = {name: {f.name for f in dataclasses.fields(cls)} for name, cls in options.SECTIONS.items()}
    for name, table in trainner.KEYS.items():
        keys[name] = keys.get(name, set()) | {*table}
    keys[""] |= {*trainner_tables.TOP_OF_TEST}
    dataset = arguments(DATASETS, options.LoaderOptions)
    keys |= {f"datasets.{name}": keys[f"datasets.{name}"] | dataset for name in ("train", "val")}
    keys["datasets.test_1"] = keys["datasets.val"]
    keys |= {f"network_{n}": arguments(ARCHS) | {*trainner_tables.NETWORK} for n in "GD"}
    keys["degrade"] |= {*LISTS}
    stage = {f.name for f in dataclasses.fields(options.StageOptions)} | {"of"}
    keys |= {f"degrade.{name}": stage for name in LISTS}
    keys |= {f"degrade.{name}.of": arguments(DEGRADATIONS, options.ChoiceOptions) for name in LISTS}
    keys |= {f"optim_{n}": arguments(OPTIMIZERS, options.PlayerOptions) for n in "GD"}
    return keys | {
        "datasets": {"train", "val", "test_1"},
        "schedule": arguments(SCHEDULES, options.ScheduleOptions),
        "losses": arguments(LOSSES, options.TermOptions),
        "validate.metrics": arguments(METRICS, options.MetricOptions),
    }


def test_keys_of_sections_exist():
    seen = 0
    for page in WRITTEN:
        for word in words(page):
            found = re.fullmatch(r"([a-zA-Z_]+(?:\.[a-z]+)?)\.([a-zA-Z_]\w*)(?:[:=].*)?", word)
            if found is None or found[1] not in known_keys() or re.search(r"\.(py|md|yml|json|pth|state)$", word):
                continue
            seen += 1
            assert found[2] in known_keys()[found[1]], f"{page.name}: {word}"
    assert seen >= 8


def test_keys_of_yaml_examples_exist():
    seen = 0
    for page in PAGES:
        for language, title, text in fences(page):
            if language == "yaml" and not title:
                seen += check_keys(page, "", yaml.safe_load(text))
    assert seen >= 10


def check_keys(page, section, values):
    """How many keys there are in a section and those below."""
    if section not in known_keys():
        return 0
    count = 0
    for entry in values if isinstance(values, list) else [values]:
        for key, value in entry.items():
            assert key in known_keys()[section], f"{page.name}: {section}.{key}"
            inner = f"{section}.{key}".lstrip(".")
            is_inner = isinstance(value, dict) or (isinstance(value, list) and any(isinstance(v, dict) for v in value))
            count += 1 + (check_keys(page, inner, value) if is_inner else 0)
    return count


@functools.cache
def strings():
    """All texts in the package, with line ends and braces as they are printed."""
    found = set()
    for file in (ROOT / "codes" / "darkroom").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return tuple(found)


def test_messages_are_those_of_the_program():
    """Between the dots, each message of the FAQ is in the code as it is printed."""
    faq = ROOT / "docs" / "faq.md"
    lines = [line for language, _, text in fences(faq) if language == "text" for line in text.splitlines()]
    lines += [word for word in words(faq) if "..." in word]
    parts = [part.strip() for line in lines for part in line.split("...")]
    for part in parts:
        assert any(part in s for s in strings()), f"no message says {part!r}"
    assert len([part for part in parts if len(part) > 9]) >= 30


def test_flags_exist():
    names = ("convert", "eval", "export", "extract", "interpolate", "paint", "segment", "swa2normal", "test", "train")
    names += (
        "preview",
        "pack",
        "subimages",
        "downscale",
        "crops",
        "faulty",
        "similar",
        "align",
        "transfer_colors",
        "frames",
    )
    parsers = [importlib.import_module(f"darkroom.cli.{name}").parser() for name in names]
    parsers += importlib.import_module("darkroom.cli.srflow").parser()._actions[-1].choices.values()
    known = {flag for p in parsers for action in p._actions for flag in action.option_strings}
    own = ast.walk(ast.parse((ROOT / "codes/darkroom/cli/edgeconnect.py").read_text(encoding="utf-8")))
    known |= {arg.value for node in own if isinstance(node, ast.Call) for arg in node.args
              if getattr(node.func, "attr", "") == "add_argument" and isinstance(arg, ast.Constant)}  # fmt: skip
    for page in (p for p in PAGES if p.name not in GENERATED):
        for flag in re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", " ".join(words(page))):
            assert flag in known, f"{page.name}: {flag}"


def test_who_may_import_whom_is_what_the_tests_enforce():
    table = ARCHITECTURE.read_text(encoding="utf-8").partition("## Who may import whom")[2].partition("\n## ")[0]
    found = {}
    for row in re.findall(r"^\| (`.+) \| (.+) \|$", table, re.MULTILINE):
        packages, others = (re.findall(r"`([^`]+)`", cell) for cell in row)
        most = {"everything but `cli` and `tools`": {*ALLOWED} - {"cli", "tools", "build"}}
        allowed = {"nothing": set(), **most}.get(row[1], {*others})
        found |= dict.fromkeys(packages, allowed)
    assert found == ALLOWED


def test_names_in_the_architecture_exist():
    package = ROOT / "codes" / "darkroom"
    defined = set()
    for file in package.rglob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                defined.add(node.name)
            if isinstance(node, ast.ClassDef):
                defined |= {f"{node.name}.{m.name}" for m in node.body if isinstance(m, ast.FunctionDef)}
    seen = 0
    for word in words(ARCHITECTURE):
        if re.fullmatch(r"[\w/]+\.py|[a-z]+/[\w/]*", word):
            places = (package / word, ROOT / word)
            assert any(p.exists() for p in places), word
        elif re.fullmatch(r"[A-Z]\w+\.[a-z_]+|[A-Z][a-z]+[A-Z]\w+", word):
            assert word in defined or word in ("DnCNN",), word
        else:
            continue
        seen += 1
    assert seen > 40


def test_pages_are_reached_from_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in PAGES[1:]:
        if page.name != "options-documented.md":  # options.md leads there
            assert f"(docs/{page.name})" in text, page.name
