"""The catalogue: families, their variants, each variant's operating point and where every figure comes from.

The file is YAML; `tradewind catalogue schema` prints its JSON Schema. Figures are `{value, provenance, ...}`.
"""

from collections.abc import Sequence
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tradewind.errors import InvalidInput, NotFound
from tradewind.readings import check_zone
from tradewind.units import energy_uj_from_mj

Name = Annotated[str, Field(min_length=1, max_length=1024)]


class Provenance(StrEnum):
    """Where a figure comes from: measured here, published elsewhere, or estimated."""

    MEASURED = "measured"
    PUBLISHED = "published"
    ESTIMATED = "estimated"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Figure(_Strict):
    """One number with its provenance. The unit is in the name of the field that holds it."""

    value: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    provenance: Provenance
    source: str = ""
    """The paper, the meter or the method, in a few words."""
    hardware: str = ""
    method: str = ""
    """How it was taken: batch, runtime, driver, repeats."""
    interval_95: tuple[float, float] | None = None
    samples: Annotated[int, Field(ge=1)] | None = None
    cv: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Coefficient of variation of the samples: standard deviation / mean, as a ratio."""
    meter: str = ""
    driver: str = ""
    runtime: str = ""
    batch: Annotated[int, Field(ge=1)] | None = None
    date: str = ""


class EnergyFigure(Figure):
    """Device energy per inference in mJ: more than zero; the share above idle is kept beside it."""

    value: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    above_idle: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class Variant(_Strict):
    """A concrete Triton model (and version) with an operating point."""

    model: Name | None = None
    """Triton's name of the model; the variant's own name unless said otherwise."""
    model_version: str = ""
    """Empty: Triton's version policy chooses."""
    energy_mj: EnergyFigure
    energy_by_batch_mj: dict[Annotated[int, Field(ge=1)], EnergyFigure] = {}
    """Energy per inference at other batch sizes; a batch of n is charged by the nearest profiled size."""
    error: Figure
    p95_latency_ms: Figure | None = None


class PolicyWord(_Strict):
    """Which policy decides, by the word that settings use, with its options."""

    name: Name
    options: dict[Name, str | int | float] = {}

    @property
    def texts(self) -> dict[str, str]:
        """The options as every policy takes them."""
        return {key: str(value) for key, value in self.options.items()}


class FamilyPolicy(PolicyWord):
    """A family's own policy, and that of zones where another one decides."""

    zones: dict[str, PolicyWord] = {}

    @field_validator("zones")
    @classmethod
    def _zones_are_names(cls, zones: dict[str, PolicyWord]) -> dict[str, PolicyWord]:
        try:
            return {check_zone(zone): word for zone, word in zones.items()}
        except InvalidInput as error:
            raise ValueError(str(error)) from error


class Family(_Strict):
    """A virtual model: what clients ask for. `pool` names the variants that may answer."""

    error_metric: Name
    pool: Annotated[list[Name], Field(min_length=1)]
    fallback: Name | None = None
    """Serves when nothing was ever decided; the permitted variant of least energy unless said otherwise."""
    policy: FamilyPolicy | None = None
    """What decides for this family; the selector's settings say it where there is none."""
    variants: Annotated[dict[Name, Variant], Field(min_length=1)]
    notes: str = ""

    @model_validator(mode="after")
    def _names_agree(self) -> "Family":
        repeated = sorted({name for name in self.pool if self.pool.count(name) > 1})
        if repeated:
            raise ValueError(f"pool names {', '.join(repeated)} twice: name each variant once")
        unknown = [name for name in [*self.pool, self.fallback] if name is not None and name not in self.variants]
        if unknown:
            raise ValueError(
                f"{', '.join(unknown)} is in pool or fallback but not among the variants: describe it there"
            )
        if self.fallback is not None and self.fallback not in self.pool:
            raise ValueError(f"fallback {self.fallback} is not in the pool: permit it or choose another")
        models: dict[tuple[str, str], str] = {}
        for name, variant in self.variants.items():
            served = (variant.model or name, variant.model_version)
            if served in models:
                raise ValueError(
                    f"variants {models[served]} and {name} are the same Triton model {served[0]}: keep one"
                )
            models[served] = name
        return self

    @cached_property
    def permitted(self) -> tuple["OperatingPoint", ...]:
        """The pool in order of energy, then of name."""
        points = (operating_point(name, self.variants[name]) for name in self.pool)
        return tuple(sorted(points, key=lambda point: (point.energy_mj, point.variant)))

    @property
    def fallback_variant(self) -> str:
        """The variant that serves when nothing was ever decided."""
        return self.fallback or self.permitted[0].variant

    @property
    def dominated(self) -> tuple[tuple[str, str], ...]:
        """Pairs (dominated, dominating) within the pool: no less energy and no less error, and worse in one."""
        pairs = []
        for worse in self.permitted:
            for better in self.permitted:
                no_better = worse.energy_mj >= better.energy_mj and worse.error >= better.error
                if no_better and (worse.energy_mj, worse.error) != (better.energy_mj, better.error):
                    pairs.append((worse.variant, better.variant))
                    break
        return tuple(pairs)


class OperatingPoint(_Strict):
    """What a policy knows of a variant."""

    variant: str
    energy_mj: float
    error: float
    p95_latency_ms: float | None = None


class Catalogue(_Strict):
    """Every family, checked: names agree and no family is called like a Triton model of another variant."""

    version: Annotated[int, Field(ge=1, le=1)] = 1
    families: Annotated[dict[Name, Family], Field(min_length=1)]

    @field_validator("families")
    @classmethod
    def _no_family_is_a_model(cls, families: dict[str, Family]) -> dict[str, Family]:
        for family in families.values():
            for name, variant in family.variants.items():
                if (variant.model or name) in families:
                    raise ValueError(
                        f"{variant.model or name} is both a family and the Triton model of variant {name}: "
                        f"rename the family"
                    )
        return families

    def family(self, name: str) -> Family:
        """The family of that name; NotFound lists those there are."""
        if name not in self.families:
            raise NotFound(f"family {name[:80]!r} is not in the catalogue: it has {', '.join(sorted(self.families))}")
        return self.families[name]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about pools that are valid but unwise."""
        return tuple(
            f"family {name}: {worse} is dominated by {better} (no less energy and no less error), "
            f"so serving it only costs: take it out of the pool"
            for name, family in sorted(self.families.items())
            for worse, better in family.dominated
        )


def operating_point(name: str, variant: Variant) -> OperatingPoint:
    """What a policy knows of a variant: its energy, error and p95 latency."""
    return OperatingPoint(
        variant=name,
        energy_mj=variant.energy_mj.value,
        error=variant.error.value,
        p95_latency_ms=variant.p95_latency_ms.value if variant.p95_latency_ms else None,
    )


def energy_of_batch_uj(variant: Variant, batch: int) -> int:
    """Energy in µJ of one request with `batch` inferences: n times the figure of the nearest profiled batch size.

    Of two sizes equally near the smaller is taken.
    """
    sizes = {1: variant.energy_mj, **variant.energy_by_batch_mj}
    nearest = min(sizes, key=lambda size: (abs(size - batch), size))
    return energy_uj_from_mj(sizes[nearest].value * batch)


def load_catalogue(path: Path) -> Catalogue:
    """The catalogue of a YAML file; InvalidInput names the file, the field and what to do."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"catalogue {path}: cannot be read as a text file; give the path of a YAML file") from error
    try:
        return parse_catalogue(text)
    except InvalidInput as error:
        raise InvalidInput(f"catalogue {path}: {error}") from error


SHIPPED = Path(__file__).parent / "catalogues"
"""The catalogues that come with Tradewind."""


def catalogue_files(path: Path | None) -> Sequence[Path]:
    """The file itself, or the YAML files of a folder; those shipped when no path is given."""
    folder = SHIPPED if path is None else path
    return sorted(folder.glob("*.yaml")) if folder.is_dir() else [folder]


def find_catalogue(path: Path | None) -> Catalogue:
    """The catalogue of a file, or of every YAML file of a folder; the shipped ones when no path is given."""
    folder, files = SHIPPED if path is None else path, catalogue_files(path)
    if not folder.is_dir():
        return load_catalogue(folder)
    if not files:
        raise InvalidInput(f"catalogue {folder}: the folder has no .yaml file; give the path of a YAML file")
    families: dict[str, Family] = {}
    for file in files:
        for name, family in load_catalogue(file).families.items():
            if name in families:
                raise InvalidInput(f"catalogue {file}: family {name} is also in another file of the folder: keep one")
            families[name] = family
    try:
        return Catalogue(families=families)
    except ValidationError as error:
        raise InvalidInput(f"catalogue {folder}: {_one_sentence(error)}") from error


def parse_catalogue(text: str) -> Catalogue:
    """The catalogue of YAML text; InvalidInput names the field."""
    try:
        content: Any = yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 -- a SafeLoader that refuses duplicates
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark is not None else ""
        raise InvalidInput(f"{where}{getattr(error, 'problem', None) or 'not YAML'}") from error
    try:
        return Catalogue.model_validate(content)
    except ValidationError as error:
        raise InvalidInput(_one_sentence(error)) from error


_PLAIN = {
    "missing": "is missing; write it down",
    "extra_forbidden": "is no field of a catalogue; correct its name or take it out",
    "model_type": "holds no fields; see `tradewind catalogue schema`",
    "dict_type": "holds no names with their fields; see `tradewind catalogue schema`",
}
"""What pydantic says in its own terms, said in a reader's; the rest it says well."""


def _one_sentence(error: ValidationError) -> str:
    # A misspelt field is also a missing one: the first says what to do about both.
    first, *others = sorted(error.errors(include_url=False), key=lambda each: each["type"] != "extra_forbidden")
    where = ".".join(str(part) for part in first["loc"]) or "the file"
    message = _PLAIN.get(first["type"], first["msg"].removeprefix("Value error, "))
    more = len(others)
    return f"{where}: {message}" + (f" (and {more} more)" if more else "")


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML takes the last of two equal keys in silence; a catalogue must not lose a variant that way."""


def _unique_mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys: list[Any] = []
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in keys:
            raise yaml.constructor.ConstructorError(None, None, f"{key} is there twice: keep one", key_node.start_mark)
        keys.append(key)
    return loader.construct_mapping(node, deep=True)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def variants_missing_from(family: Family, models: Sequence[str]) -> tuple[str, ...]:
    """Permitted variants whose Triton model is not among `models`."""
    return tuple(name for name in family.pool if (family.variants[name].model or name) not in models)
