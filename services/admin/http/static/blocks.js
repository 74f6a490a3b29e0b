// Pieces that the parts of the run page are made of.
import { between, bytesText, durationText, element, phaseMark, phaseClass, phaseWord, prettyJson, timeText } from "/static/common.js";

export const kindWord = (kind) =>
  ({ ACTION_KIND_TRACE: "trace", ACTION_KIND_CONDITION: "condition", ACTION_KIND_SLEEP: "sleep" })[kind] || "";

export const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

export function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== undefined && value !== null && value !== "");
  return element("dl", { class: "facts" }, ...known.map(([term, value]) =>
    element("div", {}, element("dt", {}, term), element("dd", {}, value))));
}

export function section(title, content) {
  return content ? element("section", {}, element("h3", {}, title), content) : null;
}

export function failureBlock(failure) {
  const kind = (failure.kind || "").replace("FAILURE_KIND_", "").toLowerCase();
  return element("div", { class: "failure" },
    element("p", {}, element("strong", {}, failure.code || kind), kind ? ` (${kind}) ` : " ", failure.message || ""),
    failure.traceback ? element("pre", { tabindex: "0" }, failure.traceback) : null);
}

export function documentBlock(document) {
  if (!document) return element("p", { class: "muted" }, "None.");
  const cut = document.text.length < document.size && document.url;
  const text = cut ? document.text : prettyJson(document.text);
  const more = document.url ? element("p", {}, element("a", { href: document.url, rel: "noreferrer" },
    `Download all ${bytesText(document.size)}`), cut ? " (only the start is shown)" : "") : null;
  return element("div", {}, element("pre", { tabindex: "0" }, text), more);
}

// Names and values, such as labels; null when there are none.
export function mapping(values) {
  const entries = Object.entries(values || {}).sort(([one], [other]) => (one < other ? -1 : 1));
  if (!entries.length) return null;
  return table(["Name", "Value"], entries.map(([name, value]) => element("tr", {},
    element("td", {}, element("code", {}, name)), element("td", {}, element("code", {}, value)))));
}

export function table(titles, rows) {
  const head = element("thead", {}, element("tr", {}, ...titles.map((title) => element("th", { scope: "col" }, title))));
  return element("div", { class: "scroll" }, element("table", {}, head, element("tbody", {}, ...rows)));
}

export function eventTable(events) {
  const first = events.length ? Date.parse(events[0].occurred_at) : 0;
  const rows = events.map((event) => element("tr", {},
    element("td", { class: "nowrap", title: timeText(event.occurred_at) },
      `+${durationText(Date.parse(event.occurred_at) - first)}`), phaseCell(event.phase),
    element("td", {}, String(event.attempt)), element("td", {}, event.detail)));
  return table(["After", "Phase", "Attempt", "Detail"], rows);
}

export function attemptTable(attempts) {
  const rows = attempts.map((each) => element("tr", {},
    element("td", {}, String(each.number || 0)), phaseCell(each.phase), element("td", {}, each.node || ""),
    element("td", {}, between(each.started_at || each.assigned_at, each.ended_at)),
    element("td", {}, Number(each.peak_memory_bytes || 0) ? bytesText(each.peak_memory_bytes) : ""),
    element("td", {}, each.image ? element("code", {}, each.image) : ""),
    element("td", {}, each.failure ? `${each.failure.code}: ${each.failure.message || ""}` : "")));
  return table(["Number", "Phase", "Host", "Duration", "Peak memory", "Image", "Failure"], rows);
}

function phaseCell(phase) {
  return element("td", { class: `nowrap ${phaseClass(phase)}` }, `${phaseMark(phase)} ${phaseWord(phase)}`);
}

// "30 of 100: reading", as a bar when the total is known.
export function progressBlock(progress) {
  const number = (value) => Number(value || 0).toLocaleString(undefined, { maximumFractionDigits: 6 });
  const amount = progress.total ? `${number(progress.done)} of ${number(progress.total)}` : number(progress.done);
  const words = element("span", { class: "muted" }, [amount, progress.message].filter(Boolean).join(" · "));
  if (!progress.total) return element("p", { class: "progress" }, words);
  const bar = element("progress", { max: progress.total, value: Math.min(progress.done || 0, progress.total), "aria-label": "Progress" });
  return element("p", { class: "progress" }, bar, words);
}

export function progressText(progress) {
  if (!progress) return "";
  const part = progress.total ? `${Math.floor(Math.min(1, (progress.done || 0) / progress.total) * 100)} %` : String(progress.done || 0);
  return progress.message ? `${part} ${progress.message}` : part;
}
