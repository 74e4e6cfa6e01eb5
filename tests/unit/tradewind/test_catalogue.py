"""The catalogue: what is valid, what is refused with one sentence, and what a batch costs."""

from pathlib import Path

import pytest

from tradewind.catalogue import (
    SHIPPED,
    Catalogue,
    energy_of_batch_uj,
    find_catalogue,
    load_catalogue,
    parse_catalogue,
    variants_missing_from,
)
from tradewind.errors import InvalidInput, NotFound

VALID = """
version: 1
families:
  resnet:
    error_metric: top5_error_pct
    pool: [large, small]
    variants:
      small: {energy_mj: {value: 400, provenance: published}, error: {value: 7, provenance: published}}
      large: {energy_mj: {value: 800, provenance: published}, error: {value: 6, provenance: published}}
      worse: {energy_mj: {value: 900, provenance: published}, error: {value: 9, provenance: published}}
"""


def test_the_pool_is_in_order_of_energy_and_its_least_is_the_fallback() -> None:
    family = parse_catalogue(VALID).family("resnet")
    assert [point.variant for point in family.permitted] == ["small", "large"]
    assert family.fallback_variant == "small"
    assert family.dominated == ()
    assert (
        parse_catalogue(VALID.replace("pool:", "fallback: large\n    pool:")).family("resnet").fallback_variant
        == "large"
    )


def test_a_dominated_variant_in_the_pool_is_warned_of() -> None:
    catalogue = parse_catalogue(VALID.replace("[large, small]", "[large, small, worse]"))
    (warning,) = catalogue.warnings
    assert warning.startswith("family resnet: worse is dominated by")
    assert parse_catalogue(VALID).warnings == ()


def test_an_unknown_family_lists_those_there_are() -> None:
    with pytest.raises(NotFound, match="family 'bert' is not in the catalogue: it has resnet"):
        parse_catalogue(VALID).family("bert")


@pytest.mark.parametrize(
    ("change", "to", "says"),
    [
        ("value: 400", "value: -1", r"families.resnet.variants.small.energy_mj.value"),
        ("value: 400", "value: 0", r"greater than 0"),
        ("value: 400", "value: .nan", r"finite"),
        ("value: 400", "value: .inf", r"finite"),
        ("provenance: published}, error: {value: 7", "provenance: guessed}, error: {value: 7", r"provenance"),
        (
            "provenance: published}, error: {value: 7",
            "source: x}, error: {value: 7",
            r"energy_mj.source: .* and 1 more|energy_mj.provenance: is missing",
        ),
        ("[large, small]", "[large, large]", r"pool names large twice"),
        ("[large, small]", "[large, giant]", r"giant is in pool or fallback but not among the variants"),
        ("[large, small]", "[]", r"pool"),
        ("pool:", "fallback: worse\n    pool:", r"fallback worse is not in the pool"),
        ("large: {", "large: {model: small, ", r"variants small and large are the same Triton model small"),
        ("small: {", "small: {model: resnet, ", r"resnet is both a family and the Triton model of variant small"),
        ("worse:", "small:", r"line 10: small is there twice"),
        ("version: 1", "version: 2", r"version"),
        (
            "error_metric:",
            "metric:",
            r"families.resnet.metric: is no field of a catalogue; correct its name .* \(and 1 more\)",
        ),
        ("families:", "famílies:", r"famílies: is no field of a catalogue"),
        ("    error_metric: top5_error_pct\n", "", r"families.resnet.error_metric: is missing; write it down"),
        ("version: 1", "{", r"line "),
    ],
)
def test_what_is_wrong_is_named(change: str, to: str, says: str) -> None:
    text = VALID.replace(change, to, 1)
    assert text != VALID
    with pytest.raises(InvalidInput, match=says):
        parse_catalogue(text)


@pytest.mark.parametrize("text", ["", "5", "[]", "families: {}", "families: 5", "\x00", "&a [*a]"])
def test_what_is_no_catalogue_is_one_sentence(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_catalogue(text)
    assert "Catalogue" not in str(refused.value)


def test_a_batch_costs_n_times_the_figure_of_the_nearest_profiled_size() -> None:
    text = VALID.replace(
        "small: {",
        "small: {energy_by_batch_mj: {8: {value: 100, provenance: measured}, 16: {value: 50, provenance: measured}}, ",
    )
    variant = parse_catalogue(text).family("resnet").variants["small"]
    assert energy_of_batch_uj(variant, 1) == 400_000
    assert energy_of_batch_uj(variant, 4) == 4 * 400_000
    assert energy_of_batch_uj(variant, 5) == 5 * 100_000
    assert energy_of_batch_uj(variant, 12) == 12 * 100_000  # As near to 8 as to 16: the smaller.
    assert energy_of_batch_uj(variant, 100) == 100 * 50_000


def test_models_that_triton_lacks() -> None:
    family = parse_catalogue(VALID.replace("large: {", "large: {model: resnet_large_v2, ")).family("resnet")
    assert variants_missing_from(family, ["small"]) == ("large",)
    assert variants_missing_from(family, ["small", "resnet_large_v2"]) == ()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"absent.yaml: cannot be read"):
        load_catalogue(tmp_path / "absent.yaml")
    (tmp_path / "bad.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match=r"bad.yaml: cannot be read"):
        load_catalogue(tmp_path / "bad.yaml")


def test_a_folder_is_one_catalogue(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"the folder has no .yaml file"):
        find_catalogue(tmp_path)
    (tmp_path / "one.yaml").write_text(VALID)
    (tmp_path / "two.yaml").write_text(VALID.replace("resnet", "digits"))
    assert sorted(find_catalogue(tmp_path).families) == ["digits", "resnet"]
    assert find_catalogue(tmp_path / "one.yaml") == load_catalogue(tmp_path / "one.yaml")
    (tmp_path / "three.yaml").write_text(VALID)
    with pytest.raises(InvalidInput, match=r"two.yaml: family|three.yaml: family resnet is also in another file"):
        find_catalogue(tmp_path)


def test_a_family_of_one_file_may_not_be_a_model_of_another(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(VALID)
    (tmp_path / "two.yaml").write_text(
        VALID.replace("resnet:", "digits:").replace("large: {", "large: {model: resnet, ")
    )
    with pytest.raises(InvalidInput, match="resnet is both a family and the Triton model"):
        find_catalogue(tmp_path)


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_what_is_shipped_is_valid_and_wise(path: Path) -> None:
    assert load_catalogue(path).warnings == ()


def test_the_shipped_catalogue_holds_the_papers_family() -> None:
    shipped: Catalogue = find_catalogue(None)
    family = shipped.family("resnet")
    assert [point.variant for point in family.permitted] == ["resnet50", "resnet101", "resnet152"]
    assert [point.energy_mj for point in family.permitted] == [420.6213298, 803.0948846, 1238.147188]
    assert [point.error for point in family.permitted] == [7.138, 6.454, 5.954]
    assert len(family.variants) == 7
