// The form that gives a waiting condition its value, made from the schema of that value.
import { element, postJson } from "/static/common.js";

export function signalForm(action, url) {
  const wait = action.wait || {};
  const schema = parse(wait.schema_json);
  const field = fieldOf(schema);
  const problem = element("p", { class: "problem", role: "alert" });
  const form = element("form", { class: "signal" },
    wait.prompt ? element("p", {}, wait.prompt) : null, field.place, problem,
    element("div", { class: "buttons" }, ...field.buttons.map(([word, value]) => button(word, value)),
      field.buttons.length ? null : element("button", { type: "submit" }, "Send")));

  function button(word, value) {
    return element("button", { type: "button", onclick: () => send(() => value) }, word);
  }

  async function send(read) {
    problem.textContent = "";
    try {
      await postJson(url, { value: read() });
      form.querySelectorAll("button, input, select, textarea").forEach((each) => { each.disabled = true; });
    } catch (error) {
      problem.textContent = error.message;
    }
  }

  form.addEventListener("submit", (event) => { event.preventDefault(); send(field.read); });
  return form;
}

function parse(text) {
  try { return JSON.parse(text) || {}; } catch { return {}; }
}

// What asks for the whole value: a button each for yes and no, else a control.
function fieldOf(schema) {
  if (schema.type === "boolean") return { place: null, buttons: [["Yes", true], ["No", false]] };
  if (schema.type === "null") return { place: null, buttons: [["Go on", null]] };
  return { ...control(schema, schema, "Value"), buttons: [] };
}

// A control for a value of a schema, and how to read it. What is no simple value is JSON to write.
function control(given, root, title) {
  const schema = { ...given, ...(given.$ref ? definition(root, given.$ref) : {}) };
  const label = (made) => element("label", {}, `${title} `, made);
  const simple = (made, read) => ({ place: label(made), read: () => read(made) });
  if (Array.isArray(schema.enum)) {
    const options = schema.enum.map((value, index) => element("option", {
      value: index, selected: value === schema.default ? "" : null,
    }, typeof value === "string" ? value : JSON.stringify(value)));
    return simple(element("select", {}, ...options), (made) => schema.enum[Number(made.value)]);
  }
  if (schema.type === "boolean") {
    return simple(element("input", { type: "checkbox", checked: schema.default ? "" : null }), (made) => made.checked);
  }
  if (schema.type === "integer" || schema.type === "number") {
    const step = schema.type === "integer" ? "1" : "any";
    return simple(element("input", { type: "number", step, required: "", value: schema.default }), (made) => Number(made.value));
  }
  if (schema.type === "string") {
    return simple(element("input", { type: "text", value: schema.default }), (made) => made.value);
  }
  if (schema.type === "object" && schema.properties) {
    const parts = Object.entries(schema.properties).map(([name, part]) => [name, control(part, root, name)]);
    const place = element("fieldset", {}, title === "Value" ? null : element("legend", {}, title), ...parts.map(([, part]) => part.place));
    return { place, read: () => Object.fromEntries(parts.map(([name, part]) => [name, part.read()])) };
  }
  const start = schema.default === undefined ? "" : JSON.stringify(schema.default);
  const area = element("textarea", { rows: "3", spellcheck: "false", required: "" }, start);
  return { place: element("label", {}, `${title} as JSON `, area), read: () => JSON.parse(area.value) };
}

function definition(root, reference) {
  return reference.replace(/^#\//, "").split("/").reduce((found, part) => (found || {})[part], root) || {};
}
