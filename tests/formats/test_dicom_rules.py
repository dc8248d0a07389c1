"""Values, view, laterality, spacing, and what is refused: each rule of DICOM mammography by itself."""

import copy

import numpy as np
import pydicom
import pytest

from dicom_files import FULL, dataset, read, save, stored
from secondreader import formats
from secondreader.domain import Intent, Laterality, Refused, View
from secondreader.formats import ReadOptions


def opened(ds, tmp_path, **options):
    return read(save(ds, tmp_path / "a.dcm"), **options)


def refusal(ds, tmp_path, **options):
    with pytest.raises(Refused) as refused:
        opened(ds, tmp_path, **options)
    assert "\n" not in refused.value.reason
    return refused.value.code


def code(value, scheme, *modifiers):
    item = pydicom.Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "x"
    item.ViewModifierCodeSequence = [code(*m) for m in modifiers]
    return item


# -------------------------------------------------------------------------------------- values


def test_a_linear_window_gives_the_values_of_the_standards_formula(tmp_path):
    ds = dataset(WindowCenter=2000, WindowWidth=1001)
    expected = np.clip((stored() - 1999.5) / 1000 + 0.5, 0, 1)
    assert opened(ds, tmp_path).pixels == pytest.approx(expected, abs=1e-6)


def test_rescaling_comes_before_the_window(tmp_path):
    ds = dataset(RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=3000, WindowWidth=2001)
    expected = np.clip((stored() * 2.0 - 1000 - 2999.5) / 2000 + 0.5, 0, 1)
    assert opened(ds, tmp_path).pixels == pytest.approx(expected, abs=1e-6)


def test_inverse_beside_monochrome1_is_one_inversion(tmp_path):
    plain = opened(dataset(), tmp_path).pixels
    both = dataset(PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE")
    one = dataset(PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="IDENTITY")
    for ds in (both, one):
        pixels = opened(ds, tmp_path, accept=frozenset({"contradiction"})).pixels
        assert pixels == pytest.approx(1 - plain, abs=1e-6)


def test_padding_becomes_background_and_disturbs_nothing(tmp_path):
    values = stored()
    values[:, 110:] = 4000
    values[:, 120:] = 4010
    ds = dataset(values)
    ds.add_new("PixelPaddingValue", "US", 4000)
    ds.add_new("PixelPaddingRangeLimit", "US", 4010)
    mammogram = opened(ds, tmp_path)
    assert (mammogram.pixels[:, 110:] == 0).all()
    assert (mammogram.pixels[:, :110] == opened(dataset(), tmp_path).pixels[:, :110]).all()


@pytest.mark.parametrize("polarity", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("relation", "sign"), [("LIN", 1), ("LIN", -1), ("LOG", 1), ("LOG", -1)])
def test_for_processing_goes_by_its_sign_alone_and_is_never_windowed(
    relation, sign, polarity, tmp_path
):
    # One breast: attenuation 0 in air, up to 3 in tissue; the same mammogram however it is stored.
    dense = (stored() / FULL) * 3.0
    intensity = 4000 * np.exp(-dense)
    values = intensity if relation == "LIN" else 4000 - dense * 1300
    values = values if sign == 1 else FULL - values
    ds = dataset(
        np.rint(values).astype(np.uint16),
        PresentationIntentType="FOR PROCESSING",
        PixelIntensityRelationship=relation,
        PixelIntensityRelationshipSign=sign,
        PhotometricInterpretation=polarity,
        WindowCenter=10,
        WindowWidth=5,
    )
    mammogram = opened(ds, tmp_path)
    low, high = np.percentile(dense.ravel()[::7], [0.5, 99.9])
    assert mammogram.source.intent is Intent.FOR_PROCESSING
    assert mammogram.pixels == pytest.approx(np.clip((dense - low) / (high - low), 0, 1), abs=0.01)


@pytest.mark.parametrize(
    "missing", ["PixelIntensityRelationship", "PixelIntensityRelationshipSign"]
)
def test_for_processing_of_unknown_polarity_is_refused(missing, tmp_path):
    ds = dataset(PresentationIntentType="FOR PROCESSING", **{missing: None})
    assert refusal(ds, tmp_path) == "bad-header"


@pytest.mark.parametrize(
    "window",
    [
        {"WindowCenter": "NaN", "WindowWidth": 100},
        {"WindowCenter": 100, "WindowWidth": "NaN"},
        {"WindowCenter": 100, "WindowWidth": -5},
        {"WindowCenter": 100, "WindowWidth": 0},
        {"WindowCenter": 100, "WindowWidth": 10, "VOILUTFunction": "CUBIC"},
    ],
)
def test_a_window_that_is_none_is_refused(window, tmp_path):
    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
    assert refusal(dataset(**window), tmp_path) == "bad-window"


# ------------------------------------------------------------------------------------- spacing


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"PixelSpacing": [0.05, 0.05], "PixelSpacingCalibrationType": "FIDUCIAL"}, 0.05),
        ({"PixelSpacing": [0.05, 0.05]}, 0.05),  # differs from the imager's 0.1: calibrated
        ({"PixelSpacing": [0.1, 0.1], "EstimatedRadiographicMagnificationFactor": 1.1}, 0.1 / 1.1),
        ({"EstimatedRadiographicMagnificationFactor": 1.1}, 0.1 / 1.1),
        ({"ImagerPixelSpacing": None, "NominalScannedPixelSpacing": [0.0435, 0.0435]}, 0.0435),
        ({"ImagerPixelSpacing": None, "PixelSpacing": [0.1, 0.1]}, None),
        ({"ImagerPixelSpacing": None}, None),
        ({"ImagerPixelSpacing": [0, 0]}, None),
    ],
)
def test_the_spacing_is_that_in_the_breast(tags, expected, tmp_path):
    spacing = opened(dataset(**tags), tmp_path).spacing_mm
    assert spacing == (None if expected is None else pytest.approx((expected, expected)))


def test_what_the_file_does_not_say_the_user_can(tmp_path):
    ds = dataset(ImagerPixelSpacing=None)
    assert opened(ds, tmp_path, spacing_mm=0.085).spacing_mm == (0.085, 0.085)
    assert opened(dataset(), tmp_path, spacing_mm=0.085).spacing_mm == (0.1, 0.1)


# ------------------------------------------------------------------------- view and laterality


@pytest.mark.parametrize(
    ("value", "scheme", "view"),
    [
        ("R-10242", "SRT", View.CC),
        ("399162004", "SCT", View.CC),
        ("R-10226", "SRT", View.MLO),
        ("399368009", "SCT", View.MLO),
        ("R-10224", "SRT", View.ML),
        ("399260004", "SCT", View.ML),
        ("R-10228", "SRT", View.LM),
        ("Y-X1770", "SRT", View.XCC),
        ("Y-X1771", "SRT", View.XCCL),
        ("nonsense", "SCT", None),
    ],
)
def test_the_view_is_that_of_its_code(value, scheme, view, tmp_path):
    ds = dataset(ViewCodeSequence=[code(value, scheme)], PatientOrientation=["A", ""])
    assert opened(ds, tmp_path).view is view


@pytest.mark.parametrize(("position", "view"), [("MLO", View.MLO), ("ML", View.ML), ("?", None)])
def test_without_a_code_the_view_position_says_it_and_ml_is_not_mlo(position, view, tmp_path):
    ds = dataset(ViewCodeSequence=None, ViewPosition=position, PatientOrientation=["A", ""])
    assert opened(ds, tmp_path).view is view


@pytest.mark.parametrize(
    "tags",
    [
        {"Laterality": "R"},
        {"ImageLaterality": "R"},  # but PatientOrientation A\R is a left breast
        {
            "PatientOrientation": ["P", "R"]
        },  # chest wall on the right, but in the pixels on the left
        {"ImageLaterality": "R", "PatientOrientation": ["A", "F"]},
        {"ImageLaterality": "R", "PatientOrientation": ""},
        {"ImageLaterality": "R", "PatientOrientation": ["CC", ""]},
    ],
)
def test_a_contradiction_is_refused_unless_it_is_accepted(tags, tmp_path):
    assert refusal(dataset(**tags), tmp_path) == "contradiction"
    accepted = opened(dataset(**tags), tmp_path, accept=frozenset({"contradiction"}))
    assert accepted.laterality == tags.get("ImageLaterality", "L")


@pytest.mark.parametrize(
    "tags",
    [
        {"PatientOrientation": ["A", "R"]},
        {"PatientOrientation": ["A", "F"]},
        {"PatientOrientation": ""},
        {"PatientOrientation": "CC"},  # as CBIS-DDSM has it
        {"ImageLaterality": None, "Laterality": "L"},
        {"ImageLaterality": None},
    ],
)
def test_what_agrees_or_says_nothing_is_no_contradiction(tags, tmp_path):
    opened(dataset(**tags), tmp_path)


def test_a_mirrored_image_whose_tags_say_so_is_none(tmp_path):
    mirrored = np.ascontiguousarray(stored()[:, ::-1])
    opened(dataset(mirrored, PatientOrientation=["P", "R"]), tmp_path)
    ds = dataset(mirrored, PatientOrientation="", FieldOfViewHorizontalFlip="YES")
    opened(ds, tmp_path)


@pytest.mark.parametrize(
    ("down", "side"), [("FR", Laterality.L), ("HL", Laterality.L), ("FL", None), ("HR", None)]
)
def test_in_oblique_views_the_feet_go_with_medial(down, side, tmp_path):
    ds = dataset(ViewCodeSequence=[code("399368009", "SCT")], PatientOrientation=["A", down])
    if side is None:
        assert refusal(ds, tmp_path) == "contradiction"
    else:
        assert opened(ds, tmp_path).laterality is side


# --------------------------------------------------------------------------------- what is refused

MAGNIFIED, SPOT, DISPLACED = ("399163009", "SCT"), ("R-102D7", "SRT"), ("399209000", "SCT")


@pytest.mark.parametrize(
    ("wanted", "tags"),
    [
        ("other-modality", {"Modality": "CR"}),
        ("burned-in", {"BurnedInAnnotation": "YES"}),
        ("quality-control", {"ImageType": ["ORIGINAL", "PRIMARY", "QC"]}),
        ("quality-control", {"QualityControlImage": "YES"}),
        ("specimen", {"ViewCodeSequence": [code("127457009", "SCT")]}),
        ("spot-view", {"ViewCodeSequence": [code("399162004", "SCT", MAGNIFIED)]}),
        ("spot-view", {"ViewCodeSequence": [code("399162004", "SCT", ("399055006", "SCT"))]}),
        ("spot-view", {"EstimatedRadiographicMagnificationFactor": 1.8}),
        ("implant", {"BreastImplantPresent": "YES"}),
        ("tomosynthesis", {"ImageType": ["ORIGINAL", "PRIMARY", "TOMO_PROJ"]}),
    ],
)
def test_what_is_no_screening_view_is_refused_and_can_be_accepted(wanted, tags, tmp_path):
    assert refusal(dataset(**copy.deepcopy(tags)), tmp_path) == wanted
    assert wanted in formats.ACCEPTABLE
    opened(dataset(**copy.deepcopy(tags)), tmp_path, accept=frozenset({wanted}))


def test_an_implant_that_is_displaced_is_read(tmp_path):
    view = [code("399162004", "SCT", DISPLACED)]
    opened(dataset(BreastImplantPresent="YES", ViewCodeSequence=view), tmp_path)


def test_a_stack_is_refused_and_a_picture_made_from_one_is_read(tmp_path):
    frames = np.stack([stored()] * 3)
    ds = dataset(NumberOfFrames=3, PixelData=frames.tobytes())
    pydicom.dcmwrite(tmp_path / "s.dcm", ds, enforce_file_format=True)
    with pytest.raises(Refused) as refused:
        read(tmp_path / "s.dcm")
    assert refused.value.code == "tomosynthesis"
    accepted = read(tmp_path / "s.dcm", accept=frozenset({"tomosynthesis"}))
    assert accepted.pixels.shape == (160, 128)
    kind = ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "GENERATED_2D"]
    opened(dataset(ImageType=kind), tmp_path)


def test_digitised_film_as_secondary_capture_is_read_where_it_says_mg(tmp_path):
    opened(dataset(SOPClassUID="1.2.840.10008.5.1.4.1.1.7"), tmp_path)
    ds = dataset(SOPClassUID="1.2.840.10008.5.1.4.1.1.7", Modality="OT")
    assert refusal(ds, tmp_path) in ("other-modality", "secondary-capture")
    both = frozenset({"other-modality", "secondary-capture"})
    opened(ds, tmp_path, accept=both)


# ------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("tags", "wanted"),
    [
        ({"PixelData": None}, "no-pixels"),
        ({"BitsStored": 4, "HighBit": 3}, "bad-header"),
        ({"Rows": 0}, "bad-header"),
        ({"Rows": 65535, "Columns": 65535}, "too-large"),
        ({"Rows": 4000, "Columns": 4000}, "truncated"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "colour"),
        ({"BitsAllocated": 32}, "bad-header"),
        ({"PixelData": b"\x10\x00" * 160 * 128}, "blank"),
    ],
)
def test_what_is_no_image_is_refused_before_it_is_decoded(tags, wanted, tmp_path):
    ds = dataset(**tags)
    pydicom.dcmwrite(tmp_path / "a.dcm", ds, enforce_file_format=True)
    with pytest.raises(Refused) as refused:
        read(tmp_path / "a.dcm")
    assert refused.value.code == wanted


def test_a_file_cut_anywhere_is_refused_and_never_more_than_that(tmp_path):
    whole = save(dataset(), tmp_path / "a.dcm").read_bytes()
    for length in [*range(1, 1800, 37), 3000, len(whole) // 2, len(whole) - 1]:
        (tmp_path / "cut.dcm").write_bytes(whole[:length])
        with pytest.raises(Refused) as refused:
            read(tmp_path / "cut.dcm")
        assert "\n" not in refused.value.reason


def test_garbled_bytes_are_read_or_refused_and_never_more_than_that(tmp_path):
    whole = save(dataset(), tmp_path / "a.dcm").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(150):
        content = bytearray(whole)
        for place in rng.integers(132, 2200, 6):
            content[place] = rng.integers(256)
        (tmp_path / "bad.dcm").write_bytes(content)
        try:
            mammogram = read(tmp_path / "bad.dcm")
        except Refused:
            continue
        assert np.isfinite(mammogram.pixels).all()
        assert 0 <= mammogram.pixels.min() <= mammogram.pixels.max() <= 1


def test_no_step_and_no_reason_tells_who_it_was(tmp_path):
    ds = dataset(PatientName="Doe^Jane", PatientID="ID-77", StudyDate="20010203")
    told = " ".join(f"{s.name} {s.detail} {s.origin}" for s in opened(ds, tmp_path).source.steps)
    for personal in ("Doe", "ID-77", "20010203"):
        assert personal not in told


def test_the_header_groups_by_study_and_knows_the_patient(tmp_path):
    (ref,) = formats.find([save(dataset(), tmp_path / "a.dcm")])
    header = formats.header(ref, ReadOptions())
    assert (header.study_uid, header.patient_id, header.sop_uid) == ("2.25.1", "P", "2.25.3")
    assert (header.laterality, header.view) == ("L", "CC")
