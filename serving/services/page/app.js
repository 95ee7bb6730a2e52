// The page: what the person's hands do, by pointer or by keyboard.

import { Call } from "./call.js";
import { byId, makeWith } from "./dom.js";
import { Keypad } from "./keypad.js";
import { Lanes } from "./lanes.js";
import { Transcript } from "./transcript.js";
import { showClock, showNoCall, unnotify } from "./view.js";

const transcript = new Transcript(byId("turns"), byId("main"), byId("newest"));
const lanes = new Lanes(byId("lanes"), { you: byId("lane-you"), bot: byId("lane-bot") });
const keypad = new Keypad(
  { panel: byId("keypad"), keys: byId("keys"), opener: byId("keypad-open"), display: byId("pressed") },
  (digit) => call?.line?.send({ event: "dtmf", digit }),
);

/** The call in progress, or the one that has just ended. */
let call = null;

function begin(talking) {
  if (call?.line && !call.over) return;
  call?.forget(); // its question for the microphone may still be open
  unnotify();
  transcript.clear();
  keypad.reset();
  byId("told").replaceChildren();
  showClock(0);
  lanes.start();
  call = new Call({ transcript, lanes, ended, typeInstead: () => begin(false) });
  call.start(talking, byId("caller").value.trim());
  byId("words").focus();
}

function ended(which) {
  keypad.reset();
  if (!which.model.call) {
    toStart();
    return;
  }
  byId("over-title").focus();
  byId("over").scrollIntoView({ block: "end" });
}

function toStart() {
  showNoCall();
  byId("start-talk").focus();
}

function bindCall() {
  byId("start-form").onsubmit = (event) => {
    event.preventDefault();
    begin(true);
  };
  byId("start-type").onclick = () => begin(false);
  byId("again").onclick = () => {
    call = null;
    unnotify();
    toStart();
  };
  byId("composer").onsubmit = (event) => {
    event.preventDefault();
    const text = byId("words").value.trim();
    if (!text || !call || call.over) return;
    byId("words").value = "";
    call.say(text);
  };
  byId("mute").onclick = () => call?.mute(!call.muted);
  byId("hang-up").onclick = () => call?.hangUp();
  byId("notice-close").onclick = () => unnotify();
  addEventListener("pagehide", () => call?.hangUp());
}

function bindLook() {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.look ? root.dataset.look === "dark" : system.matches);
  const tell = () => byId("look").setAttribute("aria-pressed", String(dark()));
  byId("look").onclick = () => {
    root.dataset.look = dark() ? "light" : "dark";
    try {
      localStorage.setItem("voicebot.look", root.dataset.look);
    } catch {
      // It holds until the page is closed.
    }
    tell();
  };
  system.addEventListener("change", tell);
  tell();
  byId("figures").onclick = () => {
    const shown = document.body.classList.toggle("no-figures");
    byId("figures").setAttribute("aria-pressed", String(!shown));
  };
  byId("keys-help").onclick = () => byId("help").showModal();
}

function bindKeys() {
  const free = (target) => !target.closest?.("input, textarea, select, button, a, dialog, summary");
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
    const typing = event.target.closest?.("input");
    if (event.key === "Escape") {
      if (keypad.open) keypad.close();
      else if (typing) typing.blur();
    } else if (event.key === " " && free(event.target) && call?.talking && !call.over) {
      event.preventDefault();
      if (!event.repeat) call.mute(!call.muted);
    } else if (keypad.open && !typing && !event.repeat && keypad.press(event.key)) {
      event.preventDefault();
    }
  });
}

function bindIdeas() {
  for (const item of document.querySelectorAll(".ideas li")) {
    const idea = makeWith({ type: "button" }, "button.idea", item.textContent);
    idea.onclick = () => {
      begin(false);
      byId("words").value = idea.textContent;
    };
    item.replaceChildren(idea);
  }
}

bindCall();
bindLook();
bindKeys();
bindIdeas();
