"""What a file is, its content tells; DICOM and rasters come out of one door."""

import zipfile
from io import BytesIO

import numpy as np
import pydicom
import pytest

from secondreader import formats
from secondreader.domain import Intent, Laterality, Refused, View
from secondreader.formats import ReadOptions
from secondreader.formats.dicom_write import dicom_bytes

STORED = np.zeros((96, 80), np.uint16)
STORED[10:90, :50] = np.random.default_rng(0).integers(1000, 4000, (80, 50))


@pytest.fixture(scope="module")
def dicom():
    return dicom_bytes(
        STORED, bits=12, intent=Intent.FOR_PRESENTATION, laterality=Laterality.L, view=View.MLO,
        spacing_mm=0.07, study_uid="1.2.3", series_uid="1.2.4", sop_uid="1.2.5", patient_id="p",
        number=1, vendor="v", model="m",
    )  # fmt: skip


def without(content, *keywords):
    ds = pydicom.dcmread(BytesIO(content))
    for keyword in keywords:
        delattr(ds, keyword)
    stream = BytesIO()
    ds.save_as(stream)
    return stream.getvalue()


def ref_of(tmp_path, content, name):
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    (ref,) = formats.find([file if "/" not in name else tmp_path])
    return ref


def test_the_content_tells_not_the_name(tmp_path, dicom):
    raster = formats.png_bytes(STORED)
    assert formats.header(ref_of(tmp_path, dicom, "1.png"), ReadOptions()).study_uid == "1.2.3"
    assert (
        formats.mammogram(ref_of(tmp_path, raster, "2.dcm"), ReadOptions()).source.format == "PNG"
    )


def test_a_dicom_in_a_zip_is_the_same_mammogram(tmp_path, dicom):
    plain = formats.mammogram(ref_of(tmp_path, dicom, "1"), ReadOptions())
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("d/1", dicom)
    (ref,) = formats.find([tmp_path / "a.zip"])
    zipped = formats.mammogram(ref, ReadOptions())
    assert np.array_equal(plain.pixels, zipped.pixels)
    assert zipped.source.path == "a.zip!/d/1"
    assert formats.header(ref, ReadOptions()).sop_uid == "1.2.5"


INBREAST = "20586908_6c613a14b80a8591_MG_L_ML_ANON.dcm"
CBIS = "Mass-Training_P_00001_LEFT_MLO/1/1-1.dcm"


@pytest.mark.parametrize("name", [INBREAST, CBIS])
def test_two_data_sets_say_in_names_what_their_files_leave_out(tmp_path, dicom, name):
    ref = ref_of(tmp_path, without(dicom, "ViewCodeSequence"), name)
    mammogram, header = formats.mammogram(ref, ReadOptions()), formats.header(ref, ReadOptions())
    assert mammogram.view is header.view is View.MLO
    assert "way of naming" in mammogram.source.steps[-1].origin


def test_a_name_never_overrules_the_file(tmp_path, dicom):
    right = INBREAST.replace("_L_", "_R_")
    ref = ref_of(tmp_path, without(dicom, "ViewCodeSequence"), right)
    assert formats.header(ref, ReadOptions()).view is None
    plain = ref_of(tmp_path, without(dicom, "ViewCodeSequence"), "L_CC.dcm")
    assert formats.mammogram(plain, ReadOptions()).view is None


def test_inspect_tells_dicom_steps_without_ids(tmp_path, dicom):
    ref = ref_of(tmp_path, dicom, "1.dcm")
    told = formats.inspect(ref, ReadOptions())
    assert told.read and told.intent == "for-presentation" and told.spacing_mm == (0.07, 0.07)
    assert all(step.origin for step in told.steps if step.before is not None)
    assert "1.2.3" not in str(told.as_dict()) and "'p'" not in str(told.as_dict())
    shown = formats.inspect(ref, ReadOptions(), identifiers=True).as_dict()["identifiers"]
    assert shown == {
        "exam_id": "1.2.3",
        "patient_id": "p",
        "study_uid": "1.2.3",
        "sop_uid": "1.2.5",
    }


def test_inspect_tells_all_reasons_at_once(tmp_path, dicom):
    ds = pydicom.dcmread(BytesIO(dicom))
    ds.BurnedInAnnotation, ds.BreastImplantPresent = "YES", "YES"
    stream = BytesIO()
    ds.save_as(stream)
    told = formats.inspect(ref_of(tmp_path, stream.getvalue(), "1.dcm"), ReadOptions())
    assert {r.code for r in told.refusals} == {"burned-in", "implant"}
    assert not told.read and told.steps


def test_a_dicom_cut_short_is_refused(tmp_path, dicom):
    with pytest.raises(Refused) as error:
        formats.mammogram(ref_of(tmp_path, dicom[:-5000], "1.dcm"), ReadOptions())
    assert error.value.code == "truncated"
