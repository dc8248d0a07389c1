"""What is written down: figures, curves and comparisons, and the file that holds them.

``metrics.json`` (``secondreader.metrics/1``) is the one file that tables, plots and reports are made
from. Its header says what all figures in it share: split, data and their fingerprints, what an
interval is; every figure says its own hit rule or label rule. A figure that cannot be had has no
value, and a note that says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from secondreader.domain import SecondReaderError
from secondreader.evaluation.bootstrap import LEVEL, Difference, Estimate

__all__ = [
    "LABEL_RULES",
    "SCHEMA",
    "Comparison",
    "Curve",
    "Figure",
    "Metrics",
    "curve_of",
    "figure",
    "from_json",
    "interval_words",
    "to_json",
    "without_value",
]

SCHEMA = "secondreader.metrics/1"
LABEL_RULES = {
    "all": "malignant by a malignant lesion in the image, else by what the data say of the image or "
    "breast; larger units by any of their images; units that may be malignant but are not known to "
    "be are left out; cancers hidden in a view count",
    "visible": "as 'all', but an image whose cancers are all hidden in it counts as unknown",
    "abnormal": "abnormal by any lesion that is not benign at sight, benign ones too, or as 'all'; normal "
    "where none is known and the image is known not to be malignant",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One number with its interval, and what it means.

    Parameters
    ----------
    reader, level, name
        Whose figure of what: level is image, breast, exam, patient, position, lesion, region, or what a
        reader measures of itself, such as patch.
    value, low, high
        ``None`` where there is none; `note` then says why.
    method
        How the interval was made.
    group
        The subgroup as ``name=value``, empty for all.
    hit_rule, label_rule
        The hit rule's name for detections, else the label rule's; both are spelt out in the header.
    positives, negatives
        Units of each class; for detections lesions, and images that false positives are counted on.
    patients, draws
        Patients drawn from, and resamples in which the figure was defined.
    note
        A warning, or why there is no value.
    """

    reader: str
    level: str
    name: str
    value: float | None
    low: float | None
    high: float | None
    method: str = ""
    group: str = ""
    hit_rule: str = ""
    label_rule: str = ""
    positives: int = 0
    negatives: int = 0
    patients: int = 0
    draws: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve with its interval band, for plots.

    ``kind`` is ``roc`` (false-positive fraction, sensitivity), ``froc`` (false positives per image,
    sensitivity), ``reliability`` (probability promised, frequency seen) or ``scores_positive`` and
    ``scores_negative`` (score, how many); ``weight`` is how many units stand behind each point.
    ``way`` is how probabilities were made, empty for the reader's own way.
    """

    reader: str
    level: str
    kind: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    weight: tuple[float, ...] = ()
    hit_rule: str = ""
    label_rule: str = ""
    way: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A paired difference of two readers, a − b.

    ``p_holm`` is corrected for all pairs of readers compared by this figure at this level.
    """

    a: str
    b: str
    level: str
    name: str
    value: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    method: str
    hit_rule: str = ""
    label_rule: str = ""
    units: int = 0
    group: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Metrics:
    """All that is in ``metrics.json``.

    Parameters
    ----------
    version
        Of this program.
    split, data
        Which part of which split; each data set as name, fingerprint, images and patients.
    readers
        Their names, in the order given.
    rules
        Every label rule and hit rule used, in words.
    interval
        Level, method, resamples and seed.
    left_out
        What was left out, by reader and level, then by reason.
    warnings
        What a reader of the figures must know.
    """

    version: str
    split: str
    data: tuple[Mapping[str, Any], ...]
    readers: tuple[str, ...]
    rules: Mapping[str, str]
    interval: Mapping[str, Any]
    left_out: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    curves: tuple[Curve, ...] = ()

    def figure(self, name: str, reader: str | None = None, **known: str) -> Figure:
        """Return the first figure of a name (and reader, level, hit_rule, …).

        Raises
        ------
        SecondReaderError
            If there is none.
        """
        for got in self.figures:
            asked = known | ({"reader": reader} if reader else {})
            if got.name == name and all(getattr(got, k) == v for k, v in asked.items()):
                return got
        raise SecondReaderError(
            f"metrics: got no figure {name}, expected it among what was measured"
        )


def figure(name: str, got: Estimate | Difference, method: str, **known: Any) -> Figure:
    """Return a figure from an estimate."""
    drawn = got.draws if isinstance(got, Estimate) else 0
    note = "; ".join(n for n in (got.note, known.pop("note", "")) if n)
    return Figure(
        name=name, value=got.value, low=got.low, high=got.high, method=method, draws=drawn,
        note=note, **known,
    )  # fmt: skip


def without_value(names: Iterable[str], why: str, **known: Any) -> list[Figure]:
    """Return figures that could not be had."""
    return [Figure(name=n, value=None, low=None, high=None, **known | {"note": why}) for n in names]


def curve_of(
    reader: str,
    level: str,
    kind: str,
    rows: Sequence[np.ndarray],
    *,
    hit_rule: str = "",
    label_rule: str = "",
    way: str = "",
) -> Curve:
    """Return a curve of its rows x, y, low, high and weight, each (points,) or left out."""
    parts = [tuple(float(v) for v in row) for row in rows]
    names = ("x", "y", "low", "high", "weight")
    known: dict[str, Any] = dict(zip(names, parts, strict=False))
    return Curve(reader, level, kind, hit_rule=hit_rule, label_rule=label_rule, way=way, **known)


def interval_words(resamples: int, seed: int) -> dict[str, Any]:
    """Return the header's account of intervals."""
    return {
        "level": LEVEL,
        "method": "percentiles of a bootstrap over patients, never images, unless a figure says else",
        "resamples": resamples,
        "seed": seed,
    }


def to_json(metrics: Metrics) -> dict[str, Any]:
    """Return what ``metrics.json`` holds."""
    return {"schema": SCHEMA, **asdict(metrics)}


def from_json(value: Mapping[str, Any]) -> Metrics:
    """Return metrics from what `to_json` gave.

    Raises
    ------
    SecondReaderError
        If it is another schema, or fields are missing or unknown.
    """
    if value.get("schema") != SCHEMA:
        raise SecondReaderError(f"metrics: got schema {value.get('schema')!r}, expected {SCHEMA!r}")
    rest: dict[str, Any] = {k: v for k, v in value.items() if k != "schema"}
    try:
        for name, of in (("figures", Figure), ("comparisons", Comparison), ("curves", Curve)):
            rest[name] = tuple(of(**_tuples(row)) for row in rest[name])
        rest |= {name: tuple(rest[name]) for name in ("data", "readers", "warnings")}
        return Metrics(**rest)
    except (TypeError, KeyError) as error:
        raise SecondReaderError("metrics: got other fields than expected") from error


def _tuples(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        k: tuple(v) if isinstance(v, Sequence) and not isinstance(v, str) else v
        for k, v in row.items()
    }
