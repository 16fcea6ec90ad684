"""What JPEG leaves of images, for a batch at once: encoding and decoding without the lossless part in between.

ITU-T T.81 (JPEG), its example tables of annex K and 4:2:0 chroma; https://www.w3.org/Graphics/JPEG/itu-t81.pdf. All
that rounds does so as in libjpeg and libjpeg-turbo with their defaults (the accurate integer DCT, triangle-filtered
chroma), so that the result is, level by level, what a file would give. The DCT is that of C. Loeffler, A. Ligtenberg
and G. Moschytz, "Practical fast 1-D DCT algorithms with 11 multiplications", ICASSP 1989, here as a matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_LUMA = (
    *(16, 11, 10, 16, 24, 40, 51, 61),
    *(12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77),
    *(24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101),
    *(72, 92, 95, 98, 112, 100, 103, 99),
)
"""T.81, table K.1, for a quality of 50."""
_CHROMA = (
    *(17, 18, 24, 47, 99, 99, 99, 99),
    *(18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99),
    *(47, 66, 99, 99, 99, 99, 99, 99),
    *(99,) * 32,
)
"""Table K.2."""
_DCT = (
    (8192, 8192, 8192, 8192, 8192, 8192, 8192, 8192),
    (11363, 9633, 6437, 2260, -2260, -6437, -9633, -11363),
    (10703, 4433, -4433, -10703, -10703, -4433, 4433, 10703),
    (9633, -2259, -11362, -6436, 6436, 11362, 2259, -9633),
    (8192, -8192, -8192, 8192, 8192, -8192, -8192, 8192),
    (6437, -11362, 2261, 9633, -9633, -2261, 11362, -6437),
    (4433, -10704, 10704, -4433, -4433, 10704, -10704, 4433),
    (2260, -6436, 9633, -11363, 11363, -9633, 6436, -2260),
)
"""2^13 sqrt(8) times the orthonormal DCT, as the 13 bit constants of the fast algorithm add up to."""
_TO_YCC = ((19595, 38470, 7471, 32768), (-11059, -21709, 32768, 8421375), (32768, -27439, -5329, 8421375))
"""2^16 times the weights of R, G and B in Y, Cb and Cr, and what is added before the rounding down."""


def jpeg(images: Tensor, qualities: Sequence[int], sizes: Sequence[tuple[int, int]] | None = None) -> Tensor:
    """Each image as a JPEG file of its quality, 1 to 100, shows it: (B, C, H, W) of the same, C 1 or 3, in [0, 1].

    ``sizes`` are the heights and widths of images that do not fill their place; beyond them, anything comes out. No
    setting of matrix products changes the result (but where there is no float64, on MPS); there is no gradient.

    Raises:
        ValueError: there are not 1 or 3 channels, or a quality is out of range.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"expected images (B, 1 or 3, H, W), found {tuple(images.shape)}")
    if not all(1 <= quality <= 100 for quality in qualities):
        raise ValueError(f"qualities: expected 1 to 100, found {list(qualities)}")
    height, width = images.shape[-2:]
    sizes = sizes or [(height, width)] * len(images)
    ends = torch.tensor(sizes, device=images.device)
    room = -height % 16 + height, -width % 16 + width
    levels = images.detach().float().mul(255).round_().clamp_(0, 255)
    if any(tuple(size) != room for size in sizes):
        levels = _cut(levels, (0, 0), room, ends)
    luma, chroma = (_steps(table, qualities, images.device) for table in (_LUMA, _CHROMA))
    if images.shape[1] == 1:
        return _quantized(levels, luma)[..., :height, :width].div_(255)
    y, colours = _ycc(levels)
    half, ends = (room[0] // 2, room[1] // 2), (ends + 1) // 2
    lowest = ends.clone()
    lowest[:, 1] = half[1]  # to the right, libjpeg repeats the last pixel before it halves, and not after
    small = _quantized(_cut(_halved(colours), (0, 0), half, lowest), chroma)
    small = _cut(small, (-1, -1), (half[0] + 2, half[1] + 2), ends)
    return _rgb(_quantized(y, luma), _doubled(small))[..., :height, :width].div_(255)


def _cut(planes: Tensor, start: tuple[int, int], shape: tuple[int, int], ends: Tensor) -> Tensor:
    """A window of (B, P, H, W) where all beyond 0 and the ``ends`` (B, 2) repeats the nearest pixel."""
    rows, columns = (
        torch.arange(first, first + count, device=planes.device).clamp(min=0).minimum(end[:, None] - 1)
        for first, count, end in zip(start, shape, ends.unbind(1), strict=True)
    )
    index = rows[:, None, :, None] * planes.shape[-1] + columns[:, None, None, :]
    index = index.expand(-1, planes.shape[1], -1, -1)
    return planes.flatten(2).gather(2, index.flatten(2)).view(index.shape)


def _steps(table: Sequence[int], qualities: Sequence[int], device: torch.device) -> Tensor:
    """(B, 64) quantisation steps: the table scaled by libjpeg's rule for qualities."""
    scales = [5000 // quality if quality < 50 else 200 - 2 * quality for quality in qualities]
    rows = [[min(max((step * scale + 50) // 100, 1), 255) for step in table] for scale in scales]
    return torch.tensor(rows, device=device)


def _ycc(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Y (B, 1, H, W) and Cb, Cr (B, 2, H, W): whole numbers below 2^24 divided by 2^16, which float32 does exactly."""
    r, g, b = rgb.split(1, dim=1)
    y, cb, cr = ((r * wr).add_(g, alpha=wg).add_(b, alpha=wb).add_(c) for wr, wg, wb, c in _TO_YCC)
    return y.mul_(2**-16).floor_(), torch.cat([cb, cr], dim=1).mul_(2**-16).floor_()


def _rgb(y: Tensor, colours: Tensor) -> Tensor:
    """(B, 3, H, W), clipped to 0..255."""
    cb, cr = (colours - 128).split(1, dim=1)
    red = (cr * 91881).add_(32768)
    green = (cb * -22554).add_(cr, alpha=-46802).add_(32768)
    blue = (cb * 116130).add_(32768)
    return torch.cat([red, green, blue], dim=1).mul_(2**-16).floor_().add_(y).clamp_(0, 255)


def _halved(planes: Tensor) -> Tensor:
    """Means of 2x2 pixels; those half way between two levels go down and up by turns from column to column."""
    rows = planes[..., 0::2, :] + planes[..., 1::2, :]
    total = rows[..., 0::2] + rows[..., 1::2]
    turns = torch.arange(total.shape[-1], device=planes.device) % 2 + 1
    return total.add_(turns).mul_(0.25).floor_()


def _doubled(planes: Tensor) -> Tensor:
    """(B, P, 2 H, 2 W) of (B, P, H + 2, W + 2): three parts of the nearest pixel to one of the next, both ways."""
    near = planes[..., 1:-1, :] * 3
    rows = torch.stack([near + planes[..., :-2, :], near + planes[..., 2:, :]], dim=-2).flatten(-3, -2)
    near = rows[..., 1:-1] * 3
    pair = torch.stack([(near + rows[..., :-2]).add_(8), (near + rows[..., 2:]).add_(7)], dim=-1)
    return pair.flatten(-2).mul_(1 / 16).floor_()


def _quantized(planes: Tensor, steps: Tensor) -> Tensor:
    """(B, P, H, W), sides multiples of 8, through the DCT, quantisation by ``steps`` and back.

    In float64, where products of matrices are exact on whole numbers like these, and TF32 does not reach.
    """
    b, p, h, w = planes.shape
    exact = torch.float32 if planes.device.type == "mps" else torch.float64
    dct = torch.tensor(_DCT, dtype=exact, device=planes.device)
    blocks = (planes - 128).view(b, p, h // 8, 8, w // 8, 8).permute(3, 5, 0, 1, 2, 4).reshape(8, 8, -1).to(exact)
    rows = _descaled(dct @ blocks, 11)
    coefficients = _descaled(dct @ rows.view(8, -1), 15).view(64, b, -1)
    step = steps.t().to(exact)[:, :, None]
    nearest = (coefficients / (8 * step)).add_(torch.copysign(coefficients.new_tensor(0.5), coefficients)).trunc_()
    columns = _descaled(dct.t() @ nearest.mul_(step).view(8, -1), 11)
    pixels = _descaled(dct.t() @ columns.view(8, 8, -1), 18).to(planes.dtype).add_(128).clamp_(0, 255)
    return pixels.view(8, 8, b, p, h // 8, w // 8).permute(2, 3, 4, 0, 5, 1).reshape(b, p, h, w)


def _descaled(products: Tensor, bits: int) -> Tensor:
    """Divided by 2^bits and rounded, halves up."""
    return products.mul_(2.0**-bits).add_(0.5).floor_()
