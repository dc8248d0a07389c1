"""Synthetic screening exams with known truth."""

from secondreader.phantom.contents import Contents
from secondreader.phantom.exam import VIEWS, PhantomExam, PhantomImage, exam, exam_truth
from secondreader.phantom.insertion import contrast_to_noise, insert
from secondreader.phantom.into import write_inserted
from secondreader.phantom.store import TRUTH_FILE, write_exam, write_exams, write_set
from secondreader.phantom.vendors import VENDORS, Vendor

__all__ = [
    "TRUTH_FILE",
    "VENDORS",
    "VIEWS",
    "Contents",
    "PhantomExam",
    "PhantomImage",
    "Vendor",
    "contrast_to_noise",
    "exam",
    "exam_truth",
    "insert",
    "write_exam",
    "write_exams",
    "write_inserted",
    "write_set",
]
