"""The latent tools of SRFlow: their arithmetic against closed forms and loops, the commands against the network."""

import math
import re
import shlex

import cv2
import numpy as np
import pytest
import torch
from runs import ROOT, photographs, python

from darkroom.archs import ARCHS
from darkroom.archs.srflow import SRFlow
from darkroom.archs.wrappers import Drawn
from darkroom.build.srflow_pictures import fitted
from darkroom.build.srflow_tools import write_video
from darkroom.cli import srflow
from darkroom.core.errors import DarkroomError, DataError
from darkroom.data.images import Picture, read
from darkroom.data.images import write as save
from darkroom.filters.resize import resize_uint8
from darkroom.inference import latents as lat
from darkroom.inference.weights import save_weights
from darkroom.models.srflow import SRFlow as Model

PAGE = ROOT / "docs" / "srflow-tools.md"


@pytest.fixture(autouse=True)
def _one_thread():
    """Small tensors: threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(**options):
    torch.manual_seed(0)
    network = SRFlow(**{"nf": 8, "nb": 2, "gc": 4, "K": 1, "hidden_channels": 8, **options})
    with torch.no_grad():
        for p in network.parameters():
            p.add_(torch.randn_like(p), alpha=0.03)
    return network.eval()


def saved(path, network):
    save_weights(network.to_public(network.state_dict()), path)
    return path


@pytest.fixture(scope="module")
def network():
    return build()


@pytest.fixture(scope="module")
def model(network, tmp_path_factory):
    return saved(tmp_path_factory.mktemp("model") / "srflow.pth", network)


@pytest.fixture
def tool(model, tmp_path, capsys):
    """A mode in this process, on files in ``tmp_path``; what it prints, on which stream depends on the exit code."""

    def run(mode, *arguments, code=0, weights=model):
        capsys.readouterr()
        shared = ("-m", weights, "-o", tmp_path / "out", "--device", "cpu")
        try:
            found = srflow.main([*map(str, (mode, *shared, *arguments))])
        except SystemExit as stop:
            found = stop.code
        printed = capsys.readouterr()
        assert found == code, printed
        return printed.out if code in (0, 1) and not printed.err.startswith("error:") else printed.err

    return run


@pytest.fixture
def large(tmp_path):
    """A photograph of 32 x 48 pixels."""
    pixels = read(photographs(tmp_path / "photographs", 1, 64) / "photo0.png").pixels[8:40, 4:52]
    save(tmp_path / "large.png", pixels)
    return tmp_path / "large.png"


@pytest.fixture
def small(tmp_path, large):
    """The same of 8 x 12."""
    save(tmp_path / "small.png", resize_uint8(read(large).pixels, 1 / 4))
    return tmp_path / "small.png"


def tensor(path):
    return torch.from_numpy(read(path).pixels).permute(2, 0, 1)[None].float() / 255


def levels(image):
    """(1, C, H, W) in [0, 1] -> (H, W, C) as files have it."""
    return image[0].detach().clamp(0, 1).mul(255).round().permute(1, 2, 0).numpy().astype(np.uint8)


def same(path, pixels, within=0):
    found = read(path).pixels.astype(int)
    assert found.shape == pixels.shape
    assert np.abs(found - pixels.astype(int)).max() <= within


def latents(batch=2, seed=0):
    torch.manual_seed(seed)
    return [torch.randn(batch, 6, 12, 16) * 3 + 1, torch.randn(batch, 24, 3, 4) * 0.2 - 5]


# Arithmetic


def test_normalised_channels_are_standard():
    given = latents()
    given[0][1, 2] = 7.0  # does not vary
    for before, z in zip(given, lat.normalised(given), strict=True):
        for b, c in np.ndindex(*z.shape[:2]):
            x = before[b, c].double()
            std = x.std(correction=0)
            expected = (x - x.mean()) / std if std > 0 else torch.zeros_like(x)
            torch.testing.assert_close(z[b, c].double(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("region", [0.01, 0.4, 0.75, 1.5])
def test_local_normalising_is_that_of_a_loop(region):
    given = latents(batch=1)
    for before, z in zip(given, lat.normalised_locally(given, region), strict=True):
        height = z.shape[-2]
        half = max(1, round(region * height / 2))
        for c, y, x in np.ndindex(*z.shape[1:]):
            rows, columns = slice(max(0, y - half), y + half + 1), slice(max(0, x - half), x + half + 1)
            around = before[0, c, rows, columns].double()
            expected = (before[0, c, y, x].double() - around.mean()) / around.std(correction=0)
            assert float(z[0, c, y, x]) == pytest.approx(float(expected), abs=2e-3)


def test_the_largest_region_is_the_whole_image():
    given = latents()
    for a, b in zip(lat.normalised_locally(given, 10), lat.normalised(given), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="above 0, found 0"):
        lat.normalised_locally(given, 0)


@pytest.mark.parametrize("mix", [lat.linear, lat.spherical])
def test_mixing_begins_and_ends_at_the_ends(mix):
    a, b = latents(seed=1), latents(seed=2)
    for t, end in ((0, a), (1, b)):
        for found, expected in zip(mix(a, b, t), end, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_arc_turns_by_equal_angles_and_keeps_the_norm():
    a, b = [torch.tensor([2.0, 0.0]).view(1, 2, 1, 1)], [torch.tensor([0.0, 2.0]).view(1, 2, 1, 1)]
    for t in (0.25, 0.5, 0.9):
        expected = torch.tensor([math.cos(t * math.pi / 2), math.sin(t * math.pi / 2)]) * 2
        torch.testing.assert_close(lat.spherical(a, b, t)[0].flatten(), expected)
        torch.testing.assert_close(lat.linear(a, b, t)[0].flatten(), torch.tensor([2 - 2 * t, 2 * t]))


def test_each_image_of_a_batch_has_its_own_arc():
    a, b = latents(seed=1), latents(seed=2)
    b[0][1], b[1][1] = 0, 0  # no arc leads to 0
    both = lat.spherical(a, b, 0.3)
    alone = lat.spherical([z[:1] for z in a], [z[:1] for z in b], 0.3)
    for found, of_first, start in zip(both, alone, a, strict=True):
        torch.testing.assert_close(found[:1], of_first)
        torch.testing.assert_close(found[1], start[1] * 0.7)


def test_statistics_and_score():
    z = latents(batch=1)
    values = np.concatenate([part.numpy().ravel() for part in z])
    mean, std = lat.statistics(z)
    assert float(mean) == pytest.approx(values.mean(), rel=1e-4)
    assert float(std) == pytest.approx(values.std(), rel=1e-4)
    places = [abs(float((part[0, :, y, x] ** 2).mean()) - 1) for part in z for y, x in np.ndindex(*part.shape[-2:])]
    assert float(lat.score(z)) == pytest.approx(np.mean(places), rel=1e-4)
    fine, coarse = lat.distances(z)
    assert float(lat.score_map(z)[0, 0, 7, 10]) == pytest.approx(float(fine[0, 0, 7, 10] + coarse[0, 0, 1, 2]) / 2)
    torch.manual_seed(0)
    noise = [torch.randn(1, 96, 64, 64)]
    assert float(lat.score(noise)) == pytest.approx(math.sqrt(2 / math.pi) * math.sqrt(2 / 96), rel=0.02)


def test_the_score_is_that_of_validation(network):
    torch.manual_seed(0)
    image, low = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        z, _ = network.encode(image, low)
        figures = Model(G=network).figures({"input": low, "target": image})
    assert float(lat.score(z).mean()) == pytest.approx(float(figures["latent_score"]), rel=1e-5)


def test_fitting_takes_the_middle():
    picture = Picture(np.arange(60, dtype=np.uint8).reshape(6, 10, 1))
    name = PAGE
    assert fitted(picture, (6, 10), None, name) is picture
    np.testing.assert_array_equal(fitted(picture, (2, 4), "crop", name).pixels, picture.pixels[2:4, 3:7])
    half = resize_uint8(picture.pixels, size=(4, 7))  # as 4 / 6 is the larger factor
    np.testing.assert_array_equal(fitted(picture, (4, 5), "resize", name).pixels, half[:, 1:6])
    for size in ((12, 5), (3, 40), (7, 11)):
        assert fitted(picture, size, "resize", name).size == size
    with pytest.raises(DataError, match=r"is 10x6, the result will be 4x2.*--fit crop"):
        fitted(picture, (2, 4), None, name)
    with pytest.raises(DataError, match="too small to crop 4x7"):
        fitted(picture, (7, 4), "crop", name)


# Temperature


def test_heat_0_is_the_network_and_other_heats_are_those_of_test_py(tool, network, small, tmp_path):
    out = tool("temperature", "-i", small, "--heats", "0", "0.7", "--samples", "2", "--seed", "5")
    assert "1 done, 0 already there, 0 failed" in out
    names = {"small_h0_0.png", "small_h0_1.png", "small_h0.7_0.png", "small_h0.7_1.png", "small_sheet.png"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == names
    with torch.no_grad():
        mean = levels(network(tensor(small)))
        drawn = [levels(Drawn(network, 0.7, 5 + n)(tensor(small))) for n in range(2)]
    for n in range(2):
        same(tmp_path / f"out/small_h0_{n}.png", mean)
        same(tmp_path / f"out/small_h0.7_{n}.png", drawn[n])
    assert (drawn[0] != drawn[1]).any()
    sheet = read(tmp_path / "out/small_sheet.png").pixels
    columns = np.lib.stride_tricks.sliding_window_view(sheet, (*mean.shape[:2], 3))[:, :, 0]
    for image in (mean, *drawn):
        assert (columns == image).all((2, 3, 4)).any()


def test_the_seed_decides(tool, small, tmp_path):
    found = []
    for seed in (1, 2, 1):
        tool("temperature", "-i", small, "--heats", "0.9", "--seed", seed)
        found.append(read(tmp_path / "out/small_h0.9_0.png").pixels)
    np.testing.assert_array_equal(found[0], found[2])
    assert (found[0] != found[1]).any()


def test_odd_sides_gray_and_16_bits(tool, network, small, tmp_path):
    pixels = read(small).pixels[:7, :9, :1].astype(np.uint16) * 257
    save(tmp_path / "odd.png", pixels)
    out = tool("temperature", "-i", tmp_path / "odd.png", "--heats", "0")
    assert f"{tmp_path / 'odd.png'}: 9x7 is mirrored up to 10x8, and the result cropped back" in out
    result = read(tmp_path / "out/odd_h0_0.png").pixels
    assert (result.shape, result.dtype) == ((28, 36, 3), np.uint16)
    image = torch.from_numpy(pixels.astype(np.float32) / 65535).permute(2, 0, 1)[None].expand(-1, 3, -1, -1)
    with torch.no_grad():
        expected = network(image)[0].clamp(0, 1).permute(1, 2, 0).numpy() * 65535
    assert np.abs(result - expected).max() < 1


def test_a_folder_goes_on_after_a_bad_file(tool, small, large, tmp_path):
    folder = tmp_path / "in"
    for name in ("a.png", "sub/b.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(large.read_bytes())
    (folder / "broken.png").write_bytes(small.read_bytes()[:60])
    out = tool("temperature", "-i", folder, "--heats", "0", "--shrink", code=1)
    assert "2 done, 0 already there, 1 failed" in out
    assert read(tmp_path / "out/sub/b_h0_0.png").size == (32, 48)
    assert not (tmp_path / "out/broken_h0_0.png").exists()


def test_what_diverges_is_replaced_and_counted(tool, network, small, tmp_path):
    out = tool("temperature", "-i", small, "--heats", "0", "1e6")
    assert "an image diverged and was replaced by one of lower temperature" in out
    assert "replaced by images of lower temperature: 1\n" in out
    with torch.no_grad():
        same(tmp_path / "out/small_h1e+06_0.png", levels(network(tensor(small))))  # only temperature 0 is sound


# Restore, transfer, feed-through


def test_latents_left_alone_give_the_image_back(tool, large, small, tmp_path):
    tool("restore", "-i", large, "--normalise", "none")
    same(tmp_path / "out/large.png", read(large).pixels, within=1)
    tool("latent-transfer", "-i", large, "--shrink", "--source", large)
    same(tmp_path / "out/large.png", read(large).pixels, within=1)
    tool("latent_transfer", "-i", small, "--source", large)
    same(tmp_path / "out/small.png", read(large).pixels, within=1)
    tool("feed-through", "-i", large)
    same(tmp_path / "out/large.png", read(large).pixels, within=1)


@pytest.mark.parametrize(("normalise", "heat"), [("global", 1.0), ("local", 0.5), ("none", 0.0)])
def test_restoring_is_encoding_normalising_decoding(tool, network, large, small, tmp_path, normalise, heat):
    tool("restore", "-i", large, "--normalise", normalise, "--heat", heat, "--region", "16")
    with torch.no_grad():
        z, _ = network.encode(tensor(large), tensor(small))
        change = {"global": lat.normalised, "local": lambda z: lat.normalised_locally(z, 0.5), "none": list}[normalise]
        new = [part * heat for part in change(z)]
        same(tmp_path / "out/large.png", levels(network.decode(tensor(small), new)), within=1)
        if heat == 0:
            same(tmp_path / "out/large.png", levels(network(tensor(small))))


def test_a_small_version_can_be_given(tool, network, large, small, tmp_path):
    tool("restore", "-i", large)
    made = read(tmp_path / "out/large.png").pixels
    tool("restore", "-i", large, "--low", small)
    same(tmp_path / "out/large.png", made)
    for folder, source, name in (("HR", large, "x.png"), ("LR", small, "xx4.png")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(source.read_bytes())
    save(tmp_path / "LR/xx4.png", 255 - read(small).pixels)
    tool("restore", "-i", tmp_path / "HR", "--low", tmp_path / "LR", "--heat", "0")
    with torch.no_grad():
        same(tmp_path / "out/x.png", levels(network(1 - tensor(small))), within=1)


def test_small_versions_that_do_not_fit(tool, large, small, tmp_path):
    save(tmp_path / "other.png", read(small).pixels[:6])
    out = tool("restore", "-i", large, "--low", tmp_path / "other.png", code=1)
    assert "is 48x32 and its low-res version 12x6: expected 1/4 of it" in out
    (tmp_path / "LR").mkdir()
    save(tmp_path / "LR/y.png", read(small).pixels)
    err = tool("feed-through", "-i", tmp_path / "photographs", "--low", tmp_path / "LR", code=1)
    assert "there is no low-res version in" in err
    assert "photo0.png" in err


def test_latents_of_another_image(tool, network, large, small, tmp_path):
    other = tmp_path / "other.png"
    save(other, read(tmp_path / "photographs/photo0.png").pixels[10:54, 2:62])
    out = tool("latent-transfer", "-i", small, "--source", other, code=1)
    assert "is 60x44, the result will be 48x32: expected the same size" in out
    tool("latent-transfer", "-i", small, "--source", other, "--fit", "crop", "--heat", "0.5")
    source = read(other).pixels[6:38, 6:54]
    save(tmp_path / "cut.png", source)
    save(tmp_path / "cut_small.png", resize_uint8(source, 1 / 4))
    with torch.no_grad():
        z, _ = network.encode(tensor(tmp_path / "cut.png"), tensor(tmp_path / "cut_small.png"))
        expected = levels(network.decode(tensor(small), [part * 0.5 for part in z]))
    same(tmp_path / "out/small.png", expected, within=1)


def test_feed_through_measures(tool, network, large, small, tmp_path):
    (tmp_path / "in").mkdir()
    save(tmp_path / "in/a.png", read(large).pixels)
    save(tmp_path / "in/b.png", read(large).pixels[:24, :40])
    out = tool("feed-through", "-i", tmp_path / "in")
    pattern = (
        r"error (\S+) at most, nll (\S+) bits per pixel, (\S+) per dimension, latent score (\S+) \(of noise (\S+)\)"
    )
    a, b, mean = ([float(x) for x in found] for found in re.findall(pattern, out))
    with torch.no_grad():
        z, _ = network.encode(tensor(large), tensor(small))
        nll = float(network.nll(tensor(large), tensor(small)))
    assert a[0] < 1e-4
    assert a[1:4] == pytest.approx([nll, nll / 3, float(lat.score(z))], abs=1e-3)
    assert mean[1:] == pytest.approx([(x + y) / 2 for x, y in zip(a[1:], b[1:], strict=True)], abs=2e-4)
    assert "mean of 2 images: " in out
    with torch.no_grad():
        bright = torch.nn.functional.interpolate(1 - torch.exp(-lat.score_map(z)), (32, 48))
    same(tmp_path / "out/a_score.png", levels(bright), within=1)


def test_sides_that_do_not_fit_are_mirrored_and_cropped_back(tool, large, tmp_path):
    save(tmp_path / "odd.png", read(large).pixels[:27, :33])
    out = tool("restore", "-i", tmp_path / "odd.png", "--normalise", "none")
    assert "33x27 is mirrored up to 40x32" in out
    same(tmp_path / "out/odd.png", read(large).pixels[:27, :33], within=1)


# Interpolation


def test_frames_lead_from_one_draw_to_the_other(tool, network, small, tmp_path):
    tool("interpolate", "-i", small, "--heats", "0.8", "0.5", "--seed", "3", "--frames", "11", "--video", "--fps", "10")
    out = tmp_path / "out"
    names = {f"small_{i:02}.png" for i in range(11)} | {"small_strip.png", "small.mp4"}
    assert {p.name for p in out.iterdir()} == names
    low = tensor(small)
    with torch.no_grad():
        a, b = (network.draw(low, h, torch.Generator().manual_seed(3 + n)) for n, h in enumerate((0.8, 0.5)))
        for i in (0, 4, 10):
            same(out / f"small_{i:02}.png", levels(network.decode(low, lat.spherical(a, b, i / 10))), within=1)
    frames, rate = film(out / "small.mp4")
    assert [f.shape for f in frames] == [(32, 48, 3)] * 11
    assert rate == 10


def film(path):
    """The frames of a video, and how many there are in a second."""
    video, frames = cv2.VideoCapture(str(path)), []
    while (step := video.read())[0]:
        frames.append(step[1][:, :, ::-1])
    return frames, video.get(cv2.CAP_PROP_FPS)


def test_videos_have_the_colors_and_even_sides(tmp_path):
    colors = [(200, 40, 40), (40, 200, 40), (40, 40, 200)]
    write_video(tmp_path / "v.mp4", [np.full((33, 47, 3), color, np.uint8) for color in colors], 24)
    frames, rate = film(tmp_path / "v.mp4")
    assert rate == 24
    assert [f.shape for f in frames] == [(32, 46, 3)] * 3
    assert np.abs([f.mean((0, 1)) for f in frames] - np.array(colors)).max() < 10
    with pytest.raises(DarkroomError, match="cannot be written"):
        write_video(tmp_path / "no" / "v.mp4", [np.zeros((8, 8, 3), np.uint8)], 24)
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"]


def test_the_ends_can_be_images(tool, large, tmp_path):
    save(tmp_path / "mirror.png", read(large).pixels[:, ::-1])
    ends = ("--ends", large, tmp_path / "mirror.png")
    tool("interpolate", "-i", large, "--shrink", *ends, "--frames", "3", "--method", "linear")
    same(tmp_path / "out/large_0.png", read(large).pixels, within=1)
    tool("latent-transfer", "-i", large, "--shrink", "--source", tmp_path / "mirror.png")
    same(tmp_path / "out/large_2.png", read(tmp_path / "out/large.png").pixels)


# What goes wrong


def test_models_that_are_no_flow_are_refused(tool, small, tmp_path):
    other = saved(tmp_path / "c.pth", ARCHS["compact"](nf=8, num_conv=2, scale=2))
    err = tool("temperature", "-i", small, weights=other, code=1)
    assert "c.pth holds a network SRVGGNetCompact: expected SRFlow" in err
    assert "there is no weights file" in tool("restore", "-i", small, weights=tmp_path / "no.pth", code=1)


def test_blocks_that_no_file_tells(tool, small, tmp_path):
    network = build(nb=4, blocks=(0, 1))
    other = saved(tmp_path / "b.safetensors", network)
    out = tool("temperature", "-i", small, "--heats", "0", "--blocks", "0", "1", weights=other)
    assert "features of the blocks 0, 1," in out
    with torch.no_grad():
        same(tmp_path / "out/small_h0_0.png", levels(network(tensor(small))))
    err = tool("temperature", "-i", small, "--blocks", "9", weights=other, code=2)
    assert "--blocks: expected blocks, numbers from 0 to 3" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("temperature", "--heats", "-1"), "expected 0 or more, found -1"),
        (("temperature", "--heats", "nan"), "expected 0 or more, found nan"),
        (("temperature", "--heats", "0.5", "0.50"), "--heats: expected each one once, found 0.5, 0.5"),
        (("temperature", "--samples", "0"), "expected 1 or more, found 0"),
        (("interpolate", "--frames", "1"), "expected 2 or more, both ends, found 1"),
        (("interpolate", "--heats", "0", "1", "--ends", "a.png", "b.png"), "not allowed with argument"),
        (("restore", "--region", "x"), "invalid _count value: 'x'"),
        (("temperature", "--device", "tpu"), "expected cpu, cuda or cuda:N"),
        (("draw",), "invalid choice: 'draw'"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, tuple) else "",
)
def test_wrong_arguments(tool, small, tmp_path, arguments, message):
    assert message in tool(*arguments, "-i", small, code=2)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("mode", srflow.EXAMPLES)
def test_help_has_an_example(capsys, mode):
    with pytest.raises(SystemExit) as stop:
        srflow.main([mode, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    example = re.search(rf"example:\n  python -m darkroom srflow ({mode} .+)", text)
    assert srflow.parser().parse_args(shlex.split(example[1])).mode == mode


def test_the_commands_of_the_page_run(model, large, small, tmp_path):
    """All of them, as real processes."""
    (tmp_path / "srflow.pth").write_bytes(model.read_bytes())
    for name in ("noisy.png", "other.png", "one.png", "photos/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(large.read_bytes())
    (tmp_path / "photos_small").mkdir()
    (tmp_path / "photos_small/photo.png").write_bytes(small.read_bytes())
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines()]
    assert len(commands) == 6
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "python"
        done = python(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    results = {p.relative_to(tmp_path / "results").as_posix() for p in (tmp_path / "results").rglob("*.*")}
    assert {"heats/photo_h0.3_0.png", "heats/photo_sheet.png", "restored/noisy.png", "transferred/small.png"} <= results
    assert {"between/small_00.png", "between/small_23.png", "between/small.mp4", "ends/small_strip.png"} <= results
    assert {"through/a.png", "through/a_score.png"} <= results
