"""test_architecture.py: what vector pruning asks of a network, and the sparse variants of the edge network."""

from __future__ import annotations

from dataclasses import replace

import pytest

from colonnade.detector.architecture import (
    INPUT,
    VARIANTS,
    Architecture,
    Layer,
    Sparsity,
    Widths,
    build_architecture,
)
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


def test_the_entry_of_a_layer_is_the_strided_layer_of_its_block_or_the_input():
    assert NETWORK.find_entry(LAST) == NETWORK.find_entry(GROWN) == NETWORK.find_entry(ENTRY) == "entry"
    assert NETWORK.find_entry(SAME) == INPUT
    edge = build_architecture(Widths(), 3)
    by_name = {layer.name: layer for layer in edge.layers}
    assert edge.find_entry(by_name["block3.4"]) == "block3.0"
    assert edge.find_entry(by_name["up2"]) == "block2.0"
    assert edge.find_entry(by_name["block1.1"]) == INPUT


def test_layers_keep_all_unless_they_say_otherwise():
    assert all(layer.keep is None for layer in build_architecture(Widths(), 3).layers)
    assert swap("entry", keep=0.75).layers[0].keep == 0.75


def test_gates_have_no_negative_number_of_channels():
    with pytest.raises(ConfigError, match="gate_channels must be 0 or more, got -1"):
        replace(NETWORK, gate_channels=-1)


def test_a_share_needs_a_block():
    assert swap("same", keep=1.0).layers[4].pruned
    with pytest.raises(ConfigError, match="'back': keep counts the pillars that enter a block"):
        swap("back", keep=1.0)
    assert swap("back", threshold=1.0).layers[3].pruned


@pytest.mark.parametrize("keep", [0.0, -1.0, float("nan"), float("inf")])
def test_a_share_must_be_above_zero(keep: float):
    with pytest.raises(ConfigError, match="'grown': keep must be above 0"):
        swap("grown", keep=keep)


@pytest.mark.parametrize("threshold", [-1.0, float("nan"), float("inf")])
def test_a_threshold_is_zero_or_more(threshold: float):
    with pytest.raises(ConfigError, match="'same': threshold must be"):
        swap("same", threshold=threshold)


def test_a_learned_sum_may_be_held_against_a_negative_threshold():
    assert swap("same", threshold=-1.0, importance="learned").layers[4].threshold == -1.0
    with pytest.raises(ConfigError, match="'same': threshold must be"):
        swap("same", threshold=float("-inf"), importance="learned")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"keep": 1.0, "threshold": 1.0}, "keep or threshold, not both"),
        ({"keep": 1.0, "importance": "l3"}, "unknown importance 'l3'"),
        ({"keep": 1.0, "relu": False}, "needs the ReLU"),
    ],
)
def test_pruning_that_contradicts_itself_is_refused(changes: dict[str, object], complaint: str):
    with pytest.raises(ConfigError, match=complaint):
        swap("grown", **changes)


def test_the_variants_of_the_edge_network():
    kinds = {}
    for variant in VARIANTS:
        keep = (1.0, 0.6, 0.5) if variant == "pruned" else ()
        layers = build_architecture(Widths(), 3, Sparsity(variant, keep)).layers
        blocks = [layer for layer in layers if layer.name.startswith("block")]
        kinds[variant] = [layer.kind == "dilating" for layer in blocks if layer.kind != "strided"]
        assert {layer.name: layer.keep for layer in layers if layer.pruned} == {
            layer.name: keep[int(layer.name[5]) - 1] for layer in blocks if variant == "pruned"
        }
    assert kinds["dilating"] == kinds["pruned"] == [True] * 10
    assert not any(kinds["submanifold"])
    assert kinds["mixed"] == [False] * 6 + [True] * 2 + [False] * 2
    assert build_architecture(Widths(), 3) == build_architecture(Widths(), 3, Sparsity("mixed"))


def test_the_mixed_variant_prunes_where_active_sets_change():
    layers = build_architecture(Widths(), 3, Sparsity("mixed", (0.8, 0.6, 0.5))).layers
    assert {layer.name: layer.keep for layer in layers if layer.pruned} == {
        "block1.1": 0.8,
        "block2.0": 0.6,
        "block3.0": 0.5,
        "block3.1": 0.5,
        "block3.2": 0.5,
    }
    for variant in ("dilating", "submanifold"):
        with pytest.raises(ConfigError, match="others not"):
            Sparsity(variant, (1.0, 1.0, 1.0))


def test_a_variant_has_the_importance_and_the_shapes_that_were_asked_for():
    plain, pruned = (
        build_architecture(Widths(), 3, sparsity)
        for sparsity in (Sparsity(), Sparsity("pruned", (1.0, 1.0, 1.0), "l1"))
    )
    assert {layer.importance for layer in pruned.layers if layer.pruned} == {"l1"}
    for ours, theirs in zip(plain.layers, pruned.layers, strict=True):
        assert (ours.name, ours.in_channels, ours.out_channels) == (
            theirs.name,
            theirs.in_channels,
            theirs.out_channels,
        )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("odd",), "variant: expected one of"),
        (("pruned",), "needs a share for each of the 3 blocks"),
        (("pruned", (1.0, 1.0)), "needs a share for each"),
        (("dilating", (1.0, 1.0, 1.0)), "others not"),
        (("pruned", (1.0, 0.0, 1.0)), "shares above 0"),
        (("pruned", (1.0, float("nan"), 1.0)), "shares above 0"),
        (("pruned", (1.0, 1.0, 1.0), "l3"), "importance: expected one of"),
    ],
)
def test_a_sparsity_that_does_not_fit_is_refused(arguments, complaint: str):
    with pytest.raises(ConfigError, match=complaint):
        Sparsity(*arguments)
