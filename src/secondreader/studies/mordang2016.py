"""Mordang et al. 2016: hard-negative mining of CNNs against a cascade of Haar features.

We have the paper's abstract only, which gives no sensitivities: what it claims is that the CNN's
mean sensitivity is higher, and significantly so, for each maker's images. All other rows are ours.
"""

from __future__ import annotations

from secondreader.studies.study import Cell, Cost, Measure, Recipe, Row, Study, Table

__all__ = ["STUDY"]

_HOME = ("in-house",)
_LINEAR, _RARE = "mean_sensitivity_fpf_0_0.1", "mean_sensitivity_log_fpf_1e-6_0.1"
_ABOVE = "curve_above_log_fpf_1e-6_1"
_AXES = {"0 to 0.1": _LINEAR, "1e-6 to 0.1, logarithmic": _RARE, "whole range, area": "auc"}
_MAKERS = {
    "all": "",
    "Hologic": "vendor=*hologic*",
    "GE": "vendor=*ge*",
    "Siemens": "vendor=*siemens*",
}
# Our own claims: a detection takes one calcification at most.
_FROC = {
    f"{what} found at {rate} false alarm{'s' * (rate > 1)} an image, {images}": (
        f"recall_at_{rate}_fp_on_{on}",
        rule,
    )
    for what, rule, rates in (
        ("calcifications", "one_to_one", (1, 10)),
        ("clusters", "cluster", (1,)),
    )
    for rate in rates
    for images, on in (("all images", "all"), ("images without", "normal"))
}
_BRIEF = ("1e-6 to 0.1, logarithmic",), ("clusters found at 1 false alarm an image, all images",)
_OURS = "ours: the paper prints no such number"
_CURVE = "1 is a curve above the other's at every false-positive fraction from 1e-6 to 1, as the paper says"
# Of each of some three thousand images nine thousand positions are left: fewer of each are mined, and all
# images give the cascade negatives, for few of so few pass its last nodes. A rival whose nodes are cut
# short would make networks look better than they are.
_LONGER = {"cascade.stumps": "1500", "cascade.nodes": "6"}
# At scale each throws less away than the one before, the fourth hardly more than a tenth.
_LONGER_AT_SCALE = _LONGER | {"cascade.nodes": "4"}
_SCALE = {
    "negatives": "27000000", "tested": "18000000", "mined": "100", "mined_images": "3000",
    "cascade.images": "3000", "cascade.negatives": "1000000", "validation_negatives": "200000",
}  # fmt: skip
# Read as products too, so that operating points and probabilities are fitted to them.
_FITTED = ("cnn", "film-cnn", "film-cascade")


def _minutes(minutes: float) -> Cost:
    return Cost(2, "estimated, two cores, by the preset cpu", cpu_minutes=minutes)


def _cells(
    makers: tuple[str, ...],
    rivals: dict[str, str],
    claimed: tuple[str, ...] = (),
    axes: tuple[str, ...] = tuple(_AXES),
    froc: tuple[str, ...] = tuple(_FROC),
) -> dict[str, Cell]:
    """Return the cells of a row: its own figures for each maker, then what it is ahead of others by.

    ``rivals`` are rows in words: the first is compared for each maker, others for all; of `claimed`
    makers the paper claims that the first is beaten on the linear axis. ``axes`` and ``froc`` name
    the figures.
    """
    cells: dict[str, Cell] = {}
    for maker in makers:
        for axis in axes:
            measure = Measure(_AXES[axis], "position", group=_MAKERS[maker])
            cells[f"{maker}, {axis}"] = Cell("", measure=measure, note=_OURS)
    for key, words in rivals.items():
        main = key == next(iter(rivals))
        for maker in makers if main and axes == tuple(_AXES) else ():
            measure = Measure(_ABOVE, "position", group=_MAKERS[maker], minus=key)
            cells[f"{maker}, share of the curve above less share below: {words}"] = Cell(
                "", measure=measure, note=_CURVE
            )
        for maker in makers if main else ("all",):
            for axis in axes:
                measure = Measure(_AXES[axis], "position", group=_MAKERS[maker], minus=key)
                claim = main and axis == "0 to 0.1" and maker in claimed
                cells[f"{maker}, {axis}: above {words}"] = (
                    Cell("above 0, significantly", measure=measure, above=0.0)
                    if claim
                    else Cell("", measure=measure, note=_OURS)
                )
    for name in froc:
        figure, rule = _FROC[name]
        cells[name] = Cell("", measure=Measure(figure, "region", rule), note=_OURS)
        # Readers are compared on all images only.
        for key, words in rivals.items() if figure.endswith("_all") else ():
            measure = Measure(figure, "region", rule, minus=key)
            cells[f"{name}: above {words}"] = Cell("", measure=measure, note=_OURS)
    return cells


def _row(
    key: str,
    words: str,
    settings: dict[str, str] | None = None,
    rivals: dict[str, str] | None = None,
    *,
    makers: tuple[str, ...] = tuple(_MAKERS),
    claimed: tuple[str, ...] = (),
    brief: bool = False,
    minutes: float = 30,
    note: str = "",
) -> Row:
    recipe = Recipe(
        "mined_cnn", "paper", settings or {}, _HOME, "official", against=tuple(rivals or ()),
        positions=True, fitted=key in _FITTED,
    )  # fmt: skip
    least = dict(zip(("axes", "froc"), _BRIEF, strict=True)) if brief else {}
    cells = _cells(makers, rivals or {}, claimed, **least)
    return Row(key, (words,), cells, recipe, bool(claimed), _minutes(minutes), note)


def _methods(
    name: str,
    prefix: str,
    settings: dict[str, str],
    makers: tuple[str, ...],
    claimed: tuple[str, ...],
    minutes: float,
    *,
    random: bool = False,
    cascade: dict[str, str] | None = None,
) -> tuple[Row, ...]:
    """Return the cascade, the first network alone, and both networks beside them.

    With `random` also two networks of which the second learns from random negatives: what mining does
    is what both networks are ahead of those by.
    """
    rivals = {f"{prefix}cascade": "the cascade", f"{prefix}first": "the first network alone"}
    rows = [
        _row(f"{prefix}cascade", f"cascade{name}", {"detector": "cascade", **settings, **(cascade or {})},
             makers=makers, minutes=minutes, note="Bria 2014, what the paper compares with"),
        _row(f"{prefix}first", f"first network alone{name}", {"detector": "first", **settings},
             makers=makers, minutes=minutes, note="trained on random negatives only"),
    ]  # fmt: skip
    if random:
        rivals[f"{prefix}cnn-random"] = "both, nothing mined"
        rows.append(
            _row(f"{prefix}cnn-random", f"both networks, nothing mined{name}",
                 {"second_learns": "random", **settings}, makers=makers, minutes=minutes,
                 note="as much training as both networks have, on random negatives only")
        )  # fmt: skip
    both = _row(f"{prefix}cnn", f"both networks{name}", settings, rivals, makers=makers,
                claimed=claimed, minutes=minutes)  # fmt: skip
    return (*rows, both)


def _table(name: str, caption: str, rows: tuple[Row, ...]) -> Table:
    numbers = tuple(dict.fromkeys(column for row in rows for column in row.cells))
    return Table(name, caption, ("method",), numbers, rows)


_EACH = ("Hologic", "GE", "Siemens")
_COMPARISON = _table(
    "comparison",
    "Mean sensitivity over positions by false-positive fraction, maker by maker; detections per image",
    _methods("", "", {}, tuple(_MAKERS), _EACH, 30, random=True),
)
_ONE = _table(
    "one-maker",
    "Ours: both networks and the cascade, learnt from one maker's images and tried on every maker's",
    tuple(
        _row(f"{method}-{maker.lower()}", f"{words}, learnt from {maker} only",
             {**settings, "makers": f'["{maker.lower()}"]'}, {method: "what learnt from all"}, brief=True,
             note="one maker is a third of the images too: less to learn from, and of one sort")
        for method, words, settings in (("cnn", "both networks", {}),
                                        ("cascade", "cascade", {"detector": "cascade"}))
        for maker in _EACH
    ),
)  # fmt: skip
_CHOICES = _table(
    "choices",
    "Ours: noise as it comes, a second round of mining, the hardest apart, AdaBoost's loss, longer nodes",
    (
        _row("cnn-plain", "both networks, noise not evened out", {"stabilise": "false"},
             {"cnn": "the usual"}, brief=True),
        _row("cascade-plain", "cascade, noise not evened out",
             {"stabilise": "false", "detector": "cascade"}, {"cascade": "the usual"}, brief=True),
        _row("cnn-two-rounds", "both networks, mined twice", {"rounds": "2"},
             {"cnn": "the usual"}, brief=True, minutes=45),
        _row("cnn-apart", "both networks, the hardest 0.4 mm apart", {"mined_apart_mm": "0.4"},
             {"cnn": "the usual"}, brief=True),
        _row("cascade-exponential", "cascade, AdaBoost's loss",
             {"detector": "cascade", "cascade.loss": "exponential"}, {"cascade": "the usual"}, brief=True),
        _row("cascade-longer", "cascade, six nodes of up to 1,500 stumps",
             {"detector": "cascade", **_LONGER},
             {"cascade": "the usual", "cnn": "both networks"}, brief=True, minutes=60),
    ),
)  # fmt: skip
_FILM = _table("film", "Ours: film", _methods(", film", "film-", {}, ("all",), (), 20))
_AT_SCALE = _table(
    "scale",
    "The paper's scale: 27 million negatives in training, 18 million in test, on `mordang-1`",
    _methods(", at scale", "scale-", _SCALE, tuple(_MAKERS), _EACH, 90, cascade=_LONGER_AT_SCALE),
)


def _count(key: str, words: str, printed: str) -> Row:
    return Row(
        key, (words,), {"Positions": Cell(printed, note="a fact about the data, not a figure")}
    )


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
        "in-house": "images of Hologic, GE and Siemens systems, which are not public; 11,711 positive "
        "and 27 million negative positions in training, 5,298 and 18 million in test",
    },
    (
        "we have the abstract only, which claims a higher mean sensitivity 'in the specificity range "
        "of 0 to 0.1' (a false-positive fraction of 0 to 0.1 is meant) and prints no sensitivity",
        "'over the whole specificity range, the CNN approach yielded a higher sensitivity' is a claim "
        "about a curve: beside the ROC plots of the run, one for each maker, stands the share of the "
        "false-positive fractions (1e-6 to 1, logarithmic) at which one curve lies above, less that at "
        "which it lies below",
        "the paper claims significance for each maker, not for all together: those figures are ours",
        "the cascade is Bria et al. 2014",
        "calcifications that are benign at sight, which nearly half of the phantom's women have, are "
        "negatives here: some in ten thousand, they fill the lower half of the logarithmic axis, where "
        "a detector is asked what a calcification means, not whether there is one; on film dust and "
        "scratches do",
        "p-values are of one comparison each, not corrected for how many there are",
    ),
    (_COMPARISON, _ONE, _CHOICES, _FILM, _AT_SCALE, _TEXT),
)  # fmt: skip
