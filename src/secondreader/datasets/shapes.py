"""The rows and columns of an image from its header, and masks from images that hold them."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from secondreader import formats
from secondreader.domain import Mask, Refused
from secondreader.formats.source import FileRef, ReadOptions

__all__ = ["as_mask", "fitted", "pixels", "shape"]

_GREY = 0.02  # of pixels that are neither black nor white, in a mask that JPEG blurred


def shape(ref: FileRef) -> tuple[int, int]:
    """Return (rows, cols) without decoding pixels.

    Raises
    ------
    Refused
        ``bad-header`` for a file that does not say.
    """
    with ref.open() as stream:
        is_dicom = _is_dicom(stream)
        try:
            if is_dicom:
                import pydicom

                tags = pydicom.dcmread(
                    stream, stop_before_pixels=True, specific_tags=["Rows", "Columns"]
                )
                return int(tags.Rows), int(tags.Columns)
            from PIL import Image

            with Image.open(stream) as image:
                return image.height, image.width
        except Exception as error:  # any decoder, any damage: one refusal
            raise Refused(
                "bad-header", f"rows and columns cannot be read ({type(error).__name__})"
            ) from None


def pixels(ref: FileRef) -> np.ndarray:
    """Return an image's (rows, cols) values as stored: of a mask they are data, not a picture.

    Raises
    ------
    Refused
        If it cannot be decoded.
    """
    with ref.open() as stream:
        if not _is_dicom(stream):
            return formats.mammogram(ref, ReadOptions(accept=formats.ACCEPTABLE)).pixels
        import pydicom

        try:
            values = pydicom.dcmread(stream).pixel_array
        except Exception as error:  # any decoder, any damage: one refusal
            raise Refused(
                "unreadable", f"pixels cannot be decoded ({type(error).__name__})"
            ) from None
    if values.ndim != 2:
        raise Refused("unsupported", f"got an image of shape {values.shape}, expected rows x cols")
    return values


def _is_dicom(stream: BinaryIO) -> bool:
    stream.seek(128)
    found = stream.read(4) == b"DICM"
    stream.seek(0)
    return found


def as_mask(values: np.ndarray) -> np.ndarray | None:
    """Return (rows, cols) bool where an image is black and white, ``None`` where it is grey.

    Parameters
    ----------
    values
        (rows, cols) numbers from 0.
    """
    high = float(values.max(initial=0))
    if high <= 0:
        return None
    white = values > 0.5 * high
    grey = (values > 0.1 * high) & (values < 0.9 * high)
    return None if float(grey.mean()) > _GREY or bool(white.all()) else white


def fitted(white: np.ndarray, image: tuple[int, int]) -> Mask | None:
    """Return a mask in its image's pixels, ``None`` where it cannot be of that image.

    A mask of another size is taken for the same field drawn at another scale if both scales agree
    within 1 %; its pixels go to the nearest ones.

    Parameters
    ----------
    white
        (rows, cols) bool, at least one pixel set.
    image
        (rows, cols) of the image.
    """
    if white.shape != image:
        scale = (image[0] / white.shape[0], image[1] / white.shape[1])
        if abs(scale[0] / scale[1] - 1) > 0.01:
            return None
        rows = ((np.arange(image[0]) + 0.5) / scale[0]).astype(int)
        cols = ((np.arange(image[1]) + 0.5) / scale[1]).astype(int)
        white = white[rows[:, None], cols[None, :]]
    rows_set, cols_set = np.flatnonzero(white.any(axis=1)), np.flatnonzero(white.any(axis=0))
    if rows_set.size == 0:
        return None
    row0, col0 = int(rows_set[0]), int(cols_set[0])
    crop = white[row0 : int(rows_set[-1]) + 1, col0 : int(cols_set[-1]) + 1]
    return Mask(crop.copy(), row0, col0)
