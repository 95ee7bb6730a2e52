// The WebSocket of one call: binary frames are sound, text frames are events. It knows no page and no sound card.

const ANSWER_MS = 15_000; // the server has this long to take the call
const GOODBYE_MS = 3_000; // and this long to say goodbye after we hung up
const MOST_BUFFERED = 32_000; // bytes: one second of sound; more means that the network does not keep up

/** What a line that closed without goodbye means, and what to do. */
function loss(code, answered) {
  if (!answered) {
    return [
      "The server cannot be reached.",
      "Check that it runs (start-call serves it) and that this address is right, then try again.",
    ];
  }
  const known = {
    1001: ["The server was stopped during the call.", "Start a new call in a moment."],
    1009: ["The server refused a message as too large.", "Start a new call, and type shorter lines."],
    1012: ["The server is restarting.", "Start a new call in a moment."],
    1013: ["The server is busy.", "Try again in a minute."],
  };
  const lost = "The call is over. Check the network and the server, then start a new call.";
  return known[code] ?? ["The connection to the server was lost.", lost];
}

/** One call's line; `on` has `event(object)`, `sound(ArrayBuffer)` and `closed(trouble | null)`, called once. */
export class Line {
  constructor(url, callerId, on) {
    this.on = on;
    this.answered = false;
    this.finished = false;
    this.framesSent = 0;
    this.framesDropped = 0;
    this.socket = new WebSocket(url);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => this.send({ event: "start", caller_id: callerId });
    this.socket.onmessage = ({ data }) => this.take(data);
    this.socket.onclose = ({ code }) => this.finish(this.said || loss(code, this.answered));
    const silent = ["The server does not answer.", "Try again in a moment."];
    this.patience = setTimeout(() => this.finish(silent), ANSWER_MS);
  }

  take(data) {
    if (this.finished) return;
    if (data instanceof ArrayBuffer) {
      this.on.sound(data);
      return;
    }
    const event = parsed(data);
    if (!event) return;
    if (event.event === "call") this.answered = true;
    if (event.event === "call" || event.event === "error") clearTimeout(this.patience);
    // Before the call is taken, an error is the refusal of it; later, the call may go on.
    if (event.event === "error" && !this.answered) this.said = [String(event.error), String(event.advice ?? "")];
    this.on.event(event);
    if (event.event === "ended") this.finish(null);
  }

  send(event) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(event));
  }

  /** Send 20 ms of the caller's voice, or drop it where the network does not keep up. */
  sendSound(frame) {
    if (this.socket.readyState !== WebSocket.OPEN || !this.answered) return;
    if (this.socket.bufferedAmount > MOST_BUFFERED) {
      this.framesDropped += 1;
      return;
    }
    this.framesSent += 1;
    this.socket.send(frame);
  }

  /** Hang up; the server's `ended` may still come. */
  hangUp() {
    clearTimeout(this.patience);
    this.send({ event: "stop" });
    this.patience = setTimeout(() => this.finish(null), this.answered ? GOODBYE_MS : 0);
  }

  finish(trouble) {
    if (this.finished) return;
    this.finished = true;
    clearTimeout(this.patience);
    if (this.socket.readyState <= WebSocket.OPEN) this.socket.close(1000);
    this.on.closed(trouble);
  }
}

function parsed(text) {
  try {
    const event = JSON.parse(text);
    return event && typeof event === "object" && typeof event.event === "string" ? event : null;
  } catch {
    return null;
  }
}
