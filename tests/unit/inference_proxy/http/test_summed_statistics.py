"""A family's statistics are its variants', summed."""

from typing import Any

from inference_proxy.http.summed_statistics import summed_statistics


def row(name: str, count: int, last: int, batch: int) -> dict[str, Any]:
    return {
        "name": name,
        "version": "1",
        "last_inference": last,
        "inference_count": count,
        "inference_stats": {"success": {"count": count, "ns": count * 10}, "fail": {"count": 0, "ns": 0}},
        "batch_stats": [{"batch_size": batch, "compute_infer": {"count": count, "ns": count * 5}}],
        "memory_usage": [{"type": "CPU", "id": 0, "byte_size": 100}],
        "response_stats": {"0": {"success": {"count": count, "ns": 1}}},
    }


def test_rows_are_summed_and_the_latest_time_kept() -> None:
    total = summed_statistics("net", "1", [row("a", 2, 50, 1), row("b", 3, 40, 4), row("c", 5, 60, 1)])
    assert total == {
        "name": "net",
        "version": "1",
        "last_inference": 60,
        "inference_count": 10,
        "inference_stats": {"success": {"count": 10, "ns": 100}, "fail": {"count": 0, "ns": 0}},
        "batch_stats": [
            {"batch_size": 1, "compute_infer": {"count": 7, "ns": 35}},
            {"batch_size": 4, "compute_infer": {"count": 3, "ns": 15}},
        ],
        "memory_usage": [{"type": "CPU", "id": 0, "byte_size": 300}],
        "response_stats": {"0": {"success": {"count": 10, "ns": 3}}},
    }


def test_summing_leaves_the_rows_alone() -> None:
    rows = [row("a", 2, 50, 1), row("b", 3, 40, 1)]
    summed_statistics("net", "1", rows)
    assert rows == [row("a", 2, 50, 1), row("b", 3, 40, 1)]


def test_one_variant_s_row_is_its_own_under_the_family_s_name() -> None:
    assert summed_statistics("net", "1", [row("a", 2, 50, 1)]) == row("a", 2, 50, 1) | {"name": "net"}
