"""test_cli_transformer.py: `colonnade transformer`: its table, its JSON, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path


def test_table_and_report(colonnade) -> None:
    call = (
        "transformer", "minilm", "--on", "transformer-int8", "--against", "transformer-dint4",
        "--sequence", 16, "--sequence", 128, "--json", "lengths.json",
    )  # fmt: skip
    outcome = colonnade(*call)
    assert outcome.code == 0, outcome.err
    for word in (
        "transformer-int8",
        "transformer-dint4",
        "nn_lut",
        "polynomial",
        "17.7%",
        "37.8%",
        "not known",
    ):
        assert word in outcome.out
    assert max(map(len, outcome.out.split("published")[0].splitlines())) <= 100
    report = json.loads(Path("lengths.json").read_text(encoding="utf-8"))
    assert [row["sequence"] for row in report["results"]] == [16] * 4 + [128] * 4
    assert report["shape"]["hidden"] == 384
    assert colonnade(*call).code == 0  # an earlier report is replaced


def test_large_energies_are_written_out(colonnade) -> None:
    outcome = colonnade("transformer", "minilm", "--sequence", 16384, "--unit", "nn_lut")
    assert outcome.code == 0, outcome.err
    assert "e+" not in outcome.out


def test_units_and_defaults(colonnade) -> None:
    outcome = colonnade("transformer", "stories260k", "--unit", "exact")
    assert outcome.code == 0, outcome.err
    assert "1,024" in outcome.out
    assert "exact" in outcome.out
    assert "published" not in outcome.out


def test_what_is_refused(colonnade) -> None:
    Path("notes.json").write_text('{"mine": 1}')
    cases = (
        (("gpt",), 2, "no transformer 'gpt'; choose one of minilm"),
        (("minilm", "--unit", "abacus"), 2, "--unit abacus: choose one of nn_lut"),
        (("minilm", "--sequence", 0), 2, "--sequence"),
        (("minilm", "--on", "nowhere.yaml"), 1, "nowhere.yaml"),
        (("minilm", "--on", "dense-64x64"), 1, "choose an accelerator of kind 'transformer'"),
        (("minilm", "--json", "notes.json"), 2, "no earlier report"),
    )
    for arguments, code, message in cases:
        outcome = colonnade("transformer", *arguments)
        assert outcome.code == code, outcome.err
        assert message in outcome.err
    assert Path("notes.json").read_text() == '{"mine": 1}'
