"""Synthetic screening exams with known truth."""

from secondreader.phantom.exam import PhantomExam, PhantomImage, exam
from secondreader.phantom.store import TRUTH_FILE, write_exam, write_exams
from secondreader.phantom.vendors import VENDORS, Vendor

__all__ = [
    "TRUTH_FILE",
    "VENDORS",
    "PhantomExam",
    "PhantomImage",
    "Vendor",
    "exam",
    "write_exam",
    "write_exams",
]
