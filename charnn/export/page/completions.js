// Answers requests for completions, in a worker, or in the page where there are none. A part of an answer has the fields of a
// choice of charnn serve's API: text, logprobs, finish_reason.

const SLICE_MILLISECONDS = 50; // of work, before messages are read
const MAX_UNSEEN = 1; // parts that the page has not shown yet

class StoppedError extends Error {}

class Model {
  constructor(description, buffer) {
    this.tokenizer = new Tokenizer(description.tokenizer);
    const products = newProducts();
    this.network = new Network(description.architecture, readTensors(description.tensors, buffer, products), products);
  }
}

// The tokens of a part of the text, with their log probabilities and alternatives. Offsets count code points.
class Part {
  constructor(tokenizer, numAlternatives) {
    Object.assign(this, { tokenizer, numAlternatives, text: "" });
    this.logprobs = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
  }

  add(id, logProbs, offset) {
    const { tokens, token_logprobs: ofTokens, top_logprobs: ofTop, text_offset: offsets } = this.logprobs;
    const alternatives = Object.create(null); // a token may be called __proto__
    for (const each of topIds(logProbs, this.numAlternatives)) alternatives[this.tokenizer.texts[each]] = logProbs[each];
    tokens.push(this.tokenizer.texts[id]);
    ofTokens.push(logProbs[id]);
    ofTop.push(alternatives);
    offsets.push(offset);
  }
}

function numCharacters(text) {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}

// Read a prompt from the boundary on; return its part, the log probabilities of what follows, and the decoder after it.
async function readPrompt({ network, tokenizer }, prompt, numAlternatives, pause) {
  const { ids, ends, unknown } = tokenizer.encode(prompt.text);
  const [part, decoder] = [new Part(tokenizer, numAlternatives), tokenizer.decoder()];
  part.text = prompt.text + prompt.space;
  part.unknown = unknown;
  network.reset();
  let logProbs = logSoftmax(network.step(tokenizer.boundaryId));
  let [offset, end] = [0, 0];
  for (const [index, id] of ids.entries()) {
    await pause();
    part.add(id, logProbs, offset);
    offset += numCharacters(prompt.text.slice(end, ends[index]));
    end = ends[index];
    decoder.push(id);
    logProbs = logSoftmax(network.step(id));
  }
  decoder.flush();
  return { part, logProbs, decoder };
}

// A single space at the end of a prompt belongs to the next word of word and subword models, which write it themselves.
function splitTrailingSpace({ kind }, text, writes) {
  const isSpace = writes && (kind === "word" || kind === "subword") && / $/.test(text) && /\S $/u.test(text);
  return isSpace ? { text: text.slice(0, -1), space: " " } : { text, space: "" };
}

// Send the prompt's part, then parts of new text, until so many tokens are written, or the unit ends.
async function complete(model, body, send, pause) {
  const { network, tokenizer } = model;
  const prompt = splitTrailingSpace(tokenizer, body.prompt, body.maxTokens > 0);
  const read = await readPrompt(model, prompt, body.numAlternatives, pause);
  let { part, logProbs } = read;
  if (part.text) send(part);
  const random = randomNumbers(body.seed);
  const closingId = tokenizer.unit === "stream" ? null : tokenizer.boundaryId;
  let [offset, pendingSpace] = [numCharacters(part.text), prompt.space];
  part = new Part(tokenizer, body.numAlternatives);
  const take = (text) => {
    const isTyped = pendingSpace && text.startsWith(pendingSpace);
    if (text) pendingSpace = "";
    part.text += isTyped ? text.slice(1) : text;
    offset += numCharacters(text) - (isTyped ? 1 : 0);
  };
  const flush = () => {
    if (part.text || part.logprobs.tokens.length) send(part);
    part = new Part(tokenizer, body.numAlternatives);
  };
  for (let count = 0; count < body.maxTokens; count += 1) {
    await pause(flush);
    const id = selectToken(logProbs, body, random, tokenizer.unknownId);
    if (id === closingId) break;
    part.add(id, logProbs, offset);
    take(read.decoder.push(id));
    logProbs = logSoftmax(network.step(id));
  }
  take(read.decoder.flush());
  flush();
}

// A macrotask: messages that came in meanwhile are read first.
function nextTask() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

// Return a function that takes messages: {kind: "load", description, buffer}, {kind: "complete", number, body}, and about a
// request in progress {kind: "shown", number} for each part, and {kind: "stop", number}. Where a page shows parts more slowly
// than they are made, they are made as slowly: else it could not be stopped.
function answering(send) {
  let model = null;
  let failure = null; // of loading
  let queue = Promise.resolve();
  const requests = new Map();

  async function answer(number, body, request) {
    let until = performance.now() + SLICE_MILLISECONDS;
    const pause = async (beforehand) => {
      if (performance.now() < until) return;
      beforehand?.();
      await nextTask();
      while (request.numUnseen > MAX_UNSEEN && !request.isStopped) {
        await new Promise((resolve) => {
          request.wake = resolve;
        });
      }
      if (request.isStopped) throw new StoppedError();
      until = performance.now() + SLICE_MILLISECONDS;
    };
    const sendPart = ({ text, logprobs, unknown }) => {
      request.numUnseen += 1;
      send({ number, part: { text, logprobs, unknown } });
    };
    try {
      if (failure) throw new Error(failure);
      if (!request.isStopped) await complete(model, body, sendPart, pause);
      send({ number, isDone: true });
    } catch (error) {
      send({ number, error: error instanceof StoppedError ? "" : error.message });
    }
    requests.delete(number);
  }

  function load(description, buffer) {
    try {
      model = new Model(description, buffer);
    } catch (error) {
      failure = `The model cannot be loaded (${error}); open this page in a newer browser.`;
    }
  }

  return ({ kind, number, body, description, buffer }) => {
    if (kind === "load") load(description, buffer);
    else if (kind === "complete") {
      const request = { numUnseen: 0, isStopped: false, wake: null };
      requests.set(number, request);
      queue = queue.then(() => answer(number, body, request));
    } else if (requests.has(number)) {
      const request = requests.get(number);
      if (kind === "shown") request.numUnseen -= 1;
      else request.isStopped = true;
      request.wake?.();
    }
  };
}

if (typeof document === "undefined") {
  const answer = answering((message) => postMessage(message));
  globalThis.onmessage = (event) => answer(event.data);
  postMessage({ isReady: true });
} else globalThis.charnnAnswering = answering;
