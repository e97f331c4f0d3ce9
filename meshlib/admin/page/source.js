// The lines of the configuration that something is about, in a dialog.

import { ask, byId, h } from "./dom.js";

export function placeButton(file, line, key) {
  if (!file || !line) return null;
  const name = file.split(/[\\/]/).pop();
  return h("button", {
    type: "button", class: "link", title: `${file}:${line}`, "data-key": key ?? `${file}:${line}`,
    onclick: () => show(file, line),
  }, `${name}:${line}`);
}

async function show(file, line) {
  const dialog = byId("source"), text = byId("source-text");
  byId("source-title").textContent = `${file}:${line}`;
  try {
    const found = await ask(`source?file=${encodeURIComponent(file)}&line=${line}`);
    text.replaceChildren(...found.lines.map((one) =>
      h("span", { class: one.number === found.line ? "line here" : "line" }, h("span", { class: "number" }, String(one.number)), one.text, "\n")));
  } catch (error) {
    text.textContent = error.message;
  }
  dialog.showModal();
  text.querySelector(".here")?.scrollIntoView({ block: "center" });
}
