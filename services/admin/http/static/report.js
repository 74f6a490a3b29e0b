// The report of the selected action: a document of its author's, in a sandbox, shown anew when it changes.
import { bytesText, element, getJson } from "/static/common.js";

const SANDBOX = "allow-scripts allow-popups allow-popups-to-escape-sandbox allow-downloads";
const LOOK_MILLISECONDS = 2000;

export class Report {
  constructor() {
    this.state = element("p", { class: "muted", role: "status" });
    this.frames = element("div", { class: "report" });
    this.place = element("div", {}, this.state, this.frames);
    this.view = { tab: 0, y: 0 };
    addEventListener("message", (event) => this.remember(event));
  }

  // Shows the report at an address; looks for newer ones while `isLive` says that there may be.
  show(base, query, isLive) {
    this.close();
    this.view = { tab: 0, y: 0 };
    this.frames.replaceChildren();
    this.state.textContent = "Loading…";
    this.shown = "";
    const look = async () => {
      const live = isLive();
      try {
        const known = await getJson(`${base}/report${query}`);
        if (this.look !== look) return;
        this.update(base, known, live);
      } catch (error) {
        if (this.look !== look) return;
        this.state.textContent = error.message;
      }
      if (live) this.timer = setTimeout(look, LOOK_MILLISECONDS);
    };
    this.look = look;
    look();
  }

  close() {
    clearTimeout(this.timer);
    this.look = null;
  }

  pause() {
    clearTimeout(this.timer);
  }

  resume() {
    if (this.look) this.look();
  }

  update(base, known, live) {
    if (!known.state) {
      this.state.textContent = live ? "Nothing has been written yet." : "This attempt wrote no report.";
      return;
    }
    const url = `${base}/report.html?attempt=${known.attempt || 0}`;
    this.state.replaceChildren(live ? "Live · " : "", `${bytesText(known.size)} · `,
      element("a", { href: url, target: "_blank", rel: "noopener" }, "open by itself"));
    const state = `${known.attempt} ${known.state}`;
    if (state === this.shown) return;
    this.shown = state;
    // The next state loads behind the one that is shown, which goes when it is there.
    const frame = element("iframe", { sandbox: SANDBOX, title: "Report", src: `${url}#${this.view.tab},${this.view.y}` });
    frame.addEventListener("load", () => {
      for (const other of [...this.frames.children]) if (other !== frame) other.remove();
      frame.className = "shown";
    });
    this.frames.append(frame);
  }

  // A report tells which tab it shows and how far it is scrolled, so that its next state is shown alike.
  remember(event) {
    const frame = this.frames.lastElementChild;
    const told = event.data && event.data.flyteReport;
    if (!frame || event.source !== frame.contentWindow || !told) return;
    this.view = { tab: Math.floor(Number(told.tab)) || 0, y: Math.floor(Number(told.y)) || 0 };
  }
}
