"""What a Prometheus page of Triton's says: one metric's values with their labels."""

from collections.abc import Iterator, Mapping

import httpx
from prometheus_client.parser import text_string_to_metric_families

from profiler.meters.meter import MeterError


def values_of(page: str, name: str) -> Iterator[tuple[Mapping[str, str], float]]:
    """Labels and value of every sample of a metric; nothing when the page does not have it."""
    try:
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                # The parser adds to a counter's name what newer text formats ask for and Triton does not write.
                if sample.name.removesuffix("_total") == name:
                    yield sample.labels, sample.value
    except ValueError as error:
        raise MeterError("the page is not in the Prometheus text format; check the URL of Triton's metrics") from error


def fetch_page(url: str) -> str:
    """The text at a URL; MeterError when it cannot be had."""
    try:
        return httpx.get(url, timeout=5.0).raise_for_status().text
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise MeterError(f"{url} did not answer; check the host and Triton's --metrics-port") from error
