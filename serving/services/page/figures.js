// The figures beside a turn, from its TurnRecord alone: wait by stages, intent, cache, tools, errors.

import { duration, inWords, make, makeWith } from "./dom.js";

const STAGES = {
  waited: "Waited for the bot",
  end_of_turn: "End of turn",
  stt: "Recognition",
  parse: "Values",
  intent: "Intent",
  redact: "Redaction",
  cache: "Cache",
  reply: "Reply",
  llm: "Answer engine",
  tool: "Tool",
  tts: "Voice",
  playout: "Playout",
};
const SUM_TOLERANCE_S = 0.005;
const LONGEST_VALUE = 4_000; // characters of one tool's value that are shown

const list = (value) => (Array.isArray(value) ? value : []);
const object = (value) => (value && typeof value === "object" && !Array.isArray(value) ? value : {});

/** @param {object} record a TurnRecord as JSON. */
export function turnFigures(record) {
  return make(
    "div.figures",
    head(record),
    wait(record),
    intent(record),
    cache(record.cache),
    ...list(record.tools).map(tool),
    disclosures(list(record.disclosures)),
    voices(record),
    engines(record),
    record.error ? row("Error", make("span.bad", record.error)) : null,
  );
}

function head(record) {
  const none = !Number.isFinite(record.voice_to_voice_s);
  return make(
    "p.head",
    make("span.number", `Turn ${record.index}`),
    makeWith({ "data-decision": record.decision }, "span.badge.decision", inWords(record.decision)),
    record.interrupted ? make("span.badge.cut", "interrupted") : null,
    makeWith(
      { title: "Voice to voice: from the end of the caller’s speech to the first sound of the answer" },
      "strong.wait",
      make("span.unseen", "Voice to voice "),
      none ? "no sound" : duration(record.voice_to_voice_s),
    ),
  );
}

/** Bars on one scale for the whole call, and the same numbers as text. */
function wait(record) {
  const stages = Object.entries(object(record.stages)).filter(([, seconds]) => Number.isFinite(seconds));
  if (!stages.length) return null;
  const bar = makeWith({ "aria-hidden": "true" }, "div.bar");
  const table = makeWith({ "aria-label": "Stages of the wait" }, "dl.stages");
  for (const [name, seconds] of stages) {
    const words = STAGES[name] ?? inWords(name);
    const part = makeWith({ "data-stage": name, title: `${words} ${duration(seconds)}` }, "span.part");
    part.style.setProperty("--s", String(Math.max(0, seconds)));
    bar.append(part);
    const key = makeWith({ "data-stage": name, "aria-hidden": "true" }, "i.dot");
    table.append(make("div", make("dt", key, words), make("dd", duration(seconds))));
  }
  const sum = stages.reduce((total, [, seconds]) => total + seconds, 0);
  const whole = record.voice_to_voice_s;
  const off = Number.isFinite(whole) && Math.abs(sum - whole) > SUM_TOLERANCE_S;
  return make("div.waits", bar, table, off && make("p.bad", `The stages add up to ${duration(sum)}, not to the wait.`));
}

function intent(record) {
  if (!record.intent) return null;
  const probability = Number(record.intent_probability) || 0;
  const gauge = makeWith({ "aria-hidden": "true" }, "span.gauge");
  gauge.style.setProperty("--p", String(Math.min(1, Math.max(0, probability))));
  return row(
    "Intent",
    make("code", record.intent),
    gauge,
    make("span.figure", probability.toFixed(2)),
    record.in_scope === false && make("span.badge", "out of scope"),
    record.intent_version && make("span.soft", record.intent_version),
  );
}

function cache(decision) {
  if (!decision) return null;
  return row(
    "Cache",
    makeWith({ "data-outcome": decision.outcome }, "span.badge.outcome", decision.outcome),
    make("span", inWords(decision.reason)),
    Number.isFinite(decision.similarity) && make("span.figure", `cos ${decision.similarity.toFixed(3)}`),
    decision.detail && make("span.soft.detail", decision.detail),
  );
}

function tool(call) {
  const result = call.ok ? object(call.value) : {};
  return row(
    "Tool",
    make("code", call.name),
    make(`span.badge${call.ok ? ".good" : ".failed"}`, call.ok ? "ok" : "failed"),
    make("span.figure", duration(call.seconds)),
    pairs("with", object(call.arguments)),
    call.ok ? pairs("gave", result) : make("p.bad.detail", call.error || "no reason given"),
  );
}

/** Arguments or values of a tool; what is nested or long shows as JSON. */
function pairs(word, values) {
  const entries = Object.entries(values);
  if (!entries.length) return null;
  const table = make("dl.pairs");
  for (const [name, value] of entries) table.append(make("div", make("dt", inWords(name)), make("dd", shown(value))));
  return make("div.detail.given", make("span.soft", word), table);
}

function shown(value) {
  const text = value !== null && typeof value === "object" ? JSON.stringify(value) : String(value ?? "–");
  return text.length > LONGEST_VALUE ? `${text.slice(0, LONGEST_VALUE)}…` : text;
}

function disclosures(ids) {
  return ids.length ? row("Disclosed", ...ids.map((id) => make("code", id))) : null;
}

/** What happened when both talked at once. */
function voices(record) {
  const silenced = Number.isFinite(record.barge_in_s);
  if (!silenced && !record.resumed) return null;
  return row(
    "Barge-in",
    silenced && make("span", `silent ${duration(record.barge_in_s)} after the caller’s first sound`),
    record.resumed > 0 && make("span", `held for a sound that was no interruption: ${record.resumed} ×`),
  );
}

function engines(record) {
  const typed = record.stt_engine === "typed";
  const sure = Number.isFinite(record.confidence) && !typed;
  return row(
    "By",
    make("span", typed ? "typed" : record.stt_engine || "–"),
    sure && make("span.figure", `confidence ${record.confidence.toFixed(2)}`),
    record.llm_engine && make("span", `answered by ${record.llm_engine}`),
  );
}

const row = (name, ...values) => make("div.row", make("span.name", name), make("div.values", ...values));
