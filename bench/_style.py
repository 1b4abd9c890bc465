"""How the report looks: colours that read on light and on dark, a layout for a desk and for a phone."""

__all__ = ["STYLE"]

STYLE = """
:root { color-scheme: light dark; --back: #fff; --ink: #1b1f24; --soft: #59636e; --rule: #d8dee4; --pane: #f6f8fa;
  --faster: #1f6feb; --slower: #bc4c00; --nothing: #868f99; --torch: #8250df; }
@media (prefers-color-scheme: dark) { :root { --back: #0d1117; --ink: #e6edf3; --soft: #9198a1; --rule: #30363d;
  --pane: #161b22; --faster: #6cb0ff; --slower: #f0883e; --nothing: #7d8590; --torch: #c297ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 16px; max-width: 1120px; background: var(--back); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { font-size: 1.25rem; margin-top: 2.2rem; }
h3 { font-size: 1rem; margin: 0; }
p, li, figcaption { max-width: 46rem; } figcaption, .soft { color: var(--soft); font-size: .9rem; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; }
.tiles div { background: var(--pane); border: 1px solid var(--rule);
  border-radius: 6px; padding: 10px 16px; } .tiles b { display: block; font-size: 1.7rem; line-height: 1.2; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 330px), 1fr)); gap: 20px; }
figure { margin: 0; background: var(--pane); border: 1px solid var(--rule); border-radius: 6px; padding: 10px; }
svg { width: 100%; height: auto; display: block; max-width: 520px; } .grid svg { max-width: none; }
text { fill: var(--ink); font: 11px system-ui, sans-serif; } .tick, .axis { fill: var(--soft); font-size: 10px; }
.label { font-size: 10.5px; }
.label { paint-order: stroke; stroke: var(--pane); stroke-width: 3px; }
.said { font-weight: 600; } line.grid { stroke: var(--rule); }
line.one { stroke: var(--ink); stroke-width: 1.2; } line.whisker { stroke: var(--ink); stroke-width: 1.4; }
.bar.faster { fill: var(--faster); } .bar.slower { fill: var(--slower); } .bar.nothing { fill: var(--nothing); }
.bar.cold { fill: var(--slower); } .bar.warm { fill: var(--faster); }
.curve { fill: none; stroke-width: 1.8; } .curve.time, .curve.top, .curve.cache { stroke: var(--faster); }
.curve.compile { stroke: var(--slower); } .curve.compile, .curve.cache { stroke-dasharray: 5 3; }
.mark { stroke-width: 1.3; stroke: var(--back); }
.mark.ours { fill: var(--faster); } .mark.jax { fill: var(--nothing); }
.mark.torch { fill: var(--torch); } .mark.compile { fill: var(--slower); }
.key { font-weight: 600; } .key.ours { color: var(--faster); } .key.compile, .key.slower { color: var(--slower); }
.key.jax, .key.nothing { color: var(--soft); } .key.torch { color: var(--torch); }
.scroll { overflow-x: auto; border: 1px solid var(--rule); border-radius: 6px; }
table { border-collapse: collapse; font-size: .85rem; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--rule); }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left; }
th { background: var(--pane); }
@media (max-width: 600px) { td:first-child { white-space: normal; min-width: 9rem; max-width: 9rem; } }
.wide { grid-template-columns: repeat(auto-fill, minmax(min(100%, 460px), 1fr)); align-items: start; }
details { margin: 0; } summary { cursor: pointer; font-weight: 600; padding: 4px 0; }
"""
