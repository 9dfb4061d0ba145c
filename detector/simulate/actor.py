"""actor.py: one thing that stands or drives in a street, with the box and label that an annotator draws."""

from __future__ import annotations

from dataclasses import dataclass

from .mesh import Mesh


@dataclass(frozen=True)
class Actor:
    """A parametric object in its own frame.

    Attributes:
        mesh: origin at the centre of the labelled box's footprint, on the ground (z = 0), facing +x.
        size: length, width, height [m] of the labelled box, which stands on the ground around the origin.
            Cars without mirrors, people with arms and legs, riders with what they ride.
        label: "car", "pedestrian", "cyclist" (detected); "van", "truck", "bus", "motorcyclist", "sitting"
            (labelled, ignored by training and evaluation); "other" (unlabelled background).
    """

    mesh: Mesh
    size: tuple[float, float, float]
    label: str
