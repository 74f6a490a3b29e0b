// The page of one run.
import { badge, between, byId, element, getJson, isEnded, phaseMark, phaseWord, postJson, timeText } from "/static/common.js";
import { failureBlock, mapping, section } from "/static/blocks.js";
import { Graph } from "/static/graph.js";
import { Panel } from "/static/panel.js";
import { Tree } from "/static/tree.js";

function identify(path) {
  const parts = path.split("/").filter(Boolean).map(decodeURIComponent);
  if (parts[0] === "local") return { local: true, project: "", domain: "", name: parts[2] };
  if (parts[1] === "runs") return { project: parts[3], domain: parts[5], name: parts[6] };
  return { domain: parts[2], project: parts[4], name: parts[6] };
}

const id = identify(location.pathname);
const [project, domain, name] = [id.project, id.domain, id.name].map(encodeURIComponent);
const base = id.local ? `/api/v1/local/runs/${name}` : `/api/v1/projects/${project}/domains/${domain}/runs/${name}`;
let run = null;

const tree = new Tree((action) => {
  history.replaceState(null, "", `#${encodeURIComponent(action)}`);
  panel.show(action);
});
const graph = new Graph(tree, (action) => tree.select(action));
const panel = new Panel(base, (action) => {
  const known = tree.actions.get(action);
  return known ? tree.titleOf(known) : action;
}, (action) => tree.select(action), id.local ? null : (action) => askToAbort(action));

byId("place").textContent = id.local ? `local run on this machine / ${id.name}` : `${id.project} / ${id.domain} / ${id.name}`;

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
    ["Duration", element("span", { class: "nowrap" }, between(run.started_at || run.created_at, run.ended_at))],
    ["Created", timeText(run.created_at)],
    ["Started", timeText(run.started_at)],
    ["Version", run.task_version],
    ["Local run in", run.path ? element("code", {}, run.path) : ""],
    ["Labels", labels],
    ["Takes over", run.recovered_from ? element("a", { href: pageOf(run.recovered_from) }, run.recovered_from) : ""],
    ["Trace", run.trace_id ? element("code", {}, run.trace_id) : ""],
    ["Aborted because", run.abort_reason],
  ].filter(([, value]) => value);
  byId("facts").replaceChildren(...facts.map(([term, value]) =>
    element("div", {}, element("dt", {}, term), element("dd", {}, value))));
  byId("abort").hidden = id.local || isEnded(run.phase);
  byId("rerun").hidden = Boolean(id.local);
  const failure = byId("run-failure");
  failure.hidden = !run.failure;
  if (run.failure && !failure.childElementCount) failure.replaceWith(Object.assign(failureBlock(run.failure), { id: "run-failure" }));
}

const pageOf = (name) => `/v2/runs/project/${project}/domain/${domain}/${encodeURIComponent(name)}`;

// What the caller set: it never changes.
async function showSettings() {
  const full = await getJson(base);
  const settings = full.settings || {};
  const switches = [
    ["Cache", settings.disable_cache ? "neither used nor kept" : settings.overwrite_cache ? "computed anew" : ""],
    ["Queue", settings.queue], ["Interruptible", settings.interruptible === undefined ? "" : String(settings.interruptible)],
    ["Raw data", settings.raw_data_path],
  ].filter(([, value]) => value);
  const parts = [
    section("Labels", mapping(full.labels)),
    section("Annotations", mapping(full.annotations)),
    section("Environment variables", mapping(settings.env_vars)),
    section("Custom context", mapping(settings.custom_context)),
    switches.length ? section("Other settings", mapping(Object.fromEntries(switches))) : null,
  ].filter(Boolean);
  byId("settings").hidden = !parts.length;
  byId("settings-body").replaceChildren(...parts);
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
    graph.update();
    const wanted = decodeURIComponent(location.hash.slice(1)) || "a0";
    if (!tree.selected) tree.select(tree.actions.has(wanted) ? wanted : "a0");
    if ((update.actions || []).some((action) => action.id.name === panel.name)) panel.refresh();
  };
  source.addEventListener("end", () => { complete = true; source.close(); byId("live").textContent = "complete"; });
  source.onerror = () => {
    byId("live").textContent = source.readyState === EventSource.CLOSED ? "not connected" : "connecting again…";
  };
}

function showAs(view) {
  byId("as-tree").setAttribute("aria-pressed", String(view === "tree"));
  byId("as-graph").setAttribute("aria-pressed", String(view === "graph"));
  byId("tree").hidden = byId("counts").hidden = view !== "tree";
  byId("graph-view").hidden = view !== "graph";
  document.querySelector(".columns").classList.toggle("stacked", view === "graph");
  graph.show(view === "graph");
}
byId("as-tree").addEventListener("click", () => showAs("tree"));
byId("as-graph").addEventListener("click", () => showAs("graph"));

const again = byId("rerun-dialog");
byId("rerun").addEventListener("click", () => {
  byId("rerun-problem").textContent = "";
  byId("rerun-recover").hidden = !isEnded(run.phase) || run.phase === "PHASE_SUCCEEDED";
  again.showModal();
});
byId("rerun-cancel").addEventListener("click", () => again.close());
byId("rerun-confirm").addEventListener("click", async () => {
  const chosen = document.querySelector("input[name=rerun]:checked").value;
  try {
    const made = await postJson(`${base}/rerun`, { recover: chosen === "recover" });
    location.assign(pageOf(made.run.id.name));
  } catch (error) {
    byId("rerun-problem").textContent = error.message;
  }
});

const dialog = byId("abort-dialog");
let aborted = base;
function askToAbort(action) {
  aborted = action ? `${base}/actions/${encodeURIComponent(action.id.name)}` : base;
  byId("abort-title").textContent = action ? `Abort ${tree.titleOf(action)}?` : "Abort this run?";
  byId("abort-what").textContent = `Everything ${action ? "below" : "in"} it that still runs is stopped. This cannot be undone.`;
  byId("abort-problem").textContent = "";
  dialog.showModal();
}
byId("abort").addEventListener("click", () => askToAbort(null));
byId("abort-cancel").addEventListener("click", () => dialog.close());
byId("abort-confirm").addEventListener("click", async () => {
  try {
    await postJson(`${aborted}/abort`, { reason: byId("abort-reason").value });
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

setInterval(() => { if (run && !isEnded(run.phase)) { showRun(); tree.render(); graph.update(); panel.tick(); } }, 1000);
showSettings().catch((error) => { byId("live").textContent = error.message; });
if (!document.hidden) watch();
