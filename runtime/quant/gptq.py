"""gptq.py: rounding column by column, each error made good by the columns that are still to come."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..checks import check_number, check_whole
from ..errors import UsageError
from .formats import Floats, Levels
from .matrices import QuantisedTensor, list_groups
from .rounding import round_nearest


@dataclass(frozen=True)
class GptqOptions:
    """How GPTQ runs.

    Attributes:
        damping: share of the Hessian's mean diagonal that is added to the diagonal, above 0.
        block: columns whose corrections to the rest are applied in one product; changes rounding errors only.

    Raises:
        UsageError: a value is outside its range.
    """

    damping: float = 0.01
    block: int = 128

    def __post_init__(self) -> None:
        check_whole("block", self.block, least=1)
        if not 0.0 < check_number("damping", self.damping) < np.inf:
            raise UsageError(f"damping must be above 0, got {self.damping}")


def find_hessian(activations: Floats) -> Floats:
    """Return 2 XᵀX / samples of (samples, in) activations, (in, in): of the mean squared output error."""
    return (activations.T @ activations) * (2.0 / len(activations))


def measure_rows(error: Floats, hessian: Floats) -> Floats:
    """Return the mean squared output error of each row: ½ e H eᵀ of a weight error (out, in)."""
    return np.asarray(0.5 * ((error @ hessian) * error).sum(axis=1))


def round_gptq(
    weight: Floats,
    levels: tuple[Levels, ...],
    width: int,
    hessian: Floats,
    options: GptqOptions | None = None,
) -> QuantisedTensor:
    """Round weights so that the outputs on the calibration activations change little.

    GPTQ, also called OPTQ, as in Lee et al. 2023 (arXiv 2311.05161): after column q was rounded, those that follow
    change by -(w_q - Q(w_q)) / [H⁻¹]_qq * (H⁻¹)_q,:, where H = 2 XᵀX. Columns with a large diagonal
    of H come first; the levels are found before ("static groups"), so the order is free. A row whose output error is
    not less than with rounding to nearest is rounded to nearest, which is ours: greedy corrections may lose where a
    row has few levels.

    Args:
        weight: (out, in) finite numbers.
        levels: of each group of columns, as `WeightFormat.fit` finds them.
        width: columns of a group.
        hessian: (in, in), see `find_hessian`.
        options: damping and block; None for the usual ones.

    Raises:
        UsageError: the damping is too little for that Hessian.
    """
    chosen = options or GptqOptions()
    order = np.argsort(-np.diag(hessian), kind="stable")
    factor = _factorise(hessian[np.ix_(order, order)], chosen.damping)
    nearest = round_nearest(weight, levels, width)
    codes = np.empty_like(nearest.codes)
    codes[:, order] = _round_columns(weight[:, order], levels, order // width, factor, chosen.block)
    found = QuantisedTensor(codes, levels, width)
    loss = measure_rows(found.decode() - weight, hessian)
    better = loss < measure_rows(nearest.decode() - weight, hessian)
    return QuantisedTensor(np.where(better[:, None], codes, nearest.codes), levels, width)


def _factorise(hessian: Floats, damping: float) -> Floats:
    """Return the upper triangular U with H⁻¹ = UᵀU, of the damped Hessian.

    From H = R Rᵀ with R upper triangular, which is a Cholesky factor read backwards, follows U = R⁻¹.
    """
    mean = float(np.diag(hessian).mean())
    damped = hessian + np.diag(np.full(len(hessian), damping * mean if mean > 0 else 1.0))
    try:
        backwards = np.linalg.cholesky(damped[::-1, ::-1])
    except np.linalg.LinAlgError:
        raise UsageError(
            f"the Hessian is not positive definite with damping {damping}; use more damping, or more activations"
        ) from None
    return np.triu(np.linalg.inv(backwards[::-1, ::-1]))


def _round_columns(
    weight: Floats, levels: tuple[Levels, ...], groups: NDArray[np.intp], factor: Floats, block: int
) -> NDArray[np.uint8]:
    """Return codes (out, in) of columns that are in the order in which they are rounded.

    Args:
        weight: (out, in).
        levels: of each group.
        groups: (in,) the group of each column.
        factor: (in, in), see `_factorise`.
        block: columns whose corrections to the rest are gathered.
    """
    rest = np.ascontiguousarray(weight.T)  # (in, out)
    codes = np.empty(rest.shape, np.uint8)
    for columns in list_groups(len(rest), block):
        errors = np.empty((columns.stop - columns.start, rest.shape[1]))
        for index, column in enumerate(range(columns.start, columns.stop)):
            found = levels[groups[column]]
            code = found.encode(rest[column][:, None])
            codes[column] = code[:, 0]
            errors[index] = (rest[column] - found.decode(code)[:, 0]) / factor[column, column]
            tail = factor[column, column + 1 : columns.stop]
            rest[column + 1 : columns.stop] -= np.outer(tail, errors[index])
        rest[columns.stop :] -= factor[columns, columns.stop :].T @ errors
    return codes.T
