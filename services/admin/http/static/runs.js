// Recent runs.
import { badge, between, byId, element, getJson, timeText } from "/static/common.js";

const chosen = new URLSearchParams(location.search);

function path(run) {
  if (isLocal(run)) return `/local/runs/${encodeURIComponent(run.id.name)}`;
  const [project, domain, name] = [run.id.project, run.id.domain, run.id.name].map(encodeURIComponent);
  return `/v2/runs/project/${project}/domain/${domain}/${name}`;
}

async function showProjects() {
  const { projects } = await getJson("/api/v1/projects");
  byId("project").append(...(projects || []).map((each) => element("option", { value: each.id }, each.id)));
  for (const name of ["project", "domain"]) {
    const select = byId(name);
    select.value = chosen.get(name) || "";
    select.addEventListener("change", () => {
      if (select.value) chosen.set(name, select.value);
      else chosen.delete(name);
      history.replaceState(null, "", `?${chosen}`);
      showRuns();
    });
  }
}

// Local runs belong to no project.
async function localRuns() {
  if (chosen.get("project") || chosen.get("domain")) return [];
  return (await getJson("/api/v1/local/runs")).runs;
}

function isLocal(run) {
  return !run.id.project;
}

async function showRuns() {
  const found = [...(await getJson(`/api/v1/runs?${chosen}`)).runs || [], ...await localRuns()];
  const runs = found.sort((one, other) => Date.parse(other.created_at) - Date.parse(one.created_at)).slice(0, 100);
  byId("empty").hidden = runs.length > 0;
  byId("runs").replaceChildren(...runs.map((run) => element("tr", {},
    element("td", {}, element("a", { class: "mono", href: path(run) }, run.id.name)),
    element("td", {}, run.task_name), element("td", {}, badge(run.phase)),
    element("td", {}, isLocal(run) ? element("span", { class: "badge" }, "local") : run.id.project),
    element("td", {}, run.id.domain), element("td", {}, String(run.action_count || 0)),
    element("td", {}, timeText(run.created_at)),
    element("td", {}, between(run.started_at || run.created_at, run.ended_at)))));
}

async function refresh() {
  try {
    if (!document.hidden) await showRuns();
    byId("live").textContent = "live";
  } catch (error) {
    byId("live").textContent = error.message;
  }
  setTimeout(refresh, 2000);
}

showProjects().catch((error) => { byId("live").textContent = error.message; });
refresh();
