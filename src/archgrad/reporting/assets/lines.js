// Curves over epochs, evaluations or what was spent: what they show, drawn and in words.

/**
 * Points { x, y } of a column times a factor, null where it has no value. What is measured at few
 * epochs, less than half or no two in a row, is joined over those between: a gap would not mean a
 * failure there.
 */
function seriesOf(name, line, xs, ys, factor = 1) {
  const all = (xs ?? []).map((x, i) => ({ x, y: isNumber(ys?.[i]) ? ys[i] * factor : null }));
  const points = all.filter((point) => isNumber(point.x));
  const known = points.filter((point) => point.y !== null);
  const row = points.some(({ y }, i) => i > 0 && y !== null && points[i - 1].y !== null);
  const sparse = known.length < points.length / 2 || !row;
  return { name, line, points: sparse ? known : points, sparse, known: known.length };
}

/** The part of the series between two places of the x axis. */
function within(series, range) {
  if (!range) return series;
  const [first, last] = range;
  return series
    .map((one) => ({ ...one, points: one.points.filter(({ x }) => x >= first && x <= last) }))
    .filter((one) => one.points.some(({ y }) => y !== null));
}

/**
 * The content of a chart of curves; null where there is nothing to draw.
 *
 * spec: title, note, unit, xName, higher (whether more is better; undefined where neither is),
 * series, range and whole ([first, last] of x to be shown and of all, or undefined), marks, levels
 * [{ y, name }], legend (in place of one entry a series), wide (logarithmic where the values ask for
 * it), least and most (the ends of the y axis).
 */
function lineContent(spec) {
  const series = within(spec.series.filter((one) => one.known), spec.range);
  if (!series.length) return null;
  const values = series.flatMap((one) => one.points.flatMap(({ y, low, high }) => [y, low, high]));
  const log = Boolean(spec.wide) && logarithmic(values);
  return {
    title: spec.title + (log ? " (logarithmic)" : ""),
    note: spec.note,
    label: wordsOfLines(spec, series),
    legend: spec.legend ?? legendOf(series, spec.series.length),
    numbers: () => numbersOfLines(spec, series),
    draw: (width) => drawLines({ ...spec, series, values, log }, width),
  };
}

const LOG = { type: "log", tickFormat: (value) => d3.format(value < 1000 ? "~g" : "~s")(value) };

const legendOf = (series, all) =>
  all > 1 ? series.map((one) => ({ ...one, bare: one.loose })) : [];

function drawLines(spec, width) {
  const { series, values, log, range, whole, marks = [], levels = [], xName, unit, xFormat } = spec;
  const shownLevels = levels.filter(({ y }) => isNumber(y));
  const xs = series.flatMap((one) => one.points.map(({ x }) => x));
  const xDomain = widened(range ?? whole ?? d3.extent(xs));
  const yDomain = yEnds(spec, shownLevels);
  const xTicks = xFormat ? { tickFormat: xFormat, ticks: 5 } : wholeTicks(xDomain, width);
  const few = d3.max(series, (one) => one.points.length) <= 16;
  return plotted(width, {
    marginTop: marks.length ? 24 : 10,
    marginLeft: 48,
    x: { domain: xDomain, label: xName, ...xTicks },
    y: { domain: yDomain, label: null, ticks: 5, grid: true, ...(log ? LOG : {}) },
    marks: [
      Plot.ruleX([xDomain[0]], { stroke: "currentColor", strokeOpacity: 0.4 }),
      ...markRules(marks, xDomain, width),
      ...series.flatMap((one) => lineMarks(one, few)),
      ...shownLevels.flatMap((level) => levelRule(level, xDomain)),
      tipsOf(series, xName, unit),
    ],
  });
}

/** The ends of the y axis: around all that is drawn, and no further than what can be. */
function yEnds({ values, log, least, most }, levels) {
  const [low, high] = extent([...values, ...levels.map(({ y }) => y)], log);
  return [least ?? low, most ?? high];
}

const widened = ([low, high]) => (low === high ? [low - 1, high + 1] : [low, high]);

/** Epochs are whole numbers: no ticks between them. */
function wholeTicks([low, high], width) {
  const count = Math.max(2, Math.min(high - low, Math.floor(width / 70)));
  return { ticks: d3.ticks(low, high, count).filter(Number.isInteger), tickFormat: "d" };
}

/** Of a series: its band, its line (none where it is loose), and its markers (none where thin). */
function lineMarks({ points, line, sparse, thin, loose, steps }, few) {
  const band = points.some(({ low, high }) => isNumber(low) && isNumber(high));
  const alone = (i) => (points[i - 1]?.y ?? null) === null && (points[i + 1]?.y ?? null) === null;
  const every = loose || (!thin && (few || sparse));
  const marked = points.filter(({ y }, i) => y !== null && (every || alone(i)));
  const curve = steps ? "step-after" : "linear";
  const path = { stroke: line.color, strokeDasharray: line.dash, curve };
  const weight = thin ? { strokeWidth: 1.25, strokeOpacity: 0.75 } : { strokeWidth: 2 };
  return [
    band && Plot.areaY(points, { x: "x", y1: "low", y2: "high", fill: line.color, fillOpacity: 0.15 }),
    !loose && Plot.line(points, { x: "x", y: "y", ...path, ...weight }),
    Plot.dot(marked, { x: "x", y: "y", r: loose ? 2.5 : 3, ...dotOptions(line) }),
  ].filter(Boolean);
}

function levelRule({ y, name }, xDomain) {
  const text = { x: "x", y: "y", text: () => name, textAnchor: "start", dx: 4, dy: -7 };
  const halo = { stroke: "var(--chart-ground)", strokeWidth: 4 };
  return [
    Plot.ruleY([y], { stroke: "currentColor", strokeOpacity: 0.5, strokeDasharray: "1 4" }),
    Plot.text([{ x: xDomain[0], y }], { ...text, fill: "var(--chart-quiet)", ...halo }),
  ];
}

/** What the pointer is told: all curves at its x, or of many curves the nearest one. */
function tipsOf(series, xName, unit) {
  const told = (y) => withUnit(amount(y), unit);
  const options = { x: "x", y: "y", title: "text", fontSize: 12, lineHeight: 1.3, lineWidth: 30 };
  const points = series
    .flatMap((one) => one.points.map(({ x, y }) => ({ x, y, name: one.name })))
    .filter(({ y }) => y !== null);
  if (series.length > 6) {
    const text = ({ name, x, y }) => `${name}\n${xName} ${amount(x)}: ${told(y)}`;
    const single = points.map((point) => ({ ...point, text: text(point) }));
    return Plot.tip(single, Plot.pointer(options));
  }
  const joint = d3.groups(points, ({ x }) => x).map(([x, found]) => ({
    x,
    y: d3.max(found, ({ y }) => y),
    text: [`${xName} ${amount(x)}`, ...found.map(({ name, y }) => `${name}: ${told(y)}`)].join("\n"),
  }));
  return Plot.tip(joint, Plot.pointerX(options));
}

/** The picture in words: where each curve begins and ends, and its best value. */
function wordsOfLines({ title, unit, xName, xFormat, higher, marks = [], range }, series) {
  const told = (y) => withUnit(amount(y), unit);
  const place = xFormat ? brief : amount;
  const one = ({ name, points }) => {
    const known = points.filter(({ y }) => y !== null);
    const [first, last] = [known[0], known.at(-1)];
    const start = `${told(first.y)} at ${xName} ${place(first.x)}`;
    if (known.length === 1) return `${name} ${start}`;
    const ends = `${name} from ${start} to ${told(last.y)} at ${place(last.x)}`;
    if (higher === undefined) return ends;
    const best = d3.least(known, ({ y }) => (higher ? -y : y));
    return `${ends}, best ${told(best.y)} at ${place(best.x)}`;
  };
  const shown = marks.filter(({ epoch }) => !range || (epoch >= range[0] && epoch <= range[1]));
  const named = shown.map(({ kind, number, epoch }) => `${kind} ${number} at epoch ${epoch}`);
  const marked = named.length ? `. Marked: ${someOf(named)}` : "";
  return `Line chart, ${title} by ${xName}: ${someOf(series.map(one), 8)}${marked}.`;
}

function numbersOfLines({ title, xName, unit }, series) {
  const header = [xName, ...series.map(({ name }) => withUnit(name, unit && `(${unit})`))];
  const tables = series.map(({ points }) => new Map(points.map(({ x, y }) => [x, y])));
  const xs = d3.sort(new Set(tables.flatMap((table) => [...table.keys()])));
  const rows = xs.map((x) => [amount(x), ...tables.map((table) => amount(table.get(x)))]);
  return { title, header, rows };
}
