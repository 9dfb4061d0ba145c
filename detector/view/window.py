"""window.py: the interactive 3-D view of frames and boxes (Open3D), or a PNG where there is no display."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.errors import ColonnadeError, MissingExtraError
from ..detections import Detections
from ..frames import Frame
from .birdseye import draw_birdseye
from .colours import BACKGROUND, class_colour, height_colours
from .raster import HIGHEST, LOWEST

# Corners 0..3 are the floor, 4..7 the roof; the last line runs from the roof's centre through its front edge.
_EDGES = [
    (0, 1),
    (1, 2),
    (2, 3),
    (3, 0),
    (4, 5),
    (5, 6),
    (6, 7),
    (7, 4),
    (0, 4),
    (1, 5),
    (2, 6),
    (3, 7),
    (8, 9),
]
_PIXELS = (1600, 1000)


def import_open3d() -> Any:
    """Return the module open3d.

    Raises:
        MissingExtraError: it is not installed, or the system library libusb-1.0 that it loads is missing.
    """
    try:
        import open3d
    except (ImportError, OSError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "open3d":
            raise MissingExtraError("open3d", "open3d", "the interactive view (--show)") from error
        raise ColonnadeError(
            f"open3d is installed but cannot be loaded: {error}; it needs the system library libusb-1.0 "
            "(on Debian and Ubuntu: apt install libusb-1.0-0) and glibc 2.35 or newer"
        ) from error
    return open3d


def has_display() -> bool:
    """Return whether a window can be opened here."""
    return sys.platform in ("win32", "darwin") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )


def colour_points(points: NDArray[np.float32], ground: float) -> NDArray[np.float64]:
    """Return the colours (N, 3) in 0..1 of points by their height above the ground."""
    colours = height_colours()
    share = (points[:, 2] - (ground + LOWEST)) / (HIGHEST - LOWEST)
    index = (np.clip(share, 0.0, 1.0) * (len(colours) - 1)).astype(np.intp)
    return np.asarray(colours[index], dtype=np.float64) / 255.0


def box_wireframe(box: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the 8 corners of a box (7,), then both ends of its heading line, (10, 3)."""
    x, y, z, length, width, height, yaw = (float(value) for value in box)
    floor = [(0.5, 0.5), (0.5, -0.5), (-0.5, -0.5), (-0.5, 0.5)]
    local = np.array([(u * length, v * width, w * height) for w in (-0.5, 0.5) for u, v in floor])
    local = np.vstack([local, [[0.0, 0.0, 0.5 * height], [0.5 * length + 0.7, 0.0, 0.5 * height]]])
    cos, sin = np.cos(yaw), np.sin(yaw)
    turned = local @ np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
    return np.asarray(turned + np.array([x, y, z]), dtype=np.float64)


def build_geometries(open3d: Any, frame: Frame, detections: Detections) -> tuple[Any, Any]:
    """Return the point cloud and the boxes' lines of one frame as Open3D geometries."""
    ground = detections.ground or 0.0
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(frame.points[:, :3].astype(np.float64)))
    cloud.colors = open3d.utility.Vector3dVector(colour_points(frame.points, ground))
    corners = [box_wireframe(box) for box in detections.boxes]
    edges = [np.array(_EDGES) + 10 * index for index in range(len(corners))]
    colours = [
        np.tile(np.array(class_colour(detections.classes[label], int(label))) / 255.0, (len(_EDGES), 1))
        for label in detections.labels
    ]
    lines = open3d.geometry.LineSet(
        open3d.utility.Vector3dVector(np.concatenate(corners) if corners else np.zeros((0, 3))),
        open3d.utility.Vector2iVector(np.concatenate(edges) if edges else np.zeros((0, 2), np.int32)),
    )
    lines.colors = open3d.utility.Vector3dVector(np.concatenate(colours) if colours else np.zeros((0, 3)))
    return cloud, lines


def show_frames(
    results: Iterable[tuple[Frame, Detections]],
    fallback: str | Path,
    *,
    report: Callable[[str], None] = lambda message: None,
) -> Path | None:
    """Show frames in a window, one after the other, or draw the first one where there is no display.

    In the window: drag to turn, wheel to zoom, SPACE to pause, Q to close.

    Args:
        results: frames with their detections; asked for one by one while the window is open.
        fallback: the PNG to write where no window can be opened.
        report: called with one sentence when that happens.

    Returns:
        The PNG that was written, or None when a window was shown.

    Raises:
        MissingExtraError: open3d is not installed.
    """
    open3d = import_open3d()
    if has_display():
        window = open3d.visualization.VisualizerWithKeyCallback()
        if window.create_window("Colonnade", *_PIXELS):
            _play(open3d, window, results)
            return None
        report("no window could be opened")
    for frame, detections in results:
        path = Path(fallback)
        try:
            render_offscreen(open3d, frame, detections, path)
            how = ": drew"
        except RuntimeError as error:  # neither EGL nor Vulkan: Open3D needs one of them to render
            draw_birdseye(frame.points, detections, title=frame.frame_id).save(path)
            how = f", and Open3D cannot render here ({error}): drew, from above,"
        report(f"there is no display{how} frame {frame.frame_id} to {path} instead of opening a window")
        return path
    return None


def _play(open3d: Any, window: Any, results: Iterable[tuple[Frame, Detections]]) -> None:
    """Replace the geometries by those of each result, until the window is closed; keep the last one open."""
    paused = [False]

    def toggle_pause(_: Any) -> bool:
        paused[0] = not paused[0]
        return False

    window.register_key_callback(ord(" "), toggle_pause)
    options = window.get_render_option()
    options.background_color = np.array(BACKGROUND) / 255.0
    options.point_size = 1.5
    is_open, is_first = True, True
    for frame, detections in results:
        window.clear_geometries()
        for geometry in build_geometries(open3d, frame, detections):
            window.add_geometry(geometry, reset_bounding_box=is_first)
        if is_first:
            _look_forward(window.get_view_control())
        is_first = False
        is_open = window.poll_events()
        window.update_renderer()
        while is_open and paused[0]:
            is_open = window.poll_events()
            window.update_renderer()
        if not is_open:
            break
    while is_open:
        is_open = window.poll_events()
        window.update_renderer()
    window.destroy_window()


def _look_forward(camera: Any) -> None:
    """Look from behind and above the sensor along +x."""
    camera.set_front([-0.75, 0.0, 0.65])
    camera.set_up([0.0, 0.0, 1.0])
    camera.set_lookat([12.0, 0.0, 0.0])
    camera.set_zoom(0.18)


def render_offscreen(open3d: Any, frame: Frame, detections: Detections, path: Path) -> Path:
    """Draw one frame to a PNG without a window and return its path.

    Raises:
        RuntimeError: of Open3D, where there is no graphics library to render with.
        ColonnadeError: the picture cannot be written.
    """
    rendering = open3d.visualization.rendering
    renderer = rendering.OffscreenRenderer(*_PIXELS)
    renderer.scene.set_background(np.array([*BACKGROUND, 255.0]) / 255.0)
    cloud, lines = build_geometries(open3d, frame, detections)
    dots = rendering.MaterialRecord()
    dots.shader, dots.point_size = "defaultUnlit", 2.0
    strokes = rendering.MaterialRecord()
    strokes.shader, strokes.line_width = "unlitLine", 2.0
    renderer.scene.add_geometry("points", cloud, dots)
    if len(detections):
        renderer.scene.add_geometry("boxes", lines, strokes)
    ground = detections.ground or 0.0
    renderer.setup_camera(55.0, [18.0, 0.0, ground], [-16.0, 0.0, ground + 16.0], [0.0, 0.0, 1.0])
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".part-{path.name}")
    if not open3d.io.write_image(str(temporary), renderer.render_to_image()):
        raise ColonnadeError(f"cannot write the picture {path}")
    temporary.replace(path)
    return path
