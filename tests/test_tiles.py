import itertools
import os
import platform
import subprocess
import sys
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from darkroom.core.errors import DarkroomError
from darkroom.core.network import Network
from darkroom.inference import tiles
from darkroom.inference.allocator import keep_large_buffers
from darkroom.inference.ensemble import eightfold
from darkroom.inference.tiles import Tiler, out_of_memory, padded, tiled, whole


class Enlarger(Network):
    """Two seeded convolutions with zero padding, a receptive field of radius 3, and nearest neighbours."""

    radius = 3

    def __init__(self, scale=2, channels=3):
        super().__init__()
        self.scale = scale
        generator = torch.Generator().manual_seed(7)
        self.a = nn.Conv2d(channels, 8, 5, padding=2)
        self.b = nn.Conv2d(8, channels, 3, padding=1)
        for p in self.parameters():
            p.data = torch.empty(p.shape, dtype=torch.float64).uniform_(-0.3, 0.3, generator=generator)

    def forward(self, x):
        return F.interpolate(self.b(torch.tanh(self.a(x))), scale_factor=self.scale, mode="nearest")


class Unshuffled(Network):
    """Sees the image in cells of 4 x 4, so a tile that does not start on a cell's corner gives other numbers."""

    multiple_of = 4
    scale = 1

    def forward(self, x):
        cells = F.pixel_unshuffle(x, 4)
        mixed = cells + 0.5 * torch.roll(cells, 1, dims=1) + 0.25 * F.avg_pool2d(cells, 3, 1, 1)
        return F.pixel_shuffle(mixed, 4)


class Limited:
    """Runs out of memory above ``limit`` pixels of input."""

    def __init__(self, network, limit, error=None):
        self.network, self.limit, self.error = network, limit, error or torch.OutOfMemoryError("CUDA out of memory.")
        self.sizes = []

    def __call__(self, x):
        self.sizes.append(tuple(x.shape[-2:]))
        if x.shape[-2] * x.shape[-1] > self.limit:
            raise self.error
        return self.network(x)


def image(height, width, channels=3, batch=1):
    generator = torch.Generator().manual_seed(height * 1000 + width)
    return torch.rand(batch, channels, height, width, generator=generator, dtype=torch.float64)


@pytest.fixture(autouse=True)
def _without_graphs():
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("overlap", [6, 7, 8, 11, 16])
@pytest.mark.parametrize(("height", "width"), [(64, 50), (33, 32), (20, 97), (75, 18)])
def test_an_overlap_of_twice_the_radius_gives_the_untiled_result(overlap, height, width):
    network, x = Enlarger(), image(height, width)
    result = tiled(network, x, 32, overlap, 2)
    torch.testing.assert_close(result, network(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("overlap", [0, 2])
def test_a_smaller_overlap_does_not(overlap):
    network, x = Enlarger(), image(64, 50)
    assert (tiled(network, x, 32, overlap, 2) - network(x)).abs().max() > 1e-3


def test_overlaps_below_the_radius_blend_instead_of_showing_a_seam():
    # A network that adds a different constant to every tile: the worst case. Without ramps a seam is a step of 1.
    count = itertools.count()
    result = tiled(lambda x: torch.zeros_like(x) + next(count) % 2, image(8, 100, 1), 64, 16, 1)
    steps = result[0, 0, 0].diff().abs()
    assert result.min() == 0
    assert result.max() == 1
    assert steps.max() == pytest.approx(1 / 8)


def test_the_weights_of_all_tiles_sum_to_one_and_reach_the_borders():
    lengths = (1, 4, 31, 32, 33, 63, 64, 100)
    for length, tile, overlap, unit in itertools.product(lengths, (8, 32), (0, 1, 4, 7), (1, 2, 4)):
        if unit > 1 and (length % unit or overlap > tile - unit * -(-overlap // unit)):
            continue
        total, size = torch.zeros(length * 3, dtype=torch.float64), set()
        strips = tiles._strips(length, tile, overlap, unit)
        for strip in strips:
            total[strip.low * 3 : strip.high * 3] += tiles._weight(strip, 3, total)
            size.add(strip.stop - strip.start)
            assert 0 <= strip.start <= strip.low < strip.high <= strip.stop <= length
            assert strip.start % unit == 0
            if strip.low > 0:
                assert strip.low - strip.start >= overlap // 2
            if strip.high < length:
                assert strip.stop - strip.high >= overlap // 2
        assert len(size) == 1
        assert max(size) <= tile
        torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)


def test_tiles_are_no_larger_than_their_number_needs():
    seen = Limited(nn.Identity(), 10**9)
    tiled(seen, image(300, 300), 256, 32, 1)
    # Two of s pixels that share 32 + 8: 2 s - 40 >= 300.
    assert seen.sizes == [(170, 170)] * 4


def test_one_pixel_more_than_a_tile():
    network, x = Enlarger(), image(33, 33)
    seen = Limited(network, 10**9)
    torch.testing.assert_close(tiled(seen, x, 32, 6, 2), network(x), rtol=0, atol=1e-12)
    assert len(set(seen.sizes)) == 1
    assert len(seen.sizes) == 4


def test_an_image_smaller_than_a_tile_is_one_call():
    seen = Limited(Enlarger(), 10**9)
    assert tiled(seen, image(5, 1), 32, 8, 2).shape == (1, 3, 10, 2)
    assert seen.sizes == [(5, 1)]


def test_a_batch_and_other_output_channels():
    network = nn.Conv2d(3, 5, 3, padding=1).double()
    x = image(40, 50, batch=2)
    torch.testing.assert_close(tiled(network, x, 16, 2, 1), network(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("tile", "overlap"), [(16, 16), (16, 20), (16, -1), (0, 0)])
def test_an_overlap_that_leaves_nothing_is_refused(tile, overlap):
    with pytest.raises(ValueError, match=f"{tile} pixels cannot overlap by {overlap}"):
        tiled(nn.Identity(), image(40, 40), tile, overlap, 1)


def test_tiles_of_networks_that_work_in_cells_lie_on_cells():
    network, x = Unshuffled(), image(84, 61)
    seen = Limited(network, 10**9)
    result = tiled(seen, x, 30, 8, 1, network.multiple_of)
    torch.testing.assert_close(result, network(padded(x, 4))[..., :61], rtol=0, atol=1e-12)
    assert len(seen.sizes) > 4
    assert all(h % 4 == 0 and w % 4 == 0 and h <= 30 and w <= 30 for h, w in seen.sizes)


def test_padding_reflects_as_torch_does_and_goes_on_where_torch_stops():
    x = image(5, 9)
    torch.testing.assert_close(padded(x, 8), F.pad(x, (0, 7, 0, 3), mode="reflect"), rtol=0, atol=0)
    row = torch.arange(3.0).view(1, 1, 1, 3)
    assert padded(row, 8)[0, 0].tolist() == [[0, 1, 2, 1, 0, 1, 2, 1]] * 8
    assert padded(x, 1) is x


def test_whole_pads_and_crops():
    network, x = Unshuffled(), image(10, 7)
    result = whole(network, x, 1, 4)
    assert result.shape == x.shape
    torch.testing.assert_close(result, network(F.pad(x, (0, 1, 0, 2), mode="reflect"))[..., :10, :7])


def test_a_wrong_scale_is_named():
    with pytest.raises(ValueError, match="scale 4 makes 32 x 32 of 8 x 8 pixels, but this one made 16 x 16"):
        whole(Enlarger(2), image(8, 8), 4)


def test_the_tiler_halves_the_tile_until_it_fits_and_stays_there():
    said, network = [], Enlarger()
    limited = Limited(network, 70 * 70)
    tiler = Tiler(2, overlap=8, say=said.append)
    x = image(200, 120)
    torch.testing.assert_close(tiler(limited, x), network(x), rtol=0, atol=1e-12)
    assert tiler.tile == 50
    assert limited.sizes[:2] == [(200, 120), (75, 66)]  # whole, then as large as three by two tiles below 100 are
    assert said == ["out of memory: working in tiles of 50 pixels that overlap by 8 from here"]
    failures = sum(h * w > limited.limit for h, w in limited.sizes)
    tiler(limited, x)
    assert sum(h * w > limited.limit for h, w in limited.sizes) == failures
    assert len(said) == 1


def test_the_tiler_runs_an_image_whole_if_it_fits():
    seen = Limited(Enlarger(), 10**9)
    tiler = Tiler(2)
    tiler(seen, image(90, 70))
    assert seen.sizes == [(90, 70)]
    assert tiler.tile is None


@pytest.mark.parametrize(
    "error",
    [RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), MemoryError()],
)
def test_the_cpu_runs_out_of_memory_in_words(error):
    network, x = Enlarger(), image(64, 64)
    tiler = Tiler(2, overlap=6)
    torch.testing.assert_close(tiler(Limited(network, 1500, error), x), network(x), rtol=0, atol=1e-12)
    assert tiler.tile == 32


def test_what_the_cpu_allocator_really_says_is_understood():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**58, dtype=torch.uint8)
    assert out_of_memory(caught.value)


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="sizes of tensors"):
        Tiler(2)(Limited(Enlarger(), 1, RuntimeError("sizes of tensors must match")), image(64, 64))


def test_an_overlap_too_large_for_the_halved_tile_shrinks_with_it():
    tiler = Tiler(2, tile=128, overlap=64)
    tiler(Limited(Enlarger(), 40 * 40), image(128, 128))
    assert (tiler.tile, tiler.overlap) == (32, 16)


def test_when_the_smallest_tile_does_not_fit_the_error_says_what_to_do():
    limited = Limited(Enlarger(), 10)
    with pytest.raises(DarkroomError, match=r"even in tiles of 32 pixels.*CPU.*CUDA out of memory"):
        Tiler(2)(limited, image(100, 100))
    assert [max(s) for s in limited.sizes] == [100, 50, 32]


def test_the_tensors_of_a_failed_attempt_are_free_before_the_next():
    alive, network = [], Enlarger()

    class Held:
        pass

    def greedy(x):
        held = Held()
        if x.shape[-1] > 40:
            alive.append(weakref.ref(held))
            raise torch.OutOfMemoryError("out of memory")
        assert all(ref() is None for ref in alive)
        return network(x)

    Tiler(2, overlap=6)(greedy, image(64, 64))
    assert alive


def naive_eightfold(f, x):
    results = []
    for flip, turns in itertools.product((False, True), range(4)):
        t = torch.from_numpy(x.numpy()[..., ::-1].copy()) if flip else x
        for _ in range(turns):
            t = t.transpose(-2, -1).flip(-2)
        y = f(t)
        for _ in range(turns):
            y = y.flip(-2).transpose(-2, -1)
        results.append(y.flip(-1) if flip else y)
    return torch.stack(results).mean(0)


def test_eightfold_is_the_mean_over_the_flips_and_rotations():
    network, x = Enlarger(), image(12, 17, batch=2)
    result = eightfold(network, x)
    torch.testing.assert_close(result, naive_eightfold(network, x), rtol=0, atol=1e-12)
    assert (result - network(x)).abs().max() > 1e-2


def test_eightfold_is_itself_symmetric():
    network, x = Enlarger(), image(12, 17)
    torch.testing.assert_close(eightfold(network, x.flip(-1)), eightfold(network, x).flip(-1), rtol=0, atol=1e-12)
    torch.testing.assert_close(eightfold(network, x.mT), eightfold(network, x).mT, rtol=0, atol=1e-12)


def test_eightfold_leaves_a_symmetric_network_alone():
    x = image(12, 17)

    def blur(t):
        return F.interpolate(F.avg_pool2d(t, 3, 1, 1), scale_factor=2)

    torch.testing.assert_close(eightfold(blur, x), blur(x), rtol=0, atol=1e-12)


def test_eightfold_sums_half_precision_in_float32():
    result = eightfold(lambda t: t, image(8, 8).half())
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, image(8, 8).half().float(), rtol=0, atol=0)


_FAULTS = """
import ctypes, resource, sys
from darkroom.inference.allocator import keep_large_buffers
if sys.argv[1] == "keep":
    print(keep_large_buffers())
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
libc.free.argtypes = (ctypes.c_void_p,)
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    buffer = libc.malloc(64 << 20)
    ctypes.memset(buffer, 1, 64 << 20)
    libc.free(buffer)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_kept_buffers_are_not_fetched_from_the_system_again():
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("glibc alone has the switch")
    runs = {}
    for mode in ("keep", "return"):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", _FAULTS, mode]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        runs[mode] = done.stdout.split()
    assert runs["keep"][0] == "True"
    assert int(runs["keep"][1]) * 10 < int(runs["return"][0])


def test_elsewhere_nothing_happens(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    assert keep_large_buffers() is False
