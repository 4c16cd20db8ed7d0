// The tokenizers and decoders of charnn/text restated. `split` returns [token, end] pairs, where `end` is the position in the
// text, in UTF-16 units, up to which the tokens so far reach: the white space before a word belongs to the word.

const NEWLINE = "\n";
const GLUE = "<glue>";
const UNKNOWN = "<unk>";
const REPLACEMENT = "\ufffd";
const LONE_HALF = /[\ud800-\udc7f\udd00-\udfff]/gu;
const LONE_HALF_OR_BYTE = /[\ud800-\udfff]/gu;

function splitCharacters(text) {
  let end = 0;
  return Array.from(text, (character) => [character, (end += character.length)]);
}

// Bytes

function bytesOf(character) {
  const code = character.codePointAt(0);
  if (code >= 0xdc80 && code <= 0xdcff) return [code - 0xdc00]; // a byte that is not UTF-8
  return [...new TextEncoder().encode(character)];
}

function splitBytes(text) {
  const found = [];
  let start = 0;
  for (const character of text) {
    const bytes = bytesOf(character);
    bytes.forEach((byte, index) => found.push([byte, index === bytes.length - 1 ? start + character.length : start]));
    start += character.length;
  }
  return found;
}

class ByteDecoder {
  constructor() {
    this.waiting = [];
  }

  push(id) {
    if (id > 255) return "";
    this.waiting.push(id);
    let text = "";
    while (this.waiting.length && !mayGrow(this.waiting)) text += this.taken();
    return text;
  }

  taken() {
    const whole = this.waiting.length === lengthOf(this.waiting[0]) ? decoded(this.waiting) : null;
    if (whole === null) return String.fromCharCode(0xdc00 + this.waiting.shift());
    this.waiting = [];
    return whole;
  }

  flush() {
    return String.fromCharCode(...this.waiting.splice(0).map((byte) => 0xdc00 + byte));
  }
}

function lengthOf(byte) {
  if (byte < 0x80) return 1;
  if (byte < 0xc2 || byte > 0xf4) return 0;
  return byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

function decoded(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytes));
  } catch {
    return null;
  }
}

// Whether more bytes are needed, and some could complete a character.
function mayGrow(bytes) {
  const [first] = bytes;
  if (bytes.length >= lengthOf(first)) return false;
  const least = { 0xe0: 0xa0, 0xf0: 0x90 }[first] ?? 0x80;
  const most = { 0xed: 0x9f, 0xf4: 0x8f }[first] ?? 0xbf;
  return bytes.slice(1).every((byte, index) => byte >= (index ? 0x80 : least) && byte <= (index ? 0xbf : most));
}

// Words: see charnn/text/words.py. `rules` holds the classes of characters that browsers do not know.

const PLAIN = "w";
const SPACE = "\\p{White_Space}\\x1c-\\x1f";
const LETTER = "\\p{L}\\p{N}_";

class WordRules {
  constructor({ extend, traits }) {
    const word = `[${LETTER}\\p{M}][${LETTER}${extend}]*`;
    const alternatives = [
      "\\n",
      `(?:(?!\\n)[${SPACE}])+`,
      `\\p{Nd}+(?:[.,]\\p{Nd}+)+(?=([${extend}]*))\\1(?![${LETTER}])`,
      `${word}(?:['\\u2019]${word})*`,
      "-{2,}",
      "\\.{2,}",
      `[\\u{1f1e6}-\\u{1f1ff}]{2}[${extend}]*`,
      `[^${LETTER}${SPACE}][${extend}]*(?:(?<=\\u200d)\\p{Extended_Pictographic}[${extend}]*)*`,
    ];
    this.pattern = new RegExp(alternatives.join("|"), "gu");
    this.extend = new RegExp(`[${extend}]`, "gu");
    this.traits = new Map(Object.entries(traits).flatMap(([kind, marks]) => marks.map((mark) => [mark, kind])));
  }

  // The kind of a word (closing, opening, joining, quote), upper case for a full-width mark, which has no gap on either side.
  kindOf(word) {
    return /^[\p{L}\p{N}]/u.test(word) ? PLAIN : this.traits.get(word.replace(this.extend, "")) ?? PLAIN;
  }

  gap(before, after) {
    if (before === null || before === NEWLINE || after === NEWLINE) return "";
    const [left, right] = [this.kindOf(before), this.kindOf(after)];
    const [leftKind, rightKind] = [left.toLowerCase(), right.toLowerCase()];
    if ("ojq".includes(leftKind) || "cj".includes(rightKind)) return "";
    return left !== leftKind || right !== rightKind || (leftKind === "c" && rightKind === "q") ? "" : " ";
  }

  split(text) {
    const found = [];
    let [before, gap] = [null, ""];
    for (const { 0: word, index } of text.matchAll(this.pattern)) {
      if (isGap(word)) {
        gap = word;
        continue;
      }
      if (gap !== this.gap(before, word)) found.push(gap ? [gap, index] : [GLUE, index]);
      found.push([word, index + word.length]);
      [before, gap] = [word, ""];
    }
    return gap ? [...found, [gap, text.length]] : found;
  }
}

function isGap(token) {
  return token !== NEWLINE && /^[\p{White_Space}\x1c-\x1f]+$/u.test(token);
}

class WordDecoder {
  constructor(tokens, rules) {
    Object.assign(this, { tokens, rules, before: null });
  }

  push(id) {
    const token = this.tokens[id];
    if (token === GLUE || isGap(token)) {
      this.before = null;
      return token === GLUE ? "" : token;
    }
    const text = this.rules.gap(this.before, token) + token;
    this.before = token;
    return text;
  }

  flush() {
    return "";
  }
}

class TokenDecoder {
  constructor(tokens) {
    this.tokens = tokens;
  }

  push(id) {
    return this.tokens[id];
  }

  flush() {
    return "";
  }
}

// Pretokenized text: see charnn/text/pretokenized.py

const MARKED = {
  line: new RegExp(`(?:</s>|<eos>)(?![^${SPACE}])(?:(?!\\n)[${SPACE}])*\\n?|\\n|[^${SPACE}]+`, "gu"),
  document: new RegExp(
    `(?<![${SPACE}])[${SPACE}]*</s>(?![^${SPACE}])[${SPACE}]*|<eos>(?![^${SPACE}])(?:(?!\\n)[${SPACE}])*\\n?|\\n|[^${SPACE}]+`,
    "gu",
  ),
  none: new RegExp(`\\n|[^${SPACE}]+`, "gu"),
};
const OUTER_SPACE = new RegExp(`^[${SPACE}]+|[${SPACE}]+$`, "gu");

// Without the marks </s> and <eos>, all patterns find the same.
function splitPretokenized(text, unit, version) {
  const pattern = MARKED[version === 1 ? "none" : unit === "document" ? "document" : "line"];
  return Array.from(text.matchAll(pattern), ({ 0: match, index }) => {
    const token = match === NEWLINE ? match : match.replace(OUTER_SPACE, "");
    const isLineEnd = version > 1 && (token === "<eos>" || (token === "</s>" && unit !== "document"));
    const isNoToken = version === 1 && token === "</s>";
    return [isLineEnd ? NEWLINE : isNoToken ? UNKNOWN : token, index + match.length];
  });
}

class PretokenizedDecoder {
  constructor(tokens) {
    Object.assign(this, { tokens, gap: "" });
  }

  push(id) {
    const token = this.tokens[id];
    const text = token === NEWLINE ? token : this.gap + token;
    this.gap = token === NEWLINE ? "" : " ";
    return text;
  }

  flush() {
    return "";
  }
}

// Subwords: SentencePiece's segmentation by a unigram model (Kudo 2018) or by BPE, without normalization.

const SPACE_PIECE = "\u2581";
const ESCAPES = { "\u2581": "\ufdd1", "\u2585": "\ufdd2", "\ufdd1": REPLACEMENT, "\ufdd2": REPLACEMENT };
const UNKNOWN_PENALTY = 10;

function escapedLine(line, version) {
  const characters = Array.from(line.replace(LONE_HALF_OR_BYTE, REPLACEMENT));
  return characters.map((each) => (version > 1 ? (ESCAPES[each] ?? each) : each)).map((each) => (each === " " ? SPACE_PIECE : each));
}

class Subwords {
  constructor({ scores, is_unigram: isUnigram }, tokens, version) {
    this.version = version;
    this.scores = new Map(tokens.map((piece, id) => [piece, scores[id]]).filter(([, score]) => score !== null));
    this.longest = Math.max(...[...this.scores.keys()].map((piece) => Array.from(piece).length));
    this.unknownScore = Math.min(...this.scores.values()) - UNKNOWN_PENALTY;
    this.pieces = isUnigram ? (line) => this.unigramPieces(line) : (line) => this.mergedPieces(line);
  }

  split(text) {
    const found = [];
    let end = 0;
    text.split(NEWLINE).forEach((line, number) => {
      if (number) found.push([NEWLINE, (end += 1)]);
      let wasUnknown = false;
      for (const piece of this.pieces(escapedLine(line, this.version))) {
        end += piece.length;
        const isUnknown = !this.scores.has(piece);
        if (isUnknown && wasUnknown) found.at(-1)[1] = end; // SentencePiece joins unknown characters
        else found.push([isUnknown ? UNKNOWN : piece, end]);
        wasUnknown = isUnknown;
      }
    });
    return found;
  }

  // Viterbi's algorithm in single precision; of equal paths the first found, as SentencePiece does it.
  unigramPieces(characters) {
    const best = Array.from({ length: characters.length + 1 }, () => ({ score: 0, start: -1 }));
    for (let start = 0; start < characters.length; start += 1) {
      let piece = "";
      for (let end = start + 1; end <= Math.min(characters.length, start + this.longest); end += 1) {
        piece += characters[end - 1];
        const score = this.scores.get(piece) ?? (end === start + 1 ? this.unknownScore : null);
        if (score === null) continue;
        const total = Math.fround(best[start].score + score);
        if (best[end].start < 0 || total > best[end].score) best[end] = { score: total, start };
      }
    }
    const pieces = [];
    for (let end = characters.length; end > 0; end = best[end].start) pieces.push(characters.slice(best[end].start, end).join(""));
    return pieces.reverse();
  }

  // Merge the neighbors with the best score, the first of equals, until no two make a piece.
  mergedPieces(characters) {
    const pieces = [...characters];
    const scores = pieces.slice(1).map((next, index) => this.scores.get(pieces[index] + next) ?? -Infinity);
    for (;;) {
      let best = -1;
      for (let index = 0; index < scores.length; index += 1) if (scores[index] > (scores[best] ?? -Infinity)) best = index;
      if (best < 0) return pieces;
      pieces.splice(best, 2, pieces[best] + pieces[best + 1]);
      scores.splice(best, 1);
      for (const index of [best - 1, best]) {
        if (index >= 0 && index < scores.length) scores[index] = this.scores.get(pieces[index] + pieces[index + 1]) ?? -Infinity;
      }
    }
  }
}

class Tokenizer {
  constructor(description) {
    const { kind, unit, version, tokens, boundary_id: boundaryId, unknown_id: unknownId } = description;
    Object.assign(this, { kind, unit, version, tokens, boundaryId, unknownId });
    this.texts = kind === "subword" ? tokens.map(pieceText) : tokens;
    this.ids = new Map(tokens.map((token, id) => [token, id]));
    this.rules = kind === "word" ? new WordRules(description.rules) : null;
    this.subwords = kind === "subword" ? new Subwords(description.subwords, tokens, version) : null;
  }

  // Return the ids of a text, the end of each token in it, and where unknown ones begin.
  encode(text) {
    const found = this.split(text);
    const unknown = [];
    let start = 0;
    const ids = found.map(([token, end]) => {
      const id = this.kind === "byte" ? token : (this.ids.get(token) ?? this.unknownId);
      if (id === this.unknownId) unknown.push(text.slice(start, end).trimStart());
      start = end;
      return id;
    });
    return { ids, ends: found.map(([, end]) => end), unknown };
  }

  split(text) {
    switch (this.kind) {
      case "char":
        return splitCharacters(text);
      case "byte":
        return splitBytes(text.replace(LONE_HALF, REPLACEMENT));
      case "word":
        return this.rules.split(text);
      case "pretokenized":
        return splitPretokenized(text, this.unit, this.version);
      default:
        return this.subwords.split(text);
    }
  }

  decoder() {
    if (this.kind === "byte") return new ByteDecoder();
    if (this.kind === "word") return new WordDecoder(this.tokens, this.rules);
    return this.kind === "pretokenized" ? new PretokenizedDecoder(this.tokens) : new TokenDecoder(this.texts);
  }
}

function pieceText(piece) {
  return piece.replaceAll(SPACE_PIECE, " ").replaceAll("\ufdd1", SPACE_PIECE).replaceAll("\ufdd2", "\u2585");
}
