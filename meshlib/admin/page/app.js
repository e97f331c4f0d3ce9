// The live page of meshlib: asks for figures once a second while it is visible, and draws them.

import { ask, byId, clock, h, milliseconds, percent, perSecond, replace } from "./dom.js";
import { startExplainer } from "./explainer.js";
import { faultText, resetFaults } from "./faults.js";
import { Graph } from "./graph.js";
import { buildModel, keysOf, servedKeys, shownMembers } from "./model.js";
import { Rates } from "./rates.js";
import { drawBudgets, drawCalls, drawEndpoints, drawFindings, drawRoutes } from "./tables.js";
import { startTheme } from "./theme.js";

const PERIOD = 1000;
const TABS = ["graph", "routes", "endpoints", "findings", "explain", "events"];
const MOST_EVENTS = 200;

const rates = new Rates();
const graph = new Graph(byId("graph"), choose);
const nextTheme = startTheme(byId("theme"));
let live = null, model = null, chosen = null, tab = "graph", failures = 0;

// -- figures -----------------------------------------------------------------------------------------

async function refresh() {
  try {
    live = await ask("live");
    rates.add(live.now, live.bounds, [...keysOf(live), ...servedKeys(live)]);
    failures = 0;
    if (live.silent?.length) status(`no answer from ${live.silent.join(", ")}`, "bad");
    else status("live", "good");
    draw();
    if (tab === "routes") await refreshRoutes();
    if (tab === "findings") drawFindings(await ask("findings"));
  } catch (error) {
    failures += 1;
    status(`no answer: ${error.message}`, "bad");
  }
}

async function refreshRoutes() {
  const member = byId("routes-member").value;
  const query = new URLSearchParams({ filter: byId("routes-filter").value, limit: "200" });
  if (member) query.set("member", member);
  drawRoutes(await ask(`routes?${query}`), live?.control, refresh);
}

async function run() {
  if (!document.hidden) await refresh();
  setTimeout(run, failures ? Math.min(PERIOD * 2 ** failures, 15000) : PERIOD);
}

function status(text, kind) {
  const place = byId("status");
  if (place.textContent !== text) place.textContent = text;
  place.className = `status ${kind}`;
}

// -- drawing -----------------------------------------------------------------------------------------

function draw() {
  model = buildModel(live, rates, byId("show-idle").checked);
  drawWho();
  drawTiles();
  if (tab === "graph") {
    graph.draw(model, chosen);
    drawDetails();
    drawCalls(model);
  }
  if (tab === "endpoints") {
    const shown = shownMembers(live, byId("show-idle").checked);
    drawEndpoints(shown);
    drawBudgets(shown);
  }
}

function drawWho() {
  const members = live.members;
  const version = members[0].config.version;
  const name = members.length === 1 ? members[0].name : `${members.length} workloads`;
  byId("who").textContent = `${name}, configuration ${version}`;
  document.title = `${name} – meshlib`;
  for (const [id, all] of [["routes-member", true], ["explain-member", false]]) {
    const list = byId(id);
    if (list.options.length) continue;
    list.append(...(all ? [h("option", { value: "" }, "all")] : []), ...members.map((one) => h("option", { value: one.name }, one.name)));
  }
  byId("faults-reset").hidden = !(live.control && members.some((one) => Object.keys(one.faults.by_hand).length));
}

function drawTiles() {
  const all = rates.of(keysOf(live).map(([key]) => key));
  const clusters = live.members.flatMap((member) => member.clusters);
  const sum = (name) => clusters.reduce((total, one) => total + one[name], 0);
  const breakers = live.members.flatMap((member) => member.breakers);
  const open = breakers.filter((one) => one.state !== "closed").length;
  const served = rates.of(servedKeys(live).map(([key]) => key));
  const denied = live.members.flatMap((member) => member.served).reduce((total, one) => total + one.denied, 0);
  const warnings = live.members.reduce((most, member) => Math.max(most, member.config.warnings + member.config.errors), 0);
  const faults = live.members.reduce((total, one) => total + Object.values(one.faults.injected).reduce((a, b) => a + b, 0), 0);
  const tiles = [
    ["calls/s", perSecond(all.rate), ""],
    ["errors", percent(all.failed), all.failed >= 0.05 ? "bad" : all.failed > 0 ? "warn" : ""],
    ["p95 latency", milliseconds(all.p95), ""],
    ["retries/s", perSecond(all.retries), all.retries > 0 ? "warn" : ""],
    ["ejected", String(sum("ejected")), sum("ejected") ? "warn" : ""],
    ["breakers open", breakers.length ? `${open} of ${breakers.length}` : "–", open ? "bad" : ""],
    ["faults injected", String(faults), faults ? "warn" : ""],
    ["served/s", perSecond(served.rate), ""],
    ["denied", String(denied), ""],
    ["findings", String(warnings), warnings ? "warn" : ""],
  ];
  replace(byId("tiles"), tiles.map(([name, value, kind]) => h("div", { class: `tile ${kind}` }, h("strong", {}, value), h("span", {}, name))));
}

function choose(id) {
  chosen = chosen === id ? null : id;
  if (live) draw();
}

function drawDetails() {
  const place = byId("details");
  const node = model.nodes.find((one) => one.id === chosen), edge = model.edges.find((one) => one.id === chosen);
  if (edge) replace(place, edgeDetails(edge));
  else if (node) replace(place, nodeDetails(node));
  else replace(place, h("h2", {}, "Details"), h("p", { class: "hint" }, "Choose a service or a call: click it, or go there with Tab and press Enter."));
}

const facts = (pairs) => h("dl", { class: "facts" }, pairs.filter(([, value]) => value !== "").flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));

const figureFacts = (figures) => [
  ["calls", `${perSecond(figures.rate)}/s, ${figures.requests} in all`],
  ["errors", percent(figures.failed)],
  ["latency", `p50 ${milliseconds(figures.p50)}, p95 ${milliseconds(figures.p95)}`],
];

function edgeDetails(edge) {
  return [h("h2", {}, `${edge.from} → ${edge.to}`), ...edge.parts.map((part) => {
    const cluster = part.cluster;
    if (!cluster) return facts(figureFacts(part.figures));
    const budget = cluster.retry_limit === null ? `${cluster.retries_active}, no limit` : `${cluster.retries_active} of ${cluster.retry_limit}`;
    return h("section", {}, h("h3", {}, part.subset ? `subset ${part.subset}` : `port ${cluster.port}`), facts([
      ...figureFacts(part.figures),
      ["retries", `${perSecond(part.figures.retries)}/s; on their way ${budget}`],
      ["flags", Object.entries(cluster.calls?.flags ?? {}).map(([flag, count]) => `${flag} ${count}`).join(", ")],
      ["ejected", cluster.detects_outliers ? `${cluster.ejected} of ${cluster.endpoints_total}` : "outlier detection is off"],
      ["connection", { mtls: "mutual TLS", tls: "TLS", plaintext: "plaintext", mixed: "mutual TLS where there is a sidecar" }[part.security]],
      ["balancer", cluster.balancer],
      ["policy", cluster.origin],
    ]));
  }), edge.breaker ? facts([["breaker", edge.breaker]]) : ""];
}

function nodeDetails(node) {
  const own = (node.members ?? []).map((member) => facts([
    ["process", member.name],
    ["identity", member.workload.spiffe_id],
    ["labels", Object.entries(member.workload.labels).map(([name, value]) => `${name}=${value}`).join(", ")],
    ["peers", `mutual TLS ${member.peer_mode.toLowerCase()}`],
    ["served", String(member.served.reduce((total, one) => total + one.requests, 0))],
    ["denied", String(member.served.reduce((total, one) => total + one.denied, 0))],
    ["faults set here", Object.entries(member.faults.by_hand).map(([route, fault]) => `${route}: ${faultText(fault) || "off"}`).join("; ")],
  ]));
  return [h("h2", {}, node.title), ...own, ...(node.groups ?? []).map((group) => h("section", {}, h("h3", {}, group.subset ? `subset ${group.subset}` : "endpoints"),
    h("ul", { class: "plain" }, group.endpoints.map((one) => h("li", {}, h("span", { class: `dot ${one.ejected ? "out" : one.healthy ? "up" : "down"}` }), ` ${one.address} ${one.ejected ? "ejected" : one.healthy ? "" : "not healthy"}`)))))];
}

// -- events ------------------------------------------------------------------------------------------

const EVENTS = {
  EndpointEjected: (one) => [`${one.endpoint} of ${one.cluster} ejected for at least ${one.seconds} s: ${one.reason}`, "warn"],
  EndpointUnejected: (one) => [`${one.endpoint} of ${one.cluster} is back`, "good"],
  ConfigPublished: (one) => [`configuration ${one.version} in force: ${one.resources} resources, ${one.warnings} warnings`, "good"],
  ConfigRejected: (one) => [`configuration rejected, the one before stays: ${one.reason}`, "bad"],
};

function startEvents() {
  const list = byId("events"), source = new EventSource("events");
  const add = (text, kind, time, member) => {
    list.prepend(h("li", { class: kind }, h("time", {}, time ? clock(time) : ""), ` ${member ?? ""} `, text));
    while (list.children.length > MOST_EVENTS) list.lastChild.remove();
  };
  for (const [name, words] of Object.entries(EVENTS)) {
    source.addEventListener(name, (message) => {
      const one = JSON.parse(message.data);
      add(...words(one), one.time, one.member);
    });
  }
  source.addEventListener("lost", (message) => add(`${JSON.parse(message.data).count} events came too quickly and are not shown`, "warn"));
}

// -- tabs and keys -----------------------------------------------------------------------------------

function open(name, focus) {
  tab = name;
  for (const one of TABS) {
    const button = byId(`tab-${one}`), is = one === name;
    button.setAttribute("aria-selected", String(is));
    button.tabIndex = is ? 0 : -1;
    byId(`view-${one}`).hidden = !is;
    if (is && focus) button.focus();
  }
  if (location.hash !== `#${name}`) history.replaceState(null, "", `#${name}`);
  if (live) refresh();
}

function startTabs() {
  for (const [place, name] of TABS.entries()) {
    const button = byId(`tab-${name}`);
    button.addEventListener("click", () => open(name));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) open(TABS[(place + step + TABS.length) % TABS.length], true);
      else if (event.key === "Home") open(TABS[0], true);
      else if (event.key === "End") open(TABS[TABS.length - 1], true);
    });
  }
  window.addEventListener("hashchange", () => TABS.includes(location.hash.slice(1)) && open(location.hash.slice(1)));
  open(TABS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "graph");
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog")) return;
  if (event.key === "t") nextTheme();
  else if (event.key === "Escape" && chosen) choose(chosen);
  else if (event.key >= "1" && event.key <= String(TABS.length)) open(TABS[Number(event.key) - 1], true);
  else if (event.key === "/") {
    event.preventDefault();
    open("routes");
    byId("routes-filter").focus();
  }
});

for (const box of document.querySelectorAll(".show-idle")) {
  box.addEventListener("change", () => {
    for (const other of document.querySelectorAll(".show-idle")) other.checked = box.checked;
    if (live) draw();
  });
}
byId("routes-filter").addEventListener("input", () => live && refreshRoutes());
byId("routes-member").addEventListener("change", () => live && refreshRoutes());
byId("faults-reset").addEventListener("click", async () => {
  await resetFaults(live.members.map((one) => one.name));
  await refresh();
});
document.addEventListener("visibilitychange", () => !document.hidden && refresh());

startTabs();
startExplainer();
startEvents();
run();
