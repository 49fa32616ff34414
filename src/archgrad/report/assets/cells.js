// Cells as graphs: what the supernet offers thin, what an epoch would have derived bold.

// the first key found in a name decides; no two styles share both color and dash
const OPERATION_STYLES = [
  ["sep_conv", { color: "var(--op-blue)", dash: null }],
  ["dil_conv", { color: "var(--op-vermilion)", dash: "11 4" }],
  ["conv", { color: "var(--op-sky)", dash: null }],
  ["max_pool", { color: "var(--op-green)", dash: "5 5" }],
  ["pool", { color: "var(--op-green)", dash: "5 5" }],
  ["skip", { color: "var(--op-black)", dash: "0.1 6" }],
  ["identity", { color: "var(--op-black)", dash: "0.1 6" }],
  ["tanh", { color: "var(--op-blue)", dash: null }],
  ["relu", { color: "var(--op-vermilion)", dash: "11 4" }],
  ["sigmoid", { color: "var(--op-green)", dash: "5 5" }],
];
const OTHER_STYLE = { color: "var(--op-grey)", dash: null };

/** The line of an operation's kind: {color, dash}, dash as SVG wants it or null for solid. */
function operationStyle(name) {
  return OPERATION_STYLES.find(([key]) => name.includes(key))?.[1] ?? OTHER_STYLE;
}

/** A short line in the manner of an operation, for legends. */
function operationSwatch(name) {
  const { color, dash } = operationStyle(name);
  const line = { x1: 2, x2: 34, y1: 6, y2: 6, "stroke-width": 3.5, "stroke-linecap": "round" };
  return drawn(
    "svg",
    { class: "swatch", width: 36, height: 12, "aria-hidden": "true" },
    drawn("line", { ...line, "stroke-dasharray": dash, style: `stroke: ${color}` }),
  );
}

/** Which line is which operation. */
function operationLegend(names) {
  const entries = names.map((name) => element("li", {}, operationSwatch(name), name));
  return element("ul", { class: "legend", "aria-label": "operations" }, ...entries);
}

/** A drawn graph that paint() changes in place: {node, paint(cell, strength, widest)}. */
function cellPicture(graph) {
  const plan = laidOut(graph);
  const joints = plan.joints.map((one) => drawn("path", { class: "joint", d: one.path }));
  const edges = plan.edges.map((one) => edgePicture(one, graph.room));
  const nodes = plan.nodes.map(nodePicture);
  const node = drawn(
    "svg",
    { role: "img", viewBox: `0 0 ${plan.width} ${plan.height}`, width: plan.width, height: plan.height },
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
  const bold = drawn("g", { class: "chosen" }, line, head, drawn("rect", plate), text);
  const paint = (chosen, strength, widest) => {
    const operation = chosen.get(`${edge.from},${edge.to}`)?.[edge.slot] ?? null;
    paintFaint(faint, edge.slot === 0 ? strength(edge.index) : 0, widest);
    bold.style.display = operation === null ? "none" : "";
    if (operation === null) return bold.removeAttribute("data-operation");
    const { color, dash } = operationStyle(operation);
    const weight = strength(edge.index, operation);
    bold.setAttribute("data-operation", operation);
    bold.style.setProperty("--color", color);
    line.style.strokeWidth = weight === null ? 3 : 1.8 + 4.7 * share(weight, widest);
    line.setAttribute("stroke-dasharray", dash ?? "none");
    text.textContent = operation;
  };
  return { faint, bold, paint };
}

/** The thin line under an edge: the stronger its strongest candidate, the wider and darker. */
function paintFaint(path, strength, widest) {
  const part = strength === null ? 0.2 : share(strength, widest);
  path.style.strokeWidth = 0.6 + 3.4 * part;
  path.style.opacity = 0.16 + 0.34 * part;
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

/** A cell in words, for those who do not see its drawing. */
function cellInWords(graph, cell) {
  if (!cell) return `${graph.name}: no cell was derived here`;
  const names = nodeNames({ ...graph, inputs: cell.inputs, count: cell.nodes.length });
  const nodes = cell.nodes.map((edges, i) => {
    const parts = edges.map(([operation, from]) => `${operation} of ${names[from][1]}`);
    return `${names[cell.inputs + i][1]} is ${parts.join(" and ") || "left out"}`;
  });
  const joined = cell.output.map((i) => names[i]?.[0]).join(", ");
  return `${graph.name} cell: ${nodes.join("; ")}; its output is made of ${joined}`;
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
    const { node, paint } = cellPicture(cellGraph(cell));
    paint(cell);
    return element("figure", { class: "cell static" }, element("figcaption", {}, cell.name), scrolling(`${cell.name}, drawn`, node));
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
