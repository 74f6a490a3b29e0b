"""A report as one self-contained HTML document."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence

# Reports are written for a light background, whatever the theme of the page around them is. Tabs that are not shown
# keep their width, so that charts in them are drawn at the right size. The page around a report remembers for it,
# across reloads, which tab was shown and how far it was scrolled: a sandboxed document can store nothing itself.
_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light; }}
body {{ margin: 0; padding: 1rem; background: #fff; color: #1b1f24; font: 15px/1.5 system-ui, sans-serif; }}
body > .flyte-tabs {{ display: flex; flex-wrap: wrap; gap: .25rem; margin: 0 0 1rem;
  border-bottom: 1px solid #d9dee4; }}
.flyte-tabs button {{ font: inherit; color: #5b6570; background: none; border: 0; border-bottom: 2px solid transparent;
  padding: .3rem .8rem; cursor: pointer; }}
.flyte-tabs button[aria-selected="true"] {{ color: #1f5fbf; border-color: #1f5fbf; }}
.flyte-tab[data-hidden] {{ height: 0; overflow: hidden; visibility: hidden; }}
</style>
</head>
<body>
"""
_SCRIPT = """<script>
(() => {
  const buttons = [...document.querySelectorAll("body > .flyte-tabs > button")];
  const tabs = [...document.querySelectorAll('[id^="flyte-tab-"]')];
  const tell = () => parent !== window && parent.postMessage({ flyteReport: { tab: shown, y: scrollY } }, "*");
  let shown = 0;
  function show(index) {
    if (!tabs[index]) return;
    shown = index;
    tabs.forEach((tab, each) => tab.toggleAttribute("data-hidden", each !== index));
    buttons.forEach((button, each) => {
      button.setAttribute("aria-selected", String(each === index));
      button.tabIndex = each === index ? 0 : -1;
    });
  }
  buttons.forEach((button, index) => {
    button.addEventListener("click", () => { show(index); tell(); });
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = (index + step + buttons.length) % buttons.length;
      show(next); buttons[next].focus(); tell();
    });
  });
  const [tab, y] = location.hash.slice(1).split(",").map(Number);
  show(tab || 0);
  if (y) addEventListener("load", () => scrollTo(0, y));
  addEventListener("scroll", tell, { passive: true });
})();
</script>
"""
_TAIL = "</body>\n</html>\n"


def document(title: str, tabs: Sequence[tuple[str, Sequence[bytes]]]) -> Iterator[bytes]:
    """The pieces of a document, in order.

    Args:
        title: Its title.
        tabs: Name and HTML of each tab, in order.
    """
    yield _HEAD.format(title=html.escape(title)).encode()
    if len(tabs) > 1:
        buttons = "".join(
            f'<button type="button" role="tab" id="flyte-button-{index}" aria-controls="flyte-tab-{index}" '
            f'aria-selected="{"false" if index else "true"}">{html.escape(name)}</button>'
            for index, (name, _) in enumerate(tabs)
        )
        yield f'<div class="flyte-tabs" role="tablist" aria-label="Tabs">{buttons}</div>\n'.encode()
    for index, (name, pieces) in enumerate(tabs):
        hidden = " data-hidden" if index else ""
        label = f' role="tabpanel" aria-label="{html.escape(name)}"' if len(tabs) > 1 else ""
        yield f'<div class="flyte-tab" id="flyte-tab-{index}"{label}{hidden}>\n'.encode()
        yield from pieces
        yield b"\n</div>\n"
    yield (_SCRIPT + _TAIL).encode() if len(tabs) > 0 else _TAIL.encode()
