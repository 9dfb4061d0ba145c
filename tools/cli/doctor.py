"""doctor.py: `colonnade doctor`: is the installation whole, and does this recording fit the model?"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options, terminal
from .warmup import describe_cache

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...detector.checkpoints import Manifest

EXIT_FINDINGS = 3

# Packages of each extra; peers and open3d are named by what is imported.
_EXTRAS = {
    "bags": ("rosbags",),
    "formats": ("plyfile", "pyarrow"),
    "train": ("torch",),
    "open3d": ("open3d",),
    "bench": ("onnx", "matplotlib"),
    "peers": ("spconv", "torch", "openvino"),
}
_FEW_POINTS = 5_000  # per frame; a 16-beam sensor gives about 25,000
_GROUND_SHARE = 0.05  # of the near points that lie on the ground, at least; streets give 0.14 to 0.6
_TRAINED_HEIGHTS = (-2.6, -0.1)  # [m] ground below the sensor that street recordings have


@dataclass(frozen=True)
class Finding:
    """One thing that was checked: whether it is well, what was seen, and what mends it."""

    name: str
    is_well: bool
    seen: str
    remedy: str = ""


def doctor(
    recording: Annotated[
        Path | None,
        typer.Argument(metavar="RECORDING", help="Check this recording against the model, too."),
    ] = None,
    model: options.ModelOption = "default",
    format: options.FormatOption = None,
    topic: options.TopicOption = None,
    columns: options.ColumnsOption = None,
    intensity_scale: options.IntensityScaleOption = None,
) -> None:
    """Check the installation, or how well a recording fits the model.

    \b
    Examples:
      colonnade doctor                 processor, threads, cache, extras, models
      colonnade doctor drive.mcap      format, ground, range, intensity, axes

    Exit codes: 0 all is well, 3 something was found.
    """
    if recording is None:
        findings = check_installation(model)
    else:
        from ...detector.checkpoints import find_model, load_checkpoint
        from ...detector.io import describe, open_recording

        with open_recording(
            recording, format=format, topic=topic, columns=columns, intensity_scale=intensity_scale, limit=5
        ) as opened:
            terminal.show_note(describe(opened.info))
            manifest = load_checkpoint(find_model(model)).manifest
            frames = [frame.points for frame in opened]
            findings = check_recording(frames, opened.info.ground_height, manifest)
    for finding in findings:
        print(f"{'ok  ' if finding.is_well else 'look'}  {finding.name:<11} {finding.seen}")
        if finding.remedy and not finding.is_well:
            print(f"      {'':<11} {finding.remedy}")
    if not all(finding.is_well for finding in findings):
        raise typer.Exit(EXIT_FINDINGS)


def check_installation(model: str) -> list[Finding]:
    """Return what the installation is like."""
    from ...detector.checkpoints import find_model, load_checkpoint
    from ...runtime.errors import ColonnadeError
    from ..bench.hardware import describe_hardware

    hardware = describe_hardware()
    findings = [
        Finding("colonnade", True, f"{version('colonnade')}, Python {hardware.python}, {hardware.system}"),
        Finding(
            "processor",
            True,
            f"{hardware.cpu} ({hardware.architecture}): {' '.join(hardware.features) or 'generic'}",
        ),
        _check_threads(hardware.cores),
        _check_cache(),
        _check_operators(),
    ]
    for extra, packages in _EXTRAS.items():
        missing = [package for package in packages if find_spec(package) is None]
        seen = f"not installed (pip install 'colonnade[{extra}]')" if missing else "installed"
        findings.append(Finding(f"[{extra}]", True, seen))
    try:
        manifest = load_checkpoint(find_model(model)).manifest
        findings.append(
            Finding("model", True, f"{manifest.name}: {', '.join(manifest.classes)}; hash as in its manifest")
        )
    except ColonnadeError as error:
        findings.append(Finding("model", False, str(error)))
    return findings


def _check_threads(cores: int) -> Finding:
    from ...runtime.threads import available_threads, find_threading_layer

    layer = find_threading_layer()
    turns = " (calls from several Python threads take turns)" if layer == "workqueue" else ""
    seen = f"{available_threads()} on {terminal.count(cores, 'core')}, by {layer}{turns}"
    return Finding("threads", True, seen)


def _check_cache() -> Finding:
    from ...runtime.kernel_cache import STORE

    return Finding(
        "cache",
        not STORE.report().problem,
        describe_cache(),
        "kernels are compiled anew in every process; set COLONNADE_CACHE_DIR to a folder of yours",
    )


def _check_operators() -> Finding:
    """Tell whether transformers run compiled operators; that they do not costs time only, so all is well either way."""
    from ...runtime.transformer.custom_ops import find_verdict

    verdict = find_verdict()
    seen = "compiled" if verdict.usable else f"portable, which is slower: {verdict.reason}"
    return Finding("operators", True, f"{seen} (of quantised transformers)")


def check_recording(
    frames: list[NDArray[np.float32]], ground: float | None, manifest: Manifest
) -> list[Finding]:
    """Return how well the first frames of a recording fit the model."""
    import numpy as np

    points = np.concatenate(frames) if frames else np.zeros((0, 4), np.float32)
    if not len(points):
        return [Finding("points", False, "the first frames hold no points", "check --topic and --columns")]
    return [
        _check_density(len(points) / len(frames)),
        _check_range(points, manifest),
        _check_ground(points, ground),
        _check_intensity(points[:, 3]),
    ]


def _check_density(per_frame: float) -> Finding:
    return Finding(
        "points",
        per_frame >= _FEW_POINTS,
        f"{per_frame:,.0f} per frame",
        "few for a whole turn: single packets or a cropped cloud? record whole turns",
    )


def _check_range(points: NDArray[np.float32], manifest: Manifest) -> Finding:
    grid = manifest.geometry
    x, y = points[:, 0], points[:, 1]
    inside = float(((x >= grid.x_min) & (x < grid.x_max) & (y >= grid.y_min) & (y < grid.y_max)).mean())
    return Finding(
        "range",
        inside >= 0.5,
        f"{inside:.0%} of the points lie where the model looks "
        f"(x {grid.x_min:g}..{grid.x_max:g} m, y {grid.y_min:g}..{grid.y_max:g} m)",
        "are x, y, z metres with x forward? choose the columns with --columns",
    )


def _check_ground(points: NDArray[np.float32], ground: float | None) -> Finding:
    import numpy as np

    if ground is None:
        return Finding("ground", False, "not found", "give its height with --ground")
    near = np.hypot(points[:, 0], points[:, 1]) < 25.0
    share = float((np.abs(points[near, 2] - ground) < 0.3).mean()) if near.any() else 0.0
    low, high = _TRAINED_HEIGHTS
    return Finding(
        "ground",
        share >= _GROUND_SHARE and low <= ground <= high,
        f"z = {ground:.2f} m, {share:.0%} of the near points lie on it",
        "if z does not point up, choose the axes with --columns; if the height is wrong, give it with --ground",
    )


def _check_intensity(intensity: NDArray[np.float32]) -> Finding:
    import numpy as np

    low, middle, high = (float(value) for value in np.percentile(intensity, [1, 50, 99]))
    is_well = high > 0.02
    return Finding(
        "intensity",
        True,
        f"{low:.2f} / {middle:.2f} / {high:.2f} (1 %, median, 99 %)"
        if is_well
        else "none; the model does not need it",
    )
