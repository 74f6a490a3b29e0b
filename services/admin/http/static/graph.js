// The execution graph: boxes are the actions that one action called, arrows are data that went from one to the next.
import { between, byId, element, isEnded, phaseClass, phaseMark, phaseOrder, phaseWord } from "/static/common.js";
import { kindWord, plural, progressText } from "/static/blocks.js";

const MOST_BOXES = 200; // above that all equal calls share a box,
const MOST_ALIKE = 24; // and below it those that are more than so many
const [WIDTH, HEIGHT, GAP, AISLE] = [190, 46, 14, 70];
const MARGIN = 12;
const LONGEST = 23;

export class Graph {
  constructor(tree, onSelect) {
    this.tree = tree;
    this.onSelect = onSelect;
    this.svg = byId("graph");
    this.path = byId("graph-path");
    this.note = byId("graph-note");
    this.focus = "a0";
    this.unfolded = new Set();
    this.visible = false;
  }

  // It begins where the selected action is.
  show(visible) {
    const selected = this.tree.selected;
    if (visible && !this.visible && selected) {
      this.focus = this.tree.children.has(selected) ? selected : this.tree.actions.get(selected).parent || selected;
    }
    this.visible = visible;
    this.render();
  }

  // Many updates come at once: what is drawn is at most half a second old.
  update() {
    if (this.visible && !this.pending) this.pending = setTimeout(() => { this.pending = null; this.render(); }, 500);
  }

  enter(name) {
    this.focus = name;
    this.onSelect(name);
    this.render();
  }

  render() {
    if (!this.visible) return;
    const names = this.tree.children.get(this.focus) || [];
    const { boxes, edges } = layOut(names, this.tree.actions, this.unfolded);
    this.renderPath();
    const many = boxes.some((box) => box.names);
    this.note.textContent = !names.length ? "It called nothing (yet)."
      : `${plural(names.length, "action")}, ${plural(edges.length, "data flow")}${many ? "; equal calls share a box, which can be opened" : ""}.`;
    const focused = document.activeElement && this.svg.contains(document.activeElement) ? document.activeElement.dataset.key : "";
    this.svg.replaceChildren(this.arrowHead(), ...edges.map((edge) => this.edge(edge)), ...boxes.flatMap((box) => this.box(box)));
    const size = (axis, extent) => Math.max(0, ...boxes.map((box) => box[axis] + extent)) + MARGIN;
    this.svg.setAttribute("width", size("x", WIDTH));
    this.svg.setAttribute("height", size("y", HEIGHT));
    if (focused) [...this.svg.querySelectorAll("[data-key]")].find((each) => each.dataset.key === focused)?.focus();
  }

  renderPath() {
    const path = [];
    for (let name = this.focus; name; name = (this.tree.actions.get(name) || {}).parent) path.unshift(name);
    this.path.replaceChildren(...path.map((name) => element("li", {}, name === this.focus
      ? element("span", { "aria-current": "true" }, this.title(name))
      : element("button", { type: "button", class: "link", onclick: () => this.enter(name) }, this.title(name)))));
  }

  title(name) {
    const action = this.tree.actions.get(name);
    return action ? this.tree.titleOf(action) : name;
  }

  arrowHead() {
    const marker = this.make("marker", {
      id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 9, markerHeight: 9, markerUnits: "userSpaceOnUse", orient: "auto",
    });
    marker.append(this.make("path", { d: "M0 0 8 4 0 8z", class: "head" }));
    const all = this.make("defs", {});
    all.append(marker);
    return all;
  }

  edge({ from, to, inputs }) {
    const [x1, y1, x2, y2] = [from.x + WIDTH, from.y + HEIGHT / 2, to.x - 1, to.y + HEIGHT / 2];
    const bend = Math.max(30, (x2 - x1) / 2);
    const chosen = [from, to].some((box) => box.key === this.tree.selected);
    const line = this.make("path", {
      d: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`, class: chosen ? "edge chosen" : "edge", "marker-end": "url(#arrow)",
    });
    line.append(this.text("title", {}, `${from.label} → ${to.label}: ${[...inputs].join(", ")}`));
    return line;
  }

  box(box) {
    const action = box.names ? null : this.tree.actions.get(box.key);
    const phase = action ? action.phase : box.phase;
    const lines = action ? [this.tree.titleOf(action), this.detail(action)] : [`${box.label} × ${box.names.length}`, box.counts];
    const main = this.button(box, `${lines[0]}, ${action ? phaseWord(phase) : ""} ${lines[1]}`, () => {
      if (action) { this.onSelect(box.key); this.render(); } else { this.unfolded.add(box.key); this.render(); }
    });
    main.setAttribute("class", `box ${phaseClass(phase)}${box.key === this.tree.selected ? " chosen" : ""}`);
    main.append(
      this.make("rect", { width: WIDTH, height: HEIGHT, rx: 6, class: "back" }),
      this.make("rect", { width: 4, height: HEIGHT, rx: 2, class: "stripe" }),
      this.text("text", { x: 13, y: 19, class: "mark" }, box.names ? "▤" : phaseMark(phase)),
      this.text("text", { x: 31, y: 19, class: "name" }, cut(lines[0], LONGEST)),
      this.text("text", { x: 13, y: 37, class: "detail" }, cut(lines[1], LONGEST + 8)),
      this.text("title", {}, lines.join("\n")),
    );
    const inside = action ? (this.tree.children.get(box.key) || []).length : 0;
    if (!inside) return [main];
    const into = this.button({ ...box, key: `into ${box.key}` }, `Show the ${plural(inside, "action")} inside ${lines[0]}`, () => this.enter(box.key));
    into.setAttribute("class", "into");
    into.append(
      this.make("rect", { x: WIDTH - 50, y: HEIGHT - 20, width: 46, height: 16, rx: 8 }),
      this.text("text", { x: WIDTH - 27, y: HEIGHT - 8, "text-anchor": "middle" }, `${inside} ›`),
    );
    return [main, into];
  }

  detail(action) {
    const parts = [kindWord(action.kind), between(action.started_at, action.ended_at)];
    if (!isEnded(action.phase)) parts.push(progressText(action.progress) || (action.phase === "PHASE_RUNNING" ? "" : phaseWord(action.phase)));
    if (action.cache_status === "CACHE_STATUS_HIT") parts.push("from the cache");
    if (action.attempt_count > 1) parts.push(plural(action.attempt_count, "attempt"));
    return parts.filter(Boolean).join(" · ");
  }

  button(box, label, onclick) {
    const made = this.make("g", { transform: `translate(${box.x} ${box.y})`, role: "button", tabindex: 0, "aria-label": label });
    made.dataset.key = box.key;
    made.addEventListener("click", onclick);
    made.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      onclick();
    });
    return made;
  }

  make(name, attributes) {
    const made = document.createElementNS(this.svg.namespaceURI, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  text(name, attributes, content) {
    const made = this.make(name, attributes);
    made.textContent = content;
    return made;
  }
}

function cut(text, longest) {
  return text.length > longest ? `${text.slice(0, longest - 1)}…` : text;
}

// Boxes with their places, and edges between them. Each stands to the right of all that its inputs came from.
function layOut(names, actions, unfolded) {
  const layers = new Map();
  const sourcesOf = (name) => (actions.get(name).lineage || []).filter((edge) => layers.has(edge.source));
  for (const name of names) {
    layers.set(name, 0);
    layers.set(name, Math.max(0, ...sourcesOf(name).map((edge) => (edge.source === name ? 0 : layers.get(edge.source) + 1))));
  }
  const boxes = fold(names, actions, layers, unfolded);
  const boxOf = new Map(boxes.flatMap((box) => (box.names || [box.key]).map((name) => [name, box])));
  const edges = new Map();
  for (const name of names) {
    const to = boxOf.get(name);
    for (const edge of sourcesOf(name)) {
      const from = boxOf.get(edge.source);
      if (from === to) continue;
      const key = `${from.key} → ${to.key}`;
      if (!edges.has(key)) edges.set(key, { from, to, inputs: new Set() });
      edges.get(key).inputs.add(edge.input);
    }
  }
  place(boxes, [...edges.values()]);
  return { boxes, edges: [...edges.values()] };
}

function fold(names, actions, layers, unfolded) {
  const setOf = (name) => `set ${layers.get(name)} ${actions.get(name).group || ""} ${actions.get(name).task_name}`;
  const sizes = new Map();
  for (const name of names) sizes.set(setOf(name), (sizes.get(setOf(name)) || 0) + 1);
  const alike = new Map();
  for (const name of names) {
    const [action, key] = [actions.get(name), setOf(name)];
    const folds = sizes.get(key) > (names.length > MOST_BOXES ? 1 : MOST_ALIKE) && !unfolded.has(key);
    const place = folds ? key : name;
    if (!alike.has(place)) {
      alike.set(place, { key: place, label: action.short_name || action.task_name, layer: layers.get(name), names: folds ? [] : null });
    }
    if (folds) alike.get(place).names.push(name);
  }
  const boxes = [...alike.values()];
  for (const box of boxes.filter((each) => each.names)) {
    const counts = new Map();
    for (const name of box.names) counts.set(actions.get(name).phase, (counts.get(actions.get(name).phase) || 0) + 1);
    const phases = phaseOrder.filter((phase) => counts.has(phase));
    box.counts = phases.map((phase) => `${counts.get(phase)} ${phaseWord(phase).toLowerCase()}`).join(", ");
    box.phase = ["PHASE_FAILED", "PHASE_TIMED_OUT", "PHASE_RUNNING"].find((phase) => counts.has(phase)) || phases[0];
  }
  return boxes;
}

// Boxes that data flows between stand in layers; below them, in rows, those that neither took nor gave any.
function place(boxes, edges) {
  const joined = new Set(edges.flatMap((edge) => [edge.from, edge.to]));
  const layers = [];
  for (const box of boxes.filter((each) => joined.has(each))) (layers[box.layer] ||= []).push(box);
  let [left, below] = [MARGIN, MARGIN];
  for (const layer of layers.filter(Boolean)) {
    const wish = new Map(layer.map((box) => {
      const sources = edges.filter((edge) => edge.to === box).map((edge) => edge.from.y);
      return [box, sources.length ? sources.reduce((sum, y) => sum + y, 0) / sources.length : Infinity];
    }));
    layer.sort((one, other) => (wish.get(one) === wish.get(other) ? 0 : wish.get(one) - wish.get(other)));
    layer.forEach((box, index) => {
      [box.x, box.y] = [left, MARGIN + index * (HEIGHT + GAP)];
      below = Math.max(below, box.y + HEIGHT + 2 * GAP);
    });
    left += WIDTH + AISLE;
  }
  const alone = boxes.filter((each) => !joined.has(each));
  const columns = Math.max(5, Math.ceil(Math.sqrt(alone.length / 2)), Math.floor((left - AISLE) / (WIDTH + GAP)));
  alone.forEach((box, index) => {
    box.x = MARGIN + (index % columns) * (WIDTH + GAP);
    box.y = below + Math.floor(index / columns) * (HEIGHT + GAP);
  });
}
