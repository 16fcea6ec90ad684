"""Every dataset reads its images through the reader that it is given, whatever their memory is like."""

import files
import numpy as np
import pytest
import torch

from darkroom.data.aligned import Aligned
from darkroom.data.images import Picture, read, write
from darkroom.data.masked import Masked
from darkroom.data.paired import Paired
from darkroom.data.segmented import Segmented
from darkroom.data.single import Single
from darkroom.data.unaligned import ConcatUnaligned, Unaligned

CASES = {
    "aligned": lambda p, **o: Aligned(p("a"), crop=32, flip=True, rotate=True, **o),
    "aligned pairs": lambda p, **o: Aligned(p("a"), p("b"), scale=1, crop=32, channels=1, **o),
    "aligned whole": lambda p, **o: Aligned(p("a"), kernel="area", **o),
    "paired": lambda p, **o: Paired(p("a"), p("b"), preprocess="resize_and_crop", load_size=48, crop_size=32, **o),
    "paired halves": lambda p, **o: Paired(combined=p("a"), none="modcrop", **o),
    "single": lambda p, **o: Single(p("a"), **o),
    "single resized": lambda p, **o: Single(p("a"), preprocess="scale_width", load_size=40, **o),
    "unaligned": lambda p, **o: Unaligned(p("a"), p("b"), preprocess="crop", crop_size=32, flip=True, **o),
    "concat": lambda p, **o: ConcatUnaligned((p("a"), p("b")), (p("b"), p("a")), **o),
    "masked": lambda p, **o: Masked(p("a"), p("m"), p("b"), mask="external", size=32, **o),
    "masked paired": lambda p, **o: Masked(p("a"), p("m"), mask="paired", size=0, **o),
    "segmented": lambda p, **o: Segmented(p("a"), p("maps"), background=p("b"), background_share=0.5, crop=32, **o),
}


@pytest.mark.parametrize("name", CASES)
def test_all_images_come_from_the_reader(tmp_path, name):
    """Below ``empty`` there are files of the same names without pictures in them, which only the reader has."""
    (tmp_path / "empty").mkdir()
    for n, folder in enumerate("abm"):
        for root in (tmp_path / "full", tmp_path / "empty"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        for image in range(3):
            picture = files.photograph(64, 64, 10 * n + image) // (1 if folder != "m" else 128)
            write(tmp_path / "full" / folder / f"{image}.png", picture)
            (tmp_path / "empty" / folder / f"{image}.png").write_bytes(b"no picture")
    for root in (tmp_path / "full", tmp_path / "empty"):
        (root / "maps").mkdir()
        for image in range(3):
            maps = np.eye(8, dtype=np.uint8)[np.full((64, 64), image)].transpose(2, 0, 1) * np.uint8(255)
            np.savez(root / "maps" / f"{image}.npz", maps=maps)

    def reader(path):
        pixels = read(path.replace("empty", "full")).pixels
        planar = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        planar.flags.writeable = False
        return Picture(planar.transpose(1, 2, 0))

    plain = CASES[name](lambda folder: str(tmp_path / "full" / folder))
    given = CASES[name](lambda folder: str(tmp_path / "empty" / folder), reader=reader)
    for seed in range(6):
        one, two = (dataset.item(seed % 3, np.random.default_rng(seed)) for dataset in (plain, given))
        for key in (key for key, value in one.items() if isinstance(value, torch.Tensor)):
            assert torch.equal(one[key], two[key])
