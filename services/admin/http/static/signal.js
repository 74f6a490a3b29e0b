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

// What asks for a value of a schema: the element, how to read it, and for few values a button each.
function fieldOf(schema) {
  const label = (control) => element("label", {}, "Value ", control);
  if (schema.type === "boolean") return { place: null, buttons: [["Yes", true], ["No", false]] };
  if (schema.type === "null") return { place: null, buttons: [["Go on", null]] };
  if (Array.isArray(schema.enum)) {
    const select = element("select", {}, ...schema.enum.map((value, index) =>
      element("option", { value: index }, typeof value === "string" ? value : JSON.stringify(value))));
    return { place: label(select), buttons: [], read: () => schema.enum[Number(select.value)] };
  }
  if (schema.type === "integer" || schema.type === "number") {
    const input = element("input", { type: "number", step: schema.type === "integer" ? "1" : "any", required: "" });
    return { place: label(input), buttons: [], read: () => Number(input.value) };
  }
  if (schema.type === "string") {
    const input = element("input", { type: "text" });
    return { place: label(input), buttons: [], read: () => input.value };
  }
  const area = element("textarea", { rows: "4", spellcheck: "false", placeholder: "{}" });
  return { place: element("label", {}, "Value as JSON ", area), buttons: [], read: () => JSON.parse(area.value) };
}
