// For tests, before the page's own scripts: a tap between the page and its loudspeaker, and the audio clock at
// which events came in and marks went out.
window.tapped = { rate: 0, frames: [], sounds: [], clears: [], marks: [], context: null };

const addModule = AudioWorklet.prototype.addModule;
AudioWorklet.prototype.addModule = async function (url) {
  await addModule.call(this, url);
  await addModule.call(this, "/tap.js");
};

const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (target, ...others) {
  if (target instanceof AudioDestinationNode) {
    const tap = new AudioWorkletNode(this.context, "tap", { numberOfOutputs: 0 });
    window.tapped.context = this.context;
    window.tapped.rate = this.context.sampleRate;
    tap.port.onmessage = ({ data }) => {
      window.tapped.frames.push(data.frame);
      window.tapped.sounds.push(data.sound);
    };
    connect.call(this, tap);
  }
  return connect.call(this, target, ...others);
};

window.WebSocket = class extends WebSocket {
  constructor(...given) {
    super(...given);
    this.addEventListener("message", ({ data }) => {
      if (typeof data === "string" && data.includes('"clear"')) {
        window.tapped.clears.push(window.tapped.context.currentTime);
      }
    });
  }

  send(data) {
    if (typeof data === "string" && data.includes('"mark"')) {
      window.tapped.marks.push(window.tapped.context?.currentTime);
    }
    super.send(data);
  }
};
