// A run while it goes on: the clock, and the counts of writes between two looks at the server.
(function () {
  "use strict";
  // With thin groups of three digits, as the server writes them.
  const grouped = (number) => String(number).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");

  const known = {};
  for (const field of document.querySelectorAll("[data-count]")) known[field.dataset.count] = Number(field.dataset.value);
  function put(root) {
    for (const field of root.querySelectorAll("[data-count]")) {
      const name = field.dataset.count;
      // The server stores its counts once a second: what is shown never goes back.
      known[name] = Math.max(known[name] || 0, Number(field.dataset.value));
      field.textContent = grouped(known[name]);
    }
  }
  const run = new URLSearchParams(document.body.dataset.stream).get("run");
  if (window.firedrill) {
    firedrill.on("sample", ({ run: of, sample }) => {
      if (of !== run) return;
      known.acknowledged = Math.max(known.acknowledged || 0, sample.acknowledged_total);
      known.failed = (known.failed || 0) + sample.writes_failed;
      known.unknown = (known.unknown || 0) + sample.writes_unknown;
      put(document);
    });
    firedrill.on("before", put);
  }

  function tick() {
    for (const clock of document.querySelectorAll("[data-since]")) {
      const seconds = Math.max(0, Math.floor((Date.now() - Date.parse(clock.dataset.since)) / 1000));
      const two = (number) => String(number).padStart(2, "0");
      const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
      clock.textContent = `${hours ? hours + ":" + two(minutes) : minutes}:${two(seconds % 60)}`;
    }
  }
  setInterval(tick, 1000);
  tick();
})();
