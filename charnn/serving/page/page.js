"use strict";

// Writes with the models of this server: see index.html. All state that is worth keeping is in the fragment of the URL.

const { make, shown } = alternatives;
const ALTERNATIVES = 8;
const MAX_BITS = 12; // surprisal from which on the color is the same
const MAX_TEXT_IN_URL = 4000;
const RIGHT_TO_LEFT = /[\p{Script=Hebrew}\p{Script=Arabic}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}\p{Script=Adlam}]/u;
const SETTINGS = ["temperature", "top_p", "min_p", "max_tokens"];

const element = (id) => document.getElementById(id);
const text = element("text");
const panels = new Map(); // of the models that are chosen, by name
const history = []; // texts before each change that can be undone
let numReloads = 0;
let running = null; // the AbortController of what is being written
let lastStart = null; // the text before the last writing
let lastFocus = null; // the button that was disabled while it had the focus

function say(message, isError = false) {
  element("status").textContent = message;
  element("status").classList.toggle("error", isError);
}

async function ask(path, body, signal) {
  const headers = { "content-type": "application/json" };
  const key = element("key").value;
  if (key) headers.authorization = `Bearer ${key}`;
  const response = await fetch(path, body ? { method: "POST", headers, body: JSON.stringify(body), signal } : { headers, signal });
  if (response.status === 401) {
    element("key_label").hidden = false;
    throw new Error(key ? "The server wants another API key." : "Enter the API key of this server.");
  }
  if (!response.ok) {
    const found = await response.json().catch(() => null);
    throw new Error(found?.error?.message ?? `the server answered ${response.status}`);
  }
  return response;
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data: ") && line !== "data: [DONE]") yield JSON.parse(line.slice(6));
    }
  }
}

function addTokens(panel, logprobs, isGenerated) {
  const added = logprobs.tokens.map((token, index) => {
    const bits = -logprobs.token_logprobs[index] / Math.LN2;
    const start = logprobs.text_offset[index];
    const span = make("span", { className: "token", tabIndex: panel.spans.length + index ? -1 : 0 });
    span.setAttribute("role", "button");
    span.setAttribute("aria-label", `${shown(token)}, ${bits.toFixed(1)} bits`);
    span.setAttribute("aria-haspopup", "dialog");
    span.classList.toggle("generated", isGenerated);
    span.style.setProperty("--share", (Math.min(Math.max(bits, 0), MAX_BITS) / MAX_BITS).toFixed(3));
    Object.assign(span, { start, bits, alternatives: logprobs.top_logprobs?.[index] ?? {}, panel });
    panel.bits += bits;
    return span;
  });
  panel.tokens.append(...added);
  for (const span of added) panel.spans.push(span);
}

// The text of each token is what stands between its offset and the next one's: a word's space belongs to the word. Offsets
// count characters, not UTF-16 units. Only tokens that are new since the last frame are drawn.
function redraw(panel) {
  panel.isDue = false;
  const { spans } = panel;
  for (let index = Math.max(0, panel.numDrawn - 1); index < spans.length; index += 1) {
    const end = spans[index + 1]?.start ?? panel.characters.length;
    spans[index].textContent = panel.characters.slice(spans[index].start, end).join("");
    spans[index].classList.toggle("line-end", spans[index].textContent === "\n");
  }
  panel.numDrawn = spans.length;
  setDirection(panel);
  const count = panel.characters.length;
  const perCharacter = count ? ` · ${(panel.bits / count).toFixed(2)} bits per character` : "";
  panel.totals.textContent = `${spans.length} tokens · ${panel.bits.toFixed(1)} bits${perCharacter}`;
  panel.adopt.disabled = !panel.generated;
  panel.onText(panel.generated);
}

// As dir="auto" does, which takes time quadratic in the number of tokens.
function setDirection(panel) {
  const letter = panel.tokens.dir ? undefined : panel.characters.find((character) => /\p{L}/u.test(character));
  if (letter) panel.tokens.dir = RIGHT_TO_LEFT.test(letter) ? "rtl" : "ltr";
}

function redrawSoon(panel) {
  if (panel.isDue) return;
  panel.isDue = true;
  requestAnimationFrame(() => panel.isDue && redraw(panel));
}

function clear(panel) {
  panel.tokens.replaceChildren();
  panel.adopt.disabled = true;
  panel.tokens.dir = "";
  Object.assign(panel, { spans: [], characters: [], generated: "", bits: 0, numDrawn: 0, isDue: false, onText: () => {} });
}

// What was typed stays as it is, also where the model reads an unknown token.
async function complete(panel, prompt, maxTokens, signal, onText) {
  clear(panel);
  element("panels").classList.remove("stale");
  Object.assign(panel, { prompt, onText });
  const body = { model: panel.name, prompt, max_tokens: maxTokens, echo: true, logprobs: ALTERNATIVES, stream: maxTokens > 0 };
  if (maxTokens) {
    body.temperature = Number(element("temperature").value);
    const [top, least] = ["top_p", "min_p"].map((id) => Number(element(id).value));
    if (body.temperature && top < 1) body.top_p = top;
    if (body.temperature && least) body.min_p = least;
  }
  const response = await ask("v1/completions", body, signal);
  const parts = maxTokens ? events(response) : [await response.json()];
  let isPrompt = prompt !== "";
  try {
    for await (const part of parts) {
      if (part.error) throw new Error(part.error.message);
      for (const choice of part.choices) {
        for (const character of choice.text) panel.characters.push(character);
        if (choice.logprobs) addTokens(panel, choice.logprobs, !isPrompt);
        if (!isPrompt) panel.generated += choice.text;
        isPrompt = false;
      }
      redrawSoon(panel);
    }
  } finally {
    redraw(panel);
  }
}

async function run(work) {
  running?.abort();
  const controller = new AbortController();
  running = controller;
  setBusy(true);
  alternatives.hide();
  say("");
  try {
    await work(controller.signal);
  } catch (error) {
    if (error.name !== "AbortError") say(error.message, true);
  } finally {
    if (running === controller) {
      running = null;
      text.readOnly = false;
      setBusy(false);
    }
    keepInUrl();
  }
}

function isWhole(input) {
  return input.step === "1";
}

function isOutOfRange(input) {
  const { badInput, rangeOverflow, rangeUnderflow } = input.validity;
  const isBroken = isWhole(input) && !Number.isInteger(Number(input.value));
  return input.value === "" || badInput || rangeOverflow || rangeUnderflow || isBroken;
}

function write(from = text.value) {
  if (!panels.size) {
    say("Choose a model first.", true);
    return undefined;
  }
  const wrong = SETTINGS.map(element).find((input) => isOutOfRange(input));
  if (wrong) {
    wrong.focus();
    say(`${wrong.labels[0].textContent.trim()}: must be a ${isWhole(wrong) ? "whole " : ""}number from ${wrong.min} to ${wrong.max}.`, true);
    return undefined;
  }
  const start = from;
  history.push(text.value);
  lastStart = start;
  text.value = start;
  const chosen = [...panels.values()];
  return run(async (signal) => {
    text.readOnly = chosen.length === 1;
    const count = Number(element("max_tokens").value);
    await Promise.all(
      chosen.map((panel) =>
        complete(panel, start, count, signal, (generated) => {
          if (chosen.length === 1) {
            text.value = start + generated;
            text.scrollTop = text.scrollHeight;
          }
        }),
      ),
    );
    if (chosen.length > 1) say("Choose which text to continue.");
  });
}

function score() {
  return run((signal) => Promise.all([...panels.values()].map((panel) => complete(panel, text.value, 0, signal, () => {}))));
}

// A button that is disabled loses the focus: it goes to Stop, and back.
function setBusy(isBusy) {
  const focused = document.activeElement;
  element("stop").disabled = !isBusy;
  element("write").disabled = isBusy || panels.size === 0;
  element("score").disabled = isBusy || panels.size === 0;
  element("again").disabled = isBusy || lastStart === null;
  element("undo").disabled = isBusy || history.length === 0;
  if (isBusy && focused?.disabled) {
    lastFocus = focused;
    element("stop").focus();
  } else if (focused === element("stop") && !isBusy) {
    (lastFocus && !lastFocus.disabled ? lastFocus : element("write")).focus();
  }
}

function undo() {
  if (!history.length) return;
  text.value = history.pop();
  lastStart = null;
  void score();
}

// Tokens

// Tokens join to the text: a word has the space before it.
function take(span, token) {
  if (element("panels").classList.contains("stale")) {
    say("The text was edited since; score it to see its tokens.", true);
    return;
  }
  const before = span.panel.characters.slice(0, span.start).join("");
  alternatives.hide();
  text.focus();
  void write(before + token);
}

function showAlternativesOf(span) {
  alternatives.show(span, (token) => take(span, token));
}

function tokenOf(event) {
  return event.target.closest?.(".token");
}

function move(event) {
  const span = tokenOf(event);
  if (!span) return;
  const isLeftward = getComputedStyle(span.parentElement).direction === "rtl";
  const [right, left] = isLeftward ? ["previousElementSibling", "nextElementSibling"] : ["nextElementSibling", "previousElementSibling"];
  const { firstElementChild: first, lastElementChild: last } = span.parentElement;
  const next = { ArrowRight: span[right], ArrowLeft: span[left], Home: first, End: last }[event.key];
  if (next) {
    event.preventDefault();
    next.focus();
  }
  if (event.key === "Enter" || event.key === " " || event.key === "ArrowDown") {
    event.preventDefault();
    showAlternativesOf(span);
    element("alternatives").querySelector("button")?.focus();
  }
}

// Of the tokens of a panel, Tab goes to the one that had the focus last.
function focusToken(span) {
  span.parentElement.querySelector(".token[tabindex='0']")?.setAttribute("tabindex", "-1");
  span.tabIndex = 0;
  showAlternativesOf(span);
}

// Models

function addPanel(name) {
  const article = make("article");
  const head = make("header");
  const adopt = make("button", { type: "button" }, "Continue with this");
  const panel = { name, article, adopt };
  panel.tokens = make("div", { className: "tokens" });
  panel.tokens.setAttribute("role", "group");
  panel.tokens.setAttribute("aria-label", `Tokens of ${name}`);
  panel.totals = make("p", { className: "totals" });
  adopt.addEventListener("click", () => {
    history.push(text.value);
    text.value = panel.prompt + panel.generated;
    void score();
  });
  head.append(make("h2", {}, name), adopt);
  article.append(head, panel.tokens, panel.totals);
  element("panels").append(article);
  clear(panel);
  panel.prompt = "";
  panels.set(name, panel);
}

function choose(name, isChosen) {
  if (isChosen) addPanel(name);
  else {
    panels.get(name)?.article.remove();
    panels.delete(name);
  }
  setBusy(running !== null);
  keepInUrl();
}

function listModels(names, wanted) {
  const chosen = names.filter((name) => wanted.includes(name));
  for (const name of names) {
    const box = make("input", { type: "checkbox", checked: (chosen.length ? chosen : names.slice(0, 1)).includes(name) });
    const label = make("label");
    label.append(box, ` ${name}`);
    element("models").append(label);
    box.addEventListener("change", () => choose(name, box.checked));
    if (box.checked) choose(name, true);
  }
}

// The URL

function keepInUrl() {
  const state = new URLSearchParams();
  if (text.value.length <= MAX_TEXT_IN_URL) state.set("text", text.value);
  for (const id of SETTINGS) state.set(id, element(id).value);
  for (const name of panels.keys()) state.append("model", name);
  window.history.replaceState(null, "", `#${state}`);
}

function restore() {
  const state = new URLSearchParams(location.hash.slice(1));
  text.value = state.get("text") ?? "";
  for (const id of SETTINGS) element(id).value = state.get(id) ?? element(id).value;
  void reload(state);
}

function start() {
  element("write").addEventListener("click", () => void write());
  element("again").addEventListener("click", () => void write(lastStart ?? text.value));
  element("stop").addEventListener("click", () => running?.abort());
  element("undo").addEventListener("click", undo);
  element("score").addEventListener("click", () => void score());
  element("key").addEventListener("change", () => void reload(new URLSearchParams(location.hash.slice(1))));
  for (const each of [text, ...SETTINGS.map(element)]) each.addEventListener("change", keepInUrl);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      running?.abort();
      const box = element("alternatives");
      if (box.contains(document.activeElement)) box.span.focus();
      alternatives.hide();
    } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      if (!running) void write();
    } else move(event);
  });
  const panelsBox = element("panels");
  panelsBox.addEventListener("mouseover", (event) => tokenOf(event) && showAlternativesOf(tokenOf(event)));
  panelsBox.addEventListener("click", (event) => tokenOf(event) && showAlternativesOf(tokenOf(event)));
  panelsBox.addEventListener("focusin", (event) => tokenOf(event) && focusToken(tokenOf(event)));
  const box = element("alternatives");
  box.addEventListener("keydown", alternatives.move);
  for (const each of [panelsBox, box]) {
    each.addEventListener("mouseout", alternatives.hideSoon);
    each.addEventListener("focusout", alternatives.hideSoon);
  }
  document.addEventListener("click", (event) => {
    if (!tokenOf(event) && !event.target.closest("#alternatives")) alternatives.hide();
  });
  text.addEventListener("input", () => element("panels").classList.add("stale"));
  window.addEventListener("hashchange", restore);
  window.addEventListener("beforeunload", (event) => text.value.length > MAX_TEXT_IN_URL && event.preventDefault());
  restore();
}

async function reload(state) {
  const number = (numReloads += 1);
  try {
    const response = await ask("v1/models");
    const names = (await response.json()).data.map((model) => model.id);
    if (number !== numReloads) return; // another one began meanwhile
    element("models").querySelectorAll("label").forEach((label) => label.remove());
    for (const name of [...panels.keys()]) choose(name, false);
    listModels(names, state.getAll("model"));
    setBusy(false);
    say("");
    if (text.value) void score();
  } catch (error) {
    say(error.message, true);
  }
}

start();
