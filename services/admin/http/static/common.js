// What the pages share. Text of users only ever becomes text: nothing here parses HTML.

const PHASES = {
  PHASE_QUEUED: ["Queued", "wait", "◌"],
  PHASE_WAITING_FOR_RESOURCES: ["Waiting for resources", "wait", "◌"],
  PHASE_INITIALIZING: ["Initializing", "busy", "◔"],
  PHASE_RUNNING: ["Running", "busy", "●"],
  PHASE_PAUSED: ["Paused", "wait", "‖"],
  PHASE_SUCCEEDED: ["Succeeded", "good", "✓"],
  PHASE_FAILED: ["Failed", "bad", "✗"],
  PHASE_ABORTED: ["Aborted", "stopped", "⊘"],
  PHASE_TIMED_OUT: ["Timed out", "bad", "⧖"],
};

export const phaseOrder = Object.keys(PHASES);
export const phaseWord = (phase) => (PHASES[phase] || ["Unknown"])[0];
export const phaseClass = (phase) => (PHASES[phase] || ["", "wait"])[1];
export const phaseMark = (phase) => (PHASES[phase] || ["", "", "?"])[2];
export const isEnded = (phase) =>
  ["PHASE_SUCCEEDED", "PHASE_FAILED", "PHASE_ABORTED", "PHASE_TIMED_OUT"].includes(phase);

// Makes an element: attributes by name, children as elements or text.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "onclick") made.addEventListener("click", value);
    else if (value !== undefined && value !== null && value !== false) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export const byId = (id) => document.getElementById(id);

export function badge(phase) {
  return element("span", { class: `badge ${phaseClass(phase)}` }, `${phaseMark(phase)} ${phaseWord(phase)}`);
}

export function durationText(milliseconds) {
  if (!(milliseconds >= 0)) return "";
  const seconds = milliseconds / 1000;
  if (seconds < 10) return `${seconds.toFixed(2)} s`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} m ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} m`;
}

// Time between two moments of the API; while the second is missing, up to now.
export function between(start, end) {
  return start ? durationText((end ? Date.parse(end) : Date.now()) - Date.parse(start)) : "";
}

export function timeText(moment) {
  return moment ? new Date(moment).toLocaleString() : "";
}

export function bytesText(size) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let value = Number(size);
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
  return `${unit ? value.toFixed(1) : value} ${units[unit]}`;
}

// Indents JSON text without reading its numbers: large integers stay exact.
export function prettyJson(text) {
  let out = "";
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  for (let i = 0; i < text.length; i += 1) {
    const char = text[i];
    if (char === '"') {
      let end = i + 1;
      while (end < text.length && text[end] !== '"') end += text[end] === "\\" ? 2 : 1;
      out += text.slice(i, end + 1);
      i = end;
    } else if (char === "{" || char === "[") {
      const close = char === "{" ? "}" : "]";
      let next = i + 1;
      while (next < text.length && /\s/.test(text[next])) next += 1;
      if (text[next] === close) { out += char + close; i = next; } else { depth += 1; out += char + line(); }
    } else if (char === "}" || char === "]") {
      depth = Math.max(0, depth - 1);
      out += line() + char;
    } else if (char === ",") out += char + line();
    else if (char === ":") out += ": ";
    else if (!/\s/.test(char)) out += char;
  }
  return out;
}

export async function getJson(path) {
  const response = await fetch(path, { headers: { accept: "application/json" } });
  if (response.status === 401) location.reload(); // the session has ended: the page asks to sign in
  const content = await response.json().catch(() => ({ message: response.statusText }));
  if (!response.ok) throw new Error(content.message || response.statusText);
  return content;
}

export async function postJson(path, body) {
  const headers = { "content-type": "application/json" };
  const response = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  const content = await response.json().catch(() => ({ message: response.statusText }));
  if (!response.ok) throw new Error(content.message || response.statusText);
  return content;
}
