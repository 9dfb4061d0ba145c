"""accelerator_document.py: the report of `colonnade bench accelerator` as a page of tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from .accelerator_report import (
    AcceleratorReport,
    FrameFigures,
    Ratio,
    compare_cycles,
    compare_energy,
    compare_table,
)

_NAMES = {
    "dilating": "SpConv",
    "pruned": "SpConv-P",
    "submanifold": "SpConv-S, 3 × 3 s2",
    "submanifold-2x2": "SpConv-S, 2 × 2 s2",
}
_DENSE_NAMES = {"submanifold": "3 × 3 network", "submanifold-2x2": "2 × 2 network"}
_PAIRS = (("pillaracc-64x64", "dense-64x64"), ("pillaracc-16x16", "dense-16x16"))
_SIZES = (16, 32, 64, 128)
_SHOWN_KEEP = 1.25  # of the pruned form, in the short table
_SWITCHES = (
    "none",
    "weight_grouping",
    "ganged_scatter",
    "active_tiles",
    "tile_search",
    "shared_rules",
    "all",
)

_HEAD = """\
Written by `colonnade bench accelerator`; every figure stands in its JSON. **No RTL and no silicon exist**: these are
models, exact against our own simulators ([sparse.md](sparse.md), [dense.md](dense.md)), and no constant was tuned."""
_CONDITIONS = """\
Conditions of the published figures are unknown to us: networks, datasets, array, clock, memories, traffic of the dense
design. Ours: PointPillars on KITTI alone, presets with assumed sizes, and a dense peer with the same array, memories
and clock. 36.3 % saved is not reachable by this network on these frames; one with a dense head may be its source."""
_FIRST_ORDER = """\
Cycles = ri · co · (rules + taps · N) on an N × N array, one layer after the other; no memory, no rules; 1 GHz.
Speed-ups against the dense 3 × 3 network: ratio of sums, and least / median / most of the frames'."""
_PRESETS = """\
Mean over the frames: frames/s, mJ per frame (band), MB of main memory, use of the array. Speed and energy against the
dense design of the same size: ratio of sums. Leakage is that of fast memory cells at 360 K and weighs on slow ones."""
_RULES = """\
Cycles of the sixteen backbone convolutions, mean over the frames. A comparison without lanes would mean nothing:
against a merger that takes 64 elements per cycle, a streaming unit of one lane gains area and energy, not cycles."""
_BANKS = """\
Rounds lost to bank conflicts, counted request by request on the frames' own ranks, sum over the frames; and the longest
interval of outputs that a tile of 512 inputs touches (3 × 3 layers of stride 1), in tiles."""
_EFFECTS = """\
pillaracc-64x64 with one optimisation off, or all: cycles, energy and main-memory traffic over the frames, as multiples
of the design with all on. The tile search looks for the fewest cycles, so that it may cost traffic. How large these
effects are in the paper is unknown."""


def write_document(report: AcceleratorReport) -> str:
    """Return the page as Markdown; every figure comes from the report."""
    parts = (
        _write_head(report),
        _write_bands(report),
        _write_table(report),
        _write_designs(report),
        _write_mapping(report),
        _write_conflicts(report),
        _write_ablations(report),
    )
    return "\n".join(line for part in parts for line in (*part, "")).rstrip() + "\n"


def name_variant(variant: str, keep: float | None) -> str:
    """Return a variant's name in the literature."""
    return _NAMES[variant] + ("" if keep is None else f", keep {keep:g}")


def _write_head(report: AcceleratorReport) -> Iterator[str]:
    pillars = [frame.pillars for frame in next(report.list_variants())[2]]
    yield "# What frames cost on the accelerators"
    yield ""
    yield (
        f"{len(report.frame_names)} frames of {report.recording} ({report.frame_names[0]} to "
        f"{report.frame_names[-1]}, {min(pillars):,} to {max(pillars):,} pillars, mean "
        f"{sum(pillars) / len(pillars):,.0f}), the standard network, the head counted sparse."
    )
    yield _HEAD


def _write_bands(report: AcceleratorReport) -> Iterator[str]:
    """Yield the published bands of the abstracts beside ours, from least to most over frames and variants."""
    savings = [frame.saving for frame in report.frames]
    yield "## The published bands, and ours"
    yield ""
    yield "| figure | SPADE, abstract (arXiv 2305.07522) | ours, over frames and variants | ours, means per variant |"
    yield "|---|---|---|---|"
    means = [sum(f.saving for f in fs) / len(fs) for _, _, fs in report.list_variants()]
    yield (
        f"| computation saved | 36.3 – 89.2 % | {100 * min(savings):.1f} – {100 * max(savings):.1f} % | "
        f"{100 * min(means):.1f} – {100 * max(means):.1f} % |"
    )
    for label, published, compare in (
        ("speed over the dense design", "1.3 – 10.9×", compare_cycles),
        ("energy over the dense design", "1.5 – 12.6×", compare_energy),
    ):
        for design, dense in _PAIRS:
            ratios = [compare(fs, design, dense) for _, _, fs in report.list_variants()]
            yield (
                f"| {label}, {design} | {published} | {min(r.least for r in ratios):.2f} – "
                f"{max(r.most for r in ratios):.2f}× | {min(r.of_means for r in ratios):.2f} – "
                f"{max(r.of_means for r in ratios):.2f}× |"
            )
    rates = [_mean_rate(fs, "pillaracc-64x64") for _, _, fs in report.list_variants()]
    yield f"| PointPillars frames/s (v2) | 500 | | {min(rates):.0f} – {max(rates):.0f} (pillaracc-64x64) |"
    yield ""
    yield _CONDITIONS


def _mean_rate(frames: Sequence[FrameFigures], design: str) -> float:
    """Return frames per second over all frames."""
    return 1e3 * len(frames) / sum(frame.find_design(design).milliseconds for frame in frames)


def _write_table(report: AcceleratorReport) -> Iterator[str]:
    yield "## First-order table"
    yield ""
    yield _FIRST_ORDER
    yield ""
    sizes = " | ".join(f"{size} × {size}" for size in _SIZES)
    yield (
        "| variant | MACs saved (least – most) | least int8 MB | cycles, 64 × 64 | frames/s | "
        f"{sizes} | per frame, 64 × 64 |"
    )
    yield "|---|---|---|---|---|" + "---|" * (len(_SIZES) + 1)
    for variant, keep, frames in report.list_variants():
        savings = [100 * frame.saving for frame in frames]
        cycles = [next(t.cycles for t in frame.table if t.size == 64) for frame in frames]
        ratios = [compare_table(frames, size) for size in _SIZES]
        mean = sum(cycles) / len(cycles)
        yield (
            f"| {name_variant(variant, keep)} | {sum(savings) / len(savings):.1f} % "
            f"({min(savings):.1f} – {max(savings):.1f}) | "
            f"{sum(f.least_megabytes for f in frames) / len(frames):.1f} | {mean / 1e6:.3f} M | {1e9 / mean:.0f} | "
            + " | ".join(f"{ratio.of_means:.2f}×" for ratio in ratios)
            + f" | {_spell(ratios[_SIZES.index(64)])} |"
        )


def _spell(ratio: Ratio) -> str:
    return f"{ratio.least:.2f} / {ratio.median:.2f} / {ratio.most:.2f}"


def _write_designs(report: AcceleratorReport) -> Iterator[str]:
    designs = [design.design for design in report.frames[0].designs]
    yield "## The presets, with memory and energy"
    yield ""
    yield _PRESETS
    for design in designs:
        dense = dict(_PAIRS).get(design, "dense-64x64" if "64" in design else "dense-16x16")
        yield ""
        yield f"### {design}"
        yield ""
        yield "| variant | frames/s | mJ (low – high) | MB | array used | speed | energy |"
        yield "|---|---|---|---|---|---|---|"
        for variant, keep, frames in report.list_variants():
            name = name_variant(variant, keep)
            if design == dense:  # it knows no sparsity: one line per network
                if variant not in _DENSE_NAMES:
                    continue
                name = _DENSE_NAMES[variant]
            yield _write_design(frames, design, dense, name)


def _write_design(frames: tuple[FrameFigures, ...], design: str, dense: str, name: str) -> str:
    found = [frame.find_design(design) for frame in frames]
    count = len(found)
    energies = [sum(getattr(f, key) for f in found) / count for key in ("mj", "mj_low", "mj_high")]
    cycles = sum(f.cycles for f in found)
    used = sum(f.utilisation * f.cycles for f in found) / cycles
    return (
        f"| {name} | {_mean_rate(frames, design):.0f} | {energies[0]:.2f} ({energies[1]:.2f} – {energies[2]:.2f}) | "
        f"{sum(f.megabytes for f in found) / count:.1f} | {100 * used:.0f} % | "
        f"{compare_cycles(frames, design, dense).of_means:.2f}× | "
        f"{compare_energy(frames, design, dense).of_means:.2f}× |"
    )


def _write_mapping(report: AcceleratorReport) -> Iterator[str]:
    yield "## Finding the rules"
    yield ""
    yield _RULES
    yield ""
    yield (
        "| variant | streaming, 1 lane | with shared rulebooks | hash, 1 probe/cycle | merge, 1 element/cycle | "
        "merge, 64 lanes | layers in which rules outlast the array |"
    )
    yield "|---|---|---|---|---|---|---|"
    for variant, keep, frames in report.list_variants():
        keys = ("streaming", "streaming_shared", "hash", "merge_one_lane", "merge_64_lanes")
        means = [sum(getattr(f.mapping, key) for f in frames) / len(frames) for key in keys]
        exposed = sorted({layer for frame in frames for layer in frame.exposed_rules})
        yield (
            f"| {name_variant(variant, keep)} | "
            + " | ".join(f"{mean / 1e3:.1f} k" for mean in means)
            + f" | {', '.join(exposed) or 'none'} |"
        )


def _write_conflicts(report: AcceleratorReport) -> Iterator[str]:
    yield "## Bank conflicts and intervals"
    yield ""
    yield _BANKS
    yield ""
    yield "| variant | gather | gather, naive | scatter | scatter, naive | longest interval |"
    yield "|---|---|---|---|---|---|"
    for variant, keep, frames in report.list_variants():
        keys = ("gather", "gather_naive", "scatter", "scatter_naive")
        sums = [sum(getattr(f.conflicts, key) for f in frames) for key in keys]
        widest = max(frame.widest_interval for frame in frames)
        yield (
            f"| {name_variant(variant, keep)} | " + " | ".join(f"{s:,}" for s in sums) + f" | {widest:.2f} |"
        )


def _write_ablations(report: AcceleratorReport) -> Iterator[str]:
    yield "## What each optimisation brings"
    yield ""
    yield _EFFECTS
    yield ""
    yield "| variant | off | cycles | energy | traffic |"
    yield "|---|---|---|---|---|"
    for variant, keep, _ in report.list_variants():
        cases = {a.off: a for a in report.ablations if (a.variant, a.keep) == (variant, keep)}
        base = cases["none"]
        for off in _SWITCHES[1:]:
            case = cases[off]
            yield (
                f"| {name_variant(variant, keep)} | {off.replace('_', ' ')} | {case.cycles / base.cycles:.3f}× | "
                f"{case.mj / base.mj:.3f}× | {case.megabytes / base.megabytes:.3f}× |"
            )


def list_headlines(report: AcceleratorReport) -> Iterator[str]:
    """Yield the rows of the short table in the README."""
    for variant, keep, frames in report.list_variants():
        if keep not in (None, _SHOWN_KEEP):
            continue
        sparse, dense = _PAIRS[0]
        found = [frame.find_design(sparse) for frame in frames]
        low, mean, high = (
            sum(getattr(f, key) for f in found) / len(found) for key in ("mj_low", "mj", "mj_high")
        )
        yield (
            f"| {name_variant(variant, keep)} | {100 * sum(f.saving for f in frames) / len(frames):.1f} % | "
            f"{_mean_rate(frames, sparse):.0f} | {mean:.1f} ({low:.1f} – {high:.1f}) | "
            f"{compare_cycles(frames, sparse, dense).of_means:.2f}× speed, "
            f"{compare_energy(frames, sparse, dense).of_means:.2f}× energy |"
        )


def summarise(report: AcceleratorReport) -> Iterable[tuple[str, str]]:
    """Yield (variant, its headline figures) for the terminal."""
    for variant, keep, frames in report.list_variants():
        saving = sum(frame.saving for frame in frames) / len(frames)
        speed = compare_cycles(frames, *_PAIRS[0]).of_means
        energy = compare_energy(frames, *_PAIRS[0]).of_means
        yield (
            name_variant(variant, keep),
            f"{100 * saving:.1f} % of MACs saved, {speed:.2f}x the speed and {energy:.2f}x less energy than "
            f"{_PAIRS[0][1]}, {_mean_rate(frames, _PAIRS[0][0]):.0f} frames/s",
        )
