"""Our own figures of the readers in the box, and the recipe that makes them; there is no paper to be beside.

The mandatory rows in order are the recipe: what is trained on phantoms of systems drawn at random, each
step resumed where it was stopped, then measured on phantoms seen through named systems and on films.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from secondreader.studies.study import Cell, Cost, Measure, Recipe, Row, Study, Table

__all__ = ["MEMBERS", "STUDY"]

MEMBERS = ("calcifications", "calcifications-film", "masses")
"""The rows whose models are on the panel, which is the row ``default``; all four come in the box.

The image classifier is left out: on calibration patients it is at chance. The others are averaged: of calibration patients, each told by the others, weights say less.
"""
_NONE = "our own figure: nothing is published"
_LOOKED = "films looked at in development, never 'unseen'"
_FOLDS = 5


def _cell(figure: str, level: str = "region", hit_rule: str = "", **more: str) -> Cell:
    return Cell("", measure=Measure(figure, level, hit_rule, **more), note=_NONE)


# ------------------------------------------------------------------------ what is trained

# Grey values are varied further than the papers do: what a window leaves of them is not known.
_GREY = {"augment.shift": "0.05", "augment.gain": "0.2"}
_REGIONS = '["mass","architectural_distortion","asymmetry"]'
_TRAINED: Mapping[str, tuple[str, Recipe, Cost]] = {
    "calcifications": (
        "calcifications at 0.1 mm, for pixels of up to 0.15 mm",
        Recipe("anomaly_cascade", "cpu", {**_GREY, "coarsest_mm": "0.15"}),
        Cost(0, "makes the images too", 60),
    ),
    "calcifications-mined": (
        "the same by two networks and hard negatives",
        Recipe("mined_cnn", "cpu", {"augment.gain": "0.2", "coarsest_mm": "0.15"}),
        Cost(0, "in steps that save", 10),
    ),
    "calcifications-film": (
        "calcifications at 0.2 mm",
        Recipe("anomaly_cascade", "film", _GREY),
        Cost(0, "in steps that save", 30),
    ),
    "masses": (
        "masses, distortions, asymmetries as regions",
        Recipe("second_look", "cpu", {**_GREY, "kinds": _REGIONS, "regions.steps": "3000"}),
        Cost(0, "in steps that save", 60),
    ),
    "masses-tissue": (
        "the same by a tissue classifier and its heatmap",
        Recipe("tissue_heatmap", "cpu", _GREY),
        Cost(0, "in steps that save", 55),
    ),
    "image": (
        "the whole image from patches",
        Recipe("patch_to_image", "cpu", {"init": "none"}),
        Cost(0, "in steps that save", 35),
    ),
}
_FINE = ("calcifications", "calcifications-mined")
"""Of these rows no model reads films of 0.2 mm."""


def _on(recipe: Recipe, data: str, split: str, **more: object) -> Recipe:
    told = {
        name: getattr(recipe, name)
        for name in ("method", "preset", "settings", "members", "fitted")
    }
    return Recipe(**{**told, "data": (data,), "split": split, **more})


def _panel(combine: str, members: Sequence[str]) -> Recipe:
    settings = {"combine": combine, "absent": "leave out"}
    return Recipe("panel", settings=settings, members=tuple(members))


def _same(row: str, data: str, split: str, *against: str) -> Recipe:
    """Return a recipe that measures the model of another row."""
    return Recipe("panel" if row.startswith("default") else _TRAINED[row][1].method,
                  data=(data,), split=split, start=row, against=against, trains=False)  # fmt: skip


_CLUSTERS, _MASSES = "Clusters, mean 1/8 to 8 FP", "Masses, mean 1/8 to 8 FP"
_NUMBERS = {
    "AUC by image": _cell("auc", "image"),
    "AUC by breast": _cell("auc", "breast"),
    "AUC by exam": _cell("auc", "exam"),
    _CLUSTERS: _cell("mean_recall_0.125_8_fp_on_normal", "region", "cluster"),
    _MASSES: _cell("mean_recall_0.125_8_fp_on_normal", "region", "centre_in_region"),
}
_ON_FILMS = {
    **{name: cell for name, cell in _NUMBERS.items() if name.startswith("AUC")},
    "AUC by image, abnormal": _cell("auc", "image", label_rule="abnormal"),
    **{name: cell for name, cell in _NUMBERS.items() if not name.startswith("AUC")},
}


def _of(key: str, cells: Mapping[str, Cell]) -> Mapping[str, Cell]:
    """Return the figures that a reader can have: none of what it never looks for."""
    of = {"spot": _MASSES, "calcifications": _MASSES, "masses": _CLUSTERS, "image": _CLUSTERS}
    never = of.get(key.split("-")[0])
    # The tissue classifier is one of masses by its use here, and marks calcifications too.
    return {n: c for n, c in cells.items() if n != never or key == "masses-tissue"}


_SPOTS_ALONE = Recipe("spot_filter", trains=False)
_NOTHING = Cost(0, "another row's model")


def _row(key: str, words: str, recipe: Recipe, cost: Cost, cells: Mapping[str, Cell] = _NUMBERS,
         *, mandatory: bool = True, note: str = "") -> Row:  # fmt: skip
    return Row(key, (words,), cells, recipe, mandatory=mandatory, cost=cost, note=note)


_BOX = Table(
    "box",
    "What comes in the box, trained on phantoms of systems drawn at random; figures on phantoms seen "
    "through the named systems, which no training saw",
    ("Reader",),
    tuple(_NUMBERS),
    (
        _row("spot-filter-drawn", "spot filter, not trained",
             _on(_SPOTS_ALONE, "phantom", "official", trains=False), _NOTHING, _of("spot", _NUMBERS)),
        *(
            _row(key, words, _on(recipe, "phantom", "official"), cost, _of(key, _NUMBERS))
            for key, (words, recipe, cost) in _TRAINED.items()
        ),
        _row("default-stack", "panel of three, weighed on calibration patients",
             _on(_panel("stack", MEMBERS), "phantom", "official"),
             Cost(0, "takes what its members said", 5)),
        _row("default", "panel of three, plain averaging",
             _on(_panel("even", MEMBERS), "phantom", "official"),
             Cost(0, "takes what its members said", 10)),
    ),
)  # fmt: skip

# ------------------------------------------------------------------------ what it adds, by system, on films

_RIVALS = ("default-stack", *MEMBERS)


def _added(data: str, split: str, key: str) -> Row:
    films = data == "mini_mias"
    rivals = tuple(rival for rival in _RIVALS if not (films and rival in _FINE))
    cells = {
        f"{level} over {rival}": _cell("auc", level, minus=rival)
        for level in ("image", "breast", "exam")
        for rival in rivals
    }
    recipe = _same("default", data, split, *rivals)
    note = _LOOKED if films else ""
    return _row(key, data, recipe, _NOTHING, cells, note=note)


_ADDED = Table(
    "added",
    "How far the area of the panel lies above that of one weighed on calibration patients, and above each "
    "member, paired",
    ("Data",),
    tuple(f"{level} over {rival}" for level in ("image", "breast", "exam") for rival in _RIVALS),
    (
        _added("phantom", "official", "added-phantom"),
        _added("mini_mias", "all", "added-mini-mias"),
    ),
)

_SYSTEMS = {"hologic": "hologic*", "ge": "ge*", "siemens": "siemens*", "film, 0.2 mm": "film-like 200*",
            "film, 0.05 mm": "film-like 50*"}  # fmt: skip
_BY_SYSTEM = {
    f"{words}: {name}": _cell(figure, level, rule, group=f"vendor={pattern}")
    for name, pattern in _SYSTEMS.items()
    for words, figure, level, rule in (
        ("AUC", "auc", "image", ""),
        ("clusters", "mean_recall_0.125_8_fp_on_normal", "region", "cluster"),
    )
}
_VENDORS = Table(
    "vendors",
    "By the system that a phantom is seen through",
    ("Reader",),
    tuple(_BY_SYSTEM),
    tuple(
        _row(
            f"vendors-{key}",
            key,
            _same(key, "phantom", "official"),
            _NOTHING,
            {
                name: cell
                for name, cell in _BY_SYSTEM.items()
                if not (name.startswith("clusters") and key == "masses")
            },
        )
        for key in (*MEMBERS, "default")
    ),
)

_FILMS = Table(
    "films",
    "Real films of mini-MIAS; nothing was trained on them, but they were looked at in development; the "
    "area is of malignant against the rest, and of abnormal against normal",
    ("Reader",),
    tuple(_ON_FILMS),
    (
        _row("films-spot-filter", "spot filter, not trained",
             _on(_SPOTS_ALONE, "mini_mias", "all", trains=False), _NOTHING, _of("spot", _ON_FILMS),
             note=_LOOKED),
        *(
            _row(f"films-{key}", key, _same(key, "mini_mias", "all"), _NOTHING, _of(key, _ON_FILMS),
                 note=_LOOKED)
            for key in (*(k for k in _TRAINED if k not in _FINE), "default-stack", "default")
        ),
    ),
)  # fmt: skip

# ------------------------------------------------------------------------ also trained on real films

# Whoever has films begins with the box. Films mark clusters as circles and no calcification: their finder stays
# as phantoms made it. Two or three cancers of a fold's validation part choose nothing: the last weights are taken.
_TUNED = {
    "init": "masses",
    "regions.steps": "400",
    "regions.learning_rate": "0.001",
    "regions.validate_every": "400",
}


def _tuned(fold: int) -> tuple[Row, ...]:
    split = f"mini_mias-5fold:{fold}"
    words, masses, _ = _TRAINED["masses"]
    told = _on(masses, "mini_mias", split, settings={**masses.settings, **_TUNED})
    found = f"women-{fold}-masses"
    even = {"combine": "even", "absent": "leave out"}
    panel = Recipe("panel", settings=even, data=("mini_mias",), split=split,
                   boxed=("calcifications-film",), members=(found,))  # fmt: skip
    return (
        _row(found, f"fold {fold}: {words}", told, Cost(0, "in steps that save", 15),
             _of("masses", _NUMBERS), mandatory=False, note=_LOOKED),
        _row(f"women-{fold}", f"fold {fold}: panel, plain averaging", panel,
             Cost(0, "takes what its members said", 2), mandatory=False, note=_LOOKED),
    )  # fmt: skip


_WOMEN = Table(
    "women",
    "What is in the box, trained on with the other folds of mini-MIAS. Its licence is for research only: "
    "this is a recipe, and its weights are not in the box",
    ("Reader",),
    tuple(_NUMBERS),
    tuple(row for fold in range(_FOLDS) for row in _tuned(fold)),
)

# ------------------------------------------------------------------------ the reader without weights


def _spots(key: str, data: str, words: str, note: str) -> Row:
    cells = {
        "Clusters found": _cell("sensitivity_at_*", hit_rule="cluster"),
        "FP/image, normal images": _cell("fpi_at_*_on_normal", hit_rule="cluster"),
        "Mean sensitivity, 1/8 to 8 FP/image": _cell(
            "mean_recall_0.125_8_fp_on_normal", hit_rule="cluster"
        ),
        "AUC by breast": _cell("auc", "breast", ""),
    }
    recipe = Recipe("spot_filter", data=(data,), split="all", trains=False)
    mandatory = data != "phantom"  # of a set that others train on it would read every part
    return _row(
        key, words, recipe, Cost(0, "minutes on a CPU"), cells, mandatory=mandatory, note=note
    )


_SPOTS = Table(
    "spot_filter",
    "The spot filter, which is not trained, at its default operating point; false positives counted "
    "on images without a cluster",
    ("Data",),
    ("Clusters found", "FP/image, normal images", "Mean sensitivity, 1/8 to 8 FP/image",
     "AUC by breast"),
    (
        _spots("spot-filter-mini-mias", "mini_mias", "mini-MIAS", _LOOKED),
        _spots("spot-filter-phantom", "phantom", "phantom exams",
               "synthetic exams with known truth"),
    ),
)  # fmt: skip

STUDY = Study(
    "default",
    "Readers in the box of this program",
    {
        "mini_mias": "films of the mini-MIAS database, 200 µm, truth as circles",
        "phantom": "phantom=default-5 makes what comes in the box; or exams that `secondreader "
        "phantom` wrote",
    },
    (),
    (_BOX, _ADDED, _VENDORS, _FILMS, _WOMEN, _SPOTS),
    elsewhere=True,
)
