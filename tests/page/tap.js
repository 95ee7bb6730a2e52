// For tests: keeps what goes to the loudspeaker, sample by sample, with the frame at which it does.
class Tap extends AudioWorkletProcessor {
  process([input]) {
    if (input.length) this.port.postMessage({ frame: currentFrame, sound: input[0].slice() });
    return true;
  }
}

registerProcessor("tap", Tap);
