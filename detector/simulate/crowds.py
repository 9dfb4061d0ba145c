"""crowds.py: people alone, in pairs and in crowds, cyclists, and parked two-wheelers."""

from __future__ import annotations

import numpy as np

from .actors import build_bicycle, build_cyclist, build_motorcycle, build_pedestrian, build_seated_person
from .stage import Stage

Pose = tuple[float, float, float]

_GROUP_SIZES = (1, 2, 3, 4, 6, 9)
_GROUP_WEIGHTS = (0.5, 0.25, 0.1, 0.06, 0.06, 0.03)


def furnish_people(stage: Stage) -> None:
    """Place pedestrians, cyclists and parked two-wheelers."""
    dice, recipe = stage.dice, stage.recipe
    wanted = dice.count(recipe.people)
    for _ in range(3 * wanted):  # some find no room and try elsewhere
        if wanted <= 0:
            break
        wanted -= _place_group(stage, min(wanted, dice.weighted(_GROUP_SIZES, _GROUP_WEIGHTS)))
    for _ in range(dice.count(recipe.cyclists)):
        _place_cyclists(stage)
    _park_bicycles(stage)
    for _ in range(dice.count(0.12 * recipe.people)):
        street, side = dice.pick(stage.streets), dice.sign()
        v = side * (street.half_width(side) + dice.uniform(-0.8, 1.0))
        x, y, yaw = street.place(dice.uniform(-55, 55), v)
        pose = (x, y, yaw + dice.uniform(-np.pi, np.pi))
        stage.place_actor(build_motorcycle(dice.rng), pose, margin=0.05)


def _place_group(stage: Stage, size: int) -> int:
    """Place people of one group, 0.3 to 0.5 m apart; return how many found room."""
    dice = stage.dice
    x, y, yaw = _gathering(stage)
    facing_centre = size > 2 and dice.chance(0.4)
    walking = dice.chance(0.6)
    speed = dice.uniform(0.6, 1.6) if walking else 0.0
    placed = 0
    spread = 0.32 + 0.3 * float(np.sqrt(size))
    for _ in range(size):
        for _attempt in range(4):
            dx, dy = dice.normal(0, spread) if size > 1 else 0.0, dice.normal(0, spread) if size > 1 else 0.0
            turn = (
                float(np.arctan2(-dy, -dx))
                if facing_centre
                else yaw + dice.normal(0, 0.2 if walking else 1.0)
            )
            pose = (x + dx, y + dy, turn)
            if stage.fits(pose, 0.5, 0.5):
                placed += stage.place_actor(build_pedestrian(dice.rng), pose, margin=0.02, speed=speed)
                break
    return placed


def seat_on_bench(stage: Stage, pose: Pose, places: int, occupied: float) -> None:
    """Seat people side by side on a bench whose middle is at `pose`, looking along its +y."""
    dice = stage.dice
    c, s = float(np.cos(pose[2])), float(np.sin(pose[2]))
    for place in range(places):
        if dice.chance(occupied):
            along = (place - 0.5 * (places - 1)) * dice.uniform(0.62, 0.75)
            seat = (pose[0] + along * c, pose[1] + along * s, pose[2] + 0.5 * np.pi + dice.normal(0, 0.15))
            stage.place_actor(build_seated_person(dice.rng), seat, margin=0.0)


def _gathering(stage: Stage) -> Pose:
    """Return where a group is: on the pavement, crossing, beside a parked car, a post or a wall, or anywhere."""
    dice = stage.dice
    street = stage.streets[0] if dice.chance(0.7) else dice.pick(stage.streets)
    place = dice.weighted(("pavement", "roadway", "car", "landmark", "yard"), (0.44, 0.15, 0.14, 0.19, 0.08))
    if place == "car" and stage.actors:
        index = dice.integer(0, len(stage.actors) - 1)
        actor, (x, y, yaw) = stage.actors[index], stage.poses[index]
        if stage.speeds[index] == 0 and actor.label in ("car", "van"):
            side, along = dice.sign(), dice.uniform(-0.5, 0.6) * actor.size[0]
            out = side * (0.5 * actor.size[1] + dice.uniform(0.35, 0.6))
            c, s = float(np.cos(yaw)), float(np.sin(yaw))
            return x + along * c - out * s, y + along * s + out * c, yaw + dice.uniform(-np.pi, np.pi)
    if place == "landmark" and stage.landmarks:
        x, y = dice.pick(stage.landmarks)
        angle, distance = dice.uniform(-np.pi, np.pi), dice.uniform(0.4, 1.2)
        return (
            x + distance * float(np.cos(angle)),
            y + distance * float(np.sin(angle)),
            dice.uniform(-np.pi, np.pi),
        )
    u, side = 55.0 * dice.uniform(-1, 1), dice.sign()
    if dice.chance(0.5):  # more of them near the ego, where they can be seen well
        u *= 0.5
    edge = street.half_width(side)
    if place == "roadway" or (stage.kind == "lot" and dice.chance(0.6)):
        x, y, yaw = street.place(u, side * dice.uniform(0, edge))
        return x, y, yaw + dice.sign() * 0.5 * np.pi + dice.normal(0, 0.4)
    out = edge + (
        dice.uniform(0.2, max(0.6, street.sidewalk(side))) if place != "yard" else dice.uniform(0.5, 15)
    )
    x, y, yaw = street.place(u, side * out)
    return x, y, yaw + (0.0 if dice.chance(0.5) else np.pi) + dice.normal(0, 0.25)


def _place_cyclists(stage: Stage) -> None:
    """Place one cyclist, or a few behind each other, on the road's edge, a lane or the pavement."""
    dice = stage.dice
    street, side = dice.pick(stage.streets), dice.sign()
    inner = street.half_width(side) - street.parking[side > 0].depth
    v = (
        inner - dice.uniform(0.4, 1.2)
        if dice.chance(0.7)
        else street.half_width(side) + dice.uniform(0.3, 2.0)
    )
    against = np.pi if dice.chance(0.15) else 0.0
    u = dice.uniform(-50, 50)
    for _ in range(dice.weighted((1, 2, 3), (0.78, 0.16, 0.06))):
        x, y, yaw = street.place(u, side * (v + dice.normal(0, 0.3)))
        yaw += (0.0 if side < 0 else np.pi) + against + dice.normal(0, 0.1)
        stage.place_actor(build_cyclist(dice.rng), (x, y, yaw), margin=0.05, speed=dice.uniform(2, 7))
        u += dice.uniform(1.9, 4.5)


def _park_bicycles(stage: Stage) -> None:
    """Lean bicycles about, alone or in a rack; they are background, however much they look like cyclists."""
    dice = stage.dice
    for _ in range(dice.count(0.5 * stage.recipe.bicycles)):
        street, side = dice.pick(stage.streets), dice.sign()
        out = side * (street.half_width(side) + dice.uniform(0.3, max(0.9, street.sidewalk(side))))
        u = dice.uniform(-50, 50)
        count = 1 if dice.chance(0.6) else dice.integer(3, 9)
        turn = dice.uniform(-np.pi, np.pi) if count == 1 else 0.5 * np.pi + dice.normal(0, 0.3)
        for _ in range(count):
            x, y, yaw = street.place(u, out)
            stage.place_actor(build_bicycle(dice.rng), (x, y, yaw + turn + dice.normal(0, 0.06)), margin=0.0)
            u += dice.uniform(0.6, 0.9)
