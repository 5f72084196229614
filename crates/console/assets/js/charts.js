// Draws the charts of a run: of a finished one from the data in the page, of a running one also from the live stream.
// Data: {origin: ms since the epoch, t: [s], series: {name: [values]}, faults: [[from, to, label]]}.
(function () {
  "use strict";
  // Bounded: a live page that stays open keeps the last two hours of four samples a second.
  const POINTS_MAX = 2 * 3600 * 4;
  const root = document.getElementById("charts");
  if (!root) return;
  const data = JSON.parse(document.getElementById("chart-data").textContent);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colours = ["#2457c5", "#18794e", "#a15c00", "#8e4ec6", "#0b8f9c", "#c62a2f"];

  const shade = {
    hooks: {
      drawClear: [(u) => {
        for (const [from, to, label] of data.faults) {
          const x0 = u.valToPos(from, "x", true), x1 = Math.max(u.valToPos(to === null ? u.scales.x.max : to, "x", true), x0 + 2);
          const left = Math.max(x0, u.bbox.left), right = Math.min(x1, u.bbox.left + u.bbox.width);
          if (right <= left) continue;
          u.ctx.fillStyle = css("--fault");
          u.ctx.fillRect(left, u.bbox.top, right - left, u.bbox.height);
          u.ctx.fillStyle = css("--bad");
          u.ctx.fillText(label, left + 4, u.bbox.top + 12 * devicePixelRatio);
        }
      }],
    },
  };

  const axis = (label) => ({ label, labelSize: 18, size: 58, stroke: css("--soft"), grid: { stroke: css("--line"), width: 1 } });
  function chart(title, unit, names) {
    const host = document.createElement("div");
    host.className = "chart";
    root.append(host);
    const plot = new uPlot({
      title, width: root.clientWidth, height: 200, plugins: [shade], cursor: { sync: { key: "run" } },
      scales: { x: { time: false } },
      axes: [Object.assign(axis("seconds since the start"), { size: 34 }), axis(unit)],
      series: [{ label: "s", value: (_, v) => v == null ? "" : v.toFixed(2) }].concat(names.map((name, index) => ({
        label: name, stroke: name === "failed" ? css("--bad") : name === "unknown" ? css("--doubt") : colours[index % colours.length],
        width: 1.5, points: { show: false }, value: (_, v) => v == null ? "" : v.toFixed(1),
      }))),
    }, view(names), host);
    return { plot, names };
  }
  const view = (names) => [data.t].concat(names.map((name) => data.series[name]));
  const lags = Object.keys(data.series).filter((name) => name.startsWith("lag "));
  const charts = [
    chart("Writes per second", "1/s", ["acknowledged", "failed", "unknown"]),
    chart("Write latency, from the scheduled start", "ms", ["p50", "p99"]),
  ];
  if (lags.length) charts.push(chart("Transactions behind the primary", "count", lags));
  addEventListener("resize", () => charts.forEach(({ plot }) => plot.setSize({ width: root.clientWidth, height: 200 })));

  const run = root.dataset.run;
  if (!run) return;
  const millis = (span) => span === null || span === undefined ? null : span
    .split(" ").reduce((sum, part) => {
      const [, number, unit] = /^([\d.]+)(\D+)$/.exec(part) || [0, 0, "s"];
      const factors = { ns: 1e-6, us: 1e-3, "µs": 1e-3, ms: 1, s: 1e3, m: 6e4, h: 3.6e6 };
      return sum + Number(number) * (factors[unit] ?? 1e3);
    }, 0);
  let dirty = false;
  // An attack begins or ends while the page is open.
  firedrill.on("fresh", (part) => {
    if (!part || part.id !== "fault-data") return;
    data.faults = JSON.parse(part.textContent) || [];
    charts.forEach(({ plot }) => plot.redraw());
  });
  firedrill.on("sample", ({ run: of, sample, lags: behind }) => {
    if (of !== run) return;
    const seconds = millis(sample.over) / 1000 || 1;
    data.t.push(sample.at / 1e6 - data.origin / 1e3);
    const now = { acknowledged: sample.writes_ok / seconds, failed: sample.writes_failed / seconds,
      unknown: sample.writes_unknown / seconds, p50: millis(sample.write_p50), p99: millis(sample.write_p99) };
    for (const lag of behind) now["lag " + lag.node] = lag.behind;
    for (const name of Object.keys(data.series)) data.series[name].push(now[name] ?? null);
    if (data.t.length > POINTS_MAX) { data.t.shift(); for (const name in data.series) data.series[name].shift(); }
    dirty = true;
  });
  setInterval(() => {
    if (!dirty) return;
    dirty = false;
    charts.forEach(({ plot, names }) => plot.setData(view(names)));
  }, 500);
})();
