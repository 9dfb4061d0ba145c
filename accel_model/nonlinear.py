"""nonlinear.py: cycles and steps of GELU, softmax and norms on lanes of tables, polynomials or special functions."""

from __future__ import annotations

from dataclasses import dataclass

from ..runtime.operations import OperationKind
from .spec import NonlinearSpec

# Assumed: no published figure is known for these four.
DIVISION_CYCLES = 32  # a serial divider gives one bit of a 32-bit quotient per cycle
FUNCTION_CYCLES = 8  # a special-function unit is busy with one element
REQUANTISE = 1  # multiplications: exponentials become 16 bits before they are summed (I-BERT's code)
SQRT_ITERATIONS = 4  # published for 32-bit integers: "at most four" (I-BERT, arXiv 2101.01321)


@dataclass(frozen=True)
class _Recipe:
    """How a unit makes its functions; a step is one multiplication (with its additions and shifts) of a lane.

    Attributes:
        exp, gelu, silu: cycles of a lane per element.
        silu_steps: of them, steps; all of exp and gelu are.
        reciprocal, rsqrt: cycles of one value, once per row.
        rsqrt_steps: steps of one value; a division counts as one.
        mean_first: the norm takes the mean in a pass of its own, before the squares.
    """

    exp: int
    gelu: int
    silu: int
    silu_steps: int
    reciprocal: int
    rsqrt: int
    rsqrt_steps: int
    mean_first: bool


def count_operator(kind: OperationKind, rows: int, width: int, unit: NonlinearSpec) -> int:
    """Return cycles of an operator on (rows, width) elements.

    Softmax and norms: rows · `count_row`, one row after the other. The others: `count_elements` of rows · width.
    """
    if kind in ("softmax", "layer_norm", "rms_norm"):
        return rows * count_row(kind, width, unit)
    return count_elements(kind, rows * width, unit)


def count_elements(kind: OperationKind, elements: int, unit: NonlinearSpec) -> int:
    """Return cycles of an element-wise operator: p + k · ceil(N / n_l), p the depth, n_l the lanes.

    k cycles of a lane per element:
        add, multiply: 1; rotate: 2 (two products per element).
        nn_lut: 1 for any function: compare, read the table, multiply, add.
        polynomial: gelu 2, the square of (q + q_b)² + q_c and the product with x (I-BERT's i-GELU; sign and clip
            are not counted); silu 3 + 32 + 1: i-exp, a serial division, the product (assumed; I-BERT has none).
        exact: 8 (assumed).

    The table's form is a reconstruction: NN-LUT (arXiv 2112.02191) publishes no such equation.
    """
    if not elements:
        return 0
    return unit.pipeline_cycles + _count_lane_cycles(kind, unit) * -(-elements // unit.lanes)


def count_row(kind: OperationKind, width: int, unit: NonlinearSpec) -> int:
    """Return cycles of softmax or a norm on one row of n elements, with g = ceil(n / n_l), t = ceil(log2 n_l).

        softmax     [max] g + t   [exp, sum] e · g + p + t   [1/x] r   [scale] g
        layer_norm  [sum, sum of squares] g + t              [1/√x] q  [scale] g
        rms_norm    [sum of squares] g + t                   [1/√x] q  [scale] g

    nn_lut: e = 1, r = q = p. polynomial: e = 4 (i-exp: quotient by ln 2, remainder, square; and 16-bit requantising),
    r = 32 (one serial division), q = 4 · (32 + 1) + 32 (i-sqrt's iterations, a division), and layer_norm takes
    the mean before the squares, g + t + p more. exact: e = 8, r = q = p + 8. A product with a value that the row shares
    is made in the cycle that reads the element, so squares and scale have no depth.
    """
    if not width:
        return 0
    recipe = _find_recipe(unit)
    groups, levels = -(-width // unit.lanes), (unit.lanes - 1).bit_length()
    if kind == "softmax":
        largest = groups + levels
        exponentials = recipe.exp * groups + unit.pipeline_cycles + levels
        return largest + exponentials + recipe.reciprocal + groups
    mean = groups + levels + unit.pipeline_cycles if recipe.mean_first and kind == "layer_norm" else 0
    return mean + groups + levels + recipe.rsqrt + groups


def count_steps(kind: OperationKind, rows: int, width: int, unit: NonlinearSpec) -> int:
    """Return steps of the lanes, each priced by `energy.py`: multiplications, divisions as one each.

    Comparisons for a row's maximum and additions without a product, 1 to 2 % of a step's energy, are not counted.
    """
    recipe = _find_recipe(unit)
    if kind == "softmax":
        return rows * (width * (recipe.exp + 1) + 1)
    if kind in ("layer_norm", "rms_norm"):
        mean = 1 if recipe.mean_first and kind == "layer_norm" else 0
        return rows * (2 * width + recipe.rsqrt_steps + mean)
    per_element = {"add": 0, "multiply": 1, "rotate": 2, "gelu": recipe.gelu, "silu": recipe.silu_steps}
    return rows * width * per_element[kind]


def count_passes(kind: OperationKind, unit: NonlinearSpec) -> tuple[int, int]:
    """Return how often an operator reads each element of its input buffer, and how often it writes it back there."""
    if kind == "softmax":
        return 3, 1  # the exponentials wait for their sum
    if kind == "layer_norm":
        return (3 if _find_recipe(unit).mean_first else 2), 0
    return (2 if kind == "rms_norm" else 1), 0


def _count_lane_cycles(kind: OperationKind, unit: NonlinearSpec) -> int:
    recipe = _find_recipe(unit)
    return {"add": 1, "multiply": 1, "rotate": 2, "gelu": recipe.gelu, "silu": recipe.silu}[kind]


def _find_recipe(unit: NonlinearSpec) -> _Recipe:
    depth = unit.pipeline_cycles
    if unit.unit == "nn_lut":
        return _Recipe(1, 1, 1, 1, depth, depth, 1, mean_first=False)
    if unit.unit == "polynomial":
        root = SQRT_ITERATIONS * (DIVISION_CYCLES + 1)
        return _Recipe(
            exp=3 + REQUANTISE,
            gelu=2,
            silu=3 + DIVISION_CYCLES + 1,
            silu_steps=5,
            reciprocal=DIVISION_CYCLES,
            rsqrt=root + DIVISION_CYCLES,
            rsqrt_steps=SQRT_ITERATIONS + 1,
            mean_first=True,
        )
    once = depth + FUNCTION_CYCLES
    return _Recipe(
        FUNCTION_CYCLES, FUNCTION_CYCLES, FUNCTION_CYCLES, FUNCTION_CYCLES, once, once, FUNCTION_CYCLES,
        mean_first=False,
    )  # fmt: skip
