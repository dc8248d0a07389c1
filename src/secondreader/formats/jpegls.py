"""Stored values kept losslessly: JPEG-LS, a fifth of PNG's time and three quarters of its size."""

from __future__ import annotations

import numpy as np

from secondreader.domain import Refused

__all__ = ["jpegls_bytes", "jpegls_pixels"]


def jpegls_bytes(stored: np.ndarray) -> bytes:
    """Encode (rows, cols) uint8 or uint16."""
    import jpeg_ls

    return bytes(jpeg_ls.encode_array(np.ascontiguousarray(stored)))


def jpegls_pixels(content: bytes) -> np.ndarray:
    """Decode what `jpegls_bytes` made.

    Raises
    ------
    Refused
        If it is not whole.
    """
    import jpeg_ls

    try:
        pixels: np.ndarray = jpeg_ls.decode(np.frombuffer(content, np.uint8))
    except (RuntimeError, ValueError) as error:
        raise Refused("truncated", f"JPEG-LS: got a broken stream ({error})") from None
    return pixels
