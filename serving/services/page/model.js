// What the page knows of a call, as a pure function of the events that came. Nothing here touches the document.
//
// A turn: {index, partial, says: [sentence], cut: whether its sound was cleared, record: TurnRecord | null,
// later: [sentence said after the record was made, such as "are you still there?"]}.
// Turn 0 is the bot's greeting. A turn whose figures changed is a new object, so that views compare by identity.

export const nothing = Object.freeze({
  call: null,
  phase: "idle",
  turn: 0,
  turns: Object.freeze([]),
  aside: "", // words over the bot's turn; they become a turn of their own, or nothing ("mm-hm")
  typed: Object.freeze([]), // {line, after}: the caller's own lines, until the server has taken each as a turn
  ended: null,
  trouble: null, // {error, advice}
});

const text = (value) => (typeof value === "string" ? value : value == null ? "" : String(value));

/** The model after an event; unknown events and fields change nothing. */
export function after(model, event) {
  switch (event.event) {
    case "call":
      return { ...model, call: { ...model.call, ...event } };
    case "state":
      return moved(model, text(event.phase), index(event.turn, model.turn));
    case "partial":
      return partial(model, index(event.turn, model.turn), text(event.text));
    case "say": {
      const turn = index(event.turn, model.turn);
      const before = begun(model, turn);
      const old = found(before, turn);
      const place = old?.record ? "later" : "says";
      return changed(before, turn, { [place]: [...(old?.[place] ?? []), text(event.text)] });
    }
    case "turn":
      return event.turn && typeof event.turn === "object"
        ? changed({ ...model, aside: "" }, index(event.turn.index, model.turn), { record: event.turn }, true)
        : model;
    case "clear":
      return cut(model);
    case "ended":
      return over(model, { ending: text(event.ending), transfer: event.transfer === true });
    case "error":
      return { ...model, trouble: { error: text(event.error), advice: text(event.advice) } };
    default:
      return model;
  }
}

/** The model after the caller sent a line of text. */
export function typed(model, line) {
  const newest = model.turns.at(-1)?.index ?? 0;
  return { ...model, typed: [...model.typed, { line, after: newest }] };
}

const index = (value, otherwise) => (Number.isSafeInteger(value) && value >= 0 ? value : otherwise);

const found = (model, turn) => model.turns.find((item) => item.index === turn);

const over = (model, ended) => ({ ...model, phase: "ended", aside: "", typed: [], ended });

function moved(model, phase, turn) {
  const aside = turn > model.turn ? "" : model.aside;
  return begun({ ...model, phase, turn, aside }, turn);
}

/** A line that was typed belongs to the next turn that begins after it. */
function begun(model, turn) {
  const [first] = model.typed;
  if (!first || turn <= first.after || found(model, turn)?.partial) return model;
  return changed(model, turn, { partial: first.line }, true);
}

/** While the bot has the floor, the caller's words do not belong to the turn that it answers. */
function partial(model, turn, words) {
  const answered = model.phase === "answering" || model.phase === "speaking";
  if (found(model, turn)?.record || (answered && turn === model.turn)) return { ...model, aside: words };
  return changed(model, turn, { partial: words }, true);
}

/** @param {boolean} words whether the caller's words of this turn came: the line that was typed shows no more. */
function changed(model, turn, fields, words = false) {
  const old = found(model, turn) ?? { index: turn, partial: "", says: [], cut: false, record: null, later: [] };
  const turns = model.turns.filter((item) => item.index !== turn);
  turns.push({ ...old, ...fields });
  turns.sort((a, b) => a.index - b.index);
  return { ...model, turns, typed: words ? taken(model.typed, turn) : model.typed };
}

function taken(lines, turn) {
  if (!lines.length || turn <= lines[0].after) return lines;
  return lines.slice(1).map(({ line }) => ({ line, after: turn }));
}

/** Barge-in: the newest sentences were cut off; the turn's record will say where. */
function cut(model) {
  const last = model.turns.findLast((item) => item.says.length);
  return last ? changed(model, last.index, { cut: true }) : model;
}

/**
 * An answer's words as [heard, not heard].
 * @param {string[]} whole what was to be said, in the ways in which it is written: "$20", "twenty dollars".
 * @param {string} spoken what was played: the first words of one of these, spacing aside.
 * @returns {[string, string] | null} null where `spoken` begins none of them.
 */
export function heardAndNot(whole, spoken) {
  const played = inSingleWords(spoken);
  const words = whole.map(inSingleWords).find((all) => played.every((word, i) => word === all[i]));
  return words ? [played.join(" "), words.slice(played.length).join(" ")] : null;
}

const inSingleWords = (text) => text.split(/\s+/).filter(Boolean);

/** Figures over the finished turns: {turns, waitS (median voice-to-voice) | null, hits, lookups, interrupted}. */
export function figures(model) {
  const records = model.turns.map((turn) => turn.record).filter(Boolean);
  const waits = records.map((record) => record.voice_to_voice_s).filter(Number.isFinite);
  waits.sort((a, b) => a - b);
  const middle = waits.length >> 1;
  const median = waits.length % 2 ? waits[middle] : (waits[middle - 1] + waits[middle]) / 2;
  const lookups = records.filter((record) => record.cache && record.cache.outcome !== "bypass");
  return {
    turns: records.length,
    waitS: waits.length ? median : null,
    lookups: lookups.length,
    hits: lookups.filter((record) => record.cache.outcome === "hit").length,
    interrupted: records.filter((record) => record.interrupted).length,
  };
}
