// What accuracy costs: parameters or multiply-adds against the test measure.

const LINE = "its line is one standard deviation to each side";
/** A short bar across, as a symbol. */
const DASH = {
  draw(context, size) {
    const half = Math.sqrt(size) / 1.5;
    context.moveTo(-half, 0);
    context.lineTo(half, 0);
  },
};
const COSTS = { parameters: "parameters", multiply_adds: "multiply-adds" };

function costsSection() {
  const figures = Object.keys(COSTS).map((cost) => chartFigure(`cost-${cost}`));
  const grid = element("div", { class: "charts" }, ...figures.map(({ node }) => node));
  const node = section("costs", "Cost against quality", grid);
  const changed = changes();

  function update(found) {
    const run = store.run();
    if (!changed(found, run)) return;
    const cloud = runCloud(run);
    Object.keys(COSTS).forEach((cost, i) => figures[i].show(cloud && cloudContent(cloud, cost)));
    node.hidden = figures.every((figure) => figure.node.hidden);
  }
  return { node, update };
}

/** The networks of a run: { title, unit, higher, groups: Map(name -> line), points }. */
function runCloud(run) {
  if (!run?.networks?.length) return null;
  const { title, unit, higher } = run.measure;
  const points = run.networks.map((network) => ({
    group: kindOf(network.label),
    name: network.label,
    parameters: network.parameters,
    multiply_adds: network.multiply_adds,
    values: testsOf(network, run.measure).filter(isNumber),
  }));
  const groups = networkLines(run.networks);
  return { title: `Test ${title}`, unit, higher, groups, points };
}

/** A cloud for each data set of a comparison; a point is one search, of one seed. */
function comparisonClouds(comparison) {
  const lines = methodLines(comparison);
  return d3.groups(comparison.points, ({ data }) => data).map(([data, found]) => {
    const { factor, unit, higher, title } = measureOf(comparison, data);
    const points = found.map((point) => ({
      ...point,
      group: point.method,
      name: `${point.method}, seed ${point.seed}`,
      values: isNumber(point.test) ? [point.test * factor] : [],
    }));
    return { data, title: `${data}: test ${title}`, unit, higher, groups: lines, points };
  });
}

function cloudContent({ title, unit, groups, points }, cost) {
  const shown = points
    .filter((point) => isNumber(point[cost]) && point.values.length)
    .map((point) => {
      const found = statistics(point.values);
      return { ...point, line: groups.get(point.group), cost: point[cost], found };
    });
  if (!shown.length) return null;
  const several = shown.some(({ found }) => found.deviation !== null);
  const told = ({ name, cost: at, found }) => `${name} ${meanAndSpread(found, unit)} with ${brief(at)}`;
  const used = new Set(shown.map(({ group }) => group));
  const means = several ? [] : groupMeans(shown);
  const bars = means.length ? ` A bar is the mean of a method's seeds; ${LINE}.` : "";
  const kinds = [...groups].filter(([name]) => used.has(name));
  return {
    title: `${title} over ${COSTS[cost]}`,
    note: several
      ? `A point is the mean of a network's seeds; ${LINE}.`
      : `A point is one network.${bars}`,
    label: `Scatter plot, ${title} by ${COSTS[cost]}: ${someOf(shown.map(told))}.`,
    legend: kinds.map(([name, line]) => ({ name, line, bare: true })),
    numbers: () => ({
      title,
      header: ["network", COSTS[cost], withUnit("mean", unit && `(${unit})`), "deviation", "seeds"],
      rows: shown.map(({ name, cost: at, found: { mean, deviation, count } }) =>
        [name, amount(at), amount(mean), amount(deviation), count],
      ),
    }),
    draw: (width) => drawCloud({ shown, means, groups, label: COSTS[cost], unit }, width),
  };
}

/** Of groups of several networks the mean cost and the statistics of their values. */
function groupMeans(points) {
  return d3
    .groups(points, ({ group }) => group)
    .filter(([, found]) => found.length > 1)
    .map(([, found]) => ({
      line: found[0].line,
      cost: d3.mean(found, ({ cost }) => cost),
      found: statistics(found.flatMap(({ values }) => values)),
    }));
}

function drawCloud({ shown: points, means, groups, label, unit }, width) {
  const spread = [...points, ...means].filter(({ found }) => found.deviation !== null);
  const low = ({ found }) => found.mean - found.deviation;
  const high = ({ found }) => found.mean + found.deviation;
  const costs = points.map(({ cost }) => cost);
  const log = logarithmic(costs);
  const values = [...points.map(({ found }) => found.mean), ...spread.map(low), ...spread.map(high)];
  const title = ({ name, cost, found }) =>
    `${name}\n${meanAndSpread(found, unit)}\n${brief(cost)} ${label}`;
  const color = { stroke: ({ line }) => line.color };
  const place = { x: "cost", y: ({ found }) => found.mean };
  return plotted(width, {
    height: 300,
    marginLeft: 48,
    x: {
      domain: extent(costs, log),
      type: log ? "log" : "linear",
      label,
      tickFormat: "~s",
      ticks: Math.max(2, Math.floor(width / 110)),
    },
    y: { domain: extent(values), label: null, grid: true, ticks: 5 },
    marks: [
      Plot.ruleX(spread, { x: "cost", y1: low, y2: high, ...color, strokeWidth: 1.5 }),
      Plot.dot(means, { ...place, r: 6, symbol: DASH, ...color, strokeWidth: 3 }),
      ...[...groups].map(([name, line]) =>
        Plot.dot(
          points.filter(({ group }) => group === name),
          { ...place, r: 5, ...dotOptions(line), fillOpacity: 0.7 },
        ),
      ),
      Plot.tip(points, Plot.pointer({ ...place, title, fontSize: 12 })),
    ],
    color: { type: "identity" },
  });
}
