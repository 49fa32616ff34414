// The head of the page, and what there is to say of a run before any picture.

/** The bar at the top: what the page is about, and its controls. */
function headerBar() {
  const name = element("h1", { id: "name" });
  const state = stateChip("state");
  const live = element("span", { id: "live", role: "status" });
  const again = element("button", { type: "button", id: "again", hidden: true }, "Try again");
  const run = element("select", { id: "run" });
  const chooser = element("label", { class: "field" }, element("span", {}, "Run "), run);
  run.addEventListener("change", () => store.set({ run: run.value }));
  const parts = [name, state.node, live, again, chooser, themeButton()];
  const bar = element("div", { class: "bar-inner" }, ...parts);

  const update = (found) => {
    const shown = store.run();
    name.textContent = found.title || "archgrad";
    name.title = found.title;
    state.update(isOfOne(found) ? shown : null);
    chooser.hidden = found.runs.length < 2;
    const names = [...runNames(found.runs)];
    if (run.dataset.key !== JSON.stringify(names)) {
      run.dataset.key = JSON.stringify(names);
      run.replaceChildren(...names.map(([value, text]) => element("option", { value }, text)));
    }
    if (shown) run.value = shown.id;
  };
  return { node: bar, update };
}

/** Whether the whole page is about one run. */
function isOfOne({ runs, comparisons }) {
  return runs.length < 2 && comparisons.length === 0;
}

function stateChip(id) {
  const node = element("span", { id, class: "chip" });
  const update = (run) => {
    node.hidden = !run;
    if (run) tellState(node, run);
  };
  return { node, update };
}

/** Where a page of several runs has told of all: of which one run the rest is. */
function runTitle() {
  const name = element("h1", { id: "run-name" });
  const state = stateChip("run-state");
  const words = "From here on the page is about this run alone. Another one can be chosen at the top.";
  const head = element("div", { class: "run-head" }, name, state.node);
  const node = element("div", { id: "run-title" }, head, element("p", {}, words));
  const update = (found) => {
    const run = store.run();
    node.hidden = isOfOne(found) || !run;
    if (node.hidden) return;
    name.textContent = `Run ${runNames(found.runs).get(run.id)}`;
    state.update(run);
    node.lastChild.hidden = found.runs.length < 2;
  };
  return { node, update };
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

const NO_RUN = "There is no run to show: name the folder of a run, archgrad report RUN.";

/** Facts, problems, outcome, and what happened at an epoch. */
function overviewSection() {
  const place = element("div", { class: "overview" });
  const node = section("overview", "Overview", place);
  let known = null;
  const update = (found) => {
    const run = store.run();
    node.hidden = !run && found.comparisons.length > 0;
    const key = JSON.stringify(run && overviewOf(run));
    if (key === known) return; // the slider moves: what has focus here keeps it
    known = key;
    place.replaceChildren(...(run ? overviewParts(run) : [element("p", { class: "notice" }, NO_RUN)]));
  };
  return { node, update };
}

/** What the overview depends on; not on a run's numbers of every epoch. */
function overviewOf({ id, state, problems, facts, marks, outcome }) {
  return [id, state, problems, facts, marks, outcome];
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
    ? [...problems, "This has not come to its end; what was written until now is shown"]
    : problems;
  if (told.length === 0) return null;
  const entries = told.map((text) => element("li", {}, sentence(text)));
  return element("ul", { class: "notice problems", "aria-label": "problems" }, ...entries);
}

function factList(facts) {
  if (facts.length === 0) return null;
  const pairs = facts.map(([label, text]) => {
    const parts = [element("dt", {}, label), element("dd", {}, text)];
    return element("div", { class: text.length > 19 ? "wide" : null }, ...parts);
  });
  return element("dl", { class: "facts" }, ...pairs);
}

/** What is marked at an epoch, each with a button that moves the slider to its epoch. */
function marksOfOverview(run) {
  if (run.marks.length === 0) return null;
  const entries = run.marks.map(({ epoch, kind, text }) =>
    element(
      "li",
      { "data-kind": kind },
      epochButton(epoch, `${kind}: ${text}`),
      element("span", { class: "kind" }, kind),
      element("span", { class: "text" }, sentence(text)),
    ),
  );
  const list = element("ol", { class: "marks" }, ...entries);
  return element("div", { class: "guard" }, element("h3", {}, "What happened"), list);
}

function epochButton(epoch, about) {
  const name = `epoch ${epoch}`;
  const told = { title: "show this epoch", "aria-label": `${name}, ${about}` };
  const attributes = { type: "button", "data-epoch": epoch, ...told };
  return element("button", { ...attributes, onclick: () => toEpoch(epoch) }, name);
}

/** Move the slider and look at what it shows there. */
function toEpoch(epoch) {
  store.move(store.run(), epoch);
  const cells = document.getElementById("cells");
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (!cells.hidden) cells.scrollIntoView({ behavior: still ? "auto" : "smooth" });
}
