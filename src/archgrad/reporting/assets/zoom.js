// The part of the epochs that charts show: two sliders, a button, or a drag across a chart.

/** The range kept for a chart, or undefined where it shows all. */
const zoomOf = (view, chart) => view.zoom[chart] ?? undefined;

function setZoom(chart, range) {
  store.set({ zoom: { ...store.view.zoom, [chart]: range } });
}

/** Controls of view.zoom[chart]; `name` is of their ids, `title` says what they zoom. */
function zoomControl(name, title) {
  const slider = (end, label) =>
    element("input", {
      type: "range",
      id: `${name}-zoom-${end}`,
      step: 1,
      "aria-label": label,
      oninput: () => moved(end),
    });
  const first = slider("first", `from the first epoch shown: ${title}`);
  const last = slider("last", `to the last epoch shown: ${title}`);
  const text = element("output", { for: `${first.id} ${last.id}` });
  const clear = () => setZoom(chart, null);
  const wide = { id: `${name}-zoom-reset`, "aria-label": `Show all: ${title}`, onclick: clear };
  const reset = element("button", { type: "button", ...wide }, "Show all");
  const from = element("label", {}, "From", first);
  const to = element("label", {}, "to", last);
  const group = { class: "zoom", role: "group", "aria-label": `zoom: ${title}` };
  const node = element("div", group, from, to, text, reset);
  let chart = null;
  let whole = [0, 0];

  function moved(end) {
    let [low, high] = [Number(first.value), Number(last.value)];
    if (low >= high && end === "first") low = Math.max(whole[0], high - 1);
    if (low >= high && end === "last") high = Math.min(whole[1], low + 1);
    setZoom(chart, low === whole[0] && high === whole[1] ? null : [low, high]);
  }
  function update(key, xs, xName, view) {
    chart = key;
    whole = d3.extent(xs.filter(isNumber));
    node.hidden = !(whole[1] - whole[0] > 1);
    if (node.hidden) return;
    const [low, high] = zoomOf(view, key) ?? whole;
    for (const [input, value] of [[first, low], [last, high]]) {
      input.min = whole[0];
      input.max = whole[1];
      input.value = value;
      input.setAttribute("aria-valuetext", `${xName} ${value}`);
    }
    text.textContent = `${xName}s ${low} to ${high} of ${whole[1]}`;
  }
  return { node, update };
}

/** A drag across the chart zooms to what it covers; a click is passed on. */
function dragZoom(chart, { zoomed, clicked }) {
  let start = null;
  let brush = null;
  const place = (event) => event.clientX - chart.svg.getBoundingClientRect().left;
  const value = (x) => {
    const [low, high] = chart.svg.scale("x").domain;
    const scale = chart.svg.getBoundingClientRect().width / chart.svg.viewBox.baseVal.width;
    return Math.min(high, Math.max(low, chart.svg.scale("x").invert(x / scale)));
  };
  const end = () => {
    brush?.remove();
    start = brush = null;
  };
  chart.plot.classList.add("zooms");
  // before Plot sees it, whose tip would stay where it is after a click
  chart.plot.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !chart.svg) return;
    event.stopPropagation();
    start = place(event);
  }, true);
  chart.plot.addEventListener("pointermove", (event) => {
    if (start === null || (brush === null && Math.abs(place(event) - start) < 6)) return;
    if (brush === null) {
      const [bottom, top] = chart.svg.scale("y").range;
      brush = drawn("rect", { class: "brush", y: top, height: bottom - top });
      chart.svg.append(brush);
      chart.plot.setPointerCapture(event.pointerId);
    }
    brush.setAttribute("x", Math.min(start, place(event)));
    brush.setAttribute("width", Math.abs(place(event) - start));
  });
  chart.plot.addEventListener("pointerup", (event) => {
    if (start === null) return;
    const [low, high] = d3.sort([value(start), value(place(event))]);
    const dragged = brush !== null;
    end();
    if (!dragged) clicked?.(Math.round(low));
    else if (Math.round(high) > Math.round(low)) zoomed([Math.round(low), Math.round(high)]);
  });
  chart.plot.addEventListener("pointercancel", end);
}
