"""The commands around model files, run as users run them; their files compared number by number."""

import shutil

import numpy as np
import pytest
import torch
from runs import ROOT, equal, native, python, train, write
from torch.optim.swa_utils import AveragedModel

from darkroom.archs import ARCHS
from darkroom.build.auto import recognisable
from darkroom.cli import convert, extract, interpolate, swa2normal
from darkroom.inference.weights import load_any, read_state, save_weights

OURS = {
    "convert_model.py": convert,
    "net_interp.py": interpolate,
    "extract_average.py": extract,
    "swa2normal.py": swa2normal,
}


def network(name="esrgan", seed=0, **options):
    torch.manual_seed(seed)
    sizes = {"compact": {"nf": 8, "num_conv": 2, "scale": 2}, "discriminator_vgg": {}}
    made = ARCHS[name](**{**sizes.get(name, {"nf": 8, "nb": 2, "scale": 2}), **options})
    with torch.no_grad():
        for p in made.parameters():
            p.add_(torch.randn_like(p) * 0.01)
    return made.eval()


def saved(path, made, layout=None, under=None):
    save_weights(made.to_public(made.state_dict(), layout), path, under)
    return path


def process(name, *arguments, folder=ROOT, code=0):
    """The script as a real process; what it prints."""
    done = python(ROOT / "scripts" / name, *arguments, cwd=folder)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture
def script(capsys):
    """The script's work in this process; what it prints, on which stream depends on the exit code."""

    def run(name, *arguments, code=0):
        capsys.readouterr()
        try:
            found = OURS[name].main([*map(str, arguments)])
        except SystemExit as stop:
            found = stop.code
        printed = capsys.readouterr()
        assert found == code, printed
        return printed.out if code == 0 else printed.err

    return run


@pytest.mark.parametrize("name", OURS)
def test_help_has_an_example_that_names_the_script(name):
    text = process(name, "--help")
    assert f"python scripts/{name} " in text.partition("examples:")[2]
    assert "exit codes:" in text


def test_the_real_commands_from_another_folder(tmp_path):
    made = network()
    saved(tmp_path / "a.pth", made)
    torch.save(AveragedModel(made).state_dict(), tmp_path / "swa.pth")
    process("convert_model.py", "a.pth", "new.pth", "--to", "new", folder=tmp_path)
    process("net_interp.py", "--models", "a.pth", "new.pth", "--alpha", "0.5", "-o", "mean.pth", folder=tmp_path)
    process("extract_average.py", "a.pth", "raw.pth", "--which", "raw", folder=tmp_path)
    process("swa2normal.py", "-m", "swa.pth", folder=tmp_path)
    for name in ("mean.pth", "raw.pth"):
        assert equal(read_state(tmp_path / name), read_state(tmp_path / "a.pth"))
    assert equal(read_state(tmp_path / "swa_converted.pth"), made.state_dict())
    assert "there is no weights file" in process("convert_model.py", "b.pth", "c.pth", folder=tmp_path, code=1)
    assert "usage:" in process("net_interp.py", folder=tmp_path, code=2)


@pytest.mark.parametrize(
    ("name", "options", "layouts"),
    [
        ("esrgan", {"nb": 3, "nf": 12, "scale": 4}, ("old", "new", "realesrgan")),
        ("esrgan", {"scale": 8, "gc": 16, "in_nc": 1, "out_nc": 1}, ("realesrgan", "old")),
        ("esrgan", {"scale": 1, "unshuffle": 4}, ("new", "realesrgan", "old")),
        ("msrresnet", {"scale": 3}, ("new", "basicsr")),
    ],
    ids=str,
)
def test_conversion_goes_round_and_computes_the_same(tmp_path, name, options, layouts, script):
    made, x = network(name, **options), torch.rand(1, options.get("in_nc", 3), 9, 8)
    first = path = saved(tmp_path / "start.pth", made, layouts[-1])
    for layout in layouts:
        target = tmp_path / f"{layout}.pth"
        said = script("convert_model.py", path, target, "--to", layout)
        assert f"layout {layout}" in said
        assert f"nf: {options.get('nf', 8)}" in said
        public = made.to_public(made.state_dict(), layout)
        assert equal(read_state(target), public)
        content = torch.load(target, weights_only=True)
        assert ("params" in content) is (layout in ("realesrgan", "basicsr"))
        with torch.no_grad():
            assert torch.equal(load_any(target, recognisable(), options["scale"]).eval()(x), made(x))
        path = target
    assert equal(read_state(path), read_state(first))


def test_conversion_keeps_the_type_of_the_numbers(tmp_path, script):
    made = network()
    state = {k: t.half() for k, t in made.to_public(made.state_dict()).items()}
    save_weights(state, tmp_path / "a.pth")
    script("convert_model.py", tmp_path / "a.pth", tmp_path / "b.safetensors", "--to", "new")
    found = read_state(tmp_path / "b.safetensors")
    assert {t.dtype for t in found.values()} == {torch.float16}
    assert found["conv_first.weight"].equal(state["model.0.weight"])


def test_safetensors_in_and_out(tmp_path, script):
    made = network("compact")
    a = saved(tmp_path / "a.pth", made, under="params_ema")
    script("convert_model.py", a, tmp_path / "b.safetensors")
    script("convert_model.py", a, tmp_path / "c.safetensors", "--to", "safetensors")
    script("convert_model.py", tmp_path / "b.safetensors", tmp_path / "d.pth")
    for name in ("b.safetensors", "c.safetensors", "d.pth"):
        assert equal(read_state(tmp_path / name), made.state_dict())
    text = script("convert_model.py", a, tmp_path / "e.pth", "--to", "safetensors", code=1)
    assert "--to safetensors needs a name that ends in .safetensors" in text
    assert not (tmp_path / "e.pth").exists()


def test_a_discriminator_is_converted_when_it_is_named(tmp_path, script):
    made = network("discriminator_vgg", size=16, nf=4, hidden=8)
    a = saved(tmp_path / "a.pth", made)
    text = script("convert_model.py", a, tmp_path / "b.pth", "--to", "basicsr", code=1)
    assert "was not recognised" in text
    described = "{type: discriminator_vgg, size: 16, nf: 4, hidden: 8}"
    script("convert_model.py", a, tmp_path / "b.pth", "--to", "basicsr", "--network", described)
    assert equal(read_state(tmp_path / "b.pth"), made.to_public(made.state_dict(), "basicsr"))
    text = script("convert_model.py", a, tmp_path / "c.pth", "--to", "fea", "--network", "discriminator_vg", code=2)
    assert "Did you mean 'discriminator_vgg'?" in text


def test_what_is_there_is_not_replaced_without_force(tmp_path, script):
    a, b = saved(tmp_path / "a.pth", network()), saved(tmp_path / "b.pth", network(seed=1))
    before = b.read_bytes()
    for name, arguments in (
        ("convert_model.py", (a, b, "--to", "new")),
        ("net_interp.py", ("--models", a, a, "-o", b)),
        ("extract_average.py", (a, b, "--which", "raw")),
        ("swa2normal.py", ("-m", a, "-d", b)),
    ):
        assert "is there already; write --force" in script(name, *arguments, code=1)
        assert b.read_bytes() == before
    script("convert_model.py", a, b, "--to", "new", "--force")
    assert "conv_first.weight" in read_state(b)
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def test_what_cannot_be_converted_is_refused(tmp_path, script):
    a = saved(tmp_path / "a.pth", network("compact"))
    save_weights({"odd.weight": torch.rand(3)}, tmp_path / "odd.pth")
    cut = tmp_path / "cut.pth"
    cut.write_bytes(a.read_bytes()[:500])
    cases = [
        ((a, tmp_path / "b.pth", "--to", "old"), "SRVGGNetCompact has one key layout only, not 'old'"),
        ((tmp_path / "odd.pth", tmp_path / "b.pth", "--to", "old"), "was not recognised"),
        ((cut, tmp_path / "b.pth"), "damaged or cut short"),
        ((tmp_path / "none.pth", tmp_path / "b.pth"), "there is no weights file"),
        ((a, tmp_path / "b.onnx"), "expected a name that ends in .pth, .pt, .safetensors"),
        ((a, tmp_path, "--force"), "expected a name that ends in"),
    ]
    for arguments, message in cases:
        assert message in script("convert_model.py", *arguments, code=1)
        assert not (tmp_path / "b.pth").exists()


def test_interpolation_is_the_weighted_mean(tmp_path, script):
    """Against numpy, in float64; a batch norm's counter is that of the first."""
    made = [network("srgan", seed=i, norm_type="batch") for i in range(3)]
    for i, m in enumerate(made):
        for name, buffer in m.named_buffers():
            buffer.fill_(i + 1 if name.endswith("tracked") else 0.5 * i)
    files = [saved(tmp_path / f"{i}.pth", m) for i, m in enumerate(made)]
    script("net_interp.py", "--models", *files[:2], "--alpha", "0.3", "-o", tmp_path / "two.pth")
    script("net_interp.py", "--models", *files, "--weights", "0.5", "0.3", "0.2", "-o", tmp_path / "three.safetensors")
    script("net_interp.py", "--models", *files, "-o", tmp_path / "mean.pth")
    a, b, c = (read_state(f) for f in files)
    for name, shares in (
        ("two.pth", (0.7, 0.3, 0)), ("three.safetensors", (0.5, 0.3, 0.2)), ("mean.pth", (1 / 3,) * 3),
    ):  # fmt: skip
        found = read_state(tmp_path / name)
        assert found.keys() == a.keys()
        for key, tensor in found.items():
            if key.endswith("num_batches_tracked"):
                assert tensor == 1
                continue
            expected = sum(s * t[key].numpy().astype(np.float64) for s, t in zip(shares, (a, b, c), strict=True))
            np.testing.assert_array_max_ulp(tensor.numpy(), expected.astype(np.float32), 1)


def test_the_ends_are_the_models_and_the_known_spelling_works(tmp_path, script):
    a, b = saved(tmp_path / "a.pth", network()), saved(tmp_path / "b.pth", network(seed=1))
    b_state = read_state(b)
    b_state["model.0.bias"][0] = float("inf")  # a share of 0 keeps it out
    save_weights(b_state, b)
    script("net_interp.py", "-netA", a, "-netB", b, "-i", "0", "-o", tmp_path / "0.pth")
    script("net_interp.py", "--models", a, b, "--alpha", "1", "-o", tmp_path / "1.pth")
    assert equal(read_state(tmp_path / "0.pth"), read_state(a))
    assert equal(read_state(tmp_path / "1.pth"), b_state)


def test_other_layouts_are_converted_to_that_of_the_first(tmp_path, script):
    a = saved(tmp_path / "a.pth", network(), "realesrgan", under="params")
    b = saved(tmp_path / "b.pth", network(seed=1), "old")
    same = saved(tmp_path / "same.pth", network(seed=1), "realesrgan")
    said = script("net_interp.py", "--models", a, b, "--alpha", "0.25", "-o", tmp_path / "o.pth")
    assert "b.pth: converted to the key layout of" in said
    script("net_interp.py", "--models", a, same, "--alpha", "0.25", "-o", tmp_path / "p.pth")
    assert equal(read_state(tmp_path / "o.pth"), read_state(tmp_path / "p.pth"))
    assert "params" in torch.load(tmp_path / "o.pth", weights_only=True)


def test_models_that_do_not_fit_are_refused(tmp_path, script):
    a, wider = saved(tmp_path / "a.pth", network()), saved(tmp_path / "w.pth", network(nf=12))
    other = saved(tmp_path / "c.pth", network("compact"))
    out = ("-o", tmp_path / "o.pth")
    cases = [
        (("--models", a, wider), 1, "of another shape in the file: model.0.weight (12, 3, 3, 3) instead of (8, 3"),
        (("--models", a, other), 1, "c.pth is a SRVGGNetCompact, "),
        (("--models", a, a, "--alpha", "30"), 2, "from 0 to 1 that sum to 1"),
        (("--models", a, a, "--weights", "0.5", "0.6"), 2, "sum to 1, found 0.5, 0.6"),
        (("--models", a, a, a, "--alpha", "0.5"), 2, "--alpha is for two models"),
        (("--models", a), 2, "two files or more"),
    ]
    for arguments, code, message in cases:
        assert message in script("net_interp.py", *arguments, *out, code=code)
        assert not (tmp_path / "o.pth").exists()


def test_swa2normal(tmp_path, script):
    made = network()
    average = AveragedModel(torch.nn.DataParallel(made))
    average.update_parameters(torch.nn.DataParallel(made))
    public = {k.replace("module.module.", ""): t for k, t in average.state_dict().items()}
    del public["n_averaged"]
    torch.save(average.state_dict(), tmp_path / "500_swaG.best.pth")
    process("swa2normal.py", "-m", "500_swaG.best.pth", folder=tmp_path)
    assert equal(torch.load(tmp_path / "500_swaG_converted.pth", weights_only=True), public)
    script("swa2normal.py", "-model", tmp_path / "500_swaG.best.pth", "-dest", tmp_path / "d.safetensors")
    assert equal(read_state(tmp_path / "d.safetensors"), public)
    plain = saved(tmp_path / "plain.pth", made)
    text = script("swa2normal.py", "-m", plain, "-d", tmp_path / "e.pth", code=1)
    assert "plain.pth has no swa; there is raw" in text


def test_averages_come_out_of_a_training_state(tmp_path, script):
    """They are what the run itself wrote beside its weights."""
    network = {"type": "esrgan", "nf": 8, "nb": 1, "gc": 4}
    options = native(tmp_path, network_G=network, ema={"decay": 0.5}, swa={"start": 3})
    train(write(tmp_path / "o.yml", options))
    folder = tmp_path / "experiments/t"
    state = folder / "training_state/6.state"
    for kind, written in (("ema", "6_emaG"), ("swa", "6_swaG"), ("raw", "6_G"), (None, "6_emaG")):
        target = tmp_path / f"{kind}.pth"
        script("extract_average.py", state, target, *(["--which", kind] if kind else []))
        assert equal(read_state(target), read_state(folder / "models" / f"{written}.pth"))
        assert "model.0.weight" in read_state(target)
    text = script("extract_average.py", state, tmp_path / "x.pth", "--network", "D", code=1)
    assert "has no network 'D'; --network is one of: G" in text


def test_averages_that_have_not_begun_are_no_averages(tmp_path, script):
    train(write(tmp_path / "o.yml", native(tmp_path, swa={"start": 5})))
    state = tmp_path / "experiments/t/training_state/3.state"
    text = script("extract_average.py", state, tmp_path / "x.pth", code=1)
    assert "has no average; there is raw" in text
    shutil.copy(tmp_path / "o.yml", tmp_path / "bad.state")
    assert "not a whole training state" in script(
        "extract_average.py", tmp_path / "bad.state", tmp_path / "x.pth", code=1
    )


def test_sets_come_out_of_a_file(tmp_path, script):
    raw, ema = network().state_dict(), network(seed=1).state_dict()
    torch.save({"params": raw, "params_ema": ema, "iter": 5}, tmp_path / "a.pth")
    for kind, expected in (("ema", ema), ("raw", raw), (None, ema)):
        target = tmp_path / f"{kind}.pth"
        script("extract_average.py", tmp_path / "a.pth", target, *(["--which", kind] if kind else []))
        assert equal(torch.load(target, weights_only=True), expected)
    text = script("extract_average.py", tmp_path / "a.pth", tmp_path / "x.pth", "--which", "swa", code=1)
    assert "has no swa; there is ema, raw" in text
    said = script("convert_model.py", tmp_path / "a.pth", tmp_path / "y.safetensors")
    assert "holds params_ema, params: params_ema is taken" in said
