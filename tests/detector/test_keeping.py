"""test_keeping.py: shares of a pruned network, changed at run time."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from colonnade.detector.architecture import Architecture, Layer, Sparsity, Widths, build_architecture
from colonnade.detector.checkpoints import save_checkpoint
from colonnade.detector.detector import Detector, load
from colonnade.detector.keeping import find_blocks, format_keep, report_keep, set_keep
from colonnade.detector.pruning import count_kept
from colonnade.runtime.errors import ConfigError, UsageError

PRUNED = build_architecture(Widths(), 3, Sparsity("pruned", (1.0, 0.6, 0.5)))


def with_thresholds(architecture: Architecture, blocks: str = "123") -> Architecture:
    """Return the network with thresholds in the place of the shares of some blocks."""
    layers = tuple(
        replace(layer, keep=None, threshold=0.5) if layer.pruned and layer.name[5] in blocks else layer
        for layer in architecture.layers
    )
    return replace(architecture, layers=layers)


def test_the_blocks_are_found_and_reported() -> None:
    assert find_blocks(PRUNED) == (
        ("block1.0", "block1.1"),
        ("block2.0", "block2.1", "block2.2", "block2.3", "block2.4"),
        ("block3.0", "block3.1", "block3.2", "block3.3", "block3.4"),
    )
    assert report_keep(PRUNED) == (1.0, 0.6, 0.5)
    assert report_keep(with_thresholds(PRUNED, "2")) == (1.0, None, 0.5)
    assert report_keep(build_architecture(Widths(), 3)) == ()
    uneven = replace(PRUNED.layers[0], keep=0.1)
    assert report_keep(replace(PRUNED, layers=(uneven, *PRUNED.layers[1:]))) == (None, 0.6, 0.5)


def test_one_share_or_one_for_each_block() -> None:
    assert report_keep(set_keep(PRUNED, 0.3)) == (0.3, 0.3, 0.3)
    assert report_keep(set_keep(PRUNED, (2, np.float32(0.5), 0.25))) == (2.0, 0.5, 0.25)
    assert set_keep(PRUNED, (1.0, 0.6, 0.5)) == PRUNED
    changed = set_keep(PRUNED, 0.3)
    assert [replace(layer, keep=None) for layer in changed.layers] == [
        replace(layer, keep=None) for layer in PRUNED.layers
    ]


def test_shares_take_the_place_of_thresholds() -> None:
    assert set_keep(with_thresholds(PRUNED, "13"), (1.0, 0.6, 0.5)) == PRUNED


def test_infinity_prunes_nothing() -> None:
    open_ = set_keep(PRUNED, (1.0, math.inf, 0.5))
    assert [layer.name for layer in open_.layers if layer.pruned and layer.name[5] == "2"] == []
    assert report_keep(open_) == (1.0, 0.5)
    assert not any(layer.pruned for layer in set_keep(PRUNED, math.inf).layers)


@pytest.mark.parametrize(
    "keep",
    [
        0,
        -1.0,
        math.nan,
        (1.0, 0.5),
        (1.0, 0.5, 0.0),
        (1.0, 0.5, math.nan),
        (1.0,) * 4,
        (),
        "0.5",
        True,
        [1, "a", 1],
    ],
)
def test_other_shares_are_refused(keep: object) -> None:
    with pytest.raises(UsageError, match="keep must be"):
        set_keep(PRUNED, keep)  # type: ignore[arg-type]


def test_a_model_without_pruning_has_nothing_to_keep() -> None:
    with pytest.raises(UsageError, match="keep is for models with vector pruning, and this one has none"):
        set_keep(build_architecture(Widths(), 3), 0.5)
    with pytest.raises(UsageError, match="embedded model"):
        load("synthetic", precision="fp32", keep=0.5)


def test_embedded_models_with_pruning_are_named(tmp_path, make_pruned, monkeypatch) -> None:
    save_checkpoint(make_pruned(), tmp_path / "small")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "manifest.yaml").write_text("no: model")
    monkeypatch.setattr("colonnade.detector.keeping.MODELS", tmp_path)
    with pytest.raises(UsageError, match=r"embedded models that have: small$"):
        set_keep(build_architecture(Widths(), 3), 0.5)


def test_a_threshold_outside_all_blocks_has_no_share() -> None:
    layers = (
        Layer("half", "strided", ("pillars",), 4, 4, 2, 2),
        Layer("back", "transposed", ("half",), 4, 4, 2, 2, threshold=0.5),
        Layer("head", "submanifold", ("back",), 4, 4, relu=False),
    )
    architecture = Architecture(4, layers, 1)
    assert report_keep(architecture) == (None,)
    with pytest.raises(ConfigError, match="leave keep out"):
        set_keep(architecture, 0.5)


def test_shares_are_told_as_the_option_takes_them() -> None:
    assert format_keep((1.0, 0.6, math.inf)) == "1,0.6,inf"
    assert format_keep((None, 0.5)) == "own,0.5"
    assert format_keep(()) == ""


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_detector_keeps_what_it_was_told(tmp_path, make_pruned, small_frames, precision: str) -> None:
    from colonnade.detector.quantise import quantise

    checkpoint = make_pruned()
    save_checkpoint(
        checkpoint if precision == "fp32" else quantise(checkpoint, small_frames), tmp_path / "model"
    )
    assert load(tmp_path / "model").keep == (1.0, 0.6, 0.5)
    macs = []
    for keep in (0.3, (1.0, 0.6, 0.5), (1.0, 0.6, math.inf), math.inf):
        detector = load(tmp_path / "model", keep=keep)
        shares = keep if isinstance(keep, tuple) else (keep,) * 3
        assert detector.keep == shares
        found, trace = detector.trace(small_frames[0])
        assert np.array_equal(detector.detect(small_frames[0]).boxes, found.boxes)
        layers = {layer.name: layer for layer in trace.layers}
        entered = (layers["block1.0"].active_inputs, *(layers[f"block{n}.0"].active_outputs for n in (2, 3)))
        for name, share, before in zip(("block1.1", "block2.2", "block3.2"), shares, entered, strict=True):
            most = layers[name].active_outputs
            count = most if share == math.inf else min(count_kept(share, before), most)
            assert layers[name].kept_outputs == count
        macs.append(trace.macs)
    assert macs == sorted(set(macs))


def test_a_detector_takes_a_checkpoint_with_thresholds(make_pruned, small_frames) -> None:
    checkpoint = make_pruned()
    manifest = checkpoint.manifest
    bound = replace(manifest, architecture=with_thresholds(manifest.architecture))
    assert Detector(replace(checkpoint, manifest=bound)).keep == (None, None, None)
    ours, theirs = Detector(replace(checkpoint, manifest=bound), keep=0.5), Detector(checkpoint, keep=0.5)
    assert ours.keep == (0.5, 0.5, 0.5)
    assert np.array_equal(ours.detect(small_frames[1]).boxes, theirs.detect(small_frames[1]).boxes)
