"""Reading and writing of image files: whatever a camera, a scanner or a paint program makes, as 8 or 16 bits.

OpenCV decodes most files (it lets go of Python's global lock, so threads decode side by side), Pillow those that
OpenCV gets wrong. Images in LMDB folders are read by the paths that ``lmdb_folder`` gives them. What no decoder
notices: bytes that were altered inside of the compressed data of a JPEG, WebP or TIFF, which have no checksums. Colour
profiles are not applied.
"""

from __future__ import annotations

import io
import mmap
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .dataset import UnreadableImage
from .formats import IMAGE_SUFFIXES, BrokenImage, Facts, examine
from .lmdb_folder import contents, is_inside

__all__ = ["IMAGE_SUFFIXES", "Header", "Picture", "UnreadableImage", "header", "read", "write"]

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Picture:
    """A decoded image."""

    pixels: Array
    """(H, W, 3) RGB or (H, W, 1) gray, uint8 or uint16, contiguous."""
    alpha: Array | None = None
    """(H, W) of the same type, or None for an opaque image. Colours are not multiplied by it."""

    @property
    def gray(self) -> bool:
        """Whether there is one channel."""
        return self.pixels.shape[2] == 1

    @property
    def bits(self) -> int:
        """8 or 16."""
        return self.pixels.dtype.itemsize * 8

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def as_channels(self, count: int) -> Array:
        """The pixels with ``count`` channels: gray repeated to 3 (a view), colour to 1 as the luma of BT.601.

        Raises:
            ValueError: ``count`` is neither 1 nor 3.
        """
        if count not in (1, 3):
            raise ValueError(f"expected 1 or 3 channels, found {count}")
        if count == self.pixels.shape[2]:
            return self.pixels
        if count == 3:
            return np.broadcast_to(self.pixels, (*self.size, 3))
        luma: Array = cv2.cvtColor(self.pixels, cv2.COLOR_RGB2GRAY)
        return luma[:, :, None]


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of an image before it is decoded; width and height are those of the decoded image."""

    width: int
    height: int
    channels: int
    """1 or 3, without alpha."""
    bits: int
    """8 or 16."""
    alpha: bool


def header(path: Path | str) -> Header:
    """The size and kind of an image file, without decoding it.

    Raises:
        UnreadableImage: it is missing, empty, truncated or no image.
    """
    try:
        if is_inside(path):
            data = contents(path)
            facts = examine(data) or _examine_other(data)
        else:
            with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                facts = examine(mapped) or _examine_other(mapped[:])
    except (BrokenImage, OSError, ValueError) as error:
        raise UnreadableImage(str(path), _reason(path, error)) from None
    turned = facts.orientation > 4
    width, height = (facts.height, facts.width) if turned else (facts.width, facts.height)
    return Header(width, height, facts.channels, facts.bits, facts.alpha)


def as_bytes(pixels: Array) -> Array:
    """uint8 of uint8 or uint16, rounded; 8 bits as they are."""
    return pixels if pixels.dtype == np.uint8 else ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def read(path: Path | str) -> Picture:
    """Decode an image file and turn it upright as its orientation says.

    Raises:
        UnreadableImage: it is missing, empty, truncated, damaged or no image, whatever its name ends in.
    """
    try:
        data = contents(path) if is_inside(path) else Path(path).read_bytes()
        if not data:
            raise BrokenImage("the file is empty")
        facts = examine(data) or _examine_other(data)
        pixels = _decode(data, facts)
    except (BrokenImage, OSError) as error:
        raise UnreadableImage(str(path), _reason(path, error)) from None
    if pixels.shape[:2] != (facts.height, facts.width) or pixels.dtype not in (np.uint8, np.uint16):
        found = f"{pixels.shape[1]}x{pixels.shape[0]} {pixels.dtype}"
        raise UnreadableImage(str(path), f"it decodes to {found}, its head says {facts.width}x{facts.height}")
    return _picture(_upright(pixels, facts.orientation))


def write(path: Path | str, image: Picture | Array, quality: int = 95) -> None:
    """Write an image in the format that the name ends in; the file appears whole or not at all.

    ``image`` is a ``Picture`` or an array (H, W), (H, W, 1) or (H, W, 3) RGB, uint8 or uint16. ``quality`` 1 to 100 is
    for JPEG and WebP; a WebP of 100 is lossless, but for the colours of wholly transparent pixels.

    Raises:
        ValueError: pixels that no image file holds, or that this format does not.
        OSError: the folder cannot be written.
    """
    path = Path(path)
    picture = image if isinstance(image, Picture) else Picture(image if image.ndim == 3 else image[:, :, None])
    suffix = path.suffix.lower()
    _check_writable(picture, suffix)
    options = {".jpg": cv2.IMWRITE_JPEG_QUALITY, ".jpeg": cv2.IMWRITE_JPEG_QUALITY, ".webp": cv2.IMWRITE_WEBP_QUALITY}
    value = 101 if suffix == ".webp" and quality >= 100 else quality
    settings = [options[suffix], value] if suffix in options else []
    _, encoded = cv2.imencode(suffix, _blue_first(picture), settings)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(encoded.tobytes())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _check_writable(picture: Picture, suffix: str) -> None:
    pixels = picture.pixels
    if pixels.dtype not in (np.uint8, np.uint16) or pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
        raise ValueError(f"expected (H, W, 1 or 3) of uint8 or uint16, found {pixels.shape} of {pixels.dtype}")
    if suffix not in (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"):
        raise ValueError(f"expected a name that ends in .png, .jpg, .webp, .tif or .bmp, found {suffix!r}")
    if picture.bits == 16 and suffix not in (".png", ".tif", ".tiff"):
        raise ValueError(f"{suffix} has 8 bits, the image 16: write .png or .tif")
    if picture.alpha is not None and suffix not in (".png", ".webp"):
        raise ValueError(f"{suffix} is written without transparency, which the image has: write .png or .webp")


def _blue_first(picture: Picture) -> Array:
    if picture.alpha is not None:
        return np.dstack([picture.as_channels(3)[:, :, ::-1], picture.alpha])
    return np.ascontiguousarray(picture.pixels[:, :, ::-1])


def _decode(data: bytes, facts: Facts) -> Array:
    """(H, W) or (H, W, C) with RGB order, as stored."""
    try:
        if facts.kind == "npy":
            return np.asarray(np.lib.format.read_array(io.BytesIO(data), allow_pickle=False))
        if facts.orientation_at is not None:
            data = _without_orientation(data, facts.orientation_at)
        return _opencv(data, facts) if facts.plain else _pillow(data)
    except BrokenImage:
        raise
    except Exception as error:  # decoders raise anything at all for a damaged file
        raise BrokenImage(f"it cannot be decoded: {error}") from None


def _opencv(data: bytes, facts: Facts) -> Array:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise BrokenImage(f"it cannot be decoded: its {facts.kind.upper()} data are damaged")
    if pixels.ndim == 3 and facts.channels == 1:  # gray with alpha comes as colour, gray palettes too
        return np.ascontiguousarray(pixels[:, :, [0, 3]] if pixels.shape[2] == 4 else pixels[:, :, 0])
    if pixels.ndim == 3:
        order = cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB
        cv2.cvtColor(pixels, order, dst=pixels)
    return pixels


def _pillow(data: bytes) -> Array:
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large images and odd tags: the file is the user's own
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return _pillow_pixels(image)


def _pillow_pixels(image: Any) -> Array:
    keyed = "transparency" in image.info
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("LA" if keyed else "L"))
    if image.mode in ("P", "PA"):
        return np.asarray(image.convert("RGBA" if keyed or image.mode == "PA" else "RGB"))
    if image.mode.startswith("I"):
        pixels = np.asarray(image)
        if pixels.min() < 0 or pixels.max() > 65535:
            raise BrokenImage("it has pixels beyond 16 bits")
        return pixels.astype(np.uint16)
    if image.mode == "F":
        raise BrokenImage("it has floating point pixels; 8 and 16 bits are read")
    if image.mode in ("LA", "La"):
        return np.asarray(image.convert("LA"))
    return np.asarray(image.convert("RGBA" if image.mode in ("RGBA", "RGBa") else "RGB"))


def _examine_other(data: bytes) -> Facts:
    """The facts of a kind that only Pillow knows."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                orientation = image.getexif().get(274, 1)
                gray = image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")
                bits = 16 if image.mode.startswith("I") else 8
                alpha = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
                width, height = image.size
                kind = str(image.format).lower()
    except Exception as error:
        if isinstance(error, OSError) and "identify" in str(error):
            raise BrokenImage("it is not an image of any known kind") from None
        raise BrokenImage(f"it cannot be read: {error}") from None
    return Facts(kind, width, height, 1 if gray else 3, bits, alpha, orientation, plain=False)


def _without_orientation(data: bytes, at: int) -> bytes:
    """The same TIFF with orientation 1, because decoders differ in whether they apply it."""
    patched = bytearray(data)
    patched[at : at + 2] = b"\1\0" if data[:2] == b"II" else b"\0\1"
    return bytes(patched)


def _upright(pixels: Array, orientation: int) -> Array:
    if orientation in (5, 6, 7, 8):
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def _picture(pixels: Array) -> Picture:
    pixels = pixels if pixels.ndim == 3 else pixels[:, :, None]
    native = pixels.dtype.newbyteorder("=")
    if pixels.shape[2] in (2, 4):
        alpha = np.ascontiguousarray(pixels[:, :, -1], native)
        return Picture(np.ascontiguousarray(pixels[:, :, :-1], native), alpha)
    return Picture(np.ascontiguousarray(pixels, native))


def _reason(path: Path | str, error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, ValueError) and Path(path).stat().st_size == 0:  # mmap's complaint
        return "the file is empty"
    return str(error)
