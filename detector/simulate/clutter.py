"""clutter.py: background of a car's size: containers, heaps, sheds, shelters, terraces, stacks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .actors import build_pedestrian, build_seated_person
from .crowds import seat_on_bench
from .dice import Dice
from .mesh import Material
from .primitives import Spot
from .scenery import hedge_row, plant_tree
from .stage import Stage

Build = Callable[[Dice, Spot, float, float], None]


def furnish_clutter(stage: Stage) -> None:
    """Scatter car-sized background things and furnish terraces and bus stops with people."""
    dice, recipe = stage.dice, stage.recipe
    for _ in range(dice.count(recipe.bulky)):
        for _attempt in range(3):
            if _place_bulky(stage):
                break
    if stage.kind == "lot":
        _furnish_lot(stage)
    if stage.kind in ("city", "intersection", "residential") and dice.chance(0.5):
        _place_bus_stop(stage)
    if stage.kind in ("city", "intersection") and dice.chance(0.5):
        _place_terrace(stage)
    for _ in range(dice.count(0.15 * recipe.people)):
        _place_bench(stage)


def _dumpster(dice: Dice, spot: Spot, length: float, width: float) -> None:
    height = dice.uniform(1.1, 1.7)
    spot.box(length, width, height - 0.2, Material.METAL, z=0.2, taper=(1.05, 1.15))
    if dice.chance(0.6):
        spot.box(length, width, 0.3, Material.METAL, z=height, taper=(1.0, 0.4))


def _skip(dice: Dice, spot: Spot, length: float, width: float) -> None:
    """A skip with sloping ends and rubble in it."""
    height = dice.uniform(1.0, 1.6)
    spot.box(0.7 * length, width, height, Material.METAL, taper=(1.4, 1.0))
    if dice.chance(0.6):
        spot.ellipsoid((0.4 * length, 0.4 * width, 0.5), (0, 0, height), Material.WALL)


def _container(dice: Dice, spot: Spot, length: float, width: float) -> None:
    spot.box(length, width, dice.uniform(2.2, 2.7), Material.METAL)


def _shed(dice: Dice, spot: Spot, length: float, width: float) -> None:
    height = dice.uniform(1.8, 2.4)
    spot.box(length, width, height + 0.3, Material.WALL, z=-0.3)
    spot.box(length + 0.2, width + 0.2, dice.uniform(0.2, 0.8), Material.WALL, z=height, taper=(1.0, 0.05))


def _heap(dice: Dice, spot: Spot, length: float, width: float) -> None:
    """A heap of sand, rubble or soil of one to three lumps."""
    for _ in range(dice.integer(1, 3)):
        radii = (
            0.5 * length * dice.uniform(0.6, 1),
            0.5 * width * dice.uniform(0.6, 1),
            dice.uniform(0.5, 1.5),
        )
        spot.ellipsoid(radii, (dice.normal(0, 0.1) * length, dice.normal(0, 0.1) * width, 0), Material.GROUND)


def _tarp(dice: Dice, spot: Spot, length: float, width: float) -> None:
    """Goods under a cover, round-shouldered and about as high as a car."""
    height = dice.uniform(0.9, 1.7)
    spot.box(length, width, 0.6 * height, Material.CLOTH, taper=(0.97, 0.95))
    spot.box(
        0.97 * length,
        0.95 * width,
        0.4 * height,
        Material.CLOTH,
        z=0.6 * height,
        taper=(dice.uniform(0.4, 0.9), dice.uniform(0.3, 0.9)),
    )


def _pallets(dice: Dice, spot: Spot, length: float, width: float) -> None:
    across = max(1, int(length / 1.3))
    for index in range(across):
        height = dice.uniform(0.3, 1.9)
        spot.box(
            1.2,
            min(width, 1.0),
            height,
            Material.WALL,
            x=(index - 0.5 * (across - 1)) * 1.3,
            yaw=dice.normal(0, 0.05),
        )


def _low_wall(dice: Dice, spot: Spot, length: float, width: float) -> None:
    """The corner of a wall: two legs, as long as the sides of a car."""
    height, thick = dice.uniform(0.5, 1.8), dice.uniform(0.15, 0.4)
    spot.box(length, thick, height + 0.3, Material.WALL, y=-0.5 * (width - thick), z=-0.3)
    spot.box(thick, width, height + 0.3, Material.WALL, x=0.5 * (length - thick) * dice.sign(), z=-0.3)


def _flower_bed(dice: Dice, spot: Spot, length: float, width: float) -> None:
    """A raised bed: a wall around, plants within."""
    height = dice.uniform(0.3, 0.8)
    spot.box(length, width, height, Material.WALL)
    radii = (0.45 * length, 0.42 * width, dice.uniform(0.2, 0.8))
    spot.leaves(
        int(60 * length), dice.uniform(0.1, 0.22), radii, (0, 0, height), boxy=dice.chance(0.4), fuzz=0.5
    )


def _igloos(dice: Dice, spot: Spot, length: float, width: float) -> None:
    """Recycling containers in a row: round ones or boxes."""
    spherical = dice.chance(0.6)
    for x in np.arange(-0.5 * length + 0.8, 0.5 * length, 1.65):
        if spherical:
            spot.tube((float(x), 0, 0), (float(x), 0, 1.0), 0.72, Material.CLOTH, end_radius=0.76)
            spot.ellipsoid((0.76, 0.76, 0.65), (float(x), 0, 1.0), Material.CLOTH)
        else:
            spot.box(1.4, 1.3, 1.6, Material.METAL, x=float(x), taper=(0.8, 0.9))


def _barriers(dice: Dice, spot: Spot, length: float, width: float) -> None:
    """Barriers around a building pit."""
    for y in (-0.5 * width, 0.5 * width):
        for z in (0.35, 0.85):
            spot.box(length, 0.04, 0.22, Material.SIGN, y=y, z=z)
        for x in (-0.5 * length, 0.5 * length):
            spot.post(1.1, 0.04, Material.METAL, x=x, y=y)
    for x in (-0.5 * length, 0.5 * length):
        spot.box(0.04, width, 0.22, Material.SIGN, x=x, z=0.85)
    if dice.chance(0.5):
        spot.ellipsoid((0.3 * length, 0.3 * width, 0.6), (0, 0, 0), Material.GROUND)


def _phone_box(dice: Dice, spot: Spot, length: float, width: float) -> None:
    spot.box(0.9, 0.9, 2.3, Material.GLASS if dice.chance(0.6) else Material.METAL)
    spot.box(0.95, 0.95, 0.2, Material.METAL, z=2.3)
    for x in (-0.45, 0.45):
        for y in (-0.45, 0.45):
            spot.post(2.3, 0.04, Material.METAL, x=x, y=y)


def _advertising_column(dice: Dice, spot: Spot, length: float, width: float) -> None:
    spot.post(dice.uniform(2.4, 3.4), dice.uniform(0.5, 0.75), Material.WALL)


def _boat(dice: Dice, spot: Spot, length: float, width: float) -> None:
    spot.box(0.8 * length, 0.5 * width, 0.8, Material.PAINT, z=0.5, taper=(1.25, 1.9))
    spot.box(0.4 * length, 0.8 * width, 0.5, Material.CLOTH, z=1.3, taper=(0.7, 0.7))
    for x in (-0.2, 0.2):
        spot.tube((x * length, -0.5 * width, 0.3), (x * length, 0.5 * width, 0.3), 0.3, Material.RUBBER)


def _scaffold(dice: Dice, spot: Spot, length: float, width: float) -> None:
    for x in np.linspace(-0.5 * length, 0.5 * length, max(2, int(length / 2.0) + 1)):
        for y in (-0.5 * width, 0.5 * width):
            spot.post(6.0, 0.03, Material.METAL, x=float(x), y=y)
    for z in (2.0, 4.0):
        spot.box(length, width, 0.06, Material.WALL, z=z)
        spot.tube(
            (-0.5 * length, 0.5 * width, z + 1), (0.5 * length, 0.5 * width, z + 1), 0.03, Material.METAL
        )


def _playground(dice: Dice, spot: Spot, length: float, width: float) -> None:
    """A slide, a swing or a climbing frame."""
    for x in (-0.4 * length, 0.4 * length):
        for y in (-0.3, 0.3):
            spot.tube((x, 2.5 * y, 0), (x, 0.3 * y, 2.1), 0.05, Material.METAL)
    spot.tube((-0.4 * length, 0, 2.1), (0.4 * length, 0, 2.1), 0.05, Material.METAL)
    for x in (-0.15 * length, 0.15 * length):
        spot.box(0.45, 0.2, 0.05, Material.RUBBER, x=x, z=0.45)
    if dice.chance(0.5):
        spot.box(1.0, 1.0, 0.1, Material.WALL, z=1.2)
        spot.box(0.9, 0.9, 0.8, Material.WALL, z=1.3, taper=(1.0, 0.1))


def _trampoline(dice: Dice, spot: Spot, length: float, width: float) -> None:
    radius = 0.5 * length
    spot.tube((0, 0, 0.75), (0, 0, 0.8), radius, Material.RUBBER)
    for angle in np.arange(0, 6.28, 1.05):
        x, y = radius * float(np.cos(angle)), radius * float(np.sin(angle))
        spot.post(2.3 if length > 2.5 else 0.8, 0.03, Material.METAL, x=x, y=y)


def _wood_stack(dice: Dice, spot: Spot, length: float, width: float) -> None:
    for layer in range(dice.integer(2, 5)):
        for row in range(3):
            y, z = (row - 1) * 0.3 * width, 0.15 + 0.28 * layer
            ends = dice.uniform(-0.08, 0.08) * length
            start, end = (-0.5 * length + ends, y, z), (0.5 * length + ends, y, z)
            spot.tube(start, end, dice.uniform(0.1, 0.16), Material.WALL)


def _trolleys(dice: Dice, spot: Spot, length: float, width: float) -> None:
    """A shelter with a row of shopping trolleys."""
    for y in (-0.5 * width, 0.5 * width):
        spot.tube((-0.5 * length, y, 0.9), (0.5 * length, y, 0.9), 0.03, Material.METAL)
        for x in (-0.5 * length, 0.0, 0.5 * length):
            spot.post(2.1 if width > 1.9 else 0.9, 0.03, Material.METAL, x=x, y=y)
    if width > 1.9:
        spot.box(length, width, 0.06, Material.GLASS, z=2.1)
    for x in np.arange(-0.4 * length, 0.5 * length * dice.uniform(-0.5, 1.0), 0.3):
        spot.box(0.75, 0.5, 0.55, Material.FENCE, x=float(x), z=0.4, taper=(1.15, 1.1))
        spot.box(0.05, 0.5, 0.1, Material.RUBBER, x=float(x) - 0.4, z=0.95)


# Builder, range of lengths and widths [m], how often, and whether it may stand at the kerb in place of a car.
_BULKY: tuple[tuple[Build, tuple[float, float], tuple[float, float], float, bool], ...] = (
    (_dumpster, (1.3, 2.6), (1.0, 1.5), 1.5, True),
    (_skip, (3.0, 4.5), (1.6, 2.0), 0.8, True),
    (_container, (3.0, 6.1), (2.2, 2.5), 0.7, True),
    (_shed, (1.8, 4.5), (1.5, 3.0), 1.0, False),
    (_heap, (1.5, 5.0), (1.2, 2.6), 1.2, True),
    (_tarp, (1.8, 4.6), (1.2, 2.0), 1.2, True),
    (_pallets, (1.3, 4.0), (1.0, 1.1), 0.9, True),
    (_low_wall, (2.0, 5.5), (1.2, 3.0), 2.2, False),
    (_flower_bed, (1.5, 5.0), (0.7, 2.0), 1.5, False),
    (_igloos, (1.7, 5.0), (1.5, 1.6), 0.8, True),
    (_barriers, (1.5, 5.5), (1.2, 2.5), 0.9, True),
    (_phone_box, (1.0, 1.0), (1.0, 1.0), 0.5, False),
    (_advertising_column, (1.5, 1.5), (1.5, 1.5), 0.5, False),
    (_playground, (2.5, 5.0), (1.8, 2.5), 0.5, False),
    (_trampoline, (1.8, 4.0), (1.8, 4.0), 0.4, False),
    (_wood_stack, (1.5, 4.5), (0.8, 1.6), 0.6, False),
    (_trolleys, (2.5, 6.0), (1.2, 2.4), 0.2, True),
    (_boat, (4.0, 6.0), (1.7, 2.2), 0.12, True),
    (_scaffold, (4.0, 10.0), (0.9, 1.2), 0.35, False),
)


def _place_bulky(stage: Stage) -> bool:
    dice = stage.dice
    build, lengths, widths, _, on_road = dice.weighted(_BULKY, [entry[3] for entry in _BULKY])
    length, width = dice.uniform(*lengths), dice.uniform(*widths)
    street, side = dice.pick(stage.streets), dice.sign()
    edge = street.half_width(side)
    at_kerb = on_road and dice.chance(0.3)
    if at_kerb:
        out = edge - 0.5 * width - 0.2
    elif dice.chance(0.4):
        out = edge + max(street.sidewalk(side), 1.0) * dice.uniform(0.5, 1.0) + 0.5 * width
    else:
        out = edge + street.sidewalk(side) + 0.5 * width + dice.exponential(6.0)
    x, y, yaw = street.place(dice.uniform(-60, 60), side * out)
    if not at_kerb and dice.chance(0.4):
        yaw += dice.uniform(-np.pi, np.pi)
    spot = stage.spot((x, y, yaw + dice.normal(0, 0.05)), (length, width), off_road=None if at_kerb else 0.05)
    if spot is not None:
        build(dice, spot, length, width)
        stage.landmarks.append((x, y))
    return spot is not None


def _furnish_lot(stage: Stage) -> None:
    """Put lamp posts, young trees on islands, low hedges and trolley shelters between the bays of a parking lot."""
    dice, main = stage.dice, stage.streets[0]
    for _ in range(dice.count(12.0)):
        v = dice.uniform(-main.half_width(-1), main.half_width(1))
        if abs(v) < main.lanes * main.lane_width + 0.5:
            continue  # keep the aisle free
        x, y, yaw = main.place(dice.uniform(-55, 55), v)
        what = dice.weighted(("lamp", "tree", "hedge", "trolleys"), (0.35, 0.3, 0.2, 0.15))
        if what == "tree":
            plant_tree(stage, (x, y, yaw), trunk=dice.uniform(0.04, 0.12), off_road=None)
        elif what == "hedge":
            length, turn = dice.uniform(1.5, 5.0), dice.integer(0, 1) * 0.5 * np.pi
            hedge_row(
                stage,
                (x, y, yaw + turn),
                length,
                dice.uniform(0.5, 1.5),
                dice.uniform(0.4, 1.2),
                off_road=None,
            )
        else:
            length, width = (
                (dice.uniform(2.5, 6), dice.uniform(1.2, 2.4)) if what == "trolleys" else (0.5, 0.5)
            )
            spot = stage.spot((x, y, yaw), (length, width), margin=0.1)
            if spot is not None and what == "trolleys":
                _trolleys(dice, spot, length, width)
            elif spot is not None:
                spot.post(dice.uniform(4, 9), dice.uniform(0.05, 0.12), Material.METAL)
                spot.post(dice.uniform(0.3, 0.9), dice.uniform(0.15, 0.3), Material.WALL)
                stage.landmarks.append((x, y))


def _place_bus_stop(stage: Stage) -> None:
    """Build a shelter with a bench, and let people wait or sit there."""
    dice = stage.dice
    street, side = stage.streets[0], dice.sign()
    u, room = dice.uniform(-45, 45), max(1.7, street.sidewalk(side))
    if not street.clear(u, 6.0):
        return
    length, width = dice.uniform(2.5, 4.5), 1.4
    x, y, yaw = street.place(u, side * (street.half_width(side) + room - 0.5 * width + 0.2))
    yaw += 0.0 if side < 0 else np.pi  # +y looks at the road
    if not stage.fits((x, y, yaw), length, width, off_road=0.1):
        return
    spot = stage.spot((x, y, yaw))
    if spot is None:
        return
    c, s = float(np.cos(yaw)), float(np.sin(yaw))
    back = -0.5 * width + 0.05
    stage.ground.take(x - back * s, y + back * c, length, 0.1, yaw)
    spot.box(length, 0.04, 2.1, Material.GLASS, y=back, z=0.15)
    spot.box(length + 0.2, width + 0.2, 0.12, Material.METAL, z=2.35)
    for end in (-0.5, 0.5):
        spot.post(2.4, 0.05, Material.METAL, x=end * length, y=back)
        if dice.chance(0.6):
            spot.box(
                0.04,
                0.9 * width,
                2.0,
                Material.GLASS if dice.chance(0.6) else Material.SIGN,
                x=end * length,
                z=0.15,
            )
    spot.box(0.7 * length, 0.35, 0.06, Material.WALL, y=back + 0.3, z=0.42)
    out = back + 0.45
    seat_on_bench(stage, (x - out * s, y + out * c, yaw), int(0.7 * length / 0.65), 0.3)
    stage.landmarks += [
        (x + end * length * c - 0.6 * s, y + end * length * s + 0.6 * c) for end in (-0.3, 0.0, 0.3)
    ]


def _place_bench(stage: Stage) -> None:
    """Stand a bench on the pavement or in the green, looking at the road or away, with up to three people on it."""
    dice = stage.dice
    street, side = dice.pick(stage.streets), dice.sign()
    out = street.half_width(side) + dice.uniform(0.5, max(1.0, street.sidewalk(side)) + 2.0)
    x, y, yaw = street.place(dice.uniform(-50, 50), side * out)
    yaw += dice.integer(0, 1) * np.pi + dice.normal(0, 0.2)
    if not stage.fits((x, y, yaw), 1.9, 1.2, off_road=0.0):
        return
    spot = stage.spot((x, y, yaw))
    if spot is None:
        return
    spot.box(1.8, 0.42, 0.06, Material.WALL, z=0.42)
    spot.box(1.8, 0.06, 0.42, Material.WALL, y=-0.24, z=0.48)
    for end in (-0.7, 0.7):
        spot.box(0.08, 0.42, 0.42, Material.METAL, x=end)
    c, s = float(np.cos(yaw)), float(np.sin(yaw))
    seat_on_bench(stage, (x - 0.1 * s, y + 0.1 * c, yaw), 3, dice.uniform(0.0, 0.8))
    stage.ground.take(x, y, 1.8, 0.5, yaw)
    stage.landmarks.append((x + 1.2 * c, y + 1.2 * s))


def _place_terrace(stage: Stage) -> None:
    """Set tables, chairs and umbrellas on a pavement, some people seated and some standing about."""
    dice = stage.dice
    street, side = dice.pick(stage.streets), dice.sign()
    start = dice.uniform(-45, 35)
    for u in np.arange(start, start + dice.uniform(4, 14), dice.uniform(1.9, 2.6)):
        out = street.half_width(side) + dice.uniform(0.55, 0.9) * max(1.8, street.sidewalk(side))
        x, y, yaw = street.place(float(u), side * out)
        spot = stage.spot((x, y, yaw), (0.7, 0.7), off_road=0.2) if street.clear(float(u), 1.5) else None
        if spot is None:
            continue
        spot.post(0.72, 0.04, Material.METAL)
        spot.tube((0, 0, 0.7), (0, 0, 0.74), 0.36, Material.WALL)
        if dice.chance(0.45):
            spot.post(2.4, 0.025, Material.METAL)
            spot.tube((0, 0, 2.1), (0, 0, 2.6), dice.uniform(1.0, 1.6), Material.CLOTH, end_radius=0.05)
        for angle in (0.0, 1.57, 3.14, 4.71)[: dice.integer(2, 4)]:
            c, s = float(np.cos(yaw + angle)), float(np.sin(yaw + angle))
            pose = (x + 0.72 * c, y + 0.72 * s, yaw + angle + np.pi)
            if dice.chance(0.45):
                build = build_seated_person if dice.chance(0.85) else build_pedestrian
                stage.place_actor(build(dice.rng), pose, margin=-0.05)
            chair = stage.spot(pose)
            if chair is not None:
                chair.box(0.42, 0.42, 0.05, Material.METAL, z=0.42)
                chair.box(0.04, 0.42, 0.42, Material.METAL, x=-0.2, z=0.47)
