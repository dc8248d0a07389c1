"""What the method measures of itself that no reading tells: patches, and images in four classes.

A patch here is a window of `secondreader.methods.second_look.windows`, at the stride of reading; one
that holds too little of a lesion to say is left out. The paper's accuracy "over 4 categories" is
``balanced_accuracy``, the mean of the recalls of the classes that are there: its patches were dealt
to classes by the authors, and of windows as they come nine in ten hold nothing.

References
----------
Thatte et al. (2017), "Mask-RCNN": "accuracy on a 'per patch' basis (correctly predicting whether a
patch has a given type of tumor, or not)"; "Convnets, Patches and Transfer Learning".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from secondreader.domain import Detection, ImageRecord, Kind, SecondReaderError
from secondreader.evaluation.bootstrap import estimate, replicates
from secondreader.evaluation.classification import score_figures
from secondreader.evaluation.detection import detection_figures
from secondreader.evaluation.figures import Curve, Figure, figure, without_value
from secondreader.evaluation.froc import find
from secondreader.evaluation.matching import hit_rule
from secondreader.evaluation.scored import ScoredImage
from secondreader.evaluation.units import positions
from secondreader.methods.second_look.network import CLASSES

__all__ = [
    "called", "class_figures", "class_replicates", "malignant_lesions", "own_kinds", "patch_figures",
]  # fmt: skip

# Images whose cancers are hidden in them are of unknown class, and windows with a hidden lesion left out.
_RULE = "visible"


def class_replicates(
    scores: np.ndarray, labels: np.ndarray, patients: Sequence[str], *, resamples: int, seed: int
) -> tuple[list[str], np.ndarray]:
    """Return the names of accuracy, balanced accuracy and each class's recall, and their replicates.

    Parameters
    ----------
    scores
        (n, 4), of each class; the largest is the answer.
    labels
        (n,) of `CLASSES`.
    patients
        (n,) whose it is. Two calls with the same patients and seed are paired.
    resamples, seed
        Of the bootstrap over patients.

    Returns
    -------
    list, numpy.ndarray
        The names, and (1 + resamples, names); row 0 is of the data themselves.

    Raises
    ------
    SecondReaderError
        If there is nothing, or one patient only.
    """
    kinds = np.unique(labels).tolist()
    if not kinds:
        raise SecondReaderError("classes: got nothing of known class, expected some")
    who, index = np.unique(np.asarray(patients, str), return_inverse=True)
    right = (scores.argmax(1) == labels).astype(float)
    # Of each class and patient: how many, and how many of them right.
    number, hits = (
        np.stack(
            [np.bincount(index[labels == k], of[labels == k], minlength=len(who)) for k in kinds]
        )
        for of in (np.ones(len(labels)), right)
    )

    def statistic(counts: np.ndarray) -> np.ndarray:
        n, hit = number @ counts, hits @ counts
        with np.errstate(invalid="ignore", divide="ignore"):
            recall = hit / n
            return np.stack([hit.sum(0) / n.sum(0), recall.mean(0), *recall], axis=1)

    values = replicates(statistic, len(who), resamples=resamples, seed=seed)
    return ["accuracy", "balanced_accuracy", *(f"recall_of_{_word(k)}" for k in kinds)], values


def _word(kind: int) -> str:
    return CLASSES[kind].replace(" ", "_")


def class_figures(
    scores: np.ndarray,
    labels: np.ndarray,
    patients: Sequence[str],
    *,
    level: str,
    reader: str,
    resamples: int,
    seed: int,
) -> list[Figure]:
    """Return the figures of `class_replicates`, with their intervals, of a level and a reader."""
    known = {"level": level, "reader": reader, "label_rule": _RULE, "patients": len(set(patients))}
    try:
        names, values = class_replicates(scores, labels, patients, resamples=resamples, seed=seed)
    except SecondReaderError as error:
        return without_value(["accuracy", "balanced_accuracy"], str(error), **known)
    kinds, number = np.unique(labels, return_counts=True)
    note = ", ".join(f"{n} {_word(k)}" for k, n in zip(kinds.tolist(), number, strict=True))
    return [
        figure(name, estimate(values[:, i]), "patient bootstrap", note=note, **known)
        for i, name in enumerate(names)
    ]


def patch_figures(
    scores: np.ndarray,
    labels: np.ndarray,
    patients: Sequence[str],
    *,
    reader: str,
    resamples: int,
    seed: int,
) -> tuple[list[Figure], list[Curve]]:
    """Return malignant against the rest (area, and its curve), and the figures of four classes."""
    units = positions(scores[:, 1], labels == 1, patients, level="patch")
    got = score_figures(units, resamples=resamples, seed=seed, reader=reader, label_rule=_RULE)
    classes = class_figures(
        scores, labels, patients, level="patch", reader=reader, resamples=resamples, seed=seed
    )
    return [*got[0], *classes], got[1]


def own_kinds(
    scores: np.ndarray,
    malignant: np.ndarray,
    patients: Sequence[str],
    *,
    reader: str,
    resamples: int,
    seed: int,
) -> list[Figure]:
    """Return the area by image, ``auc_own_kinds``: malignant lesions of the kinds that are looked for.

    Of a detector of masses the area that every reader has, ``auc``, counts cancers without a mass too.
    """
    units = positions(scores, malignant, patients, level="patch")
    got, _ = score_figures(
        units, resamples=resamples, seed=seed, curves=False, reader=reader, label_rule=_RULE
    )
    return [replace(f, name="auc_own_kinds", level="image") for f in got if f.name == "auc"]


def malignant_lesions(
    records: Sequence[ImageRecord],
    found: Sequence[Sequence[Detection]],
    kind: Kind,
    *,
    reader: str,
    resamples: int,
    seed: int,
) -> list[Figure]:
    """Return recalls of malignant lesions alone, ``malignant_recall_at_1_fp_on_all`` and the others.

    Benign lesions are ignored: neither misses nor false alarms. Other recalls count them as lesions,
    though what is ranked is how malignant a region is.

    Parameters
    ----------
    records
        The images.
    found
        What is reported of each, in source pixels.
    kind
        What is reported: clusters are judged by their rule, all else by ``centre_in_region``.
    reader, resamples, seed
        As in `class_figures`.
    """
    rule = "cluster" if kind is Kind.CALCIFICATION_CLUSTER else "centre_in_region"
    images = [
        ScoredImage(
            f"{r.dataset}/{r.path}", f"{r.dataset}/{r.patient_id}", f"{r.dataset}/{r.exam_id}",
            r.laterality, r.view, r.spacing_mm, r.malignant, r.lesions,
            score=max((d.score for d in own), default=0.0), detections=tuple(own),
        )
        for r, own in zip(records, found, strict=True)
    ]  # fmt: skip
    known: dict[str, Any] = {"reader": reader, "hit_rule": rule}
    try:
        got, _ = detection_figures(
            find(images, hit_rule(rule, benign="ignored")), level="region", curves=False,
            resamples=resamples, seed=seed, **known,
        )  # fmt: skip
    except SecondReaderError as error:  # such as without millimetres
        got = without_value(["recall_at_1_fp_on_all"], str(error), level="region", **known)
    return [
        replace(f, name=f"malignant_{f.name}",
                note="; ".join(w for w in ("benign lesions are ignored", f.note) if w))
        for f in got
    ]  # fmt: skip


def called(scores: np.ndarray) -> np.ndarray:
    """Return the class of an image, (4,) of one or none, by the answers for its windows (n, 4).

    "If even one patch returned a positive hit for a tumor, the entire image would be flagged as that
    category"; of several the most severe.
    """
    answers = scores.argmax(1)
    flagged = answers[answers > 0]
    category = int(flagged.min()) if len(flagged) else 0
    answer: np.ndarray = (np.arange(len(CLASSES)) == category).astype(np.float64)
    return answer
