"""hardware.py: what a measurement was made on: processor, threads, versions."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# What the kernels can use, in the names of LLVM.
_FEATURES = (
    "sse4.2",
    "avx",
    "avx2",
    "fma",
    "avx512f",
    "avx512bw",
    "avx512vnni",
    "avxvnni",
    "amx-int8",
    "neon",
    "dotprod",
)
_PACKAGES = ("colonnade", "numpy", "numba", "llvmlite", "onnxruntime", "openvino", "spconv", "torch")


@dataclass(frozen=True)
class Hardware:
    """The machine and the software that a figure belongs to.

    Attributes:
        cpu: model name as the system gives it.
        architecture: such as x86_64 or aarch64.
        cores: logical processors that this process may use.
        features: vector extensions, those that matter here.
        governor: frequency governor, or "unknown".
        memory_gb: installed memory, or None where it cannot be read.
        system: operating system and kernel.
        python: version.
        packages: (name, version) pairs.
    """

    cpu: str
    architecture: str
    cores: int
    features: tuple[str, ...]
    governor: str
    memory_gb: float | None
    system: str
    python: str
    packages: tuple[tuple[str, str], ...]

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return asdict(self) | {"features": list(self.features), "packages": dict(self.packages)}


def describe_hardware() -> Hardware:
    """Return the description of this machine."""
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    return Hardware(
        cpu=_find_cpu_name() or binding.get_host_cpu_name(),
        architecture=platform.machine(),
        cores=count_cores(),
        features=tuple(name for name in _FEATURES if features.get(name)),
        governor=_read_first_line(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")) or "unknown",
        memory_gb=_measure_memory(),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        packages=tuple((name, _find_version(name)) for name in _PACKAGES),
    )


def count_cores() -> int:
    """Return how many logical processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def _find_cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.processor()


def _measure_memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _read_first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").splitlines()[0].strip()
    except (OSError, IndexError):
        return ""


def _find_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
