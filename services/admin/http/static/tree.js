// The tree of actions: rows are kept and changed, never built anew, so that thousands of actions stay smooth.
import { kindWord, progressText } from "/static/blocks.js";
import { between, byId, element, isEnded, phaseClass, phaseMark, phaseOrder, phaseWord } from "/static/common.js";

const PAGE = 200;

export class Tree {
  constructor(onSelect) {
    this.list = byId("tree");
    this.counts = byId("counts");
    this.onSelect = onSelect;
    this.actions = new Map(); // name → action
    this.children = new Map(); // parent → names in the order of enqueueing
    this.collapsed = new Set();
    this.limits = new Map(); // key of a list → rows shown of it
    this.rows = new Map(); // key → element
    this.filter = "";
    this.selected = "";
    this.list.addEventListener("keydown", (event) => this.onKey(event));
  }

  update(actions) {
    for (const action of actions) {
      const name = action.id.name;
      if (!this.actions.has(name)) {
        const parent = action.parent || "";
        if (!this.children.has(parent)) this.children.set(parent, []);
        this.children.get(parent).push(name);
      }
      this.actions.set(name, action);
    }
    this.render();
  }

  select(name) {
    if (!this.actions.has(name)) return;
    this.selected = name;
    this.render();
    this.onSelect(name);
  }

  titleOf(action) { return action.short_name || action.task_name; }

  // Rows to show, in order: {key, depth, action} or {key, depth, group, names} or {key, depth, more}.
  visible() {
    const rows = [];
    if (this.filter) {
      const names = [...this.actions.values()].filter((each) => each.phase === this.filter);
      this.page(rows, "filter", names.map((each) => each.id.name), 0, (name) => this.addAction(rows, name, 0, false));
      return rows;
    }
    for (const name of this.children.get("") || []) this.addAction(rows, name, 0, true);
    return rows;
  }

  addAction(rows, name, depth, deep) {
    const key = `action ${name}`;
    const children = deep ? this.children.get(name) || [] : [];
    const open = !this.collapsed.has(key);
    rows.push({ key, depth, action: this.actions.get(name), open: children.length ? open : null });
    if (open) this.addChildren(rows, key, name, children, depth + 1, "");
  }

  // Children of an action, those in groups in folders: groups can be nested, as in "train/fold-1".
  addChildren(rows, key, parent, children, depth, prefix) {
    const groups = new Map();
    const entries = [];
    for (const child of children) {
      const [part] = (this.actions.get(child).group || "").slice(prefix.length).split("/");
      if (!part) { entries.push({ child }); continue; }
      if (!groups.has(part)) { groups.set(part, []); entries.push({ part }); }
      groups.get(part).push(child);
    }
    this.page(rows, key, entries, depth, ({ child, part }) => {
      if (child) { this.addAction(rows, child, depth, true); return; }
      const path = prefix + part;
      const groupKey = `group ${parent} ${path}`;
      const open = !this.collapsed.has(groupKey);
      rows.push({ key: groupKey, depth, group: part, names: groups.get(part), open });
      if (open) this.addChildren(rows, groupKey, parent, groups.get(part), depth + 1, `${path}/`);
    });
  }

  page(rows, key, entries, depth, add) {
    const limit = this.limits.get(key) || PAGE;
    for (const entry of entries.slice(0, limit)) add(entry);
    if (entries.length > limit) rows.push({ key: `more ${key}`, depth, list: key, more: entries.length - limit });
  }

  render() {
    this.renderCounts();
    const visible = this.visible();
    const elements = visible.map((row) => this.row(row));
    const current = this.list.children;
    const same = current.length === elements.length && elements.every((each, index) => each === current[index]);
    if (!same) {
      const focused = document.activeElement;
      this.list.replaceChildren(...elements);
      if (focused && elements.includes(focused)) focused.focus();
      const kept = new Set(visible.map((row) => row.key));
      for (const key of this.rows.keys()) if (!kept.has(key)) this.rows.delete(key);
    }
    const chosen = this.rows.get(`action ${this.selected}`) || elements[0];
    for (const each of elements) each.tabIndex = each === chosen ? 0 : -1;
  }

  row(row) {
    let made = this.rows.get(row.key);
    if (!made) {
      const parts = ["toggle", "mark", "name", "kind", "hint", "time"].map((name) => element("span", { class: name }));
      made = element("li", { role: "treeitem" }, ...parts);
      made.addEventListener("click", (event) => this.onClick(made.row, event.target === parts[0]));
      this.rows.set(row.key, made);
    }
    made.row = row;
    made.style.setProperty("--depth", row.depth);
    made.setAttribute("aria-level", row.depth + 1);
    const foldable = row.open !== null && row.open !== undefined;
    if (foldable) made.setAttribute("aria-expanded", String(row.open));
    else made.removeAttribute("aria-expanded");
    made.setAttribute("aria-selected", String(Boolean(row.action) && row.action.id.name === this.selected));
    const [toggle, mark, name, kind, hint, time] = made.children;
    text(kind, row.action ? kindWord(row.action.kind) : "");
    text(toggle, foldable ? (row.open ? "▾" : "▸") : "\u2007");
    if (row.action) this.fillAction(row.action, mark, name, hint, time);
    else if (row.group) this.fillGroup(row, mark, name, hint, time);
    else { text(name, `show ${Math.min(row.more, PAGE)} of ${row.more} more`); name.className = "name muted"; }
    return made;
  }

  fillAction(action, mark, name, hint, time) {
    mark.className = `mark ${phaseClass(action.phase)}`;
    text(mark, phaseMark(action.phase));
    mark.setAttribute("aria-label", phaseWord(action.phase));
    mark.setAttribute("role", "img");
    text(name, this.titleOf(action));
    name.title = `${action.task_name} (${action.id.name})`;
    const hints = [];
    if (action.progress && !isEnded(action.phase)) hints.push(progressText(action.progress));
    if (action.attempt_count > 1) hints.push(`${action.attempt_count} attempts`);
    if (action.cache_status === "CACHE_STATUS_HIT") hints.push("from the cache");
    if (action.cache_status === "CACHE_STATUS_RECOVERED") hints.push("recovered");
    const sources = new Set((action.lineage || []).map((edge) => edge.source));
    if (sources.size) {
      const words = [...sources].slice(0, 3).map((source) => {
        const known = this.actions.get(source);
        return known ? this.titleOf(known) : source;
      });
      hints.push(`← ${[...new Set(words)].join(", ")}${sources.size > 3 ? ", …" : ""}`);
    }
    if (!isEnded(action.phase) && action.wait_reason) hints.push(action.wait_reason);
    text(hint, hints.join(" · "));
    text(time, between(action.started_at, action.ended_at));
  }

  fillGroup(row, mark, name, hint, time) {
    const counts = new Map();
    for (const each of row.names) {
      const phase = this.actions.get(each).phase;
      counts.set(phase, (counts.get(phase) || 0) + 1);
    }
    text(mark, "▤");
    text(name, row.group);
    mark.setAttribute("aria-label", "group");
    mark.setAttribute("role", "img");
    const words = phaseOrder.filter((phase) => counts.has(phase));
    text(hint, `${row.names.length}: ${words.map((phase) => `${counts.get(phase)} ${phaseWord(phase).toLowerCase()}`).join(", ")}`);
    text(time, "");
  }

  renderCounts() {
    const counts = new Map();
    for (const action of this.actions.values()) counts.set(action.phase, (counts.get(action.phase) || 0) + 1);
    const chips = [["", "All", this.actions.size]];
    for (const phase of phaseOrder) if (counts.has(phase)) chips.push([phase, phaseWord(phase), counts.get(phase)]);
    if (this.filter && !counts.has(this.filter)) chips.push([this.filter, phaseWord(this.filter), 0]);
    const signature = JSON.stringify([chips, this.filter]);
    if (signature === this.shownCounts) return;
    this.shownCounts = signature;
    const focused = [...this.counts.children].indexOf(document.activeElement);
    this.counts.replaceChildren(...chips.map(([phase, word, count]) => element("button", {
      type: "button", "aria-pressed": String(phase === this.filter),
      onclick: () => { this.filter = phase; this.render(); },
    }, `${word} ${count}`)));
    if (focused >= 0 && this.counts.children[focused]) this.counts.children[focused].focus();
  }

  onClick(row, onToggle) {
    if (row.more) { this.limits.set(row.list, (this.limits.get(row.list) || PAGE) + PAGE); this.render(); return; }
    if (row.group || onToggle) this.toggle(row, !row.open);
    else this.select(row.action.id.name);
  }

  toggle(row, open) {
    if (row.open === null || row.open === undefined) return;
    if (open) this.collapsed.delete(row.key);
    else this.collapsed.add(row.key);
    this.render();
  }

  onKey(event) {
    const focused = event.target.closest("[role=treeitem]");
    if (!focused) return;
    const all = [...this.list.children];
    const place = all.indexOf(focused);
    const go = (index) => { const next = all[Math.max(0, Math.min(all.length - 1, index))]; next.focus(); };
    if (event.key === "ArrowDown") go(place + 1);
    else if (event.key === "ArrowUp") go(place - 1);
    else if (event.key === "Home") go(0);
    else if (event.key === "End") go(all.length - 1);
    else if (event.key === "ArrowRight") this.toggle(focused.row, true);
    else if (event.key === "ArrowLeft") this.toggle(focused.row, false);
    else if (event.key === "Enter" || event.key === " ") this.onClick(focused.row, false);
    else return;
    event.preventDefault();
  }
}

function text(target, value) {
  if (target.textContent !== value) target.textContent = value;
}
