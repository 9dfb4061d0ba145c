"""host_energy.py: the energy that this computer uses while it detects, counted by its processor; never a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

_POWERCAP, _HWMON = Path("/sys/class/powercap"), Path("/sys/class/hwmon")
_GRAPHICS = ("i915", "xe", "amdgpu", "nouveau")  # devices with energy counters that do no detection
_T = TypeVar("_T")


@dataclass(frozen=True)
class EnergyCounter:
    """A file that counts microjoules.

    Attributes:
        name: of what it counts.
        path: the file.
        wraps_at: microjoules at which it begins anew; None where it does not.
    """

    name: str
    path: Path
    wraps_at: int | None

    def read(self) -> int:
        """Return the count [uJ].

        Raises:
            OSError: the file cannot be read.
            ValueError: it holds no number.
        """
        return int(self.path.read_text(encoding="ascii"))


@dataclass(frozen=True)
class HostEnergy:
    """Energy of the host's own work on a frame.

    Attributes:
        millijoules: mean per frame; None where it was not measured.
        frames: that it is the mean of.
        source: the counters, or why there is no measurement.
    """

    millijoules: float | None
    frames: int
    source: str

    def describe(self) -> str:
        """Return the figure in words, or the words "not measured" with the reason."""
        if self.millijoules is None:
            return f"not measured ({self.source})"
        return f"{self.millijoules:,.1f} mJ per frame, measured: {self.source}, with all else that ran on it"


NOT_RUN = HostEnergy(None, 0, "the frames were traced earlier, nothing ran on the host")


class EnergyMeter:
    """Adds up what the counters count while frames are worked on.

    Args:
        counters: as `find_counters` gives them.
        reason: why there are none.
    """

    def __init__(self, counters: Sequence[EnergyCounter], reason: str = "") -> None:
        self._counters, self._reason = tuple(counters), reason
        self._microjoules = self._frames = 0

    @property
    def is_able(self) -> bool:
        """Whether there is something to measure with."""
        return bool(self._counters)

    def measure(self, work: Callable[[], _T]) -> _T:
        """Run the work on one frame and add the energy meanwhile; a frame is far shorter than a counter's round."""
        before = self._read()
        result = work()
        after = self._read()
        used = [_subtract(c, a, b) for c, a, b in zip(self._counters, after, before, strict=False)]
        if self._counters and None in used:
            self._give_up("a counter went backwards")
        self._microjoules += sum(part for part in used if part is not None)
        self._frames += 1
        return result

    def summarise(self) -> HostEnergy:
        """Return the mean over the frames measured so far."""
        if not self._counters or not self._frames:
            return HostEnergy(None, 0, self._reason or "no frame was measured")
        names = " + ".join(counter.name for counter in self._counters)
        return HostEnergy(self._microjoules / 1e3 / self._frames, self._frames, names)

    def _read(self) -> list[int]:
        try:
            return [counter.read() for counter in self._counters]
        except (OSError, ValueError) as error:
            self._give_up(f"a counter could not be read any more: {error}")
            return []

    def _give_up(self, reason: str) -> None:
        self._counters, self._reason = (), reason


def _subtract(counter: EnergyCounter, after: int, before: int) -> int | None:
    """Return the microjoules between two readings; None where the counter lost them."""
    if after >= before:
        return after - before
    return None if counter.wraps_at is None else after - before + counter.wraps_at


def open_meter(powercap: Path = _POWERCAP, hwmon: Path = _HWMON) -> EnergyMeter:
    """Return a meter on the counters of this machine: RAPL, or else hwmon.

    RAPL: the processor packages and their memory (`package-N`, `dram`); what lies within a package or around it (cores,
    the whole platform) would count twice. hwmon: sockets, or where nothing is named so, every sensor but graphics and
    single cores.

    Args:
        powercap, hwmon: folders of the Linux kernel.
    """
    found = _find_rapl(powercap) or _find_hwmon(hwmon)
    if not found:
        return EnergyMeter((), "no energy counter of RAPL or hwmon on this machine")
    for counter in found:
        try:
            counter.read()
        except PermissionError:
            return EnergyMeter((), f"{counter.path} may not be read by this user")
        except (OSError, ValueError) as error:
            return EnergyMeter((), f"{counter.path} cannot be read: {error}")
    return EnergyMeter(found)


def _find_rapl(folder: Path) -> tuple[EnergyCounter, ...]:
    counters = []
    for path in sorted(folder.glob("intel-rapl:*/energy_uj")):
        zone = _read_word(path.with_name("name"))
        if zone.startswith("package-") or zone == "dram":
            limit = _read_word(path.with_name("max_energy_range_uj"))
            name = f"RAPL {zone}" if zone != "dram" else f"RAPL dram of {path.parent.name}"
            counters.append(EnergyCounter(name, path, int(limit) if limit.isdigit() else None))
    return tuple(counters)


def _find_hwmon(folder: Path) -> tuple[EnergyCounter, ...]:
    counters = []
    for path in sorted(folder.glob("hwmon*/energy*_input")):
        device = _read_word(path.with_name("name")) or path.parent.name
        label = _read_word(path.with_name(path.name.replace("_input", "_label"))) or path.name
        if device not in _GRAPHICS and not label.startswith("Ecore"):
            counters.append((label, EnergyCounter(f"hwmon {device} {label}", path, None)))
    sockets = tuple(counter for label, counter in counters if label.startswith("Esocket"))
    return sockets or tuple(counter for _, counter in counters)


def _read_word(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
