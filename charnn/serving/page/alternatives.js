"use strict";

// The alternatives to a token: a box that opens next to it, and what closes it.

const alternatives = (() => {
  const NOT_TEXT = /^<(unk|glue|0x[0-9A-F]{2})>$/; // tokens that cannot be taken
  const WORDS = { "": "no text", " ": "space", "\n": "line end", "\t": "tab" };
  const MARGIN = 8; // pixels between the alternatives and the edge of the window
  const GRACE = 200; // milliseconds for the pointer to move from a token to its alternatives

  const box = document.getElementById("alternatives");

  function make(kind, attributes = {}, content = "") {
    const made = document.createElement(kind);
    Object.assign(made, attributes);
    made.append(content);
    return made;
  }

  function shown(token) {
    return WORDS[token] ?? token;
  }

  // Calls `take` with the token that is chosen.
  function show(span, take) {
    const entries = Object.entries(span.alternatives).sort((one, other) => other[1] - one[1]);
    const heading = make("p", { className: "totals" }, `${shown(span.textContent)}: ${span.bits.toFixed(1)} bits`);
    const offered = entries.filter(([token]) => token && !NOT_TEXT.test(token.trim()));
    const buttons = offered.map(([token, logProb]) => {
      const button = make("button", { type: "button" }, make("span", { dir: "auto" }, shown(token)));
      if (token === span.textContent) button.setAttribute("aria-current", "true");
      button.append(make("span", {}, `${(100 * Math.exp(logProb)).toFixed(1)} %`));
      button.addEventListener("click", () => take(token));
      return button;
    });
    box.replaceChildren(heading, ...buttons);
    box.hidden = false;
    box.span = span;
    place(span.getClientRects()[0] ?? span.getBoundingClientRect());
  }

  // Below the token, or above it where there is more room, and always within the window.
  function place(at) {
    const { clientWidth, clientHeight } = document.documentElement;
    const above = at.top - 2 * MARGIN;
    const below = clientHeight - at.bottom - 2 * MARGIN;
    box.style.maxHeight = "none";
    const isBelow = box.offsetHeight <= below || below >= above;
    box.style.maxHeight = `${Math.max(isBelow ? below : above, 0)}px`;
    const left = Math.max(MARGIN, Math.min(at.left, clientWidth - box.offsetWidth - MARGIN));
    const top = isBelow ? at.bottom + 2 : at.top - 2 - box.offsetHeight;
    box.style.left = `${left + window.scrollX}px`;
    box.style.top = `${top + window.scrollY}px`;
  }

  function hide() {
    box.hidden = true;
  }

  // Once neither the pointer nor the focus is on the token or its alternatives.
  function hideSoon() {
    setTimeout(() => {
      const isHeld = [box, box.span].some((each) => each?.matches(":hover") || each?.contains(document.activeElement));
      if (!isHeld) hide();
    }, GRACE);
  }

  function move(event) {
    const buttons = [...box.querySelectorAll("button")];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !buttons.length) return;
    event.preventDefault();
    const at = buttons.indexOf(document.activeElement);
    buttons[(at + step + buttons.length) % buttons.length].focus();
  }

  return { hide, hideSoon, make, move, show, shown };
})();
