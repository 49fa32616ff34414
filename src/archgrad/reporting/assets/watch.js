// Follows a run while it goes on; what the reader has chosen stays, whatever happens to the server.

const EVERY = 2000; // milliseconds between looks at a run that is followed
const CLOCK = 5000; // milliseconds between looks at how long nothing new has come
const TRIES = 4; // with growing pauses, half a minute in all, before a lost server is given up
const FOLLOWED = {
  following: "following",
  ended: "the run has ended",
  lost: "connection lost, trying again",
  gone: "connection lost; this is the last known state",
};

/** Look for a new document until the server says that there will be none. */
async function follow() {
  let known = null;
  let failures = 0;
  tellFollowed("following");
  const clock = setInterval(tellStatesAgain, CLOCK);
  while (store.document.live) {
    if (failures <= TRIES) await pause(EVERY * 2 ** Math.max(0, failures - 1));
    else await wakened();
    try {
      const answer = await newest(known);
      if (answer.document) store.receive(answer.document);
      known = answer.known;
      failures = 0;
      tellFollowed(hasEnded() ? "ended" : "following");
    } catch {
      failures += 1;
      tellFollowed(failures > TRIES ? "gone" : "lost");
    }
  }
  clearInterval(clock);
  tellFollowed("ended");
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Until someone looks at the page again, or asks for another try. */
function wakened() {
  return new Promise((resolve) => {
    const once = new AbortController();
    const wake = () => {
      once.abort();
      resolve();
    };
    addEventListener("focus", wake, { signal: once.signal });
    document.getElementById("again").addEventListener("click", wake, { signal: once.signal });
  });
}

/** The document if it is another than the known one: {document or null, known}. */
async function newest(known) {
  const headers = known === null ? {} : { "If-None-Match": known };
  const answer = await fetch("document.json", { headers, cache: "no-store" });
  if (answer.status === 304) return { document: null, known };
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  const found = await answer.json();
  if (!Array.isArray(found.runs)) throw new Error("the server sent no document");
  return { document: found, known: answer.headers.get("ETag") };
}

function hasEnded() {
  const { runs } = store.document;
  return runs.length > 0 && runs.every((run) => run.state === "finished");
}

/** Say beside the name of the run how it is followed; only a change is said. */
function tellFollowed(state) {
  const place = document.getElementById("live");
  if (place.dataset.state === state) return;
  place.dataset.state = state;
  place.textContent = FOLLOWED[state];
  document.getElementById("again").hidden = state !== "gone";
}
