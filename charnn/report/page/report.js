"use strict";

for (const passage of document.querySelectorAll(".passage")) setUpPassage(passage);
for (const samples of document.querySelectorAll(".samples")) setUpSamples(samples);

/** Tokens that show their surprisal and the likeliest alternatives on hover, focus and tap; arrow keys go from one to the next. */
function setUpPassage(passage) {
  const list = passage.querySelector(".tokens");
  const popup = passage.querySelector(".popup");
  const tokens = [...list.querySelectorAll("[role=option]")];
  const numbers = new Map(tokens.map((token, number) => [token, number]));
  let current = tokens[0];
  for (const token of tokens) token.setAttribute("aria-label", inWords(token));

  function select(token) {
    current.tabIndex = -1;
    current.setAttribute("aria-selected", "false");
    current = token;
    current.tabIndex = 0;
    current.setAttribute("aria-selected", "true");
  }

  function hide() {
    popup.hidden = true;
    list.querySelector(".shown")?.classList.remove("shown");
  }

  function show(token) {
    hide();
    token.classList.add("shown");
    popup.replaceChildren(...described(token));
    popup.hidden = false;
    const box = token.getClientRects()[0];
    const around = passage.getBoundingClientRect();
    const left = Math.min(box.left - around.left, around.width - popup.offsetWidth);
    popup.style.left = `${Math.max(0, left)}px`;
    popup.style.top = `${box.bottom - around.top}px`;
  }

  list.addEventListener("mouseover", (event) => {
    if (numbers.has(event.target)) show(event.target);
  });
  passage.addEventListener("mouseleave", () => {
    if (document.activeElement === current) show(current);
    else hide();
  });
  list.addEventListener("focusin", (event) => {
    select(event.target);
    show(event.target);
  });
  list.addEventListener("focusout", hide);
  list.addEventListener("click", (event) => {
    if (numbers.has(event.target)) event.target.focus();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
  });
  list.addEventListener("keydown", (event) => {
    const number = numbers.get(current);
    const next = {
      ArrowRight: number + 1,
      ArrowLeft: number - 1,
      ArrowDown: inNextLine(tokens, number, 1),
      ArrowUp: inNextLine(tokens, number, -1),
      Home: 0,
      End: tokens.length - 1,
    }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    tokens[Math.max(0, Math.min(next, tokens.length - 1))].focus();
  });
}

/** Return the number of the token below or above another one as the text is laid out. */
function inNextLine(tokens, number, direction) {
  const box = tokens[number].getClientRects()[0];
  let best = number;
  let line = null;
  let distance = Infinity;
  for (let other = number + direction; tokens[other]; other += direction) {
    const its = tokens[other].getClientRects()[0];
    if (!its || Math.abs(its.top - box.top) < 2) continue;
    if (line !== null && Math.abs(its.top - line) > 2) break;
    line = its.top;
    if (Math.abs(its.left - box.left) < distance) {
      distance = Math.abs(its.left - box.left);
      best = other;
    }
  }
  return best;
}

function likeliest(token) {
  return JSON.parse(token.dataset.next || "[]");
}

function inWords(token) {
  const { name, bits, rank } = token.dataset;
  if (!bits) return `${name}, not scored`;
  const others = likeliest(token).map(([other, percent]) => `${other} ${percent} percent`);
  const place = rank ? `, rank ${rank}` : "";
  return `${name}, ${bits} bits${place}; likeliest: ${others.join(", ")}`;
}

function described(token) {
  const { name, bits, rank } = token.dataset;
  const title = element("p", "", element("b", "", name), bits ? ` ${bits} bits` : " not scored");
  if (rank) title.append(`, rank ${rank}`);
  const rows = likeliest(token).map(([other, percent]) => {
    const bar = element("span", "bar");
    bar.style.width = `${percent}%`;
    const row = element("tr", "", element("td", "", other), element("td", "number", `${percent} %`));
    row.append(element("td", "bars", bar));
    if (other === name) row.className = "itself";
    return row;
  });
  return rows.length ? [title, element("table", "", ...rows)] : [title];
}

function element(name, className, ...content) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...content);
  return made;
}

/** The samples through time: a slider, with a button for each direction. */
function setUpSamples(samples) {
  const slider = samples.querySelector("input");
  const all = [...samples.querySelectorAll(".sample")];
  const buttons = { earlier: -1, later: 1 };

  function show() {
    const number = Number(slider.value);
    all.forEach((sample, other) => (sample.hidden = other !== number));
    slider.setAttribute("aria-valuetext", all[number].dataset.label);
    samples.querySelector(".earlier").disabled = number === 0;
    samples.querySelector(".later").disabled = number === all.length - 1;
  }

  for (const [name, step] of Object.entries(buttons)) {
    samples.querySelector(`.${name}`).addEventListener("click", () => {
      slider.value = Number(slider.value) + step;
      show();
    });
  }
  slider.addEventListener("input", show);
  slider.value = all.length - 1;
  show();
}
