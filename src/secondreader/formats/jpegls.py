"""Stored values kept losslessly: JPEG-LS, a fifth of PNG's time and three quarters of its size."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from secondreader.domain import Refused
from secondreader.formats.write import png_bytes

__all__ = ["jpegls_bytes", "jpegls_pixels"]


def jpegls_bytes(stored: np.ndarray) -> bytes:
    """Encode (rows, cols) uint8 or uint16; values below 256 come back as uint8."""
    import jpeg_ls

    # The codec takes its precision from the largest value: two bytes for a value of one come back
    # as something else.
    small = stored.astype(np.uint8) if stored.size and int(stored.max()) < 256 else stored
    try:
        return bytes(jpeg_ls.encode_array(np.ascontiguousarray(small)))
    except (
        RuntimeError
    ):  # it gives what it makes no more room than the values took: noise wants more
        return png_bytes(small)


def jpegls_pixels(content: bytes) -> np.ndarray:
    """Decode what `jpegls_bytes` made.

    Raises
    ------
    Refused
        If it is not whole.
    """
    import jpeg_ls

    if content.startswith(b"\x89PNG"):
        with Image.open(io.BytesIO(content)) as picture:
            return np.asarray(picture)
    try:
        pixels: np.ndarray = jpeg_ls.decode(np.frombuffer(content, np.uint8))
    except (RuntimeError, ValueError) as error:
        raise Refused("truncated", f"JPEG-LS: got a broken stream ({error})") from None
    return pixels
