"""test_report_csv.py: a row per report and layer, with every unit and every component in a column of its own."""

from __future__ import annotations

import csv
import io

from report_cases import make_report

from colonnade.accel_model.report_csv import OPENING, format_layers


def test_rows_are_the_layers_in_order() -> None:
    reports = (make_report(800, 1600), make_report(400, name="other"))
    text = format_layers(reports)
    assert text.startswith(OPENING)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["trace"], row["layer"], row["cycles"]) for row in rows] == [
        ("frame", "layer0", "800"), ("frame", "layer1", "1600"), ("other", "layer0", "400"),
    ]  # fmt: skip
    first = rows[0]
    assert first["design"] == "pillaracc-64x64"
    assert (first["array_busy_cycles"], first["dram_busy_cycles"], first["rules_busy_cycles"]) == (
        "400",
        "200",
        "0",
    )
    assert (first["limit"], first["gather_conflict_cycles"], first["tiles"]) == ("array", "3", "1")
    assert float(first["energy_mac_pj"]) + float(first["energy_dram_pj"]) == float(first["energy_pj"]) == 9600
    assert all(None not in row and None not in row.values() for row in rows)


def test_no_layers_leave_the_names() -> None:
    assert format_layers([make_report()]).splitlines() == [OPENING]
