// The networks trained from scratch: their curves, and how they did on the test data.

const kindOf = (label) => (/^random/.test(label) ? "random cells" : label);

/** One line a kind of network: the found one first, then the random ones, then others. */
function networkLines(networks) {
  const kinds = [...new Set(networks.map(({ label }) => kindOf(label)))];
  const order = d3.sort(kinds, (kind) => ["found", "random cells"].indexOf(kind) >>> 0);
  return new Map(order.map((kind, i) => [kind, lineOf(i)]));
}

/** The test measure of each seed of a network, as it is shown. */
const testsOf = (network, { factor }) =>
  network.seeds.map(({ test }) => (isNumber(test) ? test * factor : null));

function retrainingSection() {
  const zoom = zoomControl("retraining", "Training from scratch");
  const charts = [chartFigure("retraining-loss"), chartFigure("retraining-measure")];
  const tests = chartFigure("retraining-test");
  const words = element("p", { class: "retraining-words" });
  const table = element("div");
  const grid = element("div", { class: "charts" }, ...[tests, ...charts].map(({ node }) => node));
  const node = section("retraining", "Training from scratch", words, zoom.node, grid, table);
  const key = () => `${store.run().id}/retraining`;
  const changed = changes();
  for (const chart of charts) dragZoom(chart, { zoomed: (range) => setZoom(key(), range) });

  function update(found, view) {
    const run = store.run();
    const networks = run?.networks ?? [];
    node.hidden = !networks.length;
    if (node.hidden || !changed(found, run, view.zoom[key()])) return;
    const range = zoomOf(view, key());
    charts[0].show(trainingContent(run, "loss", "loss", 1, "", false, range));
    const { title, name, factor, unit, higher } = run.measure;
    charts[1].show(trainingContent(run, title, name, factor, unit, higher, range));
    tests.show(testsContent(run));
    words.textContent = testWords(run);
    words.hidden = !words.textContent;
    table.replaceChildren(scrolled(networksTable(run)));
    const xs = networks.flatMap(({ seeds }) => seeds.flatMap(({ columns }) => columns.epoch ?? []));
    zoom.update(key(), xs, "epoch", view);
  }
  return { node, update };
}

/** Curves of every seed of every network: of validation where it was taken, else of training. */
function trainingContent(run, title, measure, factor, unit, higher, range) {
  const lines = networkLines(run.networks);
  const all = run.networks.flatMap(({ label, seeds }) => seeds.map((one) => ({ label, ...one })));
  const validated = all.some(({ columns }) => columns[`valid_${measure}`]?.some(isNumber));
  const role = validated ? "valid" : "train";
  const series = all.map(({ label, seed, columns }) => {
    const name = all.length === run.networks.length ? label : `${label}, seed ${seed}`;
    const line = lines.get(kindOf(label));
    const one = seriesOf(name, line, columns.epoch, columns[`${role}_${measure}`], factor);
    return { ...one, thin: all.length > 3 };
  });
  const legend = [...lines].map(([name, line]) => ({ name, line }));
  const data = role === "valid" ? "Validation" : "Training";
  const spec = { title: `${data} ${title}`, unit, xName: "epoch", higher, wide: unit === "" };
  return lineContent({ ...spec, series, range, legend });
}

/** Final tests: a dot a seed, the mean as a bar, a line of one standard deviation. */
function testsContent(run) {
  const { title, unit } = run.measure;
  const lines = networkLines(run.networks);
  const rows = run.networks
    .map((network) => ({
      name: network.label,
      line: lines.get(kindOf(network.label)),
      values: testsOf(network, run.measure),
      seeds: network.seeds,
    }))
    .filter(({ values }) => values.some(isNumber));
  return spreadContent({
    title: `Test ${title}`,
    unit,
    rows,
    legend: [...lines].map(([name, line]) => ({ name, line, bare: true })),
  });
}

/** The content of a dot plot { title, unit, rows: [{ name, line, values, seeds }] }; null of none. */
function spreadContent({ title, note, unit, rows, legend }) {
  if (!rows.length) return null;
  const found = rows.map((row) => ({ ...row, found: statistics(row.values) }));
  const told = (row) =>
    `${row.name} ${meanAndSpread(row.found, unit)} (${counted(row.found.count, "seed")})`;
  return {
    title,
    note: note ?? "A dot a seed; the bar is their mean, the line one standard deviation to each side.",
    label: `Dot plot, ${title}: ${someOf(found.map(told))}.`,
    legend,
    numbers: () => ({
      title,
      header: ["name", "seed", withUnit("test", unit && `(${unit})`)],
      rows: found.flatMap(({ name, values, seeds }) =>
        values.map((value, i) => [name, seeds[i].seed ?? "–", amount(value)]),
      ),
    }),
    draw: (width) => drawSpread(found, title, width),
  };
}

const counted = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;

function drawSpread(rows, title, width) {
  const dots = rows.flatMap(({ name, line, values }) =>
    values.filter(isNumber).map((value) => ({ name, line, value })),
  );
  const several = rows.filter(({ found }) => found.deviation !== null);
  const spread = several.map(({ name, line, found }) => ({
    name, line, low: found.mean - found.deviation, high: found.mean + found.deviation,
  }));
  const longest = d3.max(rows, ({ name }) => name.length);
  const ends = spread.flatMap(({ low, high }) => [low, high]);
  const domain = extent([...dots.map(({ value }) => value), ...ends]);
  const color = { stroke: ({ line }) => line.color };
  const bar = { strokeWidth: 3, insetTop: 5, insetBottom: 5 };
  return plotted(width, {
    height: 64 + 28 * rows.length,
    marginLeft: Math.min(width * 0.4, 16 + 7 * longest),
    x: { domain, label: title, grid: true, ticks: Math.max(2, Math.floor(width / 110)) },
    y: { domain: rows.map(({ name }) => name), label: null, tickSize: 0, type: "band" },
    color: { type: "identity" },
    marks: [
      Plot.ruleY(spread, { y: "name", x1: "low", x2: "high", ...color, strokeWidth: 2 }),
      Plot.tickX(several, { y: "name", x: ({ found }) => found.mean, ...color, ...bar }),
      ...rows.map(({ name, line }) =>
        Plot.dot(
          dots.filter((dot) => dot.name === name),
          { x: "value", y: "name", r: 4, ...dotOptions(line), fillOpacity: 0.5, tip: true },
        ),
      ),
    ],
  });
}

function testWords(run) {
  const { unit, title } = run.measure;
  const own = run.networks.filter(({ label }) => kindOf(label) === "found");
  const random = run.networks.filter(({ label }) => kindOf(label) === "random cells");
  const found = statistics(own.flatMap((network) => testsOf(network, run.measure)));
  const means = random.map((network) => statistics(testsOf(network, run.measure))?.mean);
  const chance = statistics(means);
  if (!found) return "";
  const what = title.replace(/,.*/, "");
  const over = counted(found.count, "seed");
  const trained = run.kind === "train";
  const which = trained ? "network" : "found network";
  const mine = `The ${which}: test ${what} ${meanAndSpread(found, unit)} over ${over}.`;
  const alone = "No random cells were trained beside it, so this says little of the search.";
  if (!chance) return trained ? mine : `${mine} ${alone}`;
  return `${mine} Random cells: ${meanAndSpread(chance, unit)} over ${counted(chance.count, "cell")}.`;
}

function networksTable(run) {
  const { title, unit } = run.measure;
  const sizes = ["parameters", "multiply-adds", "seeds"];
  const header = ["network", ...sizes, `test ${title}`, "worst", "best", "time a seed, s"];
  const rows = run.networks.map((network) => {
    const found = statistics(testsOf(network, run.measure));
    const seconds = statistics(network.seeds.map((seed) => seed.seconds));
    const ends = found ? [found.low, found.high].map((value) => value.toFixed(2)) : ["–", "–"];
    return [
      network.label,
      brief(network.parameters),
      brief(network.multiply_adds),
      network.seeds.length,
      found ? meanAndSpread(found, unit) : "not tested",
      ...(run.measure.higher ? ends : ends.reverse()),
      amount(seconds?.mean),
    ];
  });
  const caption = "Networks trained from scratch; ± is the standard deviation over seeds";
  return { title: caption, header, rows };
}
