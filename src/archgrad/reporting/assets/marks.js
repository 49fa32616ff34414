// What the guard and the stages of a search marked at an epoch: rules in charts, and sentences.

const PARAMETER_FREE =
  "Operations without weights are of use at once, while convolutions still have to learn: a " +
  "search that runs too long comes to prefer them. Compare with the cell of an earlier epoch.";
const ENTROPY =
  "The entropy says how decided the edges are: all operations equal at its largest value, a " +
  "single one left at 0. Deciding at once or never both leave the choice to chance.";
const UNUSUAL =
  "Cells of unusual cost differ in accuracy for that reason alone: compare them with random " +
  "cells of the same cost.";

/** Of what the guard finds: which chart it belongs to, and what it means for the reader. */
const FINDINGS = {
  skip_share: { chart: "shares", meaning: PARAMETER_FREE },
  parameter_free_share: { chart: "shares", meaning: PARAMETER_FREE },
  eigenvalue: {
    chart: "eigenvalue",
    meaning:
      "The search has settled in a sharp minimum: rounding the mixing weights to one operation an " +
      "edge moves far from it, which arXiv:1909.09656 found to go with worse cells. Look at the " +
      "cell from before the rise.",
  },
  discretization: {
    chart: "gaps",
    meaning:
      "The mixture works as a whole, the operations that are kept do not work alone in it. Only " +
      "training the derived network from scratch tells how good the cell is.",
  },
  overfit: {
    chart: "gaps",
    meaning:
      "Validation accuracy of the search is too good to be true: judge by images that neither " +
      "weights nor alphas have seen, or use more data for the alphas.",
  },
  "decided early": { chart: "entropy", meaning: ENTROPY },
  undecided: { chart: "entropy", meaning: ENTROPY },
  moved: {
    chart: "moved",
    meaning:
      "Where the weights are nearly equal, chance decides which operations are kept: the cells are " +
      "little better founded than random ones. Search for more epochs, or raise alpha's learning " +
      "rate, and compare with random cells.",
  },
  parameters: { chart: "percentiles", meaning: UNUSUAL },
  multiply_adds: { chart: "percentiles", meaning: UNUSUAL },
};
const MARK_RULES = {
  warning: { color: "var(--c2)", dash: "5 3" },
  stage: { color: "currentColor", dash: "1 3" },
  stop: { color: "var(--c4)", dash: "none" },
  rollback: { color: "var(--c4)", dash: "9 3" },
};
const MARK_MEANINGS = {
  stage: "From here on the search goes on with another set of candidates or another network.",
  stop: "No later epoch is recorded; the cells that were found are written.",
  rollback: "The search went back to an earlier epoch.",
};

/** The marks of a run, numbered, with the chart that shows them and what they mean. */
function marksOf(run) {
  return run.marks.map((mark, i) => {
    const found = Object.hasOwn(FINDINGS, mark.finding) ? FINDINGS[mark.finding] : null;
    const meaning = found?.meaning ?? MARK_MEANINGS[mark.kind] ?? null;
    return { ...mark, number: i + 1, chart: found?.chart ?? null, meaning };
  });
}

/** Rules over the height of a chart, each with its kind and number above, or the number alone. */
function markRules(marks, [low, high], width) {
  const shown = marks.filter(({ epoch }) => epoch >= low && epoch <= high);
  const labels = markLabels(shown, (30 * (high - low)) / width);
  const end = low + 0.7 * (high - low);
  const room = fitting(labels, end, (width - 64) / (high - low));
  const text = (side, anchor, dx) =>
    Plot.text(labels.filter(side), {
      x: "epoch",
      text: room ? "long" : "short",
      frameAnchor: "top",
      textAnchor: anchor,
      dx,
      dy: -16,
      fontWeight: 600,
      className: "mark-label",
    });
  return [
    ...shown.map(({ epoch, kind }) => {
      const { color, dash } = MARK_RULES[kind] ?? MARK_RULES.stage;
      return Plot.ruleX([epoch], { stroke: color, strokeDasharray: dash, strokeWidth: 1.5 });
    }),
    text(({ epoch }) => epoch <= end, "start", -2),
    text(({ epoch }) => epoch > end, "end", 4),
  ];
}

/** Whether the long labels stand clear of each other: they run right before `end`, left behind. */
function fitting(labels, end, scale) {
  const sides = labels.map(({ epoch, long }) => {
    const [at, length] = [epoch * scale, 10 + 7.5 * long.length];
    return epoch <= end ? [at, at + length] : [at - length, at];
  });
  return sides.every(([from], i) => i === 0 || from > sides[i - 1][1]);
}

/** A label { epoch, short, long } for all marks that stand nearer to one another than `near`. */
function markLabels(marks, near) {
  const groups = [];
  for (const mark of d3.sort(marks, ({ epoch }) => epoch)) {
    const last = groups.at(-1);
    if (last && mark.epoch - last[0].epoch < near) last.push(mark);
    else groups.push([mark]);
  }
  return groups.map((found) => {
    const short = found.map(({ number }) => number).join(", ");
    const kinds = d3.groups(found, ({ kind }) => kind);
    const named = ([kind, some]) => `${kind} ${some.map(({ number }) => number).join(", ")}`;
    return { epoch: found[0].epoch, short, long: kinds.map(named).join(", ") };
  });
}

/** The sentences of marks, numbered as in the charts. */
function markSentences(marks) {
  const first = (mark) => marks.find(({ meaning }) => meaning === mark.meaning) === mark;
  const items = marks.map((mark) => {
    const { number, epoch, kind, text, meaning } = mark;
    const explained = meaning && first(mark);
    return element(
      "li",
      { "data-kind": kind, "data-epoch": epoch },
      element("strong", {}, `${capital(kind)} ${number}, epoch ${epoch}: `),
      sentence(text),
      explained ? element("span", { class: "mark-meaning" }, meaning) : null,
    );
  });
  return element("ul", { class: "chart-marks" }, ...items);
}
