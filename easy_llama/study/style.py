"""The look of the report: colours for light and dark, and the stylesheet.

Probability is told by lightness, so eyes that see colours differently see it too; the least probable tokens
are underlined as well. Families have a shape each, not only a colour. Text has a contrast of 4.5 or more on
every background it stands on (WCAG AA), a marker's outline one of 3.
"""

from __future__ import annotations

__all__ = ["BANDS", "DARK", "LIGHT", "STYLESHEET", "band_of"]

BANDS = (0.9, 0.5, 0.2, 0.05, 0.01)
"""The borders between the six colours: a token of probability 0.9 or more has the first, none."""

# b0 to b5: backgrounds by probability. Families: Okabe and Ito, https://jfly.uni-koeln.de/color/
LIGHT = {
    "page": "#f4f5f7", "card": "#ffffff", "ink": "#1b1d22", "soft": "#565c68", "line": "#c9ced6",
    "link": "#0b57a4",
    "b0": "#ffffff", "b1": "#fff0c2", "b2": "#fed97f", "b3": "#fdb44a", "b4": "#f58a2a", "b5": "#e8702a",
    "greedy": "#1b1d22", "sampling": "#56b4e9", "temperature": "#e69f00", "nucleus": "#009e73",
    "beam": "#d55e00", "contrastive": "#cc79a7", "settings": "#f0e442",
}  # fmt: skip
DARK = {
    "page": "#111317", "card": "#1a1d23", "ink": "#eceef2", "soft": "#a9b0bd", "line": "#3d434e",
    "link": "#8cc2ff",
    "b0": "#1a1d23", "b1": "#372d14", "b2": "#553d0d", "b3": "#6d4608", "b4": "#8a4b09", "b5": "#aa500e",
    "greedy": "#eceef2", "sampling": "#56b4e9", "temperature": "#e69f00", "nucleus": "#009e73",
    "beam": "#d55e00", "contrastive": "#cc79a7", "settings": "#f0e442",
}  # fmt: skip


def band_of(probability: float) -> int:
    """Return which of the six colours a token of that probability has, 0 to 5."""
    return sum(probability < border for border in BANDS)


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())


_RULES = """
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,sans-serif;
overflow-wrap:anywhere}
main{max-width:84rem;margin:0 auto;padding:1rem 1rem 5rem}
h1{font-size:1.6rem;line-height:1.2;margin:.6rem 0 .2rem}
h2{font-size:1.25rem;margin:2.6rem 0 .4rem}
p{max-width:48rem;margin:.4rem 0}
a{color:var(--link)}
small,.soft{color:var(--soft);font-size:.86rem}
nav a{margin-right:1rem}
.legend{display:flex;flex-wrap:wrap;gap:.3rem .5rem;align-items:center;margin:.7rem 0;padding:0;
list-style:none;font-size:.86rem}
.legend span{padding:.05rem .45rem;border:1px solid var(--line);border-radius:.2rem;white-space:nowrap}
.b1{background:var(--b1)}.b2{background:var(--b2)}.b3{background:var(--b3)}.b4{background:var(--b4)}
.b5{background:var(--b5);text-decoration:underline;text-decoration-thickness:2px;text-underline-offset:2px}
details{margin:.4rem 0 .8rem}
summary{cursor:pointer}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem .9rem;margin:.4rem 0;font-size:.86rem}
dt{font-weight:600}
dd{margin:0}
pre{white-space:pre-wrap;background:var(--card);border:1px solid var(--line);
border-radius:.4rem;padding:.7rem .9rem;margin:.4rem 0;font:.86rem/1.5 ui-monospace,monospace;
unicode-bidi:isolate}
.wide{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:.4rem;margin:.8rem 0}
table{border-collapse:collapse;font-size:.86rem;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.2rem .6rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--line)}
tbody tr:last-child>*{border-bottom:0}
thead th{color:var(--soft);font-weight:600}
th[scope=row],th:first-child{text-align:left;font-weight:400;position:sticky;left:0;background:var(--card)}
.n{display:inline-block;min-width:1.4rem;color:var(--soft);text-align:right;margin-right:.35rem}
.m{width:.85rem;height:.85rem;vertical-align:-.08rem;margin-right:.35rem;overflow:visible}
.bar{width:6rem;height:.8rem;display:block;margin-left:auto;outline:1px solid var(--soft)}
.plot{display:flex;flex-wrap:wrap;gap:.5rem 1.5rem;align-items:flex-start;margin:.6rem 0}
.plot>svg{flex:1 1 18rem;max-width:25rem;width:100%;height:auto;background:var(--card);
border:1px solid var(--line);border-radius:.4rem}
.plot>div{flex:1 1 18rem;max-width:40rem}
.plot ul{list-style:none;margin:.4rem 0;padding:0;columns:9rem}
svg text{fill:var(--ink);font:11px system-ui,sans-serif}
svg .tick{fill:var(--soft)}
.grid{stroke:var(--line);stroke-width:.6}
.mark{stroke:var(--ink);stroke-width:1}
.lead{stroke:var(--soft);stroke-width:.7}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,22rem),1fr));gap:.8rem;align-items:start}
article{background:var(--card);border:1px solid var(--line);border-radius:.4rem;padding:.7rem .9rem}
article ul{list-style:none;margin:0;padding:0;display:flex;flex-wrap:wrap;gap:0 .9rem;font-weight:600}
article .n{min-width:0}
article summary{font-weight:600}
.text{white-space:pre-wrap;unicode-bidi:isolate;max-height:24rem;overflow-y:auto;
margin:.5rem 0;line-height:1.6}
.text span{border-radius:.15rem}
.text .e::before{content:"\\25AF"}
.text span:hover{outline:2px solid var(--ink)}
.text span:hover::after{content:attr(title);position:fixed;left:50%;bottom:.6rem;transform:translateX(-50%);
width:max-content;max-width:94vw;padding:.35rem .8rem;border-radius:.4rem;background:var(--ink);
color:var(--card);font:.95rem/1.4 ui-monospace,monospace;white-space:pre-wrap;
text-align:center;pointer-events:none;z-index:9}
:focus-visible{outline:3px solid var(--link);outline-offset:1px}
""".replace("\n", "")

_FILLS = "".join(f".f{i}{{fill:var(--b{i})}}" for i in range(len(BANDS) + 1))
_FAMILY_FILLS = "".join(
    f".{name}{{fill:var(--{name})}}" for name in list(LIGHT)[list(LIGHT).index("greedy") :]
)

STYLESHEET = (
    f":root{{color-scheme:light dark;{_variables(LIGHT)}}}"
    f"@media(prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}{_RULES}{_FILLS}{_FAMILY_FILLS}"
)
