// Several runs: a table to sort, filter and choose from; what is chosen stands side by side.

/** Columns { key, title, of(run, names): number or text or null, shown(value, run), number }. */
const RUN_COLUMNS = [
  { key: "name", title: "run", of: (run, names) => names.get(run.id) },
  { key: "space", title: "space", of: (run) => run.space },
  { key: "method", title: "method", of: (run) => run.method },
  { key: "data", title: "data", of: (run) => run.data },
  { key: "seed", title: "seed", of: (run) => run.seed, number: true },
  { key: "epochs", title: "epochs", of: epochsOf, shown: (value) => value, number: true },
  { key: "valid", title: "best validation", of: bestValid, shown: measured, number: true },
  { key: "test", title: "test, mean", of: testMean, shown: measured, number: true },
  { key: "parameters", title: "parameters", of: parametersOf, shown: brief, number: true },
  { key: "state", title: "state", of: (run) => stateOf(run, store.document.live, Date.now()).text },
];

/** The network that stands for a run: the found one, else one that was tested. */
function ownNetwork({ networks }) {
  const found = networks.find(({ label }) => kindOf(label) === "found");
  const tested = networks.find(({ seeds }) => seeds.some(({ test }) => isNumber(test)));
  return found ?? tested ?? networks[0];
}

function parametersOf(run) {
  return ownNetwork(run)?.parameters;
}

function measured(value, { measure }) {
  return withUnit((value * measure.factor).toFixed(2), measure.unit);
}

function epochsOf(run) {
  const done = run.epochs?.columns.epoch ?? run.evaluations?.columns.evaluation;
  return done?.length ? d3.max(done) : null;
}

function bestValid(run) {
  const columns = run.evaluations?.columns ?? run.epochs?.columns ?? {};
  const { name, higher } = run.measure;
  const values = (columns[`valid_${name}`] ?? columns[name] ?? []).filter(isNumber);
  return (higher ? d3.max(values) : d3.min(values)) ?? null;
}

function testMean(run) {
  return statistics((ownNetwork(run)?.seeds ?? []).map(({ test }) => test))?.mean ?? null;
}

/** A name for each run that no other has: as much of its path as that takes. */
const runNames = remembered((runs) => {
  const names = new Map();
  for (const run of runs) {
    const same = runs.filter(({ name }) => name === run.name);
    const parts = String(run.path ?? "").split(/[\\/]/).filter(Boolean);
    const others = same.filter((other) => other !== run).map((other) => String(other.path ?? ""));
    let count = 1;
    const ending = () => parts.slice(-count).join("/");
    const taken = () => others.some((path) => `/${path}`.endsWith(`/${ending()}`));
    while (count < parts.length && taken()) count += 1;
    names.set(run.id, same.length === 1 || !parts.length ? run.name : ending());
  }
  return names;
});

/** The runs that are chosen, in the order of the document. */
function chosenRuns(runs, view) {
  const wanted = view.shown ?? firstChoice(runs).map(({ id }) => id);
  return runs.filter(({ id }) => wanted.includes(id));
}

/** Before any choice two runs, of different methods where there are such. */
function firstChoice(runs) {
  const known = runs.filter(({ method }) => method !== null);
  const other = known.find(({ method }) => method !== known[0].method);
  return other ? [known[0], other] : runs.slice(0, 2);
}

function runsSection() {
  const button = (text, onclick) => element("button", { type: "button", onclick }, text);
  const filtered = () => store.set({ filter: filter.value });
  const filter = element("input", { type: "search", id: "runs-filter", oninput: filtered });
  const all = button("Choose all listed", () => store.set({ shown: visible.map(({ id }) => id) }));
  const none = button("Choose none", () => store.set({ shown: [] }));
  const count = element("span", { role: "status" });
  const label = element("label", {}, "Filter", filter);
  const controls = element("div", { class: "picks" }, label, all, none, count);
  const table = runsTable();
  const beside = chosenPart();
  const node = section("runs", "Runs", controls, table.node, beside.node);
  let visible = [];

  function update(found, view) {
    node.hidden = found.runs.length < 2;
    if (node.hidden) return;
    const names = runNames(found.runs);
    if (filter.value !== view.filter) filter.value = view.filter;
    visible = sortedRuns(found.runs.filter((run) => matches(run, names, view.filter)), names, view.sort);
    const chosen = chosenRuns(found.runs, view);
    const listed = `${visible.length} of ${found.runs.length} listed`;
    count.textContent = `${listed}, ${chosen.length} side by side`;
    table.update(visible, names, view, chosen);
    beside.update(found, names, chosen);
  }
  return { node, update };
}

/** Whether every word of the filter is somewhere in what the table says of the run. */
function matches(run, names, filter) {
  const text = RUN_COLUMNS.map((column) => column.of(run, names) ?? "").join(" ").toLowerCase();
  return filter.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

/**
 * By the column that is chosen; what has no value comes last in either direction, and runs that are
 * judged by different measures stand apart.
 */
function sortedRuns(runs, names, sort) {
  const column = RUN_COLUMNS.find(({ key }) => key === sort?.key);
  if (!column) return runs;
  const value = (run) => column.of(run, names) ?? null;
  const known = runs.filter((run) => value(run) !== null);
  const texts = new Intl.Collator("en", { numeric: true });
  const order = (a, b) => (column.number ? value(a) - value(b) : texts.compare(value(a), value(b)));
  const apart = (a, b) =>
    column.shown === measured ? texts.compare(a.measure.name, b.measure.name) : 0;
  const placed = d3.sort(known, (a, b) => apart(a, b) || (sort.down ? order(b, a) : order(a, b)));
  return [...placed, ...runs.filter((run) => value(run) === null)];
}

function runsTable() {
  const heads = new Map(RUN_COLUMNS.map((column) => [column.key, runsHead(column)]));
  const head = element("tr", {}, element("th", { scope: "col" }, "beside"), ...heads.values());
  const body = element("tbody");
  const caption = element("caption", {}, "All runs of this page; a column's name sorts by it");
  const table = element("table", { class: "numbers" }, caption, element("thead", {}, head), body);
  const rows = new Map();

  function update(runs, names, view, chosen) {
    for (const [key, one] of heads) {
      const now = view.sort?.key === key ? (view.sort.down ? "descending" : "ascending") : "none";
      one.setAttribute("aria-sort", now);
    }
    const shown = runs.map((run) => {
      const row = kept(rows, run.id, () => runRow(run.id));
      row.update(run, names, chosen.includes(run));
      return row.node;
    });
    const before = body.children;
    const same = shown.length === before.length && shown.every((row, i) => row === before[i]);
    if (!same) body.replaceChildren(...shown);
  }
  return { node: scrolled(table), update };
}

function runsHead({ key, title, number }) {
  const sort = () => {
    const now = store.view.sort;
    const down = now?.key === key ? !now.down : ["valid", "test"].includes(key);
    store.set({ sort: { key, down } });
  };
  const button = element("button", { type: "button", "data-sort": key, onclick: sort }, title);
  return element("th", { scope: "col", class: number ? "number" : null }, button);
}

/** A row that outlives updates, so that its checkbox keeps the focus. */
function runRow(id) {
  const box = element("input", { type: "checkbox", onchange: () => pick(id, box.checked) });
  const open = element("button", { type: "button", onclick: () => store.set({ run: id }) });
  const cell = ({ number }) => element("td", { class: number ? "number" : null });
  const cells = RUN_COLUMNS.slice(1).map(cell);
  const parts = [element("td", {}, box), element("th", { scope: "row" }, open), ...cells];
  const node = element("tr", { "data-run": id }, ...parts);

  function update(run, names, chosen) {
    const name = names.get(id);
    box.checked = chosen;
    box.setAttribute("aria-label", `${name} side by side with others`);
    open.textContent = name;
    open.title = `show ${name} on the rest of this page`;
    node.setAttribute("aria-current", String(store.run().id === id));
    for (const [i, { key, of, shown }] of RUN_COLUMNS.slice(1).entries()) {
      const value = of(run, names) ?? null;
      if (key === "state") tellState(cells[i], run);
      else cells[i].textContent = value === null ? "–" : shown ? shown(value, run) : String(value);
    }
  }
  return { node, update };
}

function pick(id, chosen) {
  const now = chosenRuns(store.document.runs, store.view).map((run) => run.id);
  store.set({ shown: chosen ? [...now, id] : now.filter((one) => one !== id) });
}
