// The tables: calls, routes, endpoints, limits, findings.

import { byId, h, milliseconds, percent, perSecond, replace, table } from "./dom.js";
import { editFault, faultText } from "./faults.js";
import { health } from "./rates.js";
import { placeButton } from "./source.js";

const SECURITY = { mtls: "mutual TLS", tls: "TLS", plaintext: "plaintext", mixed: "partly mutual TLS" };

export function drawCalls(model) {
  const rows = model.edges.flatMap((edge) => edge.parts.map((part) => ({
    kind: health(part.figures),
    cells: [
      edge.from, edge.to, part.subset || "–", perSecond(part.figures.rate), percent(part.figures.failed),
      milliseconds(part.figures.p50), milliseconds(part.figures.p95), perSecond(part.figures.retries),
      String(part.figures.requests), SECURITY[part.security] ?? "–",
    ],
  })));
  replace(byId("calls"), table(
    [["from"], ["to"], ["subset"], ["calls/s", "n"], ["errors", "n"], ["p50", "n"], ["p95", "n"], ["retries/s", "n"], ["calls", "n"], ["connection"]],
    rows, "No calls since this page was opened."));
}

export function drawRoutes(found, allowsControl, changed) {
  // Ports that nobody calls come last; within a port the order is that of the matching.
  const called = new Set(found.routes.filter((row) => row.hits).map((row) => `${row.member} ${row.port}`));
  const isIdle = (row) => Number(!called.has(`${row.member} ${row.port}`));
  const rows = [...found.routes].sort((one, other) => isIdle(one) - isIdle(other)).map((row) => ({
    kind: row.fault_by_hand ? "by-hand" : "",
    cells: [
      row.member,
      h("span", { title: row.domains.join(", ") }, `${row.virtual_host}${row.port ? `:${row.port}` : ""}`.replace(/:(\d+):\1$/, ":$1")),
      row.name || "–",
      row.match.length ? row.match.join(" and ") : "every request",
      action(row),
      rules(row),
      faultCell(row, allowsControl, changed),
      row.hits_shared ? h("span", { title: "Together with the other routes of this name" }, `${row.hits}*`) : String(row.hits),
      String(row.failed),
      placeButton(row.origin.file, row.origin.line, `place ${row.member} ${row.id}`) ?? row.origin.resource,
    ],
  }));
  replace(byId("routes"),
    table([["member"], ["host"], ["route"], ["match", "wide"], ["to"], ["timeout, retries"], ["fault"], ["hits", "n"], ["failed", "n"], ["written at"]],
      rows, "No route speaks of that."),
    found.total > found.routes.length ? h("p", { class: "hint" }, `${found.total - found.routes.length} more; the filter narrows them down.`) : "");
}

function action(row) {
  if (row.action !== "forward") return `${row.action.replace("_", " ")} ${row.status}`;
  const weights = row.destinations.reduce((sum, one) => sum + one.weight, 0);
  const name = (one) => `${one.subset || one.host.split(".")[0] || "as dialled"}`;
  if (row.destinations.length === 1) return name(row.destinations[0]);
  return row.destinations.map((one) => `${name(one)} ${Math.round((one.weight / weights) * 100)} %`).join(", ");
}

function rules(row) {
  if (row.action !== "forward") return "";
  const retries = row.retries ? `${row.retries.attempts} retries` : "no retries";
  return `${row.timeout === null ? "no timeout" : `${row.timeout} s`}, ${retries}`;
}

function faultCell(row, allowsControl, changed) {
  const text = faultText(row.fault);
  if (!allowsControl || row.action !== "forward") return text;
  return h("button", { type: "button", class: "small", "data-key": `fault ${row.member} ${row.id}`, onclick: () => editFault(row, changed) },
    text || "inject", row.fault_by_hand ? " (set here)" : "");
}

export function drawEndpoints(members) {
  const rows = members.flatMap((member) => member.clusters.flatMap((cluster) => cluster.endpoints.map((one) => ({
    kind: one.ejected ? "warn" : one.healthy ? "" : "bad",
    cells: [
      member.name, cluster.node, cluster.subset || "–", one.address,
      one.ejected ? "ejected" : one.healthy ? "up" : "not healthy",
      one.version || "–", one.locality || "–", String(one.priority), String(one.weight), String(one.active), String(one.attempts), String(one.failed),
    ],
  }))));
  replace(byId("endpoints"), table(
    [["caller"], ["service"], ["subset"], ["endpoint"], ["state"], ["version"], ["locality"], ["priority", "n"], ["weight", "n"], ["active", "n"], ["attempts", "n"], ["failed", "n"]],
    rows, "No endpoints are known."));
}

export function drawBudgets(members) {
  const rows = members.flatMap((member) => [
    ...member.clusters.filter((cluster) => cluster.endpoints_total).map((cluster) => ({
      cells: [
        member.name, `${cluster.node}${cluster.subset ? ` ${cluster.subset}` : ""}`, meter(cluster.retries_active, cluster.retry_limit),
        meter(cluster.active, cluster.limits.requests), meter(cluster.pending, cluster.limits.pending),
        cluster.detects_outliers ? `${cluster.ejected} of ${cluster.endpoints_total} ejected` : "off", cluster.balancer, cluster.origin || "–",
      ],
    })),
    ...member.breakers.map((breaker) => ({
      kind: breaker.state === "closed" ? "" : "bad",
      cells: [member.name, breaker.host, "", "", "", `breaker ${breaker.state}`, "", breaker.origin],
    })),
  ]);
  replace(byId("budgets"), table(
    [["caller"], ["service"], ["retries on their way", "n"], ["active requests", "n"], ["pending", "n"], ["outlier detection, breaker"], ["balancer"], ["written in"]],
    rows, "No clusters are known."));
}

function meter(value, limit) {
  if (limit === null || limit === undefined) return `${value} (no limit)`;
  return h("span", { class: "meter" }, `${value} of ${limit} `, h("meter", { min: 0, max: Math.max(limit, 1), high: limit * 0.8, value, "aria-label": `${value} of ${limit}` }));
}

export function drawFindings(found) {
  const rows = found.findings.map((one, index) => ({
    kind: { error: "bad", warning: "warn" }[one.level] ?? "",
    cells: [
      one.level, one.code, one.resource || "–", one.field || "–", one.hint ? `${one.message}; ${one.hint}` : one.message,
      placeButton(one.file, one.line, `finding ${index}`) ?? "–",
    ],
  }));
  replace(byId("findings"),
    table([["level"], ["code"], ["resource"], ["field"], ["what", "wide"], ["written at"]], rows, "Nothing to say: all of it is applied as it is written."),
    found.skipped.length ? h("details", {}, h("summary", { "data-key": "skipped" }, `${found.skipped.length} documents of kinds that are not applied`), h("ul", {}, found.skipped.map((one) => h("li", {}, one)))) : "");
}
