// Times in the zone of whoever looks; without this script they stand there in UTC.
(function () {
  "use strict";
  const pad = (number) => String(number).padStart(2, "0");
  const clock = (at) => `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
  const date = (at) => `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())} ${clock(at)}`;
  function local(root) {
    for (const time of root.querySelectorAll("time[datetime]:not([data-local])")) {
      const at = new Date(time.dateTime);
      if (isNaN(at)) continue;
      time.title = `${at.toISOString()} (UTC)`;
      time.textContent = time.dataset.form === "date" ? date(at) : clock(at);
      time.dataset.local = "";
    }
  }
  firedrill.on("before", local);
  local(document);
})();
