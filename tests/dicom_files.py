"""Small DICOM mammograms with anything about them changed, for tests."""

import copy
import io
from pathlib import Path

import numpy as np
import pydicom
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, RLELossless

from secondreader import formats
from secondreader.domain import Intent, Laterality, View
from secondreader.formats import ReadOptions
from secondreader.formats.dicom_write import dicom_bytes

BITS = 12
FULL = 2**BITS - 1


def stored():
    """A breast on the left in dark air, 12 bits, every row different."""
    rng = np.random.default_rng(0)
    row, col = np.mgrid[0:160, 0:128]
    inside = np.hypot((row - 80) / 70, col / 90) < 1
    values = np.where(inside, rng.integers(900, 3200, (160, 128)), rng.integers(0, 30, (160, 128)))
    return values.astype(np.uint16)


def dataset(values=None, **changes):
    """The phantom image as a dataset, explicit little endian."""
    content = dicom_bytes(
        stored() if values is None else values,
        bits=BITS,
        intent=Intent.FOR_PRESENTATION,
        laterality=Laterality.L,
        view=View.CC,
        spacing_mm=0.1,
        study_uid="2.25.1",
        series_uid="2.25.2",
        sop_uid="2.25.3",
        patient_id="P",
        number=1,
        vendor="V",
        model="M",
    )
    ds = pydicom.dcmread(io.BytesIO(content))
    for name, value in changes.items():
        if value is None:
            delattr(ds, name)
        else:
            setattr(ds, name, copy.deepcopy(value))
    return ds


def save(ds, path, syntax=ExplicitVRLittleEndian, encode=None):
    """Write a dataset in a transfer syntax; ``encode`` makes a frame of (rows, cols) uint16."""
    syntax = pydicom.uid.UID(syntax)
    values = np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, ds.Columns)
    ds.file_meta.TransferSyntaxUID = syntax
    if encode is not None:
        ds.PixelData = encapsulate([encode(values)])
        ds["PixelData"].VR = "OB"
    elif syntax == RLELossless:
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.compress(RLELossless, generate_instance_uid=False)
    elif syntax == ExplicitVRBigEndian:
        ds.PixelData = values.astype(">u2").tobytes()
        for item in ds.get("VOILUTSequence") or []:  # OW is written as it stands
            item = ds.VOILUTSequence[0] = pydicom.Dataset.from_json(item.to_json())
            item.LUTData = np.frombuffer(item.LUTData, "<u2").astype(">u2").tobytes()
    pydicom.dcmwrite(
        path,
        ds,
        implicit_vr=syntax.is_implicit_VR,
        little_endian=syntax.is_little_endian,
        enforce_file_format=True,
    )
    return path


def read(path: Path, **options):
    (ref,) = formats.find([path])
    return formats.mammogram(ref, ReadOptions(**options))
