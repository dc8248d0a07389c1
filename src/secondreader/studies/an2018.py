"""An et al. 2018: tissue classifiers at several scales, and a heatmap regression they help."""

from __future__ import annotations

from secondreader.studies.study import Cell, Cost, Measure, Recipe, Row, Study, Table

__all__ = ["STUDY"]

_BY = "by the CPU preset, from a few of its steps; by the paper's about 3 GPU hours, estimated"
_NONE = "the model of the row it names"
_OURS = "ours: the paper prints no such number"
_OF = ("ddsm",)


def _cost(minutes: float) -> Cost:
    """Return what a training costs, hours of a GPU or minutes of two cores."""
    return Cost(3, _BY, minutes)


def _measured(start: str, *, reads: bool = False) -> Recipe:
    """Return a recipe that trains nothing: the model of another row, measured."""
    return Recipe(
        "tissue_heatmap", data=_OF, split="an2018", start=start, trains=False, reads=reads
    )


def _ours(figure: str, level: str, **more: str) -> Cell:
    return Cell("", measure=Measure(figure, level, **more), note=_OURS)


_SHARES = {
    "TP": "true_positive_share",
    "FP": "false_positive_share",
    "TN": "true_negative_share",
    "FN": "false_negative_share",
    "Total Error": "error",
}


_FACT = "how many; a fact about the data, not a figure"


def _split(key: str, stage: str, part: str, tissue: str, whole: str) -> Row:
    cells = {
        f"{what}, {sign}": Cell(text, measure=Measure(f"{sign}s", f"{part}_{of}"), note=_FACT)
        for what, of, pair in (
            ("Tissue Patches", "patch", tissue), ("Full Mammography (CC)", "image", whole),
        )
        for sign, text in zip(("positive", "negative"), pair.split(" / "), strict=True)
    }  # fmt: skip
    # What batches are drawn from in training and validation; what is measured in test.
    note = "ours of whole images: CC views whose label is malignant, and not"
    return Row(
        key, (stage,), cells, _measured("table2-x0.5"), cost=Cost(0, _NONE),
        note=note if part == "train" else "",
    )  # fmt: skip


_TABLE1 = Table(
    "table1",
    "Data split between stages of evaluation (findings positive / negative)",
    ("Stage",),
    ("Tissue Patches, positive", "Tissue Patches, negative",
     "Full Mammography (CC), positive", "Full Mammography (CC), negative"),
    (
        _split("table1-training", "Training", "train", "3038 / 311452", "1432 / 1984"),
        _split("table1-validation", "Validation", "validation", "32 / 32", "10 / 10"),
        _split("table1-testing", "Testing", "test", "256 / 256", "100 / 100"),
    ),
)  # fmt: skip


# As many millimetres, 17 to 18, at every magnification; the stride of 64 pixels stays.
_SCALES = {
    "0.5": {"spacing_mm": "0.09", "patch": "192"},
    "0.33": {"spacing_mm": "0.14", "patch": "128"},
    "0.25": {"spacing_mm": "0.19", "patch": "96"},
}
_COUNTS = {
    "patches with a finding": _ours("positives", "patch"),
    "patches without": _ours("negatives", "patch"),
    "women": _ours("patients", "patch"),
}


def _tissue(key: str, scale: str, printed: str, minutes: float, note: str = "") -> Row:
    cells = {
        column: Cell(text, True, Measure(_SHARES[column], "patch"))
        for column, text in zip(_SHARES, printed.split(), strict=True)
    }
    recipe = Recipe(
        "tissue_heatmap", "paper", {"trains": "tissue", **_SCALES[scale]}, _OF, "an2018",
        fitted=False,
    )  # fmt: skip
    return Row(
        key, (f"Tissue ×{scale}",), {**cells, **_COUNTS}, recipe, scale == "0.5", _cost(minutes),
        note,
    )  # fmt: skip


_TABLE2 = Table(
    "table2",
    "Breakdown of binary prediction on held-out tissue samples (percentage out of 256 reserved "
    "samples)",
    ("Model",),
    (*_SHARES, *_COUNTS),
    (
        _tissue("table2-x0.5", "0.5", "47.7 9.0 41.0 2.3 11.3", 25),
        _tissue("table2-x0.33", "0.33", "29.7 3.9 46.0 20.3 24.2", 10,
                "its four shares add to 99.9; no count of 256 rounds to 46.0"),
        _tissue("table2-x0.25", "0.25", "33.6 6.3 43.8 16.4 22.7", 8,
                "its four shares add to 100.1"),
    ),
)  # fmt: skip


_HELD = "ours is of test women: by validation women the weights were chosen"


def _heatmap(
    key: str, model: str, printed: tuple[str, str] = ("", ""), seed: int = 0, **settings: str
) -> Row:
    """Return a row of errors, and of errors in times of a map of zeros, which need no unit."""
    cells = {
        "Training": Cell(printed[0], measure=Measure("heatmap_mse", "training_image"),
                         note="" if printed[0] else _OURS),
        "Validation": Cell(printed[1], measure=Measure("heatmap_mse", "held_out_image"), note=_HELD),
        "Training, over zeros": _ours("heatmap_mse_over_zeros", "training_image"),
        "Validation, over zeros": _ours("heatmap_mse_over_zeros", "held_out_image"),
    }  # fmt: skip
    told = settings | _SCALES["0.5"] | ({"seed": str(seed)} if seed else {})
    # Only one model is shown as a reader: of the others no image is read, and none needs probabilities.
    shown = key == "both-local"
    recipe = Recipe(
        "tissue_heatmap",
        "paper",
        told,
        _OF,
        "an2018",
        start="table2-x0.5",
        fitted=shown,
        reads=shown,
    )
    words = f"{model}, seed {seed}" if seed else model
    return Row(
        key, (words,), cells, recipe, cost=_cost(12),
        note="" if seed else "the scale of the heatmaps is not stated: only the ratio of the two rows "
        f"can be compared. Validation: {_HELD}",
    )  # fmt: skip


_ERRORS = ("Training", "Validation", "Training, over zeros", "Validation, over zeros")
_LOCAL = "+ local results (×0.5)"
_TABLE3 = Table(
    "table3",
    "Mean-Squared Error between predicted and annotated regions with malignant findings at 256-pixel "
    "output resolution. Models are rows here, columns in the paper",
    ("Model",),
    _ERRORS,
    (
        _heatmap("table3-baseline", "Baseline", ("0.12", "6.48"), trains="baseline", views="cc"),
        _heatmap("table3-local", _LOCAL, ("2.25", "6.04"), trains="heatmap", views="cc"),
    ),
)
_SEEDS = Table(
    "seeds",
    "Ours: table 3 from other seeds, on the same classifier",
    ("Model",),
    _ERRORS,
    tuple(
        _heatmap(f"table3-{key}-seed-{seed}", words, seed=seed, trains=trains, views="cc")
        for seed in (1, 2)
        for key, words, trains in (
            ("baseline", "Baseline", "baseline"),
            ("local", _LOCAL, "heatmap"),
        )
    ),
)
_BOTH = Table(
    "both",
    "Ours: the same of both views",
    ("Model",),
    _ERRORS,
    (
        _heatmap("both-baseline", "Baseline", trains="baseline", views="both"),
        _heatmap("both-local", _LOCAL, trains="heatmap", views="both"),
    ),
)
_READING = Table(
    "reading",
    "Ours: both-local as a reader. Regions image by image, the detection's centre inside: of masses, "
    "distortions and asymmetries, so a place on a cluster counts as a false alarm; probabilities as "
    "they were fitted on calibration women",
    ("Model",),
    (
        "regions found at 1 false alarm an image", "regions found at 5 false alarms an image",
        "CPM of regions", "regions found at all", "AUC by image", "AUC by exam",
        "ECE by image", "calibration slope by image", "ECE by exam", "calibration slope by exam",
    ),
    (
        Row(
            "reading-both-local", ("+ local results (×0.5)",),
            {
                "regions found at 1 false alarm an image":
                    _ours("recall_at_1_fp_on_all", "region", hit_rule="centre_in_region"),
                "regions found at 5 false alarms an image":
                    _ours("recall_at_5_fp_on_all", "region", hit_rule="centre_in_region"),
                "CPM of regions": _ours("cpm_fp_on_all", "region", hit_rule="centre_in_region"),
                "regions found at all": _ours("recall", "region", hit_rule="centre_in_region"),
                "AUC by image": _ours("auc", "image"),
                "AUC by exam": _ours("auc", "exam"),
                "ECE by image": _ours("ece_equal_mass", "image"),
                "calibration slope by image": _ours("calibration_slope", "image"),
                "ECE by exam": _ours("ece_equal_mass", "exam"),
                "calibration slope by exam": _ours("calibration_slope", "exam"),
            },
            _measured("both-local", reads=True), cost=Cost(0, _NONE),
        ),
    ),
)  # fmt: skip


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


_PARTS = {
    "masses": "kind=mass",
    "clusters": "kind=cluster",
    "asymmetries and distortions": "kind=asymmetry or distortion",
    "findings under 10 mm": "size=under 10 mm",
    "findings of 10 mm and over": "size=10 mm and over",
    "fatty breasts (A, B)": "breast=fatty",
    "dense breasts (C, D)": "breast=dense",
}
_AREAS = {
    "AUC": _ours("auc", "patch"),
    **{f"AUC, {words}": _ours("auc", "patch", group=g) for words, g in _PARTS.items()},
}


def _area(key: str, scale: str) -> Row:
    return Row(
        key, (f"Tissue ×{scale}",), _AREAS, _measured(f"table2-x{scale}"), cost=Cost(0, _NONE)
    )


_FIGURE3 = Table(
    "figure3",
    "ROC on held-out data of tissue assessment task: the paper draws curves, ours stand in "
    "OUT/evaluations",
    ("Model",),
    tuple(_AREAS),
    tuple(_area(f"figure3-x{scale}", scale) for scale in _SCALES),
)
_BY_IMAGE = {
    "network, p(y|z; C)": _ours("auc_network", "image"),
    "plain maximum": _ours("auc_maximum", "image"),
    "network less maximum": _ours("auc_gain", "image"),
}
_ONE = "equation-one-view-x0.33"
_EQUATION = Table(
    "equation",
    "Ours: the equation of section 3 as a network of answers and their places, AUC by image",
    ("Model",),
    tuple(_BY_IMAGE),
    (
        Row("equation-one-view", ("one view, ×0.5",), _BY_IMAGE, _measured("table3-local"),
            cost=Cost(0, _NONE)),
        Row(
            _ONE, ("one view, ×0.33",), _BY_IMAGE,
            Recipe(
                "tissue_heatmap", "paper", {"trains": "heatmap", "views": "both", **_SCALES["0.33"]},
                _OF, "an2018", start="table2-x0.33", fitted=False, reads=False,
            ),
            cost=_cost(12),
        ),
        Row("equation-two-views", ("two views, ×0.33",), _BY_IMAGE, _measured("views-two"),
            cost=Cost(0, _NONE)),
    ),
)  # fmt: skip
_GAIN = {
    **{
        words: _ours(name, "patch")
        for words, name in {
            "AUC of patches, one view": "auc_one_view",
            "AUC of patches, two views": "auc_two_views",
            "AUC of patches, two views, paired by ids": "auc_two_views_by_ids",
            "two views less one": "auc_gain",
        }.items()
    },
    **{
        f"two views less one, {words}": _ours("auc_gain", "patch", group=group)
        for words, group in {
            **_PARTS,
            "the third that one view scores lowest": "one view=lowest third",
        }.items()
    },
    "findings that this view hides (how many)": _ours("hidden_findings", "patch"),
    "AUC by image, two views less one": _ours("auc", "image", minus="rival"),
    "AUC by exam, two views less one": _ours("auc", "exam", minus="rival"),
    "regions found at 1 false alarm an image, two views less one": _ours(
        "recall_at_1_fp_on_all", "region", hit_rule="centre_in_region", minus="rival"
    ),
}
_VIEWS = Table(
    "views",
    "Ours: section 4's next step, a place judged with the same place in the other view; patches that "
    "are seen in at least one of the views, then whole images beside the model of one view; at ×0.33, "
    "for the sake of time",
    ("Model",),
    tuple(_GAIN),
    (
        Row(
            "views-two",
            ("two views, ×0.33",),
            _GAIN,
            Recipe(
                "tissue_heatmap",
                "paper",
                {"two_views": "true", "views": "both", **_SCALES["0.33"]},
                _OF,
                "an2018",
                start="table2-x0.33",
                against=_ONE,
            ),
            cost=_cost(20),
            note="the third that one view scores lowest was chosen by its score: on it one view falls "
            "short by chance too. Of findings that this view hides there are too few for a figure",
        ),
    ),
)

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
        "nor is the size of a patch: here 17 to 18 mm at every magnification",
        "findings stand for positives: benign calcifications that lie alone are in neither class",
        "training and test patches of one woman are not said to be apart in the paper; here they are",
        "intervals here are of patients drawn again; the paper gives none",
    ),
    (
        _TABLE1,
        _TABLE2,
        _TABLE3,
        _TEXT,
        _FIGURE3,
        _SEEDS,
        _BOTH,
        _READING,
        _EQUATION,
        _VIEWS,
    ),
)
