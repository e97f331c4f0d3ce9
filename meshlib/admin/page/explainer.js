// The form that asks what would become of a request.

import { byId, h, send } from "./dom.js";
import { placeButton } from "./source.js";

export function startExplainer() {
  const form = byId("explain-form"), place = byId("explanation");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const fields = form.elements;
    const headers = {};
    for (const line of fields["headers"].value.split("\n")) {
      const at = line.indexOf(":");
      if (at > 0) headers[line.slice(0, at).trim()] = line.slice(at + 1).trim();
    }
    try {
      const answer = await send("explain", {
        member: fields["member"].value, method: fields["method"].value.trim(), url: fields["url"].value.trim(), headers,
      });
      place.replaceChildren(...shown(answer));
    } catch (error) {
      place.replaceChildren(h("p", { class: "problem", role: "alert" }, error.message));
    }
  });
}

function shown(answer) {
  const targets = answer.destinations ?? (answer.destination ? [answer.destination] : []);
  const weights = targets.reduce((sum, one) => sum + (one.weight ?? 0), 0);
  const facts = [["Outcome", `${answer.outcome.replace("_", " ")}${answer.status ? ` ${answer.status}` : ""}`]];
  if (answer.route) facts.push(["Route", answer.route]);
  for (const one of targets) {
    const share = weights ? `${((one.weight / weights) * 100).toFixed(0)} %  ` : "";
    facts.push(["To", `${share}${one.host}:${one.port}${one.subset ? ` subset ${one.subset}` : ""}`]);
  }
  if (answer.location) facts.push(["Location", answer.location]);
  if ("timeout" in answer) facts.push(["Timeout", answer.timeout === null ? "none" : `${answer.timeout} s`]);
  if ("retries" in answer) facts.push(["Retries", answer.retries ? `${answer.retries.attempts} on ${answer.retries.retry_on.join(", ")}` : "off"]);
  if (answer.fault) facts.push(["Fault", JSON.stringify(answer.fault)]);
  return [
    h("dl", { class: "facts" }, facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    h("h3", {}, "Rules tried"),
    h("ol", { class: "trace" }, answer.trace.map((step) =>
      h("li", { class: step.matched ? "matched" : "" },
        h("span", { class: "mark" }, step.matched ? "✓ matched" : "· no"),
        ` ${step.resource}${step.field ? ` ${step.field}` : ""} `,
        placeButton(step.file, step.line),
        step.reason ? h("span", { class: "reason" }, ` ${step.reason}`) : null))),
    h("details", {}, h("summary", {}, "As text"), h("pre", { tabindex: 0 }, answer.text)),
  ];
}
