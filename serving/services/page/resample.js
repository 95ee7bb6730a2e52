// Streaming conversion of the sample rate by a windowed sinc in exact rational phases.
// Both directions of a call use it, on the audio thread. It allocates nothing after its construction.

const REACH = 16; // zero crossings on each side of the kernel
const PASS = 0.92; // share of the narrower band that passes

const gcd = (a, b) => (b ? gcd(b, a % b) : a);

/** Taps of all phases, one after another; each phase sums to one, so that a level stays what it is. */
function kernel(up, down, half) {
  const taps = 2 * half;
  const table = new Float32Array(up * taps);
  const band = PASS * Math.min(1, up / down);
  for (let phase = 0; phase < up; phase++) {
    let sum = 0;
    for (let tap = 0; tap < taps; tap++) {
      const t = tap - half + 1 - phase / up;
      const x = Math.PI * band * t;
      const sinc = Math.abs(x) < 1e-9 ? 1 : Math.sin(x) / x;
      const w = Math.min(1, Math.abs(t) / half);
      const window = 0.42 + 0.5 * Math.cos(Math.PI * w) + 0.08 * Math.cos(2 * Math.PI * w); // Blackman
      table[phase * taps + tap] = sinc * window;
      sum += sinc * window;
    }
    for (let tap = 0; tap < taps; tap++) table[phase * taps + tap] /= sum;
  }
  return table;
}

/** Takes sound at one rate and gives it at another; positions count samples of the source since the start. */
export class RateConverter {
  /**
   * @param {number} from Hz of what is written.
   * @param {number} to Hz of what is read.
   * @param {number} seconds that wait at most; what is written beyond them is dropped.
   */
  constructor(from, to, seconds) {
    const divisor = gcd(from, to);
    this.up = to / divisor;
    this.down = from / divisor;
    this.half = Math.ceil(REACH * Math.max(1, this.down / this.up));
    this.table = kernel(this.up, this.down, this.half);
    this.room = Math.ceil(seconds * from);
    const size = 2 ** Math.ceil(Math.log2(this.room + 4 * this.half));
    this.ring = new Float32Array(size);
    this.mask = size - 1;
    this.written = 0;
    this.position = 0; // the sample of the source that the next output stands on
    this.phase = 0;
  }

  /** Samples of the source that have not been read. */
  get waiting() {
    return this.written - this.position;
  }

  /**
   * Append sound.
   * @param {ArrayLike<number>} samples
   * @param {number} gain by which each is multiplied.
   * @returns {number} samples dropped, because there was no room.
   */
  write(samples, gain = 1) {
    const taken = Math.min(samples.length, Math.max(0, this.room - this.waiting));
    for (let i = 0; i < taken; i++) this.ring[(this.written + i) & this.mask] = samples[i] * gain;
    this.written += taken;
    // What lies ahead of the newest sample is silence, should the reader look there.
    for (let i = 0; i <= this.half; i++) this.ring[(this.written + i) & this.mask] = 0;
    return samples.length - taken;
  }

  /**
   * Fill `out` from `start`.
   * @param {boolean} last read up to the newest sample as if silence followed; else wait for what follows.
   * @returns {number} the index in `out` behind the last sample filled.
   */
  read(out, start, last) {
    const taps = 2 * this.half;
    const end = this.written - (last ? 0 : this.half);
    let at = start;
    for (; at < out.length && this.position < end; at++) {
      const first = this.position - this.half + 1;
      const row = this.phase * taps;
      let sum = 0;
      for (let tap = 0; tap < taps; tap++) sum += this.table[row + tap] * this.ring[(first + tap) & this.mask];
      out[at] = sum;
      this.phase += this.down;
      this.position += Math.floor(this.phase / this.up);
      this.phase %= this.up;
    }
    return at;
  }

  /** Forget all that was written. */
  drop() {
    for (let i = -this.half; i <= this.half; i++) this.ring[(this.written + i) & this.mask] = 0;
    this.position = this.written;
    this.phase = 0;
  }
}
