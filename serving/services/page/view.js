// What of a call is shown outside the transcript: its state, its facts, its end, and what went wrong.

import { byId, duration, make } from "./dom.js";
import { figures } from "./model.js";

const PHASES = {
  idle: "No call",
  asking: "Waiting for the microphone",
  connecting: "Calling",
  listening: "Listening",
  hearing: "Hearing you",
  recognising: "Recognising",
  answering: "Thinking",
  speaking: "Speaking",
  ended: "Call ended",
};
const ENDINGS = {
  completed: "Call completed",
  transferred: "Passed on to a person",
  caller_left: "You hung up",
};

export function showState({ model, over, muted, talking, line }) {
  document.body.dataset.line = over ? "over" : model.call ? "live" : "calling";
  byId("phase").dataset.phase = model.phase;
  setText(byId("phase-text"), PHASES[model.phase] ?? model.phase);
  byId("start").hidden = !(over && !model.call);
  byId("calls").hidden = over && !model.call;
  byId("dock").hidden = over;
  byId("clock").hidden = !line;
  byId("mute").disabled = !talking;
  byId("mute").setAttribute("aria-pressed", String(muted));
  byId("mute-icon").setAttribute("href", muted || !talking ? "#i-mic-off" : "#i-mic");
  setText(byId("mute-text"), talking || !line ? (muted ? "Unmute" : "Mute") : "No microphone");
  byId("words").placeholder = talking && !muted ? "Type here, or just talk" : "Type what you want to say";
  byId("over").hidden = !(over && model.call);
}

export function showFacts(shown) {
  const { model, trouble } = shown;
  byId("facts").hidden = !model.call;
  if (!model.call) return;
  const engines = model.call.engines ?? {};
  for (const stage of ["stt", "llm", "tts"]) setText(byId(`fact-${stage}`), engines[stage] || "–");
  setText(byId("fact-adapter"), model.call.adapter || "–");
  setText(byId("fact-call"), model.call.call_id || "–");
  const sums = figures(model);
  setText(byId("fact-turns"), `${sums.turns}${sums.interrupted ? `, ${sums.interrupted} interrupted` : ""}`);
  setText(byId("fact-wait"), sums.waitS === null ? "–" : duration(sums.waitS));
  setText(byId("fact-hits"), sums.lookups ? `${sums.hits} of ${sums.lookups}` : "–");
  showLine(shown);
  const ending = trouble ? "Call lost" : (ENDINGS[model.ended?.ending] ?? "Call ended");
  setText(byId("over-title"), ending);
  setText(byId("over-text"), trouble ? `${trouble.error} ${trouble.advice}` : afterwards(model, sums));
}

function afterwards({ ended }, sums) {
  const turns = `${sums.turns} ${sums.turns === 1 ? "turn" : "turns"}`;
  const wait = sums.waitS === null ? "" : `, median wait ${duration(sums.waitS)}`;
  return `${ended?.transfer ? "A telephone would now ring at a person’s desk. " : ""}${turns}${wait}.`;
}

export function showClock(seconds) {
  const whole = Math.floor(seconds);
  byId("clock").textContent = `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** How the line itself does: frames that the network refused, sound that came late. */
export function showLine({ line, late, lost }) {
  if (!line) return;
  const troubles = [
    line.framesDropped && `${line.framesDropped} frames not sent`,
    late && `${late} late`,
    lost && `${lost} samples lost`,
  ].filter(Boolean);
  setText(byId("fact-line"), troubles.join(", ") || "clean");
}

/** What assistive technology reads out: words and endings, no figures. */
export function announce(event) {
  const words = {
    turn: () => event.turn?.text && `You: ${event.turn.text}`,
    say: () => event.text && `Bot: ${event.text}`,
    call: () => "The call has begun.",
    clear: () => "The bot was interrupted.",
  }[event.event]?.();
  if (!words) return;
  byId("told").append(make("p", words));
  if (byId("told").childElementCount > 20) byId("told").firstChild.remove();
}

export function notify(what, advice = "", action = "", act = null) {
  setText(byId("notice-what"), what);
  setText(byId("notice-advice"), advice);
  byId("notice-do").hidden = !act;
  byId("notice-do").textContent = action;
  byId("notice-do").onclick = act;
  byId("notice").hidden = false;
}

export function unnotify(what) {
  if (!what || byId("notice-what").textContent === what) byId("notice").hidden = true;
}

/** Unchanged text is left alone, so that live regions speak only of changes. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** The page without a call. */
export function showNoCall() {
  document.body.dataset.line = "idle";
  byId("start").hidden = false;
  byId("calls").hidden = true;
  byId("facts").hidden = true;
  byId("dock").hidden = true;
  byId("clock").hidden = true;
  byId("phase").dataset.phase = "idle";
  setText(byId("phase-text"), PHASES.idle);
}
