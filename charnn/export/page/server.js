"use strict";

// Stands in for the server of `charnn serve`: the page's own requests (see charnn/serving/page/page.js) are answered by the
// model in this file, in a worker, or between the page's own tasks where a browser refuses workers.
{
  const MAX_SEED = 2 ** 31 - 1;
  const find = (id) => document.getElementById(id);
  const description = JSON.parse(find("model").textContent);
  const requests = new Map(); // what to do with the parts of an answer, by number
  let numRequests = 0;

  function decodedWeights() {
    const binary = atob(find("weights").textContent);
    find("weights").remove();
    const bytes = new Uint8Array(binary.length);
    for (let index = 0; index < binary.length; index += 1) bytes[index] = binary.charCodeAt(index);
    return bytes.buffer;
  }

  // Return a function that sends the model a message. Workers report errors of their own scripts later than `new Worker` does.
  function open(onMessage) {
    let [post, waiting] = [null, []];
    const here = () => {
      const answer = globalThis.charnnAnswering((message) => setTimeout(onMessage, 0, message));
      use((message) => setTimeout(answer, 0, message));
    };
    const use = (channel) => {
      post = channel;
      channel({ kind: "load", description, buffer: decodedWeights() });
      waiting.forEach(channel);
      waiting = null;
    };
    try {
      const source = new Blob([find("engine").textContent], { type: "text/javascript" });
      const worker = new Worker(URL.createObjectURL(source));
      worker.onmessage = ({ data }) => {
        if (data.isReady) use((message) => worker.postMessage(message, message.buffer ? [message.buffer] : []));
        else onMessage(data);
      };
      worker.onerror = (event) => {
        if (post) for (const each of [...requests.values()]) each.onEnd(event.message);
        else here();
      };
    } catch {
      here();
    }
    return (message) => (post ? post(message) : waiting.push(message));
  }

  const post = open(({ number, part, error, isDone }) => {
    const request = requests.get(number);
    if (!request) return;
    if (part) {
      request.onPart(part);
      setTimeout(post, 0, { kind: "shown", number });
    }
    if (isDone || error !== undefined) {
      requests.delete(number);
      request.onEnd(error);
    }
  });

  // Requests

  function number(body, name, byDefault, isValid, wanted) {
    const value = body[name] ?? byDefault;
    if (Number.isFinite(value) && isValid(value)) return value;
    throw new RangeError(`${name}: found ${value}, but it must be ${wanted}`);
  }

  function seedOf() {
    const typed = find("seed").value.trim();
    if (typed === "") return crypto.getRandomValues(new Uint32Array(1))[0] % (MAX_SEED + 1);
    return number({ seed: Number(typed) }, "seed", 0, (value) => Number.isInteger(value) && value >= 0 && value <= MAX_SEED, `an integer from 0 to ${MAX_SEED}`);
  }

  function checked(body) {
    const maxTokens = number(body, "max_tokens", 16, (value) => Number.isInteger(value) && value >= 0, "an integer of at least 0");
    return {
      prompt: String(body.prompt ?? ""),
      maxTokens,
      numAlternatives: number(body, "logprobs", 0, (value) => value >= 0, "at least 0"),
      temperature: number(body, "temperature", 1, (value) => value >= 0 && value <= 10000, "at least 0 and at most 10000"),
      topP: number(body, "top_p", 1, (value) => value > 0 && value <= 1, "above 0 and at most 1"),
      minP: number(body, "min_p", 0, (value) => value >= 0 && value <= 1, "at least 0 and at most 1"),
      seed: maxTokens ? seedOf() : 0,
    };
  }

  const json = (content, status = 200) => new Response(JSON.stringify(content), { status });

  function choice({ text, logprobs }) {
    return { index: 0, text, logprobs, finish_reason: null };
  }

  const stopping = () => new DOMException("The request was stopped.", "AbortError");

  // Ask the model; each part of its answer goes to onPart, and the promise is kept when it is complete.
  function answer(body, signal, onPart) {
    const id = (numRequests += 1);
    const summary = { seed: body.maxTokens ? body.seed : null, numTokens: 0, bits: 0, unknown: [] };
    return new Promise((resolve, reject) => {
      const stop = () => {
        post({ kind: "stop", number: id });
        requests.delete(id);
        reject(stopping());
      };
      if (signal?.aborted) {
        reject(stopping());
        return;
      }
      signal?.addEventListener("abort", stop, { once: true });
      requests.set(id, {
        onPart: (part) => {
          summary.unknown.push(...(part.unknown ?? []));
          summary.numTokens += part.logprobs.tokens.length;
          for (const nats of part.logprobs.token_logprobs) summary.bits -= nats / Math.LN2;
          show(summary);
          onPart(part);
        },
        onEnd: (error) => {
          signal?.removeEventListener("abort", stop);
          if (error) reject(new Error(error));
          else resolve();
        },
      });
      show(summary);
      post({ kind: "complete", number: id, body });
    });
  }

  function eventStream(body, signal) {
    return new ReadableStream({
      start(controller) {
        const encoder = new TextEncoder();
        const send = (content) => controller.enqueue(encoder.encode(`data: ${content}\n\n`));
        answer(body, signal, (part) => send(JSON.stringify({ choices: [choice(part)] })))
          .then(() => {
            send("[DONE]");
            controller.close();
          })
          .catch((error) => controller.error(error));
      },
    });
  }

  async function complete(body, signal, isStreamed) {
    if (isStreamed) return new Response(eventStream(body, signal));
    const parts = [];
    await answer(body, signal, (part) => parts.push(part));
    return json({ choices: parts.map(choice) });
  }

  window.fetch = async (path, { body, signal } = {}) => {
    const route = String(path).split("?")[0];
    if (route === "v1/models") return json({ data: [{ id: description.name }] });
    if (route === "tokenizer_info") return json({ tokenizer_class: `charnn-${description.tokenizer.kind}` });
    if (route !== "v1/completions") return json({ error: { message: `${route}: this page has no network` } }, 404);
    try {
      const request = JSON.parse(body);
      return await complete(checked(request), signal, request.stream);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      return json({ error: { message: error.message } }, 400);
    }
  };

  // What the page of a server has no need to say

  function show({ seed, numTokens, bits, unknown }) {
    const facts = numTokens ? [`${(bits / numTokens).toFixed(2)} bits per token`] : [];
    if (seed !== null) facts.push(`seed ${seed}`);
    find("summary").textContent = facts.join(" · ");
    find("unknown").textContent = unknown.length ? inWords(unknown) : "";
  }

  function inWords([first, ...others]) {
    const { kind, tokens } = description.tokenizer;
    const what = kind === "char" ? "character" : kind === "subword" ? "text" : "word";
    const code = Array.from(first).length === 1 ? ` (U+${first.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")})` : "";
    const more = others.length ? ` (and ${others.length} more)` : "";
    const known = tokens.length.toLocaleString("en");
    return `This model of ${known} tokens does not know the ${what} "${first || "white space"}"${code}${more} and reads <unk> instead.`;
  }

  find("text").lang = find("panels").lang = ""; // unknown: not that of the page
}
