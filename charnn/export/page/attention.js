// The attention of charnn/cells/attention.py for one stream.

const NORM_EPSILON = 1e-5;

// The keys (W, D) and values (D, W) of the last W positions are two matrices for `products`. A position takes the place of that
// of W positions ago: the softmax does not depend on their order.
class Attention {
  constructor({ attention_window: window, attention_size: head }, tensors, products) {
    const size = tensors["attention.norm_weight"].data.length;
    const part = (name) => tensors[`attention.${name}`];
    Object.assign(this, { window, head, project: part("weight"), projectBias: part("bias"), output: part("output") });
    Object.assign(this, { normWeight: part("norm_weight").data, normBias: part("norm_bias").data });
    this.keys = products.matrix({ data: new Float32Array(window * head), shape: [window, head] });
    this.values = products.matrix({ data: new Float32Array(head * window), shape: [head, window] });
    this.normed = new Float32Array(size);
    this.projected = new Float32Array(4 * head);
    const quarter = (index) => this.projected.subarray(index * head, (index + 1) * head);
    [this.query, this.key, this.value, this.gate] = [0, 1, 2, 3].map(quarter);
    this.scores = new Float32Array(window);
    this.mixed = new Float32Array(head);
    this.result = new Float32Array(size);
    this.reset();
  }

  // Forget all positions. What is in their places is not read before it is overwritten, or has the weight 0.
  reset() {
    this.count = 0;
    this.key.fill(0);
  }

  // Read the output of the top layer; return it with what it attends to, in an array that the next call overwrites.
  step(hidden) {
    const { head, window, query, gate, mixed, result } = this;
    const place = this.count % window;
    for (let unit = 0; unit < head; unit += 1) this.keys.set(place, unit, this.key[unit]); // that of the position before
    this.normalize(hidden);
    this.project.multiply(this.normed, this.projected, this.projectBias);
    for (let unit = 0; unit < head; unit += 1) this.values.set(unit, place, this.value[unit]);
    this.count += 1;

    const scale = 1 / Math.sqrt(head);
    for (let unit = 0; unit < head; unit += 1) query[unit] *= scale;
    this.keys.multiply(query, this.scores);
    const sum = this.exponentials();
    this.values.multiply(this.scores, mixed);
    for (let unit = 0; unit < head; unit += 1) mixed[unit] *= sigmoid(gate[unit]) / sum;
    this.output.multiply(mixed, result);
    for (let unit = 0; unit < result.length; unit += 1) result[unit] += hidden[unit];
    return result;
  }

  normalize(hidden) {
    const { normed, normWeight, normBias } = this;
    const size = normed.length;
    let sum = 0;
    for (let unit = 0; unit < size; unit += 1) sum += hidden[unit];
    const mean = sum / size;
    let squares = 0;
    for (let unit = 0; unit < size; unit += 1) squares += (hidden[unit] - mean) ** 2;
    const factor = 1 / Math.sqrt(squares / size + NORM_EPSILON);
    for (let unit = 0; unit < size; unit += 1) {
      normed[unit] = (hidden[unit] - mean) * factor * normWeight[unit] + normBias[unit];
    }
  }

  // Replace the scores by weights that are not normalized yet, 0 where no position is; return their sum.
  exponentials() {
    const { scores } = this;
    const numFilled = Math.min(this.count, this.window);
    let largest = -Infinity;
    for (let place = 0; place < numFilled; place += 1) largest = Math.max(largest, scores[place]);
    let sum = 0;
    for (let place = 0; place < numFilled; place += 1) {
      scores[place] = Math.exp(scores[place] - largest);
      sum += scores[place];
    }
    scores.fill(0, numFilled);
    return sum;
  }
}
