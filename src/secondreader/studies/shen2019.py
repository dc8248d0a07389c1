"""Shen et al. 2019: from patch classifiers to whole-image classifiers (the arXiv version's numbers)."""

from __future__ import annotations

from secondreader.studies.study import Cell, Cost, Measure, Recipe, Row, Study, Table

__all__ = ["STUDY"]

_PATCH_COST, _IMAGE_COST = (
    Cost(1, "estimated, one data-centre GPU"),
    Cost(2, "estimated, after its patches"),
)
_TUNE_COST = Cost(0.5, "estimated, after its DDSM model")
_ALL = "[512-512-1024]x2"
_BEST = ("table2-512-1024x2", "table2-256-128", "table3-256-128", "table3-512-1024x2")
_NAMES = ("resnet-resnet", "resnet-vgg", "vgg-vgg", "vgg-resnet")
_ARCHITECTURES = (
    f"resnet50 + {_ALL} + {_ALL}", "resnet50 + 256x1 + 128x1", "vgg16 + 256x1 + 128x1",
    f"vgg16 + {_ALL} + {_ALL}",
)  # fmt: skip


def _epochs(printed: str) -> Cell:
    return Cell(printed, note="the epoch of the best validation score; not a figure here")


# ------------------------------------------------------------------------------------- table 1

_PATCHES = (
    ("resnet50", "N", "S1", "0.97", "198"),
    ("resnet50", "Y", "S1", "0.99", "99"),
    ("resnet50", "N", "S10", "0.63", "24"),
    ("resnet50", "Y", "S10", "0.89", "39"),
    ("vgg16", "Y", "S10", "0.84", "25"),
)


def _patch_key(network: str, pretrained: str, patches: str) -> str:
    start = "imagenet" if pretrained == "Y" else "random"
    return f"table1-{network}-{start}-{patches.lower()}"


def _patch_row(network: str, pretrained: str, patches: str, accuracy: str, epochs: str) -> Row:
    settings = {
        "architecture": f"{network} + 256x1 + 128x1",
        "init": "imagenet" if pretrained == "Y" else "none",
        "patch_set": patches.lower(),
        "trains": "patch",
    }
    return Row(
        _patch_key(network, pretrained, patches),
        ("Resnet50" if network == "resnet50" else "VGG16", pretrained, patches),
        {
            "Accuracy": Cell(accuracy, measure=Measure("accuracy", "patch")),
            "#Epochs": _epochs(epochs),
        },
        Recipe("patch_to_image", "paper", settings, ("cbis_ddsm",), "patient-85-15"),
        mandatory=(network, pretrained, patches) == ("resnet50", "Y", "S10"),
        cost=_PATCH_COST,
    )


_TABLE1 = Table(
    "table1",
    "Test accuracy of the patch classifiers using the Resnet50 and VGG16. #Epochs indicates the "
    "epoch when the best validation accuracy has been reached",
    ("Model", "Pretrained", "Patch set"),
    ("Accuracy", "#Epochs"),
    tuple(_patch_row(*row) for row in _PATCHES),
)

# ------------------------------------------------------------------------------ tables 2 and 3


def _image_row(
    key: str, network: str, patches: str, words: tuple[str, ...], numbers: str, top: str
) -> Row:
    """Return a row of table 2 or 3; `numbers` are AUC, A-AUC and epochs."""
    auc, augmented, epochs = numbers.split()
    flips = Cell(augmented, note="not given") if augmented == "NA" else Cell(
        augmented, measure=Measure("auc", "image", reader="flips")
    )  # fmt: skip
    recipe = Recipe(
        "patch_to_image", "paper",
        {"architecture": f"{network} + {top}", "patch_set": patches.lower(), "trains": "top"},
        ("cbis_ddsm",), "patient-85-15", start=_patch_key(network, "Y", patches),
        readers=("plain", "flips"),
    )  # fmt: skip
    cells = {
        "AUC": Cell(auc, measure=Measure("auc", "image")),
        "A-AUC": flips,
        "#Epochs": _epochs(epochs),
    }
    return Row(key, (patches, *words), cells, recipe, key == "table2-256-128", _IMAGE_COST)


def _conv(key: str, network: str, one: str, two: str, numbers: str, patches: str = "S10") -> Row:
    return _image_row(key, network, patches, ("", one, two), numbers, f"{one} + {two}")


def _full(key: str, network: str, pool: str, one: str, two: str, numbers: str) -> Row:
    words = ("heatmap and FC layers on top, pool " + pool, one, two)
    pooled = f"pool{pool[0]} + " if pool != "1x1" else ""
    return _image_row(key, network, "S10", words, numbers, f"heatmap + {pooled}fc{one} + fc{two}")


_R, _V = "resnet50", "vgg16"
_WHOLE = ("Patch set", "Top", "Block1 or FC1", "Block2 or FC2")
_AUCS = ("AUC", "A-AUC", "#Epochs")
_FIRST = "[512-512-2048]x1"


def _heat(key: str, one: str, two: str, numbers: str) -> Row:
    words = ("heatmap between patch classifier and top layers", one, two)
    return _image_row(key, _R, "S10", words, numbers, f"heatmap + {one} + {two}")


_TABLE2 = Table(
    "table2",
    "Per-image test AUC scores of the whole image classifiers using the Resnet50 as patch "
    "classifiers. #Epochs indicates the epoch when the best validation score has been reached",
    _WHOLE,
    _AUCS,
    (
        _conv("table2-s1", _R, _FIRST, _FIRST, "0.63 NA 35", patches="S1"),
        _conv("table2-512-2048x1", _R, _FIRST, _FIRST, "0.85 0.87 20"),
        _conv("table2-512-1024x2", _R, _ALL, _ALL, "0.85 0.87 34"),
        _conv("table2-256x1-128x1", _R, "[256-256-256]x1", "[128-128-128]x1", "0.84 0.85 25"),
        _conv("table2-256x3-128x3", _R, "[256-256-256]x3", "[128-128-128]x3", "0.83 0.84 17"),
        _conv("table2-256-512x3", _R, "[256-256-512]x3", "[128-128-256]x3", "0.84 0.87 48"),
        _conv("table2-256-128", _R, "256x1", "128x1", "0.87 0.88 36"),
        _heat("table2-heatmap-512-1024x2", _ALL, _ALL, "0.80 NA 47"),
        _heat("table2-heatmap-64-256x2", "[64-64-256]x2", "[128-128-512]x2", "0.81 NA 41"),
        _full("table2-fc-5x5", _R, "5x5", "64", "32", "0.73 NA 28"),
        _full("table2-fc-2x2", _R, "2x2", "512", "256", "0.72 NA 47"),
        _full("table2-fc-1x1", _R, "1x1", "2048", "1024", "0.65 NA 43"),
    ),
)

_TABLE3 = Table(
    "table3",
    "Per-image test AUC scores of the whole image classifiers using the VGG16 as patch classifiers. "
    "#Epochs indicates the epoch when the best validation score has been reached",
    _WHOLE,
    _AUCS,
    (
        _conv("table3-512x3", _V, "512x3", "512x3", "0.81 0.82 91"),
        _conv("table3-512x1", _V, "512x1", "512x1", "0.83 0.86 98"),
        _conv("table3-256x3-128x3", _V, "256x3", "128x3", "0.83 0.85 51"),
        _conv("table3-256-128", _V, "256x1", "128x1", "0.85 0.86 61"),
        _conv("table3-128-64", _V, "128x1", "64x1", "0.84 0.85 142"),
        _conv("table3-512-1024x2", _V, _ALL, _ALL, "0.85 0.88 165"),
        _full("table3-fc-5x5", _V, "5x5", "64", "32", "0.71 NA 26"),
        _full("table3-fc-2x2", _V, "2x2", "512", "256", "0.68 NA 27"),
        _full("table3-fc-1x1", _V, "1x1", "2048", "1024", "0.69 NA 50"),
    ),
)

# ------------------------------------------------------------------------------------- table 4

_SIZES = (
    ("20", "79", "0.92 0.88 0.87 0.89"),
    ("30", "117", "0.93 0.94 0.93 0.90"),
    ("40", "159", "0.93 0.95 0.93 0.93"),
    ("50", "199", "0.94 0.95 0.94 0.93"),
    ("60", "239", "0.95 0.95 0.95 0.94"),
    ("72", "280", "0.95 0.95 0.95 0.95"),
)


def _tuned(patients: str, images: str, name: str, start: str, auc: str) -> Row:
    settings = {
        "trains": "tune",
        "architecture": dict(zip(_NAMES, _ARCHITECTURES, strict=True))[name],
    }
    if patients != "72":
        settings["patients"] = patients
    return Row(
        f"table4-{patients}-{name}",
        (patients + (" (All)" if patients == "72" else ""), images, name),
        {"AUC": Cell(auc, measure=Measure("auc", "image"))},
        Recipe("patch_to_image", "paper", settings, ("inbreast",), "patient-70-30", start=start),
        mandatory=(patients, name) == ("72", "resnet-vgg"),
        cost=_TUNE_COST,
    )


_TABLE4 = Table(
    "table4",
    "Transfer learning efficiency with different training set sizes. Shown are per-image validation "
    "AUCs. One row here is one number of the paper's: size by model",
    ("#Patients", "#Images", "Model"),
    ("AUC",),
    tuple(
        _tuned(patients, images, name, start, auc)
        for patients, images, aucs in _SIZES
        for name, start, auc in zip(_NAMES, _BEST, aucs.split(), strict=True)
    ),
)

# --------------------------------------------------------------------------- numbers in the text


def _pair(auc: str, sensitivity: str, specificity: str) -> dict[str, Cell]:
    at = float(specificity) / 100
    return {
        "AUC": Cell(auc, measure=Measure("auc", "image", reader="flips")),
        "Sensitivity": Cell(
            sensitivity, True, Measure(f"sensitivity_at_specificity_{at:g}", "image", reader="flips"),
            note=f"at the specificity of {specificity} % that the paper gives with it",
        ),
        "Specificity": Cell(specificity, True, note="given with the sensitivity; not measured alone"),
    }  # fmt: skip


def _panel(
    key: str, words: tuple[str, ...], members: tuple[str, ...], data: str, *numbers: str
) -> Row:
    split = "patient-85-15" if data == "cbis_ddsm" else "patient-70-30"
    rates = (float(numbers[2]) / 100,)
    recipe = Recipe("panel", "", {"flips": "true"}, (data,), split, members=members,
                    readers=("flips",), rates=rates)  # fmt: skip
    return Row(key, words, _pair(*numbers), recipe, cost=Cost(0, "after its four models"))


_FOREST = Recipe(
    "patch_to_image", "paper", {"architecture": "resnet50 + 256x1 + 128x1", "trains": "forest"},
    ("cbis_ddsm",), "patient-85-15", start=_patch_key("resnet50", "Y", "S10"),
)  # fmt: skip
_TUNED = tuple(f"table4-72-{name}" for name in _NAMES)

_TEXT = Table(
    "text",
    "Numbers in the text and the abstract",
    ("What", "Data"),
    ("AUC", "Sensitivity", "Specificity"),
    (
        _panel("text-ensemble-ddsm", ("four-model averaging, augmented", "DDSM"), _BEST,
               "cbis_ddsm", "0.91", "86.1", "80.1"),
        _panel("text-ensemble-inbreast", ("four-model averaging", "INbreast"), _TUNED,
               "inbreast", "0.98", "86.7", "96.1"),
        Row("text-two-step", ("random forest on regions of the binarised heatmap", "DDSM"),
            {"AUC": Cell("0.73", measure=Measure("auc", "image"))}, _FOREST, cost=_IMAGE_COST),
        Row("text-best-single-ddsm", ("best single model, augmented (tables 2 and 3)", "DDSM"),
            {"AUC": Cell("0.88", note="table 2's 256x1, 128x1 and table 3's [512-512-1024]x2")}),
        Row("text-best-single-inbreast", ("best single model (table 4)", "INbreast"),
            {"AUC": Cell("0.95", note="all four models of table 4's last row")}),
    ),
)  # fmt: skip

STUDY = Study(
    "shen2019",
    "Shen, Margolies, Rothstein, Fluder, McBride, Sieh: Deep Learning to Improve Breast Cancer Early "
    "Detection on Screening Mammography, arXiv 1708.09427; Scientific Reports 9, 2019",
    {
        "cbis_ddsm": "2478 images of 1249 women; 85:15 at patients, a tenth of the training patients "
        "for validation, stratified by cancer; 1903 training, 199 validation and 376 test images; "
        "images of 1152 x 896 pixels",
        "inbreast": "410 images of 115 patients, BI-RADS 1 and 2 negative, 4, 5 and 6 positive; 12 "
        "patients and 23 images of BI-RADS 3 left out; 70:30 at patients: 280 images of 72 women for "
        "training, 107 of 31 for validation, on which the numbers are given",
    },
    (
        "the paper's patients of each part are not in the text: our splits are seeded",
        "INbreast's numbers are of validation data in the paper; here of a part that chooses nothing",
        "intervals here are of patients drawn again; the paper gives none",
    ),
    (_TABLE1, _TABLE2, _TABLE3, _TABLE4, _TEXT),
)
