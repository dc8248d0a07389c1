"""Miniatures of data sets: small breasts with one bright lesion whose place is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from secondreader.domain import Laterality, Mammogram, Region
from secondreader.geometry import rasterise

SHAPE = (160, 128)


def breast(
    row: float = 80,
    col: float = 40,
    radius: float = 8,
    *,
    shape: tuple[int, int] = SHAPE,
    wall: str = "left",
    high: int = 4000,
    seed: int = 0,
) -> np.ndarray:
    """(rows, cols) uint16: a half disc of breast on the wall's side with a brighter disc in it."""
    rows, cols = np.indices(shape)
    across = cols if wall == "left" else shape[1] - 1 - cols
    inside = ((rows - shape[0] / 2) / (0.45 * shape[0])) ** 2 + (across / (0.7 * shape[1])) ** 2 < 1
    noise = np.random.default_rng(seed).integers(0, high // 50, shape)
    pixels = np.where(inside, high // 4 + noise, 0)
    lesion = (rows - row) ** 2 + (cols - col) ** 2 <= radius**2
    return np.where(lesion, high, pixels).astype(np.uint16)


def write_png(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def write_dicom(
    path: Path, pixels: np.ndarray, *, film: bool = False, **attributes: object
) -> Path:
    """A mammogram as a scanner writes it, or (film) a secondary capture as CBIS-DDSM has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    mammography, capture = "1.2.840.10008.5.1.4.1.1.1.2", "1.2.840.10008.5.1.4.1.1.7"
    meta.MediaStorageSOPClassUID = pydicom.uid.UID(capture if film else mammography)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset(str(path), Dataset(), file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = (
        meta.MediaStorageSOPClassUID,
        meta.MediaStorageSOPInstanceUID,
    )
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.Modality, ds.PatientID, ds.PatientName = "MG", "X", ""
    ds.PhotometricInterpretation, ds.SamplesPerPixel, ds.PixelRepresentation = "MONOCHROME2", 1, 0
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated = 8 * pixels.dtype.itemsize
    ds.BitsStored = 8 if pixels.dtype == np.uint8 else max(int(pixels.max()).bit_length(), 10)
    ds.HighBit = ds.BitsStored - 1
    if not film:
        ds.PresentationIntentType = "FOR PRESENTATION"
        ds.ImagerPixelSpacing = [0.07, 0.07]
        ds.Manufacturer = "SIEMENS"
        ds.WindowCenter, ds.WindowWidth = float(2 ** (ds.BitsStored - 1)), float(2**ds.BitsStored)
    for name, value in attributes.items():
        setattr(ds, name, value)
    ds.PixelData = pixels.tobytes()
    ds.save_as(path, enforce_file_format=True)
    return path


def lands(mammogram: Mammogram, region: Region | None) -> bool:
    """Whether a region covers the bright lesion of `breast`, and little else."""
    assert region is not None
    shape = (mammogram.pixels.shape[0], mammogram.pixels.shape[1])
    mask = rasterise(region, shape)
    drawn = np.zeros(shape, bool)
    row1, col1 = mask.row0 + mask.pixels.shape[0], mask.col0 + mask.pixels.shape[1]
    drawn[mask.row0 : row1, mask.col0 : col1] = mask.pixels
    bright = mammogram.pixels > 0.8 * mammogram.pixels.max()
    return float((drawn & bright).sum() / (drawn | bright).sum()) > 0.6


def wall_of(side: Laterality | str) -> str:
    return "right" if str(side)[0] == "R" else "left"


@pytest.fixture
def make_breast() -> Callable[..., np.ndarray]:
    return breast


@pytest.fixture
def png() -> Callable[..., Path]:
    return write_png


@pytest.fixture
def dicom() -> Callable[..., Path]:
    return write_dicom


@pytest.fixture
def covers() -> Callable[..., bool]:
    return lands
