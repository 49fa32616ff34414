// The geometry of a cell: dagre places nodes and labels once, so that they stay while time moves.

const NODE = 46; // width of a node, and the least it is apart from others
const LABEL = 16; // height of a label
const LETTER = 6.9; // width of a letter of a label at most
const LANE = 9; // between the ends of edges at a node

/** The names of a cell's nodes: written, and spoken. */
function nodeNames({ inputs, count, recurrent }) {
  const first = recurrent ? 1 : 0; // node 0 of a recurrent cell is its first state
  const inner = d3.range(first, first + count).map((i) => [String(i), `node ${i}`]);
  if (recurrent) return [["0", "node 0"], ...inner];
  const outer =
    inputs === 2
      ? [["cₖ₋₂", "input c k-2"], ["cₖ₋₁", "input c k-1"]]
      : d3.range(inputs).map((i) => [inputs === 1 ? "input" : `input ${i}`, `input ${i}`]);
  return [...outer, ...inner];
}

/** The whole graph of a group of the supernet, with a slot for each operation an edge ever has. */
function groupGraph(group, architectures) {
  const cells = architectures.flatMap((one) => one.cells.filter((cell) => cell.name === group.name));
  const slots = new Map();
  for (const cell of cells) {
    for (const [pair, operations] of operationsByPair(cell)) {
      slots.set(pair, Math.max(slots.get(pair) ?? 1, operations.length));
    }
  }
  const edges = group.edges.flatMap(([from, to], index) =>
    d3.range(slots.get(`${from},${to}`) ?? 1).map((slot) => ({ from, to, slot, index })),
  );
  const count = Math.max(group.inputs, ...group.edges.map(([, to]) => to + 1)) - group.inputs;
  const names = [...new Set(group.candidates.flat()), ...cells.flatMap(operationsOf)];
  return graphOf(group, count, edges, group.output, names);
}

/** The graph of a derived cell alone. */
function cellGraph(cell) {
  const edges = [...operationsByPair(cell)].flatMap(([pair, operations]) => {
    const [from, to] = pair.split(",").map(Number);
    return operations.map((_, slot) => ({ from, to, slot, index: null }));
  });
  return graphOf(cell, cell.nodes.length, edges, cell.output, operationsOf(cell));
}

function graphOf({ name, inputs, recurrent }, count, edges, output, names) {
  const inner = d3.range(inputs, inputs + count);
  return {
    name,
    inputs,
    count,
    edges,
    recurrent: recurrent ?? name === "recurrent",
    output: output ?? inner,
    room: LETTER * Math.max(4, ...names.map((text) => text.length)) + 8,
  };
}

/** The operations of a derived cell by the pair of nodes they lie between, "from,to". */
function operationsByPair(cell) {
  const found = new Map();
  cell.nodes.forEach((edges, i) => {
    for (const [operation, from] of edges) {
      const pair = `${from},${cell.inputs + i}`;
      found.set(pair, [...(found.get(pair) ?? []), operation]);
    }
  });
  return found;
}

function operationsOf(cell) {
  return cell.nodes.flatMap((edges) => edges.map(([operation]) => operation));
}

const layouts = new Map(); // equal graphs of later documents lie where they lay

/** Where everything of a graph lies: {width, height, nodes, edges, joints}. */
function laidOut(graph) {
  return kept(layouts, JSON.stringify(graph), () => placed(graph));
}

function placed(graph) {
  const made = new dagre.graphlib.Graph({ multigraph: true });
  const ranksep = graph.count > 5 ? 30 : 44; // a long cell is to fit the page
  made.setGraph({ rankdir: "LR", nodesep: 14, edgesep: 6, ranksep, marginx: 8, marginy: 8 });
  const names = nodeNames(graph);
  const degree = (key) => d3.rollup(graph.edges, (all) => all.length, (edge) => edge[key]);
  const [entries, exits] = [degree("to"), degree("from")];
  const add = (id, [label, spoken], ends) =>
    made.setNode(id, { label, spoken, width: NODE, height: Math.max(30, LANE * (ends + 1)) });
  names.forEach((name, i) => add(String(i), name, Math.max(entries.get(i) ?? 0, exits.get(i) ?? 0)));
  add("output", graph.recurrent ? ["hₜ", "output h t"] : ["cₖ", "output c k"], graph.output.length);
  for (const edge of graph.edges) {
    const weight = edge.to - edge.from === 1 ? 2 : 1; // what follows at once lies straight
    const label = { width: graph.room, height: LABEL, labelpos: "c", weight };
    made.setEdge(String(edge.from), String(edge.to), { ...label, edge }, String(edge.slot));
  }
  for (const from of graph.output) made.setEdge(String(from), "output", { joint: true, from }, "0");
  if (graph.recurrent) addState(made, add);
  dagre.layout(made);
  if (graph.inputs > 1 && made.node("0").y > made.node("1").y) turnOver(made);
  return routed(made, graph.room);
}

/** The first input comes above the second. */
function turnOver(made) {
  const { height } = made.graph();
  const edges = made.edges().map((key) => made.edge(key));
  const things = [...made.nodes().map((id) => made.node(id)), ...edges.filter(({ edge }) => edge)];
  for (const one of [...things, ...edges.flatMap(({ points }) => points)]) one.y = height - one.y;
}

/** What the first state of a recurrent cell is made of. */
function addState(made, add) {
  [["xₜ", "input x t"], ["hₜ₋₁", "previous state h t-1"]].forEach((name, i) => {
    add(`state-${i}`, name, 1);
    made.setEdge(`state-${i}`, "0", { joint: true, from: `state-${i}` }, "0");
  });
}

/** Lines run level beside nodes and labels and bend between them: none crosses either. */
function routed(made, room) {
  const nodes = made.nodes().map((id) => ({ id, ...made.node(id) }));
  const all = made.edges().map((key) => ({ key, ...made.edge(key) }));
  const halves = new Map([
    ...nodes.map(({ x }) => [Math.round(x), NODE / 2]),
    ...all.filter((one) => one.edge).map(({ x }) => [Math.round(x), room / 2]),
  ]);
  const widened = ({ x, y }) => {
    const half = halves.get(Math.round(x)) ?? 0;
    return half > 0 ? [[x - half, y], [x + half, y]] : [[x, y]];
  };
  const starts = ports(made, all, "v", 1);
  const ends = ports(made, all, "w", -1);
  const line = d3.line().curve(d3.curveBumpX);
  const lines = all.map((one, i) => {
    const inner = one.points.slice(1, -1).flatMap(widened);
    const gap = one.joint ? 0 : 7; // room for the arrow
    const [x, y] = ends[i];
    return { ...one, path: line([starts[i], ...inner, [x - gap, y]]), tip: [x, y] };
  });
  const { width, height } = made.graph();
  return {
    width,
    height,
    nodes,
    edges: lines.filter((one) => one.edge),
    joints: lines.filter((one) => one.joint),
  };
}

/** Where each edge meets the side of its node: spread in the order in which the edges come. */
function ports(made, all, end, side) {
  const places = new Array(all.length);
  for (const group of d3.group(d3.range(all.length), (i) => all[i].key[end]).values()) {
    const node = made.node(all[group[0]].key[end]);
    const next = (i) => (side > 0 ? all[i].points[1] : all[i].points.at(-2)).y;
    const sorted = group.sort((a, b) => next(a) - next(b));
    const pitch = Math.min(LANE, (node.height - 8) / sorted.length);
    sorted.forEach((i, rank) => {
      const y = node.y + (rank - (sorted.length - 1) / 2) * pitch;
      places[i] = [node.x + (side * node.width) / 2, y];
    });
  }
  return places;
}
