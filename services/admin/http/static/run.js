// The page of one run.
import { badge, between, byId, element, isEnded, phaseMark, phaseWord, postJson, timeText } from "/static/common.js";
import { failureBlock, Panel } from "/static/panel.js";
import { Tree } from "/static/tree.js";

function identify(path) {
  const parts = path.split("/").filter(Boolean).map(decodeURIComponent);
  if (parts[1] === "runs") return { project: parts[3], domain: parts[5], name: parts[6] };
  return { domain: parts[2], project: parts[4], name: parts[6] };
}

const id = identify(location.pathname);
const [project, domain, name] = [id.project, id.domain, id.name].map(encodeURIComponent);
const base = `/api/v1/projects/${project}/domains/${domain}/runs/${name}`;
let run = null;

const tree = new Tree((action) => {
  history.replaceState(null, "", `#${encodeURIComponent(action)}`);
  panel.show(action);
});
const panel = new Panel(base, (action) => {
  const known = tree.actions.get(action);
  return known ? tree.titleOf(known) : action;
}, (action) => tree.select(action));

byId("place").textContent = `${id.project} / ${id.domain} / ${id.name}`;

function showRun() {
  document.title = `${phaseMark(run.phase)} ${run.task_name} ${run.id.name} · Hangar`;
  byId("task").textContent = run.task_name;
  const shown = byId("badge");
  if (shown.textContent !== `${phaseMark(run.phase)} ${phaseWord(run.phase)}`) {
    const fresh = badge(run.phase);
    fresh.id = "badge";
    shown.replaceWith(fresh);
  }
  const labels = Object.entries(run.labels || {}).map(([key, value]) => `${key}=${value}`).join(", ");
  const facts = [
    ["Run", element("code", {}, run.id.name)],
    ["Duration", between(run.started_at || run.created_at, run.ended_at)],
    ["Created", timeText(run.created_at)],
    ["Started", timeText(run.started_at)],
    ["Version", run.task_version],
    ["Labels", labels],
    ["Trace", run.trace_id ? element("code", {}, run.trace_id) : ""],
    ["Aborted because", run.abort_reason],
  ].filter(([, value]) => value);
  byId("facts").replaceChildren(...facts.map(([term, value]) =>
    element("div", {}, element("dt", {}, term), element("dd", {}, value))));
  byId("abort").hidden = isEnded(run.phase);
  const failure = byId("run-failure");
  failure.hidden = !run.failure;
  if (run.failure && !failure.childElementCount) failure.replaceWith(Object.assign(failureBlock(run.failure), { id: "run-failure" }));
}

let source = null;
let complete = false;

function watch() {
  source = new EventSource(`${base}/watch`);
  source.onopen = () => { byId("live").textContent = "live"; };
  source.onmessage = (event) => {
    const update = JSON.parse(event.data);
    run = update.run;
    showRun();
    tree.update(update.actions || []);
    const wanted = decodeURIComponent(location.hash.slice(1)) || "a0";
    if (!tree.selected) tree.select(tree.actions.has(wanted) ? wanted : "a0");
    if ((update.actions || []).some((action) => action.id.name === panel.name)) panel.refresh();
  };
  source.addEventListener("end", () => { complete = true; source.close(); byId("live").textContent = "complete"; });
  source.onerror = () => {
    byId("live").textContent = source.readyState === EventSource.CLOSED ? "not connected" : "connecting again…";
  };
}

const dialog = byId("abort-dialog");
byId("abort").addEventListener("click", () => { byId("abort-problem").textContent = ""; dialog.showModal(); });
byId("abort-cancel").addEventListener("click", () => dialog.close());
byId("abort-confirm").addEventListener("click", async () => {
  try {
    await postJson(`${base}/abort`, { reason: byId("abort-reason").value });
    dialog.close();
  } catch (error) {
    byId("abort-problem").textContent = error.message;
  }
});

// Browsers open few connections to one host: a tab that nobody sees holds none.
document.addEventListener("visibilitychange", () => {
  if (complete) return;
  if (document.hidden) {
    if (source) source.close();
    panel.pause();
  } else {
    watch();
    panel.resume();
  }
});

setInterval(() => { if (run && !isEnded(run.phase)) { showRun(); tree.render(); panel.tick(); } }, 1000);
if (!document.hidden) watch();
