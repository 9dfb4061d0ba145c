"""peers.py: the other runtimes that a benchmark runs beside the engine, those that are installed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from ...detector.manifest import Precision
from ...detector.network import LayerWeights
from ...detector.standard import (
    DENSE_MACS,
    SHAPE,
    StandardNetwork,
    draw_pillars,
    standard_network,
)
from ...runtime.errors import MissingExtraError
from ...runtime.sparse import PillarGrid
from .dense_onnx import DenseOnnx, build_dense_model, densify
from .openvino_peer import OpenVino
from .spconv_peer import SpconvNetwork
from .steps import count_macs, record_steps

Call = Callable[[], object]


@dataclass(frozen=True)
class Peer:
    """Another runtime, ready to run the standard network.

    Attributes:
        name, version: of the runtime.
        precision: of its multiplications.
        computes: "dense", or "submanifold" for a sparse runtime.
        threads: of one call.
        prepare: takes a frame, returns a call that computes the network on it.
        count_macs: takes a frame's (P, 2) pillars, returns the multiply-accumulates that count as useful.
        prepare_indices: takes a frame, returns a call that finds the indices of all layers; None for dense ones.
    """

    name: str
    version: str
    precision: Precision
    computes: str
    threads: int
    prepare: Callable[[PillarGrid], Call]
    count_macs: Callable[[npt.NDArray[np.int32]], int]
    prepare_indices: Callable[[PillarGrid], Call] | None = None


def gather_peers(
    precisions: tuple[Precision, ...], threads: tuple[int, ...]
) -> tuple[tuple[Peer, ...], tuple[str, ...]]:
    """Return the peers for these precisions and numbers of threads, and a line for each that is not installed."""
    found: list[Peer] = []
    missing: list[str] = []
    for gather in (_gather_dense, _gather_sparse):
        for precision in precisions:
            for count in threads:
                gather(precision, count, found, missing)
    return tuple(found), tuple(dict.fromkeys(missing))


def _gather_dense(precision: Precision, threads: int, found: list[Peer], missing: list[str]) -> None:
    """Add onnxruntime and OpenVINO on the dense network in one precision."""
    network = standard_network("dense", precision, threads=1)
    try:
        model = build_dense_model(network.architecture, network.weights, SHAPE)
    except MissingExtraError as error:
        missing.append(str(error))
        return
    for name, runtime in (("onnxruntime", DenseOnnx), ("openvino", OpenVino)):
        try:
            session = runtime(model, threads)
        except MissingExtraError as error:
            missing.append(str(error))
            continue
        prepare = partial(_prepare_dense, session)
        found.append(
            Peer(name, session.version, precision, "dense", threads, prepare, lambda coords: DENSE_MACS)
        )


def _prepare_dense(session: DenseOnnx | OpenVino, grid: PillarGrid) -> Call:
    values = densify(grid.to_dense())  # not timed: the peer is handed the frame as it likes it
    return lambda: session.run(values)


def _gather_sparse(precision: Precision, threads: int, found: list[Peer], missing: list[str]) -> None:
    """Add spconv on the submanifold network; it has float32 only."""
    if precision != "fp32":
        return
    network = standard_network("submanifold", "fp32", threads=1)
    try:
        peer = SpconvNetwork(network.architecture, take_float_weights(network), threads)
    except MissingExtraError as error:
        missing.append(str(error))
        return
    found.append(
        Peer(
            "spconv",
            peer.version,
            "fp32",
            "submanifold",
            threads,
            lambda grid: partial(peer.run, grid),
            lambda coords: count_macs(record_steps(network, draw_pillars(coords))),
            lambda grid: partial(peer.find_indices, grid),
        )
    )


def take_float_weights(network: StandardNetwork) -> tuple[LayerWeights, ...]:
    """Return the weights of an fp32 network, for runtimes without integers."""
    return tuple(part for part in network.weights if isinstance(part, LayerWeights))
