// The slider through the epochs of a run, for all pictures at once.

const PLAYING = 9000; // milliseconds in which a whole run is played, if its steps are not too short
const STEP = [40, 350]; // the least and the most a step takes

/** Buttons, slider and label; hidden where a run has a single step or none. */
function replaySection() {
  const parts = replayParts();
  const node = element(
    "div",
    { id: "replay", role: "group", "aria-label": "time" },
    element("div", { class: "buttons" }, parts.previous, parts.play, parts.next),
    element("div", { class: "track" }, parts.ticks, parts.slider),
    element("p", { class: "told" }, parts.label, " ", parts.note),
  );
  const player = playing(parts.play);
  let ticked = null;

  const byHand = (action) => () => {
    player.stop();
    action();
  };
  const toValue = () => store.move(store.run(), Number(parts.slider.value));
  parts.slider.addEventListener("input", byHand(toValue));
  parts.previous.addEventListener("click", byHand(() => toChange(-1)));
  parts.next.addEventListener("click", byHand(() => toChange(1)));

  const update = (found, view) => {
    const run = store.run();
    const time = run ? timeline(run) : null;
    node.hidden = time === null;
    if (time === null) return player.stop();
    const index = moment(run, view);
    setSlider(parts, time, index, run);
    if (ticked !== run) parts.ticks.replaceChildren(...ticks(run, time));
    ticked = run;
    const following = found.live && run.state === "unfinished" && view.epochs[run.id] == null;
    say(parts, run, time, index, following);
  };
  return { node, update };
}

/** The controls, made once: they keep focus whatever happens to the document. */
function replayParts() {
  const button = (id, name, label) =>
    element("button", { type: "button", id, title: label, "aria-label": label }, icon(name));
  return {
    play: button("play", "play", "play"),
    previous: button("previous-change", "previous", "to the previous change of the cell"),
    next: button("next-change", "next", "to the next change of the cell"),
    slider: element("input", { type: "range", id: "epoch", step: 1, "aria-label": "epoch" }),
    ticks: drawn("svg", { class: "ticks", "aria-hidden": "true", preserveAspectRatio: "none" }),
    label: element("output", { id: "epoch-label", for: "epoch" }),
    note: element("span", { id: "epoch-note" }),
  };
}

/** The slider's range and place; its value in words for those who hear it. */
function setSlider({ slider, previous, next }, { epochs, changes, unit }, index, run) {
  const epoch = epochs[index];
  slider.min = epochs[0];
  slider.max = epochs.at(-1);
  slider.value = epoch;
  slider.setAttribute("aria-label", `${unit} of ${run.name}`);
  previous.disabled = !(changes[0] < epoch);
  next.disabled = !(changes.at(-1) > epoch);
}

/** Marks above the slider: where the cell changed, and where the guard said something. */
function ticks(run, { epochs, changes }) {
  const [first, last] = [epochs[0], epochs.at(-1)];
  const place = (epoch) => `${(100 * (epoch - first)) / Math.max(1, last - first)}%`;
  const tick = (epoch, kind, y1, y2) =>
    drawn("line", { class: kind, x1: place(epoch), x2: place(epoch), y1, y2 });
  const marks = run.marks.filter(({ epoch }) => epoch >= first && epoch <= last);
  return [
    ...changes.map((epoch) => tick(epoch, "change", 8, 14)),
    ...marks.map(({ epoch, kind }) => tick(epoch, `mark ${kind}`, 0, 9)),
  ];
}

/** What stands beside the slider: the epoch, and what is special about it. */
function say({ label, note, slider }, run, time, index, following) {
  const epoch = time.epochs[index];
  const whole = Math.max(time.planned ?? 0, time.epochs.at(-1));
  label.textContent = `${time.unit} ${epoch} of ${whole}`;
  const notes = [
    time.changed.has(epoch) ? "the cell changed here" : null,
    time.found.includes(epoch) ? "this is the found cell" : foundText(time),
    following ? "following the newest" : null,
  ].filter(Boolean);
  note.textContent = notes.join(" · ");
  slider.setAttribute("aria-valuetext", [label.textContent, ...notes].join(", "));
}

/** Which step's cell is the one that was found. */
function foundText({ found, unit }) {
  return found.length ? `the found cell is that of ${unit} ${found.at(-1)}` : null;
}

/** To the nearest step before (-1) or behind (1) at which the cell changed. */
function toChange(direction) {
  const run = store.run();
  const { epochs, changes } = timeline(run);
  const now = epochs[moment(run, store.view)];
  const wanted =
    direction < 0 ? changes.findLast((epoch) => epoch < now) : changes.find((epoch) => epoch > now);
  if (wanted !== undefined) store.move(run, wanted);
}

/** The button that plays: {stop()}. It starts anew from the end, and stops there. */
function playing(button) {
  let timer = null;
  const show = () => {
    const text = timer === null ? "play" : "pause";
    button.replaceChildren(icon(text));
    button.setAttribute("aria-label", text);
    button.title = text;
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    show();
  };
  const step = () => {
    const run = store.run();
    const { epochs } = timeline(run);
    const index = moment(run, store.view) + 1;
    store.move(run, epochs[Math.min(index, epochs.length - 1)]);
    if (index >= epochs.length - 1) stop();
  };
  button.addEventListener("click", () => {
    if (timer !== null) return stop();
    const run = store.run();
    const { epochs } = timeline(run);
    if (moment(run, store.view) === epochs.length - 1) store.move(run, epochs[0]);
    const pause = Math.min(STEP[1], Math.max(STEP[0], PLAYING / epochs.length));
    timer = setInterval(step, pause);
    show();
  });
  return { stop };
}
