// The cells of charnn/cells restated for one stream. Names, shapes and the order of gates are those of model.safetensors.

const MAX_CACHED_NUMBERS = 1 << 23; // of the first layer's input projections

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const tanh = (x) => 1 - 2 / (Math.exp(2 * x) + 1);
const softplus = (x) => Math.log1p(Math.exp(-Math.abs(x))) + Math.max(x, 0);
const positive = (x) => (x >= 0 ? x + 0.5 : sigmoid(x));

// results = matrix * vector + bias
function multiply(matrix, vector, results, bias) {
  matrix.multiply(vector, results, bias);
}

// Each step changes `layer.state`, whose first array is the output. `projected` is W_ih x + b_ih, for a mogrifier x.

function recur(layer, vector = layer.state[0]) {
  multiply(layer.weights.weight_hh, vector, layer.recurrent, layer.weights.bias_hh);
  return layer.recurrent;
}

function lstmGates(layer, projected, recurrent) {
  const [hidden, cellState] = layer.state;
  const size = hidden.length;
  for (let unit = 0; unit < size; unit += 1) {
    const forget = sigmoid(projected[size + unit] + recurrent[size + unit]);
    const candidate = tanh(projected[2 * size + unit] + recurrent[2 * size + unit]);
    const kept = forget * cellState[unit] + sigmoid(projected[unit] + recurrent[unit]) * candidate;
    cellState[unit] = kept;
    hidden[unit] = sigmoid(projected[3 * size + unit] + recurrent[3 * size + unit]) * tanh(kept);
  }
}

function lstm(layer, projected) {
  lstmGates(layer, projected, recur(layer));
}

function gru(layer, projected) {
  const [hidden] = layer.state;
  const recurrent = recur(layer);
  const size = hidden.length;
  for (let unit = 0; unit < size; unit += 1) {
    const reset = sigmoid(projected[unit] + recurrent[unit]);
    const update = sigmoid(projected[size + unit] + recurrent[size + unit]);
    const candidate = tanh(projected[2 * size + unit] + reset * recurrent[2 * size + unit]);
    hidden[unit] = candidate + update * (hidden[unit] - candidate);
  }
}

function rnn(layer, projected) {
  const [hidden] = layer.state;
  const recurrent = recur(layer);
  for (let unit = 0; unit < hidden.length; unit += 1) hidden[unit] = layer.activation(projected[unit] + recurrent[unit]);
}

function leaky(layer, projected) {
  const [hidden] = layer.state;
  const recurrent = recur(layer);
  for (let unit = 0; unit < hidden.length; unit += 1) {
    const candidate = layer.activation(projected[unit] + recurrent[unit]);
    hidden[unit] = candidate + sigmoid(layer.weights.leak.data[unit]) * (hidden[unit] - candidate);
  }
}

function mlstm(layer, projected) {
  const [hidden] = layer.state;
  const size = hidden.length;
  multiply(layer.weights.weight_mh, hidden, layer.factor);
  for (let unit = 0; unit < size; unit += 1) layer.factor[unit] *= projected[4 * size + unit];
  lstmGates(layer, projected, recur(layer, layer.factor));
}

function depthLstm(layer, projected) {
  const [hidden, cellState] = layer.state;
  const { weight_cd: fromOwn, weight_ld: fromBelow } = layer.weights;
  const recurrent = recur(layer);
  const size = hidden.length;
  for (let unit = 0; unit < size; unit += 1) {
    const below = projected[5 * size + unit];
    const depth = sigmoid(projected[4 * size + unit] + fromOwn.data[unit] * cellState[unit] + fromBelow.data[unit] * below);
    const forget = sigmoid(projected[size + unit] + recurrent[size + unit]);
    const candidate = tanh(projected[2 * size + unit] + recurrent[2 * size + unit]);
    const kept = forget * cellState[unit] + sigmoid(projected[unit] + recurrent[unit]) * candidate + depth * below;
    cellState[unit] = kept;
    hidden[unit] = sigmoid(projected[3 * size + unit] + recurrent[3 * size + unit]) * tanh(kept);
  }
}

function mogrifier(layer, inputs) {
  const { weights, rounds, rank } = layer;
  const gated = { input: Float32Array.from(inputs), hidden: Float32Array.from(layer.state[0]) };
  for (let number = 1; number <= rounds; number += 1) {
    const [target, from] = number % 2 ? [gated.input, gated.hidden] : [gated.hidden, gated.input];
    let source = from;
    if (rank) {
      source = new Float32Array(rank);
      multiply(weights[`mogrify_${number}_down`], from, source);
    }
    const gates = new Float32Array(target.length);
    multiply(weights[`mogrify_${number}`], source, gates, weights[`mogrify_${number}_bias`]);
    for (let unit = 0; unit < target.length; unit += 1) target[unit] *= 2 * sigmoid(gates[unit]);
  }
  multiply(weights.weight_ih, gated.input, layer.projected, weights.bias_ih);
  lstmGates(layer, layer.projected, recur(layer, gated.hidden));
}

function mingru(layer, projected) {
  const [hidden] = layer.state;
  const size = hidden.length;
  for (let unit = 0; unit < size; unit += 1) {
    const update = projected[unit];
    hidden[unit] = sigmoid(-update) * hidden[unit] + sigmoid(update) * positive(projected[size + unit]);
  }
}

function minlstm(layer, projected) {
  const [hidden] = layer.state;
  const size = hidden.length;
  for (let unit = 0; unit < size; unit += 1) {
    const difference = softplus(-projected[size + unit]) - softplus(-projected[unit]);
    hidden[unit] = sigmoid(difference) * hidden[unit] + sigmoid(-difference) * positive(projected[2 * size + unit]);
  }
}

const CELLS = {
  lstm: { step: lstm, numStates: 2 },
  gru: { step: gru, numStates: 1 },
  rnn: { step: rnn, numStates: 1 },
  leaky: { step: leaky, numStates: 1 },
  mlstm: { step: mlstm, numStates: 2 },
  "depth-lstm": { step: depthLstm, numStates: 2 },
  mogrifier: { step: mogrifier, numStates: 2 },
  mingru: { step: mingru, numStates: 1 },
  minlstm: { step: minlstm, numStates: 1 },
};

function makeLayer(shape, tensors, number) {
  const prefix = `layers.${number}.`;
  const own = Object.entries(tensors).filter(([name]) => name.startsWith(prefix));
  const weights = Object.fromEntries(own.map(([name, tensor]) => [name.slice(prefix.length), tensor]));
  const isDeep = shape.cell === "depth-lstm" && number > 0;
  const { step, numStates } = shape.cell === "depth-lstm" && !isDeep ? CELLS.lstm : CELLS[shape.cell];
  const isLast = number === shape.num_layers - 1;
  const size = isLast && shape.tie_weights ? shape.embedding_size : shape.hidden_size;
  const numRows = weights.weight_ih.shape[0];
  return {
    weights,
    step,
    size,
    isDeep,
    numStates: numStates + Math.max(0, shape.skip - 1),
    numInner: numStates,
    passesCellState: shape.cell === "depth-lstm" && !isLast,
    activation: shape.nonlinearity === "relu" ? (x) => Math.max(x, 0) : tanh,
    rounds: shape.mogrifier_rounds,
    rank: shape.mogrifier_rank,
    projected: new Float32Array(numRows + (isDeep ? size : 0)),
    recurrent: new Float32Array(weights.weight_hh?.shape[0] ?? 0),
    factor: new Float32Array(size),
    skipped: new Float32Array(numRows),
    state: [],
  };
}

const WORD_MULTIPLIER = 31607; // as in charnn/cells/word_prefix.py

class Network {
  constructor(shape, tensors, products) {
    this.shape = shape;
    this.layers = Array.from({ length: shape.num_layers }, (_, number) => makeLayer(shape, tensors, number));
    this.embeddings = [];
    for (let order = 1; order <= shape.embedding_order && shape.inputs === "embedding"; order += 1) {
      this.embeddings.push(tensors[order === 1 ? "embedding.weight" : `embedding.${order}.weight`]);
    }
    this.wordEmbedding = tensors["embedding.word.weight"] ?? null;
    this.output = shape.tie_weights ? products.matrix(unpacked(tensors["embedding.weight"])) : tensors["output.weight"];
    this.outputBias = tensors["output.bias"];
    this.attention = shape.attention_window ? new Attention(shape, tensors, products) : null;
    this.logits = new Float32Array(shape.vocab_size);
    this.projections = new Map();
    this.reset();
  }

  // Go to the initial state.
  reset() {
    for (const layer of this.layers) {
      layer.state = Array.from({ length: layer.numStates }, (_, number) =>
        Float32Array.from(layer.weights[`initial_${number}`]?.data ?? new Float32Array(layer.size)),
      );
    }
    this.attention?.reset();
    this.digits = new Array(this.shape.embedding_order - 1).fill(0); // of the last tokens, id + 1, 0 for none
    this.word = 0; // row of the word so far, 0 for none
  }

  // Read a token; return the logits of the next one, in an array that the next call overwrites.
  step(id) {
    let inputs = null;
    this.layers.forEach((layer, number) => {
      const projected = number ? this.project(layer, inputs) : this.projectToken(id);
      this.stepLayer(layer, projected);
      inputs = this.passedUp(layer, inputs);
    });
    if (this.attention) inputs = this.attention.step(inputs);
    multiply(this.output, inputs, this.logits, this.outputBias);
    return this.logits;
  }

  // With a skip connection over d steps, the outputs of 2 to d steps back are at the end of the state.
  stepLayer(layer, projected) {
    if (layer.weights.weight_skip) {
      const oldest = layer.state.pop();
      multiply(layer.weights.weight_skip, oldest, layer.skipped);
      layer.projected.set(projected);
      for (let row = 0; row < layer.skipped.length; row += 1) layer.projected[row] += layer.skipped[row];
      oldest.set(layer.state[0]);
      layer.state.splice(layer.numInner, 0, oldest);
      layer.step(layer, layer.projected);
    } else layer.step(layer, projected);
  }

  passedUp(layer, inputs) {
    let output = layer.state[0];
    if (this.shape.residual && inputs) output = output.map((value, unit) => value + inputs[unit]);
    if (!layer.passesCellState) return output;
    const both = new Float32Array(2 * layer.size);
    both.set(output);
    both.set(layer.state[1], layer.size);
    return both;
  }

  project(layer, inputs) {
    if (layer.step === mogrifier) return inputs;
    const { weight_ih: weights, bias_ih: bias } = layer.weights;
    if (!layer.isDeep) multiply(weights, inputs, layer.projected, bias);
    else {
      multiply(weights, inputs.subarray(0, inputs.length / 2), layer.projected, bias);
      layer.projected.set(inputs.subarray(inputs.length / 2), weights.shape[0]);
    }
    return layer.projected;
  }

  // Projections of recent tokens, together with those before them, are kept: n-grams are repeated often.
  projectToken(id) {
    const [layer] = this.layers;
    this.digits.push(id + 1);
    const wordRow = this.wordRow(id);
    const key = `${this.digits.join()} ${wordRow}`;
    let projected = this.projections.get(key);
    if (!projected) {
      projected = Float32Array.from(this.project(layer, this.embedded(id, wordRow)));
      if (this.projections.size * projected.length > MAX_CACHED_NUMBERS) this.projections.clear();
      this.projections.set(key, projected);
    }
    this.digits.shift();
    return projected;
  }

  // The row of the word so far after a token, which `word` becomes if the word may go on. See charnn/cells/word_prefix.py.
  wordRow(id) {
    if (!this.wordEmbedding) return 0;
    const code = this.shape.word_codes[id];
    const row = (code > 0 ? this.word * WORD_MULTIPLIER + code : -code) % this.shape.word_rows;
    this.word = code > 0 ? row : 0;
    return row;
  }

  // The sum of the vectors of a token, of the n-grams that end with it, and of the word so far. See
  // charnn/cells/ngram_embedding.py.
  embedded(id, wordRow) {
    if (!this.embeddings.length) {
      const vector = new Float32Array(this.shape.vocab_size);
      vector[id] = 1;
      return vector;
    }
    const sum = new Float32Array(this.shape.embedding_size);
    const base = (this.shape.ngram_vocab_size ?? this.shape.vocab_size) + 1;
    this.embeddings.forEach((table, index) => {
      let row = index ? this.digits.at(-index - 1) : id;
      for (let back = index; back > 0; back -= 1) {
        row = (row * base + this.digits.at(-back)) % table.shape[0];
      }
      addRow(table, row, sum);
    });
    if (this.wordEmbedding) addRow(this.wordEmbedding, wordRow, sum);
    return sum;
  }
}

// Tensors: `data` in single precision, or `bytes` with a scale for each row, which a large table keeps.

function addRow({ data, bytes, scales, shape: [, numColumns] }, row, sum) {
  const values = data ?? bytes;
  const scale = data ? 1 : scales[row];
  for (let column = 0; column < numColumns; column += 1) sum[column] += Math.fround(values[row * numColumns + column] * scale);
}

function unpacked(tensor) {
  if (tensor.data) return tensor;
  const { bytes, scales, shape } = tensor;
  const data = new Float32Array(bytes.length);
  for (let index = 0, row = 0; row < shape[0]; row += 1) {
    for (const end = index + shape[1]; index < end; index += 1) data[index] = bytes[index] * scales[row];
  }
  return { data, shape };
}

// Read the tensors of a file: see charnn/export/html_weights.py.
function readTensors(entries, buffer, products) {
  return Object.fromEntries(
    entries.map(({ name, shape, offset, scales_offset: scalesOffset }) => {
      const size = shape.reduce((product, length) => product * length, 1);
      const isSingle = scalesOffset === undefined;
      const tensor = isSingle
        ? { shape, data: new Float32Array(buffer, offset, size) }
        : { shape, bytes: new Int8Array(buffer, offset, size), scales: new Float32Array(buffer, scalesOffset, shape[0]) };
      const isMatrix = shape.length === 2 && !name.startsWith("embedding");
      return [name, isMatrix ? products.matrix(unpacked(tensor)) : tensor];
    }),
  );
}
