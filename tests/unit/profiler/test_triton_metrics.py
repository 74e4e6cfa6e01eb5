"""Triton's own energy metric, from pages as Triton writes them."""

import pytest

from profiler.meters.meter import MeterError
from profiler.meters.triton_metrics import TritonMetricsMeter
from profiler.metrics_page import fetch_page
from tradewind.catalogue import Provenance

PAGE = """# HELP nv_energy_consumption GPU energy consumption in joules since the Triton Server started
# TYPE nv_energy_consumption counter
nv_energy_consumption{{gpu_uuid="GPU-a"}} {joules}
# HELP nv_gpu_power_limit GPU power management limit in watts
# TYPE nv_gpu_power_limit gauge
nv_gpu_power_limit{{gpu_uuid="GPU-a"}} 70.000000
"""
CPU_ONLY = """# HELP nv_inference_count Number of inferences performed
# TYPE nv_inference_count counter
nv_inference_count{model="a",version="1"} 4.000000
"""
SECOND = 'nv_energy_consumption{gpu_uuid="GPU-b"} 1.0\n'


def test_reads_joules_and_the_power_limit() -> None:
    meter = TritonMetricsMeter("http://triton/metrics", fetch=lambda _: PAGE.format(joules=12.5))
    assert meter.read().counters == (12.5,)
    assert meter.nameplate.max_watts == (70.0,)
    assert meter.nameplate.window_s == 20.0
    assert meter.nameplate.provenance is Provenance.MEASURED


def test_a_triton_without_gpu_is_said() -> None:
    with pytest.raises(MeterError, match="no nv_energy_consumption"):
        TritonMetricsMeter("http://triton/metrics", fetch=lambda _: CPU_ONLY)


def test_a_metric_that_disappears_is_never_zero() -> None:
    pages = iter([PAGE.format(joules=1), CPU_ONLY])
    meter = TritonMetricsMeter("http://triton/metrics", fetch=lambda _: next(pages))
    with pytest.raises(MeterError, match="disappeared"):
        meter.read()


def test_of_several_gpus_one_must_be_named() -> None:
    both = PAGE.format(joules=1) + SECOND
    with pytest.raises(MeterError, match="--gpu"):
        TritonMetricsMeter("u", fetch=lambda _: both)
    assert TritonMetricsMeter("u", gpus=("GPU-b",), fetch=lambda _: both).read().counters == (1.0,)
    with pytest.raises(MeterError, match="no GPU GPU-c"):
        TritonMetricsMeter("u", gpus=("GPU-c",), fetch=lambda _: both)


def test_another_page_is_said() -> None:
    with pytest.raises(MeterError, match="Prometheus text format"):
        TritonMetricsMeter("u", fetch=lambda _: "<html>not metrics</html>")


def test_nobody_there_is_said() -> None:
    with pytest.raises(MeterError, match="did not answer"):
        fetch_page("http://127.0.0.1:1/metrics")
