// Keys: the palette (Ctrl K), the list of keys (?), places (g, then a letter), the theme.
(function () {
  "use strict";
  const byId = (id) => document.getElementById(id);
  const places = [...document.querySelectorAll("nav.places a")].map((link) => ({
    name: link.textContent, href: link.getAttribute("href"), kind: "page", key: link.dataset.key }));

  const theme = byId("theme");
  const dark = () => (document.documentElement.dataset.theme ||
    (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  function label() { theme.textContent = dark() ? "Light" : "Dark"; theme.setAttribute("aria-label", `Use the ${dark() ? "light" : "dark"} theme`); }
  function flip() {
    const next = dark() ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    localStorage.setItem("theme", next);
    label();
    firedrill.tell("theme", next);
  }
  theme.hidden = false;
  theme.addEventListener("click", flip);
  label();

  const palette = byId("palette"), text = byId("palette-text"), list = byId("palette-list"), opener = byId("palette-open");
  const SHOWN_MAX = 12;
  let known = places, shown = [], at = 0;
  async function openPalette() {
    if (palette.open) return;
    text.value = "";
    palette.showModal();
    draw();
    const answer = await fetch("/palette").catch(() => null);
    if (answer && answer.ok) { known = places.concat(await answer.json()); draw(); }
  }
  function draw() {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (entry) => words.every((word) => `${entry.kind} ${entry.name}`.toLowerCase().includes(word));
    shown = known.filter(fits).slice(0, SHOWN_MAX);
    at = Math.min(at, Math.max(0, shown.length - 1));
    list.replaceChildren(...shown.map((entry, index) => {
      const item = document.createElement("li"), kind = document.createElement("span");
      item.id = `palette-${index}`;
      item.setAttribute("role", "option");
      item.setAttribute("aria-selected", String(index === at));
      kind.className = "soft";
      kind.textContent = entry.kind;
      item.append(entry.name, " ", kind);
      item.addEventListener("click", () => location.assign(entry.href));
      return item;
    }));
    if (!shown.length) {
      const none = document.createElement("li");
      none.className = "soft";
      none.setAttribute("role", "option");
      none.setAttribute("aria-disabled", "true");
      none.textContent = "nothing has that in its name";
      list.append(none);
    }
    text.setAttribute("aria-activedescendant", shown.length ? `palette-${at}` : "");
  }
  text.addEventListener("input", () => { at = 0; draw(); });
  text.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) { event.preventDefault(); at = (at + step + shown.length) % Math.max(1, shown.length); draw(); }
    if (event.key === "Enter") { event.preventDefault(); if (shown[at]) location.assign(shown[at].href); }
  });
  opener.hidden = false;
  opener.addEventListener("click", openPalette);

  const keys = byId("keys");
  const described = [["Ctrl K or /", "go to a cluster, a run or a page"], ["?", "this list"], ["Esc", "close what is open"],
    ["d", "the other theme"]].concat(places.map((place) => [`g ${place.key}`, place.name]));
  // Pages add their own: <body … data-keys> is not needed, an element with data-press="x" is clicked by x.
  function openKeys() {
    const own = [...document.querySelectorAll("[data-press]")].map((button) => [button.dataset.press, button.textContent.trim()]);
    keys.querySelector("dl").replaceChildren(...described.concat(own).flatMap(([key, what]) => {
      const term = document.createElement("dt"), meaning = document.createElement("dd"), kbd = document.createElement("kbd");
      kbd.textContent = key;
      term.append(kbd);
      meaning.textContent = what;
      return [term, meaning];
    }));
    keys.showModal();
  }
  let prefix = 0;
  addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") { event.preventDefault(); return openPalette(); }
    const typing = event.target.closest("input, select, textarea, [contenteditable]");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (Date.now() - prefix < 1500) {
      prefix = 0;
      const place = places.find((place) => place.key === event.key);
      if (place) return location.assign(place.href);
    }
    if (event.key === "g") prefix = Date.now();
    else if (event.key === "?") openKeys();
    else if (event.key === "/") { event.preventDefault(); openPalette(); }
    else if (event.key === "d") flip();
    else {
      const button = document.querySelector(`[data-press="${CSS.escape(event.key)}"]`);
      if (button) { event.preventDefault(); button.click(); }
    }
  });
})();
