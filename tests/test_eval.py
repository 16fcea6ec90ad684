"""python -m darkroom eval: folders against folders."""

import csv

import numpy as np
import pytest
from PIL import Image
from runs import photographs, python

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
