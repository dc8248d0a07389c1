"""Zhang et al. 2019: anomaly separation and false-positive reduction for microcalcifications."""

from __future__ import annotations

from secondreader.studies.study import Cell, Cost, Measure, Recipe, Row, Study, Table

__all__ = ["STUDY"]

_FINAL = ("R@1", "R@5", "R@10", "R@15", "R@20")
_PROPOSALS = ("R@5", "R@10", "R@15", "R@20", "R@30")
_GONE = "not legible in the copy of the paper that these tables were typed from"
_PRIVATE = "the in-house images are not public: only other data can be measured"
_SPLIT = "inbreast-3-1-1"
_CASCADE, _FASTER = (
    Cost(6, "estimated, one data-centre GPU"),
    Cost(8, "estimated, one data-centre GPU"),
)
_STAGE = Cost(3, "estimated, one data-centre GPU")


def _cells(columns: tuple[str, ...], printed: str, on: str = "") -> dict[str, Cell]:
    """Return cells of recall in per cent, a dot standing for one that is not legible."""
    cells = {}
    for column, text in zip(columns, printed.split(), strict=True):
        figure = f"recall_at_{column.removeprefix('R@')}_fp_on_all"
        measure = Measure(figure, "region", "zhang2019")
        note = _GONE if text == "." else ""
        cells[column] = Cell("" if note else text, percent=True, measure=measure, note=note)
    return cells


def _recipe(preset: str, data: str, **settings: str) -> Recipe:
    return Recipe("anomaly_cascade", preset, settings, (data,), _SPLIT)


def _table(name: str, caption: str, columns: tuple[str, ...], rows: tuple[Row, ...]) -> Table:
    return Table(name, caption, ("method",), columns, rows)


_TABLE1 = _table("table1", "Evaluations on INBreast dataset (%)", _FINAL, (
    Row("table1-fpn-frcn", ("FPN FRCN",), _cells(_FINAL, "39.72 71.47 72.48 72.48 72.48"),
        _recipe("fpn_frcn", "inbreast"), cost=_FASTER),
    Row("table1-unet-fpr", ("U-Net w FPR",), _cells(_FINAL, "29.45 77.61 82.84 83.67 84.50"),
        _recipe("unet_fpr", "inbreast"), cost=_CASCADE),
    Row("table1-proposed", ("Proposed",), _cells(_FINAL, "36.70 78.35 85.96 88.26 88.90"),
        _recipe("paper", "inbreast"), mandatory=True, cost=_CASCADE),
))  # fmt: skip

_TABLE2 = _table("table2", "Evaluations on in-house dataset (%)", _FINAL, (
    Row("table2-fpn-frcn", ("FPN FRCN",), _cells(_FINAL, "78.27 81.33 81.33 81.33 81.33"),
        _recipe("fpn_frcn", "in-house"), cost=_FASTER, note=_PRIVATE),
    Row("table2-unet-fpr", ("U-Net w FPR",), _cells(_FINAL, "84.90 88.06 88.67 88.67 88.67"),
        _recipe("unet_fpr", "in-house"), cost=_CASCADE, note=_PRIVATE),
    Row("table2-proposed", ("Proposed",), _cells(_FINAL, "85.31 90.71 92.24 92.65 92.76"),
        _recipe("paper", "in-house"), cost=_CASCADE, note=_PRIVATE),
))  # fmt: skip

_TABLE3 = _table("table3", "Proposal evaluations on INBreast dataset (%)", _PROPOSALS, (
    Row("table3-unet", ("U-Net",), _cells(_PROPOSALS, "43.39 58.35 72.20 82.02 85.32"),
        _recipe("unet_fpr", "inbreast", stage="proposals"), cost=_STAGE),
    Row("table3-asn", ("ASN",), _cells(_PROPOSALS, "44.13 65.14 78.72 84.95 88.35"),
        _recipe("paper", "inbreast", stage="proposals"), mandatory=True, cost=_STAGE),
))  # fmt: skip

_TABLE4 = _table("table4", "Proposal evaluations on in-house dataset (%)", _PROPOSALS, (
    Row("table4-unet", ("U-Net",), _cells(_PROPOSALS, "86.63 88.37 88.67 88.67 88.67"),
        _recipe("unet_fpr", "in-house", stage="proposals"), cost=_STAGE, note=_PRIVATE),
    Row("table4-asn", ("ASN",), _cells(_PROPOSALS, "88.16 90.00 91.33 91.84 92.24"),
        _recipe("paper", "in-house", stage="proposals"), cost=_STAGE, note=_PRIVATE),
))  # fmt: skip

_TABLE5 = _table("table5", "Ablation study on INBreast dataset (%)", _FINAL, (
    Row("table5-l1", ("L1",), _cells(_FINAL, ". . 85.96 . 88.90"), _recipe("paper", "inbreast"),
        cost=_CASCADE, note="the model of table 1's Proposed: the same numbers where legible"),
    Row("table5-l2", ("L2",), _cells(_FINAL, ". . 85.41 87.98 88.53"),
        _recipe("paper", "inbreast", residual="l2"), cost=_CASCADE),
    Row("table5-smooth-l1", ("SmoothL1",), _cells(_FINAL, ". . . 87.98 89.08"),
        _recipe("paper", "inbreast", residual="smooth_l1"), cost=_CASCADE),
    Row("table5-l1-without-lambda", ("L1 w/o λ",), _cells(_FINAL, "29.90 72.02 83.30 86.06 86.88"),
        _recipe("paper", "inbreast", lambda_positive="0", lambda_negative="0"), cost=_CASCADE),
))  # fmt: skip

STUDY = Study(
    "zhang2019",
    "Zhang, Luo, Sun, Zhou, Li, Yu, Wang: Cascaded Generative and Discriminative Learning for "
    "Microcalcification Detection in Breast Mammograms, CVPR 2019",
    {
        "inbreast": "115 cases, 410 images, 6880 calcifications, 5782 of them up to 1 mm; training, "
        "validation and test 3:1:1 at random, the division being in a supplement we do not have",
        "in-house": "439 cases, 1799 images, 7588 calcifications that two radiologists agree on; "
        "training 339 cases, 1386 images, 5479; validation 50, 208, 1129; test 50, 205, 980",
    },
    (
        "the paper's division of the patients is not published: ours is a seeded 3:1:1",
        "intervals here are of patients drawn again; the paper gives none",
        "equation 6 prints the negatives' variance as that of the positives a second time; ours "
        "takes each class's own",
    ),
    (_TABLE1, _TABLE2, _TABLE3, _TABLE4, _TABLE5),
)
