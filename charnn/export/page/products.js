// Products of a matrix and a vector: in WebAssembly with SIMD, or in JavaScript where there is none.

const BLOCK_ROWS = 16;
const PAGE_BYTES = 1 << 16;

// A module with one function multiply(matrix, vector, results, numBlocks, endOfVector), of addresses in bytes. The matrix is in
// blocks of 16 rows, in each of which the 16 numbers of a column follow one another:
//   for each block: a, b, c, d = 0; for each x in vector: a += matrix[0..4] * x, ..., d += matrix[12..16] * x, matrix += 16;
//   results[0..4] = a, ..., results[12..16] = d, results += 16
function productModule() {
  const [matrix, vector, results, numBlocks, end, at, first, , , last, factor] = Array.from({ length: 11 }, (_, index) => index);
  const get = (local) => [0x20, local];
  const set = (local) => [0x21, local];
  const tee = (local) => [0x22, local];
  const constant = (value) => (value < 64 ? [0x41, value] : [0x41, 0x80 | (value & 0x7f), value >> 7]); // of up to 13 bits
  const [loop, endOfBlock, repeatIf] = [[0x03, 0x40], [0x0b], [0x0d, 0x00]];
  const [add, subtract, isBelow] = [[0x6a], [0x6b], [0x49]];
  const [splat, multiplyFour, addFour] = [[0xfd, 0x11], [0xfd, 0xe6, 0x01], [0xfd, 0xe4, 0x01]];
  const loadOne = [0xfd, 0x09, 0x02, 0x00];
  const loadFour = (offset) => [0xfd, 0x00, 0x04, offset];
  const storeFour = (offset) => [0xfd, 0x0b, 0x04, offset];
  const sums = [0, 1, 2, 3].map((index) => ({ sum: first + index, offset: 16 * index }));
  const code = [
    [0x02, 0x01, 0x7f, 0x05, 0x7b], // locals: an integer, five vectors
    loop,
    constant(0), splat, sums.slice(0, -1).map(({ sum }) => tee(sum)).flat(), set(last),
    get(vector), set(at),
    loop,
    get(at), loadOne, set(factor),
    sums.flatMap(({ sum, offset }) => [get(sum), get(matrix), loadFour(offset), get(factor), multiplyFour, addFour, set(sum)].flat()),
    get(matrix), constant(64), add, set(matrix),
    get(at), constant(4), add, tee(at), get(end), isBelow, repeatIf,
    endOfBlock,
    sums.flatMap(({ sum, offset }) => [get(results), get(sum), storeFour(offset)].flat()),
    get(results), constant(64), add, set(results),
    get(numBlocks), constant(1), subtract, tee(numBlocks), repeatIf,
    endOfBlock,
    endOfBlock,
  ].flat();
  const sized = (content) => [...(content.length < 128 ? [content.length] : [0x80 | (content.length & 0x7f), content.length >> 7]), ...content];
  const section = (number, content) => [number, ...sized(content)];
  const name = (text) => sized([...new TextEncoder().encode(text)]);
  return new WebAssembly.Module(
    Uint8Array.from([
      ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
      ...section(1, [1, 0x60, 5, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0]), // a function of five integers
      ...section(2, [1, ...name("page"), ...name("memory"), 0x02, 0x00, 0x01]),
      ...section(3, [1, 0]),
      ...section(7, [1, ...name("multiply"), 0x00, 0]),
      ...section(10, [1, ...sized(code)]),
    ]),
  );
}

// Multiplies by matrices that were added before: all of them, the vector and the results are in one memory.
class FastProducts {
  constructor() {
    this.numBytes = 0;
    this.vectorSize = 0;
    this.resultsSize = 0;
    this.module = productModule();
    this.memory = new WebAssembly.Memory({ initial: 1 });
    this.multiplyBlocks = new WebAssembly.Instance(this.module, { page: { memory: this.memory } }).exports.multiply;
  }

  // Return a matrix with the functions multiply(vector, results, bias) and set(row, column, value).
  matrix(tensor) {
    try {
      return { shape: tensor.shape, ...this.add(tensor) };
    } catch (error) {
      if (!(error instanceof RangeError)) throw error; // there is no more memory of this kind
      return new PlainProducts().matrix(tensor);
    }
  }

  add({ data, shape: [numRows, numColumns] }) {
    const numBlocks = Math.ceil(numRows / BLOCK_ROWS);
    const size = numBlocks * BLOCK_ROWS * numColumns;
    const address = this.reserve(4 * size);
    let blocks = new Float32Array(this.memory.buffer, address, size);
    for (let row = 0; row < numRows; row += 1) {
      let target = (row - (row % BLOCK_ROWS)) * numColumns + (row % BLOCK_ROWS);
      for (let index = row * numColumns; index < (row + 1) * numColumns; index += 1, target += BLOCK_ROWS) blocks[target] = data[index];
    }
    if (numColumns > this.vectorSize) [this.vectorSize, this.vector] = [numColumns, this.reserve(4 * numColumns)];
    if (numBlocks * BLOCK_ROWS > this.resultsSize) {
      [this.resultsSize, this.results] = [numBlocks * BLOCK_ROWS, this.reserve(4 * numBlocks * BLOCK_ROWS)];
    }
    this.vectorView = new Float32Array(this.memory.buffer, this.vector, this.vectorSize);
    this.resultsView = new Float32Array(this.memory.buffer, this.results, this.resultsSize);
    const multiply = (vector, results, bias) => {
      this.vectorView.set(vector);
      this.multiplyBlocks(address, this.vector, this.results, numBlocks, this.vector + 4 * numColumns);
      const view = this.resultsView;
      if (bias) for (let row = 0; row < numRows; row += 1) results[row] = view[row] + bias.data[row];
      else for (let row = 0; row < numRows; row += 1) results[row] = view[row];
    };
    const set = (row, column, value) => {
      if (blocks.length === 0) blocks = new Float32Array(this.memory.buffer, address, size); // the memory has grown
      const inBlock = row % BLOCK_ROWS;
      blocks[(row - inBlock) * numColumns + column * BLOCK_ROWS + inBlock] = value;
    };
    return { multiply, set };
  }

  reserve(numBytes) {
    const address = this.numBytes;
    this.numBytes += Math.ceil(numBytes / 16) * 16;
    const missing = this.numBytes - this.memory.buffer.byteLength;
    if (missing > 0) this.memory.grow(Math.ceil(missing / PAGE_BYTES));
    return address;
  }
}

class PlainProducts {
  matrix({ data, shape }) {
    const [numRows, numColumns] = shape;
    const multiply = (vector, results, bias) => {
      const last = numRows - (numRows % 4);
      for (let row = 0; row < last; row += 4) {
        let one = row * numColumns;
        let two = one + numColumns;
        let three = two + numColumns;
        let four = three + numColumns;
        let a = 0;
        let b = 0;
        let c = 0;
        let d = 0;
        for (let column = 0; column < numColumns; column += 1) {
          const x = vector[column];
          a += data[one++] * x;
          b += data[two++] * x;
          c += data[three++] * x;
          d += data[four++] * x;
        }
        results[row] = a;
        results[row + 1] = b;
        results[row + 2] = c;
        results[row + 3] = d;
      }
      for (let row = last; row < numRows; row += 1) {
        let sum = 0;
        for (let column = 0; column < numColumns; column += 1) sum += data[row * numColumns + column] * vector[column];
        results[row] = sum;
      }
      if (bias) for (let row = 0; row < numRows; row += 1) results[row] += bias.data[row];
    };
    const set = (row, column, value) => {
      data[row * numColumns + column] = value;
    };
    return { shape, multiply, set };
  }
}

function newProducts() {
  try {
    return new FastProducts();
  } catch {
    return new PlainProducts();
  }
}
