// From the answer of /live to nodes and edges.

// [key, calls] of everything that has a rate.
export function keysOf(live) {
  return live.members.flatMap((member) => [
    ...member.clusters.filter((cluster) => cluster.calls).map((cluster) => [key(member, cluster), cluster.calls]),
    ...member.unrouted.map((one) => [`${member.name} ? ${one.host} ${one.route}`, one]),
  ]);
}

export const servedKeys = (live) =>
  live.members.flatMap((member) => member.served.map((one) => [servedKey(member, one), one]));

const servedKey = (member, one) => `${one.principal} > ${member.name}`;
const key = (member, cluster) => `${member.name} ${cluster.name}`;

export function buildModel(live, rates, showsIdle) {
  const nodes = new Map(), edges = new Map();
  const node = (id, values = {}) => {
    if (!nodes.has(id)) nodes.set(id, { id, title: id, groups: [] });
    return Object.assign(nodes.get(id), values);
  };
  for (const member of live.members) {
    const id = nodeOf(member), one = node(id, { title: title(id, live) });
    (one.members ??= []).push(member);
    one.denied = (one.denied ?? 0) + member.served.reduce((total, served) => total + served.denied, 0);
  }
  const hasCalls = live.members.some((member) => member.clusters.some((cluster) => cluster.calls));
  for (const member of live.members) {
    for (const cluster of member.clusters) {
      if (!cluster.node && !cluster.calls) continue;
      const isCalled = Boolean(cluster.calls);
      if (!isCalled && hasCalls && !showsIdle && !nodes.has(cluster.node)) continue;
      const id = cluster.node || "anywhere else";
      const target = node(id, { title: title(id, live) });
      if (cluster.external) target.external = true;
      addEndpoints(target, cluster);
      if (isCalled) addCalls(edges, member, cluster, id);
    }
  }
  addServed(live, node, edges);
  for (const one of edges.values()) {
    for (const part of one.parts) part.figures = rates.of(part.keys);
    one.parts.sort((part, other) => (part.subset < other.subset ? -1 : 1));
    one.figures = rates.of(one.parts.flatMap((part) => part.keys));
  }
  for (const one of nodes.values()) one.groups = tidy(one.groups);
  return { nodes: [...nodes.values()], edges: [...edges.values()] };
}

function addCalls(edges, member, cluster, id) {
  const from = nodeOf(member), name = `${from} → ${id}`;
  if (!edges.has(name)) edges.set(name, { id: name, from, to: id, parts: [], security: cluster.security, breaker: "" });
  const edge = edges.get(name), breaker = breakerOf(member, id);
  if (edge.security !== cluster.security) edge.security = "mixed";
  if (breaker && (!edge.breaker || breaker !== "closed")) edge.breaker = breaker;
  // The processes of one workload are one caller.
  const known = edge.parts.find((part) => part.cluster?.name === cluster.name);
  if (known) known.keys.push(key(member, cluster));
  else edge.parts.push({ keys: [key(member, cluster)], subset: cluster.subset, cluster, security: cluster.security });
}

// The members with the clusters that were called or have something to show; with all of them as long as nothing was called.
export function shownMembers(live, showsIdle) {
  if (showsIdle || !live.members.some((member) => member.clusters.some((cluster) => cluster.calls))) return live.members;
  return live.members.map((member) => ({
    ...member,
    clusters: member.clusters.filter((cluster) => cluster.calls || cluster.ejected || cluster.active),
  }));
}

// Several processes of one workload are called reviews.default, reviews.default#2 …: one node.
const nodeOf = (member) => member.name.replace(/#\d+$/, "");

const breakerOf = (member, id) => member.breakers.find((one) => one.node === id)?.state ?? "";

// Several callers know the same endpoint; one that has ejected it is enough to show it so.
function addEndpoints(target, cluster) {
  let group = target.groups.find((one) => one.subset === cluster.subset);
  if (!group) target.groups.push((group = { subset: cluster.subset, endpoints: [] }));
  for (const endpoint of cluster.endpoints) {
    const known = group.endpoints.find((one) => one.address === endpoint.address);
    if (known) known.ejected ||= endpoint.ejected;
    else group.endpoints.push({ address: endpoint.address, healthy: endpoint.healthy, ejected: endpoint.ejected });
  }
}

// Endpoints of a subset are also among those of the service as a whole: shown once.
function tidy(groups) {
  const subsets = groups.filter((one) => one.subset && one.endpoints.length);
  if (!subsets.length) return groups.filter((one) => one.endpoints.length);
  const known = new Map(subsets.flatMap((one) => one.endpoints.map((endpoint) => [endpoint.address, endpoint])));
  const rest = [];
  for (const endpoint of groups.filter((one) => !one.subset).flatMap((one) => one.endpoints)) {
    const same = known.get(endpoint.address);
    if (same) same.ejected ||= endpoint.ejected;
    else rest.push(endpoint);
  }
  subsets.sort((one, other) => (one.subset < other.subset ? -1 : 1));
  return rest.length ? [...subsets, { subset: "", endpoints: rest }] : subsets;
}

// An identity with or without its scheme, as certificates and rules have it.
const bare = (identity) => identity.replace(/^spiffe:\/\//, "");

// Who calls us: peers by their identity; those without one only where no mesh of this process calls us.
function addServed(live, node, edges) {
  for (const member of live.members) {
    const to = nodeOf(member);
    const isCalledHere = [...edges.values()].some((edge) => edge.to === to && edge.parts.some((part) => part.cluster));
    for (const one of member.served) {
      const match = /\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(one.principal);
      if (!match && isCalledHere) continue;
      const from = match ? `${match[2]}.${match[1]}` : "clients without identity";
      if (isCalledHere && live.members.some((other) => bare(other.workload.spiffe_id) === bare(one.principal))) continue;
      node(from, { title: match ? title(from, live) : from });
      const name = `${from} → ${to}`, security = match ? "mtls" : "plaintext", served = servedKey(member, one);
      const known = edges.get(name)?.parts.find((part) => !part.cluster);
      if (known) known.keys.push(served);
      else if (!edges.has(name)) {
        edges.set(name, { id: name, from, to, parts: [{ keys: [served], subset: "", security, cluster: null }], security, breaker: "" });
      }
    }
  }
}

// In one namespace its name says nothing.
function title(id, live) {
  const namespaces = new Set(live.members.map((member) => member.workload.namespace));
  const [only] = namespaces;
  return namespaces.size === 1 && id.endsWith(`.${only}`) && id.split(".").length === 2 ? id.slice(0, -only.length - 1) : id;
}
