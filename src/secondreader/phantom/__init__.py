"""Synthetic screening exams with known truth."""

from secondreader.phantom.contents import Contents
from secondreader.phantom.exam import VIEWS, PhantomExam, PhantomImage, exam, exam_truth
from secondreader.phantom.store import TRUTH_FILE, write_exam, write_exams
from secondreader.phantom.vendors import VENDORS, Vendor

__all__ = [
    "TRUTH_FILE",
    "VENDORS",
    "VIEWS",
    "Contents",
    "PhantomExam",
    "PhantomImage",
    "Vendor",
    "exam",
    "exam_truth",
    "write_exam",
    "write_exams",
]
