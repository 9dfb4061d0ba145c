"""spec_files.py: hardware descriptions as YAML: read and checked, written, changed; the presets that come along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from ..runtime.errors import ConfigError
from .spec import ActionEnergy, EnergySpec, Provenance, Spec
from .spec_limits import (
    ACTIONS,
    BASES,
    DEFAULTS,
    LEAVES,
    PARTS,
    PICOJOULES,
    SECTIONS,
    TEXT,
    Leaf,
    check_action,
    check_value,
    check_whole,
    shorten,
    suggest,
)

PRESETS = Path(__file__).parent / "presets"
LARGEST_FILE = 64 * 1024  # [B]
_DEEPEST = 16  # levels of a file; a description has three
_LONGEST_KEY = 100
_GIVEN = Provenance("given", "")
_DEFAULT = Provenance("assumed", "default of the model")
_BASIS = Leaf(str, choices=BASES)
_TOP = ("name", "description", "kind", "clock_mhz")


@dataclass
class _Draft:
    """What a file says: values and their origin by key such as "array.rows"."""

    values: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Provenance] = field(default_factory=dict)
    overrides: dict[str, ActionEnergy] = field(default_factory=dict)


def preset_names() -> tuple[str, ...]:
    """Return the names of the accelerators that come with the package, sorted."""
    return tuple(sorted(path.stem for path in PRESETS.glob("*.yaml")))


def load_spec(name_or_path: str | Path) -> Spec:
    """Return the accelerator of a preset's name or of a YAML file.

    Raises:
        ConfigError: no such preset or file, or it describes no accelerator; names file, key and what is allowed.
    """
    if isinstance(name_or_path, str) and name_or_path in preset_names():
        return _load_preset(name_or_path)
    path = Path(name_or_path)
    try:
        if not path.is_file():
            raise ConfigError(f"{path}: neither a file nor a preset; {suggest(str(path), preset_names())}")
        with path.open("rb") as file:
            text = file.read(LARGEST_FILE + 1).decode("utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    return parse_spec(text, str(path))


def parse_spec(text: str, where: str = "text") -> Spec:
    """Return the accelerator that YAML describes.

    Args:
        text: the YAML.
        where: its name in messages; its stem names the accelerator where the text is based on a preset and has no name.

    Raises:
        ConfigError: as `load_spec`.
    """
    try:
        return _build(read_yaml(text), Path(where).stem or "unnamed")
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def dump_spec(spec: Spec) -> str:
    """Return YAML that `parse_spec` reads as the same accelerator."""
    values = _flatten(spec)
    document: dict[str, Any] = {}
    for key, value in values.items():
        origin = spec.provenance.get(key, _GIVEN)
        leaf = value if origin == _GIVEN else {"value": value, **asdict(origin)}
        section, _, name = key.rpartition(".")
        (document.setdefault(section, {}) if section else document)[name] = leaf
    if spec.energy.overrides:
        document["energy"]["overrides"] = {
            action: asdict(energy) for action, energy in spec.energy.overrides.items()
        }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)


def change_values(spec: Spec, values: Mapping[str, object]) -> Spec:
    """Return an accelerator that differs in some values, checked as a file is; their origin becomes "given".

    Args:
        spec: where it starts.
        values: by key such as "array.rows" or "energy.overrides.mac" [pJ].

    Raises:
        ConfigError: a key is not known, belongs to a part that the accelerator does not have, or cannot have the value.
    """
    changed: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        if not isinstance(key, str):
            raise ConfigError(f"{shorten(key)}: expected a key such as array.rows")
        checked = check_value(key, value)
        section, _, name = key.rpartition(".")
        if section in SECTIONS and getattr(spec, section) is None:
            raise ConfigError(f"{key}: an accelerator of kind {spec.kind} has no part {section}")
        changed.setdefault(section, {})[name] = checked
    overrides = changed.pop("energy.overrides", None)
    top: dict[str, Any] = changed.pop("", {})
    for section, new in changed.items():
        top[section] = replace(getattr(spec, section), **new)
    if overrides:
        energy: EnergySpec = top.get("energy", spec.energy)
        top["energy"] = replace(energy, overrides={**energy.overrides, **overrides})
    given = dict.fromkeys((key for key in values if key in LEAVES and key not in _TOP[:3]), _GIVEN)
    return check_whole(replace(spec, provenance={**spec.provenance, **given}, **top))


@lru_cache(maxsize=64)
def _load_preset(name: str) -> Spec:
    return parse_spec((PRESETS / f"{name}.yaml").read_text(encoding="utf-8"), f"{name}.yaml")


class _Loader(yaml.SafeLoader):
    """Reads plain YAML: no anchors, aliases, tags, no key twice, no deep nesting."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse what a description does not need before anything is made of it."""
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) or getattr(event, "tag", None):
            raise _refuse(event, "a hardware description has no anchors, aliases and tags")
        self.depth += 1
        if self.depth > _DEEPEST:
            raise _refuse(event, f"nested more than {_DEEPEST} deep")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that is no word, or that stands there twice, of which YAML would keep the last."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str" or len(key.value) > _LONGEST_KEY:
                raise _refuse(key, f"expected a word as key, got {shorten(key.value)}")
            if key.value in seen:
                raise _refuse(key, f"key {key.value} is there twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _refuse(place: yaml.Event | yaml.Node, what: str) -> ConfigError:
    """Return the error for something at a line."""
    mark = place.start_mark
    return ConfigError(f"line {mark.line + 1}: {what}" if mark else what)


def read_yaml(text: str) -> dict[str, Any]:
    """Return the mapping of a plain YAML text.

    Raises:
        ConfigError: it is too large, no YAML, no mapping, or more than plain; the message names the line.
    """
    if len(text) > LARGEST_FILE:
        raise ConfigError(
            f"larger than {LARGEST_FILE // 1024} KiB; a hardware description is a few kilobytes"
        )
    try:
        source = yaml.load(text, _Loader)  # a SafeLoader
    except (ValueError, RecursionError, OverflowError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot be read as YAML: {' '.join(str(error).split())[:400]}") from error
    if not isinstance(source, dict):
        raise ConfigError(f"expected a mapping of keys to values, got {shorten(source)}")
    return source


def _build(source: dict[str, Any], stem: str) -> Spec:
    """Return the accelerator of a file: its own values, those of the preset that it starts from, defaults."""
    draft = _Draft()
    base = _find_base(source)
    if base is not None:
        source = {"name": stem, **source}
    _read_file(draft, source)
    if base is not None:
        _inherit(draft, base)
    missing = [key for key in (*_TOP, "energy.node_nm") if key not in draft.values]
    if missing:
        raise ConfigError(f"missing {', '.join(missing)}")
    _check_parts(draft, source)
    sections = {section: _build_section(draft, section) for section in PARTS[draft.values["kind"]]}
    energy = EnergySpec(draft.values["energy.node_nm"], draft.overrides)
    top = {name: draft.values[name] for name in _TOP}
    return check_whole(Spec(**top, **sections, energy=energy, provenance=draft.provenance))


def _find_base(source: dict[str, Any]) -> Spec | None:
    """Return the preset that a file starts from; the key is taken away."""
    if "based_on" not in source:
        return None
    name = source.pop("based_on")
    if not isinstance(name, str) or name not in preset_names():
        near = suggest(name if isinstance(name, str) else "", preset_names())
        raise ConfigError(f"based_on: expected the name of a preset, got {shorten(name)}; {near}")
    return _load_preset(name)


def _read_file(draft: _Draft, source: Mapping[str, Any]) -> None:
    """Add all values of a file."""
    known = (*_TOP, "based_on", "energy", *SECTIONS)
    for key, value in source.items():
        if key not in known:
            raise ConfigError(f"{key}: no such key; {suggest(key, (*known, *LEAVES))}")
        if key in _TOP:
            _read_leaf(draft, key, value)
            continue
        if not isinstance(value, dict):
            raise ConfigError(f"{key}: expected a mapping of keys to values, got {shorten(value)}")
        _read_section(draft, key, value)


def _read_section(draft: _Draft, section: str, source: Mapping[str, Any]) -> None:
    """Add the values of one section."""
    names = [key.partition(".")[2] for key in LEAVES if key.startswith(section + ".")]
    if section == "energy":
        names.append("overrides")
    for name, value in source.items():
        if name not in names:
            known = (*(f"{section}.{known}" for known in names), *LEAVES)
            raise ConfigError(f"{section}.{name}: no such key; {suggest(f'{section}.{name}', known)}")
        if name == "overrides":
            _read_overrides(draft, value)
        else:
            _read_leaf(draft, f"{section}.{name}", value)


def _read_leaf(draft: _Draft, key: str, value: Any) -> None:
    """Add one value, bare or with its origin."""
    origin = _GIVEN
    if isinstance(value, dict):
        _check_keys(key, value, ("value", "basis", "source"))
        origin = _read_origin(key, value)
        value = value["value"]
    draft.values[key] = check_value(key, value)
    if key not in _TOP[:3]:
        draft.provenance[key] = origin
    elif origin != _GIVEN:
        raise ConfigError(f"{key}: expected a bare value")


def _read_origin(key: str, source: Mapping[str, Any]) -> Provenance:
    """Return where a value comes from; only a given one may have an empty source."""
    basis = _BASIS.check(f"{key}.basis", source["basis"])
    if basis == "given" and source["source"] == "":
        return _GIVEN
    return Provenance(basis, TEXT.check(f"{key}.source", source["source"]))


def _read_overrides(draft: _Draft, source: Any) -> None:
    """Add energies of actions, bare [pJ] or with band and origin."""
    if not isinstance(source, dict):
        raise ConfigError(
            f"energy.overrides: expected a mapping of actions to energies, got {shorten(source)}"
        )
    for action, value in source.items():
        key = f"energy.overrides.{action}"
        if action not in ACTIONS:
            raise ConfigError(f"{key}: no such action; {suggest(action, ACTIONS)}")
        if not isinstance(value, dict):
            draft.overrides[action] = check_value(key, value)
            continue
        _check_keys(key, value, tuple(f.name for f in fields(ActionEnergy)))
        pico = {
            name: PICOJOULES.check(f"{key}.{name}", value[name]) for name in ("value_pj", "low_pj", "high_pj")
        }
        origin = _read_origin(key, value)
        draft.overrides[action] = check_action(
            key, ActionEnergy(**pico, basis=origin.basis, source=origin.source)
        )


def _check_keys(key: str, source: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """Check that a mapping has these keys and no others."""
    for name in source:
        if name not in names:
            raise ConfigError(f"{key}.{name}: no such key; {suggest(name, names)}")
    missing = [name for name in names if name not in source]
    if missing:
        raise ConfigError(f"{key}: missing {', '.join(missing)}; expected a bare value or {', '.join(names)}")


def _inherit(draft: _Draft, base: Spec) -> None:
    """Add what a preset says of the parts that the accelerator has, where the file says nothing."""
    draft.values.setdefault("kind", base.kind)
    parts = PARTS[draft.values["kind"]]
    for key, value in _flatten(base).items():
        section = key.rpartition(".")[0]
        if key not in draft.values and (section in parts or section in ("", "energy")):
            draft.values[key] = value
            if key in base.provenance:
                draft.provenance[key] = base.provenance[key]
    draft.overrides = {**base.energy.overrides, **draft.overrides}


def _check_parts(draft: _Draft, source: Mapping[str, Any]) -> None:
    """Check that the kind has the parts that the file describes."""
    kind = draft.values["kind"]
    for section in source:
        if section in SECTIONS and section not in PARTS[kind]:
            raise ConfigError(
                f"{section}: an accelerator of kind {kind} has no such part; it has {', '.join(PARTS[kind])}"
            )


def _build_section(draft: _Draft, section: str) -> Any:
    """Return one part of an accelerator; what is neither given nor has a default is missing."""
    values = {}
    missing = []
    for f in fields(SECTIONS[section]):
        key = f"{section}.{f.name}"
        if key in draft.values:
            values[f.name] = draft.values[key]
        elif key in DEFAULTS:
            values[f.name] = DEFAULTS[key]
            draft.provenance[key] = _DEFAULT
        else:
            missing.append(key)
    if missing:
        kind = draft.values["kind"]
        raise ConfigError(f"missing {', '.join(missing)} of an accelerator of kind {kind}")
    return SECTIONS[section](**values)


def _flatten(spec: Spec) -> dict[str, Any]:
    """Return all values by key, but for overrides of energies."""
    values: dict[str, Any] = {name: getattr(spec, name) for name in _TOP}
    for section in SECTIONS:
        part = getattr(spec, section)
        if part is not None:
            values |= {f"{section}.{name}": value for name, value in vars(part).items()}
    return values | {"energy.node_nm": spec.energy.node_nm}
