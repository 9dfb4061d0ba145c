"""test_profile_page.py: the page of a profile: marks as the report says, and a real browser that shows it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from colonnade.accel_model.spec_files import load_spec
from colonnade.detector.detector import load
from colonnade.detector.standard_weights import draw_street
from colonnade.tools.profile.host_energy import HostEnergy
from colonnade.tools.profile.page import format_page
from colonnade.tools.profile.runs import Profile, Workload, profile_frames
from colonnade.tools.profile.svg import Scale, fit_from_zero, fit_log, shorten
from colonnade.tools.profile.traces import TracedFrame

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
DESIGNS = ("pillaracc-64x64", "dense-64x64", "pointacc-64x64")


@pytest.fixture(scope="module")
def profile(tiny_model: Path) -> Profile:
    """Return three frames on three designs; the name of the recording would break a page that does not escape it."""
    detector = load(tiny_model)
    frames = [TracedFrame(f"{seed:06d}", detector.trace(draw_street()[:: seed + 1])[1]) for seed in range(3)]
    return profile_frames(
        frames,
        [load_spec(name) for name in DESIGNS],
        Workload("<script>alert('drive')</script>", "tiny (fp32)", "points to boxes"),
        lambda: HostEnergy(12.5, 3, "RAPL package-0"),
    )


class Marks(HTMLParser):
    """Counts the marks of a page by kind, and keeps their words and the tags that are open."""

    VOID = ("meta", "link")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.kinds: list[tuple[str, ...]] = []
        self.open: list[str] = []
        self.loads: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        kind = (values.get("class") or "").split()
        if "mark" in kind:
            self.kinds.append(tuple(kind))
        self.loads += [value for key, value in attrs if key in ("src", "href", "xlink:href") and value]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def count(self, kind: str) -> int:
        return sum(kind in found for found in self.kinds)


def test_every_layer_frame_and_component_has_its_mark(profile: Profile) -> None:
    marks = Marks(format_page(profile))
    report = profile.design.shown
    assert marks.open == []
    assert marks.count("end") == len(report.layers)
    assert marks.count("frame") == 3 * len(DESIGNS)
    assert marks.count("quantile") == 2 * len(DESIGNS)
    assert marks.count("point") == sum(1 for layer in report.layers if layer.intensity)
    assert marks.count("roof") == 2
    busy = sum(1 for layer in report.layers for _, cycles in layer.cost.busy if cycles)
    stacked = sum(1 for kind in marks.kinds if len(kind) == 2 and kind[1] in dict(report.layers[1].cost.busy))
    assert stacked == busy


def test_the_page_needs_nothing_from_outside_and_escapes(profile: Profile) -> None:
    page = format_page(profile)
    assert [target for target in Marks(page).loads if not target.startswith("data:")] == []
    assert not re.search(r"https?://(?!www\.w3\.org)", re.sub(r"<td[^>]*>[^<]*</td>", "", page))
    assert "@import" not in page
    assert "url(" not in page
    assert "alert('drive')</script>" not in page
    assert page.count("<script>") == 1


def test_conditions_and_statement_stand_on_the_page(profile: Profile) -> None:
    page = format_page(profile)
    for words in (
        "no RTL",
        "1,000 MHz",
        "8-bit integers",
        "GB/s peak",
        "pJ per bit",
        "12.5 mJ per frame, measured",
    ):
        assert words in page
    assert all(design in page for design in DESIGNS)
    assert page.count('class="badge') > 100
    without = replace(profile, host=HostEnergy(None, 0, "no counter"))
    assert "not measured (no counter)" in format_page(without)


def test_one_design_alone_has_no_comparison(profile: Profile) -> None:
    page = format_page(replace(profile, others=(), comparisons=()))
    assert "Beside the other designs" not in page
    assert Marks(page).count("frame") == 3


@pytest.mark.parametrize(
    ("scale", "value", "place"),
    [
        (Scale(0, 10), 2.5, 0.25),
        (Scale(1, 100, is_log=True), 10, 0.5),
        (Scale(1, 100, is_log=True), 0, 0),
        (Scale(0, 10), 99, 1),
    ],
)
def test_scales_place_values(scale: Scale, value: float, place: float) -> None:
    assert scale.place(value) == pytest.approx(place)


@pytest.mark.parametrize(
    "values", [(1, 1), (0.003, 5e6), (7, 8), (2, 11), (0, 0), (1e-12, 2e-12), (float("inf"), 3)]
)
def test_ticks_are_few_and_within(values: tuple[float, float]) -> None:
    for scale in (fit_log(values), fit_from_zero(values)):
        ticks = scale.list_ticks()
        assert 1 <= len(ticks) <= 8
        assert list(ticks) == sorted(set(ticks))
        assert all(scale.low <= tick <= scale.high * (1 + 1e-9) for tick in ticks)


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0"), (999, "999"), (1234, "1.23k"), (999_950, "1M"), (0.5, "0.5"), (2e10, "20G")],
)
def test_numbers_are_short(value: float, words: str) -> None:
    assert shorten(value) == words


# Written behind the page's own script: what a person would see, and whether the page is wider than the window.
_PROBE = """<script>
const seen = (kind) => [...document.querySelectorAll(".mark." + kind)].filter((mark) => {
  const box = mark.getBoundingClientRect();
  return box.width + box.height > 1 && box.left >= 0 && box.right <= innerWidth + 1;
}).length;
const kinds = ["end", "frame", "point", "roof", "energy", "quantile"];
const found = Object.fromEntries(kinds.map((kind) => [kind, seen(kind)]));
const first = document.querySelector(".mark.end");
const box = first.getBoundingClientRect();
first.dispatchEvent(new PointerEvent("pointermove", {bubbles: true, clientX: box.x, clientY: box.y}));
found.tip = document.getElementById("tip").textContent;
found.overflow = document.documentElement.scrollWidth - innerWidth;
document.title = "found " + JSON.stringify(found);
</script>"""


@pytest.mark.parametrize("width", [1280, 500])
def test_a_browser_shows_the_page(profile: Profile, tmp_path: Path, width: int) -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser on PATH: one of {', '.join(BROWSERS)} is needed to look at the page")
    page = tmp_path / "page.html"
    page.write_text(format_page(profile).replace("</body>", f"{_PROBE}</body>"), encoding="utf-8")
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom")
    place = f"--user-data-dir={tmp_path / 'browser'}"
    command = [browser, *options, place, f"--window-size={width},900", page.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "CONSOLE" not in shown.stderr, shown.stderr
    title = re.search(r"<title>found (.*?)</title>", shown.stdout)
    assert title, shown.stderr[-2000:]
    found = json.loads(title[1])
    layers = profile.design.shown.layers
    assert found["end"] == len(layers)
    assert found["frame"] == 3 * len(DESIGNS)
    assert found["point"] == sum(1 for layer in layers if layer.intensity)
    assert (found["roof"], found["quantile"]) == (2, 2 * len(DESIGNS))
    assert found["energy"] >= 5
    assert found["tip"].startswith(layers[0].name)
    assert found["overflow"] <= 0


@pytest.mark.parametrize("place", range(len(DESIGNS)))
def test_units_of_real_frames_never_overlap_and_add_up(profile: Profile, place: int) -> None:
    report = profile.runs[place].shown
    events = json.loads(report.to_chrome_trace())["traceEvents"]
    names = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    spans: dict[str, list[tuple[int, int]]] = {name: [] for name in names.values()}
    for event in events:
        if event["ph"] == "X":
            spans[names[event["tid"]]].append((event["args"]["start_cycle"], event["args"]["cycles"]))
    for name, found in spans.items():
        ends = [start + cycles for start, cycles in sorted(found)]
        assert all(end <= start for end, (start, _) in zip(ends, sorted(found)[1:], strict=False)), name
        assert max(ends) <= report.cycles
        busy = sum(dict(layer.cost.busy).get(name, 0) for layer in report.layers)
        assert sum(cycles for _, cycles in found) == (report.cycles if name == "layers" else busy), name
