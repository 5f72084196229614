// Charts of a cluster: transactions per second, write latency, lag; faults shaded; one value a second, appended while the
// page is looked at. A chart says in data-drawn-ms how long its last whole drawing took, and in data-points of how many seconds.
// A day has seventy values for each pixel: only the least and the greatest of a few seconds are drawn, in their order, so that
// no peak is lost.
(function () {
  "use strict";
  const root = document.getElementById("series");
  if (!root || !window.uPlot) return;
  const ranges = document.getElementById("series-ranges"), state = document.getElementById("series-state");
  const address = `/api/v1/clusters/${encodeURIComponent(root.dataset.cluster)}/series`;
  const HEIGHT = 200, SECOND_MS = 1000;
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const COLOURS = ["--accent", "--good", "--doubt", "--bad", "--soft"];
  const DASHES = [undefined, [6, 3], [2, 3], [10, 3, 2, 3]];

  let seconds = 3600, times = [], columns = new Map(), faults = [], charts = [], again = true;

  // [1, null, [0, 3]] is 1, nothing, 0, 0, 0.
  function unpack(points, into) {
    for (const point of points) {
      if (Array.isArray(point)) for (let times = point[1]; times > 0; times--) into.push(point[0]);
      else into.push(point);
    }
  }
  function each(answer, see) {
    see("transactions", answer.transactions_per_second);
    see("median", answer.write_p50_ms);
    see("99th percentile", answer.write_p99_ms);
    for (const [node, series] of Object.entries(answer.nodes)) {
      see("lag " + node, series.lag_seconds);
      see("behind " + node, series.behind);
    }
  }
  function take(answer) {
    for (let at = 0; at < answer.length; at++) times.push(answer.from + at);
    each(answer, (name, points) => {
      if (!columns.has(name)) columns.set(name, new Array(times.length - answer.length).fill(null));
      unpack(points, columns.get(name));
    });
    const old = times.findIndex((time) => time > times[times.length - 1] - seconds);
    if (old > 0) { times.splice(0, old); for (const column of columns.values()) column.splice(0, old); }
  }

  const shade = { hooks: { drawClear: [(u) => {
    const right = u.bbox.left + u.bbox.width;
    u.ctx.save();
    for (const fault of faults) {
      const from = Math.max(u.valToPos(fault.from, "x", true), u.bbox.left);
      const to = Math.min(Math.max(fault.to === null ? right : u.valToPos(fault.to, "x", true), from + 2), right);
      if (to <= u.bbox.left || from >= right) continue;
      u.ctx.fillStyle = css("--fault");
      u.ctx.fillRect(from, u.bbox.top, to - from, u.bbox.height);
      u.ctx.fillStyle = css("--bad");
      u.ctx.fillText(fault.label, from + 4, u.bbox.top + 12 * devicePixelRatio);
    }
    u.ctx.restore();
  }] } };

  function chart(title, unit, names) {
    const host = document.createElement("div");
    host.className = "chart";
    host.setAttribute("role", "group");
    host.setAttribute("aria-label", title);
    root.append(host);
    const axis = { stroke: css("--soft"), grid: { stroke: css("--line"), width: 1 }, ticks: { stroke: css("--line") } };
    const one = { names, host, began: 0 };
    const measured = { hooks: { draw: [() => {
      if (!one.began) return;
      host.dataset.drawnMs = (performance.now() - one.began).toFixed(1);
      host.dataset.points = times.length;
      one.began = 0;
    }] } };
    one.began = performance.now();
    one.plot = new uPlot({
      title, width: root.clientWidth, height: HEIGHT, plugins: [shade, measured], cursor: { sync: { key: "cluster" } },
      axes: [axis, Object.assign({ label: unit, labelSize: 18, size: 58 }, axis)],
      scales: { y: { range: (_, low, high) => [0, Math.max(high || 0, 1) * 1.05] } },
      series: [{}].concat(names.map((name, index) => ({
        label: name.replace(/^(lag|behind) /, ""), stroke: css(COLOURS[index % COLOURS.length]), width: 1.5, points: { show: false },
        dash: DASHES[Math.floor(index / COLOURS.length) % DASHES.length], value: (_, value) => value == null ? "–" : value.toFixed(1),
      }))),
    }, data(names), host);
    charts.push(one);
  }
  // Two values for each stretch of time, and two stretches for each pixel: the line is the same as if all were drawn.
  const STRETCHES_PER_PIXEL = 2;
  function thin(times, columns, width) {
    const stretch = Math.floor(times.length / (Math.max(width, 1) * STRETCHES_PER_PIXEL));
    if (stretch < 3) return [times, ...columns];
    const half = Math.floor(stretch / 2), count = Math.ceil(times.length / stretch), kept = [];
    for (let at = 0; at < times.length; at += stretch) kept.push(times[at], times[Math.min(at + half, times.length - 1)]);
    return [kept].concat(columns.map((column) => {
      const values = new Array(count * 2).fill(null);
      for (let from = 0, into = 0; from < column.length; from += stretch, into += 2) {
        let low = null, high = null, lowAt = 0, highAt = 0;
        for (let at = from, to = Math.min(from + stretch, column.length); at < to; at++) {
          const value = column[at];
          if (value === null) continue;
          if (low === null || value < low) { low = value; lowAt = at; }
          if (high === null || value > high) { high = value; highAt = at; }
        }
        values[into] = lowAt < highAt ? low : high;
        values[into + 1] = lowAt < highAt ? high : low;
      }
      return values;
    }));
  }
  const data = (names) => thin(times, names.map((name) => columns.get(name)), root.clientWidth);
  function draw() {
    for (const { plot } of charts) plot.destroy();
    root.replaceChildren();
    charts = [];
    const of = (start) => [...columns.keys()].filter((name) => name.startsWith(start) && columns.get(name).some((value) => value !== null));
    chart("Transactions per second", "1/s", ["transactions"]);
    if (of("99th").length) chart("Write latency, from the scheduled start", "ms", ["median", "99th percentile"]);
    if (of("lag ").length) chart("Lag", "s", of("lag "));
    if (of("behind ").length) chart("Transactions behind the primary", "count", of("behind "));
  }
  function redraw() {
    for (const one of charts) { one.began = performance.now(); one.plot.setData(data(one.names)); }
  }
  // Another chart is due when a workload begins or a node joins.
  const shape = () => [...columns.keys()].filter((name) => columns.get(name).some((value) => value !== null)).join();

  async function ask(query) {
    const answer = await fetch(address + query, { headers: { accept: "application/json" } });
    if (!answer.ok) throw new Error("answer " + answer.status);
    return answer.json();
  }
  let busy = false, drawn = "", wanted = true;
  async function load() {
    busy = true;
    try {
      const now = Math.floor(Date.now() / SECOND_MS);
      const answer = await ask(`?from=${now - seconds}`);
      times = []; columns = new Map(); faults = answer.faults; again = false; wanted = false;
      take(answer);
      drawn = shape();
      state.textContent = times.length ? "" : "There are no values yet; they come one a second.";
      if (times.length) draw(); else again = true;
    } catch (error) {
      state.textContent = `The values could not be fetched (${error.message}); it is tried again.`;
      again = true;
    }
    busy = false;
  }
  async function append() {
    if (busy || document.hidden) return;
    if (again) return load();
    busy = true;
    try {
      const answer = await ask(`?from=${times[times.length - 1] + 1}&faults=${wanted}`);
      if (wanted) faults = answer.faults;
      // Away for longer than the charts reach: what is between is not known here.
      if (answer.length && answer.from !== times[times.length - 1] + 1) again = true;
      else if (answer.length || wanted) {
        take(answer);
        // Looking through a day of values is for now and then; a new chart can wait for a few seconds.
        if (times[times.length - 1] % 5 === 0 && shape() !== drawn) { drawn = shape(); draw(); } else redraw();
      }
      wanted = false;
      state.textContent = "";
    } catch (error) {
      state.textContent = "The values could not be fetched; it is tried again.";
    }
    busy = false;
  }

  function choose(button) {
    seconds = Number(button.dataset.seconds);
    for (const other of ranges.children) other.setAttribute("aria-pressed", other === button);
    load();
  }
  ranges.addEventListener("click", (event) => { if (event.target.dataset.seconds) choose(event.target); });
  ranges.hidden = false;
  choose(ranges.querySelector("[data-seconds='3600']"));
  setInterval(append, SECOND_MS);
  document.addEventListener("visibilitychange", append);
  // What is shaded changes with an attack, and that is on the timeline.
  if (window.firedrill) { firedrill.on("timeline", () => { wanted = true; }); firedrill.thin = thin; }
  let resized = 0;
  addEventListener("resize", () => {
    clearTimeout(resized);
    resized = setTimeout(() => { for (const { plot } of charts) plot.setSize({ width: root.clientWidth, height: HEIGHT }); }, 100);
  });
})();
