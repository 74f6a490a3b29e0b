// The selected action: what happened to it, inputs, outputs, failure, attempts, logs.
import {
  badge, between, byId, bytesText, durationText, element, getJson, isEnded, phaseWord, prettyJson, timeText,
} from "/static/common.js";

const MOST_LINES = 5000;
const CACHE = {
  CACHE_STATUS_HIT: "hit", CACHE_STATUS_MISS: "miss",
  CACHE_STATUS_RECOVERED: "taken over", CACHE_STATUS_OVERWRITTEN: "overwritten",
};

export class Panel {
  constructor(base, titleOf, onSelect) {
    this.base = base;
    this.titleOf = titleOf;
    this.onSelect = onSelect;
    this.place = byId("panel");
    this.name = "";
    this.log = element("pre", { class: "log", tabindex: "0", role: "log", "aria-label": "Log" });
    this.logState = element("p", { class: "muted" });
    this.body = element("div");
    this.attempt = "";
  }

  show(name) {
    if (this.name === name) return;
    this.name = name;
    this.attempt = "";
    this.body.replaceChildren(element("p", { class: "muted" }, "Loading…"));
    this.logTitle = element("h3", {}, "Log");
    this.place.replaceChildren(this.body, this.logTitle, this.logState, this.log);
    this.refresh();
    this.follow();
  }

  // Reads the action again, at most twice a second.
  refresh() {
    if (this.pending || !this.name) return;
    this.pending = setTimeout(async () => {
      const name = this.name;
      try {
        const action = await getJson(`${this.base}/actions/${encodeURIComponent(name)}`);
        if (name === this.name) this.fill(action);
      } catch (error) {
        if (name === this.name) this.body.replaceChildren(element("p", { class: "problem" }, error.message));
      }
      this.pending = null;
      if (name !== this.name) this.refresh();
    }, this.filled === this.name ? 500 : 0);
  }

  fill(action) {
    this.filled = this.name;
    this.action = action;
    this.duration = document.createTextNode(between(action.started_at, action.ended_at));
    const facts = [
      ["Action", element("code", {}, action.id.name)],
      ["Task", element("code", {}, action.task_name)],
      ["Enqueued", timeText(action.created_at)],
      ["Started", timeText(action.started_at)],
      ["Duration", action.started_at ? this.duration : ""],
      ["Group", action.group],
      ["Cache", CACHE[action.cache_status] && [CACHE[action.cache_status], action.cache_reason].filter(Boolean).join(": ")],
    ].filter(([, value]) => value);
    const attempts = action.attempts || [];
    const parts = [
      element("div", { class: "title" }, element("h2", {}, action.short_name || action.task_name), badge(action.phase)),
      element("dl", { class: "facts" }, ...facts.map(([term, value]) =>
        element("div", {}, element("dt", {}, term), element("dd", {}, value)))),
      !isEnded(action.phase) && action.wait_reason ? section("Waiting because", element("p", {}, action.wait_reason)) : null,
      action.abort_reason ? section("Aborted because", element("p", {}, action.abort_reason)) : null,
      action.failure ? section("Failure", failureBlock(action.failure)) : null,
      this.lineage(action),
      section("Inputs", documentBlock(action.inputs)),
      section("Outputs", action.outputs ? documentBlock(action.outputs)
        : element("p", { class: "muted" }, isEnded(action.phase) ? "None: it did not succeed." : "Not yet.")),
      section("What happened", eventTable(action.events)),
      attempts.length ? section("Attempts", attemptTable(attempts)) : null,
      attempts.length > 1 ? this.attemptPicker(attempts) : null,
    ];
    this.body.replaceChildren(...parts.filter(Boolean));
  }

  // Once a second: only what time changes, so that nothing that is being read or selected is replaced.
  tick() {
    if (this.filled !== this.name || !this.action || isEnded(this.action.phase)) return;
    this.duration.textContent = between(this.action.started_at, this.action.ended_at);
  }

  lineage(action) {
    const edges = action.lineage || [];
    if (!edges.length) return null;
    const items = edges.map((edge) => element("li", {}, `${edge.input} ← `, element("button", {
      type: "button", class: "link", onclick: () => this.onSelect(edge.source),
    }, this.titleOf(edge.source))));
    return section("Inputs came from", element("ul", {}, ...items));
  }

  attemptPicker(attempts) {
    const chosen = this.attempt;
    const options = [["", "newest, then later ones"], ...attempts.map((each) => [String(each.number || 0), `attempt ${each.number || 0}`])];
    const select = element("select", {}, ...options.map(([value, word]) =>
      element("option", { value, selected: value === chosen ? "" : null }, word)));
    select.addEventListener("change", () => { this.attempt = select.value; this.follow(); });
    return element("p", {}, element("label", {}, "Log of ", select));
  }

  follow() {
    if (this.source) this.source.close();
    this.log.replaceChildren();
    this.lines = 0;
    this.logState.textContent = "No lines yet.";
    const query = this.attempt === "" ? "" : `?attempt=${this.attempt}`;
    const source = new EventSource(`${this.base}/actions/${encodeURIComponent(this.name)}/logs/tail${query}`);
    this.source = source;
    let shown = null;
    source.onmessage = (event) => {
      const page = JSON.parse(event.data);
      const attempt = page.attempt || 0;
      if (shown !== null && shown !== attempt) this.append([{ text: `— attempt ${attempt} —` }]);
      shown = attempt;
      this.append(page.lines || []);
      this.logState.textContent = "Live.";
    };
    source.addEventListener("end", () => {
      source.close();
      this.logState.textContent = this.lines ? "Complete." : "It printed nothing.";
    });
    source.onerror = () => { if (source.readyState === EventSource.CLOSED) this.logState.textContent = "No log."; };
  }

  pause() {
    this.paused = Boolean(this.source) && this.source.readyState !== EventSource.CLOSED;
    if (this.paused) this.source.close();
  }

  resume() {
    if (this.paused) this.follow();
    this.paused = false;
    this.refresh();
  }

  append(lines) {
    const atEnd = this.log.scrollTop + this.log.clientHeight >= this.log.scrollHeight - 8;
    const made = document.createDocumentFragment();
    for (const line of lines) {
      const when = line.captured_at ? `${new Date(line.captured_at).toLocaleTimeString()}  ` : "";
      made.append(element("span", {}, element("span", { class: "when" }, when), `${line.text || ""}\n`));
    }
    this.log.append(made);
    this.lines += lines.length;
    while (this.log.childElementCount > MOST_LINES) this.log.firstElementChild.remove();
    if (atEnd) this.log.scrollTop = this.log.scrollHeight;
  }
}

export function failureBlock(failure) {
  const kind = (failure.kind || "").replace("FAILURE_KIND_", "").toLowerCase();
  return element("div", { class: "failure" },
    element("p", {}, element("strong", {}, failure.code || kind), kind ? ` (${kind}) ` : " ", failure.message || ""),
    failure.traceback ? element("pre", {}, failure.traceback) : null);
}

function section(title, content) {
  return element("div", {}, element("h3", {}, title), content);
}

function documentBlock(document) {
  if (!document) return element("p", { class: "muted" }, "None.");
  const cut = document.text.length < document.size && document.url;
  const text = cut ? document.text : prettyJson(document.text);
  const more = document.url ? element("p", {}, element("a", { href: document.url, rel: "noreferrer" },
    `Download all ${bytesText(document.size)}`), cut ? " (only the start is shown)" : "") : null;
  return element("div", {}, element("pre", { tabindex: "0" }, text), more);
}

function eventTable(events) {
  const first = events.length ? Date.parse(events[0].occurred_at) : 0;
  const rows = events.map((event) => element("tr", {},
    element("td", { class: "nowrap", title: timeText(event.occurred_at) },
      `+${durationText(Date.parse(event.occurred_at) - first)}`), element("td", {}, phaseWord(event.phase)),
    element("td", {}, String(event.attempt)), element("td", {}, event.detail)));
  return table(["After", "Phase", "Attempt", "Detail"], rows);
}

function attemptTable(attempts) {
  const rows = attempts.map((each) => element("tr", {},
    element("td", {}, String(each.number || 0)), element("td", {}, phaseWord(each.phase)), element("td", {}, each.node || ""),
    element("td", {}, between(each.started_at || each.assigned_at, each.ended_at)),
    element("td", {}, Number(each.peak_memory_bytes || 0) ? bytesText(each.peak_memory_bytes) : ""),
    element("td", {}, each.failure ? `${each.failure.code}: ${each.failure.message || ""}` : "")));
  return table(["Number", "Phase", "Host", "Duration", "Peak memory", "Failure"], rows);
}

function table(titles, rows) {
  const head = element("thead", {}, element("tr", {}, ...titles.map((title) => element("th", { scope: "col" }, title))));
  return element("div", { class: "scroll" }, element("table", {}, head, element("tbody", {}, ...rows)));
}
