"""docs/accelerator/hardware.md: its tables are those of the code, its example is one that can be read."""

import re
from pathlib import Path

import pytest

from colonnade.accel_model.energy import derive_energies
from colonnade.accel_model.energy_tables import NODES
from colonnade.accel_model.spec_files import load_spec, parse_spec, preset_names
from colonnade.accel_model.spec_limits import DEFAULTS, LEAVES, PARTS

DOCUMENT = Path(__file__).parents[2] / "docs" / "accelerator" / "hardware.md"
REFERENCE = "pillaracc-64x64"


def show(value: object) -> str:
    return (
        str(value).lower()
        if isinstance(value, bool)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def find(spec: object, key: str) -> object:
    for name in key.split("."):
        spec = getattr(spec, name)
    return spec


def table_of_keys() -> str:
    rows = ["| key | is | kinds | default |", "|---|---|---|---|"]
    for key, leaf in LEAVES.items():
        section = key.rpartition(".")[0]
        kinds = [kind for kind, parts in PARTS.items() if section in (*parts,)]
        who = "all" if section in ("", "energy") or len(kinds) == 3 else ", ".join(kinds)
        rows.append(f"| `{key}` | {leaf.describe()} | {who} | {show(DEFAULTS.get(key, '-'))} |")
    return "\n".join(rows)


def table_of_presets() -> str:
    """Every constant of the reference preset, then of each other what differs in value or origin."""
    rows = ["| preset | key | value | basis | source |", "|---|---|---|---|---|"]
    reference = load_spec(REFERENCE)
    for name in (REFERENCE, *(n for n in preset_names() if n != REFERENCE)):
        spec = load_spec(name)
        for key, origin in spec.provenance.items():
            value = find(spec, key)
            if (
                name != REFERENCE
                and reference.provenance.get(key) == origin
                and find(reference, key) == value
            ):
                continue
            rows.append(f"| {name} | `{key}` | {show(value)} | {origin.basis} | {origin.source} |")
    return "\n".join(rows)


def table_of_energies() -> str:
    rows = ["| action | low | nominal | high [pJ] | basis | source |", "|---|---|---|---|---|---|"]
    for action, entry in derive_energies(load_spec(REFERENCE)).entries.items():
        pico = " | ".join(f"{value:.4g}" for value in (entry.low_pj, entry.value_pj, entry.high_pj))
        rows.append(f"| `{action}` | {pico} | {entry.basis} | {entry.source} |")
    return "\n".join(rows)


@pytest.mark.parametrize("table", [table_of_keys, table_of_presets, table_of_energies])
def test_a_table_is_that_of_the_code(table) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert table() in text, f"put this into {DOCUMENT.name}:\n{table()}"


def test_the_examples_can_be_read() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert len(examples) >= 2
    for example in examples:
        parse_spec(example, "example.yaml")
    assert f"{', '.join(map(str, NODES))} nm" in text
    assert all(f"`{name}`" in text for name in preset_names())
