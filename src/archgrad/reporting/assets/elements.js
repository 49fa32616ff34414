// Elements from text that is never markup, and what several components share.

/** An element; children are elements or texts, and a text is never read as markup. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  fill(made, attributes, children);
  return made;
}

/** The same of SVG. */
function drawn(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  fill(made, attributes, children);
  return made;
}

function fill(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) {
      made.setAttribute(key, value === true ? "" : String(value));
    }
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
}

/** A section with its heading, under which a component puts what it shows. */
function section(id, title, ...children) {
  const heading = element("h2", { id: `${id}-title` }, title);
  return element("section", { id, "aria-labelledby": `${id}-title` }, heading, ...children);
}

/** The heading of the section that a node is in: charts of two sections may share a title. */
function sectionTitle(node) {
  return node.closest("section").querySelector("h2").textContent;
}

/** What names a column; above the names of rows there may be nothing. */
function columnHead(text, attributes = {}) {
  return text ? element("th", { scope: "col", ...attributes }, text) : element("td", attributes);
}

/** A table of texts, its header null where there is none; the first cell of a row names it. */
function textTable(header, rows, caption = null) {
  const head = header?.map((text) => columnHead(text));
  const body = rows.map(([first, ...rest]) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, String(first ?? "")),
      ...rest.map((text) => element("td", {}, String(text ?? ""))),
    ),
  );
  return element(
    "table",
    {},
    caption === null ? null : element("caption", {}, caption),
    head ? element("thead", {}, element("tr", {}, ...head)) : null,
    element("tbody", {}, ...body),
  );
}

/** A box that scrolls sideways by itself, so that the page need not; the keyboard reaches it. */
function scrolling(label, ...children) {
  const attributes = { class: "scroll", tabindex: 0, role: "region", "aria-label": label };
  return element("div", attributes, ...children);
}

/**
 * Details whose content is only made while it is looked at: a slider moves past many contents.
 * `about` tells those who hear it from others with the same title.
 */
function unfolding(title, about, make, attributes = {}) {
  const place = element("div", { class: "unfolded" });
  const summary = element("summary", { "aria-label": `${title}: ${about}` }, title);
  const node = element("details", attributes, summary, place);
  const update = () => {
    if (node.open) place.replaceChildren(make());
  };
  node.addEventListener("toggle", update);
  return { node, update };
}

/** The width of a node, which is only asked for, at the price of a layout, until it is told. */
function widthOf(node) {
  let width = 0;
  new ResizeObserver(([entry]) => {
    width = Math.round(entry.contentRect.width);
  }).observe(node);
  return () => width || node.clientWidth;
}

const waiting = new Map(); // by node: the update that is due when someone comes near it

/** An update that waits while its node is far from what is seen: a slider moves many pictures. */
function whenNear(node, update) {
  let near = true; // until it is known
  const look = ([entry]) => {
    near = entry.isIntersecting;
    if (near) catchUp(node);
  };
  new IntersectionObserver(look, { rootMargin: "50%" }).observe(node);
  return (...args) => {
    waiting.set(node, () => update(...args));
    if (near) catchUp(node);
  };
}

function catchUp(node) {
  const update = waiting.get(node);
  waiting.delete(node);
  update?.();
}

/** A sentence: it ends with a stop, and begins with a capital letter but for names of files. */
function sentence(text) {
  const trimmed = String(text).trim();
  const stop = /[.!?:]$/.test(trimmed) ? "" : ".";
  return (/^[\w-]*[./\\]\S/.test(trimmed) ? trimmed : capital(trimmed)) + stop;
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** A number as a reader wants it: three digits, no exponent where it can be avoided. */
function readable(value) {
  if (value === null || value === undefined) return "–";
  if (value !== 0 && Math.abs(value) < 0.001) return value.toExponential(1).replace("-", "−");
  return threeDigits(value);
}

const threeDigits = d3.format(".3~f");

const ICONS = {
  play: "M7 4.5v15l12-7.5z",
  pause: "M6 4.5h4v15H6zM14 4.5h4v15h-4z",
  previous: "M5 5h3v14H5zM20 5v14L9 12z",
  next: "M16 5h3v14h-3zM4 5v14l11-7z",
  theme: "M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18v-2a7 7 0 0 0 0-14z",
};

/** A small drawing on a button, of the color of its text. */
function icon(name) {
  const path = drawn("path", { d: ICONS[name], fill: "currentColor" });
  const size = { viewBox: "0 0 24 24", width: 18, height: 18 };
  return drawn("svg", { class: "icon", ...size, "aria-hidden": "true" }, path);
}

/** A plot as one picture for those who hear it: its parts have no names of their own. */
function asPicture(plot) {
  plot.setAttribute("role", "img");
  for (const part of plot.querySelectorAll("[aria-label]")) part.removeAttribute("aria-label");
  return plot;
}
