// The document, and what the reader of the page has chosen; components subscribe to both.

const store = {
  document: null,
  // what is chosen outlives every update of the document: a page that follows a run keeps it
  view: { run: null, epochs: {}, zoom: {}, filter: "", sort: null, shown: null },
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
  const steps = new DataView(bytes.buffer);
  const [, rows, columns] = shape;
  const at = (i, j, k) => {
    const step = steps.getUint16(2 * ((i * rows + j) * columns + k), true);
    return step === 65535 ? null : low + ((high - low) * step) / 65534;
  };
  return { shape, low, high, at };
}
