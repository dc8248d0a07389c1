"""Our own figures of the readers in the box; there is no paper to be beside."""

from __future__ import annotations

from secondreader.studies.study import Cell, Cost, Measure, Recipe, Row, Study, Table

__all__ = ["STUDY"]

_NONE = "our own figure: nothing is published"


def _cell(figure: str, level: str = "region", hit_rule: str = "cluster") -> Cell:
    return Cell("", measure=Measure(figure, level, hit_rule), note=_NONE)


def _spots(key: str, data: str, words: str, note: str) -> Row:
    cells = {
        "Clusters found": _cell("sensitivity_at_*"),
        "FP/image, normal images": _cell("fpi_at_*_on_normal"),
        "Mean sensitivity, 1/8 to 8 FP/image": _cell("mean_recall_0.125_8_fp_on_normal"),
        "AUC by breast": _cell("auc", "breast", ""),
    }
    recipe = Recipe("spot_filter", data=(data,), split="all", trains=False)
    return Row(
        key, (words,), cells, recipe, mandatory=True, cost=Cost(0, "minutes on a CPU"), note=note
    )


_SPOTS = Table(
    "spot_filter",
    "The spot filter, which is not trained, at its default operating point; false positives counted "
    "on images without a cluster",
    ("Data",),
    ("Clusters found", "FP/image, normal images", "Mean sensitivity, 1/8 to 8 FP/image",
     "AUC by breast"),
    (
        _spots("spot-filter-mini-mias", "mini_mias", "mini-MIAS",
               "films looked at in development, never 'unseen'"),
        _spots("spot-filter-phantom", "phantom", "phantom exams",
               "synthetic exams with known truth"),
    ),
)  # fmt: skip

STUDY = Study(
    "default",
    "Readers in the box of this program",
    {
        "mini_mias": "films of the mini-MIAS database, 200 µm, truth as circles",
        "phantom": "exams that `secondreader phantom` wrote",
    },
    (),
    (_SPOTS,),
)
