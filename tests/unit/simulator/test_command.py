"""`tradewind simulate` from files to JSON, table and page."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tradewind.cli.simulate import app
from tradewind.errors import InvalidInput, TradewindError

RUNNER = CliRunner()


@pytest.fixture
def intensity(tmp_path: Path) -> Path:
    """Three days of hours with a gap, a zero and an empty cell."""
    rows = []
    for hour in range(72):
        value: object = 300 - 20 * min(hour % 24, 24 - hour % 24)
        value = {30: "", 31: 0}.get(hour, value)
        if hour != 40:
            rows.append(f"2023-06-0{1 + hour // 24} {hour % 24:02}:00,{value}")
    path = tmp_path / "grid.csv"
    path.write_text("when,level\n" + "\n".join(rows) + "\n")
    return path


def simulate(*arguments: object) -> dict[str, Any]:
    """The JSON on stdout."""
    result = RUNNER.invoke(app, [*map(str, arguments), "--json", "-"], catch_exceptions=False)
    assert result.exit_code == 0
    content: dict[str, Any] = json.loads(result.stdout)
    return content


def test_json_has_every_key(intensity: Path) -> None:
    options = ["--policy", "proportional", "--policy", "target-error", "--target-error", "6.57", "--warm-up", "1d"]
    content = simulate("--intensity", intensity, "--family", "resnet", *options)
    assert [row["policy"] for row in content["rows"]] == [
        "fixed:resnet50",
        "fixed:resnet101",
        "fixed:resnet152",
        "proportional",
        "target-error",
    ]
    for row in content["rows"]:
        assert set(row) == {
            "policy",
            "mean_error_pct",
            "emissions_g",
            "extra_g",
            "cee",
            "clairvoyant_ratio",
            "switches",
            "share",
        }
        assert sum(row["share"].values()) == pytest.approx(1.0)
    figures = content["intensity"]
    assert (figures["rows"], figures["used"], figures["refused"]) == (71, 69, 2)
    assert (figures["missing"], figures["implausible"], figures["duplicates"]) == (1, 1, 0)
    assert figures["scored"] == 69 - 24
    assert figures["interval_s"] == 3600
    assert content["rows"][0]["cee"] is None


def test_variants_baseline_and_scale(intensity: Path) -> None:
    content = simulate(
        *("--intensity", intensity, "--variants", "vgg16,resnet34,resnet152", "--baseline", "vgg16"),
        *("--scale-extra", "resnet152=1000", "--window", "whole"),
    )
    rows = {row["policy"]: row for row in content["rows"]}
    assert content["pool"] == ["resnet34", "vgg16", "resnet152"]
    assert rows["fixed:resnet152"]["extra_g"] == pytest.approx(1000.0)
    assert rows["fixed:vgg16"]["extra_g"] == 0.0


def test_requests_by_week(intensity: Path, tmp_path: Path) -> None:
    load = tmp_path / "load.csv"
    start = 1_685_577_600 - 604_800 * 40
    load.write_text("timestamp,a,b\n" + "".join(f"{start + 3600 * hour},{hour % 24},1\n" for hour in range(168)))
    arguments = ["--intensity", intensity, "--requests", load, "--requests-column", "a", "--align", "week"]
    assert simulate(*arguments)["requests"] == pytest.approx(sum(range(24)) * 3 - 6 - 7 - 16)
    with pytest.raises(InvalidInput, match="align it by week"):
        RUNNER.invoke(app, [*map(str, arguments[:-2])], catch_exceptions=False)


def test_another_catalogue(intensity: Path, tmp_path: Path) -> None:
    catalogue = tmp_path / "mine.yaml"
    figure = "{{value: {}, provenance: estimated}}"
    catalogue.write_text(
        "families:\n  asr:\n    error_metric: wer\n    pool: [tiny, base]\n    variants:\n"
        + "".join(
            f"      {name}: {{energy_mj: {figure.format(energy)}, error: {figure.format(error)}}}\n"
            for name, energy, error in [("tiny", 5, 0.2), ("base", 9, 0.1)]
        )
    )
    content = simulate("--intensity", intensity, "--catalogue", catalogue, "--family", "asr")
    assert [row["policy"] for row in content["rows"]] == ["fixed:tiny", "fixed:base", "proportional"]
    options = ["--intensity", str(intensity), "--catalogue", str(catalogue), "--family", "asr"]
    table = RUNNER.invoke(app, options, catch_exceptions=False, env={"COLUMNS": "80"}).stdout
    assert re.search(r"fixed:base +0\.1000 ", table), "a small error keeps its digits"
    assert 0.1 < content["rows"][-1]["mean_error_pct"] < 0.2


def test_pounds_per_megawatt_hour(intensity: Path) -> None:
    grams, pounds = (
        simulate("--intensity", intensity, "--unit", unit)["rows"][0]["emissions_g"] for unit in ("g/kWh", "lb/MWh")
    )
    assert pounds == pytest.approx(grams * 0.45359237)


def test_a_column_of_pounds_is_not_taken_for_grams(tmp_path: Path) -> None:
    path = tmp_path / "watttime.csv"
    path.write_text("point_time,value_lbs_per_mwh\n2023-06-01T00:00Z,800\n2023-06-01T01:00Z,900\n")
    with pytest.raises(TradewindError, match="column value_lbs_per_mwh sounds like pounds: say --unit lb/MWh"):
        simulate("--intensity", path)
    assert simulate("--intensity", path, "--unit", "lb/MWh")["intensity"]["used"] == 2


def test_several_files_and_a_page(intensity: Path, tmp_path: Path) -> None:
    report = tmp_path / "page"
    content = simulate("--intensity", intensity, "--intensity", intensity, "--report", report)
    assert len(content["comparisons"]) == 2
    page = (report / "index.html").read_text()
    assert page.count("data:image/png;base64,") == 8
    assert "1 had no value, 1 were implausible" in page
    assert "synthetic" not in page.lower()


def test_the_table_for_people(intensity: Path) -> None:
    result = RUNNER.invoke(app, ["--intensity", str(intensity)], catch_exceptions=False, env={"COLUMNS": "80"})
    assert "…" not in result.stdout
    assert "0 said again" in " ".join(result.stdout.split())
    row = next(line for line in result.stdout.splitlines() if line.startswith("fixed:resnet152"))
    assert row.split()[1] == "5.954"
    assert row.split()[-1] == "0/0/100"


@pytest.mark.parametrize(
    ("options", "note"),
    [
        (["--price", "3"], "note: the option price changes nothing"),
        (["--variants", "resnet50,vgg16,resnet152"], "note: vgg16 is dominated by resnet50"),
        (["--policy", "target-error:target_error=5,dwell=2h"], "a mean error of 5 is out of the pool's reach"),
        (["--policy", "clairvoyant", "--target-error", "9"], "note: clairvoyant: a mean error of 9 is out of"),
    ],
)
def test_what_is_unwise_is_noted_beside_the_figures(intensity: Path, options: list[str], note: str) -> None:
    result = RUNNER.invoke(app, ["--intensity", str(intensity), *options, "--json", "-"], catch_exceptions=False)
    assert note in result.stderr
    assert len(json.loads(result.stdout)["rows"]) > 3


def test_nothing_is_noted_where_all_is_well(intensity: Path) -> None:
    options = ["--policy", "target-error", "--target-error", "6.57", "--dwell", "1h"]
    assert "note" not in RUNNER.invoke(app, ["--intensity", str(intensity), *options], catch_exceptions=False).stderr


def test_the_paper_on_a_synthetic_june_says_so(tmp_path: Path) -> None:
    content = simulate("paper", "--report", tmp_path)
    assert content["synthetic"] is True
    assert content["intensity"]["name"] == "synthetic-june"
    assert "This intensity is synthetic" in (tmp_path / "index.html").read_text()
    rows = {row["policy"]: row for row in content["rows"]}
    assert rows["fixed:resnet101"]["extra_g"] == pytest.approx(2676.0)


def test_the_paper_on_a_trace(intensity: Path) -> None:
    content = simulate("paper", "--intensity", intensity)
    assert content["synthetic"] is False
    assert content["intensity"]["name"] == "grid"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "needs --intensity"),
        (["--family", "vgg"], "family 'vgg' is not in the catalogue"),
        (["--variants", "resnet50,resnet1"], "has no resnet1"),
        (["--window", "soon"], "is not a length of time"),
        (["--scale-extra", "resnet101"], "write it as variant=grams"),
        (["--scale-extra", "resnet101=nan"], "write it as variant=grams"),
        (["--json", "/no/such/directory/x.json"], "json /no/such/directory/x.json: cannot be written there"),
        (["--report", "/dev/null"], "report /dev/null: cannot be written there"),
        (["--value-column", "absent"], "no value column 'absent'"),
        (["--requests-column", "a"], "give it by --requests FILE"),
        (["--unit", "kg"], "use g/kWh or lb/MWh"),
    ],
)
def test_what_is_wrong_is_one_sentence(intensity: Path, options: list[str], message: str) -> None:
    arguments = ["--intensity", str(intensity), *options] if options else []
    with pytest.raises(TradewindError, match=message) as caught:
        RUNNER.invoke(app, arguments, catch_exceptions=False)
    assert "\n" not in str(caught.value)
