"""Writing a Digital Mammography X-Ray Image object: what the phantom is stored as.

Every byte follows from the arguments: no clock, no random number, no name of the machine.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID, ExplicitVRLittleEndian

from secondreader.domain import Intent, Laterality, View
from secondreader.formats.write import atomic_write

__all__ = ["dicom_bytes", "write_mammogram"]

_CLASSES = {
    Intent.FOR_PRESENTATION: "1.2.840.10008.5.1.4.1.1.1.2",
    Intent.FOR_PROCESSING: "1.2.840.10008.5.1.4.1.1.1.2.1",
}
_VIEWS = {
    View.CC: codes.CID4014.CranioCaudal,
    View.MLO: codes.CID4014.MedioLateralObliqueProjection,
    View.ML: codes.CID4014.MedioLateralProjection,
}
_DOWN = {View.CC: ("L", "R"), View.MLO: ("FL", "FR"), View.ML: ("F", "F")}
_IMPLEMENTATION = "2.25.126270418291541612270463829450273746871"


def dicom_bytes(
    stored: np.ndarray,
    *,
    bits: int,
    intent: Intent,
    laterality: Laterality,
    view: View,
    spacing_mm: float,
    study_uid: str,
    series_uid: str,
    sop_uid: str,
    patient_id: str,
    number: int,
    vendor: str,
    model: str,
    window: tuple[float, float] | None = None,
    film: bool = False,
    intensity: tuple[str, int] = ("LOG", -1),
    date: str = "20260101",
    thickness_mm: float | None = None,
    inverse: bool = False,
) -> bytes:
    """Encode a mammogram, hung as radiologists hang it: left breasts' chest wall on the left.

    Parameters
    ----------
    stored
        (rows, cols) uint16, larger = denser, unless ``inverse``.
    bits
        Bits stored.
    intent
        For Presentation or For Processing.
    laterality, view
        CC, MLO or ML.
    spacing_mm
        The pixel pitch in the breast.
    study_uid, series_uid, sop_uid, patient_id
        As given; a patient's name is never written.
    number
        The instance's number.
    vendor, model
        Of the system.
    window
        (centre, width) for For Presentation; ``None`` writes the full range.
    film
        Digitised film: the pitch is the scanner's.
    intensity
        PixelIntensityRelationship and its sign, for both intents.
    date
        YYYYMMDD of everything that has one.
    thickness_mm
        Of the compressed breast.
    inverse
        Larger = more quanta, thus less dense: MONOCHROME1, as detectors give it.
    """
    ds = _dataset(intent, sop_uid)
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "", patient_id, "", "F"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study_uid, series_uid
    ds.StudyDate = ds.ContentDate = ds.AcquisitionDate = date
    ds.StudyTime = ds.ContentTime = ds.AcquisitionTime = "120000"
    ds.AccessionNumber = ds.ReferringPhysicianName = ds.StudyID = ""
    ds.SeriesNumber, ds.InstanceNumber = 1, number
    ds.Manufacturer, ds.ManufacturerModelName = vendor, model
    ds.Modality, ds.PresentationIntentType = "MG", str(intent).upper().replace("-", " ")
    ds.BodyPartExamined = "BREAST"
    ds.ImageType = ["ORIGINAL" if intent is Intent.FOR_PROCESSING else "DERIVED", "PRIMARY", ""]
    _describe_view(ds, laterality, view)
    _describe_exposure(ds, spacing_mm, film, thickness_mm)
    _describe_pixels(ds, stored, bits, intent, window, intensity)
    if inverse:
        ds.PhotometricInterpretation, ds.PresentationLUTShape = "MONOCHROME1", "INVERSE"
    stream = io.BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def write_mammogram(path: Path, content: bytes) -> None:
    """Write what `dicom_bytes` made, whole or not at all.

    Raises
    ------
    SecondReaderError
        If it cannot be written.
    """
    atomic_write(path, content)


def _dataset(intent: Intent, sop_uid: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(_CLASSES[intent])
    meta.MediaStorageSOPInstanceUID = UID(sop_uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(_IMPLEMENTATION)
    meta.ImplementationVersionName = "SECONDREADER"
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = _CLASSES[intent], sop_uid
    return ds


def _describe_view(ds: Dataset, laterality: Laterality, view: View) -> None:
    left = laterality is Laterality.L
    ds.ImageLaterality = str(laterality)
    ds.PatientOrientation = ["A" if left else "P", _DOWN[view][1 if left else 0]]
    item = _coded(_VIEWS[view])
    item.ViewModifierCodeSequence = Sequence([])
    ds.ViewCodeSequence = Sequence([item])
    ds.AnatomicRegionSequence = Sequence([_coded(Code("76752008", "SCT", "Breast"))])


def _describe_exposure(
    ds: Dataset, spacing_mm: float, film: bool, thickness_mm: float | None
) -> None:
    pitch = [f"{spacing_mm:.6g}"] * 2
    ds.ImagerPixelSpacing = pitch
    if film:
        ds.NominalScannedPixelSpacing = pitch
    ds.EstimatedRadiographicMagnificationFactor = "1"
    ds.PositionerType, ds.OrganExposed = "MAMMOGRAPHIC", "BREAST"
    ds.PositionerPrimaryAngle = "0"
    if thickness_mm is not None:
        ds.BodyPartThickness = f"{thickness_mm:.1f}"
    ds.BreastImplantPresent, ds.PartialView = "NO", "NO"
    ds.BurnedInAnnotation, ds.LossyImageCompression = "NO", "00"
    ds.DetectorType, ds.AcquisitionContextSequence = "DIRECT", Sequence([])


def _describe_pixels(
    ds: Dataset,
    stored: np.ndarray,
    bits: int,
    intent: Intent,
    window: tuple[float, float] | None,
    intensity: tuple[str, int],
) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = stored.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, bits, bits - 1, 0
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = intensity
    ds.PresentationLUTShape = "IDENTITY"
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "US"
    if intent is Intent.FOR_PRESENTATION:
        full = 2**bits
        centre, width = window or (full / 2, full)
        ds.WindowCenter, ds.WindowWidth = f"{centre:.10g}", f"{width:.10g}"
        ds.VOILUTFunction = "LINEAR"
    ds.PixelData = np.ascontiguousarray(stored, "<u2").tobytes()
    ds["PixelData"].VR = "OW"


def _coded(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = code.value, code.scheme_designator
    item.CodeMeaning = code.meaning
    return item
