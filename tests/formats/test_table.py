import pickle
from pathlib import Path

import pytest

from secondreader.domain import SecondReaderError
from secondreader.formats.source import FileRef, ReadOptions
from secondreader.formats.table import Row, read_table, unmatched


def table(folder: Path, text: str | bytes, extra=()):
    file = folder / "exams.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(file, extra)


def test_a_table_tells_what_a_raster_cannot(tmp_path):
    text = "path,exam_id,patient_id,laterality,view,spacing_mm\na/1.png,e1,p1,left,mlo,0.07\n2.png,,,,,\n"
    first, second = table(tmp_path, text).rows
    assert first == Row("a/1.png", 2, "e1", "p1", "L", "MLO", 0.07)
    assert second == Row("2.png", 3)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_spreadsheets_may_write_their_own_way(tmp_path, delimiter, newline):
    lines = [["View", " path "], ["CC", '"sub\\1.png"'], [""], ["ML\n", "2.png "]]
    lines[3][0] = '"ML\n"'  # a newline inside quotes, as CBIS-DDSM has them
    text = newline.join(delimiter.join(cells) for cells in lines)
    rows = table(tmp_path, b"\xef\xbb\xbf" + text.encode()).rows
    assert [(row.path, row.view) for row in rows] == [("sub/1.png", "CC"), ("2.png", "ML")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1: got no column 'path', expected one"),
        ("file\nx\n", "line 1: got column 'file', expected path, exam_id"),
        ("path,path\nx,y\n", "line 1: got column 'path' twice"),
        ("path,view\nx\n", "line 2: got 1 cells, expected 2"),
        ("path,view\n,CC\n", "line 2: got an empty path"),
        ("path,view\nx,CCC\n", "line 2: view: got 'CCC', expected CC, MLO"),
        ("path,laterality\nx,B\n", "line 2: laterality: got 'B', expected L or R"),
        ("path,spacing_mm\nx,wide\n", "line 2: spacing_mm: got 'wide', expected millimetres"),
        ("path,spacing_mm\nx,nan\n", "line 2: spacing_mm: got 'nan'"),
        ("path,spacing_mm\nx,-1\n", "line 2: spacing_mm: got '-1'"),
        ("path\nx\ny\n./x\n", "line 4: got path 'x' again (line 2)"),
        ('path\n"x\n', "got broken CSV"),
        (b"path\n\n\xe9.png\n", "line 3: got bytes that are no UTF-8"),
    ],
)
def test_a_bad_table_is_one_line_with_file_and_line(tmp_path, text, says):
    with pytest.raises(SecondReaderError) as error:
        table(tmp_path, text)
    assert f"exams.csv {says}" in str(error.value) or says in str(error.value)
    assert "exams.csv" in str(error.value) and "\n" not in str(error.value)


def test_a_missing_table_is_one_line(tmp_path):
    with pytest.raises(SecondReaderError, match=r"cannot read .*none.csv"):
        read_table(tmp_path / "none.csv")


def test_a_data_set_may_ask_for_columns_of_its_own(tmp_path):
    text = "path,birads,note\nx,4,hello\n"
    with pytest.raises(SecondReaderError, match="got column 'birads'"):
        table(tmp_path, text)
    (row,) = table(tmp_path, text, ["note", "birads", "age"]).rows
    assert row.extra == (("note", "hello"), ("birads", "4"))


def test_paths_are_from_the_input_from_the_table_or_absolute(tmp_path):
    text = (
        f"path,exam_id\nin.png,from input\nimages/t.png,from table\n{tmp_path}/abs.png,absolute\n"
    )
    t = table(tmp_path, text)

    def found(root, path):
        row = t.lookup(str(tmp_path / root), path)
        return row.exam_id if row else None

    assert found("images", "in.png") == "from input"
    assert found("images", "t.png") == "from table"
    assert found("", "abs.png") == "absolute"
    assert found("images", "other.png") is None


def test_rows_that_match_no_file_or_two_are_told(tmp_path):
    t = table(tmp_path, "path\n1.png\n2.png\n3.png\n")
    refs = [
        FileRef(0, str(tmp_path / d), p, 1, 1)
        for d, p in [("a", "1.png"), ("a", "3.png"), ("b", "3.png")]
    ]
    assert list(unmatched(t, refs)) == [
        "exams.csv line 3: path '2.png' matches no file, expected one",
        "exams.csv line 4: path '3.png' matches 2 files, expected one",
    ]


def test_options_tell_their_table_by_its_content_and_travel(tmp_path):
    one = ReadOptions(frozenset({"b", "a"}), table=table(tmp_path, "path\n1.png\n"))
    same = pickle.loads(pickle.dumps(one))  # noqa: S301 - our own
    other = ReadOptions(frozenset({"b", "a"}), table=table(tmp_path, "path\n2.png\n"))
    assert repr(one) == repr(same) != repr(other)
    assert "accept=['a', 'b']" in repr(one)


@pytest.mark.parametrize("bad", [{"spacing_mm": 0}, {"spacing_mm": float("nan")}, {"bits": 7}])
def test_options_that_make_no_sense_are_one_line(bad):
    with pytest.raises(SecondReaderError, match=r"^--(spacing-mm|bits): got .*, expected"):
        ReadOptions(**bad)
