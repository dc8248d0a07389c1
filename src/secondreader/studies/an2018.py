"""An et al. 2018: tissue classifiers at several scales, and a heatmap regression they help."""

from __future__ import annotations

from secondreader.studies.study import Cell, Cost, Measure, Recipe, Row, Study, Table

__all__ = ["STUDY"]

_COST = Cost(3, "estimated, one data-centre GPU")
_OURS = "ours: the paper prints no such number"
_SHARES = {
    "TP": "true_positive_share",
    "FP": "false_positive_share",
    "TN": "true_negative_share",
    "FN": "false_negative_share",
    "Total Error": "error",
}


def _split(key: str, stage: str, tissue: str, whole: str) -> Row:
    fact = "how many images; a fact about the data, not a figure"
    cells = {
        f"{what}, {sign}": Cell(text, note=fact)
        for what, pair in (("Tissue Patches", tissue), ("Full Mammography (CC)", whole))
        for sign, text in zip(("positive", "negative"), pair.split(" / "), strict=True)
    }
    return Row(key, (stage,), cells)


_TABLE1 = Table(
    "table1",
    "Data split between stages of evaluation (findings positive / negative)",
    ("Stage",),
    ("Tissue Patches, positive", "Tissue Patches, negative",
     "Full Mammography (CC), positive", "Full Mammography (CC), negative"),
    (
        _split("table1-training", "Training", "3038 / 311452", "1432 / 1984"),
        _split("table1-validation", "Validation", "32 / 32", "10 / 10"),
        _split("table1-testing", "Testing", "256 / 256", "100 / 100"),
    ),
)  # fmt: skip


def _tissue(key: str, scale: str, printed: str, note: str = "") -> Row:
    cells = {
        column: Cell(text, True, Measure(_SHARES[column], "patch"))
        for column, text in zip(_SHARES, printed.split(), strict=True)
    }
    pitch = {"0.5": "0.09", "0.33": "0.14", "0.25": "0.19"}[scale]
    recipe = Recipe(
        "tissue_heatmap", "paper", {"trains": "tissue", "spacing_mm": pitch}, ("ddsm",), "an2018"
    )
    return Row(key, (f"Tissue ×{scale}",), cells, recipe, scale == "0.5", _COST, note)


_TABLE2 = Table(
    "table2",
    "Breakdown of binary prediction on held-out tissue samples (percentage out of 256 reserved "
    "samples)",
    ("Model",),
    tuple(_SHARES),
    (
        _tissue("table2-x0.5", "0.5", "47.7 9.0 41.0 2.3 11.3"),
        _tissue("table2-x0.33", "0.33", "29.7 3.9 46.0 20.3 24.2",
                "its four shares add to 99.9; no count of 256 rounds to 46.0"),
        _tissue("table2-x0.25", "0.25", "33.6 6.3 43.8 16.4 22.7", "its four shares add to 100.1"),
    ),
)  # fmt: skip


def _heatmap(key: str, model: str, training: str, validation: str, **settings: str) -> Row:
    held = "ours is of test women: by validation women the weights were chosen"
    ours = "" if training else _OURS
    cells = {
        "Training": Cell(training, measure=Measure("heatmap_mse", "training_image"), note=ours),
        "Validation": Cell(validation, measure=Measure("heatmap_mse", "held_out_image"), note=held),
    }
    recipe = Recipe("tissue_heatmap", "paper", settings, ("ddsm",), "an2018", start="table2-x0.5")
    return Row(
        key, (model,), cells, recipe, cost=_COST,
        note="the scale of the heatmaps is not stated: only the ratio of the two rows can be "
        f"compared. Validation: {held}",
    )  # fmt: skip


_HALF = {"spacing_mm": "0.09"}
_CC = {"views": "cc", **_HALF}
_TABLE3 = Table(
    "table3",
    "Mean-Squared Error between predicted and annotated regions with malignant findings at 256-pixel "
    "output resolution. Models are rows here, columns in the paper",
    ("Model",),
    ("Training", "Validation"),
    (
        _heatmap("table3-baseline", "Baseline", "0.12", "6.48", trains="baseline", **_CC),
        _heatmap("table3-local", "+ local results (×0.5)", "2.25", "6.04", trains="heatmap", **_CC),
    ),
)  # fmt: skip


_BOTH = Table(
    "both",
    "Ours: the same of both views",
    ("Model",),
    ("Training", "Validation"),
    (
        _heatmap("both-baseline", "Baseline", "", "", trains="baseline", views="both", **_HALF),
        _heatmap("both-local", "+ local results (×0.5)", "", "", trains="heatmap", views="both", **_HALF),
    ),
)  # fmt: skip


def _measured(start: str) -> Recipe:
    """Return a recipe that trains nothing: the model of another row, measured."""
    return Recipe("tissue_heatmap", data=("ddsm",), split="an2018", start=start, trains=False)


_NONE = "the model of the row it names"
_TEXT = Table(
    "text",
    "Numbers in the abstract",
    ("What",),
    ("AUC",),
    (
        Row(
            "text-auc",
            ("highest AUC of a tissue classifier",),
            {"AUC": Cell("above 0.9", measure=Measure("auc", "patch"), above=0.9)},
            _measured("table2-x0.5"),
            mandatory=True,
            cost=Cost(0, _NONE),
        ),
    ),
)


def _area(key: str, scale: str) -> Row:
    cells = {"AUC": Cell("", measure=Measure("auc", "patch"), note=_OURS)}
    return Row(
        key, (f"Tissue ×{scale}",), cells, _measured(f"table2-x{scale}"), cost=Cost(0, _NONE)
    )


_FIGURE3 = Table(
    "figure3",
    "ROC on held-out data of tissue assessment task: the paper draws curves, ours stand in "
    "OUT/evaluations",
    ("Model",),
    ("AUC",),
    tuple(_area(f"figure3-x{scale}", scale) for scale in ("0.5", "0.33", "0.25")),
)
_BY_IMAGE = {
    "network, p(y|z; C)": Cell("", measure=Measure("auc_network", "image"), note=_OURS),
    "plain maximum": Cell("", measure=Measure("auc_maximum", "image"), note=_OURS),
    "network less maximum": Cell("", measure=Measure("auc_gain", "image"), note=_OURS),
}
_EQUATION = Table(
    "equation",
    "Ours: the equation of section 3 as a network of answers and their places, AUC by image",
    ("Model",),
    tuple(_BY_IMAGE),
    (
        Row("equation-one-view", ("one view",), _BY_IMAGE, _measured("table3-local"),
            cost=Cost(0, _NONE)),
        Row("equation-two-views", ("two views",), _BY_IMAGE, _measured("views-two"),
            cost=Cost(0, _NONE)),
    ),
)  # fmt: skip


def _seen(prefix: str) -> dict[str, Cell]:
    columns = {
        "one view": "auc_one_view",
        "two views": "auc_two_views",
        "two views, paired by ids": "auc_two_views_by_ids",
        "two views less one": "auc_gain",
    }
    return {
        words: Cell("", measure=Measure(f"{prefix}{name}", "patch"), note=_OURS)
        for words, name in columns.items()
    }


_VIEWS = Table(
    "views",
    "Ours: section 4's next step, a place judged with the same place in the other view, AUC of "
    "patches that are seen in at least one of the views; at ×0.33, for the sake of time",
    ("Patches",),
    tuple(_seen("")),
    (
        Row(
            "views-two", ("all",), _seen(""),
            Recipe(
                "tissue_heatmap", "paper", {"two_views": "true", "views": "both", "spacing_mm": "0.14"},
                ("ddsm",), "an2018", start="table2-x0.33",
            ),
            cost=_COST,
        ),
        Row("views-hidden", ("findings that this view hides",), _seen("hidden_"),
            _measured("views-two"), cost=Cost(0, _NONE)),
    ),
)  # fmt: skip

STUDY = Study(
    "an2018",
    "An, Shameer, Subramanian: Mammography Assessment using Multi-Scale Deep Classifiers, "
    "arXiv 1807.03095, 2018",
    {
        "ddsm": "DDSM's films, over 2600 cases with CC and MLO; crops of 2048 x 2048 pixels, left and "
        "right as independent",
    },
    (
        "CBIS-DDSM can stand in for DDSM and is said to; it has no normal exams",
        "table 1 says 256 positive and 256 negative patches, table 2 per cent of 256: half of which "
        "are positive, as TP and FN add to 50",
        "which annotations are very large is not said: here those over 25 mm, at every magnification; "
        "nor is the size of a patch: here 128 pixels",
        "training and test patches of one woman are not said to be apart in the paper; here they are",
        "intervals here are of patients drawn again; the paper gives none",
    ),
    (_TABLE1, _TABLE2, _TABLE3, _TEXT, _FIGURE3, _EQUATION, _BOTH, _VIEWS),
)
