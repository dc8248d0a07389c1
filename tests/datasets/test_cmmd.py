from __future__ import annotations

import zipfile

import pytest

from secondreader import datasets
from secondreader.domain import Kind, Laterality, Pathology, SecondReaderError, View

HEADER = "ID1,LeftRight,Age,number,abnormality,classification,subtype"
ROWS = [
    "D1-0001,R,44,2,calcification,Benign,",
    "D1-0002,L,40,2,both,Malignant,Luminal A",
    "D2-0001,L,51,2,mass,Malignant,",
    "D2-0009,L,51,2,mass,Malignant,",
]
VIEW_CODES = {
    View.CC: ("399162004", "cranio-caudal"),
    View.MLO: ("399368009", "medio-lateral oblique"),
}


def view_code(view: View):
    from pydicom.dataset import Dataset

    code = Dataset()
    code.CodeValue, code.CodeMeaning = VIEW_CODES[view]
    code.CodingSchemeDesignator = "SCT"
    return [code]


@pytest.fixture
def root(tmp_path, dicom, make_breast):
    (tmp_path / "CMMD_clinicaldata_revision.csv").write_text("\n".join([HEADER, *ROWS]))
    for patient, sides in (("D1-0001", "RL"), ("D1-0002", "L"), ("D2-0001", "L")):
        series = tmp_path / "CMMD" / patient / "07-18-2010-NA-NA-79377" / "1.000000-NA-70244"
        number = 0
        for side in sides:
            for view in (View.CC, View.MLO):
                number += 1
                dicom(
                    series / f"1-{number}.dcm",
                    make_breast(seed=number),
                    PatientID=patient,
                    ImageLaterality=side,
                    ViewCodeSequence=view_code(view),
                )
    return tmp_path


def by_breast(found):
    breasts: dict[tuple[str, str], list] = {}
    for record in found.records:
        breasts.setdefault((record.patient_id, record.laterality), []).append(record)
    return breasts


def test_pathology_is_of_the_breast_and_a_breast_without_a_row_is_unknown(root):
    breasts = by_breast(datasets.scan("cmmd", root))
    told = {key: {r.malignant for r in records} for key, records in breasts.items()}
    assert told == {
        ("D1-0001", "R"): {False},
        ("D1-0001", "L"): {None},
        ("D1-0002", "L"): {True},
        ("D2-0001", "L"): {True},
    }


def test_side_and_view_come_from_the_header_and_both_is_two_lesions(root):
    records = by_breast(datasets.scan("cmmd", root))[("D1-0002", Laterality.L)]
    assert {r.view for r in records} == {View.CC, View.MLO}
    assert [s.kind for s in records[0].lesions] == [Kind.MASS, Kind.CALCIFICATION_CLUSTER]
    assert [s.pathology for s in records[0].lesions] == [Pathology.MALIGNANT] * 2
    assert [s.region for s in records[0].lesions] == [None, None]
    assert records[0].lesions == records[1].lesions
    assert dict(records[0].extra) == {"subtype": "Luminal A"} and records[0].age == 40


def test_the_workbook_as_distributed_says_the_same_as_its_csv(root):
    before = datasets.scan("cmmd", root)
    path = root / "CMMD_clinicaldata_revision.csv"
    write_workbook(root / "CMMD_clinicaldata_revision.xlsx", path.read_text().splitlines())
    path.unlink()
    assert datasets.scan("cmmd", root).fingerprint == before.fingerprint


def write_workbook(path, lines):
    """A workbook with shared strings, numbers as numbers and empty cells left out."""
    strings: list[str] = []
    rows = []
    for number, line in enumerate(lines, 1):
        cells = []
        for letter, cell in zip("ABCDEFG", line.split(","), strict=True):
            place = f'r="{letter}{number}"'
            if cell.isdigit():
                cells.append(f"<c {place}><v>{cell}</v></c>")
            elif cell:
                strings.append(cell)
                cells.append(f'<c {place} t="s"><v>{len(strings) - 1}</v></c>')
        rows.append(f'<row r="{number}">{"".join(cells)}</row>')
    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    shared = "".join(f"<si><t>{text}</t></si>" for text in strings)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/sharedStrings.xml", f"<sst {space}>{shared}</sst>")
        sheet = f"<worksheet {space}><sheetData>{''.join(rows)}</sheetData></worksheet>"
        archive.writestr("xl/worksheets/sheet1.xml", sheet)


def test_a_workbook_that_is_none_is_one_line(root):
    (root / "CMMD_clinicaldata_revision.csv").unlink()
    (root / "CMMD_clinicaldata_revision.xlsx").write_bytes(b"PK nothing")
    with pytest.raises(SecondReaderError, match="no Excel workbook"):
        datasets.scan("cmmd", root)


def test_patients_without_images_are_listed(root):
    problems = datasets.scan("cmmd", root).problems
    assert [(p.code, p.got) for p in problems] == [("missing-image", "no image of D2-0009")]


def test_a_conversion_without_a_side_is_listed_and_unknown(root, png, make_breast):
    png(root / "CMMD" / "D2-0009" / "1-1.png", make_breast(seed=50))
    found = datasets.scan("cmmd", root)
    assert [p.code for p in found.problems] == ["unknown-side"]
    assert [r.malignant for r in found.records if r.patient_id == "D2-0009"] == [None]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [("abnormality", "finding", "no column 'abnormality'"), ("Malignant", "Bad", "got 'Bad'")],
)
def test_a_table_that_is_not_as_expected_is_one_line(root, old, new, message):
    path = root / "CMMD_clinicaldata_revision.csv"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(SecondReaderError, match=message):
        datasets.scan("cmmd", root)
