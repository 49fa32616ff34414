// The head of the page, and what there is to say of a run before any picture.

const STATES = {
  finished: "finished",
  unfinished: "not finished",
  unreadable: "cannot be read",
};

/** The bar at the top: which run, its state, and the controls of the page. */
function headerBar() {
  const name = element("h1", { id: "name" });
  const state = element("span", { id: "state", class: "chip" });
  const live = element("span", { id: "live", role: "status" });
  const run = element("select", { id: "run" });
  const chooser = element("label", { class: "field" }, element("span", {}, "Run "), run);
  run.addEventListener("change", () => store.set({ run: run.value }));
  const bar = element("div", { class: "bar-inner" }, name, state, live, chooser, themeButton());

  const update = (found) => {
    const shown = store.run();
    name.textContent = shown?.name ?? found.title ?? "archgrad";
    state.textContent = STATES[shown?.state] ?? "";
    state.dataset.state = shown?.state ?? "";
    state.hidden = !shown;
    chooser.hidden = found.runs.length < 2;
    const names = found.runs.map((one) => [one.id, one.name]);
    if (run.dataset.key !== JSON.stringify(names)) {
      run.dataset.key = JSON.stringify(names);
      run.replaceChildren(...names.map(([value, text]) => element("option", { value }, text)));
    }
    if (shown) run.value = shown.id;
  };
  return { node: bar, update };
}

/** Light or dark: the reader's own choice outweighs that of the system, and is remembered. */
function themeButton() {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = element("button", { type: "button", id: "theme" }, icon("theme"));
  const isDark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const show = () => {
    const text = isDark() ? "to light colors" : "to dark colors";
    button.setAttribute("aria-label", text);
    button.title = text;
  };
  const kept = storedTheme();
  if (kept) root.dataset.theme = kept;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    storeTheme(root.dataset.theme);
    show();
  });
  system.addEventListener("change", show);
  show();
  return button;
}

function storedTheme() {
  try {
    const kept = localStorage.getItem("archgrad-theme");
    return ["light", "dark"].includes(kept) ? kept : null;
  } catch {
    return null; // a browser may refuse storage to a page from the file system
  }
}

function storeTheme(theme) {
  try {
    localStorage.setItem("archgrad-theme", theme);
  } catch {
    // then it holds as long as the page is open
  }
}

/** Facts, problems, outcome, and what the guard said. */
function overviewSection() {
  const place = element("div", { class: "overview" });
  const node = section("overview", "Overview", place);
  let known = null;
  const update = (found) => {
    const run = store.run();
    const key = JSON.stringify(run && overviewOf(run));
    if (key === known) return; // the slider moves: what has focus here keeps it
    known = key;
    place.replaceChildren(...(run ? overviewParts(run) : [emptyText(found)]));
  };
  return { node, update };
}

/** What the overview depends on; not on a run's numbers of every epoch. */
function overviewOf({ id, state, problems, facts, marks, outcome }) {
  return [id, state, problems, facts, marks, outcome];
}

function emptyText(found) {
  const text = found.comparisons.length
    ? "The searches of this comparison are not here; what was compared is shown below."
    : "There is no run to show: name the folder of a run, archgrad report RUN.";
  return element("p", { class: "notice" }, text);
}

function overviewParts(run) {
  const sentences = run.outcome.sentences.map((text) => element("p", {}, sentence(text)));
  const table = run.outcome.table?.length
    ? scrolling("the outcome", textTable(run.outcome.table[0], run.outcome.table.slice(1)))
    : null;
  return [
    problemNotice(run),
    factList(run.facts),
    sentences.length || table ? element("div", { class: "outcome" }, ...sentences, table) : null,
    marksOfOverview(run),
  ].filter(Boolean);
}

/** What is wrong with a folder, in plain words, before everything else. */
function problemNotice({ problems, state }) {
  const unfinished = state === "unfinished" && !store.document.live;
  const told = unfinished
    ? [...problems, "The run has not come to its end; what it wrote until now is shown"]
    : problems;
  if (told.length === 0) return null;
  const entries = told.map((text) => element("li", {}, sentence(text)));
  return element("ul", { class: "notice problems", "aria-label": "problems" }, ...entries);
}

function factList(facts) {
  if (facts.length === 0) return null;
  const pairs = facts.map(([label, text]) =>
    element("div", {}, element("dt", {}, label), element("dd", {}, String(text ?? "–"))),
  );
  return element("dl", { class: "facts" }, ...pairs);
}

const MARK_KINDS = { warning: "warning", stage: "stage", stop: "stop", rollback: "rollback" };

/** The guard's sentences, each with a button that moves the slider to its epoch. */
function marksOfOverview(run) {
  if (run.marks.length === 0) return null;
  const entries = run.marks.map(({ epoch, kind, text }) =>
    element(
      "li",
      { "data-kind": kind },
      epochButton(epoch),
      element("span", { class: "kind" }, MARK_KINDS[kind] ?? "note"),
      element("span", { class: "text" }, sentence(text)),
    ),
  );
  const list = element("ol", { class: "marks" }, ...entries);
  return element("div", { class: "guard" }, element("h3", {}, "What the guard said"), list);
}

function epochButton(epoch) {
  const attributes = { type: "button", "data-epoch": epoch, title: "show this epoch" };
  return element("button", { ...attributes, onclick: () => toEpoch(epoch) }, `epoch ${epoch}`);
}

/** Move the slider and look at what it shows there. */
function toEpoch(epoch) {
  store.move(store.run(), epoch);
  const cells = document.getElementById("cells");
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (!cells.hidden) cells.scrollIntoView({ behavior: still ? "auto" : "smooth" });
}
