// The log of the selected action, live.
import { element } from "/static/common.js";

const MOST_LINES = 5000;

export class Log {
  constructor() {
    this.lines = element("pre", { class: "log", tabindex: "0", role: "log", "aria-label": "Log" });
    this.state = element("p", { class: "muted" });
    this.place = element("div", {}, this.state, this.lines);
  }

  // Follows the log at an address, from its start.
  follow(url) {
    this.close();
    this.url = url;
    this.lines.replaceChildren();
    this.count = 0;
    this.state.textContent = "No lines yet.";
    const source = new EventSource(url);
    this.source = source;
    let shown = null;
    source.onmessage = (event) => {
      const page = JSON.parse(event.data);
      const attempt = page.attempt || 0;
      if (shown !== null && shown !== attempt) this.append([{ text: `— attempt ${attempt} —` }]);
      shown = attempt;
      this.append(page.lines || []);
      this.state.textContent = "Live.";
    };
    source.addEventListener("end", () => {
      source.close();
      this.state.textContent = this.count ? "Complete." : "It printed nothing.";
    });
    source.onerror = () => { if (source.readyState === EventSource.CLOSED) this.state.textContent = "No log."; };
  }

  close() {
    if (this.source) this.source.close();
  }

  pause() {
    this.paused = Boolean(this.source) && this.source.readyState !== EventSource.CLOSED;
    this.close();
  }

  resume() {
    if (this.paused) this.follow(this.url);
    this.paused = false;
  }

  append(lines) {
    const pre = this.lines;
    const atEnd = pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 8;
    const made = document.createDocumentFragment();
    for (const line of lines) {
      const when = line.captured_at ? `${new Date(line.captured_at).toLocaleTimeString()}  ` : "";
      made.append(element("span", {}, element("span", { class: "when" }, when), `${line.text || ""}\n`));
    }
    pre.append(made);
    this.count += lines.length;
    while (pre.childElementCount > MOST_LINES) pre.firstElementChild.remove();
    if (atEnd) pre.scrollTop = pre.scrollHeight;
  }
}
