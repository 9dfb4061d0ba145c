"""result_folder.py: the folder that `detect` fills: boxes, pictures, movie, configuration, summary."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ...detector.detections import Detections
from ...detector.export import JsonLinesWriter, KittiTextWriter
from ...detector.export.kitti_text import file_stem
from ...detector.frames import Frame
from ...runtime.errors import UsageError
from ...runtime.file_names import readable_name
from ...runtime.files import replace_file, replacing
from .earlier_results import BOXES, CONFIG, KITTI, MARKER, PICTURES, find_earlier_results
from .output_files import check_apart, check_folder

if TYPE_CHECKING:
    from ...detector.view import MovieWriter


def create_result_folder(output: Path | None, recording: Path) -> Path:
    """Make the folder: `output`, without earlier results, or results/<time> with a link results/latest to it.

    Raises:
        UsageError: `output` holds other files than the results of an earlier run, cannot be written to, or is,
            holds or lies in the recording.
    """
    if output is None:
        return _create_stamped(Path("results"))
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output}: a file of this name exists; choose a folder")
    check_apart("--output", output, recording)
    earlier = find_earlier_results(output) if output.is_dir() and any(output.iterdir()) else None
    try:
        output.mkdir(parents=True, exist_ok=True)
        check_folder(output)
    except OSError as error:
        raise UsageError(
            f"--output {output}: cannot be written to: {error.strerror or error}; choose another folder"
        ) from error
    if earlier is not None:
        earlier.remove()
    return output


def _create_stamped(parent: Path) -> Path:
    parent.mkdir(exist_ok=True)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for attempt in range(1, 1000):
        folder = parent / (stamp if attempt == 1 else f"{stamp}-{attempt}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        _link_latest(parent / "latest", folder.name)
        return folder
    raise UsageError(f"{parent}: too many results of the same second; name a folder with --output")


def _link_latest(link: Path, target: str) -> None:
    """Point `latest` at the new folder; where links cannot be made, there is none."""
    temporary = link.with_name(f".latest.{os.getpid()}")
    try:
        temporary.symlink_to(target, target_is_directory=True)
        temporary.replace(link)
    except OSError:
        temporary.unlink(missing_ok=True)


def write_config(folder: Path, values: dict[str, Any]) -> None:
    """Write the effective configuration, in the order given; it tells later runs that the folder holds results."""
    replace_file(folder / CONFIG, MARKER + yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


@dataclass(frozen=True)
class PictureLook:
    """How pictures look.

    Attributes:
        title: the recording.
        size_px: width [pixels].
        range_m: from the sensor to the edges [m]; None chooses it from the first frame.
        most_m: the range that is chosen at most [m]: farther away the model sees nothing.
    """

    title: str
    size_px: int
    range_m: float | None
    most_m: float


class FrameOutputs:
    """Everything that is written per frame, each frame complete before the next; a context manager.

    Args:
        folder: the results folder.
        look: of the pictures.
        pictures: write a bird's-eye PNG per frame.
        movie: takes these pictures, too; closed with the rest.
    """

    def __init__(self, folder: Path, look: PictureLook, *, pictures: bool, movie: MovieWriter | None) -> None:
        self._look, self._range_m = look, look.range_m
        self._picture_sinks: list[Callable[[str, Any], None]] = []
        self._movie = movie
        if pictures:
            self._picture_folder = folder / PICTURES
            self._picture_folder.mkdir(exist_ok=True)
            self._picture_sinks.append(self._save_picture)
        if movie is not None:
            self._picture_sinks.append(lambda _, picture: movie.add(picture))
        self._boxes = JsonLinesWriter(folder / BOXES)
        self._kitti = KittiTextWriter(folder / KITTI)

    def write(self, frame: Frame, detections: Detections, milliseconds: float) -> None:
        """Write the boxes of one frame and, where wanted, its picture."""
        self._boxes.write(frame, detections)
        self._kitti.write(frame, detections)
        if self._picture_sinks:
            self._draw(frame, detections, milliseconds)

    def _draw(self, frame: Frame, detections: Detections, milliseconds: float) -> None:
        from ...detector.view import draw_birdseye
        from ...detector.view.birdseye import choose_range

        if self._range_m is None:  # the same for all frames, so that the movie does not zoom
            self._range_m = choose_range(frame.points, detections, most=self._look.most_m)
        picture = draw_birdseye(
            frame.points,
            detections,
            range_m=self._range_m,
            size_px=self._look.size_px,
            title=f"{self._look.title} · {readable_name(frame.frame_id)}",
            note=f"{len(frame.points):,} points    {milliseconds:.0f} ms",
        )
        for sink in self._picture_sinks:
            sink(frame.frame_id, picture)

    def _save_picture(self, frame_id: str, picture: Any) -> None:
        path = self._picture_folder / f"{file_stem(frame_id)}.png"
        with replacing(path) as temporary:
            picture.save(temporary, "PNG", compress_level=3)

    def close(self) -> None:
        """Finish the files that span all frames."""
        self._boxes.close()
        if self._movie is not None:
            self._movie.close()

    def __enter__(self) -> FrameOutputs:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
