// One call, from the click that starts it to its end: it joins line, sound, model and what is shown.

import { Line } from "./line.js";
import { after, nothing, typed } from "./model.js";
import { microphoneTrouble, SilentPlayer, Sound } from "./sound.js";
import { announce, notify, showClock, showFacts, showLine, showState, unnotify } from "./view.js";

const ASKED = "The browser asks for the microphone.";
const ASKED_AFTER_MS = 600; // a permission given before needs no word
const PAUSED = "The sound is paused.";

export class Call {
  /** @param {{transcript: Transcript, lanes: Lanes, ended: Function, typeInstead: Function}} page */
  constructor(page) {
    this.page = page;
    this.model = { ...nothing, phase: "connecting" };
    this.over = false;
    this.muted = false;
    this.late = 0;
    this.lost = 0;
    this.talking = false;
    this.hungUp = false;
    this.unsent = []; // lines typed before the server took the call
  }

  /** @param {boolean} talking with the microphone, or by typing alone. */
  async start(talking, callerId) {
    this.show();
    const on = {
      played: (name) => this.line?.send({ event: "mark", name }),
      level: (level) => this.page.lanes.level("bot", level),
      late: () => (this.late += 1),
      dropped: (samples) => (this.lost += samples),
      paused: (paused) => this.soundPaused(paused),
    };
    try {
      this.sound = await Sound.open(on);
    } catch (error) {
      this.sound = new SilentPlayer(on);
      const advice = "You can type and read; another browser may do better.";
      notify("This browser gives the call no sound.", `${advice} It says: ${error.message}`);
    }
    if (talking) await this.openMicrophone();
    else if (!window.isSecureContext) notify(...microphoneTrouble({ name: "InsecureError" }));
    if (this.over) {
      this.sound.close();
      return;
    }
    this.connect(callerId);
  }

  async openMicrophone() {
    this.model = { ...this.model, phase: "asking" };
    this.show();
    const asking = setTimeout(() => {
      notify(ASKED, "Allow it to talk, or go on without.", "Type instead", this.page.typeInstead);
    }, ASKED_AFTER_MS);
    try {
      await this.sound.openMicrophone((heard) => {
        if (this.hungUp) return;
        this.line?.sendSound(heard.frame);
        this.page.lanes.level("you", heard.level);
      });
      this.talking = true;
    } catch (error) {
      if (!this.over) notify(...microphoneTrouble(error));
    }
    clearTimeout(asking);
    if (!this.over) unnotify(ASKED);
    this.model = { ...this.model, phase: "connecting" };
  }

  connect(callerId) {
    const url = new URL("/ws", location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    this.started = performance.now();
    this.line = new Line(url, callerId, {
      sound: (sound) => this.hungUp || this.sound.play(sound),
      event: (event) => this.take(event),
      closed: (trouble) => this.end(trouble && { error: trouble[0], advice: trouble[1] }),
    });
    this.ticking = setInterval(() => this.tick(), 1_000);
    this.show();
  }

  take(event) {
    if (event.event === "mark") this.sound.mark(String(event.name));
    if (event.event === "clear") this.sound.clear();
    if (event.event === "error" && this.line.answered) {
      notify(String(event.error ?? ""), String(event.advice ?? ""));
    }
    if (event.event !== "call" || !this.model.call) announce(event);
    this.model = after(this.model, event);
    if (this.model.call) this.unsent.splice(0).forEach((text) => this.line.send({ event: "text", text }));
    this.show();
  }

  say(text) {
    this.model = typed(this.model, text);
    if (this.model.call) this.line.send({ event: "text", text });
    else this.unsent.push(text);
    this.show();
  }

  mute(muted) {
    this.muted = muted;
    this.sound?.mute(muted);
    if (muted) this.page.lanes.level("you", 0);
    this.show();
  }

  hangUp() {
    this.hungUp = true;
    this.sound?.clear();
    this.sound?.closeMicrophone();
    if (this.line) this.line.hangUp();
    else this.end(null);
  }

  soundPaused(paused) {
    if (this.over) return;
    if (paused) notify(PAUSED, "The browser or another program took it.", "Resume", () => this.sound.resume());
    else unnotify(PAUSED);
  }

  /** Another call takes the place of this one, which never got a line. */
  forget() {
    this.over = this.forgotten = true;
    this.sound?.close();
  }

  end(trouble) {
    if (this.over) return;
    this.over = true;
    clearInterval(this.ticking);
    this.sound?.close();
    this.page.lanes.stop();
    this.model = { ...this.model, phase: "ended", typed: [] };
    this.trouble = trouble;
    if (trouble) notify(trouble.error, trouble.advice);
    this.show();
    this.page.ended(this);
  }

  tick() {
    showClock((performance.now() - this.started) / 1_000);
    showLine(this);
  }

  show() {
    if (this.forgotten) return;
    showState(this);
    showFacts(this);
    this.page.transcript.show(this.model);
  }
}
