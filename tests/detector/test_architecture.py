"""test_architecture.py: what vector pruning asks of a network: a share above 0, of a strided layer in its block."""

from __future__ import annotations

from dataclasses import replace

import pytest

from colonnade.detector.architecture import INPUT, Architecture, Layer, Widths, build_architecture
from colonnade.runtime.errors import ConfigError

ENTRY = Layer("entry", "strided", (INPUT,), 4, 8, stride=2)
GROWN = Layer("grown", "dilating", ("entry",), 8, 8)
LAST = Layer("last", "dilating", ("grown",), 8, 8, keep=1.5)
BACK = Layer("back", "transposed", ("last",), 8, 4, kernel=2, stride=2)
SAME = Layer("same", "submanifold", (INPUT,), 4, 4)
HEAD = Layer("head", "submanifold", ("back", "same"), 8, 3, kernel=1, relu=False)
NETWORK = Architecture(4, (ENTRY, GROWN, LAST, BACK, SAME, HEAD), 1)


def swap(name: str, **changes: object) -> Architecture:
    """Return NETWORK with one layer changed."""
    layers = tuple(replace(layer, **changes) if layer.name == name else layer for layer in NETWORK.layers)
    return replace(NETWORK, layers=layers)


def test_the_entry_of_a_layer_is_the_strided_layer_of_its_block():
    assert NETWORK.find_entry(LAST) == NETWORK.find_entry(GROWN) == NETWORK.find_entry(ENTRY) == ENTRY
    edge = build_architecture(Widths(), 3)
    by_name = {layer.name: layer for layer in edge.layers}
    assert edge.find_entry(by_name["block3.4"]).name == "block3.0"
    assert edge.find_entry(by_name["up2"]).name == "block2.0"


def test_layers_keep_all_unless_they_say_otherwise():
    assert all(layer.keep is None for layer in build_architecture(Widths(), 3).layers)
    assert swap("entry", keep=0.75).layers[0].keep == 0.75


@pytest.mark.parametrize("name", ["back", "same", "head"])
def test_a_share_needs_a_strided_layer_in_the_block(name: str):
    with pytest.raises(ConfigError, match=f"'{name}': keep needs a strided layer before it"):
        swap(name, keep=1.0)


@pytest.mark.parametrize("keep", [0.0, -1.0, float("nan"), float("inf")])
def test_a_share_must_be_above_zero(keep: float):
    with pytest.raises(ConfigError, match="'grown': keep must be above 0"):
        swap("grown", keep=keep)
