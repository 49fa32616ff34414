// Choices that are no graphs, the layers of a chain or parts of an own model: a row each.

/** A list of rows; those of before are kept and changed in place. */
function choiceList() {
  const intro = element("p", { class: "lead" });
  const legend = element("div", { class: "legends" });
  const list = element("ol", { class: "choices" });
  const table = unfolding("The choices as a table", "the cells", () => choiceTable(last));
  const node = element("div", { class: "choice-list" }, intro, legend, list, table.node);
  let rows = [];
  let last = [];

  const update = (run, view, singles) => {
    last = singles;
    node.hidden = singles.length === 0;
    if (node.hidden) return;
    const names = [...new Set(singles.flatMap(candidatesOf))];
    const shades = candidateShades(names);
    const key = JSON.stringify(singles.map((one) => [nameOf(one), candidatesOf(one)]));
    if (list.dataset.key !== key) {
      list.dataset.key = key;
      rows = singles.map((one) => choiceRow(nameOf(one), candidatesOf(one), shades));
      list.replaceChildren(...rows.map((row) => row.node));
      legend.replaceChildren(shadeLegend(shades));
      intro.textContent = choiceText(run);
    }
    singles.forEach((one, i) => rows[i].update(weightsAt(one), chosenOf(one)));
    table.update();
  };
  return { node, update };
}

function nameOf({ group, cell }) {
  return (group ?? cell).name;
}

function candidatesOf({ group, cell }) {
  return group ? group.candidates[0] : operationsOf(cell);
}

function chosenOf({ cell }) {
  return cell ? operationsOf(cell) : [];
}

/** The weights of a choice at the slider's epoch, null where there are none. */
function weightsAt({ group, run, index }) {
  const weights = group && weightsOf(run, group, "strength");
  return candidatesOf({ group, cell: { nodes: [] } }).map((_, k) => weights?.at(index, 0, k) ?? null);
}

/** A color for each candidate: that of its kind, paler from one to the next of the same kind. */
function candidateShades(names) {
  const kinds = d3.group(names, (name) => operationStyle(name).color);
  const shades = new Map();
  for (const [color, same] of kinds) {
    same.forEach((name, i) => {
      const part = 100 - (72 * i) / Math.max(same.length - 1, 2);
      shades.set(name, `color-mix(in oklab, ${color} ${part}%, var(--surface))`);
    });
  }
  if (shades.has("none")) shades.set("none", "var(--none)");
  return shades;
}

function shadeLegend(shades) {
  const entries = [...shades].map(([name, color]) =>
    element("li", {}, element("i", { class: "shade", style: `background: ${color}` }), name),
  );
  return element("ul", { class: "legend", "aria-label": "candidates" }, ...entries);
}

/** One choice: its name, a bar of its candidates' weights, and what is chosen. */
function choiceRow(name, candidates, shades) {
  const parts = candidates.map((one) =>
    element("i", { style: `background: ${shades.get(one)}`, title: one, "data-candidate": one }),
  );
  const bar = element("span", { class: "bar", role: "img" }, ...parts);
  const value = element("span", { class: "value" });
  const node = element("li", {}, element("span", { class: "name" }, name), bar, value);
  const update = (weights, chosen) => {
    const known = weights.some((weight) => weight !== null);
    bar.hidden = !known;
    parts.forEach((part, k) => {
      part.style.flexGrow = Math.max(0, weights[k] ?? 0);
      part.title = `${candidates[k]}: ${readable(weights[k])}`;
      part.classList.toggle("picked", chosen.includes(candidates[k]));
    });
    const words = candidates.map((one, k) => `${one} ${readable(weights[k])}`);
    bar.setAttribute("aria-label", `weights of ${name}: ${words.join(", ")}`);
    value.replaceChildren(...chosenText(candidates, weights, chosen));
  };
  return { node, update };
}

function chosenText(candidates, weights, chosen) {
  const weight = weights[candidates.indexOf(chosen[0])] ?? null;
  const name = element("b", {}, chosen.join(" + ") || "nothing chosen");
  return weight === null ? [name] : [name, " ", element("small", {}, readable(weight))];
}

function choiceTable(singles) {
  const names = [...new Set(singles.flatMap(candidatesOf))];
  const rows = singles.map((one) => {
    const candidates = candidatesOf(one);
    const weights = weightsAt(one);
    const cells = names.map((name) => {
      const k = candidates.indexOf(name);
      return k < 0 ? "" : readable(weights[k]);
    });
    return [nameOf(one), chosenOf(one).join(" + "), ...cells];
  });
  return scrolling("the choices as a table", textTable(["choice", "chosen", ...names], rows));
}

function choiceText(run) {
  if (!run.replay) return "One operation each, in the order of the network.";
  return "A row is a choice; its bar is shared out by the mixing weights, the chosen part is marked.";
}
