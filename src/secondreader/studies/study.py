"""What a study is: a paper's tables as data, and what each row trains and evaluates here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from secondreader.domain import SecondReaderError

__all__ = ["Cell", "Cost", "Measure", "Recipe", "Row", "Study", "Table"]


@dataclass(frozen=True, slots=True)
class Measure:
    """Which of our figures stands beside a published number.

    Parameters
    ----------
    figure
        Its name in ``metrics.json``.
    level, hit_rule, group, label_rule
        Which of the figures of that name; empty takes the first, and no group. A group may hold ``*``
        (``vendor=*ge*``), as makers' names are written in many ways.
    reader
        Which of the recipe's `readers`.
    minus
        What it is compared with, ``rival`` or the row of one of several: the measure is then their
        paired difference.
    """

    figure: str
    level: str = ""
    hit_rule: str = ""
    group: str = ""
    reader: str = "plain"
    minus: str = ""
    label_rule: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """One published number.

    Parameters
    ----------
    printed
        As the paper prints it (``"36.70"``, ``"NA"``).
    percent
        Whether it is printed in per cent.
    measure
        Our figure beside it; ``None`` where nothing here measures the same.
    above
        Set where the paper claims no number but that a figure lies above this one.
    note
        What a reader must know of this number.
    """

    printed: str
    percent: bool = False
    measure: Measure | None = None
    above: float | None = None
    note: str = ""

    @property
    def value(self) -> float | None:
        """The number, per cent as a fraction; ``None`` where none is printed."""
        try:
            number = Decimal(self.printed.replace(",", ""))
        except ArithmeticError:
            return None
        return float(number / 100 if self.percent else number)

    @property
    def rounding(self) -> float:
        """Half a unit of the last digit printed, on the scale of `value`."""
        exponent = Decimal(self.printed.replace(",", "")).as_tuple().exponent
        unit = Decimal(1).scaleb(int(exponent))
        return float((unit / 100 if self.percent else unit) / 2)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a row costs to run, estimated until it was run."""

    gpu_hours: float
    words: str = ""
    cpu_minutes: float = 0.0  # of two cores

    def __str__(self) -> str:
        told = "no training" if self.gpu_hours == 0 else f"about {self.gpu_hours:g} GPU hours"
        if self.cpu_minutes:
            told = f"about {self.cpu_minutes:g} minutes on two cores"
        return f"{told} ({self.words})" if self.words else told


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to train and evaluate for one row.

    Parameters
    ----------
    method
        A package of ``methods``, or ``panel``: several models as one.
    preset, settings
        The method's preset, and settings that differ from it (``--set key=value``).
    data, split
        The data sets' names and the split that the paper used, as near as they can be had.
    start
        The row whose model training starts from; without training, the row whose model this is.
    members
        The rows whose models a panel is made of, after those of `boxed`.
    boxed
        Readers in the box that are on the panel.
    against
        The row, or the rows, whose models are evaluated beside this one, for a difference.
    readers
        The ways to read that are evaluated: ``plain``, ``flips`` (mean over four flips), …; their
        figures stand in this order in the metrics. With `against` the other model comes last.
    trains
        Whether there is anything to train.
    rates
        Further specificities to give sensitivities at, and the other way round.
    positions
        Whether the scores of every position are measured too.
    fitted
        Whether operating points and calibration are fitted to the model: what is only measured by
        its curves needs neither.
    reads
        Whether images are read: what a model measures of itself alone, such as of patches, needs no
        reading.
    choices
        Labelled choices of the data sets, ``NAME.CHOICE=VALUE``, such as what is malignant.
    presets
        Those that it makes sense by; all of them, if none is named.
    """

    method: str
    preset: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    data: tuple[str, ...] = ()
    split: str = ""
    start: str = ""
    members: tuple[str, ...] = ()
    boxed: tuple[str, ...] = ()
    against: str | tuple[str, ...] = ""
    readers: tuple[str, ...] = ("plain",)
    trains: bool = True
    rates: tuple[float, ...] = ()
    positions: bool = False
    fitted: bool = True
    reads: bool = True
    choices: tuple[str, ...] = ()
    presets: tuple[str, ...] = ()

    @property
    def rivals(self) -> tuple[str, ...]:
        """The rows that it is put against."""
        named = (self.against,) if isinstance(self.against, str) else self.against
        return tuple(key for key in named if key)

    def begins(self) -> tuple[str, ...]:
        """Return the rows whose models it is made from."""
        return tuple(k for k in (self.start, *self.members) if k)

    def needs(self) -> tuple[str, ...]:
        """Return the rows that have to be run before this one."""
        return (*self.begins(), *self.rivals)

    def why_not(self, built: Collection[str]) -> str:
        """Return why this cannot be run by its preset and the methods that are built, or nothing."""
        if self.presets and self.preset not in self.presets:
            return f"not by the preset {self.preset}"
        return "" if self.method in built else "method not built yet"

    def words(self) -> str:
        """Return what is trained, in a line."""
        parts = [f"{self.method}{f':{self.preset}' if self.preset else ''}"]
        parts += [f"{k}={v}" for k, v in self.settings.items()]
        parts += [f"from {self.start}"] if self.start else []
        panel = (*self.boxed, *self.members)
        parts += [f"of {' + '.join(panel)}"] if panel else []
        parts += [f"beside {' and '.join(self.rivals)}"] if self.rivals else []
        parts += [f"on {' + '.join(self.data)}, {self.split}"] if self.data else []
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table: its words, its numbers, and how to run it.

    ``key`` is unique within the study and names ``figures/STUDY/KEY.json``. A row without a recipe
    is a fact about the paper's data, which nothing is run for.
    """

    key: str
    words: tuple[str, ...]
    cells: Mapping[str, Cell]
    recipe: Recipe | None = None
    mandatory: bool = False
    cost: Cost = field(default_factory=lambda: Cost(0))
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a paper, or the numbers in its text.

    ``columns`` name the words of a row; the columns of numbers follow.
    """

    name: str
    caption: str
    columns: tuple[str, ...]
    numbers: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Study:
    """A paper's experiments.

    Parameters
    ----------
    name
        What ``secondreader reproduce`` calls it.
    paper
        Its reference.
    data
        The data sets used and what the paper says of them, by name.
    differs
        How every run here differs from the paper, said with every table.
    tables
        Its tables.
    elsewhere
        Whether it is run on other data than the paper's: then its numbers and ours are no test of
        each other.
    """

    name: str
    paper: str
    data: Mapping[str, str]
    differs: tuple[str, ...]
    tables: tuple[Table, ...]
    elsewhere: bool = False

    def on(self, data: tuple[str, ...], split: str = "official") -> Study:
        """Return the study with every row run on other data; it is called NAME@DATA.

        Parameters
        ----------
        data
            Names of data sets.
        split
            Of them.
        """

        def moved(recipe: Recipe | None) -> Recipe | None:
            return replace(recipe, data=data, split=split, choices=()) if recipe else None

        tables = tuple(
            replace(t, rows=tuple(replace(r, recipe=moved(r.recipe)) for r in t.rows))
            for t in self.tables
        )
        names = " + ".join(data)
        return replace(
            self,
            name=f"{self.name}@{names}",
            differs=(f"run on {names}, not on the paper's data: its numbers are no test of ours",
                     *self.differs),
            tables=tables,
            elsewhere=True,
        )  # fmt: skip

    def by(self, preset: str) -> Study:
        """Return the study with another preset in place of the rows' own; their settings stay."""

        def moved(recipe: Recipe | None) -> Recipe | None:
            return replace(recipe, preset=preset) if recipe and recipe.preset else recipe

        tables = tuple(
            replace(t, rows=tuple(replace(r, recipe=moved(r.recipe)) for r in t.rows))
            for t in self.tables
        )
        return replace(
            self, differs=(f"every row by the preset {preset}", *self.differs), tables=tables
        )

    def table(self, name: str) -> Table:
        """Return a table by name.

        Raises
        ------
        SecondReaderError
            If there is none of that name.
        """
        for table in self.tables:
            if table.name == name:
                return table
        names = ", ".join(t.name for t in self.tables)
        raise SecondReaderError(f"table: got {name!r}, expected one of {names}")

    def row(self, key: str) -> Row:
        """Return a row by its key.

        Raises
        ------
        SecondReaderError
            If there is none of that key.
        """
        for table in self.tables:
            for row in table.rows:
                if row.key == key:
                    return row
        raise SecondReaderError(f"row: got {key!r}, which {self.name} does not have")
