"""PNG, JPEG and TIFF by Pillow, with the stored values as they are: never stretched or cut short.

Pillow reads more than we do and quietly changes some of it (16-bit colour to 8 bits, 2 and 4 bits
stretched to 8, white-is-zero inverted in some types only); what it would change is refused, or
changed back and said.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from secondreader.domain import Refused, Step
from secondreader.formats.source import MAX_PIXELS

__all__ = ["Stored", "read_picture"]

_BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _SAMPLE_FORMAT = 258, 259, 262, 274, 339
_WHITE_IS_ZERO, _PALETTE = 0, 3
_LOSSY_TIFF = {6, 7, 33003, 33004, 33005, 34712, 34887, 50001}  # JPEG, JPEG 2000, LERC, WebP
_GREY_MODES = ("L", "I;16", "I;16B", "I;16L", "I")


@dataclass(frozen=True, eq=False, slots=True)
class Stored:
    """The stored values of a raster, and what its file says of them.

    Parameters
    ----------
    values
        (rows, cols) uint8 or uint16.
    format
        PNG, JPEG, TIFF or PGM.
    words
        What was decoded, for the first step.
    lossy
        Whether compression lost anything; ``None`` where the file cannot tell.
    white_is_zero
        Whether larger stored values are darker.
    resolution
        The resolution tag in words, empty if there is none.
    steps
        What was done to come to one grey value a pixel.
    """

    values: np.ndarray
    format: str
    words: str
    lossy: bool | None = False
    white_is_zero: bool = False
    resolution: str = ""
    steps: tuple[Step, ...] = ()


def read_picture(stream: BinaryIO, kind: str) -> Stored:
    """Decode a PNG, JPEG or TIFF.

    Raises
    ------
    Refused
        ``too-large``, ``too-few-bits``, ``colour``, ``palette``, ``transparent``, ``orientation``,
        ``several``, ``unsupported``, ``truncated``, ``unreadable``.
    """
    with _refusing(kind):
        if kind == "PNG":  # Pillow checks the chunks' checksums only when asked to
            Image.open(stream, formats=["PNG"]).verify()
            stream.seek(0)
        with Image.open(stream, formats=[kind]) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                size = f"{picture.height} x {picture.width}"
                raise Refused("too-large", f"got {size} pixels, expected at most {MAX_PIXELS}")
            bits = _bits(picture, kind)  # before anything makes Pillow decode
            if getattr(picture, "n_frames", 1) > 1:
                raise Refused("several", f"several pictures in one {kind}; expected one a file")
            if picture.getexif().get(_ORIENTATION, 1) not in (0, 1):
                raise Refused("orientation", "asks to be turned; expected it stored upright")
            white_is_zero = kind == "TIFF" and _tag(picture, _PHOTOMETRIC) == _WHITE_IS_ZERO
            lossy = kind == "JPEG" or (
                kind == "TIFF" and _tag(picture, _COMPRESSION) in _LOSSY_TIFF
            )
            transparent = picture.info.get("transparency")
            resolution = picture.info.get("dpi")
            values, steps = _grey(np.asarray(picture), picture.mode, transparent)
    if white_is_zero and values.dtype == np.uint8:
        values = 255 - values  # Pillow has inverted these already
    rows, cols = values.shape
    return Stored(
        values,
        kind,
        f"{kind}, {rows} x {cols}, {bits} bits, {'lossy' if lossy else 'lossless'}",
        lossy,
        white_is_zero,
        f"resolution tag ({float(resolution[0]):.0f} dpi)" if resolution else "",
        steps,
    )


@contextmanager
def _refusing(kind: str) -> Iterator[None]:
    """Turn what Pillow raises on bad files into one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of large pictures, and of odd metadata
            yield
    except Refused:
        raise
    except (Image.DecompressionBombError, MemoryError):
        raise Refused("too-large", f"too large; expected at most {MAX_PIXELS} pixels") from None
    except Exception as error:  # Pillow raises many kinds on damaged files
        if isinstance(error, OSError) and error.errno is not None:
            raise
        if "truncated" in str(error).lower() or isinstance(error, EOFError):
            raise Refused("truncated", f"a {kind} that ends early") from None
        raise Refused(
            "unreadable", f"a damaged {kind}, or one of a kind that is not read"
        ) from None


def _tag(picture: Image.Image, tag: int) -> Any:
    return picture.tag_v2.get(tag)  # type: ignore[attr-defined]


def _bits(picture: Image.Image, kind: str) -> int:
    """Return the bits of one stored value; refuse what would be changed on the way."""
    if picture.mode in ("P", "PA"):
        raise Refused("palette", "a picture with a palette; expected grey values")
    bits, channels = 8, len(picture.getbands())
    if kind == "PNG":
        raw = str(getattr(picture, "tile", [])[0].args)
        bits = {"1": 1, "L;2": 2, "L;4": 4}.get(raw, 16 if "16" in raw else 8)
    elif kind == "TIFF":
        per_value = set(_tag(picture, _BITS) or (1,))
        if set(_tag(picture, _SAMPLE_FORMAT) or (1,)) != {1}:
            raise Refused("unsupported", "signed or floating-point values; expected unsigned ones")
        bits = max(per_value)
    if bits < 8:
        raise Refused("too-few-bits", f"got {bits} bits, expected 8 to 16")
    if bits > 16:
        raise Refused("unsupported", f"got {bits} bits, expected 8 to 16")
    if bits > 8 and channels > 1:
        raise Refused("colour", f"colour or alpha of {bits} bits; expected grey")
    if picture.mode not in (*_GREY_MODES, "LA", "RGB", "RGBA"):
        raise Refused("colour", f"a picture of kind {picture.mode}; expected grey")
    return bits


def _grey(values: np.ndarray, mode: str, transparent: Any) -> tuple[np.ndarray, tuple[Step, ...]]:
    """Take the one grey value out of equal channels, and refuse what shows through."""
    steps = []
    if mode in ("LA", "RGBA"):
        if values[..., -1].min() < 255:
            raise Refused("transparent", "partly transparent; expected an opaque picture")
        values = values[..., :-1]
        steps.append(Step("alpha", "all opaque, left out", "alpha channel"))
    if values.ndim == 3 and values.shape[2] == 3:
        grey = values[..., 0]
        if not (np.array_equal(grey, values[..., 1]) and np.array_equal(grey, values[..., 2])):
            raise Refused("colour", "in colour; expected grey")
        steps.append(Step("grey", "red, green and blue are equal everywhere", "colour channels"))
    else:
        grey = values.reshape(values.shape[:2])
    if transparent is not None:
        _check_transparent(grey, transparent)
    dtype = np.uint8 if grey.dtype == np.uint8 else np.uint16
    return np.ascontiguousarray(grey, dtype), tuple(steps)


def _check_transparent(grey: np.ndarray, transparent: Any) -> None:
    """Refuse where the value that a PNG declares transparent (tRNS) occurs."""
    declared = transparent if isinstance(transparent, tuple) else (transparent,)
    if len(set(declared)) == 1 and np.any(grey == declared[0]):
        raise Refused("transparent", "partly transparent; expected an opaque picture")
