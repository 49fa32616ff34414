// Methods against each other: tables, accuracy over what was spent, and the checklist.

/** A line a method, the same in all charts of a comparison. */
function methodLines({ points, curves }) {
  const series = curves.flatMap((curve) => curve.series);
  const methods = new Set([...series, ...points].map(({ method }) => method));
  return new Map([...methods].map((method, i) => [method, lineOf(i)]));
}

/** How the test measure of a data set is shown: in the unit of its curve, else as accuracy. */
function measureOf({ curves }, data) {
  const found = curves.find((curve) => curve.data === data);
  const { factor = 100, higher = true } = found ?? {};
  const accuracy = { title: "accuracy, %", unit: "%" };
  return { factor, higher, ...(factor === 100 ? accuracy : { title: "perplexity", unit: "" }) };
}

/** A section for each comparison of the page, in the order of the document. */
function comparisonSections() {
  const node = element("div");
  const parts = new Map();
  const changed = changes();

  function update(found) {
    if (!changed(found)) return;
    const shown = found.comparisons.map((comparison, i) => {
      const part = kept(parts, comparison.id, () => comparisonSection(comparison, i));
      part.update(comparison, found.comparisons.length > 1);
      return part.node;
    });
    if (shown.some((one, i) => node.children[i] !== one)) node.replaceChildren(...shown);
  }
  return { node, update };
}

function comparisonSection({ id }, place) {
  const words = element("div");
  const grid = element("div", { class: "charts" });
  const checks = element("div");
  const again = element("div");
  const node = section(place ? id : "comparison", "Comparison", words, grid, checks, again);
  node.classList.add("comparison");
  const figures = new Map();

  function chart(name, content) {
    const figure = kept(figures, name, () => chartFigure(name));
    if (!figure.node.parentNode) grid.append(figure.node);
    figure.show(content);
  }
  function update(comparison, several) {
    if (several) node.firstChild.textContent = `Comparison ${comparison.name}`;
    words.replaceChildren(...comparisonWords(comparison));
    const lines = methodLines(comparison);
    for (const curve of comparison.curves) chart(`spent-${curve.data}`, spentContent(curve, lines));
    for (const [data, points] of d3.groups(comparison.points, (point) => point.data)) {
      chart(`test-${data}`, methodsContent(comparison, data, points, lines));
    }
    for (const cloud of comparisonClouds(comparison)) {
      for (const cost of Object.keys(COSTS)) chart(`${cost}-${cloud.data}`, cloudContent(cloud, cost));
    }
    checks.replaceChildren(...checklist(comparison.checklist));
    const what = several ? `comparison ${comparison.name}` : "comparison";
    const parts = reproduceParts(comparison.reproduce, what);
    again.replaceChildren(...(parts.length ? [element("h3", {}, "Reproduce it"), ...parts] : []));
  }
  return { node, update };
}

/** Problems, facts, what came out and the tables. */
function comparisonWords(comparison) {
  return [
    problemNotice(comparison),
    factList(comparison.facts),
    ...comparison.sentences.map((text) => element("p", {}, sentence(text))),
    ...comparison.tables.flatMap((table) => tableParts(table, comparison.name)),
  ].filter(Boolean);
}

function tableParts({ title, header, rows, note }, about) {
  const below = note ? [element("p", { class: "section-note" }, note)] : [];
  return [scrolled({ title, header, rows }, about), ...below];
}

/** Mean over the searches that are done, with a band, over what was spent. */
function spentContent({ data, unit, title, factor, higher, series }, lines) {
  const scaled = (value) => (isNumber(value) ? value * factor : null);
  const made = series.map(({ method, spent, mean, low, high }) => {
    const points = spent.map((x, i) => {
      return { x, y: scaled(mean[i]), low: scaled(low?.[i]), high: scaled(high?.[i]) };
    });
    const known = points.filter(({ y }) => y !== null).length;
    return { name: method, line: lines.get(method), points, known, sparse: false };
  });
  const banded = made.some(({ points }) => points.some(({ low }) => low !== null));
  const band = banded ? ", in a band from low to high" : "";
  return lineContent({
    title: `${data}: ${title}, over what was spent`,
    note:
      `The mean over the searches that are done${band}. It is of what a search looks at, a ` +
      "supernet or a child: compare a method with itself.",
    unit: factor === 100 ? "%" : "",
    xName: `${unit} spent`,
    xFormat: ".2~s",
    higher,
    series: made,
  });
}

function methodsContent(comparison, data, points, lines) {
  const { factor, unit, title } = measureOf(comparison, data);
  const rows = d3.groups(points, ({ method }) => method).map(([method, found]) => ({
    name: method,
    line: lines.get(method),
    values: found.map(({ test }) => (isNumber(test) ? test * factor : null)),
    seeds: found,
  }));
  return spreadContent({
    title: `${data}: test ${title}`,
    note: `A dot is the network of one search; the bar is the mean of a method, ${LINE}.`,
    unit,
    rows: rows.filter(({ values }) => values.some(isNumber)),
  });
}

function checklist(points) {
  if (!points.length) return [];
  const done = (point) => (point.done ? "met:" : "not met:");
  const mark = (point) => (point.done ? "✓" : "–");
  const count = points.filter((point) => point.done).length;
  const items = points.map((point) =>
    element(
      "li",
      { "data-done": point.done },
      element("span", { class: "box", role: "img", "aria-label": done(point) }, mark(point)),
      element("span", {}, point.text),
    ),
  );
  const title = `Best practices: ${count} of ${points.length} met`;
  return [element("h3", {}, title), element("ul", { class: "checklist" }, ...items)];
}
