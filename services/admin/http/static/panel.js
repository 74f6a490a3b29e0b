// The selected action: an overview, its log, its report, by attempt.
import { badge, between, byId, element, getJson, isEnded, timeText } from "/static/common.js";
import {
  attemptTable, documentBlock, eventTable, facts, failureBlock, kindWord, mapping, progressBlock, section,
} from "/static/blocks.js";
import { Log } from "/static/log.js";
import { Report } from "/static/report.js";
import { signalForm } from "/static/signal.js";

const CACHE = {
  CACHE_STATUS_HIT: "hit", CACHE_STATUS_MISS: "miss",
  CACHE_STATUS_RECOVERED: "taken over", CACHE_STATUS_OVERWRITTEN: "overwritten",
};
const TABS = [["overview", "Overview"], ["log", "Log"], ["report", "Report"]];

export class Panel {
  constructor(base, titleOf, onSelect, onAbort) {
    this.base = base;
    this.titleOf = titleOf;
    this.onSelect = onSelect;
    this.name = "";
    this.tab = "overview";
    this.attempt = "";
    this.log = new Log();
    this.report = new Report();
    this.onAbort = onAbort; // none for runs that only their own process can end
    this.title = element("div", { class: "title" });
    this.picker = element("select", { "aria-label": "Attempt" });
    this.picker.addEventListener("change", () => { this.attempt = this.picker.value; this.follow(); });
    this.abort = element("button", { type: "button", class: "danger small", hidden: "", onclick: () => onAbort(this.action) }, "Abort…");
    this.tabs = new Map(TABS.map(([tab, word]) => [tab, element("button", {
      type: "button", role: "tab", id: `tab-${tab}`, "aria-controls": `pane-${tab}`, onclick: () => this.open(tab),
    }, word)]));
    this.panes = new Map(TABS.map(([tab]) => [tab, element("div", {
      role: "tabpanel", id: `pane-${tab}`, "aria-labelledby": `tab-${tab}`,
    })]));
    this.tabs.get("report").hidden = true;
    this.panes.get("log").append(this.log.place);
    this.panes.get("report").append(this.report.place);
    const list = element("div", { class: "tabs", role: "tablist", "aria-label": "Of this action" }, ...this.tabs.values());
    list.addEventListener("keydown", (event) => this.onKey(event));
    this.place = byId("panel");
    this.place.append(this.title, element("div", { class: "bar" }, list, this.picker), ...this.panes.values());
  }

  show(name) {
    if (this.name === name) return;
    this.name = name;
    this.attempt = "";
    this.action = null;
    this.signal = null;
    this.title.replaceChildren(element("h2", {}, "…"));
    this.panes.get("overview").replaceChildren(element("p", { class: "muted" }, "Loading…"));
    this.picker.hidden = true;
    this.tabs.get("report").hidden = true;
    this.refresh();
    this.open(this.tab === "report" ? "overview" : this.tab);
  }

  open(tab) {
    this.tab = tab;
    for (const [each, button] of this.tabs) {
      button.setAttribute("aria-selected", String(each === tab));
      button.tabIndex = each === tab ? 0 : -1;
      this.panes.get(each).hidden = each !== tab;
    }
    this.follow();
  }

  get url() { return `${this.base}/actions/${encodeURIComponent(this.name)}`; }

  // What the open tab shows of the chosen attempt. Only what is looked at is followed.
  follow() {
    const query = this.attempt === "" ? "" : `?attempt=${this.attempt}`;
    this.log.close();
    this.report.close();
    if (this.tab === "log") this.log.follow(`${this.url}/logs/tail${query}`);
    if (this.tab === "report") this.report.show(this.url, query, () => Boolean(this.action) && !isEnded(this.action.phase));
  }

  onKey(event) {
    const shown = [...this.tabs].filter(([, button]) => !button.hidden).map(([tab]) => tab);
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    this.open(shown[(shown.indexOf(this.tab) + step + shown.length) % shown.length]);
    this.tabs.get(this.tab).focus();
  }

  // Reads the action again, at most twice a second.
  refresh() {
    if (this.pending || !this.name) return;
    this.pending = setTimeout(async () => {
      const name = this.name;
      try {
        const action = await getJson(this.url);
        if (name === this.name) this.fill(action);
      } catch (error) {
        if (name === this.name) this.panes.get("overview").replaceChildren(element("p", { class: "problem" }, error.message));
      }
      this.pending = null;
      if (name !== this.name) this.refresh();
    }, this.filled === this.name ? 500 : 0);
  }

  fill(action) {
    this.filled = this.name;
    this.action = action;
    const ended = isEnded(action.phase);
    this.abort.hidden = ended || !this.onAbort;
    this.title.replaceChildren(element("h2", {}, action.short_name || action.task_name), badge(action.phase), this.abort);
    this.tabs.get("report").hidden = !action.has_report;
    this.tabs.get("log").hidden = Boolean(kindWord(action.kind));
    if (this.tabs.get(this.tab).hidden) this.open("overview");
    this.fillPicker(action.attempts || []);
    this.fillOverview(action, ended);
  }

  fillPicker(attempts) {
    this.picker.hidden = attempts.length < 2;
    const known = ["", ...attempts.map((each) => String(each.number || 0))];
    if (this.picker.childElementCount === known.length) return;
    this.picker.replaceChildren(...known.map((value) =>
      element("option", { value, selected: value === this.attempt ? "" : null }, value ? `Attempt ${value}` : "Newest attempt")));
  }

  fillOverview(action, ended) {
    this.duration = document.createTextNode(between(action.started_at, action.ended_at));
    const attempts = action.attempts || [];
    const parts = [
      facts([
        ["Action", element("code", {}, action.id.name)],
        ["Kind", kindWord(action.kind)],
        ["Task", element("code", {}, action.task_name)],
        ["Enqueued", timeText(action.created_at)],
        ["Started", timeText(action.started_at)],
        ["Duration", action.started_at ? this.duration : ""],
        ["Group", action.group],
        ["Until", action.wait && !ended ? timeText(action.wait.until) : ""],
        ["Links", this.links(action.links || [])],
      ]),
      this.cache(action),
      action.progress && !ended ? progressBlock(action.progress) : null,
      !ended && action.wait_reason && kindWord(action.kind) !== "condition" ? section("Waiting because", element("p", {}, action.wait_reason)) : null,
      action.abort_reason ? section("Aborted because", element("p", {}, action.abort_reason)) : null,
      action.failure ? section("Failure", failureBlock(action.failure)) : null,
      this.signalSection(action, ended),
      this.lineage(action),
      section("Inputs", documentBlock(action.inputs)),
      section("Outputs", action.outputs ? documentBlock(action.outputs)
        : element("p", { class: "muted" }, ended ? "None: it did not succeed." : "Not yet.")),
      action.progress && ended ? section("Progress at its end", progressBlock(action.progress)) : null,
      section("Custom context", mapping(action.custom_context)),
      attempts.length ? section("Attempts", attemptTable(attempts)) : null,
      section("What happened", eventTable(action.events)),
    ];
    this.panes.get("overview").replaceChildren(...parts.filter(Boolean));
  }

  // A form that is being filled in is kept as it is.
  signalSection(action, ended) {
    if (ended || action.phase !== "PHASE_PAUSED" || kindWord(action.kind) !== "condition") return null;
    this.signal ||= section("Waits for a value", signalForm(action, `${this.url}/signal`));
    return this.signal;
  }

  cache(action) {
    const word = CACHE[action.cache_status];
    if (!word) return null;
    const from = action.cached_from;
    const run = from && from.run;
    const source = run ? element("a", {
      href: `/v2/runs/project/${encodeURIComponent(run.project)}/domain/${encodeURIComponent(run.domain)}/${encodeURIComponent(run.name)}#${encodeURIComponent(from.name)}`,
    }, `${run.name} / ${from.name}`) : null;
    return section("Cache", element("p", {}, element("span", { class: "chip" }, word), ` ${action.cache_reason || ""} `, source));
  }

  links(links) {
    const safe = links.filter((link) => /^https?:/i.test(link.url || ""));
    if (!safe.length) return "";
    return element("span", {}, ...safe.map((link) => element("a", { class: "apart", href: link.url, target: "_blank", rel: "noreferrer" }, link.name || link.url)));
  }

  lineage(action) {
    const edges = action.lineage || [];
    if (!edges.length) return null;
    const items = edges.map((edge) => element("li", {}, `${edge.input} ← `, element("button", {
      type: "button", class: "link", onclick: () => this.onSelect(edge.source),
    }, this.titleOf(edge.source))));
    return section("Inputs came from", element("ul", {}, ...items));
  }

  // Once a second: only what time changes, so that nothing that is being read or selected is replaced.
  tick() {
    if (this.filled !== this.name || !this.action || isEnded(this.action.phase)) return;
    this.duration.textContent = between(this.action.started_at, this.action.ended_at);
  }

  pause() {
    this.log.pause();
    this.report.pause();
  }

  resume() {
    this.log.resume();
    if (this.tab === "report") this.report.resume();
    this.refresh();
  }
}
