// Cells as graphs: what the supernet offers thin, what an epoch would have derived bold.

// the first key found in a name decides; no two styles share both color and dash
const OPERATION_STYLES = [
  ["sep_conv", { color: "var(--op-blue)", dash: null }],
  ["dil_conv", { color: "var(--op-vermilion)", dash: "10 4" }],
  ["conv", { color: "var(--op-sky)", dash: null }],
  ["max_pool", { color: "var(--op-green)", dash: "5 5" }],
  ["pool", { color: "var(--op-green)", dash: "5 5" }],
  ["skip", { color: "var(--op-black)", dash: "2 4" }],
  ["identity", { color: "var(--op-black)", dash: "2 4" }],
  ["tanh", { color: "var(--op-blue)", dash: null }],
  ["relu", { color: "var(--op-vermilion)", dash: "10 4" }],
  ["sigmoid", { color: "var(--op-green)", dash: "5 5" }],
];
const SMALLEST = 0.5; // part of its size that a cell shown beside others shrinks to
const OTHER_STYLE = { color: "var(--op-grey)", dash: null };

/** The line of an operation's kind: {color, dash}, dash as SVG wants it or null for solid. */
function operationStyle(name) {
  return OPERATION_STYLES.find(([key]) => name.includes(key))?.[1] ?? OTHER_STYLE;
}

/** A short line in the manner of an operation, for legends. */
function operationSwatch(name) {
  const { color, dash } = operationStyle(name);
  const line = { x1: 1, x2: 37, y1: 6, y2: 6, "stroke-width": 3.5 };
  return drawn(
    "svg",
    { class: "swatch", width: 38, height: 12, "aria-hidden": "true" },
    drawn("line", { ...line, "stroke-dasharray": dash, style: `stroke: ${color}` }),
  );
}

/** Which line is which operation. */
function operationLegend(names) {
  const entries = names.map((name) => element("li", {}, operationSwatch(name), name));
  return element("ul", { class: "legend", "aria-label": "operations" }, ...entries);
}

/**
 * A drawn graph that paint() changes in place: {node, paint(cell, strength, widest)}; it shrinks
 * with the page to the part `least` of its size, below which its words are too small to read.
 */
function cellPicture(graph, least = 0.75) {
  const plan = laidOut(graph);
  const joints = plan.joints.map((one) => drawn("path", { class: "joint", d: one.path }));
  const edges = plan.edges.map((one) => edgePicture(one, graph.room));
  const nodes = plan.nodes.map(nodePicture);
  const node = drawn(
    "svg",
    {
      role: "img",
      viewBox: `0 0 ${plan.width} ${plan.height}`,
      width: plan.width,
      height: plan.height,
      style: `min-width: ${least * plan.width}px`,
    },
    drawn("g", {}, ...edges.map((one) => one.faint), ...joints),
    drawn("g", {}, ...edges.map((one) => one.bold)),
    drawn("g", {}, ...nodes),
  );
  const paint = (cell, strength = () => null, widest = 1) => {
    const chosen = cell ? operationsByPair(cell) : new Map();
    for (const one of edges) one.paint(chosen, strength, widest);
    plan.joints.forEach(({ from }, i) => {
      const idle = cell && typeof from === "number" && !cell.output.includes(from);
      joints[i].classList.toggle("idle", Boolean(idle));
    });
    node.setAttribute("aria-label", cellInWords(graph, cell));
  };
  return { node, paint };
}

/** One edge: a thin line for what the supernet has, a bold one with its label for what is chosen. */
function edgePicture({ edge, path, tip: [x, y], ...label }, room) {
  const faint = drawn("path", { class: "faint", d: path });
  const line = drawn("path", { class: "line", d: path });
  const head = drawn("path", { class: "head", d: `M${x},${y}l-9,-5v10z` });
  const plate = { x: label.x - room / 2, y: label.y - LABEL / 2, width: room, height: LABEL };
  const text = drawn("text", { x: label.x, y: label.y, dy: "0.35em" });
  const title = drawn("title");
  const bold = drawn("g", { class: "chosen" }, title, line, head, drawn("rect", plate), text);
  const paint = (chosen, strength, widest) => {
    const operation = chosen.get(`${edge.from},${edge.to}`)?.[edge.slot] ?? null;
    paintFaint(faint, edge.slot === 0 ? strength(edge.index) : 0, widest);
    bold.style.display = operation === null ? "none" : "";
    faint.style.display = operation === null ? "" : "none";
    if (operation === null) return bold.removeAttribute("data-operation");
    const { color, dash } = operationStyle(operation);
    const weight = strength(edge.index, operation);
    bold.setAttribute("data-operation", operation);
    bold.style.setProperty("--color", color);
    line.style.strokeWidth = weight === null ? 3 : 1.8 + 4.7 * share(weight, widest);
    line.setAttribute("stroke-dasharray", dash ?? "none");
    text.textContent = operation;
    title.textContent = weight === null ? operation : `${operation}, weight ${readable(weight)}`;
  };
  return { faint, bold, paint };
}

/** The thin line under an edge: the stronger its strongest candidate, the wider and darker. */
function paintFaint(path, strength, widest) {
  const part = strength === null ? 0.2 : share(strength, widest);
  path.style.strokeWidth = 0.6 + 2.2 * part;
  path.style.opacity = 0.16 + 0.3 * part;
}

function share(value, whole) {
  return whole > 0 ? Math.min(1, Math.max(0, value / whole)) : 0;
}

function nodePicture({ id, x, y, width, height, label }) {
  const kind = /^\d+$/.test(label) ? "inner" : "outer";
  const box = { x: x - width / 2, y: y - height / 2, width, height, rx: 9 };
  const text = drawn("text", { x, y, dy: "0.35em" }, label);
  return drawn("g", { class: `node ${kind}`, "data-node": id }, drawn("rect", box), text);
}

/** "normal cell"; a cell that is named so already is only called so. */
function cellTitle({ name }) {
  return name.endsWith("cell") ? name : `${name} cell`;
}

/** A cell in words, for those who do not see its drawing. */
function cellInWords(graph, cell) {
  if (!cell) return `${graph.name}: no cell was derived here`;
  const names = nodeNames({ ...graph, inputs: cell.inputs, count: cell.nodes.length });
  const nodes = cell.nodes.map((edges, i) => {
    const parts = edges.map(([operation, from]) => `${operation} of ${names[from][1]}`);
    return `${names[cell.inputs + i][1]} is ${parts.join(" and ") || "left out"}`;
  });
  const joined = cell.output.map((i) => names[i]?.[0]).join(", ");
  return `${cellTitle(graph)}: ${nodes.join("; ")}; its output is made of ${joined}`;
}

/** Whether a cell is one choice between operations: there is no graph to draw then. */
function isSingle(cell) {
  return cell.inputs === 1 && cell.nodes.length === 1 && cell.nodes[0].length <= 1;
}

/** The cells of an architecture, drawn, with a legend; of single choices a list. */
function architectureFigure(architecture, title) {
  const graphs = architecture.cells.filter((cell) => !isSingle(cell));
  const singles = architecture.cells.filter(isSingle);
  const operations = [...new Set(graphs.flatMap(operationsOf))].sort();
  const pictures = graphs.map((cell) => {
    const { node, paint } = cellPicture(cellGraph(cell), SMALLEST);
    paint(cell);
    const caption = element("figcaption", {}, cellTitle(cell));
    const box = scrolling(`${title}: ${cellTitle(cell)}, drawn`, node);
    return element("figure", { class: "cell static" }, caption, box);
  });
  return element(
    "div",
    { class: "architecture", role: "group", "aria-label": title },
    graphs.length ? operationLegend(operations) : null,
    ...pictures,
    singles.length ? singleList(singles) : null,
  );
}

/** The operations of single choices, in their order. */
function singleList(cells) {
  const entries = cells.map((cell) =>
    element("li", {}, element("span", {}, cell.name), element("b", {}, operationsOf(cell)[0] ?? "nothing")),
  );
  return element("ol", { class: "singles" }, ...entries);
}

/** The cells at the slider's epoch, as graphs and as lists of choices. */
function cellsSection() {
  const intro = element("p", { class: "lead" });
  const legend = element("div", { class: "legends" });
  const place = element("div", { class: "cells" });
  const choices = choiceList();
  const node = section("cells", "The cells", intro, legend, place, choices.node);
  const figures = new Map();
  let shown = [];

  const update = (_, view) => {
    const run = store.run();
    const parts = run ? cellParts(run, view) : { graphs: [], singles: [] };
    node.hidden = parts.graphs.length + parts.singles.length === 0;
    const wanted = parts.graphs.map((part) => kept(figures, part.key, () => cellFigure(part.graph)));
    if (wanted.some((one, i) => one !== shown[i]) || wanted.length !== shown.length) {
      place.replaceChildren(...wanted.map((one) => one.node));
      shown = wanted;
    }
    parts.graphs.forEach((part, i) => wanted[i].update(part));
    choices.update(run, view, parts.singles);
    legend.hidden = intro.hidden = parts.graphs.length === 0;
    if (legend.hidden) return;
    intro.textContent = weightsText(run);
    updateLegend(legend, run, parts.graphs);
  };
  return { node, update };
}

/** The groups of a run's supernet, with the graph of each that is one. */
const groupsOf = remembered((run) => {
  const known = [...(run.replay?.architectures ?? []), ...(run.found ? [run.found] : [])];
  return run.groups.map((group) =>
    group.edges.length > 1 ? withKey({ group, graph: groupGraph(group, known) }) : { group },
  );
});

/** What there is to draw of a run: groups of the supernet, and cells that belong to none. */
function cellParts(run, view) {
  const cells = shownArchitecture(run, view)?.cells ?? [];
  const cellOf = ({ name }) => cells.find((cell) => cell.name === name) ?? null;
  const index = moment(run, view);
  const groups = groupsOf(run).map((part) => ({ ...part, cell: cellOf(part.group), run, index }));
  const named = new Set(run.groups.map((group) => group.name));
  const alone = cells.filter((cell) => !named.has(cell.name));
  const lone = alone
    .filter((cell) => !isSingle(cell))
    .map((cell) => withKey({ cell, graph: cellGraph(cell), group: null, run, index }));
  const singles = [
    ...groups.filter(({ graph }) => !graph),
    ...alone.filter(isSingle).map((cell) => ({ group: null, cell, run, index })),
  ];
  return { graphs: [...groups.filter(({ graph }) => graph), ...lone], singles };
}

function withKey(part) {
  return { ...part, key: JSON.stringify(part.graph) };
}

/** One cell: its drawing, and the same as a table. */
function cellFigure(graph) {
  const picture = cellPicture(graph);
  const caption = element("figcaption", {}, cellTitle(graph));
  let last = null;
  const table = unfolding("The edges as a table", cellTitle(graph), () => edgeTable(graph, last));
  const box = scrolling(`drawing of the ${cellTitle(graph)}`, picture.node);
  const node = element("figure", { class: "cell" }, caption, box, table.node);
  const update = (part) => {
    const weights = part.group && weightsOf(part.run, part.group, "strength");
    picture.paint(part.cell, strengthAt(part, weights), widestOf(part, weights));
    last = part;
    table.update();
  };
  return { node, update: whenNear(node, update) };
}

/** The weight with the widest line: the largest of the run, but a tie is no strong line. */
function widestOf({ group }, weights) {
  return weights ? Math.max(weights.high, 2 / d3.max(group.candidates, (names) => names.length)) : 1;
}

/** The strength of an edge's operation at a moment, or of its strongest; null where unknown. */
function strengthAt({ group, index }, weights) {
  if (!weights) return () => null;
  return (edge, operation = null) => {
    if (edge === null) return null;
    const names = group.candidates[edge];
    if (operation !== null) return weights.at(index, edge, names.indexOf(operation));
    return d3.max(names, (_, k) => weights.at(index, edge, k)) ?? null;
  };
}

function edgeTable(graph, { group, cell, run, index }) {
  const names = nodeNames(graph);
  const chosen = cell ? operationsByPair(cell) : new Map();
  const strength = strengthAt({ group, index }, group && weightsOf(run, group, "strength"));
  const rows = graph.edges
    .filter(({ slot }) => slot === 0)
    .map(({ from, to, index: edge }) => {
      const operations = chosen.get(`${from},${to}`) ?? [];
      const weights = operations.map((name) => readable(strength(edge, name)));
      const edgeName = `${names[from][0]} → ${names[to][0]}`;
      return [edgeName, operations.join(", ") || "–", weights.join(", "), readable(strength(edge))];
    });
  const header = ["edge", "operation in the cell", "its weight", "largest weight on the edge"];
  return scrolling(`edges of the ${cellTitle(graph)}`, textTable(header, rows));
}

/** All operations that the cells of a run ever have, by the name of the cell. */
const operationsOfCells = remembered((run) => {
  const all = [run.replay, run.evaluations].flatMap((one) => one?.architectures ?? []);
  const cells = [...all, ...(run.found ? [run.found] : [])].flatMap((one) => one.cells);
  return d3.rollup(cells, (same) => new Set(same.flatMap(operationsOf)), ({ name }) => name);
});

function updateLegend(legend, run, graphs) {
  const known = operationsOfCells(run);
  const wanted = new Set(graphs.flatMap(({ graph }) => [...(known.get(graph.name) ?? [])]));
  const names = [...wanted].sort();
  if (legend.dataset.names === names.join()) return;
  legend.dataset.names = names.join();
  legend.replaceChildren(operationLegend(names));
}

function weightsText(run) {
  if (!run.replay) return "What was found. Bold lines are the operations of the cell.";
  return (
    "Bold lines are the cell that this epoch would have given; thin lines are what else the " +
    "supernet has there. The wider a line, the larger its mixing weight (of a thin one, that of " +
    "its strongest candidate)."
  );
}
