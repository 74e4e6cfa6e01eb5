"""`tradewind catalogue check` as a terminal or a file shows it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tradewind.catalogue import SHIPPED, load_catalogue
from tradewind.cli.catalogue import app

LONG = "a-network-with-a-name-that-is-much-longer-than-its-column"


def shown(path: Path) -> str:
    result = CliRunner().invoke(app, ["check", str(path)], env={"COLUMNS": "80", "TERM": "dumb"})
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("name", ["digits.yaml", "resnet.yaml"])
def test_every_name_and_figure_is_whole_in_80_columns(name: str) -> None:
    output = shown(SHIPPED / name)
    assert "…" not in output
    assert max(map(len, output.splitlines())) <= 80
    for family_name, family in load_catalogue(SHIPPED / name).families.items():
        assert f"{family_name}, error is {family.error_metric}" in output
        for variant_name, variant in family.variants.items():
            line = next(line for line in output.splitlines() if line.split()[:1] == [variant_name])
            permitted = "yes" if variant_name in family.pool else "no"
            figures = (f"{variant.energy_mj.value:g}", str(variant.energy_mj.provenance), f"{variant.error.value:g}")
            assert line.split()[1:5] == [permitted, *figures]


def test_a_long_name_goes_on_in_the_next_line(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(
        f"families: {{f: {{error_metric: e, pool: [{LONG}], variants: {{{LONG}: "
        "{energy_mj: {value: 1, provenance: estimated}, error: {value: 2, provenance: published}}}}}",
        encoding="utf-8",
    )
    output = shown(tmp_path)
    assert "…" not in output
    assert LONG in "".join(line.strip().split(" ")[0] for line in output.splitlines())


def test_a_dominated_variant_is_one_sentence_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text(
        "families: {f: {error_metric: e, pool: [a, b], variants: {"
        "a: {energy_mj: {value: 1, provenance: estimated}, error: {value: 2, provenance: published}}, "
        "b: {energy_mj: {value: 2, provenance: estimated}, error: {value: 3, provenance: published}}}}}",
        encoding="utf-8",
    )
    assert "warning: family f: b is dominated by a (no less energy and no less error), so serving it" in shown(
        tmp_path / "two.yaml"
    )
