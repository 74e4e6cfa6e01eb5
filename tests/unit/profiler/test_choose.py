"""`auto` takes the best meter that works and says why the better ones were passed over."""

import os

import pytest

from profiler.meters.choose import Offer, choose_meter
from profiler.meters.cpu_time import CpuTimeMeter
from profiler.meters.meter import Meter, MeterError
from tradewind.errors import InvalidInput


def broken() -> Meter:
    raise MeterError("rapl: not here")


def cpu() -> Meter:
    return CpuTimeMeter(os.getpid())


OFFERS = [
    Offer("nvml", broken, "the models run on the CPU"),
    Offer("rapl", broken),
    Offer("cpu-time", cpu),
]


def test_the_first_that_works_is_taken_with_reasons() -> None:
    chosen = choose_meter("auto", OFFERS)
    assert chosen.meter.nameplate.name == "cpu-time"
    assert chosen.passed_over == ("nvml: the models run on the CPU", "rapl: not here")


def test_a_wanted_meter_is_taken_or_fails() -> None:
    assert choose_meter("cpu-time", OFFERS).meter.nameplate.name == "cpu-time"
    with pytest.raises(MeterError, match="rapl: not here"):
        choose_meter("rapl", OFFERS)


def test_none_works() -> None:
    with pytest.raises(MeterError, match=r"no meter works here: nvml: .*; rapl: not here"):
        choose_meter("auto", OFFERS[:2])


def test_an_unknown_meter_is_an_error() -> None:
    with pytest.raises(InvalidInput, match="no such meter"):
        choose_meter("smart-plug", OFFERS)
