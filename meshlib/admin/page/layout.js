// Places nodes in columns from callers to called, and orders each column so that few edges cross.

const WIDTH = 176, GAP_X = 134, GAP_Y = 44, MARGIN = 18;

// `nodes`: [{id, height}], `edges`: [{from, to}]. Returns {places: Map id → {x, y, width, height}, width, height}.
export function layout(nodes, edges) {
  const columns = byColumn(nodes, edges);
  order(columns, edges);
  const heights = columns.map((column) => column.reduce((sum, node) => sum + node.height + GAP_Y, -GAP_Y));
  const height = Math.max(...heights, 60) + 2 * MARGIN;
  const places = new Map();
  columns.forEach((column, index) => {
    let y = (height - heights[index]) / 2;
    for (const node of column) {
      places.set(node.id, { x: MARGIN + index * (WIDTH + GAP_X), y, width: WIDTH, height: node.height });
      y += node.height + GAP_Y;
    }
  });
  return { places, width: 2 * MARGIN + columns.length * (WIDTH + GAP_X) - GAP_X, height };
}

// The column of a node is the longest way to it; an edge that closes a circle does not count.
function byColumn(nodes, edges) {
  const callers = new Map(nodes.map((node) => [node.id, []]));
  for (const edge of edges) if (edge.from !== edge.to) callers.get(edge.to)?.push(edge.from);
  const depth = new Map(), open = new Set();
  const depthOf = (id) => {
    if (depth.has(id)) return depth.get(id);
    if (open.has(id) || !callers.has(id)) return -1;
    open.add(id);
    const found = Math.max(-1, ...callers.get(id).map(depthOf)) + 1;
    open.delete(id);
    depth.set(id, found);
    return found;
  };
  const columns = [];
  for (const node of nodes) {
    const column = depthOf(node.id);
    (columns[column] ??= []).push(node);
  }
  return columns.filter(Boolean);
}

function order(columns, edges) {
  for (const column of columns) column.sort((one, other) => (one.id < other.id ? -1 : 1));
  for (let round = 0; round < 4; round += 1) {
    for (let index = 1; index < columns.length; index += 1) {
      const place = new Map(columns[index - 1].map((node, at) => [node.id, at / columns[index - 1].length]));
      const centre = (node) => {
        const found = edges.filter((edge) => edge.to === node.id && place.has(edge.from)).map((edge) => place.get(edge.from));
        return found.length ? found.reduce((sum, value) => sum + value, 0) / found.length : 0.5;
      };
      columns[index].sort((one, other) => centre(one) - centre(other) || (one.id < other.id ? -1 : 1));
    }
  }
}
