"""test_structure.py: the picture of the house as a test: import direction, packages, docstrings, wheel."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("runtime", "detector", "accel_model", "tools")
MAY_IMPORT = {
    "runtime": {"runtime"},
    "detector": {"detector", "runtime"},
    "accel_model": {"accel_model", "runtime"},
    "tools": {"tools", "detector", "accel_model", "runtime"},
}
OPTIONAL = {
    "torch",
    "rosbags",
    "plyfile",
    "pyarrow",
    "open3d",
    "spconv",
    "onnx",
    "openvino",
    "matplotlib",
}  # each behind an extra
HEAVY_FOR_HELP = {"numba", "onnxruntime", "PIL", "torch", "rosbags"}


def source_files() -> list[Path]:
    """Return every module of the package, as paths relative to the root."""
    files = [Path("__init__.py")]
    for part in PARTS:
        files += [path.relative_to(ROOT) for path in sorted((ROOT / part).rglob("*.py"))]
    return files


def parse(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=str(path))


def imported_modules(path: Path) -> Iterator[tuple[ast.stmt, str]]:
    """Yield each import of a module as (statement, dotted target); targets in the package start with "colonnade."."""
    package = ["colonnade", *path.parent.parts]
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom):
            if node.level == 0:
                yield node, node.module or ""
                continue
            assert node.level <= len(package), f"{path}:{node.lineno} imports from above the package"
            base = package[: len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
            for alias in node.names:
                yield node, ".".join([*base, alias.name])


FILES = source_files()


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_point_one_way_and_stay_relative(path: Path) -> None:
    part = path.parts[0]
    for node, target in imported_modules(path):
        where = f"{path}:{node.lineno} imports {target}"
        top = target.split(".")[0]
        relative = isinstance(node, ast.ImportFrom) and node.level > 0
        if not relative:
            assert top != "colonnade", f"{where}: inside the package imports are relative"
            assert top not in PARTS, f"{where}: a part of the house must not be imported by its bare name"
            continue
        if part == "__init__.py" or (path == Path("runtime/__init__.py") and target == "colonnade.__name__"):
            continue  # the facade names everything; runtime reads the package's name to refuse `import runtime`
        inner = target.split(".")[1]
        assert inner in PARTS, f"{where}: nothing imports names from the facade"
        assert inner in MAY_IMPORT[part], f"{where}: {part} must not import {inner}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_optional_packages_are_imported_where_they_are_used(path: Path) -> None:
    if path.parts[:2] == ("detector", "train"):
        return  # all of it is behind the extra [train]
    module_level = [node for node in parse(path).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    for node, target in imported_modules(path):
        if node.lineno in {statement.lineno for statement in module_level}:
            assert target.split(".")[0] not in OPTIONAL, (
                f"{path}:{node.lineno} imports {target} at module level"
            )


@pytest.mark.parametrize("path", FILES, ids=str)
def test_every_module_opens_with_one_sentence_that_names_it(path: Path) -> None:
    first_line = (ast.get_docstring(parse(path)) or "").split("\n")[0]
    if path == Path("__init__.py"):
        names = {"Colonnade"}
    elif path.name == "__init__.py":
        names = {path.parent.name, ".".join(path.parent.parts)}
    else:
        names = {path.name}
    name, _, sentence = first_line.partition(": ")
    assert name in names, f'{path} must open with """{max(names)}: what it is."""'
    assert len(sentence) > 12, f"{path}: the first line says nothing: {first_line!r}"


# The process that makes batches serves the training alone, and ends itself there.
MAY_EXIT = {Path("detector/train/loop.py"): ("os", "_exit")}


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[0] != "tools"], ids=str)
def test_the_library_neither_prints_nor_exits(path: Path) -> None:
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"print", "exit", "quit"}, (
                f"{path}:{node.lineno} calls {node.func.id}()"
            )
        if isinstance(node, ast.Name):
            assert node.id != "SystemExit", f"{path}:{node.lineno} uses SystemExit"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            forbidden = {("sys", "exit"), ("os", "_exit")} - {MAY_EXIT.get(path)}
            assert (node.value.id, node.attr) not in forbidden, f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_numba_is_configured_in_one_place(path: Path) -> None:
    if path in (Path("runtime/jit.py"), Path("runtime/threads.py")):
        return
    for node, target in imported_modules(path):
        names = {alias.name for alias in node.names} if isinstance(node, ast.ImportFrom) else set()
        if target.split(".")[0] == "numba":
            assert not names & {"njit", "jit", "prange", "vectorize", "guvectorize"}, (
                f"{path}:{node.lineno}: kernels are compiled through runtime/jit.py"
            )


def test_no_file_is_a_drawer_for_everything() -> None:
    drawers = {"utils.py", "util.py", "common.py", "misc.py", "helpers.py", "helper.py"}
    assert [path for path in FILES if path.name in drawers] == []


def listed_packages() -> list[str]:
    """Return the packages listed in pyproject.toml (read as text: tomllib needs Python 3.11)."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = text.split("\npackages = [", 1)[1].split("]", 1)[0]
    return [line.strip().strip('",') for line in block.splitlines() if line.strip()]


def test_every_package_is_listed_in_pyproject() -> None:
    folders = {path.parent for path in FILES}
    missing = [str(folder) for folder in folders if not (ROOT / folder / "__init__.py").is_file()]
    assert missing == [], "folders with modules but without __init__.py"
    tree = {".".join(["colonnade", *folder.parts]) for folder in folders}
    listed = listed_packages()
    assert len(listed) == len(set(listed))
    assert set(listed) == tree


@pytest.mark.parametrize("part", ["runtime", "tools.cli"])
def test_parts_cannot_be_imported_by_their_bare_name(part: str) -> None:
    """From a checkout `import runtime` must fail instead of making a second copy of every class."""
    command = [sys.executable, "-c", f"import {part}"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "attempted relative import beyond top-level package" in result.stderr


def modules_loaded_by(statement: str) -> set[str]:
    """Return the names of all modules that a fresh interpreter holds after `statement`."""
    code = f"import sys; {statement}; sys.stdout.write(' '.join(sys.modules))"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COV_")}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd="/", env=environment, capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


def test_the_facade_is_lazy() -> None:
    loaded = modules_loaded_by("import colonnade.runtime.errors")
    assert not {name for name in loaded if name.startswith(("colonnade.detector", "colonnade.tools"))}
    assert "numba" not in loaded


def test_the_command_line_starts_light() -> None:
    loaded = modules_loaded_by("import colonnade.tools.cli")
    assert not loaded & HEAVY_FOR_HELP


def test_no_module_of_the_checkout_is_loaded_under_a_second_name() -> None:
    import colonnade.detector.detections
    import colonnade.detector.frames
    import colonnade.runtime.errors
    import colonnade.tools.cli  # noqa: F401

    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file:
            continue
        path = Path(file).resolve()
        inside = [part for part in PARTS if path.is_relative_to(ROOT / part)]
        if inside or path == ROOT / "__init__.py":
            assert name == "colonnade" or name.startswith("colonnade."), f"{path} is loaded as {name}"


def test_the_wheel_holds_one_import_name(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "__init__.py", "py.typed"):
        shutil.copy(ROOT / name, checkout / name)
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check", "--quiet", "--no-deps"]
    subprocess.run(
        [*command, "--no-build-isolation", "-w", tmp_path, checkout], check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("colonnade-*.whl")
    names = zipfile.ZipFile(wheel).namelist()

    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"colonnade"}
    assert len(tops) == 2
    assert not [name for name in names if name.startswith(("colonnade/tests/", "colonnade/docs/"))]
    expected = {f"colonnade/{path.as_posix()}" for path in FILES} | {"colonnade/py.typed"}
    models = ROOT / "detector" / "models"
    for pattern in ("*/manifest.yaml", "*/weights.safetensors"):
        expected |= {f"colonnade/{path.relative_to(ROOT).as_posix()}" for path in models.glob(pattern)}
    assert expected <= set(names)
