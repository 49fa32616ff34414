// Heat maps of alpha and of the mixing weights: at the slider's epoch, and of an edge over time.

const WEIGHT_KINDS = [
  ["strength", "mixing weights"],
  ["alpha", "alpha"],
];
const SCALE_TEXTS = {
  strength: "from 0 to the largest mixing weight of the whole run: what hardly differs looks alike",
  alpha: "on one scale for the whole run, never narrower than 0.2: what hardly differs looks alike",
};
const NARROWEST = 0.2; // of a scale of alpha: a softmax of less is near a tie

/** The heat maps of a run; hidden where it kept no weights. */
function weightsSection() {
  const controls = weightControls();
  const maps = element("div", { class: "maps" });
  const course = element("div", { class: "course" });
  const intro = element("p", { class: "lead" });
  const over = element("h3", {}, "Over time");
  const node = section("weights", "The weights", intro, controls.kinds, maps, over, controls.edge, course);
  const [showMaps, showCourse] = [mapsIn(maps), courseIn(course)];

  const update = (_, view) => {
    const run = store.run();
    const sheets = run ? weightSheets(run, view.weights.kind) : [];
    node.hidden = !run?.replay || run.groups.every((group) => !anyWeights(run, group));
    if (node.hidden) return;
    controls.update(run, view);
    intro.textContent = weightScaleText(view.weights.kind);
    const index = moment(run, view);
    showMaps(sheets, index, view.weights.kind, shownArchitecture(run, view)?.cells ?? []);
    showCourse(run, edgeOf(run, view), index, view.weights.kind);
  };
  return { node, update };
}

function weightScaleText(kind) {
  const scale = `Bright is much, dark is little, ${SCALE_TEXTS[kind]}.`;
  return `${scale} A dot marks what the cell of this epoch has.`;
}

function anyWeights(run, group) {
  return WEIGHT_KINDS.some(([kind]) => weightsOf(run, group, kind) !== null);
}

/** Which weights are shown, and of which edge over time. */
function weightControls() {
  const choose = (changes) => store.set({ weights: { ...store.view.weights, ...changes } });
  const radios = WEIGHT_KINDS.map(([kind]) =>
    element("input", { type: "radio", name: "weights-kind", value: kind, onchange: () => choose({ kind }) }),
  );
  const labels = WEIGHT_KINDS.map(([, text], i) => element("label", {}, radios[i], text));
  const kinds = element("fieldset", { class: "segmented" }, element("legend", {}, "Show"), ...labels);
  const select = element("select", { id: "weights-edge" });
  select.addEventListener("change", () =>
    choose({ edge: { ...store.view.weights.edge, [store.run().id]: select.value } }),
  );
  const edge = element("label", { class: "field" }, "Edge ", select);
  const update = (run, view) => {
    radios.forEach((radio) => (radio.checked = radio.value === view.weights.kind));
    const names = edgeChoices(run).map(({ value, text }) => [value, text]);
    const key = JSON.stringify([run.id, names]);
    if (select.dataset.key !== key) {
      select.dataset.key = key;
      select.replaceChildren(...names.map(([value, text]) => element("option", { value }, text)));
    }
    select.value = edgeOf(run, view).value;
  };
  return { kinds, edge, update };
}

/** The edges of a run: {value, text, group, edge}. */
const edgeChoices = remembered((run) =>
  run.groups.flatMap((group, g) => edgeLabels(group).map((text, edge) => ({
    value: `${g}/${edge}`,
    text: group.edges.length > 1 ? `${group.name}: ${text}` : group.name,
    group,
    edge,
  }))),
);

/** The edge over time that is chosen, or the first. */
function edgeOf(run, view) {
  const all = edgeChoices(run);
  return all.find(({ value }) => value === view.weights.edge[run.id]) ?? all[0];
}

function edgeLabels(group) {
  const count = Math.max(...group.edges.flat()) + 1 - group.inputs;
  const names = nodeNames({ ...group, count, recurrent: group.recurrent ?? group.name === "recurrent" });
  return group.edges.map(([from, to]) => `${names[from][0]} → ${names[to][0]}`);
}

/** One sheet for a cell, and one for all single choices of a kind: {title, rows, candidates, low, high}. */
const weightSheets = (run, kind) => sheetsByKind(run)[kind];
const sheetsByKind = remembered((run) =>
  Object.fromEntries(WEIGHT_KINDS.map(([kind]) => [kind, sheetsOf(run, kind)])),
);

function sheetsOf(run, kind) {
  const row = (group, label, edge) => ({
    label,
    edge,
    group,
    names: group.candidates[edge],
    weights: weightsOf(run, group, kind),
  });
  const cells = run.groups
    .filter((group) => group.edges.length > 1)
    .map((group) => ({
      title: cellTitle(group),
      rows: edgeLabels(group).map((label, edge) => row(group, label, edge)),
    }));
  const singles = run.groups.filter((group) => group.edges.length === 1);
  const alike = d3.group(singles, ({ candidates }) => candidates[0][0]); // of one kind of choice
  const chains = [...alike.values()].map((groups) => ({
    title: groups.length > 1 ? `${groups[0].name} to ${groups.at(-1).name}` : groups[0].name,
    rows: groups.map((group) => row(group, group.name, 0)),
  }));
  return [...cells, ...chains]
    .filter((sheet) => sheet.rows.some(({ weights }) => weights))
    .map((sheet) => ({
      ...sheet,
      candidates: [...new Set(sheet.rows.flatMap(({ names }) => names))],
      ...weightRange(run, kind),
    }));
}

/** The ends of a run's color scale { low, high }: noise shall not look like a decision. */
function weightRange(run, kind) {
  const known = run.groups.map((group) => weightsOf(run, group, kind)).filter(Boolean);
  const [low, high] = [d3.min(known, (one) => one.low), d3.max(known, (one) => one.high)];
  if (kind === "strength") return { low: Math.min(0, low), high };
  const room = Math.max(0, NARROWEST - (high - low)) / 2;
  return { low: low - room, high: high + room };
}

/** The value of a sheet's row at a step, null where the row has no such candidate. */
function valueAt({ weights, names, edge }, index, candidate) {
  const k = names.indexOf(candidate);
  return k < 0 || !weights ? null : weights.at(index, edge, k);
}

/** The operations of a sheet's row in the cells of an epoch. */
function chosenIn({ group, edge }, cells) {
  const cell = cells.find((one) => one.name === group.name);
  return (cell && operationsByPair(cell).get(group.edges[edge].join())) ?? [];
}

/** The maps at one epoch: drawn by Plot once, then only recolored. */
function mapsIn(place) {
  let key = null;
  let figures = [];
  const placeWidth = widthOf(place);
  return (sheets, index, kind, cells) => {
    const columns = sheets.length > 1 && placeWidth() > 960 ? 2 : 1;
    const width = placeWidth() / columns - 42;
    const shapes = sheets.map((one) => [one.title, one.candidates, one.rows.map(({ label }) => label)]);
    const wanted = JSON.stringify([kind, width, shapes]);
    if (key !== wanted) {
      figures = sheets.map((sheet) => mapFigure(sheet, kind, width));
      place.replaceChildren(...figures.map((one) => one.node));
      key = wanted;
    }
    sheets.forEach((sheet, i) => figures[i].update(sheet, index, cells));
  };
}

/** One map, edges down and candidates across. */
function mapFigure({ title, rows, candidates }, kind, width) {
  const data = rows.flatMap((_, i) => candidates.map((candidate, j) => ({ i, j, candidate })));
  const labels = rows.map(({ label }) => label);
  const chart = mapPlot(data, labels, candidates, width);
  const rects = [...chart.querySelectorAll("rect")];
  const dots = rects.map((rect) => drawn("circle", { class: "picked", r: 4, ...centerOf(rect) }));
  chart.append(...dots);
  rects.forEach((rect, at) => rect.addEventListener("click", () => chooseEdge(rows[data[at].i])));
  const caption = element("figcaption", {}, title);
  const scale = element("div", { class: "scale" });
  let last = null;
  const table = unfolding("The values as a table", title, () => mapTable(...last));
  const box = scrolling(`heat map of the ${title}`, chart);
  const node = element("figure", { class: "map" }, caption, scale, box, table.node);
  const name = WEIGHT_KINDS.find(([one]) => one === kind)[1];
  const update = (sheet, index, cells) => {
    const color = weightColor(sheet);
    const chosen = sheet.rows.map((row) => chosenIn(row, cells));
    const values = sheet.rows.map((row) => candidates.map((name) => valueAt(row, index, name)));
    data.forEach(({ i, j, candidate }, at) => {
      const value = values[i][j];
      rects[at].setAttribute("fill", value === null ? "var(--absent)" : color(value));
      dots[at].style.display = chosen[i].includes(candidate) ? "" : "none";
      rects[at].firstChild.textContent = `${labels[i]}, ${candidate}: ${readable(value)}`;
    });
    chart.setAttribute("aria-label", `${name} of the ${title}: ${strongestInWords(sheet, values)}`);
    scale.replaceChildren(...scaleParts(sheet));
    last = [sheet, index];
    table.update();
  };
  return { node, update: whenNear(node, update) };
}

function centerOf(rect) {
  const [x, y, width, height] = ["x", "y", "width", "height"].map((key) => Number(rect.getAttribute(key)));
  return { cx: x + width / 2, cy: y + height / 2 };
}

/** A click on a row shows that edge over time, as its list does for the keyboard. */
function chooseEdge({ group, edge }) {
  const run = store.run();
  const choice = edgeChoices(run).find((one) => one.group.name === group.name && one.edge === edge);
  const { weights } = store.view;
  store.set({ weights: { ...weights, edge: { ...weights.edge, [run.id]: choice.value } } });
}

function mapPlot(data, labels, candidates, width) {
  const left = 16 + 7.4 * Math.max(...labels.map((text) => text.length));
  const top = 14 + 4.6 * Math.max(...candidates.map((text) => text.length));
  const step = Math.min(110, Math.max(24, (width - left - 50) / candidates.length));
  const chart = Plot.plot({
    width: left + 50 + candidates.length * step,
    height: top + 21 * labels.length,
    marginLeft: left,
    marginTop: top,
    marginRight: 50,
    marginBottom: 0,
    padding: 0.08,
    x: { domain: candidates, axis: "top", tickRotate: -35, tickSize: 0, label: null },
    y: { domain: d3.range(labels.length), tickFormat: (i) => labels[i], tickSize: 0, label: null },
    marks: [Plot.cell(data, { x: "candidate", y: "i", fill: "gray", title: () => " " })],
  });
  return asPicture(chart);
}

/** Cividis: one lightness after another, so it is read in grey and by the color-blind. */
function weightColor({ low, high }) {
  const whole = high - low;
  return (value) => d3.interpolateCividis(whole > 0 ? (value - low) / whole : 0.5);
}

function scaleParts({ low, high }) {
  const stops = d3.range(0, 1.01, 0.125).map((part) => d3.interpolateCividis(part));
  const bar = element("i", { style: `background: linear-gradient(to right, ${stops.join(", ")})` });
  return [element("span", {}, readable(low)), bar, element("span", {}, readable(high))];
}

function strongestInWords({ rows, candidates }, values) {
  const words = rows.map(({ label }, i) => {
    const best = d3.greatestIndex(values[i], (value) => value ?? -Infinity);
    return `${label} most ${candidates[best]} (${readable(values[i][best])})`;
  });
  return words.join("; ");
}

function mapTable({ title, rows, candidates }, index) {
  const told = (row) => candidates.map((name) => readable(valueAt(row, index, name)));
  const body = rows.map((row) => [row.label, ...told(row)]);
  return scrolling(`weights of the ${title}`, textTable(["edge", ...candidates], body));
}
