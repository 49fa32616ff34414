// The document, and what the reader of the page has chosen; components subscribe to both.

const store = {
  document: null,
  // what is chosen outlives every update of the document: a page that follows a run keeps it
  view: {
    run: null,
    epochs: {},
    zoom: {},
    filter: "",
    sort: null,
    shown: null,
    weights: { kind: "strength", edge: {} },
  },
  listeners: new Set(),

  subscribe(listener) {
    this.listeners.add(listener);
  },
  set(changes) {
    Object.assign(this.view, changes);
    this.notify();
  },
  receive(document) {
    this.document = document;
    this.notify();
  },
  notify() {
    for (const listener of this.listeners) listener(this.document, this.view);
  },
  /** The run that is looked at; of several the first until another is chosen. */
  run() {
    const runs = this.document.runs;
    return runs.find((run) => run.id === this.view.run) ?? runs[0] ?? null;
  },
  /** Move the slider of a run; null, and the last epoch, follow the newest. */
  move(run, epoch) {
    const last = timeline(run)?.epochs.at(-1);
    const chosen = epoch === null || epoch >= last ? null : epoch;
    this.set({ epochs: { ...this.view.epochs, [run.id]: chosen } });
  },
};

/** The value of base64 of gzip of JSON. */
async function decoded(text) {
  const bytes = Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

/** What packing.py packed: at(i, j, k) is a number, or null where there is none. */
function unpacked({ shape, low, high, data }) {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const [epochs, , columns] = shape;
  const steps = new Uint16Array(bytes.length / 2);
  for (let i = 0; i < steps.length; i += 1) {
    const kept = (bytes[i] << 8) | bytes[steps.length + i];
    const before = i % epochs === 0 ? 0 : steps[i - 1];
    steps[i] = before + ((kept >> 1) ^ -(kept & 1)); // modulo 65536
  }
  const at = (i, j, k) => {
    const step = steps[(j * columns + k) * epochs + i];
    return step === 65535 ? null : low + ((high - low) * step) / 65534;
  };
  return { shape, low, high, at };
}

/** A function of an object that works once for each object, as long as the object lives. */
function remembered(make) {
  const made = new WeakMap();
  return (key) => kept(made, key, () => make(key));
}

/** The value of a key, made where there is none yet. */
function kept(map, key, make) {
  if (!map.has(key)) map.set(key, make());
  return map.get(key);
}

const unpackedOnce = remembered(unpacked);

/** The "alpha" or "strength" of a group, unpacked, or null where the run has none. */
function weightsOf(run, group, kind) {
  const packed = run.replay?.[kind]?.[group.name];
  return packed ? unpackedOnce(packed) : null;
}

/** The steps a run's slider goes through, or null: epochs, or the evaluations of a baseline. */
const timeline = remembered((run) => {
  if (run.replay?.epochs?.length) {
    const { epochs, architectures, at } = run.replay;
    return steps("epoch", epochs, architectures, at, run);
  }
  const columns = run.evaluations?.columns ?? {};
  if (!columns.evaluation?.length) return null;
  const { architectures, at, leaders } = run.evaluations;
  const led = leaders.map((leader) => at[leader] ?? -1);
  return steps("evaluation", columns.evaluation, architectures, led, run);
});

/** A timeline: where the cells change, and which steps gave the cells that were found. */
function steps(unit, epochs, architectures, at, run) {
  const keys = architectures.map(cellsKey);
  const changes = epochs.filter((_, i) => i > 0 && keys[at[i]] !== keys[at[i - 1]]);
  const wanted = run.found ? cellsKey(run.found) : null;
  const found = epochs.filter((_, i) => wanted !== null && keys[at[i]] === wanted);
  return {
    unit,
    epochs,
    changes,
    found,
    changed: new Set(changes),
    planned: unit === "epoch" ? run.epochs?.planned ?? null : null,
    architecture: (index) => architectures[at[index]] ?? null,
  };
}

/** Text that is equal for equal cells. */
function cellsKey({ cells }) {
  return JSON.stringify(cells.map(({ name, inputs, nodes, output }) => [name, inputs, nodes, output]));
}

/** The index of the step that the slider of a run stands at; -1 where there is no timeline. */
function moment(run, view) {
  const epochs = timeline(run)?.epochs ?? [];
  const chosen = view.epochs[run.id] ?? null;
  if (chosen === null) return epochs.length - 1;
  return Math.max(0, d3.bisectRight(epochs, chosen) - 1);
}

/** The architecture at the slider: what the epoch would have given, else what was found. */
function shownArchitecture(run, view) {
  const time = timeline(run);
  return time ? time.architecture(moment(run, view)) : run.found;
}
