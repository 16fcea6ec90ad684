"""python -m darkroom eval: folders against folders."""

import csv
import re

import numpy as np
import pytest
from PIL import Image
from runs import photographs, python, save_backbone, save_inception

from darkroom.cli import eval as command


def test_values_are_those_of_the_formulas(tmp_path):
    photographs(tmp_path / "truth", count=2, size=32)
    (tmp_path / "results").mkdir()
    errors = {}
    for n, file in enumerate(sorted((tmp_path / "truth").iterdir())):
        image = np.asarray(Image.open(file)).astype(int)
        changed = np.clip(image + 10 * (n + 1), 0, 255)
        Image.fromarray(changed.astype(np.uint8)).save(tmp_path / "results" / file.name)
        errors[file.stem] = changed - image
    (tmp_path / "results" / "stray.png").write_bytes((tmp_path / "results/photo0.png").read_bytes())
    table = tmp_path / "t.csv"
    done = python(
        "-m", "darkroom", "eval", tmp_path / "results", tmp_path / "truth", "--metrics", "psnr,mae", "--csv", table
    )
    assert done.returncode == 0, done.stderr
    assert "1 results have no truth and are left out" in done.stdout
    rows = list(csv.DictReader(table.open()))
    assert [row["image"].replace("\\", "/").rsplit("/")[-1] for row in rows] == ["photo0.png", "photo1.png"]
    for row, error in zip(rows, errors.values(), strict=True):
        assert float(row["mae"]) == pytest.approx(np.abs(error).mean() / 255, rel=1e-5)
        assert float(row["psnr"]) == pytest.approx(10 * np.log10(255**2 / (error**2).mean()), rel=1e-5)
    mean = np.mean([float(row["psnr"]) for row in rows])
    assert f"2 images: PSNR: {mean:.5g}" in done.stdout


def test_distances_of_networks_that_are_in_the_cache(tmp_path, monkeypatch):
    """LPIPS and FID with random weights under the names of the real ones: 0 for equal folders, more for others."""
    from darkroom.archs.lpips import LPIPSDistance

    cache = tmp_path / "torch/hub/checkpoints"
    cache.mkdir(parents=True)
    pytest.importorskip("torch_fidelity", reason="needs torch-fidelity")
    save_inception(cache / "weights-inception-2015-12-05-6726825d.pth")
    backbone = LPIPSDistance("squeeze").backbone
    save_backbone(backbone, cache / backbone.file)
    photographs(tmp_path / "truth", count=2, size=32)
    (tmp_path / "blurred").mkdir()
    for file in (tmp_path / "truth").iterdir():
        Image.open(file).resize((8, 8)).resize((32, 32)).save(tmp_path / "blurred" / file.name)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    found = {}
    for name in ("truth", "blurred"):
        done = python("-m", "darkroom", "eval", tmp_path / name, tmp_path / "truth", "--metrics", "lpips,fid")
        assert done.returncode == 0, done.stderr
        found[name] = [float(value) for value in re.findall(r"(?:LPIPS|FID): (\S+?),?(?=\s)", done.stdout + " ")]
    assert found["truth"] == pytest.approx([0, 0], abs=1e-4)
    assert all(value > 1e-3 for value in found["blurred"])
    assert len(found["blurred"]) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("results", "truth", "--metrics", "pnsr"), 2, "there is no metric 'pnsr'; there are: "),
        (("results", "nowhere"), 1, "nowhere"),
        (("other", "truth"), 1, "both must be of one size"),
    ],
)
def test_what_does_not_fit_is_told(tmp_path, monkeypatch, capsys, arguments, code, text):
    photographs(tmp_path / "truth", count=1, size=32)
    photographs(tmp_path / "results", count=1, size=32)
    photographs(tmp_path / "other", count=1, size=24)
    monkeypatch.chdir(tmp_path)
    assert command.main(arguments) == code
    assert text in capsys.readouterr().err
