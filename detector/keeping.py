"""keeping.py: how many pillars a pruned network keeps: the model's own shares, or others chosen at run time."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ..runtime.checks import check_number, show
from ..runtime.errors import ConfigError, ModelError, UsageError
from .architecture import Architecture
from .checkpoints import MANIFEST, MODELS, read_manifest

Keep = float | tuple[float, ...]  # for all pruned blocks, or one for each
Shares = tuple[float | None, ...]


def find_blocks(architecture: Architecture) -> tuple[tuple[str, ...], ...]:
    """Return the names of the pruned layers, block by block in order; blocks without are left out.

    A layer that is in no block, as it may be where it has a threshold, stands by itself.
    """
    blocks: dict[str, list[str]] = {}
    for layer in architecture.layers:
        if layer.pruned:
            entry = layer.name
            with suppress(ConfigError):
                entry = architecture.find_entry(layer)
            blocks.setdefault(entry, []).append(layer.name)
    return tuple(map(tuple, blocks.values()))


def report_keep(architecture: Architecture) -> Shares:
    """Return the share that each pruned block keeps; None where its layers differ or have thresholds."""
    shares = {layer.name: layer.keep for layer in architecture.layers}
    blocks = ({shares[name] for name in block} for block in find_blocks(architecture))
    return tuple(block.pop() if len(block) == 1 else None for block in blocks)


def set_keep(architecture: Architecture, keep: Keep) -> Architecture:
    """Return the network with other shares behind its pruned layers, also in the place of thresholds.

    Args:
        architecture: a network with pruned layers.
        keep: `Layer.keep` of every pruned block, or a tuple with one for each pruned block, in the order of
            `find_blocks`; math.inf prunes nothing.

    Raises:
        UsageError: the network has no pruned layers, or `keep` is no number, not above 0, or not one for each block.
        ConfigError: a pruned layer is in no block.
    """
    blocks = find_blocks(architecture)
    if not blocks:
        raise UsageError(
            f"keep is for models with vector pruning, and this one has none; {_name_pruned_models()}"
        )
    by_name = {
        name: None if share == math.inf else share
        for block, share in zip(blocks, check_keep(keep, len(blocks)), strict=True)
        for name in block
    }
    layers = tuple(
        replace(layer, keep=by_name[layer.name], threshold=None) if layer.name in by_name else layer
        for layer in architecture.layers
    )
    return replace(architecture, layers=layers)


def check_keep(keep: Any, blocks: int) -> tuple[float, ...]:
    """Return the share of each of `blocks` pruned blocks.

    Raises:
        UsageError: as `set_keep`.
    """
    given = tuple(keep) if isinstance(keep, (tuple, list)) else (keep,) * blocks
    if len(given) != blocks:
        raise UsageError(f"keep must be one number, or {blocks}: one for each pruned block; got {show(keep)}")
    shares = tuple(check_number("keep", share) for share in given)
    if not all(share > 0 for share in shares):
        raise UsageError(f"keep must be above 0 (inf prunes nothing), got {show(keep)}")
    return shares


def format_keep(shares: Shares) -> str:
    """Return shares as the option --keep takes them, such as "1,0.6,0.5"."""
    return ",".join("own" if share is None else f"{share:g}" for share in shares)


def _name_pruned_models() -> str:
    names = []
    for path in sorted(MODELS.glob(f"*/{MANIFEST}")):
        with suppress(ModelError):
            if find_blocks(read_manifest(path.parent).architecture):
                names.append(path.parent.name)
    return f"embedded models that have: {', '.join(names)}" if names else "no embedded model has it either"
