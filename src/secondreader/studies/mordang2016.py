"""Mordang et al. 2016: hard-negative mining of CNNs against a cascade of Haar features.

We have the paper's abstract only, which gives no sensitivities: what it claims is that the CNN's
mean sensitivity is higher, and significantly so, for each maker's images.
"""

from __future__ import annotations

from secondreader.studies.study import Cell, Cost, Measure, Recipe, Row, Study, Table

__all__ = ["STUDY"]

_COST = Cost(6, "estimated, one data-centre GPU")
_DATA = ("phantom",)
_MEAN = "CNN − cascade, mean sensitivity at FPF 0 to 0.1"
_CASCADE = Recipe("mined_cnn", "paper", {"detector": "cascade"}, _DATA, "official")
_CNN = Recipe("mined_cnn", "paper", {}, _DATA, "official", against="cascade")


def _claim(key: str, words: str, group: str, figure: str = "mean_sensitivity_fpf_0_0.1") -> Row:
    measure = Measure(figure, "position", group=group, minus="rival")
    cell = Cell("above 0, significantly", measure=measure, above=0.0)
    return Row(key, (words,), {_MEAN: cell}, _CNN, mandatory=not group, cost=_COST)


def _count(key: str, words: str, printed: str) -> Row:
    return Row(
        key, (words,), {"Positions": Cell(printed, note="a fact about the data, not a figure")}
    )


_COMPARISON = Table(
    "comparison",
    "The CNN against the cascade classifier, over positions, for each maker's mammograms",
    ("Images",),
    (_MEAN,),
    (
        Row("cascade", ("all, the cascade alone",), {}, _CASCADE, cost=_COST,
            note="the baseline that the others are compared with"),
        _claim("comparison-all", "all makers", ""),
        _claim("comparison-hologic", "Hologic", "vendor=hologic"),
        _claim("comparison-ge", "GE", "vendor=ge"),
        _claim("comparison-siemens", "Siemens", "vendor=siemens"),
    ),
)  # fmt: skip

_TEXT = Table(
    "text",
    "Numbers in the abstract",
    ("What",),
    ("Positions",),
    (
        _count("text-train-positive", "training, positive", "11,711"),
        _count("text-train-negative", "training, negative", "27 million"),
        _count("text-test-positive", "test, positive", "5,298"),
        _count("text-test-negative", "test, negative", "18 million"),
    ),
)

STUDY = Study(
    "mordang2016",
    "Mordang, Janssen, Bria, Kooi, Gubern-Mérida, Karssemeijer: Automatic Microcalcification "
    "Detection in Multi-vendor Mammography Using Convolutional Neural Networks, IWDM 2016",
    {
        "phantom": "the paper's images of Hologic, GE and Siemens systems are not public: ours are "
        "phantom exams of these makers, or a public set",
    },
    (
        "we have the abstract only, which claims a higher mean sensitivity 'in the specificity range "
        "of 0 to 0.1' (a false-positive fraction of 0 to 0.1 is meant) and prints no sensitivity",
        "'over the whole specificity range, the CNN approach yielded a higher sensitivity' is a claim "
        "about a curve: see the ROC plot of the run",
        "the paper claims significance for each maker, not for all together: that row is ours",
        "the cascade is Bria et al. 2014",
    ),
    (_COMPARISON, _TEXT),
)
