// The service graph: drawn anew when its shape changes, else only its figures.

import { milliseconds, percent, perSecond, s } from "./dom.js";
import { layout } from "./layout.js";
import { health } from "./rates.js";

const DOTS = 14; // endpoints in a row
const LOCK = "M-4-1v-2.5a4 4 0 0 1 8 0V-1h1v7h-10v-7zm2 0h4v-2.5a2 2 0 0 0-4 0z";

export class Graph {
  #host;
  #choose;
  #shape = "";
  #parts = new Map();

  constructor(host, choose) {
    this.#host = host;
    this.#choose = choose;
  }

  draw(model, chosen) {
    for (const node of model.nodes) node.height = 46 + 14 * groupsOf(node).reduce((rows, group) => rows + Math.ceil(group.endpoints.length / DOTS), 0);
    const shape = JSON.stringify([
      model.nodes.map((node) => [node.id, node.height, groupsOf(node).map((group) => [group.subset, group.endpoints.length])]),
      model.edges.map((edge) => edge.id),
    ]);
    if (shape !== this.#shape) {
      this.#shape = shape;
      this.#build(model);
    }
    for (const node of model.nodes) this.#updateNode(node, chosen);
    for (const edge of model.edges) this.#updateEdge(edge, chosen);
  }

  #build(model) {
    const focused = this.#host.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
    this.#parts.clear();
    if (!model.nodes.length) {
      this.#host.replaceChildren("No calls yet, and no services are known.");
      return;
    }
    const { places, width, height } = layout(model.nodes, model.edges);
    const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": "Service graph" },
      s("defs", {}, ["good", "warn", "bad", "idle"].map((kind) =>
        s("marker", { id: `arrow-${kind}`, class: `arrow ${kind}`, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 12, markerHeight: 12, markerUnits: "userSpaceOnUse", orient: "auto-start-reverse" },
          s("path", { d: "M0 0 8 4 0 8z" })))),
      model.edges.map((edge) => this.#edge(edge, places)),
      model.nodes.map((node) => this.#node(node, places.get(node.id))));
    this.#host.replaceChildren(svg);
    if (focused) this.#host.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  #interactive(id, kind) {
    const choose = () => this.#choose(id);
    return {
      class: kind, tabindex: 0, role: "button", "data-key": id, onclick: choose,
      onkeydown: (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        choose();
      },
    };
  }

  #node(node, place) {
    const part = { dots: [] };
    part.title = s("text", { class: "node-title", x: 12, y: 20 }, node.title);
    part.note = s("text", { class: "node-note", x: 12, y: 36 });
    const dots = [];
    let y = 50;
    for (const group of groupsOf(node)) {
      dots.push(s("text", { class: "node-subset", x: 12, y: y + 3.5 }, group.subset || "·"));
      group.endpoints.forEach((_, index) => {
        const dot = s("circle", { r: 4, cx: 42 + (index % DOTS) * 11, cy: y + 14 * Math.floor(index / DOTS) }, s("title", {}));
        part.dots.push(dot);
        dots.push(dot);
      });
      y += 14 * Math.ceil(group.endpoints.length / DOTS);
    }
    part.element = s("g", { ...this.#interactive(node.id, "node"), transform: `translate(${place.x} ${place.y})` },
      s("rect", { width: place.width, height: place.height, rx: 10 }), part.title, part.note, dots);
    this.#parts.set(node.id, part);
    return part.element;
  }

  #edge(edge, places) {
    const from = places.get(edge.from), to = places.get(edge.to);
    const path = curve(from, to);
    const part = {
      line: s("path", { class: "line", d: path.d }),
      flow: s("path", { class: "flow", d: path.d }),
      label: s("text", { class: "edge-label", "text-anchor": "middle" }),
      note: s("text", { class: "edge-note", "text-anchor": "middle", y: 13 }),
      lock: s("path", { class: "lock", d: LOCK, transform: "translate(-52 -2)" }, s("title", {})),
      back: s("rect", { class: "edge-back", rx: 6, x: -56, y: -13, width: 112, height: 31 }),
    };
    part.element = s("g", this.#interactive(edge.id, "edge"),
      s("path", { class: "hit", d: path.d }), part.line, part.flow,
      s("g", { transform: `translate(${path.x} ${path.y + path.aside})` }, part.back, part.label, part.note, part.lock));
    this.#parts.set(edge.id, part);
    return part.element;
  }

  #updateNode(node, chosen) {
    const part = this.#parts.get(node.id);
    if (!part) return;
    const groups = groupsOf(node);
    const endpoints = groups.flatMap((group) => group.endpoints);
    const ejected = endpoints.filter((one) => one.ejected).length;
    const notes = [];
    if (endpoints.length) notes.push(`${endpoints.length - ejected} of ${endpoints.length} up`);
    if (ejected) notes.push(`${ejected} ejected`);
    if (node.denied) notes.push(`${node.denied} denied`);
    if (!notes.length) notes.push(node.members ? (node.members.length > 1 ? `${node.members.length} processes` : "this process") : node.external ? "external" : "no endpoints");
    part.note.textContent = notes.join(", ");
    part.element.setAttribute("class", `node${node.members ? " member" : ""}${ejected ? " has-ejected" : ""}${chosen === node.id ? " chosen" : ""}`);
    part.element.setAttribute("aria-label", `${node.title}: ${notes.join(", ")}`);
    endpoints.forEach((one, index) => {
      const dot = part.dots[index];
      if (!dot) return;
      const state = one.ejected ? "out" : one.healthy ? "up" : "down";
      dot.setAttribute("class", `dot ${state}`);
      dot.firstChild.textContent = `${one.address}: ${{ out: "ejected", up: "up", down: "not healthy" }[state]}`;
    });
  }

  #updateEdge(edge, chosen) {
    const part = this.#parts.get(edge.id);
    if (!part) return;
    const figures = edge.figures, kind = health(figures);
    part.element.setAttribute("class", `edge ${kind}${chosen === edge.id ? " chosen" : ""}`);
    part.line.setAttribute("marker-end", `url(#arrow-${kind})`);
    part.label.textContent = figures.rate > 0 ? `${perSecond(figures.rate)}/s · ${milliseconds(figures.p95)}` : "no calls now";
    const notes = [];
    if (figures.rate > 0) notes.push(`${percent(figures.failed)} errors`);
    if (figures.retries > 0) notes.push(`${perSecond(figures.retries)}/s retries`);
    if (edge.breaker && edge.breaker !== "closed") notes.push(`breaker ${edge.breaker}`);
    part.note.textContent = notes.join(", ");
    const secure = edge.security === "mtls";
    const width = Math.max(6.9 * part.label.textContent.length + (secure ? 34 : 6), 6 * part.note.textContent.length + 6);
    part.back.setAttribute("width", width);
    part.back.setAttribute("x", -width / 2);
    part.lock.setAttribute("transform", `translate(${-3.5 * part.label.textContent.length - 10} -2)`);
    part.lock.setAttribute("class", secure ? "lock" : "lock off");
    part.lock.firstChild.textContent = secure ? "mutual TLS" : "";
    const spoken = [`${edge.from} calls ${edge.to}`, part.label.textContent, ...notes, secure ? "mutual TLS" : edge.security];
    part.element.setAttribute("aria-label", spoken.join(", "));
  }
}

function groupsOf(node) {
  return node.groups ?? [];
}

function curve(from, to) {
  const forward = to.x > from.x;
  const y1 = from.y + from.height / 2, y2 = to.y + to.height / 2;
  if (forward) {
    const x1 = from.x + from.width, x2 = to.x - 2;
    const bend = Math.min(90, (x2 - x1) / 2);
    const long = x2 - x1 > 400;
    const lift = long ? -Math.max(40, from.height) : 0; // over the nodes in between
    return {
      d: `M${x1} ${y1}C${x1 + bend} ${y1 + lift * 1.3} ${x2 - bend} ${y2 + lift * 1.3} ${x2} ${y2}`,
      x: (x1 + x2) / 2, y: (y1 + y2) / 2 + lift,
      aside: y2 > y1 + 10 ? 22 : -22, // beside the line, on the side where it has left room
    };
  }
  // Back to a caller, or to itself: below both.
  const low = Math.max(from.y + from.height, to.y + to.height) + 34;
  const x1 = from.x + from.width / 2 + 20, x2 = to.x + to.width / 2 - 20;
  return {
    d: `M${x1} ${from.y + from.height}C${x1} ${low} ${x2} ${low} ${x2} ${to.y + to.height + 2}`,
    x: (x1 + x2) / 2, y: low - 10, aside: 0,
  };
}
