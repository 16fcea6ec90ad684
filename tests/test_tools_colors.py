"""Colour transfer: what each algorithm promises, in numbers, and the files that the tool writes."""

import cv2
import numpy as np
import pytest
from files import encode, fill, photograph, photograph16
from skimage.data import astronaut, chelsea, coffee

from darkroom.__main__ import main
from darkroom.cli import transfer_colors as command
from darkroom.core.errors import DataError
from darkroom.data.images import Picture, read, write
from darkroom.tools import transfer as transfer_module
from darkroom.tools.colors import ALGORITHMS, histograms, regrain, transfer, weights
from darkroom.tools.transfer import transfer_colors
from darkroom.tools.work import Workers

QUIET = Workers(jobs=2, progress=False, say=lambda text: None)


def levels(image):
    return image.astype(np.float32) / 255


@pytest.fixture(scope="module")
def pair():
    """Without black and white, so that little is clipped."""
    return levels(astronaut()[:200, 150:400]) * 0.4 + 0.3, levels(chelsea()[:180, 90:330]) * 0.4 + 0.3


def moments(image):
    return image.mean((0, 1)), image.std((0, 1))


def in_space(image, code):
    return cv2.cvtColor(np.ascontiguousarray(image), code)


def test_mean_and_deviation_become_those_of_the_reference(pair):
    image, reference = pair
    found = transfer(image, reference, "rgb")
    (m, s), (n, t) = moments(image), moments(reference)
    np.testing.assert_allclose(found, ((image - m) * t / s + n).clip(0, 1), atol=1e-5)
    for algorithm, code, own, other in (
        ("lab", cv2.COLOR_RGB2LAB, (), (0, 1, 2)),
        ("ycbcr", cv2.COLOR_RGB2YCrCb, (0,), (1, 2)),
        ("lum", cv2.COLOR_RGB2YCrCb, (1, 2), (0,)),
    ):
        found = in_space(transfer(image, reference, algorithm), code)
        before, wanted = in_space(image, code), in_space(reference, code)
        for channel in own:
            assert np.abs(found[..., channel] - before[..., channel]).mean() < 2e-3
        for channel in other:
            (m, s), (n, t) = (moments(x[..., channel : channel + 1]) for x in (found, wanted))
            assert (m[0], s[0]) == (pytest.approx(n[0], rel=0.02), pytest.approx(t[0], rel=0.02))


def test_a_turned_hue_is_turned_back_across_the_end_of_the_circle():
    hsv = in_space(levels(coffee()), cv2.COLOR_RGB2HSV)  # red, where the circle begins
    hsv[..., 0] = (hsv[..., 0] + 40) % 360
    found = transfer(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), levels(coffee()), "hue")
    error = np.abs(found - levels(coffee()))
    assert error.mean() < 0.002
    assert np.quantile(error, 0.99) < 0.02


def test_histograms_as_scikit_image_matches_them(pair):
    from skimage.exposure import match_histograms

    image, reference = astronaut()[:150, :170], coffee()[:99, :120]
    found = transfer(levels(image), levels(reference), "histo")
    expected = match_histograms(levels(image), levels(reference), channel_axis=2)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(histograms(pair[0], pair[0]), pair[0], atol=1e-6)


def distance(image, reference):
    """Mean distance of the quantiles along directions that no algorithm knows."""
    directions = np.random.default_rng(99).normal(size=(3, 40))
    directions /= np.linalg.norm(directions, axis=0)
    share = np.linspace(0.01, 0.99, 99)
    a, b = (np.quantile(x.reshape(-1, 3) @ directions, share, axis=0) for x in (image, reference))
    return np.abs(a - b).mean()


@pytest.mark.parametrize("algorithm", ["pdf", "sot"])
def test_the_whole_distribution_becomes_that_of_the_reference(pair, algorithm):
    image, reference = pair
    found = transfer(image, reference, algorithm, seed=1)
    before, matched = distance(image, reference), distance(transfer(image, reference, "rgb"), reference)
    assert distance(found, reference) < 0.03 * before
    assert distance(found, reference) < 0.3 * matched
    assert (found == transfer(image, reference, algorithm, seed=1)).all()
    assert (found != transfer(image, reference, algorithm, seed=2)).any()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_image_in_its_own_colours_stays(pair, algorithm):
    limit = 4e-3 if algorithm == "lab" else 1e-3  # OpenCV's Lab goes back and forth no better
    assert np.abs(transfer(pair[0], pair[0], algorithm) - pair[0]).max() < limit


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_flat_images_give_numbers(algorithm):
    flat, image = np.full((9, 8, 3), 0.5, np.float32), levels(photograph(20, 30))
    for found in (transfer(flat, image, algorithm), transfer(image, flat, algorithm), transfer(flat, flat, algorithm)):
        assert np.isfinite(found).all()
        assert found.min() >= 0
        assert found.max() <= 1


def test_regraining_solves_its_equation(pair):
    """Against a direct solver; on one scale, with rounds enough for Jacobi's method to end."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.linalg import spsolve

    image, result = (levels(photograph(18, 23, seed)) for seed in (1, 2))
    psi, phi = (w[..., 0].astype(np.float64) for w in weights(image))
    place = np.arange(18 * 23).reshape(18, 23)
    rows, columns, values = [place.ravel()], [place.ravel()], [psi.ravel()]
    right = psi[..., None] * result
    for a, b in ((place[1:], place[:-1]), (place[:, 1:], place[:, :-1])):
        share = (phi.flat[a] + phi.flat[b]) / 2
        step = image.reshape(-1, 3)[a] - image.reshape(-1, 3)[b]
        for i, j, sign in ((a, b, 1), (b, a, -1)):
            rows += [i.ravel(), i.ravel()]
            columns += [i.ravel(), j.ravel()]
            values += [share.ravel(), -share.ravel()]
            right.reshape(-1, 3)[i] += sign * share[..., None] * step
    matrix = coo_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))).tocsr()
    expected = np.stack([spsolve(matrix, right[..., n].ravel()).reshape(18, 23) for n in range(3)], axis=2)
    np.testing.assert_allclose(regrain(image, result, (20000,)), expected.clip(0, 1), atol=2e-3)


def test_regraining_keeps_the_colours_and_brings_back_the_gradients(pair):
    image, reference = pair
    result = transfer(image, reference, "pdf")
    found = regrain(image, result)
    steps = [np.abs(np.diff(x, axis=0) - np.diff(image, axis=0)).mean() for x in (found, result)]
    assert steps[0] < 0.5 * steps[1]
    assert distance(found, reference) < 0.5 * distance(image, reference)
    np.testing.assert_allclose(regrain(image, image), image, atol=1e-5)


# --------------------------------------------------------------------------------------------------------------- files


def test_a_folder_by_one_reference(tmp_path):
    (tmp_path / "in/deep").mkdir(parents=True)
    alpha = photograph(40, 50, channels=1)[:, :, 0]
    images = {
        "a": Picture(photograph(40, 50)),
        "deep/b": Picture(photograph16(40, 50)),
        "c": Picture(photograph(40, 50), alpha),
        "gray": Picture(photograph(40, 50, channels=1)),
    }
    for name, picture in images.items():
        write(tmp_path / f"in/{name}.png", picture)
    write(tmp_path / "reference.png", coffee())
    (tmp_path / "in/cut.png").write_bytes(encode(photograph(), "PNG")[:-40])
    report = transfer_colors(tmp_path / "reference.png", [tmp_path / "in"], tmp_path / "out", "lab", workers=QUIET)
    assert (len(report.done), [f.source.name for f in report.failed]) == (4, ["cut.png"])
    for name, picture in images.items():
        found = read(tmp_path / f"out/{name}.png")
        largest = 2**picture.bits - 1
        expected = transfer((picture.as_channels(3) / largest).astype(np.float32), levels(coffee()), "lab")
        assert found.bits == picture.bits
        assert np.abs(found.pixels - expected * largest).max() <= 0.51
        assert (found.alpha is None) == (picture.alpha is None)
    assert (read(tmp_path / "out/c.png").alpha == alpha).all()
    assert (
        len(
            transfer_colors(
                tmp_path / "reference.png", [tmp_path / "in"], tmp_path / "out", "lab", workers=QUIET
            ).skipped
        )
        == 4
    )


def test_gray_images_stay_gray_by_a_gray_reference(tmp_path):
    (tmp_path / "in").mkdir()
    write(tmp_path / "in/a.png", photograph(40, 50, channels=1))
    write(tmp_path / "reference.png", photograph(30, 40, seed=4, channels=1))
    transfer_colors(tmp_path / "reference.png", [tmp_path / "in"], tmp_path / "out", "pdf", workers=QUIET)
    found = read(tmp_path / "out/a.png")
    assert found.gray
    assert abs(found.pixels.mean() - read(tmp_path / "reference.png").pixels.mean()) < 2


def test_folders_of_pairs_belong_together_by_name(tmp_path):
    fill(tmp_path / "in", 3)
    fill(tmp_path / "graded", 2, 30, 40, seed=20)
    report = transfer_colors(tmp_path / "graded", [tmp_path / "in"], tmp_path / "out", "histo", workers=QUIET)
    assert [(f.source.name, f.reason) for f in report.failed] == [
        ("2.png", f"no image in {tmp_path / 'graded'} has its name")
    ]
    for name in ("0.png", "1.png"):
        image, reference = (levels(read(tmp_path / folder / name).pixels) for folder in ("in", "graded"))
        expected = np.rint(transfer(image, reference, "histo") * 255)
        assert (read(tmp_path / "out" / name).pixels == expected).all()


def test_a_new_reference_makes_the_image_anew(tmp_path, monkeypatch):
    fill(tmp_path / "in", 2)
    fill(tmp_path / "graded", 2, seed=20)
    transfer_colors(tmp_path / "graded", [tmp_path / "in"], tmp_path / "out", workers=QUIET)
    fill(tmp_path / "graded", 1, seed=33)
    done = transfer_colors(tmp_path / "graded", [tmp_path / "in"], tmp_path / "out", workers=QUIET).done
    assert [job.source.name for job in done] == ["0.png"]
    monkeypatch.setattr(transfer_module, "transfer", None)
    assert not transfer_colors(tmp_path / "graded", [tmp_path / "in"], tmp_path / "out", workers=QUIET).done


def test_histograms_and_grain_come_after(tmp_path):
    fill(tmp_path / "in", 1)
    write(tmp_path / "reference.png", coffee()[::4, ::4])
    image, reference = levels(photograph(48, 64, 0)), levels(coffee()[::4, ::4])
    moved = transfer(image, reference, "lab")
    expected = {"histo": histograms(moved, reference), "grain": regrain(image, moved)}
    for name, values in expected.items():
        transfer_colors(tmp_path / "reference.png", [tmp_path / "in"], tmp_path / name, **{name: True}, workers=QUIET)
        assert np.abs(read(tmp_path / name / "0.png").pixels - values * 255).max() <= 0.51


def test_the_command_of_colours(tmp_path, capsys):
    assert tuple(ALGORITHMS) == command.ALGORITHMS
    fill(tmp_path / "in", 1)
    write(tmp_path / "reference.png", coffee()[::4, ::4])
    arguments = ["-t", str(tmp_path / "in/0.png"), "-o", str(tmp_path / "out"), "-algo", "sot", "-regrain"]
    assert main(["transfer-colors", "-s", str(tmp_path / "reference.png"), *arguments]) == 0
    assert (tmp_path / "out/0.png").exists()
    assert main(["transfer-colors", "-s", str(tmp_path / "in"), *arguments[:4], "-algo", "rgb"]) == 1
    assert "made with algorithm sot, now rgb" in capsys.readouterr().err
    with pytest.raises(DataError, match="two places apart"):
        transfer_colors(tmp_path / "in", [tmp_path / "in"], tmp_path / "in/out", workers=QUIET)
    with pytest.raises(DataError, match="has one of its name"):
        transfer_colors(tmp_path / "in", [tmp_path / "reference.png"], tmp_path / "new", workers=QUIET)
