// Makes elements. Texts only ever become text nodes: nothing that the mesh reports is read as HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") element.setAttribute("class", value);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const h = (tag, properties, ...children) => fill(document.createElement(tag), properties, children);
export const s = (tag, properties, ...children) => fill(document.createElementNS(SVG, tag), properties, children);
export const byId = (id) => document.getElementById(id);

// Replaces the children of an element and keeps the focus on the one with the same data-key.
export function replace(element, ...children) {
  const active = document.activeElement;
  const key = active && element.contains(active) ? active.dataset.key : undefined;
  element.replaceChildren(...children.flat());
  if (key) element.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
}

// A table whose columns are [title, class] and whose cells are nodes or texts.
export function table(columns, rows, empty) {
  if (!rows.length) return h("p", { class: "hint" }, empty);
  return h(
    "table", {},
    h("thead", {}, h("tr", {}, columns.map(([title, kind]) => h("th", { scope: "col", class: kind }, title)))),
    h("tbody", {}, rows.map((row) =>
      h("tr", { class: row.kind }, row.cells.map((cell, place) => h("td", { class: columns[place][1] }, cell ?? ""))))),
  );
}

export async function ask(path, options) {
  const response = await fetch(path, { cache: "no-store", ...options });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error ?? `status ${response.status}`);
  return answer;
}

export const send = (path, value) =>
  ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(value) });

export const percent = (ratio) => (ratio === 0 ? "0 %" : ratio < 0.001 ? "<0.1 %" : `${(ratio * 100).toFixed(ratio < 0.1 ? 1 : 0)} %`);
export const perSecond = (rate) => (rate >= 100 ? rate.toFixed(0) : rate.toFixed(1));
export const milliseconds = (value) =>
  value === null ? "–" : value >= 1000 ? `${(value / 1000).toFixed(1)} s` : `${value >= 10 ? value.toFixed(0) : value.toFixed(1)} ms`;
export const clock = (time) => new Date(time * 1000).toLocaleTimeString([], { hour12: false });
