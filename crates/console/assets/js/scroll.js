// A part that is wider than its window can be scrolled with the keyboard, and says what it is.
(function () {
  "use strict";
  function reach() {
    for (const part of document.querySelectorAll("section.card, .scroll, pre")) {
      const wide = part.scrollWidth > part.clientWidth;
      if (wide && !part.hasAttribute("tabindex")) {
        part.tabIndex = 0;
        part.dataset.reached = "";
        const head = part.querySelector("h1, h2, h3, caption");
        if (!part.hasAttribute("aria-label") && !part.hasAttribute("aria-labelledby") && part.nodeName !== "PRE") {
          part.setAttribute("role", "region");
          part.setAttribute("aria-label", (head ? head.textContent : "table").trim());
        }
      } else if (!wide && "reached" in part.dataset) {
        part.removeAttribute("tabindex");
        delete part.dataset.reached;
      }
    }
  }
  firedrill.on("fresh", reach);
  addEventListener("resize", reach);
  reach();
})();
