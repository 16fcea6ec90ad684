import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from darkroom.core.errors import DataError
from darkroom.core.network import Network
from darkroom.data.images import Picture, read
from darkroom.inference.ensemble import eightfold
from darkroom.inference.folder import (
    Upscaler,
    UpscaleSettings,
    plan,
    to_pixels,
    to_tensor,
    upscale_folder,
    work_through,
)

RNG = np.random.default_rng(3)


class Nearest(Network):
    """Every pixel twice in both directions, each channel times its gain; notes what it was given."""

    scale = 2

    def __init__(self, gains=(1.0, 1.0, 1.0), limit=10**9):
        super().__init__()
        self.gains = nn.Parameter(torch.tensor(gains).view(1, -1, 1, 1))
        self.limit = limit
        self.shapes = []

    def forward(self, x):
        self.shapes.append(tuple(x.shape))
        assert x.shape[1] == self.gains.shape[1]
        assert torch.is_inference_mode_enabled()
        assert not self.training
        if x.shape[-2] * x.shape[-1] > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return F.interpolate(x * self.gains, scale_factor=2, mode="nearest")


class Blur(Network):
    scale = 1

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        torch.nn.init.uniform_(self.conv.weight, 0, 0.07, generator=torch.Generator().manual_seed(1))

    def forward(self, x):
        return self.conv(x)


class Overflowing(Network):
    """x, by way of numbers that float16 does not have."""

    scale = 1

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Conv2d(3, 3, 1, bias=False), nn.Conv2d(3, 3, 1, bias=False)
        self.up.weight.data = torch.eye(3).view(3, 3, 1, 1) * 2.0**17
        self.down.weight.data = torch.eye(3).view(3, 3, 1, 1) / 2.0**17
        self.types = []

    def forward(self, x):
        y = self.up(x)
        self.types.append(y.dtype)
        return self.down(y)


def pixels(height, width, channels=3, dtype=np.uint8):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return RNG.integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def save(path, array, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path)
    return array


def twice(array):
    return array.repeat(2, axis=0).repeat(2, axis=1)


def load(path):
    with Image.open(path) as image:
        return np.asarray(image)


def run(folder, network=None, say=None, inputs=("in",), **settings):
    in_nc = settings.pop("in_nc", 3)
    on_result = settings.pop("on_result", None)
    return upscale_folder(
        network or Nearest(),
        [folder / i for i in inputs],
        folder / "out",
        UpscaleSettings(**settings),
        in_nc=in_nc,
        on_result=on_result,
        say=say or (lambda text: None),
        progress=False,
    )


def outputs(folder):
    return sorted(p.relative_to(folder / "out").as_posix() for p in (folder / "out").rglob("*") if p.is_file())


def test_colour_images_keep_their_places_under_the_folder(tmp_path):
    a = save(tmp_path / "in/a.png", pixels(9, 7))
    b = save(tmp_path / "in/täglich/猫 1.bmp", pixels(5, 8))
    report = run(tmp_path, suffix="_x2")
    assert outputs(tmp_path) == ["a_x2.png", "täglich/猫 1_x2.png"]
    np.testing.assert_array_equal(load(tmp_path / "out/a_x2.png"), twice(a))
    np.testing.assert_array_equal(load(tmp_path / "out/täglich/猫 1_x2.png"), twice(b))
    assert {job.source.name for job in report.done} == {"a.png", "猫 1.bmp"}
    assert report.failed == []


def test_single_files_go_into_the_output_itself(tmp_path):
    save(tmp_path / "in/deep/a.png", pixels(4, 4))
    save(tmp_path / "in/b.png", pixels(4, 4))
    run(tmp_path, inputs=("in/deep/a.png",))
    assert outputs(tmp_path) == ["a.png"]


def test_gray_through_a_colour_network_is_the_mean_of_its_channels(tmp_path):
    a = save(tmp_path / "in/a.png", pixels(6, 5, 1))
    run(tmp_path, Nearest((0.5, 1.0, 0.3)))
    result = load(tmp_path / "out/a.png")
    assert result.shape == (12, 10)
    np.testing.assert_array_equal(result, twice(np.round(a * np.float64(0.6)).astype(np.uint8)))


def test_gray_through_a_gray_network(tmp_path):
    a = save(tmp_path / "in/a.png", pixels(6, 5, 1))
    network = Nearest((1.0,))
    run(tmp_path, network, in_nc=1)
    assert network.shapes == [(1, 1, 6, 5)]
    np.testing.assert_array_equal(load(tmp_path / "out/a.png"), twice(a))


def test_colour_through_a_gray_network_goes_channel_by_channel(tmp_path):
    a = save(tmp_path / "in/a.png", pixels(6, 5))
    network = Nearest((1.0,))
    run(tmp_path, network, in_nc=1)
    assert network.shapes == [(3, 1, 6, 5)]
    np.testing.assert_array_equal(load(tmp_path / "out/a.png"), twice(a))


def test_sixteen_bits_stay_sixteen_bits(tmp_path):
    gray, colour = pixels(6, 5, 1, np.uint16), pixels(6, 5, 3, np.uint16)
    save(tmp_path / "in/gray.png", gray)
    cv2.imwrite(str(tmp_path / "in/colour.png"), colour[:, :, ::-1])
    run(tmp_path)
    result = read(tmp_path / "out/gray.png")
    assert result.pixels.dtype == np.uint16
    np.testing.assert_array_equal(result.pixels[:, :, 0], twice(gray))
    np.testing.assert_array_equal(read(tmp_path / "out/colour.png").pixels, twice(colour))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_level_survives_the_way_through_floats(dtype):
    levels = np.arange(np.iinfo(dtype).max + 1).astype(dtype).reshape(16, -1, 1)
    np.testing.assert_array_equal(to_pixels(to_tensor(levels, torch.device("cpu")), np.dtype(dtype)), levels)


def test_levels_are_clipped_and_rounded():
    image = torch.tensor([-0.5, 0.4 / 255, 0.6 / 255, 1.0, 1.5]).view(1, 1, 1, 5)
    assert to_pixels(image, np.dtype(np.uint8)).ravel().tolist() == [0, 0, 1, 255, 255]
    assert to_pixels(image, np.dtype(np.uint16)).ravel().tolist() == [0, 103, 154, 65535, 65535]


def test_transparency_goes_through_the_network_as_a_gray_image(tmp_path):
    a = save(tmp_path / "in/a.png", pixels(6, 5, 4))
    network = Nearest((1.0, 0.5, 0.3))
    run(tmp_path, network)
    result = load(tmp_path / "out/a.png")
    assert network.shapes == [(1, 3, 6, 5)] * 2
    np.testing.assert_array_equal(result[:, :, 0], twice(a[:, :, 0]))
    np.testing.assert_array_equal(result[:, :, 3], twice(np.round(a[:, :, 3] * np.float64(0.6)).astype(np.uint8)))


def test_transparency_by_bicubic_interpolation(tmp_path):
    a = save(tmp_path / "in/a.png", pixels(6, 5, 4))
    network = Nearest()
    run(tmp_path, network, alpha="bicubic")
    assert len(network.shapes) == 1
    # OpenCV has the same kernel (a = -0.75), but rounds its coefficients for bytes, hence floats.
    expected = cv2.resize(a[:, :, 3].astype(np.float64), (10, 12), interpolation=cv2.INTER_CUBIC)
    result = load(tmp_path / "out/a.png")[:, :, 3].astype(float)
    np.testing.assert_allclose(result, expected.clip(0, 255), atol=0.51)


def test_an_opaque_alpha_channel_stays_opaque_without_work(tmp_path):
    a = pixels(6, 5, 4)
    a[:, :, 3] = 255
    save(tmp_path / "in/a.png", a)
    network = Nearest((0.9, 0.9, 0.9))
    run(tmp_path, network)
    assert len(network.shapes) == 1
    assert read(tmp_path / "out/a.png").pixels.shape == (12, 10, 3)
    alpha = read(tmp_path / "out/a.png").alpha
    assert alpha is not None
    assert (alpha == 255).all()


def test_gray_with_alpha_and_palettes(tmp_path):
    la = save(tmp_path / "in/la.png", pixels(6, 5, 2))
    rgb = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)[RNG.integers(0, 3, (6, 5))]
    Image.fromarray(rgb).convert("P", palette=Image.Palette.ADAPTIVE, colors=3).save(tmp_path / "in/p.gif")
    run(tmp_path)
    result = read(tmp_path / "out/la.png")
    for channel in range(result.pixels.shape[2]):
        np.testing.assert_array_equal(result.pixels[:, :, channel], twice(la[:, :, 0]))
    np.testing.assert_array_equal(result.alpha, twice(la[:, :, 1]))
    np.testing.assert_array_equal(read(tmp_path / "out/p.png").pixels, twice(rgb))


def test_a_broken_file_is_reported_and_the_others_are_done(tmp_path):
    for name in ("a.png", "b.png", "d.png"):
        save(tmp_path / "in" / name, pixels(4, 4))
    whole = (tmp_path / "in/a.png").read_bytes()
    (tmp_path / "in/c.png").write_bytes(whole[: len(whole) // 2])
    said = []
    report = run(tmp_path, say=said.append)
    assert outputs(tmp_path) == ["a.png", "b.png", "d.png"]
    assert [job.source.name for job in report.done] == ["a.png", "b.png", "d.png"]
    assert [f.source.name for f in report.failed] == ["c.png"]
    assert report.failed[0].reason
    assert "c.png" not in report.failed[0].reason  # the report has the path beside it
    assert len(said) == 1
    assert "c.png" in said[0]
    assert str(report).startswith("3 done, 0 already there, 1 failed\n")


def test_a_result_that_cannot_be_written_is_reported(tmp_path):
    save(tmp_path / "in/a.png", pixels(4, 4))
    save(tmp_path / "in/b.png", pixels(4, 4))
    (tmp_path / "out/a.png").mkdir(parents=True)
    report = run(tmp_path)
    assert [f.source.name for f in report.failed] == ["a.png"]
    assert [job.source.name for job in report.done] == ["b.png"]


@pytest.mark.parametrize("gain", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_a_failure(tmp_path, gain):
    save(tmp_path / "in/a.png", pixels(4, 4) | 1)
    report = run(tmp_path, Nearest((1.0, gain, 1.0)))
    assert "finite" in report.failed[0].reason
    assert outputs(tmp_path) == []


def test_faults_of_the_program_are_not_hidden(tmp_path):
    save(tmp_path / "in/a.png", pixels(4, 4))
    with pytest.raises(AssertionError):
        run(tmp_path, Nearest((1.0, 1.0, 1.0, 1.0)))


def test_out_of_memory_leads_to_tiles_that_give_the_same(tmp_path):
    images = {name: save(tmp_path / "in" / name, pixels(150, 130)) for name in ("a.png", "b.png")}
    network, said = Nearest(limit=80 * 80), []
    report = run(tmp_path, network, say=said.append)
    assert report.failed == []
    assert len(said) == 1
    assert "tiles of 75 pixels" in said[0]
    for name, image in images.items():
        np.testing.assert_array_equal(load(tmp_path / "out" / name), twice(image))
    assert sum(h * w > network.limit for _, _, h, w in network.shapes) == 1  # the second image knew


def test_out_of_memory_for_good_is_reported_with_what_to_do(tmp_path):
    save(tmp_path / "in/a.png", pixels(64, 64))
    save(tmp_path / "in/b.png", pixels(4, 4))
    report = run(tmp_path, Nearest(limit=100))
    assert "Close what else uses the memory" in report.failed[0].reason
    assert [job.source.name for job in report.done] == ["b.png"]


def test_one_stem_with_two_extensions_keeps_both(tmp_path):
    a = save(tmp_path / "in/a.png", pixels(4, 4))
    b = save(tmp_path / "in/a.bmp", pixels(4, 4))
    save(tmp_path / "in/c.png", pixels(4, 4))
    run(tmp_path, suffix="_s")
    assert outputs(tmp_path) == ["a_bmp_s.png", "a_png_s.png", "c_s.png"]
    np.testing.assert_array_equal(load(tmp_path / "out/a_png_s.png"), twice(a))
    np.testing.assert_array_equal(load(tmp_path / "out/a_bmp_s.png"), twice(b))


def test_keeping_extensions_needs_no_other_names(tmp_path):
    save(tmp_path / "in/a.png", pixels(4, 4))
    save(tmp_path / "in/a.BMP", pixels(4, 4))
    save(tmp_path / "in/b.gif", pixels(4, 4))
    save(tmp_path / "in/c.jpg", pixels(4, 4))
    run(tmp_path, extension="keep")
    assert outputs(tmp_path) == ["a.bmp", "a.png", "b.png", "c.jpg"]


def test_what_a_format_cannot_hold_becomes_png(tmp_path):
    save(tmp_path / "in/deep.png", pixels(4, 4, 1, np.uint16))
    save(tmp_path / "in/clear.png", pixels(4, 4, 4))
    save(tmp_path / "in/plain.png", pixels(4, 4))
    report = run(tmp_path, extension="jpg")
    assert report.failed == []
    assert outputs(tmp_path) == ["clear.png", "deep.png", "plain.jpg"]
    assert read(tmp_path / "out/deep.png").bits == 16


def test_two_folders_with_one_name_are_refused_before_anything_is_written(tmp_path):
    save(tmp_path / "one/a.png", pixels(4, 4))
    save(tmp_path / "two/a.png", pixels(4, 4))
    network = Nearest()
    with pytest.raises(DataError, match="Nothing was written") as caught:
        run(tmp_path, network, inputs=("one", "two"))
    assert str(tmp_path / "one" / "a.png") in str(caught.value)
    assert network.shapes == []
    assert not (tmp_path / "out").exists()


def test_inputs_are_never_overwritten(tmp_path):
    a = save(tmp_path / "out/a.png", pixels(4, 4))
    with pytest.raises(DataError, match="is the input"):
        run(tmp_path, inputs=("out",))
    np.testing.assert_array_equal(load(tmp_path / "out/a.png"), a)
    assert len(run(tmp_path, inputs=("out",), suffix="_x2").done) == 1


def test_results_below_the_input_are_no_inputs_of_the_next_run(tmp_path):
    save(tmp_path / "out.png", pixels(4, 4))
    for _ in range(2):
        report = run(tmp_path, inputs=(".",))
        assert [job.source.name for job in report.done] == ["out.png"]
    assert outputs(tmp_path) == ["out.png"]


def test_nothing_to_read_is_an_error(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError):
        run(tmp_path)


def test_existing_results_are_skipped_if_so_wished(tmp_path):
    save(tmp_path / "in/a.png", pixels(4, 4))
    run(tmp_path)
    save(tmp_path / "in/b.png", pixels(4, 4))
    network = Nearest()
    report = run(tmp_path, network, skip_existing=True)
    assert [job.source.name for job in report.skipped] == ["a.png"]
    assert [job.source.name for job in report.done] == ["b.png"]
    assert len(network.shapes) == 1
    assert len(run(tmp_path).done) == 2


def test_each_result_is_handed_over_once_it_is_on_disk_and_in_order(tmp_path):
    for i in range(7):
        save(tmp_path / f"in/{i}.png", pixels(4 + i, 4))
    seen = []

    def on_result(job, results):
        np.testing.assert_array_equal(load(job.targets[""]), results[""].pixels)
        seen.append(job.source.name)

    run(tmp_path, on_result=on_result)
    assert seen == [f"{i}.png" for i in range(7)]


def test_an_error_while_measuring_is_not_swallowed(tmp_path):
    save(tmp_path / "in/a.png", pixels(4, 4))

    def on_result(job, results):
        raise ValueError("no ground truth")

    with pytest.raises(ValueError, match="no ground truth"):
        run(tmp_path, on_result=on_result)


def test_several_results_of_one_file(tmp_path):
    a = save(tmp_path / "in/a.png", pixels(4, 4))
    tags = ("", "_dark")
    jobs = plan([tmp_path / "in"], tmp_path / "out", UpscaleSettings(suffix="_s"), tags)

    def work(_, picture):
        return {"": picture, "_dark": Picture(picture.pixels // 2)}

    report = work_through(jobs, work, progress=False)
    assert len(report.done) == 1
    assert outputs(tmp_path) == ["a_s.png", "a_s_dark.png"]
    np.testing.assert_array_equal(load(tmp_path / "out/a_s_dark.png"), a // 2)


def test_self_ensemble(tmp_path):
    a = save(tmp_path / "in/a.png", pixels(20, 13))
    network = Blur()
    run(tmp_path, network, self_ensemble=True)
    with torch.inference_mode():
        image = to_tensor(a, torch.device("cpu"))
        expected, plain = (to_pixels(y, a.dtype) for y in (eightfold(network, image), network(image)))
    result = load(tmp_path / "out/a.png")
    np.testing.assert_array_equal(result, expected)
    assert (result != plain).any()


def test_settings_for_tiles_reach_the_tiler(tmp_path):
    a = save(tmp_path / "in/a.png", pixels(50, 40))
    network = Nearest()
    run(tmp_path, network, tile=32, overlap=8)
    np.testing.assert_array_equal(load(tmp_path / "out/a.png"), twice(a))
    assert len(network.shapes) == 4
    assert max(network.shapes[0]) <= 32


def test_half_precision_is_for_cuda():
    said = []
    assert not Upscaler(Blur(), UpscaleSettings(half=True), say=said.append).half
    assert "CUDA" in said[0]


def test_an_overflow_in_half_precision_is_computed_again_in_float32():
    network, said, a = Overflowing(), [], pixels(6, 5)
    upscaler = Upscaler(network, say=said.append)
    upscaler.half = True  # what only a CUDA device may; autocast is the same on both
    for _ in range(2):
        np.testing.assert_array_equal(upscaler(Picture(a)).pixels, a)
    assert network.types == [torch.float16, torch.float32] * 2
    assert len(said) == 1
    assert "float32" in said[0]


def test_half_precision_that_fits_stays_half():
    network, a = Overflowing(), pixels(6, 5)
    network.up.weight.data /= 2.0**10
    network.down.weight.data *= 2.0**10
    upscaler = Upscaler(network)
    upscaler.half = True
    assert np.abs(upscaler(Picture(a)).pixels.astype(int) - a).max() <= 1
    assert network.types == [torch.float16]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda(tmp_path):
    a = pixels(60, 50)
    said = []
    half = Upscaler(Blur(), UpscaleSettings(half=True, tile=32, overlap=4), device="cuda", say=said.append)
    assert half.half
    single = Upscaler(Blur(), device="cpu")
    assert np.abs(half(Picture(a)).pixels.astype(int) - single(Picture(a)).pixels).max() <= 1
    np.testing.assert_array_equal(
        Upscaler(Overflowing(), UpscaleSettings(half=True), device="cuda", say=said.append)(Picture(a)).pixels, a
    )
    assert len(said) == 1


def test_networks_over_time_have_no_channels_last_layout():
    class Volume(Network):
        scale = 1

        def __init__(self):
            super().__init__()
            self.conv = nn.Conv3d(1, 1, 1, bias=False)
            nn.init.ones_(self.conv.weight)

        def forward(self, x):
            return self.conv(x.unsqueeze(1)).squeeze(1)

    a = pixels(6, 5)
    np.testing.assert_array_equal(Upscaler(Volume())(Picture(a)).pixels, a)


@pytest.mark.parametrize("suffix", ["/a", "..\\b", "a:b"])
def test_a_suffix_cannot_lead_elsewhere(suffix):
    with pytest.raises(ValueError, match="suffix"):
        UpscaleSettings(suffix=suffix)


@pytest.mark.parametrize(("in_nc", "outputs"), [(3, 2), (1, 3)])
def test_what_is_no_image_is_refused(tmp_path, in_nc, outputs):
    class Wrong(Network):
        def forward(self, x):
            return x[:, :1].expand(-1, outputs, -1, -1)

    save(tmp_path / "in/a.png", pixels(4, 4))
    report = run(tmp_path, Wrong(), in_nc=in_nc)
    assert "expected an image of 1 or 3 channels" in report.failed[0].reason


def test_a_gray_image_may_become_a_colour_image(tmp_path):
    class Painter(Network):
        def forward(self, x):
            return torch.cat([x, 1 - x, x], dim=1)

    a = save(tmp_path / "in/a.png", pixels(4, 4, 1))
    run(tmp_path, Painter(), in_nc=1)
    np.testing.assert_array_equal(load(tmp_path / "out/a.png"), np.dstack([a, 255 - a, a]))


def test_networks_take_one_or_three_channels():
    with pytest.raises(ValueError, match="take 4"):
        Upscaler(Nearest(), in_nc=4)
