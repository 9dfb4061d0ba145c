"""terrain.py: the height of the ground: gradient, crown, kerbs and driveways, steps and hills."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .dice import Dice
from .mesh import Material, Mesh, grid_faces
from .recipes import Recipe
from .streets import REACH, Street

F64 = NDArray[np.float64]

_KERB_RUN = 0.05  # [m] over which a kerb or a step rises
_EDGE = REACH + 6.0


class Terrain:
    """Height of the ground in the scene frame; 0 at the origin.

    Args:
        streets: the main road first.
        kind, recipe: of the scene.
        paved: extra paved width right and left of the main road [m] (a parking lot).
    """

    def __init__(self, dice: Dice, streets: tuple[Street, ...], kind: str, recipe: Recipe) -> None:
        self.streets, self.kind = streets, kind
        self._stations = np.arange(-110.0, 111.0)
        self._elevation = _draw_profile(dice, self._stations, kind, recipe)
        self._bank = dice.normal(0, 0.01)
        self._crown = dice.uniform(0.0, 0.025)
        self._kerb = dice.uniform(*recipe.curb)
        self._swell = dice.uniform(0.0, 0.12), dice.uniform(30, 80), dice.uniform(9, 25)
        self._phase = dice.uniform(0, 6.28), dice.uniform(0, 6.28)
        # Right and left: where the ground steps up or down beyond the pavement, and where it begins to climb.
        self.steps = tuple(_draw_step(dice, recipe) for _ in range(2))
        self._hills = tuple(_draw_hill(dice, recipe) for _ in range(2))
        self._drops = np.zeros((2, len(self._stations)))
        main = streets[0]
        self._zero = 0.0
        self._zero = float(self.at(np.zeros(1), np.array([main.line.offset]))[0])

    def lower_kerb(self, side: int, station: float, width: float) -> None:
        """Lower the kerb of the main road for a driveway."""
        span = np.clip(0.5 * width + 0.7 - np.abs(self._stations - station), 0, 1)
        self._drops[int(side > 0)] = np.maximum(self._drops[int(side > 0)], span)

    def beyond_kerb(self, s: F64, t: F64) -> F64:
        """Return the distance [m] from the nearest paved street, negative on it."""
        main = self.streets[0]
        distance = np.where(t < 0, -t - main.half_width(-1), t - main.half_width(1))
        for street in self.streets[1:]:
            v = street.station - s
            distance = np.minimum(
                distance, np.where(v < 0, -v - street.half_width(-1), v - street.half_width(1))
            )
        return distance

    def at(self, s: F64, t: F64) -> F64:
        """Return the height [m] of points in the road frame."""
        main = self.streets[0]
        left = t > 0
        distance = self.beyond_kerb(s, t)
        outside = np.maximum(distance, 0.0)
        swell, wave, ripple = self._swell
        height = np.interp(s, self._stations, self._elevation) + self._bank * np.clip(
            t - main.line.offset, -25, 25
        )
        height += swell * np.sin(2 * np.pi * s / wave + self._phase[0])
        height += 0.3 * swell * np.sin(t / ripple + self._phase[1])
        height -= self._crown * np.minimum(np.abs(t), np.where(left, main.half_width(1), main.half_width(-1)))
        drop = np.where(
            left, np.interp(s, self._stations, self._drops[1]), np.interp(s, self._stations, self._drops[0])
        )
        height += self._kerb * np.clip(outside / _KERB_RUN, 0, 1) * (1.0 - 0.85 * drop)
        height += 0.02 * np.minimum(outside, 3.0)
        for side in (0, 1):
            at, rise = self.steps[side]
            start, run, hill = self._hills[side]
            sidewalk = main.sidewalks[side]
            climb = np.clip((outside - sidewalk - start) / run, 0, 1)
            bank = rise * np.clip((outside - sidewalk - at) / 0.12, 0, 1) + hill * climb * climb * (
                3 - 2 * climb
            )
            height += np.where(left == bool(side), bank, 0.0)
        return np.asarray(height - self._zero)

    def height(self, x: F64, y: F64) -> F64:
        """Return the height [m] of the ground at points of the scene frame."""
        return self.at(*self.streets[0].line.locate(np.asarray(x, np.float64), np.asarray(y, np.float64)))

    def mesh(self, rng: np.random.Generator) -> Mesh:
        """Return the ground as a grid that has lines along every kerb and step."""
        s, t = self._grid_lines()
        grid_s, grid_t = np.meshgrid(s, t, indexing="ij")
        flat_s, flat_t = grid_s.ravel(), grid_t.ravel()
        x, y = self.streets[0].line.places(flat_s, flat_t)
        z = self.at(flat_s, flat_t) + rng.normal(0, 0.008, len(x))
        middle_s, middle_t = np.meshgrid(0.5 * (s[1:] + s[:-1]), 0.5 * (t[1:] + t[:-1]), indexing="ij")
        main = self.streets[0]
        lawn = self.beyond_kerb(middle_s.ravel(), middle_t.ravel()) > np.where(
            middle_t.ravel() > 0, main.sidewalks[1], main.sidewalks[0]
        )
        green = self.kind in ("residential", "rural", "arterial")
        materials = np.where(lawn & green, Material.GRASS, Material.GROUND).astype(np.int16)
        return Mesh(np.stack([x, y, z], 1), grid_faces(len(s), len(t)), np.repeat(materials, 2))

    def _grid_lines(self) -> tuple[F64, F64]:
        """Return the stations and offsets of the ground's grid."""
        main = self.streets[0]
        t_lines: list[F64] = [
            np.arange(-_EDGE, -30, 6.0),
            np.arange(-30, 30, 2.5),
            np.arange(30, _EDGE + 1, 6.0),
            np.zeros(1),
        ]
        s_lines = [np.arange(-_EDGE, -40, 4.0), np.arange(-40, 40, 2.0), np.arange(40, _EDGE + 1, 4.0)]
        for side in (-1, 1):
            t_lines.append(side * self._profile_lines(side, main.half_width(side)))
        for street in self.streets[1:]:
            for side in (-1, 1):
                for other in (-1, 1):
                    s_lines.append(
                        street.station - side * self._profile_lines(other, street.half_width(side))
                    )
        return _thinned(np.concatenate(s_lines)), _thinned(np.concatenate(t_lines))

    def _profile_lines(self, side: int, kerb: float) -> F64:
        """Return the distances from an axis at which the cross-section on `side` of the main road bends."""
        step = kerb + self.streets[0].sidewalks[int(side > 0)] + self.steps[int(side > 0)][0]
        lines = [kerb, kerb + _KERB_RUN]
        if self.steps[int(side > 0)][1] != 0.0:
            lines += [step, step + 0.12]
        return np.array(lines)


def _thinned(lines: F64) -> F64:
    """Return sorted lines without near duplicates."""
    lines = np.unique(lines)
    return np.asarray(lines[np.concatenate([[True], np.diff(lines) > 0.03])])


def _draw_profile(dice: Dice, stations: F64, kind: str, recipe: Recipe) -> F64:
    """Return the elevation of the main road at `stations`: a random walk of its gradient, at most 11 %."""
    knots = np.arange(stations[0], stations[-1] + 1, 27.5)
    deviation = recipe.grade * (2.2 if kind == "city" and dice.chance(0.25) else dice.uniform(0.2, 1.0))
    steps = np.array([dice.normal(0, deviation) for _ in knots])
    middle = len(knots) // 2
    grades = np.cumsum(steps)
    grades += dice.normal(0, 0.008) - grades[middle]  # near the ego the road is level in the ego's own frame
    grade = np.interp(stations, knots, np.clip(grades, -0.11, 0.11))
    return np.concatenate([[0.0], np.cumsum(0.5 * (grade[1:] + grade[:-1]))])


def _draw_step(dice: Dice, recipe: Recipe) -> tuple[float, float]:
    """Return the distance beyond the pavement and the height of a step of the ground (0: none)."""
    if not dice.chance(0.3):
        return 0.0, 0.0
    rise = dice.uniform(0.15, max(0.3, 0.6 * recipe.hill))
    return dice.uniform(0.1, max(0.2, min(4.0, recipe.setback[0]))), min(rise, 2.2) * (
        1 if dice.chance(0.75) else -0.5
    )


def _draw_hill(dice: Dice, recipe: Recipe) -> tuple[float, float, float]:
    """Return where the ground begins to climb beyond the pavement, over what distance, and how high."""
    rise = dice.normal(0.0, 0.5 * recipe.hill)
    return dice.uniform(0.3, 6.0), dice.uniform(6.0, 40.0) + 3.0 * abs(rise), rise
