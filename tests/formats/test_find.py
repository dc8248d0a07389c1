import json
import os
import pickle
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.fileset import FileSet

from secondreader.domain import Refused
from secondreader.formats import find
from secondreader.formats.source import FileRef, Skipped

finding = sys.modules["secondreader.formats.find"]  # the package exports its function by that name


def write(path, content=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def told(*inputs):
    """Each find as ``path`` or ``(path, code)``."""
    return [f.path if isinstance(f, FileRef) else (f.path, f.code) for f in find(inputs)]


def test_files_come_before_folders_each_by_name_at_any_depth(tmp_path):
    for name in ("b.png", "a.png", "c/2.png", "c/1.png", "c/d/e/f/g/h/3", "B/1"):
        write(tmp_path / name)
    assert told(tmp_path) == ["a.png", "b.png", "B/1", "c/1.png", "c/2.png", "c/d/e/f/g/h/3"]


def test_deep_folders_are_walked(tmp_path):
    deep = tmp_path.joinpath(*["d"] * 300)
    deep.mkdir(parents=True)
    write(deep / "x")
    assert told(tmp_path) == ["/".join(["d"] * 300 + ["x"])]


def test_an_input_that_is_a_file_is_named_by_its_name(tmp_path):
    one, two = write(tmp_path / "a/1.png"), write(tmp_path / "b/1.png")
    refs = list(find([one, two]))
    assert [(r.input, r.path, r.file) for r in refs] == [(0, "1.png", one), (1, "1.png", two)]
    with refs[1].open() as stream:
        assert stream.read() == b"x"


def test_a_reference_travels_as_pickle_and_as_json(tmp_path):
    (ref,) = find([write(tmp_path / "1.png")])
    assert pickle.loads(pickle.dumps(ref)) == ref  # noqa: S301 - our own
    assert FileRef(**json.loads(json.dumps(asdict(ref)))) == ref


def test_finding_is_lazy(tmp_path, monkeypatch):
    write(tmp_path / "a/1")
    write(tmp_path / "b/2")
    listed = []
    listing = finding._listing
    monkeypatch.setattr(finding, "_listing", lambda f: listed.append(f.name) or listing(f))
    found = find([tmp_path])
    assert listed == []
    assert next(found).path == "a/1"
    assert "b" not in listed


def test_what_is_reached_twice_is_read_once(tmp_path):
    file = write(tmp_path / "a/1.png")
    (tmp_path / "a/link.png").symlink_to(file)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert told(tmp_path) == ["a/1.png", ("a/link.png", "duplicate"), ("b", "duplicate")]
    assert told(file, file) == ["1.png", ("1.png", "duplicate")]
    assert told(file, tmp_path / "a")[1:] == [("1.png", "duplicate"), ("link.png", "duplicate")]
    assert told(tmp_path / "a", file)[2:] == [("1.png", "duplicate")]
    assert told(tmp_path / "a", tmp_path)[2:] == [("a", "duplicate"), ("b", "duplicate")]


def test_a_link_to_a_file_elsewhere_is_followed(tmp_path):
    away = write(tmp_path / "away/1.png")
    write(tmp_path / "here/0")
    (tmp_path / "here/1.png").symlink_to(away)
    (tmp_path / "here/2.png").symlink_to(away)
    (tmp_path / "here/more").symlink_to(tmp_path / "away")
    assert told(tmp_path / "here") == [
        "0", "1.png", ("2.png", "duplicate"), ("more/1.png", "duplicate")
    ]  # fmt: skip


def test_links_in_a_circle_are_said_once_each(tmp_path):
    write(tmp_path / "a/b/1.png")
    (tmp_path / "a/b/up").symlink_to(tmp_path / "a")
    (tmp_path / "a/b/here").symlink_to(".")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "nowhere").symlink_to("none")
    assert told(tmp_path) == [
        ("nowhere", "missing"), ("self", "symlink-loop"), "a/b/1.png",
        ("a/b/here", "symlink-loop"), ("a/b/up", "symlink-loop"),
    ]  # fmt: skip


def test_what_systems_leave_behind_is_left_out(tmp_path):
    for name in (".DS_Store", "Thumbs.db", "__MACOSX/1.png", "._1.png", "1.png", ".hidden.png"):
        write(tmp_path / name)
    assert told(tmp_path) == [".hidden.png", "1.png"]


def test_empty_missing_and_unreadable_inputs_are_said(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "closed").mkdir()
    write(tmp_path / "full/1")
    scandir = os.scandir

    def refuse(folder):
        if str(folder).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert told(tmp_path) == [("closed", "unreadable-folder"), ("empty", "empty"), "full/1"]
    assert told(tmp_path / "empty", tmp_path / "none") == [(".", "empty"), ("none", "missing")]
    (closed,) = find([tmp_path / "closed"])
    assert closed.reason == "the folder cannot be read (Permission denied)"


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert told(tmp_path, tmp_path / "pipe") == [("pipe", "not-an-image")] * 2


def test_a_name_that_is_no_text_is_shown_printable_and_still_opens(tmp_path):
    raw = os.fsencode(tmp_path) + b"/\xe9\n.png"
    os.close(os.open(raw, os.O_CREAT | os.O_WRONLY))
    (ref,) = find([tmp_path])
    assert ref.path == "\\xe9\\n.png"
    with FileRef(**json.loads(json.dumps(asdict(ref)))).open() as stream:
        assert stream.read() == b""


# --------------------------------------------------------------------------------- while it is read


def refused(ref, act=lambda: None):
    with pytest.raises(Refused) as error, ref.open() as stream:
        act()
        stream.read()
    return error.value.code


def test_a_file_that_changes_or_vanishes_is_refused(tmp_path):
    file = write(tmp_path / "1.png")
    (ref,) = find([file])
    assert refused(ref, lambda: os.utime(file, ns=(1, 1))) == "changed"  # while it is read
    assert refused(ref) == "changed"  # since it was found
    (ref,) = find([file])
    write(file, b"longer")
    os.utime(file, ns=(1, 1))
    assert refused(ref) == "changed"
    file.unlink()
    assert refused(ref) == "vanished"
    file.mkdir()
    assert refused(ref) == "unreadable"


def test_a_decoder_that_fails_on_a_file_that_changed_blames_the_change(tmp_path):
    file = write(tmp_path / "1.png")
    (ref,) = find([file])

    def fail():
        write(file, b"")
        raise Refused("truncated", "")

    assert refused(ref, fail) == "changed"


def test_a_disk_that_fails_while_it_is_read_is_one_line(tmp_path):
    (ref,) = find([write(tmp_path / "1.png")])

    def fail():
        raise OSError(5, "Input/output error")

    assert refused(ref, fail) == "unreadable"


# ---------------------------------------------------------------------------------------- DICOMDIR


@pytest.fixture
def media(tmp_path):
    """A folder with a DICOMDIR and two files that it references, one of them gone."""
    files = FileSet()
    for number in (1, 2):
        data = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
        data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
        data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.2"
        data.SOPInstanceUID, data.SeriesInstanceUID = f"1.2.{number}", "1.3"
        data.StudyInstanceUID, data.PatientID, data.PatientName = "1.4", "id", "name"
        data.StudyDate, data.StudyTime, data.StudyID, data.AccessionNumber = (
            "20200101",
            "120000",
            "120000",
            "",
        )
        data.Modality, data.SeriesNumber, data.InstanceNumber = "MG", 1, number
        files.add(data)
    files.write(tmp_path / "media")
    return tmp_path / "media"


def test_a_dicomdir_stands_for_the_files_that_it_references(media):
    paths = told(media / "DICOMDIR")
    assert len(paths) == 2
    assert sorted(paths) == sorted(told(media))  # and in a folder, the walk finds them itself
    (media / paths[0]).unlink()
    assert told(media / "DICOMDIR") == [(paths[0], "missing"), paths[1]]


def test_a_dicomdir_finds_files_whose_names_were_copied_in_lower_case(media):
    for folder, folders, names in os.walk(media, topdown=False):
        for name in [*folders, *names]:
            if name != "DICOMDIR":
                Path(folder, name).rename(Path(folder, name.lower()))
    found = list(find([media / "DICOMDIR"]))
    assert len(found) == 2 and all(isinstance(f, FileRef) for f in found)
    assert all(f.path == f.path.lower() for f in found)


def test_a_damaged_dicomdir_is_said(media):
    whole = (media / "DICOMDIR").read_bytes()
    write(media / "DICOMDIR", whole[:400])
    ((path, code),) = told(media / "DICOMDIR")
    assert (path, code) in [("DICOMDIR", "bad-header"), ("DICOMDIR", "empty")]


def test_a_dicomdir_never_leads_out_of_its_folder(media, monkeypatch):
    write(media.parent / "secret")
    monkeypatch.setattr(finding, "referenced_files", lambda _: ["../secret", "/etc/passwd"])
    assert [code for _, code in told(media / "DICOMDIR")] == ["unsafe-path"] * 2


def test_memory_holds_one_listing_not_all_files(tmp_path):
    import tracemalloc

    for folder in range(10):
        for number in range(100):
            write(tmp_path / f"{folder}/{number}")
    list(find([tmp_path]))  # what is loaded once is loaded
    tracemalloc.start()
    count = sum(isinstance(found, FileRef) for found in find([tmp_path]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 1000
    assert peak < 200_000
    assert not any(isinstance(found, Skipped) for found in find([tmp_path]))
