"""page_style.py: the look of the pages: colours for light and dark, type, bars, charts, and the words over a mark."""

from __future__ import annotations

# Colours of the units are Okabe and Ito's, which people with any colour vision can tell apart.
COLOURS = """
:root { color-scheme: light dark;
  --page: #fbfbfa; --card: #ffffff; --ink: #1b1f24; --soft: #5a6470; --line: #e2e5e9; --grid: #eceff2;
  --accent: #0b5fa5; --note: #fff7e0; --note-line: #e6c35c; --energy: #5b7fa6;
  --array: #0072b2; --rules: #e69f00; --gather: #009e73; --scatter: #cc79a7; --dram: #d55e00; --nonlinear: #56b4e9; }
@media (prefers-color-scheme: dark) { :root {
  --page: #14171b; --card: #1b1f25; --ink: #e8eaed; --soft: #9aa5b1; --line: #2d333b; --grid: #272d35;
  --accent: #6cb6ff; --note: #2b2617; --note-line: #7a6526; --energy: #7f9fc4;
  --array: #3d9fe0; --rules: #f0b429; --gather: #2fc198; --scatter: #dd93bd; --dram: #ee7733;
  --nonlinear: #8ccdf2; } }
"""

CHARTS = """
svg { display: block; overflow: visible; font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
svg .grid { stroke: var(--grid); stroke-width: 1; }
svg text { fill: var(--soft); font-variant-numeric: tabular-nums; }
svg .axis { fill: var(--ink); font-weight: 600; }
svg .label, svg .note { fill: var(--ink); paint-order: stroke; stroke: var(--card); stroke-width: 3px; }
.array { --c: var(--array); } .rules { --c: var(--rules); } .gather { --c: var(--gather); }
.scatter { --c: var(--scatter); } .dram { --c: var(--dram); } .nonlinear { --c: var(--nonlinear); }
.mark { fill: var(--c); }
.mark:hover { filter: brightness(1.15); }
.mark.end { stroke: var(--ink); stroke-width: 2; } .mark.energy { fill: var(--energy); }
.mark.roof { stroke: var(--c); stroke-width: 2.5; }
.mark.point { stroke: var(--card); stroke-width: 1.5; }
.mark.frame { fill: var(--energy); fill-opacity: .55; }
.mark.quantile { fill: var(--ink); } .mark.quantile.p99 { fill: var(--dram); }
.mark.design { fill: var(--soft); fill-opacity: .12; stroke: var(--soft); stroke-opacity: .35; }
.mark.best { fill: var(--array); fill-opacity: .7; stroke: var(--card); }
svg .band { stroke: var(--ink); stroke-width: 1.25; }
"""

PAGE = """
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; -webkit-text-size-adjust: 100%; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: clamp(26px, 4vw, 38px); line-height: 1.15; letter-spacing: -.02em; margin: 4px 0 8px;
  text-wrap: balance; }
h2 { font-size: 20px; letter-spacing: -.01em; margin: 0 0 4px; }
p { margin: 0 0 12px; max-width: 74ch; } .soft, small { color: var(--soft); }
.eyebrow { color: var(--accent); font-weight: 600; font-size: 14px; margin: 0; }
.statement { background: var(--note); border-left: 4px solid var(--note-line); border-radius: 4px; padding: 12px 16px;
  margin: 20px 0; max-width: none; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 20px 22px;
  margin: 18px 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 20px 0; }
.tiles div { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; }
.tiles b { display: block; font-size: 26px; line-height: 1.2; letter-spacing: -.02em;
  font-variant-numeric: tabular-nums; }
.tiles span { font-size: 13px; color: var(--soft); display: block; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 20px; margin: 0; font-size: 15px; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: 0 -22px; padding: 0 22px; }
table { border-collapse: collapse; font-size: 14px; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: right; font-weight: 600; color: var(--soft); border-bottom: 1px solid var(--line); padding: 6px 10px;
  vertical-align: bottom; }
td { text-align: right; padding: 5px 10px; border-bottom: 1px solid var(--grid); white-space: nowrap; }
th:first-child, td:first-child, .words { text-align: left; } td:first-child, th:first-child { padding-left: 0; }
td.words { white-space: normal; }
td.words:last-child { min-width: 16em; width: 50%; } tr.total td { font-weight: 600; border-bottom: 0; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 13px; color: var(--soft);
  margin: 8px 0 12px; max-width: none; }
.key { display: inline-block; width: 12px; height: 12px; border-radius: 3px; background: var(--c); margin-right: 6px;
  vertical-align: -1px; } .key.end { width: 2px; border-radius: 0; background: var(--ink); }
.bars { display: grid; grid-template-columns: max-content 1fr max-content; gap: 2px 14px; align-items: center;
  font-size: 13px;
  font-variant-numeric: tabular-nums; } .bars > span:nth-child(3n) { text-align: right; }
.bars b { display: inline-block; min-width: 4.4em; text-align: left; font-weight: 500; padding-left: 8px; }
.bars b::before { content: ""; display: inline-block; width: 8px; height: 8px; border-radius: 50%;
  background: var(--c); margin-right: 5px; }
.axis-row { position: relative; height: 18px; color: var(--soft); font-size: 12px; }
.axis-row span { position: absolute; transform: translateX(-50%); } .axis-row span:first-child { transform: none; }
.plot { margin: 16px 0 4px; }
.badge { font-size: 12px; border: 1px solid var(--line); border-radius: 10px; padding: 0 8px;
  color: var(--soft); white-space: nowrap; }
.badge.published { color: var(--gather); border-color: currentColor; }
.badge.derived { color: var(--array); border-color: currentColor; }
.badge.assumed { color: var(--dram); border-color: currentColor; }
summary { cursor: pointer; font-weight: 600; } details[open] summary { margin-bottom: 12px; }
#tip { position: fixed; z-index: 9; pointer-events: none; background: var(--ink); color: var(--page);
  font-size: 13px; line-height: 1.35;
  padding: 6px 10px; border-radius: 6px; max-width: min(320px, 80vw); } #tip[hidden] { display: none; }
@media (max-width: 640px) { .wide { display: none; } main { padding: 24px 14px 48px; } section { padding: 16px 14px; }
  .scroll { margin: 0 -14px; padding: 0 14px; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 8px; }
.bars { gap: 2px 8px; font-size: 12px; } .bars b { min-width: 0; padding-left: 2px; }
  .tiles { grid-template-columns: 1fr 1fr; } }
@media print { body { background: none; } section { break-inside: avoid; } }
"""

# Shows the words of a mark beside the pointer at once; without it, the browser shows them after a while.
SCRIPT = """
const tip = document.getElementById("tip");
for (const mark of document.querySelectorAll(".mark")) {
  const title = mark.querySelector("title");
  if (!title) continue;
  mark.setAttribute("aria-label", title.textContent);
  mark.dataset.tip = title.textContent;
  title.remove();
}
const show = (event) => {
  const mark = event.target.closest(".mark");
  tip.hidden = !mark;
  if (!mark) return;
  tip.textContent = mark.dataset.tip;
  const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
  const above = event.clientY - tip.offsetHeight - 12;
  tip.style.left = Math.max(8, left) + "px";
  tip.style.top = (above < 8 ? event.clientY + 18 : above) + "px";
};
document.addEventListener("pointermove", show);
document.addEventListener("pointerdown", show);  // a finger does not hover
"""
