// Puts the sections on the page, and follows the run where the page is served with it.

const SECTIONS = [
  // each is a function () -> { node, update(document, view) }, in the order of the page
];
const EVERY = 2000; // milliseconds between looks at a run that is followed

function show() {
  const main = document.getElementById("main");
  const parts = SECTIONS.map((make) => make());
  main.append(...parts.map((part) => part.node));
  store.subscribe((found, view) => {
    for (const part of parts) part.update(found, view);
  });
}

async function follow() {
  let known = null;
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, EVERY));
    const answer = await fetch("document.json", {
      headers: known === null ? {} : { "If-None-Match": known },
    });
    if (answer.status !== 200) continue;
    known = answer.headers.get("ETag");
    store.receive(await answer.json());
  }
}

decoded(document.getElementById("document").textContent).then((found) => {
  show();
  store.receive(found);
  if (found.live) follow();
});
