// Puts the sections on the page, and follows the run where the page is served with it.

// each is a function () -> { node, update(document, view) }, in the order of the page
const OVER_TIME = [cellsSection, weightsSection, curvesSection, diagnosticsSection];
const SECTIONS = [
  comparisonSections,
  runsSection,
  runTitle, // all from here on is about the run that is looked at
  overviewSection,
  () => together("over-time", [replaySection, ...OVER_TIME]),
  costsSection,
  retrainingSection,
  reproduceSection,
];
const FAILED = "This part could not be drawn; the console of the browser says why.";

/** A component that cannot blank the page: of its errors a sentence is left in its place. */
function guarded(make) {
  const said = element("p", { class: "notice", hidden: true }, FAILED);
  const node = element("div", { class: "part" }, said);
  const attempt = (action) => {
    try {
      return [action()];
    } catch (error) {
      console.error(error);
      return null;
    }
  };
  const part = attempt(make)?.[0] ?? null;
  if (part) node.append(part.node);
  const update = (found, view) => {
    said.hidden = part !== null && attempt(() => part.update(found, view)) !== null;
  };
  return { node, update };
}

/** Several components as one: the slider sticks to the top of what it moves. */
function together(id, makers) {
  const parts = makers.map(guarded);
  const update = (found, view) => parts.forEach((part) => part.update(found, view));
  return { node: element("div", { id }, ...parts.map((part) => part.node)), update };
}

/** Links to the sections that there are. */
function contents() {
  const node = element("nav", { id: "contents", "aria-label": "sections" });
  let known = "";
  const update = () => {
    const shown = [...document.querySelectorAll("main section[id]")].filter((one) => !one.hidden);
    const key = shown.map((one) => one.id).join();
    if (key === known) return;
    known = key;
    const title = (one) => one.querySelector("h2").textContent;
    node.replaceChildren(...shown.map((one) => element("a", { href: `#${one.id}` }, title(one))));
  };
  return { node, update };
}

function footerText({ archgrad, made }) {
  const origin = `Made by archgrad ${archgrad} on ${dated(made)}.`;
  return [
    element("p", {}, `${origin} It loads nothing from elsewhere.`),
    element("p", {}, "Drawn with Observable Plot and D3 (ISC license) and dagre (MIT license)."),
  ];
}

function show(found) {
  const head = [headerBar, contents].map(guarded);
  const parts = SECTIONS.map(guarded);
  document.getElementById("header").append(...head.map((part) => part.node));
  document.getElementById("main").append(...parts.map((part) => part.node));
  document.getElementById("footer").append(...footerText(found));
  const all = [...parts, ...head];
  store.subscribe((document, view) => all.forEach((part) => part.update(document, view)));
}

/** Pictures that fill their place are drawn anew when it changes. */
function drawOnResize() {
  let width = window.innerWidth;
  let timer = null;
  addEventListener("resize", () => {
    if (window.innerWidth === width) return; // the bars of a phone come and go
    width = window.innerWidth;
    clearTimeout(timer);
    timer = setTimeout(() => store.notify(), 120);
  });
}

/** On paper nothing can be unfolded: open what is of a size to be read. */
function unfoldForPrint() {
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open]):not(.long)")];
    for (const one of opened) one.open = true;
    store.notify();
    [...waiting.keys()].forEach(catchUp);
  });
  addEventListener("afterprint", () => {
    for (const one of opened) one.open = false;
  });
}

decoded(document.getElementById("document").textContent)
  .then((found) => {
    show(found);
    store.receive(found);
    drawOnResize();
    unfoldForPrint();
    if (found.live) follow();
  })
  .catch((error) => {
    console.error(error);
    const text = "This page cannot be shown: its data cannot be read. A newer browser may help.";
    document.getElementById("main").append(element("p", { class: "notice" }, text));
  });
