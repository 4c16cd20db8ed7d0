// Probabilities and draws: charnn/sampling restated for one stream.

// Log probabilities in nats, in double precision.
function logSoftmax(logits) {
  let largest = -Infinity;
  for (let id = 0; id < logits.length; id += 1) if (logits[id] > largest) largest = logits[id];
  let sum = 0;
  for (let id = 0; id < logits.length; id += 1) sum += Math.exp(logits[id] - largest);
  const shift = largest + Math.log(sum);
  const logProbs = new Float64Array(logits.length);
  for (let id = 0; id < logits.length; id += 1) logProbs[id] = logits[id] - shift;
  return logProbs;
}

// The ids with the largest values, the largest first, of equal ones the first first.
function topIds(values, count) {
  const top = [];
  for (let id = 0; id < values.length; id += 1) {
    if (top.length === count && values[id] <= values[top[count - 1]]) continue;
    let index = top.length < count ? top.length : count - 1;
    for (; index > 0 && values[top[index - 1]] < values[id]; index -= 1) top[index] = top[index - 1];
    top[index] = id;
  }
  return top;
}

// sfc32, seeded by SplitMix32: the same numbers in every browser (not those of charnn sample --seed).
function randomNumbers(seed) {
  let mixed = seed >>> 0;
  const split = () => {
    mixed = (mixed + 0x9e3779b9) >>> 0;
    let value = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
    value = Math.imul(value ^ (value >>> 15), 0x735a2d97);
    return (value ^ (value >>> 15)) >>> 0;
  };
  let [a, b, c, counter] = [split(), split(), split(), 1];
  const next = () => {
    const result = (a + b + counter) >>> 0;
    counter = (counter + 1) >>> 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) >>> 0;
    c = (((c << 21) | (c >>> 11)) + result) >>> 0;
    return result;
  };
  for (let round = 0; round < 12; round += 1) next();
  return () => (next() * 2 ** 21 + (next() >>> 11)) / 2 ** 53;
}

// The fewest most probable ids whose probabilities sum to at least topP. Those below (1 - topP) / V cannot be among them: all
// of them together are less than what may be left out.
function nucleus(weights, topP) {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const least = (total * (1 - topP)) / weights.length;
  const ids = [];
  for (let id = 0; id < weights.length; id += 1) if (weights[id] > 0 && weights[id] >= least) ids.push(id);
  ids.sort((one, other) => weights[other] - weights[one] || one - other);
  let sum = 0;
  const numKept = ids.findIndex((id) => (sum += weights[id]) >= topP * total) + 1;
  return new Set(numKept ? ids.slice(0, numKept) : ids);
}

// Select a token: by temperature (0 for the most probable), top-p, then min-p, each on what the ones before it have left.
function selectToken(logProbs, { temperature, topP, minP }, random, excludedId) {
  const allowed = Float64Array.from(logProbs);
  if (excludedId !== null) allowed[excludedId] = -Infinity;
  const [mostProbable] = topIds(allowed, 1);
  if (temperature === 0) return mostProbable;
  const weights = new Float64Array(allowed.length);
  for (let id = 0; id < weights.length; id += 1) weights[id] = Math.exp((allowed[id] - allowed[mostProbable]) / temperature);
  const kept = topP < 1 ? nucleus(weights, topP) : null;
  let total = 0;
  for (let id = 0; id < weights.length; id += 1) {
    if ((kept && !kept.has(id)) || weights[id] < minP) weights[id] = 0;
    total += weights[id];
  }
  const wanted = random() * total;
  let [sum, drawn] = [0, mostProbable];
  for (let id = 0; id < weights.length; id += 1) {
    if (weights[id] === 0) continue;
    sum += weights[id];
    drawn = id;
    if (sum > wanted) break;
  }
  return drawn;
}
