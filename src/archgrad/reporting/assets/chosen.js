// The chosen runs side by side: their cells, their curves in one chart, how far apart they are.

function chosenPart() {
  const cells = element("div", { class: "beside" });
  const zoom = zoomControl("chosen", "runs side by side");
  const grid = element("div", { class: "charts" });
  const title = element("h3", {}, "Side by side");
  const node = element("div", { class: "chosen" }, title, cells, zoom.node, grid);
  const figures = new Map();
  const distances = chartFigure("distances");
  const changed = changes();

  function figure(name) {
    return kept(figures, name, () => {
      const made = chartFigure(name);
      dragZoom(made, { zoomed: (range) => setZoom("chosen", range) });
      return made;
    });
  }
  function update(found, names, chosen) {
    const { view } = store;
    if (!changed(found, view.zoom.chosen, chosen.map(({ id }) => id).join(" "))) return;
    node.hidden = !chosen.length;
    cells.replaceChildren(...chosen.map((run) => cellsOf(run, names.get(run.id))));
    const contents = overlays(chosen, names, zoomOf(view, "chosen"));
    const shown = contents.map(([name, content]) => [figure(name), content]);
    const far = distancesContent(found, names, chosen);
    if (far) shown.push([distances, far]);
    grid.replaceChildren(...shown.map(([one]) => one.node));
    for (const [one, content] of shown) one.show(content);
    const xs = chosen.flatMap((run) => run.epochs?.columns.epoch ?? []);
    zoom.update("chosen", xs, "epoch", view);
  }
  return { node, update };
}

function cellsOf(run, name) {
  const found = run.found ?? ownNetwork(run)?.architecture ?? run.replay?.architectures.at(-1) ?? null;
  const told = [run.method, run.data, run.seed === null ? null : `seed ${run.seed}`].filter(Boolean);
  const drawing = found
    ? architectureFigure(found, name)
    : element("p", { class: "chart-note" }, "This run has no cells yet.");
  const words = element("p", { class: "chart-note" }, told.join(", "));
  return element("div", { "data-run": run.id }, element("h4", {}, name), words, drawing);
}

/** [name, content] of one chart a measure, a curve a run; runs are told apart by their place. */
function overlays(chosen, names, range) {
  const measures = new Map(chosen.map(({ measure }) => [measure.name, measure]));
  const kinds = [...measures.values()].flatMap(({ name, title, unit, factor, higher }) => [
    [`valid_${name}`, `Validation ${title}`, { unit, factor, higher }],
    [`train_${name}`, `Training ${title}`, { unit, factor, higher }],
  ]);
  kinds.push(["valid_loss", "Validation loss", { higher: false }]);
  kinds.push(["train_loss", "Training loss", { higher: false }]);
  const curve = (run, i, key, factor = 1) => {
    const columns = run.epochs?.columns ?? {};
    return seriesOf(names.get(run.id), lineOf(i), columns.epoch ?? [], columns[key], factor);
  };
  const epochs = kinds.map(([key, title, { factor, ...rest }]) => {
    const series = chosen.map((run, i) => curve(run, i, key, factor));
    const spec = { title, xName: "epoch", range, series, wide: !rest.unit, ...rest };
    return [`chosen-${key}`, lineContent({ ...spec, legend: series.filter((one) => one.known) })];
  });
  return [...epochs, ["chosen-best", scoresContent(chosen, names)]].filter(([, content]) => content);
}

/** The best score so far of the chosen searches that score whole architectures. */
function scoresContent(chosen, names) {
  const scored = chosen
    .map((run, i) => [run, i])
    .filter(([{ evaluations, measure }]) => evaluations?.columns[measure.name]);
  if (!scored.length) return null;
  const { unit, title, name: shown } = scored[0][0].measure;
  const series = scored
    .filter(([run]) => run.measure.name === shown)
    .map(([{ id, evaluations, measure }, i]) => {
      const { columns, leaders } = evaluations;
      const best = leaders.map((leader) => columns[measure.name][leader] ?? null);
      const numbers = columns.evaluation ?? [];
      const one = seriesOf(names.get(id), lineOf(i), numbers, best, measure.factor);
      return { ...one, steps: true };
    });
  const spec = { title: `Best ${title} so far`, unit, xName: "evaluation", series };
  return lineContent({ ...spec, legend: series });
}

/** A heat map with numbers: the share of edges in which the cells of two runs differ. */
function distancesContent(found, names, chosen) {
  const { ids, values } = found.distances ?? { ids: [] };
  const shown = ids.filter((id) => chosen.some((run) => run.id === id));
  if (shown.length < 2) return null;
  const at = (a, b) => values[ids.indexOf(a)]?.[ids.indexOf(b)] ?? null;
  const pairs = shown.flatMap((a) => shown.map((b) => ({ a, b, value: at(a, b) })));
  const percent = (value) => (value === null ? "–" : `${Math.round(100 * value)} %`);
  const apart = pairs.filter(({ a, b, value }) => ids.indexOf(a) < ids.indexOf(b) && value !== null);
  const told = apart.map(({ a, b, value }) => `${names.get(a)} and ${names.get(b)} ${percent(value)}`);
  const words = someOf(told) || "no two can be compared";
  return {
    title: "Distances between the cells",
    note:
      "The share of edges that differ, in operation or in source: 0 % are equal cells, 100 % have " +
      "no edge in common. A dash: cells of different spaces cannot be compared.",
    label: `Heat map of the share of edges that differ between cells: ${words}.`,
    numbers: () => ({
      title: "Share of edges that differ",
      header: ["", ...shown.map((id) => names.get(id))],
      rows: shown.map((a) => [names.get(a), ...shown.map((b) => percent(at(a, b)))]),
    }),
    draw: (width) => drawDistances(pairs, shown, names, percent, width),
  };
}

function drawDistances(pairs, ids, names, percent, width) {
  const longest = d3.max(ids, (id) => names.get(id).length);
  const left = Math.min(width * 0.45, 40 + 7 * longest);
  const size = Math.min(56, (width - left - 16) / ids.length);
  const short = (id) => String(ids.indexOf(id) + 1);
  const place = { x: "a", y: "b" };
  const shade = ({ value }) => 0.5 * (value ?? 0);
  const text = ({ value }) => (size < 34 ? percent(value).replace(" %", "") : percent(value));
  return plotted(Math.min(width, left + 16 + size * ids.length), {
    height: 28 + Math.min(40, size) * ids.length,
    marginLeft: left,
    marginBottom: 4,
    x: { domain: ids, axis: "top", label: null, tickSize: 0, tickFormat: short },
    y: { domain: ids, label: null, tickSize: 0, tickFormat: (id) => `${names.get(id)}  ${short(id)}` },
    marks: [
      Plot.cell(pairs, { ...place, fill: "var(--c1)", fillOpacity: shade, stroke: "var(--chart-rim)" }),
      Plot.text(pairs, { ...place, text }),
    ],
    opacity: { type: "identity" },
  });
}
