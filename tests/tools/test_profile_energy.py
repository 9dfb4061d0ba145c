"""test_profile_energy.py: the host's energy is what its counters say, round their ends, or "not measured"."""

from __future__ import annotations

from pathlib import Path

import pytest

from colonnade.tools.profile.host_energy import EnergyMeter, open_meter


def make_zone(folder: Path, zone: str, name: str, microjoules: int, limit: int = 1_000_000) -> Path:
    """Make a zone of RAPL and return its counter."""
    place = folder / zone
    place.mkdir(parents=True)
    (place / "name").write_text(f"{name}\n")
    (place / "max_energy_range_uj").write_text(f"{limit}\n")
    counter = place / "energy_uj"
    counter.write_text(f"{microjoules}\n")
    return counter


def advance(counter: Path, microjoules: int) -> None:
    counter.write_text(f"{microjoules}\n")


@pytest.fixture
def powercap(tmp_path: Path) -> Path:
    return tmp_path / "powercap"


def open_here(tmp_path: Path) -> EnergyMeter:
    return open_meter(tmp_path / "powercap", tmp_path / "hwmon")


def test_packages_and_memory_count_once(tmp_path: Path, powercap: Path) -> None:
    counters = {
        name: make_zone(powercap, zone, name, 100)
        for zone, name in (
            ("intel-rapl:0", "package-0"),
            ("intel-rapl:0:0", "core"),
            ("intel-rapl:0:1", "dram"),
            ("intel-rapl:1", "psys"),
        )
    }
    make_zone(powercap, "intel-rapl-mmio:0", "package-0", 100)
    meter = open_here(tmp_path)
    assert meter.is_able

    def work() -> str:
        for name, used in (("package-0", 5000), ("core", 4000), ("dram", 700), ("psys", 9000)):
            advance(counters[name], 100 + used)
        return "found"

    assert meter.measure(work) == "found"
    meter.measure(lambda: advance(counters["package-0"], 100 + 5000 + 2300))
    found = meter.summarise()
    assert found.millijoules == pytest.approx((5.0 + 0.7 + 2.3) / 2)
    assert found.frames == 2
    assert "RAPL package-0" in found.describe()
    assert "psys" not in found.describe()


def test_a_counter_that_begins_anew_loses_nothing(tmp_path: Path, powercap: Path) -> None:
    counter = make_zone(powercap, "intel-rapl:0", "package-0", 999_000, limit=1_000_000)
    meter = open_here(tmp_path)
    meter.measure(lambda: advance(counter, 2_000))
    assert meter.summarise().millijoules == pytest.approx(3.0)


def test_sockets_of_hwmon_without_cores_and_graphics(tmp_path: Path) -> None:
    device, graphics = tmp_path / "hwmon" / "hwmon2", tmp_path / "hwmon" / "hwmon3"
    for place, name in ((device, "amd_energy"), (graphics, "i915")):
        place.mkdir(parents=True)
        (place / "name").write_text(name)
        (place / "energy1_input").write_text("10")
    (device / "energy1_label").write_text("Ecore000")
    (device / "energy9_input").write_text("1000")
    (device / "energy9_label").write_text("Esocket0")
    meter = open_here(tmp_path)
    meter.measure(lambda: advance(device / "energy9_input", 3000))
    found = meter.summarise()
    assert found.millijoules == pytest.approx(2.0)
    assert found.source == "hwmon amd_energy Esocket0"


def test_a_counter_without_range_that_goes_back_measures_nothing(tmp_path: Path) -> None:
    device = tmp_path / "hwmon" / "hwmon0"
    device.mkdir(parents=True)
    (device / "energy1_input").write_text("5000")
    meter = open_here(tmp_path)
    meter.measure(lambda: advance(device / "energy1_input", 10))
    assert meter.summarise().describe() == "not measured (a counter went backwards)"


def test_no_counter_is_not_measured(tmp_path: Path) -> None:
    meter = open_here(tmp_path)
    assert not meter.is_able
    assert meter.measure(lambda: 7) == 7
    assert meter.summarise().millijoules is None
    assert meter.summarise().describe().startswith("not measured (no energy counter")


def test_a_counter_that_cannot_be_read_is_told(tmp_path: Path, powercap: Path, monkeypatch) -> None:
    counter = make_zone(powercap, "intel-rapl:0", "package-0", 5)
    counter.write_text("nonsense")
    assert "not measured" in open_here(tmp_path).summarise().describe()
    counter.write_text("5")

    def refuse(path: Path, *args: object, **more: object) -> str:
        if path == counter:
            raise PermissionError(13, "Permission denied", str(path))
        return "package-0"

    monkeypatch.setattr(Path, "read_text", refuse)
    assert (
        open_here(tmp_path).summarise().describe() == f"not measured ({counter} may not be read by this user)"
    )


def test_a_counter_that_goes_away_meanwhile_is_told(tmp_path: Path, powercap: Path) -> None:
    counter = make_zone(powercap, "intel-rapl:0", "package-0", 5)
    meter = open_here(tmp_path)
    assert meter.measure(lambda: counter.unlink()) is None
    assert "could not be read any more" in meter.summarise().describe()
