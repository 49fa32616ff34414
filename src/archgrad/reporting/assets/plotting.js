// A chart: its title, its legend, its picture in words, and its numbers as a table.

/** How the series of a chart are drawn, one after the other; told apart in grey by dash or marker. */
const LINES = [
  { color: "var(--c1)", dash: "none", symbol: "circle" },
  { color: "var(--c2)", dash: "7 4", symbol: "triangle" },
  { color: "var(--c3)", dash: "2 3", symbol: "square" },
  { color: "var(--c4)", dash: "9 3 2 3", symbol: "diamond" },
  { color: "var(--c5)", dash: "14 4", symbol: "star" },
  { color: "var(--c6)", dash: "4 2", symbol: "wye" },
  { color: "var(--c7)", dash: "12 3 2 3 2 3", symbol: "cross" },
  { color: "var(--c8)", dash: "1 2", symbol: "times" },
];

/** The line of a series by its place; from the ninth on colors come again, with other dashes. */
function lineOf(index) {
  const round = Math.floor(index / LINES.length);
  const { color } = LINES[index % LINES.length];
  return { ...LINES[(index + round) % LINES.length], color };
}
const ROWS = 300; // of a table of numbers, at most

const [fourDigits, withPrefix] = [d3.format(".4~g"), d3.format(".3~s")];
const amount = (value) => (isNumber(value) ? fourDigits(value) : "–");
const brief = (value) => (isNumber(value) ? withPrefix(value) : "–");
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
const withUnit = (text, unit) => (unit ? `${text} ${unit}` : text);

/** The first of many texts for a sentence. */
function someOf(texts, most = 12) {
  const rest = texts.length > most ? [`and ${texts.length - most} more`] : [];
  return [...texts.slice(0, most), ...rest].join("; ");
}

/** Mean, sample standard deviation (null of fewer than two), least and most of the numbers. */
function statistics(values) {
  const known = values.filter(isNumber);
  if (!known.length) return null;
  const deviation = known.length > 1 ? d3.deviation(known) : null;
  const [low, high] = d3.extent(known);
  return { count: known.length, mean: d3.mean(known), deviation, low, high };
}

/** "91.20 ± 0.31 %", of one value without a spread. */
function meanAndSpread(found, unit) {
  if (!found) return "–";
  const spread = found.deviation === null ? "" : ` ± ${found.deviation.toFixed(2)}`;
  return withUnit(`${found.mean.toFixed(2)}${spread}`, unit);
}

/** The ends of an axis over these values, with a little room, and more around what hardly differs. */
function extent(values, log = false) {
  const [low, high] = d3.extent(values.filter(isNumber));
  if (low === undefined) return [0, 1];
  if (log) {
    const room = low === high ? 2 : (high / low) ** 0.04;
    return [low / room, high * room];
  }
  const least = 0.01 * Math.max(Math.abs(low), Math.abs(high)) || 1;
  const room = Math.max(0.05 * (high - low), (least - (high - low)) / 2);
  return [low - room, high + room];
}

/** Whether values cover so much that only a logarithmic axis shows them. */
function logarithmic(values) {
  const known = values.filter(isNumber);
  const [low, high] = d3.extent(known);
  return known.length > 1 && low > 0 && high / low > 50;
}

/** What all pictures of this page have in common. */
function plotted(width, options) {
  const style = { fontSize: "12px", fontFamily: "inherit", background: "none" };
  const margins = { marginTop: 24, marginBottom: 36, marginRight: 16 };
  return asPicture(Plot.plot({ width, height: 240, ...margins, style, ...options }));
}

/** A chart without content; `show` gives it one: title, note, label, legend, numbers, draw(width). */
function chartFigure(name) {
  const title = element("h3");
  const note = element("p", { class: "chart-note" });
  const legend = element("ul", { class: "chart-legend" });
  const plot = element("div", { class: "plot" });
  const below = element("div", { class: "below" });
  const numbers = numbersFold();
  const caption = element("figcaption", {}, title, note);
  const parts = [caption, legend, plot, below, numbers.node];
  const node = element("figure", { class: "chart", "data-chart": name }, ...parts);
  const made = { node, plot, below, svg: null, show, at: null, cursor };
  let content = null;
  let width = 0;

  function show(next) {
    content = next;
    node.hidden = next === null;
    if (next === null) {
      plot.replaceChildren();
      made.svg = null;
      return;
    }
    title.textContent = next.title;
    note.textContent = next.note ?? "";
    note.hidden = !next.note;
    legend.replaceChildren(...(next.legend ?? []).map(legendItem));
    legend.hidden = !next.legend?.length;
    numbers.show(next.numbers, `${next.title}, in ${sectionTitle(node)}`);
    draw();
  }
  function draw() {
    if (content === null || width < 1) return;
    made.svg = content.draw(width);
    made.svg.setAttribute("role", "img");
    made.svg.setAttribute("aria-label", content.label);
    plot.replaceChildren(made.svg);
    cursor(made.at);
  }
  /** Moves the thin rule to a place of the x axis, without drawing anew. */
  function cursor(at) {
    made.at = at;
    made.svg?.querySelector(".cursor")?.remove();
    const scale = made.svg?.scale("x");
    if (!isNumber(at) || !scale || at < scale.domain[0] || at > scale.domain[1]) return;
    const x = scale.apply(at);
    const [bottom, top] = made.svg.scale("y").range;
    const place = { "data-epoch": at, x1: x, x2: x, y1: bottom, y2: top };
    const tip = made.svg.lastChild; // stays above
    made.svg.insertBefore(drawn("line", { class: "cursor", ...place }), tip);
  }

  new ResizeObserver(([entry]) => {
    const found = Math.floor(entry.contentRect.width);
    if (found === width) return;
    width = found;
    draw();
  }).observe(plot);
  return made;
}

/** A line with its marker and its name. */
function legendItem({ name, line, bare = false }) {
  const stroke = { stroke: line.color, "stroke-width": 2, "stroke-dasharray": line.dash };
  const symbol = d3.symbol(SYMBOLS[line.symbol], 36)();
  const marker = drawn("path", { d: symbol, transform: "translate(17 7)", ...filledSymbol(line) });
  const path = bare ? null : drawn("line", { x1: 0, x2: 34, y1: 7, y2: 7, ...stroke });
  const picture = drawn("svg", { width: 34, height: 14, "aria-hidden": "true" }, path, marker);
  return element("li", {}, picture, name);
}

const SYMBOLS = {
  circle: d3.symbolCircle,
  triangle: d3.symbolTriangle,
  square: d3.symbolSquare,
  diamond: d3.symbolDiamond,
  star: d3.symbolStar,
  wye: d3.symbolWye,
  cross: d3.symbolCross,
  times: d3.symbolTimes,
};
const OPEN = new Set(["times"]); // drawn by strokes alone

function filledSymbol(line) {
  return OPEN.has(line.symbol)
    ? { fill: "none", stroke: line.color, "stroke-width": 2 }
    : { fill: line.color };
}

/** The same for a mark of Plot. */
function dotOptions(line) {
  const open = OPEN.has(line.symbol);
  return { symbol: line.symbol, stroke: line.color, fill: open ? "none" : line.color };
}

/** The numbers of a chart, in a table that is made when it is opened. */
function numbersFold() {
  let make = null;
  const title = "The numbers as a table";
  const { node, update } = unfolding(title, "", () => (make ? scrolled(...make()) : ""));
  const show = (next, about) => {
    make = next && (() => [next(), about]);
    node.firstChild.setAttribute("aria-label", `${title}: ${about}`);
    update();
  };
  return { node, show };
}

/** A table { title, header, rows } of texts; what is no number in the first row stands left. */
function numbersTable({ title, header, rows }) {
  const step = Math.ceil(rows.length / ROWS);
  const kept = rows.filter((_, i) => i % step === 0 || i === rows.length - 1);
  const left = header.map((_, i) => rows.some((row) => /[a-z]{2}/i.test(String(row[i] ?? ""))));
  const side = (i) => ({ class: i === 0 || left[i] ? null : "number" });
  const some = kept.length < rows.length ? ` (${kept.length} of ${rows.length} rows)` : "";
  const cell = (text, i) =>
    element(i ? "td" : "th", { scope: i ? null : "row", ...side(i) }, String(text));
  const head = header.map((text, i) => columnHead(text, side(i)));
  return element(
    "table",
    { class: "numbers" },
    element("caption", {}, `${title}${some}`),
    element("thead", {}, element("tr", {}, ...head)),
    element("tbody", {}, ...kept.map((row) => element("tr", {}, ...row.map(cell)))),
  );
}

/** A table in a box that scrolls by itself, with the keyboard too; `about`: whose it is. */
function scrolled(table, about = null) {
  const found = typeof table.header === "object" ? numbersTable(table) : table;
  const caption = found.querySelector("caption")?.textContent ?? "table";
  const name = about === null ? caption : `${caption}: ${about}`;
  const box = { class: "table-box", tabindex: "0", role: "region", "aria-label": name };
  return element("div", box, found);
}

/** A function that tells whether any of its arguments is another than in the call before. */
function changes() {
  let before = null;
  return (...now) => {
    const same = before !== null && now.every((one, i) => Object.is(one, before[i]));
    before = now;
    return !same;
  };
}
