// Methods against each other: tables, accuracy over what was spent, and the checklist.

/** A line a method, the same in all charts of a comparison. */
function methodLines({ points, curves }) {
  const series = (curves ?? []).flatMap((curve) => curve.series);
  const methods = new Set([...series, ...(points ?? [])].map(({ method }) => method));
  return new Map([...methods].map((method, i) => [method, lineOf(i)]));
}

/** How the test measure of a data set is shown: in the unit of its curve, else as accuracy. */
function measureOf({ curves }, data) {
  const found = (curves ?? []).find((curve) => curve.data === data);
  const { factor = 100, higher = true } = found ?? {};
  const accuracy = { title: "accuracy, %", unit: "%" };
  return { factor, higher, ...(factor === 100 ? accuracy : { title: "perplexity", unit: "" }) };
}

function comparisonSection() {
  const place = element("div");
  const node = section("comparison", "Comparison", place);
  const parts = new Map();
  const changed = changes();

  function update(found) {
    if (!changed(found)) return;
    node.hidden = !found.comparisons.length;
    const shown = found.comparisons.map((comparison) => {
      if (!parts.has(comparison.id)) parts.set(comparison.id, comparisonPart());
      parts.get(comparison.id).update(comparison, found.comparisons.length > 1);
      return parts.get(comparison.id).node;
    });
    if (shown.some((one, i) => place.children[i] !== one)) place.replaceChildren(...shown);
  }
  return { node, update };
}

function comparisonPart() {
  const heading = element("h3");
  const words = element("div");
  const tables = element("div");
  const grid = element("div", { class: "charts" });
  const checks = element("div");
  const node = element("div", { class: "comparison" }, heading, words, tables, grid, checks);
  const figures = new Map();

  function chart(name, content) {
    if (!figures.has(name)) {
      figures.set(name, chartFigure(name));
      grid.append(figures.get(name).node);
    }
    figures.get(name).show(content);
  }
  function update(comparison, several) {
    node.id = comparison.id;
    heading.textContent = comparison.name;
    heading.hidden = !several;
    const problems = (comparison.problems ?? []).map((text) => element("p", { class: "notice" }, text));
    const sentences = (comparison.sentences ?? []).map((text) => element("p", {}, text));
    words.replaceChildren(...problems, ...sentences);
    tables.replaceChildren(...(comparison.tables ?? []).flatMap(tableParts));
    const lines = methodLines(comparison);
    for (const curve of comparison.curves ?? []) {
      chart(`spent-${curve.data}`, spentContent(curve, lines));
    }
    for (const [data, points] of d3.groups(comparison.points ?? [], (point) => point.data)) {
      chart(`test-${data}`, methodsContent(comparison, data, points, lines));
    }
    checks.replaceChildren(...checklist(comparison.checklist ?? []));
  }
  return { node, update };
}

function tableParts({ title, header, rows, note }) {
  const below = note ? [element("p", { class: "section-note" }, note)] : [];
  return [scrolled({ title, header, rows }), ...below];
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
