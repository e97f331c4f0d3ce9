// The fault switch: only there when the interface was made with allow_control.

import { byId, send } from "./dom.js";

export const faultText = (fault) => {
  if (!fault) return "";
  const parts = [];
  if (fault.delay) parts.push(`${fault.delay.seconds} s for ${fault.delay.percent} %`);
  if (fault.abort) parts.push(`${fault.abort.status ?? `gRPC ${fault.abort.grpc_status}`} for ${fault.abort.percent} %`);
  return parts.join(", ");
};

// Opens the dialog for one row of /routes; `done` is called when something was changed.
export function editFault(row, done) {
  const dialog = byId("fault"), form = byId("fault-form"), problem = byId("fault-problem");
  const fields = form.elements;
  byId("fault-route").textContent = `${row.member}: ${row.virtual_host}, ${row.name || row.origin.resource}`;
  problem.textContent = "";
  fields["delay"].value = row.fault?.delay?.seconds ?? "";
  fields["delay-percent"].value = row.fault?.delay?.percent ?? 100;
  fields["status"].value = row.fault?.abort?.status ?? "";
  fields["abort-percent"].value = row.fault?.abort?.percent ?? 100;
  form.onsubmit = async (event) => {
    const action = event.submitter?.value ?? "set";
    if (action === "cancel") return;
    event.preventDefault();
    try {
      await send("faults", { member: row.member, route: row.id, fault: action === "off" ? null : read(fields) });
      dialog.close();
      done();
    } catch (error) {
      problem.textContent = error.message;
    }
  };
  dialog.showModal();
}

function read(fields) {
  const fault = {};
  if (fields["delay"].value) fault.delay = { seconds: Number(fields["delay"].value), percent: Number(fields["delay-percent"].value) };
  if (fields["status"].value) fault.abort = { status: Number(fields["status"].value), percent: Number(fields["abort-percent"].value) };
  if (!Object.keys(fault).length) throw new Error("Give a delay, a status, or both.");
  return fault;
}

export const resetFaults = (members) => Promise.all(members.map((member) => send("faults", { member, reset: true })));
