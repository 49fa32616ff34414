// How to get the same again: commands, versions, device, and the whole configuration.

function reproduceSection() {
  const place = element("div", {});
  const node = section("reproduce", "Reproduce it", place);
  let known = null;
  const update = () => {
    const told = store.run()?.reproduce ?? null;
    const key = JSON.stringify(told);
    if (key === known) return;
    known = key;
    const parts = told ? reproduceParts(told, "run") : [];
    node.hidden = parts.length === 0;
    place.replaceChildren(...parts);
  };
  return { node, update };
}

/** `what` it is that can be repeated. */
function reproduceParts({ commands, environment, config }, what) {
  return [
    ...commands.map((text) => commandBox(text, what)),
    environment.length ? environmentTable(environment, what) : null,
    config ? configDetails(config, what) : null,
  ].filter(Boolean);
}

/** A command to copy. */
function commandBox(text, what) {
  const said = element("span", { role: "status" });
  const name = `Copy, of the ${what}: ${text}`;
  const copy = element("button", { type: "button", "aria-label": name }, "Copy");
  copy.addEventListener("click", async () => {
    said.textContent = (await copied(text)) ? "copied" : "select the text and copy it";
  });
  const code = element("pre", { tabindex: 0 }, element("code", {}, text));
  return element("div", { class: "command" }, code, copy, said);
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // a page from the file system may not
  }
}

/** What each start ran on, a column each. */
function environmentTable(starts, what) {
  const keys = [...new Set(starts.flatMap((start) => Object.keys(start)))];
  const told = (value) => (value && typeof value === "object" ? JSON.stringify(value) : value ?? "–");
  const title = (key) => key.replaceAll("_", " ");
  const rows = keys.map((key) => [title(key), ...starts.map((start) => told(start[key]))]);
  const header = starts.length > 1 ? ["", ...starts.map((_, i) => `start ${i + 1}`)] : null;
  return scrolling(`what the ${what} ran on`, textTable(header, rows, "What it ran on"));
}

function configDetails(config, what) {
  const code = element("pre", { tabindex: 0 }, element("code", {}, config));
  const title = "The whole configuration";
  const summary = element("summary", { "aria-label": `${title} of the ${what}` }, title);
  return element("details", {}, summary, code);
}
