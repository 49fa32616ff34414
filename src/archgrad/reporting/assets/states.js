// How far a run is, in words; of one that is followed also whether anything new comes.

const QUIET = 60; // seconds without anything new in which nothing is said
const LAST_EPOCHS = 5;

/** The state of a run now, in milliseconds: { key, text }. */
function stateOf(run, live, now) {
  if (run.state === "finished") return { key: "finished", text: "finished" };
  if (run.state === "unreadable") return { key: "unreadable", text: "cannot be read" };
  if (run.written === null) return { key: "unfinished", text: "not finished" };
  if (!live) return { key: "unfinished", text: `not finished, last written ${dated(run.written)}` };
  const silent = (now - Date.parse(run.written)) / 1000;
  if (silent <= Math.max(QUIET, 3 * longestOfLast(run))) return { key: "going", text: "going on" };
  return { key: "silent", text: `nothing new for ${duration(silent)}` };
}

/** The seconds of the longest of the last epochs or evaluations, of search and retrainings. */
const longestOfLast = remembered((run) => {
  const curves = run.networks.flatMap(({ seeds }) => seeds.map(({ columns }) => columns));
  const all = [run.epochs.columns, run.evaluations?.columns, ...curves];
  return d3.max(all.flatMap((columns) => columns?.seconds?.slice(-LAST_EPOCHS) ?? [])) ?? 0;
});

/** "2026-11-23 06:47 UTC" of an ISO time in UTC. */
function dated(time) {
  return `${time.slice(0, 10)} ${time.slice(11, 16)} UTC`;
}

function duration(seconds) {
  const minutes = Math.floor(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  return minutes < 48 * 60 ? `${Math.floor(minutes / 60)} h` : `${Math.floor(minutes / 1440)} days`;
}

/** Write the state of a run into a node, which is kept up with the clock from then on. */
function tellState(node, run) {
  const { key, text } = stateOf(run, store.document.live, Date.now());
  node.dataset.stateOf = run.id;
  node.dataset.state = key;
  if (node.textContent !== text) node.textContent = text;
}

/** Once more for every node that tells a state: time has passed. */
function tellStatesAgain() {
  const runs = new Map(store.document.runs.map((run) => [run.id, run]));
  for (const node of document.querySelectorAll("[data-state-of]")) {
    const run = runs.get(node.dataset.stateOf);
    if (run) tellState(node, run);
  }
}
