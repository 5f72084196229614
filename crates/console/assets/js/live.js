// Keeps a page true while it is open.
//
// A part of a page that changes carries an id and the kinds of events that change it: <section id="nodes"
// data-live="cluster operation">. When one comes, the page is fetched once, and those parts are morphed into what the
// server shows now: focus, scroll position and open details stay. Events that come while one is fetched are answered by
// one more fetch, so the last event is never the one that is not shown. Other scripts listen with firedrill.on. The kind
// "attack" is a line of the timeline about an attack.
(function () {
  "use strict";
  // Well below the quarter of a second in which a change is to be seen; a busy fleet costs each reader five fetches a second.
  const APART_MS = 200;
  // A stream that breaks is opened again after this, doubled each time, with some luck in it: two hundred browsers do
  // not come back at the same moment.
  const AGAIN_MIN_MS = 250, AGAIN_MAX_MS = 4000;
  const KINDS = ["cluster", "operation", "run", "sample", "timeline", "halt"];

  const listeners = {};
  const firedrill = (window.firedrill = {
    // kind: one of KINDS, or "fresh" (parts were swapped in), "back" (the stream is open again after a break).
    on(kind, listener) { (listeners[kind] ||= []).push(listener); },
    tell(kind, value) { for (const listener of listeners[kind] || []) listener(value); },
  });

  let wanted = new Set(), fetching = false, last = 0, timer = 0;
  function want(ids) {
    for (const id of ids) wanted.add(id);
    if (!wanted.size || fetching || timer) return;
    timer = setTimeout(refresh, Math.max(0, last + APART_MS - Date.now()));
  }
  async function refresh() {
    timer = 0;
    fetching = true;
    last = Date.now();
    const ids = wanted;
    wanted = new Set();
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html", "firedrill-fresh-only": "true" }, redirect: "manual" });
      if (answer.type === "opaqueredirect") return location.reload(); // The session has ended.
      if (!answer.ok) throw new Error("answer " + answer.status);
      swap(new DOMParser().parseFromString(await answer.text(), "text/html"), ids);
    } catch {
      // The stream notices too, and everything is asked for again when it is back.
      for (const id of ids) wanted.add(id);
      last = Date.now() + 1000;
    }
    fetching = false;
    want([]);
  }
  function swap(fresh, ids) {
    for (const id of ids) {
      const old = document.getElementById(id), now = fresh.getElementById(id);
      if (!old || !now) continue;
      firedrill.tell("before", now);
      Idiomorph.morph(old, now, { ignoreActiveValue: true, callbacks: { beforeAttributeUpdated: stays } });
      firedrill.tell("fresh", document.getElementById(id));
    }
  }
  // What the reader has opened stays open.
  const stays = (name, node) => !(name === "open" && node.nodeName === "DETAILS");

  const changed = (kind) => want([...document.querySelectorAll(`[data-live~="${kind}"][id]`)].map((part) => part.id));

  const link = document.getElementById("link");
  function say(state) {
    document.documentElement.dataset.link = state;
    if (link) link.textContent = { live: "● live", lost: "○ reconnecting…" }[state] || "";
  }

  let again = AGAIN_MIN_MS, opened = false;
  function open() {
    const stream = new EventSource("/api/v1/events?brief=true" + document.body.dataset.stream);
    stream.onopen = () => {
      again = AGAIN_MIN_MS;
      say("live");
      // What has changed since the page was drawn, or while the server was away, is fetched now.
      want([...document.querySelectorAll("[data-live][id]")].map((part) => part.id));
      if (opened) firedrill.tell("back");
      opened = true;
    };
    stream.onerror = () => {
      stream.close();
      say("lost");
      setTimeout(open, again * (0.5 + Math.random()));
      again = Math.min(again * 2, AGAIN_MAX_MS);
    };
    for (const kind of KINDS) {
      stream.addEventListener(kind, (message) => {
        changed(kind);
        if (kind === "timeline" && /"kind":"attack-/.test(message.data)) changed("attack");
        if (listeners[kind]) firedrill.tell(kind, JSON.parse(message.data));
      });
    }
  }
  if ("stream" in document.body.dataset) open();
})();
