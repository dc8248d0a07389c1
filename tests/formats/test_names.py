import pytest

from secondreader.formats.names import data_set_name, parse

SPOKEN = [
    ("0_L-CC.png", "0", "L", "CC"),
    ("0_R-MLO.png", "0", "R", "MLO"),
    ("1_R_CC.png", "1", "R", "CC"),
    ("nyu/0_L-CC.png", "nyu/0", "L", "CC"),
    ("A_1141_1.LEFT_CC", "A_1141_1", "L", "CC"),
    ("A_1141_1.RIGHT_MLO.png", "A_1141_1", "R", "MLO"),
    ("17_LCC.tif", "17", "L", "CC"),
    ("exams/12/R-MLO.png", "exams/12", "R", "MLO"),
    ("rmlo.png", "ROOT", "R", "MLO"),
    ("left_mlo.jpg", "ROOT", "L", "MLO"),
    ("7 CC R.png", "7", "R", "CC"),
    ("7_RT_LM.png", "7", "R", "LM"),
    ("L_XCCL.png", "ROOT", "L", "XCCL"),
    ("7_L_ML.png", "7", "L", "ML"),  # ML is not MLO
    ("0_L-CC_2.png", "0", "L", "CC"),  # a second image of that view
    ("site_LCC_0012.png", "site_0012", "L", "CC"),
    ("p1_left.png", "p1", "L", None),
    ("p1_MLO.png", "p1", None, "MLO"),
    ("p1_left_breast_mlo.png", "p1_breast", "L", "MLO"),
    ("RCC/12.png", "12", "R", "CC"),
    ("a.zip!/x/LCC.png", "a.zip/x", "L", "CC"),
    ("P12_LCC/series/000001.png", "P12", "L", "CC"),
]

SILENT = [
    "mdb001lm.pgm", "mdb001.png", "ccl.png", "small_CCTV.png", "clinic.png", "report_cc.png",
    "million_lm.png", "IMG_L_0001.png", "r.png", "iso.png", "control.png", "leftover.png",
    "left_right_cc.png", "L_CC_R_CC.png", "0_LCC_MLO.png", "left/12.png", "1-1.png",
    "20586908.png", "recc.png", "Lcci.png", "mlops.png",
]  # fmt: skip


@pytest.mark.parametrize(("path", "exam", "laterality", "view"), SPOKEN)
def test_a_name_that_speaks_of_a_view_tells_laterality_view_and_exam(path, exam, laterality, view):
    name = parse(path, "ROOT")
    assert (name.exam, name.laterality, name.view) == (exam, laterality, view)


@pytest.mark.parametrize("path", SILENT)
def test_letters_inside_words_and_contradictions_say_nothing(path):
    name = parse(path, "ROOT")
    assert (name.laterality, name.view) in [(None, None)]
    assert name.exam == path.rsplit(".", 1)[0]


@pytest.mark.parametrize(
    ("written", "meant"), [("L_ML", ("L", "MLO")), ("R_CC", ("R", "CC")), ("R_MLO", ("R", "MLO"))]
)
def test_inbreast_names_tell_the_woman_and_write_ml_for_mlo(written, meant):
    path = f"x/20586908_6c613a14b80a8591_MG_{written}_ANON.png"
    name = parse(path)
    assert (name.laterality, name.view) == meant
    assert (name.patient, name.exam) == ("6c613a14b80a8591", "x/6c613a14b80a8591")
    assert data_set_name(path.replace(".png", ".dcm")) == name
    assert data_set_name(f"6c613a14_MG_{written}.dcm") is None


@pytest.mark.parametrize("suffix", ["", "_1", "_12"])
@pytest.mark.parametrize("tail", [".png", "/1.3.6.1/1.3.6.2/1-1.png"])
def test_cbis_ddsm_names_files_and_folders_alike(suffix, tail):
    name = parse(f"jpeg/Mass-Training_P_00001_LEFT_CC{suffix}{tail}")
    assert (name.exam, name.patient) == ("jpeg/Mass-Training_P_00001", "P_00001")
    assert (name.laterality, name.view) == ("L", "CC")


def test_an_input_folder_may_name_the_view_itself():
    name = parse("1.3.6/1-1.dcm", "Calc-Test_P_00038_RIGHT_MLO")
    assert (name.exam, name.laterality, name.view) == ("Calc-Test_P_00038", "R", "MLO")


def test_files_that_say_nothing_are_exams_of_their_own_folder_by_folder():
    paths = ["1.png", "2.png", "a/1.png", "b/1.png", "b/c/1.png"]
    assert len({parse(path).exam for path in paths}) == len(paths)
