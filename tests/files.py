"""Image files of every kind that people have, sound and damaged, and the pixels that they hold.

``good_files()`` gives name -> (bytes, pixels (H, W, 1 or 3), alpha or None); ``bad_files()`` gives name -> bytes.
"""

import io
import struct
import zlib

import cv2
import numpy as np
from PIL import Image

from darkroom.data.images import write

HEIGHT, WIDTH = 46, 61


def photograph(height=HEIGHT, width=WIDTH, seed=0, channels=3):
    """A smooth image with noise and edges, uint8 (H, W, channels)."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (height // 8 + 2, width // 8 + 2, channels)).astype(np.float32)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, channels)
    image[height // 3 : height // 2, width // 4 : width // 2] = 255 * rng.random(channels)
    return np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


def fill(root, count, height=48, width=64, seed=0, make=photograph):
    """A folder of PNG files 0.png, 1.png, ...; its path as options have it."""
    root.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        write(root / f"{n}.png", make(height, width, seed + n))
    return str(root)


def photograph16(height=HEIGHT, width=WIDTH, seed=0, channels=3):
    low = np.random.default_rng(seed + 1).integers(0, 256, (height, width, channels))
    return (photograph(height, width, seed, channels).astype(np.uint16) * 256 + low).astype(np.uint16)


def encode(image, kind, **options):
    """Bytes of a Pillow image or an array in one of Pillow's formats."""
    image = image if isinstance(image, Image.Image) else Image.fromarray(image.squeeze())
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def save(path, pixels, kind="PNG", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(pixels, kind, **options))
    return path


def png_chunk(name, contents):
    return struct.pack(">I", len(contents)) + name + contents + struct.pack(">I", zlib.crc32(name + contents))


def png(pixels, colour, depth, extra=b""):
    """A PNG written by hand, for kinds that no library here writes: ``pixels`` are rows of bytes or big-endian."""
    height, width = pixels.shape[:2]
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + head + extra + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")


def _cv(suffix, pixels, *options):
    return cv2.imencode(suffix, np.ascontiguousarray(pixels[:, :, ::-1]), options)[1].tobytes()


def _alpha():
    return (np.add.outer(np.arange(HEIGHT) * 5, np.arange(WIDTH) * 2) % 256).astype(np.uint8)


def _with_alpha(pixels):
    image = Image.fromarray(pixels.squeeze())
    image.putalpha(Image.fromarray(_alpha()))
    return image


def _pillow_rgb(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def good_files():
    rgb, rgb16 = photograph(), photograph16()
    gray = photograph(channels=1, seed=3)
    gray16 = photograph16(channels=1, seed=4)
    alpha, alpha16 = _alpha(), photograph16(channels=1, seed=5)[:, :, 0]
    return {
        **_pngs(rgb, rgb16, gray, gray16, alpha, alpha16),
        **_tiffs(rgb, rgb16, gray, gray16, alpha),
        **_jpegs(rgb, gray),
        **_webps(rgb, alpha),
        **_others(rgb, gray, gray16),
    }


def _pngs(rgb, rgb16, gray, gray16, alpha, alpha16):
    bits = (gray > 127).astype(np.uint8) * 255
    palette = Image.fromarray(rgb).quantize(40)
    of_palette = np.asarray(palette.convert("RGB"))
    hidden = np.where(np.asarray(palette) == 5, 0, 255).astype(np.uint8)
    key = int(gray[3, 3, 0])
    return {
        "rgb.png": (encode(rgb, "PNG"), rgb, None),
        "rgb_interlaced.png": (_interlaced(rgb), rgb, None),
        "gray.png": (encode(gray, "PNG"), gray, None),
        "gray_alpha.png": (encode(_with_alpha(gray), "PNG"), gray, alpha),
        "rgba.png": (encode(_with_alpha(rgb), "PNG"), rgb, alpha),
        "palette.png": (encode(palette, "PNG"), of_palette, None),
        "palette_transparent.png": (encode(palette, "PNG", transparency=5), of_palette, hidden),
        "palette_4bit.png": (encode(palette.quantize(9), "PNG"), np.asarray(palette.quantize(9).convert("RGB")), None),
        "gray_transparent.png": (
            encode(gray, "PNG", transparency=key),
            gray,
            np.where(gray[:, :, 0] == key, 0, 255).astype(np.uint8),
        ),
        "one_bit.png": (encode(Image.fromarray(bits[:, :, 0]).convert("1"), "PNG"), bits, None),
        "rgb16.png": (_cv(".png", rgb16), rgb16, None),
        "gray16.png": (_cv(".png", gray16), gray16, None),
        "rgba16.png": (png(np.dstack([rgb16, alpha16]).astype(">u2"), 6, 16), rgb16, alpha16),
        "gray_alpha16.png": (png(np.dstack([gray16, alpha16]).astype(">u2"), 4, 16), gray16, alpha16),
        "trailing_bytes.png": (encode(rgb, "PNG") + b"left behind by an editor", rgb, None),
        "a_jpeg_called.png": (jpeg := encode(rgb, "JPEG", quality=95), _pillow_rgb(jpeg), None),
    }


def _interlaced(rgb):
    """Adam7, by hand."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = b"".join(b"\0" + row.tobytes() for t, l, v, h in passes for row in rgb[t::v, l::h])  # noqa: E741
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", rgb.shape[1], rgb.shape[0], 8, 2, 0, 0, 1))
    return b"\x89PNG\r\n\x1a\n" + head + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")


def _tiffs(rgb, rgb16, gray, gray16, alpha):
    palette = Image.fromarray(rgb).quantize(40)
    cmyk = Image.fromarray(rgb).convert("CMYK")
    turned = encode(np.rot90(rgb).copy(), "TIFF", tiffinfo={274: 6})
    return {
        "rgb.tif": (encode(rgb, "TIFF"), rgb, None),
        "rgb_lzw.tif": (encode(rgb, "TIFF", compression="tiff_lzw"), rgb, None),
        "rgb_deflate.tiff": (encode(rgb, "TIFF", compression="tiff_deflate"), rgb, None),
        "rgba.tif": (encode(_with_alpha(rgb), "TIFF"), rgb, alpha),
        "gray.tif": (encode(gray, "TIFF"), gray, None),
        "gray_alpha.tif": (encode(_with_alpha(gray), "TIFF"), gray, alpha),
        "gray16.tif": (encode(gray16, "TIFF"), gray16, None),
        "rgb16.tif": (_cv(".tif", rgb16), rgb16, None),
        "rgb16_plain.tif": (_cv(".tif", rgb16, cv2.IMWRITE_TIFF_COMPRESSION, 1), rgb16, None),
        "palette.tif": (encode(palette, "TIFF"), np.asarray(palette.convert("RGB")), None),
        "cmyk.tif": (encode(cmyk, "TIFF"), np.asarray(cmyk.convert("RGB")), None),
        "turned.tif": (turned, rgb, None),
    }


def _jpegs(rgb, gray):
    cmyk = encode(Image.fromarray(rgb).convert("CMYK"), "JPEG", quality=95)
    files = {
        "rgb.jpg": encode(rgb, "JPEG", quality=95),
        "progressive.jpeg": encode(rgb, "JPEG", progressive=True),
        "cmyk.jpg": cmyk,
        "restarts.jpg": _cv(".jpg", rgb, cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
        "padded.jpg": encode(rgb, "JPEG") + bytes(200),
        "thumbnail.jpg": encode(rgb, "JPEG", exif=_exif_with_thumbnail()),
    }
    out = {name: (data, _pillow_rgb(data), None) for name, data in files.items()}
    data = encode(gray, "JPEG")
    return {**out, "gray.jpg": (data, np.asarray(Image.open(io.BytesIO(data)))[:, :, None], None)}


def _exif_with_thumbnail():
    """An Exif block that holds a JPEG with an end marker of its own."""
    exif = Image.Exif()
    exif[0x010E] = "text \xff\xd9 like an end of image"
    return exif.tobytes() + b"\xff\xd9"


def _webps(rgb, alpha):
    lossy = encode(rgb, "WEBP", quality=80)
    return {
        "lossless.webp": (encode(rgb, "WEBP", lossless=True), rgb, None),
        "lossy.webp": (lossy, _pillow_rgb(lossy), None),
        "rgba.webp": (encode(_with_alpha(rgb), "WEBP", lossless=True, exact=True), rgb, alpha),
    }


def _others(rgb, gray, gray16):
    palette = Image.fromarray(rgb).quantize(40)
    bits = (gray > 127).astype(np.uint8) * 255
    array = io.BytesIO()
    np.save(array, rgb)
    rows, columns = gray16.shape[:2]
    pgm = f"P5\n# a comment\n{columns} {rows}\n65535\n".encode() + gray16.astype(">u2").tobytes()
    return {
        "rgb.bmp": (encode(rgb, "BMP"), rgb, None),
        "gray.bmp": (encode(gray, "BMP"), gray, None),
        "one_bit.bmp": (encode(Image.fromarray(bits[:, :, 0]).convert("1"), "BMP"), bits, None),
        "palette.bmp": (encode(palette, "BMP"), np.asarray(palette.convert("RGB")), None),
        "rgb.ppm": (encode(rgb, "PPM"), rgb, None),
        "gray16.pgm": (pgm, gray16, None),
        "palette.gif": (encode(palette, "GIF"), np.asarray(palette.convert("RGB")), None),
        "rgb.npy": (array.getvalue(), rgb, None),
    }


ORIENTATIONS = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
    8: lambda x: np.rot90(x),
}
"""What Exif's orientations ask for: stored pixels -> upright pixels."""


def oriented(pixels, orientation, kind):
    """A file of ``pixels`` as stored, with an orientation."""
    if kind == "TIFF":
        return encode(pixels, kind, tiffinfo={274: orientation})
    exif = Image.Exif()
    exif[274] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    return encode(pixels, kind, exif=exif, **options)


def bad_files():
    """Files that must be refused."""
    rgb = photograph(200, 240)
    sound = {
        "png": encode(rgb, "PNG"),
        "jpg": encode(rgb, "JPEG", quality=95),
        "progressive.jpg": encode(rgb, "JPEG", progressive=True),
        "lossless.webp": encode(rgb, "WEBP", lossless=True),
        "webp": encode(rgb, "WEBP"),
        "bmp": encode(rgb, "BMP"),
        "plain.tif": encode(rgb, "TIFF"),
        "lzw.tif": encode(rgb, "TIFF", compression="tiff_lzw"),
        "rgb16.tif": _cv(".tif", photograph16(200, 240)),
        "ppm": encode(rgb, "PPM"),
        "gif": encode(Image.fromarray(rgb).quantize(64), "GIF"),
    }
    cuts = {
        f"cut_{int(part * 100)}.{n}": d[: int(len(d) * part)] for n, d in sound.items() for part in (0.05, 0.5, 0.97)
    }
    ends = {f"end.{n}": d[:-3] for n, d in sound.items() if n.endswith(("png", "jpg", "webp", "bmp", "ppm", "tif"))}
    hollow = {
        f"zeros.{n}": d[: len(d) // 2] + bytes(len(d) - len(d) // 2) for n, d in sound.items() if n in ("png", "jpg")
    }
    return {**cuts, **ends, **hollow, **_odd_ones(sound["png"])}


def _odd_ones(whole_png):
    flipped = bytearray(whole_png)
    flipped[len(flipped) // 2] ^= 0x10
    array = io.BytesIO()
    np.save(array, np.zeros((4, 4, 3), np.float32))
    return {
        "empty.png": b"",
        "one_byte.png": b"\x89",
        "text.png": b"these are words, not pixels\n" * 40,
        "page.jpg": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "signature_only.png": whole_png[:8],
        "head_only.png": whole_png[:33],
        "zero_wide.png": png(np.zeros((4, 0), np.uint8), 0, 8),
        "bit_flipped.png": bytes(flipped),
        "float.npy": array.getvalue(),
        "float.tif": encode(np.ones((8, 8), np.float32), "TIFF"),
    }
