"""ONNX files: run by onnxruntime at sizes that were not traced, and compared with PyTorch here once more."""

import importlib.util
import inspect

import numpy as np
import pytest
import torch
from runs import ROOT, python
from test_model_files import SMALL, TINY, rows, theirs_file

from darkroom.archs import ARCHS
from darkroom.archs.spandrel import SpandrelNetwork
from darkroom.build.auto import recognisable
from darkroom.cli import export as command
from darkroom.core.network import Network
from darkroom.inference import onnx as exporter
from darkroom.inference.weights import load_any, save_weights

MISSING = [name for name in exporter.NEEDED if importlib.util.find_spec(name) is None]
needed = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")

NOT_EXPORTABLE = ("srflow",)
"""Modules of networks that ONNX has no operators for."""
FAMILIES = {ARCHS[name].__module__.rpartition(".")[2]: name for name, _ in rows()}
"""One generator of each module."""


def tiny(name, **options):
    torch.manual_seed(0)
    known = inspect.signature(ARCHS[name]).parameters
    return ARCHS[name](**{k: v for k, v in {**SMALL, "gc": 4, "nb": 1, **options}.items() if k in known}).eval()


def run_onnx(path, x):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"input": x.numpy()})[0])


def compare(path, network, *shapes, tolerance=1e-4):
    for shape in shapes:
        x = torch.rand(shape)
        with torch.no_grad():
            expected = network(x)
        found = run_onnx(path, x)
        assert found.shape == expected.shape
        assert (found - expected).abs().max() <= tolerance * expected.abs().max()


def silent(message):
    del message


def export(capsys, *arguments, code=0):
    capsys.readouterr()
    try:
        found = command.main([*map(str, arguments)])
    except SystemExit as stop:
        found = stop.code
    printed = capsys.readouterr()
    assert found == code, printed
    return printed.out if code == 0 else printed.err


@needed
@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in NOT_EXPORTABLE])
def test_our_generators_take_any_size_and_batch(tmp_path, family):
    network = tiny(FAMILIES[family])
    found = exporter.export(network, tmp_path / "a.onnx", 3, say=silent)
    multiple = network.multiple_of
    assert (found.multiple, found.batches) == (multiple, True)
    odd, large = ((1, 17, 26), (4, 31, 12)), ((1, 2 * multiple, 3 * multiple), (4, 3 * multiple, 2 * multiple))
    sides = odd if multiple == 1 else large
    compare(tmp_path / "a.onnx", network, *((batch, 3, *size) for batch, *size in sides))
    assert [p.name for p in tmp_path.iterdir()] == ["a.onnx"]


@needed
@pytest.mark.parametrize("arch", ["SPAN", "RealPLKSR", "SwinIR"])
def test_spandrels_networks_are_exported_from_their_files(tmp_path, capsys, arch):
    file = theirs_file(arch, tmp_path / "a.pth")
    said = export(capsys, file, "--onnx", tmp_path / "a.onnx")
    network = load_any(file, recognisable()).eval()
    assert isinstance(network, SpandrelNetwork)
    batch = 1 if arch == "SwinIR" else 2
    assert ("one image at a time" if batch == 1 else "batches of any size") in said
    compare(tmp_path / "a.onnx", network, (1, 3, 21, 30), (batch, 3, 40, 17))


@needed
def test_the_command_in_a_real_process(tmp_path):
    network = tiny("esrgan", scale=2)
    save_weights(network.to_public(network.state_dict()), tmp_path / "a.pth")
    done = python("-m", "darkroom", "export", tmp_path / "a.pth", "--onnx", tmp_path / "a.onnx")
    assert done.returncode == 0, done.stderr
    assert "RRDBNet x2" in done.stdout
    assert "images of any size, batches of any size; differs from PyTorch by " in done.stdout
    assert "torch.onnx" not in done.stdout
    compare(tmp_path / "a.onnx", network, (1, 3, 13, 9))


@needed
def test_padding_inside_a_network_stays_dynamic(tmp_path):
    network = tiny("esrgan", scale=2, unshuffle=2)
    assert exporter.export(network, tmp_path / "a.onnx", 3, say=silent).multiple == 1
    compare(tmp_path / "a.onnx", network, (1, 3, 14, 26), (2, 3, 33, 10), (1, 3, 9, 11), (1, 3, 12, 13))


class Folded(Network):
    """Takes even sides only."""

    multiple_of = 2

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(12, 12, 3, padding=1)

    def forward(self, x):
        return torch.pixel_shuffle(self.conv(torch.pixel_unshuffle(x, 2)), 2)


@needed
def test_networks_that_need_multiples_say_which(tmp_path):
    network = Folded().eval()
    assert exporter.export(network, tmp_path / "a.onnx", 3, say=silent).multiple == 2
    compare(tmp_path / "a.onnx", network, (1, 3, 14, 26), (2, 3, 32, 10))


@needed
def test_opset_half_and_one_size(tmp_path, capsys):
    import onnx

    network = tiny("compact")
    file = tmp_path / "a.pth"
    save_weights(network.state_dict(), file)
    assert "opset 16" in export(capsys, file, "--onnx", tmp_path / "16.onnx", "--opset", 16)
    compare(tmp_path / "16.onnx", network, (2, 3, 9, 20))
    assert onnx.load(tmp_path / "16.onnx").opset_import[0].version == 16
    export(capsys, file, "--onnx", tmp_path / "half.onnx", "--half")
    x = torch.rand(1, 3, 11, 10)
    found = run_onnx(tmp_path / "half.onnx", x.half())
    assert found.dtype == torch.float16
    with torch.no_grad():
        np.testing.assert_allclose(found.float(), network(x), atol=0.01)
    assert "images of 16x24" in export(capsys, file, "--onnx", tmp_path / "s.onnx", "--size", 16, 24)
    shape = onnx.load(tmp_path / "s.onnx").graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_value for d in shape][2:] == [16, 24]
    text = export(capsys, file, "--onnx", tmp_path / "7.onnx", "--opset", 7, code=1)
    assert "cannot be written in opset 7" in text
    assert {p.name for p in tmp_path.iterdir()} == {"a.pth", "16.onnx", "half.onnx", "s.onnx"}


class Odd(Network):
    """Computes something else for other widths, where an exporter takes the one that it saw."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.conv(x) * float(int(x.shape[-1]) % 97)


@needed
def test_a_file_that_computes_something_else_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(exporter, "MULTIPLES", (1, 4))
    said = []
    with pytest.raises(exporter.DarkroomError, match=r"Odd cannot be exported: .* --size HEIGHT WIDTH"):
        exporter.export(Odd(), tmp_path / "a.onnx", 3, say=said.append)
    assert len(said) == 4
    assert [*tmp_path.iterdir()] == []


def test_without_the_packages_the_command_says_how_to_install_them(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(exporter, "NEEDED", ("onnx_that_is_not_there", "onnxruntime_neither"))
    save_weights(tiny("compact").state_dict(), tmp_path / "a.pth")
    text = export(capsys, tmp_path / "a.pth", "--onnx", tmp_path / "a.onnx", code=1)
    assert text.strip() == (
        "error: an export needs onnx_that_is_not_there, onnxruntime_neither: "
        "pip install onnx_that_is_not_there onnxruntime_neither"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("none.pth", "--onnx", "a.onnx"), 1, "there is no weights file"),
        (("a.pth", "--onnx", "a.pth"), 1, "expected a name that ends in .onnx"),
        (("a.pth", "--onnx", "there.onnx"), 1, "is there already; write --force"),
        (("a.pth",), 2, "--onnx"),
        (("odd.pth", "--onnx", "a.onnx"), 1, "was not recognised"),
        (("a.pth", "--onnx", "a.onnx", "--scale", "4"), 1, "enlarges 2 times, where 4 is wanted"),
    ],
    ids=str,
)
def test_wrong_calls_are_refused(tmp_path, monkeypatch, capsys, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(exporter, "NEEDED", ())
    save_weights(tiny("compact", scale=2).state_dict(), "a.pth")
    save_weights({"odd.weight": torch.rand(3)}, "odd.pth")
    (tmp_path / "there.onnx").write_bytes(b"")
    assert message in export(capsys, *arguments, code=code)
    assert (tmp_path / "there.onnx").read_bytes() == b""
    assert not (tmp_path / "a.onnx").exists()


def test_help_has_an_example():
    done = python("-m", "darkroom", "export", "--help", cwd=ROOT)
    assert "python -m darkroom export" in done.stdout.partition("examples:")[2]


def test_half_is_refused_where_a_network_cannot(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(exporter, "NEEDED", ())
    file = theirs_file("SwinIR", tmp_path / "a.pth")
    text = export(capsys, file, "--onnx", tmp_path / "a.onnx", "--half", code=2)
    assert "cannot compute in float16" in text
    assert TINY["SwinIR"]["upscale"] == 2
