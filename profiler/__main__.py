"""`python -m profiler`: calibrates the catalogue against what the device really draws, for as long as it runs."""

import asyncio

from prometheus_client import CollectorRegistry

from profiler.ahead import check_can_write
from profiler.calibrate import CalibrationMetrics, Calibrator, DriftWarnings, Untold, look_at, write_calibration
from profiler.meter_offers import Metering, local_triton, offers
from profiler.meters.choose import choose_meter
from profiler.meters.meter import MeterError
from profiler.served_model import connect, runs_on_gpu
from profiler.settings import ProfilerSettings
from tradewind.calling import way
from tradewind.catalogue import load_catalogue
from tradewind.errors import NotReady, StartupError
from tradewind.logs import configure_logs, get_logger
from tradewind.serving import run_service, serve_metrics, stop_requested
from tradewind.settings import read_settings

log = get_logger(__name__)


async def main() -> None:
    """Wires the parts and looks until told to stop."""
    settings = read_settings(ProfilerSettings)
    configure_logs("profiler", settings.log_level)
    if settings.catalogue is None:
        raise StartupError("TRADEWIND_CATALOGUE: name the catalogue to compare with")
    catalogue = load_catalogue(settings.catalogue)
    if settings.profiler_output is not None:
        check_can_write("TRADEWIND_PROFILER_OUTPUT", settings.profiler_output)
    address = settings.profiler_triton_grpc
    client = connect(address, way("profiler_triton_", settings))
    metering = Metering(
        wanted=settings.profiler_meter,
        metrics_url=settings.profiler_triton_metrics,
        watts_per_core=settings.profiler_watts_per_core,
    )
    chosen = choose_meter(metering.wanted, offers(metering, local_triton(address), on_gpu=runs_on_gpu(client)))
    plate = chosen.meter.nameplate
    registry = CollectorRegistry()
    metrics, calibrator = CalibrationMetrics(registry), Calibrator(catalogue, plate)
    warnings, untold = DriftWarnings(settings.profiler_tolerance), Untold()
    port = _serve_metrics(settings.profiler_listen, registry)
    log.info("calibrating", meter=plate.name, passed_over=chosen.passed_over, hardware=plate.hardware)
    print(f"profiler listening on {settings.profiler_listen.rpartition(':')[0]}:{port}", flush=True)
    interval_s = max(settings.profiler_interval.total_seconds(), 15 * plate.step_s)
    stop = asyncio.create_task(stop_requested())
    unseen = unwritten = ""
    while not stop.done():
        try:
            refused = calibrator.add(await asyncio.to_thread(look_at, client, chosen.meter))
        except (MeterError, NotReady) as error:
            refused = str(error)
        if refused and refused != unseen:
            log.warning("an interval is left out", why=refused)
        unseen = refused
        result = calibrator.result()
        verdicts = calibrator.verdicts(result)
        metrics.publish(result, verdicts, calibrator.dropped)
        for sentence in warnings.tell(verdicts):
            log.warning(sentence)
        for sentence in untold.tell(verdicts):
            log.info(sentence)
        # What is not measured any more grows old, and whoever charges by it sees that.
        if settings.profiler_output is not None and calibrator.measured_at is not None:
            failed = ""
            try:
                write_calibration(settings.profiler_output, verdicts, plate, calibrator.measured_at)
            except OSError as error:
                failed = f"{settings.profiler_output} cannot be written: {error.strerror}"
            if failed and failed != unwritten:
                log.warning("the ratios are measured but not written", why=failed)
            unwritten = failed
        await asyncio.wait([stop], timeout=interval_s)


def _serve_metrics(listen: str, registry: CollectorRegistry) -> int:
    host, _, port = listen.rpartition(":")
    if not port.isdigit():
        raise StartupError(f"TRADEWIND_PROFILER_LISTEN: {listen[:80]!r} is not HOST:PORT")
    return serve_metrics(registry, host or "127.0.0.1", int(port), "TRADEWIND_PROFILER_LISTEN")


if __name__ == "__main__":
    run_service("profiler", main)
