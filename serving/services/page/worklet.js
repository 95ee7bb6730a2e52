// The two ends of the line on the audio thread: the caller's voice in 20 ms frames, the bot's voice with marks.
// Sound on the line is mono int16 at 16 kHz; the audio context runs at whatever rate the device has.

import { RateConverter } from "./resample.js";

const RATE = 16_000;
const FRAME = 320; // 20 ms
const LONGEST_QUEUE_S = 60;
const TOLD_EVERY = 1_024; // frames of the context between two reports of loudness
const GAP_S = 0.3; // sound that comes this soon after the queue ran dry came late

const rms = (samples) => {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  return Math.sqrt(sum / (samples.length || 1));
};

/** Posts `{frame: ArrayBuffer, level}` for each 20 ms of the microphone. */
class Microphone extends AudioWorkletProcessor {
  constructor() {
    super();
    this.converter = new RateConverter(sampleRate, RATE, 1);
    this.frame = new Float32Array(FRAME);
    this.filled = 0;
  }

  process([input]) {
    if (!input.length) return true;
    this.converter.write(input[0]);
    for (;;) {
      this.filled = this.converter.read(this.frame, this.filled, false);
      if (this.filled < FRAME) return true;
      this.filled = 0;
      const pcm = new DataView(new ArrayBuffer(2 * FRAME));
      this.frame.forEach((sample, i) => {
        pcm.setInt16(2 * i, Math.round(Math.max(-1, Math.min(32_767 / 32_768, sample)) * 32_768), true);
      });
      this.port.postMessage({ frame: pcm.buffer, level: rms(this.frame) }, [pcm.buffer]);
    }
  }
}

/**
 * Plays what it is sent: `{sound: ArrayBuffer}`, `{mark: name}`, `{clear: true}`, `{latency: seconds}`.
 *
 * Posts `{played: name}` when the last sample before that mark has left the loudspeaker, as far as the
 * browser knows its latency; a mark whose sound was cleared is never posted. Posts `{level, waiting}`
 * while it plays, and `{late}` and `{dropped}` when the line brought sound too late, or more than fits.
 */
class Player extends AudioWorkletProcessor {
  constructor() {
    super();
    this.converter = new RateConverter(RATE, sampleRate, LONGEST_QUEUE_S);
    this.marks = []; // {name, at}: waiting for the sample at which they stand
    this.leaving = []; // {name, frame}: their sound is on its way to the loudspeaker
    this.tail = null; // the fade-out of what was cleared, which keeps it from clicking
    this.latency = 0;
    this.told = 0;
    this.loud = false;
    this.running = false;
    this.dry = null; // the frame at which the queue ran empty in the middle of a sound
    this.port.onmessage = ({ data }) => this.take(data);
  }

  take(message) {
    if (message.sound) {
      if (this.dry !== null && currentFrame - this.dry < GAP_S * sampleRate) this.port.postMessage({ late: true });
      this.dry = null;
      const samples = new Int16Array(message.sound, 0, message.sound.byteLength >> 1);
      const dropped = this.converter.write(samples, 1 / 32_768);
      if (dropped) this.port.postMessage({ dropped });
    } else if (message.mark !== undefined) {
      this.marks.push({ name: message.mark, at: this.converter.written });
      this.dry = null;
    } else if (message.clear) {
      this.clear();
    } else if (message.latency !== undefined) {
      this.latency = Math.round(message.latency * sampleRate);
    }
  }

  clear() {
    const tail = new Float32Array(128);
    const length = this.converter.read(tail, 0, true);
    for (let i = 0; i < length; i++) tail[i] *= 1 - (i + 1) / length;
    this.tail = tail;
    this.converter.drop();
    this.marks = [];
    this.dry = null;
  }

  process(_inputs, [[out]]) {
    const filled = this.converter.read(out, 0, true);
    if (filled < out.length && (filled || this.running)) {
      this.dry = this.marks.length ? null : currentFrame + filled; // a mark stands at the end of a sound
    }
    this.running = filled > 0;
    if (this.tail) {
      for (let i = 0; i < Math.min(out.length, this.tail.length); i++) out[i] += this.tail[i];
      this.tail = null;
    }
    while (this.marks.length && this.converter.position >= this.marks[0].at) {
      this.leaving.push({ name: this.marks.shift().name, frame: currentFrame + filled + this.latency });
    }
    while (this.leaving.length && currentFrame + out.length >= this.leaving[0].frame) {
      this.port.postMessage({ played: this.leaving.shift().name });
    }
    this.tell(out, filled > 0);
    return true;
  }

  /** Loudness now and then; the last report of a sound is silence. */
  tell(out, sounding) {
    this.told += out.length;
    if (this.told < TOLD_EVERY || (!sounding && !this.loud)) return;
    this.told = 0;
    this.loud = sounding;
    this.port.postMessage({ level: sounding ? rms(out) : 0, waiting: this.converter.waiting / RATE });
  }
}

registerProcessor("microphone", Microphone);
registerProcessor("player", Player);
