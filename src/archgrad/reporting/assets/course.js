// The weights of one edge over the whole run, as a heat map with the slider's epoch in it.

/** Draws into a place when edge, data or width change; the slider only moves a line. */
function courseIn(place) {
  let drawnFor = [];
  let line = () => {};
  const placeWidth = widthOf(place);
  return (run, choice, index, kind) => {
    const width = Math.max(320, placeWidth());
    const weights = weightsOf(run, choice.group, kind);
    const wanted = [weights, choice.value, width];
    if (wanted.some((one, i) => one !== drawnFor[i])) {
      drawnFor = wanted;
      const open = place.querySelector("details")?.open ?? false;
      const made = courseFigure(run, choice, weights, kind, width, open);
      place.replaceChildren(made.node);
      line = made.line;
    }
    line(timeline(run).epochs[index]);
  };
}

function courseFigure(run, { group, edge, text }, weights, kind, width, open) {
  if (!weights) {
    return { node: element("p", {}, "This run kept no such weights of this edge."), line: () => {} };
  }
  const { epochs } = timeline(run);
  const names = group.candidates[edge];
  const data = epochs.flatMap((epoch, i) =>
    names.map((name, k) => ({ epoch, name, value: weights.at(i, edge, k) })).filter((d) => d.value !== null),
  );
  const chart = coursePlot(data, names, weightColor(weightRange(run, kind)), width);
  const words = courseInWords(data, epochs);
  chart.setAttribute("aria-label", `weights of ${text} over ${epochs.length} epochs: ${words}`);
  const [from, to] = [chart.scale("x"), chart.scale("y")];
  const rule = drawn("line", { class: "now", y1: Math.min(...to.range), y2: Math.max(...to.range) });
  chart.append(rule);
  chart.addEventListener("click", (event) => {
    const [x] = d3.pointer(event, chart);
    store.move(store.run(), Math.round(from.invert(x)));
  });
  const makeTable = () => courseTable(data, epochs, names);
  const attributes = { open, class: "long" };
  const table = unfolding("The values as a table", `${text} over time`, makeTable, attributes);
  table.update();
  const box = scrolling(`weights of ${text} over time`, chart);
  const line = (epoch) => {
    for (const end of ["x1", "x2"]) rule.setAttribute(end, from.apply(epoch));
  };
  return { node: element("figure", { class: "map over-time" }, box, table.node), line };
}

function coursePlot(data, names, color, width) {
  const chart = Plot.plot({
    width,
    height: 44 + 24 * names.length,
    marginLeft: 14 + 7.4 * Math.max(...names.map((text) => text.length)),
    marginTop: 6,
    x: { label: "epoch", tickFormat: (epoch) => (Number.isInteger(epoch) ? String(epoch) : "") },
    y: { domain: names, label: null, tickSize: 0, padding: 0.06 },
    marks: [
      Plot.barX(data, {
        x1: (d) => d.epoch - 0.5,
        x2: (d) => d.epoch + 0.5,
        y: "name",
        fill: (d) => color(d.value),
        title: (d) => `epoch ${d.epoch}, ${d.name}: ${readable(d.value)}`,
        inset: 0,
        shapeRendering: "crispEdges",
      }),
    ],
  });
  return asPicture(chart);
}

function courseInWords(data, epochs) {
  const strongest = (epoch) => d3.greatest(data.filter((d) => d.epoch === epoch), (d) => d.value);
  const [first, last] = [strongest(epochs[0]), strongest(epochs.at(-1))];
  const words = (one, when) =>
    one ? `strongest in the ${when} is ${one.name} with ${readable(one.value)}` : "";
  return [words(first, "first"), words(last, "last")].filter(Boolean).join(", ");
}

function courseTable(data, epochs, names) {
  const values = new Map(data.map((d) => [`${d.epoch}/${d.name}`, d.value]));
  const told = (epoch) => names.map((name) => readable(values.get(`${epoch}/${name}`)));
  const rows = epochs.map((epoch) => [epoch, ...told(epoch)]);
  return scrolling("weights by epoch", textTable(["epoch", ...names], rows));
}
