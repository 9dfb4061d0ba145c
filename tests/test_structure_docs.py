"""test_structure_docs.py: what the documents say exists: files, commands, options; and nothing names one machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from colonnade.tools.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("**/*.md"))]
_TEXT = {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".json", ".cfg", ""}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_pictures_exist(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_and_options_in_documents_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for line in re.findall(
        r"colonnade ((?:detect|convert|eval|simulate|train|bench|doctor|warmup|quantize|prune|profile|explore"
        r"|transformer)\b[^`\n|#]*)",
        text,
    ):
        command, *words = line.split()
        found = get_command(app).commands[command]
        if hasattr(found, "commands"):
            if not words or words[0] not in found.commands:
                continue  # prose such as "colonnade bench measures"
            found, words = found.commands[words[0]], words[1:]
        known = {name for parameter in found.params for name in (*parameter.opts, *parameter.secondary_opts)}
        options = {word.rstrip(".,;:") for word in words if word.startswith("--")}
        assert options <= known | {"--help", "--debug"}, f"{path.name}: colonnade {line}"


def test_no_file_names_one_machine() -> None:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    machine_path = re.compile(r"(?<![\w./~-])/(work|tmp|home|root|Users)/\w")
    for name in filter(None, listing.stdout.split("\0")):
        path = ROOT / name
        if path.suffix not in _TEXT or not path.is_file() or path == Path(__file__):
            continue
        found = machine_path.search(path.read_text(encoding="utf-8", errors="replace"))
        assert not found, f"{name} names a path of one machine: {found.group() if found else ''}"
