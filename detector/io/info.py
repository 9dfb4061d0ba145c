"""info.py: what is known and what was guessed about a recording, and the block of text that says so."""

from __future__ import annotations

from dataclasses import dataclass

from .sources import Guess


@dataclass(frozen=True)
class RecordingInfo:
    """Everything worth knowing before a recording is processed.

    Attributes:
        path: the recording.
        format: name of its format, as `--format` takes it.
        topic: PointCloud2 topic, or None where there are no topics.
        fields: names of the stored fields of a point.
        columns: the fields that became x, y, z and, where there is one, intensity.
        intensity_scale: stored value of full intensity (1, 255, 65535); 0 = no intensity.
        frames: number of frames that iterating yields, or None when it is not known before the end.
        points_per_frame: points of each of the first frames, unusable ones left out.
        unusable_points: points of the first frames that had no finite position.
        ground_height: z of the ground under the sensor [m], the median over the first frames; None without points.
            Something to look at: the detector estimates it in every frame.
        guesses: what was found out instead of given, each with the flag that overrides it.
    """

    path: str
    format: str
    topic: str | None
    fields: tuple[str, ...]
    columns: tuple[str, ...]
    intensity_scale: float
    frames: int | None
    points_per_frame: tuple[int, ...]
    unusable_points: int
    ground_height: float | None
    guesses: tuple[Guess, ...]

    def flag(self, name: str) -> str | None:
        """Return the flag that overrides `name` if that was guessed, else None."""
        return next((guess.flag for guess in self.guesses if guess.name == name), None)


def describe(info: RecordingInfo) -> str:
    """Return the header block of a recording: one line per property, guesses marked with their flag."""
    first = len(info.points_per_frame)
    mean = round(sum(info.points_per_frame) / max(first, 1))
    points = f"{mean:,} per frame (mean of the first {first})"
    if info.unusable_points:
        points += f", {info.unusable_points:,} without a finite position left out"
    scale = f"0..{info.intensity_scale:g}" if info.intensity_scale > 0 else "none, set to 0"
    ground = (
        "unknown (no points)"
        if info.ground_height is None
        else f"z = {info.ground_height:.2f} m under the sensor (median of the first {first})"
    )
    stored = [guess.value for guess in info.guesses if guess.name == "columns"]
    rows = [
        ("recording", info.path, None),
        ("format", info.format, info.flag("format")),
        *([("topic", info.topic, info.flag("topic"))] if info.topic else []),
        ("columns", stored[0] if stored else " ".join(info.fields) or "unknown", info.flag("columns")),
        ("frames", "unknown until the end" if info.frames is None else f"{info.frames:,}", None),
        ("points", points, None),
        ("intensity", scale, info.flag("intensity scale")),
        ("ground", ground, info.flag("ground height")),
    ]
    return "\n".join(
        f"{name:<10} {value}" + (f"  (guessed; {flag} overrides)" if flag else "")
        for name, value, flag in rows
    )
