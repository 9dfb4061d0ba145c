"""test_bench_peak.py: the peak loops run the instruction that they are named after, and give a rate."""

import platform
import re

import numpy as np
import pytest

from colonnade.runtime.sparse.forms import FLOAT_FORM, Form
from colonnade.tools.bench.amx import TURNS, TileMeter, has_tiles
from colonnade.tools.bench.peak import (
    TILE_UNIT,
    VECTOR_INTEGER_FORM,
    Bandwidth,
    PeakMeter,
    count_sums,
    measure_bandwidth,
    open_meters,
    show_assembly,
)

INSTRUCTIONS = {
    "fma": "vfmadd",
    "multiply-add": "v?mulps",
    "vpdpbusd": "vpdpbusd",
    "pairs": "(?:v?pmaddwd|vpdpwssd)",
}


@pytest.mark.parametrize("form", [FLOAT_FORM, VECTOR_INTEGER_FORM], ids=lambda form: form.dot)
def test_a_meter_gives_a_positive_rate(form: Form) -> None:
    meter = PeakMeter(form)
    assert meter.precision == ("fp32" if form is FLOAT_FORM else "int8")
    peak = meter.describe(meter.rate(0.02))
    assert peak.gops > 0
    assert (peak.threads, peak.precision) == (1, meter.precision)
    assert meter.rate(0.01) == pytest.approx(2 * peak.gops)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names instructions of x86")
@pytest.mark.parametrize("form", [FLOAT_FORM, VECTOR_INTEGER_FORM], ids=lambda form: form.dot)
def test_the_loop_keeps_every_sum_in_the_instruction_of_the_form(form: Form) -> None:
    meter = PeakMeter(form)
    meter.run()
    code = show_assembly(meter.precision)
    loop = code[code.index("colonnade_peak_") :]
    assert len(re.findall(rf"\b{INSTRUCTIONS[form.dot]}\w*\s", loop)) >= count_sums(form)


def test_two_threads_have_meters_of_their_own() -> None:
    for threads in (1, 2):
        meters = [(meter.threads, meter.precision) for meter in open_meters(threads)]
        assert meters == [(threads, "fp32"), (threads, "int8")]


@pytest.mark.skipif(not has_tiles(), reason="needs a CPU with AMX")
def test_the_tile_unit_has_a_peak_of_its_own() -> None:
    peak = TileMeter().describe(1.0)
    assert (peak.unit, peak.precision, peak.threads, peak.gops) == (TILE_UNIT, "int8", 1, 1.0)


@pytest.mark.skipif(not has_tiles(), reason="needs a CPU with AMX")
@pytest.mark.parametrize("threads", [1, 2])
def test_the_tile_unit_does_the_products_that_are_counted(threads: int) -> None:
    """All factors are ones, so the sums tell how many products there were."""
    meter = TileMeter(threads)
    assert meter.sums.shape == (threads, 6, 16, 16)
    meter.sums[:] = -1
    meter.run()
    assert (meter.sums == 64 * TURNS).all()
    operations = 2 * meter.sums.sum(dtype=np.int64)  # a multiplication and its addition
    assert meter.rate(0.5) == pytest.approx(operations / 0.5 / 1e9, rel=1e-12)


def test_bandwidth_is_that_of_the_smallest_set_that_holds_the_bytes() -> None:
    band = Bandwidth((100, 200), (50.0, 20.0))
    assert [band.find(size) for size in (1, 100, 101, 200, 10_000)] == [50.0, 50.0, 20.0, 20.0, 20.0]


def test_reading_has_a_rate_at_every_size() -> None:
    band = measure_bandwidth((1 << 16, 1 << 20))
    assert band.sizes == (1 << 16, 1 << 20)
    assert min(band.gbs) > 0
