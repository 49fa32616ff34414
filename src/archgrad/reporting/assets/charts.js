// How a search went: losses and accuracies over its epochs, and the diagnostics of its health.

const ROLES = {
  train: ["training", 0],
  valid: ["validation (alpha's half)", 1],
  watch: ["held-out images", 2],
  discrete: ["derived operations alone", 3],
};
const LOST = "over derived operations alone";
const OVERFIT = "over held-out images";

/** Charts { name, content(run, columns, shared) } of a search, by what they are about. */
const CURVES = [
  {
    name: "loss",
    content: (run, columns, shared) =>
      lineContent({
        ...shared,
        title: "Loss",
        higher: false,
        wide: true,
        series: ["train", "valid"].map((role) => roleSeries(columns, role, "loss", 1)),
      }),
  },
  {
    name: "measure",
    content: (run, columns, shared) =>
      lineContent({
        ...shared,
        title: capital(run.measure.title),
        unit: run.measure.unit,
        higher: run.measure.higher,
        wide: run.measure.unit === "",
        series: Object.keys(ROLES).map((role) =>
          roleSeries(columns, role, run.measure.name, run.measure.factor),
        ),
      }),
  },
  { name: "evaluations", content: (run, columns, shared) => evaluationsContent(run, shared) },
];

const DIAGNOSTICS = [
  {
    name: "eigenvalue",
    title: "Largest eigenvalue of the loss over alpha",
    note: "How sharply the validation loss bends around the alphas; a steep rise is a bad sign.",
    wide: true,
    series: (columns) => [columnSeries(columns, "eigenvalue", "largest eigenvalue", 0)],
  },
  {
    name: "entropy",
    title: "Entropy of the mixing weights, nats",
    note: "Mean over the edges: largest where all operations are equal, 0 where one is left.",
    unit: "nats",
    series: (columns) => [columnSeries(columns, "entropy", "entropy", 0), uniformSeries(columns)],
  },
  {
    name: "shares",
    title: "Operations of the derived cell, %",
    note: "Shares of skip connections, and of all operations without weights (pools too).",
    unit: "%",
    least: 0,
    series: (columns) => [
      columnSeries(columns, "skip_share", "skip connections", 6, 100),
      columnSeries(columns, "parameter_free_share", "parameter-free operations", 2, 100),
    ],
  },
  {
    name: "moved",
    title: "How far alpha has moved, %",
    note: "Largest change of a mixing weight since its stage began, of the mean weight of its edge.",
    unit: "%",
    series: (columns) => [columnSeries(columns, "moved", "largest change", 0, 100)],
  },
  {
    name: "alignment",
    title: "Agreement of the layers",
    note:
      "Mean cosine of the gradients of any two layers: 1 where all ask for the same operations, " +
      "near 0 or below where they contradict each other.",
    series: (columns) => [columnSeries(columns, "layer_alignment", "mean cosine", 0)],
    levels: () => [{ y: 0, name: "no agreement" }],
  },
  {
    name: "gaps",
    title: ({ unit, name }) => `What validation overstates, ${unit === "%" ? "points" : name}`,
    note:
      "Validation of the whole mixture, against its derived operations alone and against held-out " +
      "images. Above 0: the mixture looks better.",
    unit: (measure) => (measure.unit === "%" ? "points" : measure.unit),
    series: (columns, measure) => [
      gapSeries(columns, measure, "discrete", LOST),
      gapSeries(columns, measure, "watch", OVERFIT),
    ],
    levels: () => [{ y: 0, name: "no gap" }],
  },
  {
    name: "percentiles",
    title: "Cost among random cells, %",
    note: "How many of a sample of random cells of the space are smaller than the derived one.",
    unit: "%",
    least: 0,
    most: 100,
    series: (columns) => [
      columnSeries(columns, "parameters_percentile", "parameters", 0, 100),
      columnSeries(columns, "multiply_adds_percentile", "multiply-adds", 1, 100),
    ],
    levels: () => [{ y: 50, name: "half of them" }],
  },
].map((kind) => ({ name: kind.name, content: diagnosticContent.bind(null, kind) }));

function diagnosticContent(kind, run, columns, shared) {
  const made = (value) => (typeof value === "function" ? value(run.measure) : value);
  return lineContent({
    ...shared,
    title: made(kind.title),
    note: kind.note,
    unit: made(kind.unit),
    wide: kind.wide,
    least: kind.least,
    most: kind.most,
    levels: kind.levels?.() ?? [],
    series: kind.series(columns, run.measure),
    marks: shared.marks.filter(({ chart, kind: mark }) => chart === kind.name || mark !== "warning"),
  });
}

function columnSeries(columns, key, name, index, factor = 1) {
  return seriesOf(name, lineOf(index), columns.epoch, columns[key], factor);
}

function roleSeries(columns, role, measure, factor) {
  const [name, index] = ROLES[role];
  return columnSeries(columns, `${role}_${measure}`, name, index, factor);
}

/** ln of the number of operations: what the entropy is where nothing is decided. */
function uniformSeries(columns) {
  const all = columns.operations?.map((count) => (count > 0 ? Math.log(count) : null));
  return { ...seriesOf("all operations equal", lineOf(6), columns.epoch, all), thin: true };
}

/** Validation minus another reading, so that above 0 the validation looks better. */
function gapSeries(columns, { name, factor, higher }, role, title) {
  const other = columns[`${role}_${name}`];
  const valid = columns[`valid_${name}`];
  const gap = other?.map((value, i) =>
    isNumber(value) && isNumber(valid?.[i]) ? (higher ? valid[i] - value : value - valid[i]) : null,
  );
  return seriesOf(title, lineOf(role === "discrete" ? 3 : 2), columns.epoch, gap, factor);
}

/** Of a search that scores whole architectures: every score, and the best one so far. */
function evaluationsContent(run, shared) {
  const found = run.evaluations;
  if (!found) return null;
  const { name, factor, unit, higher, title } = run.measure;
  const own = found.columns[name];
  const scale = own ? factor : 1;
  const values = own ?? found.columns.score ?? [];
  const numbers = found.columns.evaluation ?? values.map((_, i) => i + 1);
  const better = own ? higher : true;
  const best = found.leaders.map((leader) => values[leader] ?? null);
  const failed = (found.failed ?? []).filter(Boolean).length;
  const scores = { ...seriesOf("each architecture", lineOf(1), numbers, values, scale), loose: true };
  return lineContent({
    ...shared,
    xName: "evaluation",
    title: own ? capital(title) : "Score",
    note: failed ? `${failed} of ${numbers.length} evaluations failed and have no score.` : null,
    unit: own ? unit : "",
    higher: better,
    series: [scores, { ...seriesOf("best so far", lineOf(0), numbers, best, scale), steps: true }],
  });
}

function curvesSection() {
  const drag = "Drag across a chart, or use the sliders, to look closer.";
  const replay = "The thin rule is the epoch of the replay; a click moves it.";
  const marked = "What is marked is explained under";
  return epochsSection("curves", "Learning curves", CURVES, (run, marks, charts, note) => {
    const link = element("a", { href: "#diagnostics" }, "Diagnostics");
    const where = marks.length ? [` ${marked} `, link, "."] : [];
    note.replaceChildren(drag, run.replay ? ` ${replay}` : "", ...where);
  });
}

function diagnosticsSection() {
  return epochsSection("diagnostics", "Diagnostics", DIAGNOSTICS, (run, marks, charts, top) => {
    const told = new Set();
    for (const [i, chart] of charts.entries()) {
      const own = chart.node.hidden ? [] : marks.filter((mark) => mark.chart === DIAGNOSTICS[i].name);
      chart.below.replaceChildren(...(own.length ? [markSentences(own)] : []));
      own.forEach((mark) => told.add(mark));
    }
    const others = marks.filter((mark) => !told.has(mark));
    top.replaceChildren(...(others.length ? [markSentences(others)] : []));
  });
}

/** A section of charts over the epochs of the run that is looked at, with one zoom for all. */
function epochsSection(id, title, kinds, explain) {
  const zoom = zoomControl(id, title);
  const top = element("div", { class: "section-note" });
  const charts = kinds.map(({ name }) => chartFigure(name));
  const grid = element("div", { class: "charts" }, ...charts.map(({ node }) => node));
  const node = section(id, title, top, zoom.node, grid);
  const changed = changes();
  for (const chart of charts) {
    dragZoom(chart, {
      zoomed: (range) => setZoom(store.run().id, range),
      clicked: (epoch) => store.run().replay && store.move(store.run(), epoch),
    });
  }

  function redraw(run, view) {
    const columns = run.epochs?.columns ?? {};
    const xs = columns.epoch ?? run.evaluations?.columns.evaluation ?? [];
    const marks = marksOf(run);
    const xName = columns.epoch ? "epoch" : "evaluation";
    const shared = { xName, range: zoomOf(view, run.id), whole: d3.extent(xs.filter(isNumber)), marks };
    for (const [i, chart] of charts.entries()) {
      chart.show(kinds[i].content(run, columns, shared));
    }
    explain(run, marks, charts, top);
    zoom.update(run.id, xs, xName, view);
    const empty = charts.every((chart) => chart.node.hidden);
    node.hidden = empty && !top.querySelector(".chart-marks");
    grid.hidden = empty;
    zoom.node.hidden ||= empty;
  }
  function update(found, view) {
    const run = store.run();
    node.hidden = run === null;
    if (run === null) return;
    if (changed(found, run, view.zoom[run.id])) redraw(run, view);
    const at = run.replay ? timeline(run).epochs[moment(run, view)] : null;
    for (const chart of charts) chart.cursor(at);
  }
  return { node, update };
}
