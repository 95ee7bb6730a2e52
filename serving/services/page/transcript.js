// The transcript: one list item per turn, words on one side, figures on the other.
// A turn is drawn anew only when it changed; the figures of a turn are drawn once.

import { make, makeWith } from "./dom.js";
import { turnFigures } from "./figures.js";
import { heardAndNot } from "./model.js";

const NEAR_END = 120; // pixels from the end within which the newest turn is followed
const SHORTEST_SCALE_S = 1; // all bars share a scale of at least this
const FINE_TICKS_S = 2; // up to here a tick is 250 ms, then a second

export class Transcript {
  /**
   * @param {HTMLElement} list
   * @param {HTMLElement} scroller what scrolls it.
   * @param {HTMLElement} newest the button that shows while newer turns are out of sight.
   */
  constructor(list, scroller, newest) {
    this.list = list;
    this.scroller = scroller;
    this.newest = newest;
    this.drawn = new Map(); // index → {turn, item, words, figures}
    this.pending = make("li.turn.pending");
    newest.onclick = () => this.toEnd();
    scroller.addEventListener("scroll", () => this.atEnd() && (newest.hidden = true), { passive: true });
  }

  clear() {
    this.drawn.clear();
    this.list.replaceChildren();
    this.newest.hidden = true;
  }

  show(model) {
    const follow = this.atEnd();
    let grew = false;
    for (const turn of model.turns) {
      const old = this.drawn.get(turn.index);
      if (old?.turn === turn) continue;
      grew = true;
      this.draw(turn, old ?? this.add(turn.index));
    }
    grew = this.showPending([model.aside, ...model.typed.map(({ line }) => line)].filter(Boolean)) || grew;
    if (!grew) return;
    const waits = model.turns.map((turn) => turn.record?.voice_to_voice_s).filter(Number.isFinite);
    const longest = Math.max(SHORTEST_SCALE_S, ...waits);
    this.list.style.setProperty("--longest", String(longest));
    this.list.style.setProperty("--tick", longest > FINE_TICKS_S ? "1" : "0.25");
    if (follow) this.toEnd();
    else this.newest.hidden = false;
  }

  add(index) {
    const entry = { turn: null, words: make("div.words"), figures: make("div.aside") };
    entry.item = makeWith({ "data-turn": index }, "li.turn", entry.words, entry.figures);
    this.drawn.set(index, entry);
    const next = [...this.drawn.keys()].filter((other) => other > index).sort((a, b) => a - b)[0];
    this.list.insertBefore(entry.item, next === undefined ? null : this.drawn.get(next).item);
    return entry;
  }

  draw(turn, entry) {
    entry.words.replaceChildren(...words(turn));
    if (turn.record && turn.record !== entry.turn?.record) entry.figures.replaceChildren(turnFigures(turn.record));
    entry.item.classList.toggle("open", !turn.record);
    entry.turn = turn;
  }

  showPending(lines) {
    const before = this.pending.childElementCount;
    const words = lines.map((line) => make("div.words", said("you", "You", make("span.partial", line))));
    this.pending.replaceChildren(...words);
    if (lines.length) this.list.append(this.pending);
    else this.pending.remove();
    return lines.length > before;
  }

  atEnd() {
    const { scrollTop, clientHeight, scrollHeight } = this.scroller;
    return scrollHeight - scrollTop - clientHeight < NEAR_END;
  }

  toEnd() {
    this.newest.hidden = true;
    this.scroller.scrollTo({ top: this.scroller.scrollHeight });
  }
}

/** What both sides said in a turn. */
function words(turn) {
  const { record } = turn;
  const lines = [];
  if (record ? record.text : turn.partial) {
    const text = record ? make("span.text", record.text) : make("span.partial", turn.partial);
    lines.push(said("you", "You", text));
  } else if (record) {
    lines.push(said("you", "You", make("span.nothing", "nothing that could be understood")));
  }
  const bot = record ? answer(record, turn.says) : saying(turn);
  if (bot) lines.push(bot);
  if (turn.later.length) lines.push(said("bot", "Bot", make("span.text", turn.later.join(" "))));
  return lines;
}

/** The answer while it is being played, sentence by sentence. */
function saying(turn) {
  if (!turn.says.length) return null;
  return said("bot", "Bot", make("span.text", turn.says.join(" ")), turn.cut && make("span.badge.cut", "interrupted"));
}

/** The answer of a finished turn: what was heard of it, and what was not. */
function answer(record, says) {
  if (!record.answer) return says.length ? said("bot", "Bot", make("span.text", says.join(" "))) : null;
  const whole = [record.answer, says.join(" ")];
  const parts = record.interrupted ? heardAndNot(whole, record.spoken ?? "") : [record.answer, ""];
  if (!parts) {
    const heard = make("span.heard", record.spoken);
    const cut = make("span.badge.cut", "cut off here");
    return said("bot", "Bot", heard, cut, make("span.note", `of: ${record.answer}`));
  }
  const [heard, unheard] = parts;
  if (!unheard) return said("bot", "Bot", make("span.text", heard));
  return said(
    "bot",
    "Bot",
    make("span.heard", heard),
    make("s.unheard", make("span.unseen", "not heard: "), unheard),
    make("span.badge.cut", heard ? "cut off here" : "not heard"),
  );
}

const said = (side, who, ...text) =>
  make(`p.${side}`, make("span.who", who), make("span.what", ...text.flatMap((part) => [part, " "])));
