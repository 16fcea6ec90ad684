"""What the head of an image file says, and whether the file is whole: PNG, JPEG, WebP, TIFF, BMP, PNM and NPY.

No pixel is decoded. Decoders differ in what they do to an incomplete file (some give half a picture without a word), in
whether they heed an orientation, and in the kinds of pixels that they get wrong; the facts found here settle all three.
PNG: W3C PNG (3rd ed.). JPEG: ITU-T T.81. TIFF: Adobe TIFF 6.0; Exif is a TIFF of its own. WebP: RFC 9649.
"""

from __future__ import annotations

import ast
import mmap
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

Buffer = bytes | mmap.mmap

IMAGE_SUFFIXES = frozenset(
    ".png .jpg .jpeg .jpe .jfif .webp .bmp .tif .tiff .ppm .pgm .pbm .pnm .gif .npy".split()  # noqa: SIM905
)
"""Lower-case endings of the files that count as images in a folder. How one is read, its contents decide."""


class BrokenImage(Exception):
    """The file is not a whole image of a kind that is read; the message says why."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The head of an image file. ``width`` and ``height`` are as stored, before the orientation is applied."""

    kind: str
    width: int
    height: int
    channels: int
    """1 or 3, without alpha."""
    bits: int
    """8 or 16 of a channel, once decoded."""
    alpha: bool = False
    orientation: int = 1
    """Exif's number: what is to be done to the stored rows, 1 is nothing."""
    orientation_at: int | None = None
    """Where in a TIFF that number is, because its decoders rotate by themselves."""
    plain: bool = True
    """Whether OpenCV decodes it right; Pillow decodes the rest."""


def examine(data: Buffer) -> Facts | None:
    """The facts of a file, or None if it is of no kind that is known here.

    Raises:
        BrokenImage: it is of a known kind, but incomplete or damaged.
    """
    head = data[:16]
    parsers = (
        (head.startswith(b"\x89PNG\r\n\x1a\n"), _png),
        (head.startswith(b"\xff\xd8"), _jpeg),
        (head[:4] == b"RIFF" and head[8:12] == b"WEBP", _webp),
        (head[:4] in (b"II*\0", b"MM\0*"), _tiff),
        (head.startswith(b"BM"), _bmp),
        (re.match(rb"P[456]\s", head) is not None, _pnm),
        (head.startswith(b"\x93NUMPY"), _npy),
    )
    parser = next((p for matches, p in parsers if matches), None)
    if parser is None:
        return None
    try:
        facts = parser(data)
    except (struct.error, IndexError, ValueError, OverflowError, SyntaxError, KeyError):
        raise BrokenImage("its head is incomplete or damaged") from None
    if facts.width < 1 or facts.height < 1:
        raise BrokenImage(f"it says that it is {facts.width}x{facts.height}")
    return facts


def _png_chunks(data: Buffer, position: int = 8) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and length of the contents of each chunk."""
    while position + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        yield name, position + 8, length
        position += 12 + length


def _png(data: Buffer) -> Facts:
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    keyed, orientation = False, 1
    for name, start, length in _png_chunks(data):
        if name == b"tRNS":
            keyed = True
        elif name == b"eXIf":
            orientation = _exif_orientation(data[start : start + length])
        elif name == b"IDAT":
            break
    if data[-12:-4] != b"\0\0\0\0IEND" and not any(name == b"IEND" for name, _, _ in _png_chunks(data)):
        raise BrokenImage("it is truncated: the end of the PNG is missing")
    gray = colour in (0, 4)
    alpha = colour in (4, 6) or keyed
    bits = 16 if depth == 16 else 8
    return Facts("png", width, height, 1 if gray else 3, bits, alpha, orientation, plain=not (colour == 0 and keyed))


_JPEG_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]", re.DOTALL)
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def _jpeg_segments(data: Buffer) -> Iterator[tuple[int, int, int]]:
    """Marker, start and length of the contents of each segment, over the compressed data up to the end of the image."""
    position = 2
    while (found := _JPEG_MARKER.search(data, position)) is not None:
        marker, position = data[found.end() - 1], found.end()
        if marker == 0xD9:
            yield marker, position, 0
            return
        if marker == 0x01:
            continue
        (length,) = struct.unpack_from(">H", data, position)
        yield marker, position + 2, length - 2
        position += length


def _jpeg(data: Buffer) -> Facts:
    facts, orientation = None, 1
    for marker, start, length in _jpeg_segments(data):
        if marker in _JPEG_FRAMES:
            bits, height, width, components = struct.unpack_from(">BHHB", data, start)
            if bits != 8:
                raise BrokenImage(f"it is a JPEG of {bits} bits; 8 are read")
            facts = Facts("jpeg", width, height, 1 if components == 1 else 3, 8, plain=components in (1, 3))
        elif marker == 0xE1 and data[start : start + 6] == b"Exif\0\0":
            orientation = _exif_orientation(data[start + 6 : start + length])
        elif marker == 0xDA:
            break
    if facts is None:
        raise BrokenImage("it is a JPEG without a picture")
    if data[-2:] != b"\xff\xd9" and not any(marker == 0xD9 for marker, _, _ in _jpeg_segments(data)):
        raise BrokenImage("it is truncated: the end of the JPEG is missing")
    return replace(facts, orientation=orientation)


def _webp(data: Buffer) -> Facts:
    (size,) = struct.unpack_from("<I", data, 4)
    if size + 8 > len(data):
        raise BrokenImage(f"it is truncated: {len(data)} bytes of {size + 8}")
    name = data[12:16]
    if name == b"VP8 ":
        width, height = (n & 0x3FFF for n in struct.unpack_from("<HH", data, 26))
        return Facts("webp", width, height, 3, 8)
    if name == b"VP8L":
        (packed,) = struct.unpack_from("<I", data, 21)
        return Facts("webp", (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1, 3, 8, bool(packed >> 28 & 1))
    flags = data[20]
    width, height = (1 + int.from_bytes(data[a : a + 3], "little") for a in (24, 27))
    orientation, position = 1, 30
    while flags & 0x08 and position + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, position)
        if name == b"EXIF":
            exif = data[position + 8 : position + 8 + length]
            orientation = _exif_orientation(exif.removeprefix(b"Exif\0\0"))
        position += 8 + length + length % 2
    return Facts("webp", width, height, 3, 8, bool(flags & 0x10), orientation)


_TIFF_TYPES = {1: "B", 3: "H", 4: "I"}


def _tiff_tags(data: Buffer) -> dict[int, tuple[int, tuple[int, ...]]]:
    """Where the value of each tag of the first directory is, and its integers; tags of other types are left out."""
    order = "<" if data[:2] == b"II" else ">"
    (position,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, position)
    tags = {}
    for entry in range(position + 2, position + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from(f"{order}HHI", data, entry)
        if kind in _TIFF_TYPES and number <= len(data):
            layout = f"{order}{number}{_TIFF_TYPES[kind]}"
            at = entry + 8
            if struct.calcsize(layout) > 4:
                (at,) = struct.unpack_from(f"{order}I", data, at)
            tags[tag] = (at, struct.unpack_from(layout, data, at))
    return tags


def _exif_orientation(exif: bytes) -> int:
    try:
        orientation = _tiff_tags(exif)[274][1][0]
    except (struct.error, KeyError, IndexError):
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def _tiff(data: Buffer) -> Facts:
    found = _tiff_tags(data)
    tags = {tag: values for tag, (_, values) in found.items()}
    width, height = tags[256][0], tags[257][0]
    depth, samples = tags.get(258, (1,))[0], tags.get(277, (1,))[0]
    if set(tags.get(339, (1,))) - {1, 4} or depth not in (1, 2, 4, 8, 16):
        kind = {2: "signed ", 3: "floating point "}.get(tags.get(339, (1,))[0], "")
        raise BrokenImage(f"it is a TIFF of {depth}-bit {kind}pixels; 8 and 16 bits without sign are read")
    for at, counts in ((273, 279), (324, 325)):
        if any(a + n > len(data) for a, n in zip(tags.get(at, ()), tags.get(counts, ()), strict=False)):
            raise BrokenImage("it is truncated: some of its strips are missing")
    photometric = tags[262][0]
    channels = 1 if photometric in (0, 1) else 3
    colours = {0: 1, 1: 1, 3: 1, 5: 4}.get(photometric, 3)
    orientation, at_byte = (tags[274][0], found[274][0]) if 274 in tags else (1, None)
    if depth == 16 and (photometric not in (0, 1, 2) or (channels == 1 and samples > 1)):
        raise BrokenImage("it is a 16-bit TIFF that is neither gray nor RGB(A)")
    bits = 16 if depth == 16 else 8
    orientation = orientation if 1 <= orientation <= 8 else 1
    # OpenCV multiplies 8-bit colours by alpha and overlooks damaged strips; Pillow has no 16-bit RGB
    return Facts(
        "tiff", width, height, channels, bits, samples > colours, orientation, at_byte, plain=bits == 16 and samples > 1
    )


def _bmp(data: Buffer) -> Facts:
    offset, size = struct.unpack_from("<II", data, 10)
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression, entry, colours = 0, 3, 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
        (colours,) = struct.unpack_from("<I", data, 46)
        entry = 4
    if compression == 0 and offset + (width * bits + 31) // 32 * 4 * abs(height) > len(data):
        raise BrokenImage("it is truncated: some of its rows are missing")
    gray = False
    if bits <= 8:
        palette = data[14 + size : 14 + size + entry * (colours or 1 << bits)]
        gray = all(len(set(palette[i : i + 3])) == 1 for i in range(0, len(palette) - 2, entry))
    plain = compression == 0 and bits in (1, 4, 8, 24)
    return Facts("bmp", width, abs(height), 1 if gray else 3, 8, bits == 32 and compression == 3, plain=plain)


_PNM_HEAD = re.compile(rb"P([456])" + rb"(?:\s+|#[^\n]*\n)+(\d+)" * 2 + rb"(?:(?:\s+|#[^\n]*\n)+(\d+))?\s", re.DOTALL)


def _pnm(data: Buffer) -> Facts:
    found = _PNM_HEAD.match(data[:4096])
    if found is None:
        raise BrokenImage("its head is incomplete or damaged")
    width, height = int(found[2]), int(found[3])
    channels = 3 if found[1] == b"6" else 1
    if found[1] == b"4":
        return Facts("pnm", width, height, 1, 8, plain=False)
    largest = int(found[4])
    bits = 16 if largest > 255 else 8
    if found.end() + width * height * channels * bits // 8 > len(data):
        raise BrokenImage("it is truncated: some of its rows are missing")
    return Facts("pnm", width, height, channels, bits, plain=largest in (255, 65535))


def _npy(data: Buffer) -> Facts:
    length_at, layout = (8, "<H") if data[6] == 1 else (8, "<I")
    (length,) = struct.unpack_from(layout, data, length_at)
    start = length_at + struct.calcsize(layout)
    head = ast.literal_eval(data[start : start + length].decode("latin-1"))
    shape, kind = head["shape"], head["descr"]
    if kind not in ("|u1", "<u2", ">u2") or len(shape) not in (2, 3) or (*shape, 1)[2] not in (1, 2, 3, 4):
        raise BrokenImage(f"it is an array {shape} of {kind}; (H, W) or (H, W, 1 to 4) of uint8 or uint16 is read")
    channels = (*shape, 1)[2]
    bits = int(kind[2]) * 8
    if start + length + shape[0] * shape[1] * channels * bits // 8 > len(data):
        raise BrokenImage("it is truncated: some of its rows are missing")
    return Facts("npy", shape[1], shape[0], 1 if channels < 3 else 3, bits, channels in (2, 4), plain=False)
