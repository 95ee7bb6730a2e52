// The microphone and the loudspeaker of a call, behind four verbs: play, mark, clear, mute.
// Where the browser gives no sound at all, `SilentPlayer` keeps the same time, so that a typed call goes on.

const RATE = 16_000;
const LATENCY_ASKED_MS = 1_000;
// The bot must not hear itself. Chromium's noise suppression took whole words away from recognition, and its gain
// control drove a loud voice into the limit; engines are made for sound as it is.
const MICROPHONE = { echoCancellation: true, noiseSuppression: false, autoGainControl: false, channelCount: 1 };

/** Why the microphone is not there, in words for the person in front of it. */
export function microphoneTrouble(error) {
  const troubles = {
    NotAllowedError: [
      "The microphone is not allowed.",
      "You can type instead. To talk, allow the microphone for this page beside its address, then start a new call.",
    ],
    NotFoundError: ["No microphone was found.", "You can type instead. To talk, connect one and start a new call."],
    NotReadableError: [
      "The microphone cannot be opened.",
      "Another program may be using it. You can type instead, or free it and start a new call.",
    ],
    InsecureError: [
      "This address is not secure, so the browser allows neither microphone nor sound.",
      "You can type and read. To talk, open the page over https, or on localhost.",
    ],
  };
  const other = ["The microphone does not work.", `You can type instead. The browser says: ${error.message}`];
  return troubles[error.name] ?? other;
}

const insecure = () => Object.assign(new Error("no secure context"), { name: "InsecureError" });

/** The loudspeaker, and the microphone once it is opened. */
export class Sound {
  /**
   * Call it from a click or a key press: browsers start sound for nothing else.
   * @param {{played: Function, level: Function, late: Function, dropped: Function, paused: Function}} on
   */
  static async open(on) {
    if (!window.isSecureContext || !window.AudioWorkletNode) return new SilentPlayer(on);
    const context = new AudioContext({ latencyHint: "interactive" });
    const started = context.resume();
    await context.audioWorklet.addModule(new URL("worklet.js", import.meta.url));
    await Promise.race([started, new Promise((done) => setTimeout(done, 1_000))]);
    return new Sound(context, on);
  }

  constructor(context, on) {
    this.context = context;
    this.player = new AudioWorkletNode(context, "player", { numberOfInputs: 0, outputChannelCount: [1] });
    this.player.connect(context.destination);
    this.player.port.onmessage = ({ data }) => {
      if (data.played !== undefined) on.played(data.played);
      if (data.level !== undefined) on.level(data.level);
      if (data.late) on.late();
      if (data.dropped) on.dropped(data.dropped);
    };
    context.onstatechange = () => on.paused(context.state !== "running" && context.state !== "closed");
    on.paused(context.state !== "running");
    this.tellLatency();
    this.asking = setInterval(() => this.tellLatency(), LATENCY_ASKED_MS);
  }

  tellLatency() {
    this.player.port.postMessage({ latency: this.context.outputLatency || this.context.baseLatency || 0 });
  }

  /** Hand each 20 ms of the caller's voice to `heard({frame, level})`. Rejects as getUserMedia does. */
  async openMicrophone(heard) {
    if (!navigator.mediaDevices) throw insecure();
    const stream = await navigator.mediaDevices.getUserMedia({ audio: MICROPHONE, video: false });
    if (this.context.state === "closed") {
      stream.getTracks().forEach((track) => track.stop());
      return;
    }
    this.stream = stream;
    this.microphone = new AudioWorkletNode(this.context, "microphone", {
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit",
    });
    this.microphone.port.onmessage = ({ data }) => heard(data);
    this.source = this.context.createMediaStreamSource(stream);
    this.source.connect(this.microphone);
  }

  /** A muted microphone sends silence: the browser itself cuts it off. */
  mute(muted) {
    this.stream?.getAudioTracks().forEach((track) => (track.enabled = !muted));
  }

  play(sound) {
    this.player.port.postMessage({ sound }, [sound]);
  }

  mark(name) {
    this.player.port.postMessage({ mark: name });
  }

  clear() {
    this.player.port.postMessage({ clear: true });
  }

  resume() {
    return this.context.resume();
  }

  closeMicrophone() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.source?.disconnect();
    this.stream = undefined;
  }

  close() {
    clearInterval(this.asking);
    this.closeMicrophone();
    this.context.onstatechange = null;
    if (this.context.state !== "closed") this.context.close();
  }
}

/** A loudspeaker that nobody hears: sound passes in real time, and marks come back when it would have ended. */
export class SilentPlayer {
  constructor(on) {
    this.on = on;
    this.end = 0;
    this.waiting = new Set();
  }

  async openMicrophone() {
    throw insecure();
  }

  play(sound) {
    this.end = Math.max(this.end, performance.now()) + (1_000 * (sound.byteLength >> 1)) / RATE;
  }

  mark(name) {
    const timer = setTimeout(() => {
      this.waiting.delete(timer);
      this.on.played(name);
    }, Math.max(0, this.end - performance.now()));
    this.waiting.add(timer);
  }

  clear() {
    this.waiting.forEach(clearTimeout);
    this.waiting.clear();
    this.end = 0;
  }

  mute() {}

  async resume() {}

  closeMicrophone() {}

  close() {
    this.clear();
  }
}
