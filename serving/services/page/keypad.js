// The telephone's keys, by pointer and by keyboard. What was pressed may be a secret: it shows as dots.

import { makeWith } from "./dom.js";

const KEYS = "123456789*0#";
const NAMES = { "*": "star", "#": "hash" };
const MOST_DOTS = 24;

export class Keypad {
  /** @param {(digit: string) => void} pressed */
  constructor({ panel, keys, opener, display }, pressed) {
    Object.assign(this, { panel, opener, display, pressed, count: 0 });
    for (const digit of KEYS) {
      const key = makeWith({ type: "button", "aria-label": NAMES[digit] ?? digit }, "button.key", digit);
      key.onclick = () => this.press(digit);
      keys.append(key);
    }
    opener.onclick = () => (this.open ? this.close() : this.show());
  }

  get open() {
    return !this.panel.hidden;
  }

  show() {
    this.panel.hidden = false;
    this.opener.setAttribute("aria-expanded", "true");
    this.panel.querySelector(".key").focus();
  }

  /** @param {boolean} back whether the focus goes back to the button that opened it. */
  close(back = true) {
    if (!this.open) return;
    this.panel.hidden = true;
    this.opener.setAttribute("aria-expanded", "false");
    if (back) this.opener.focus();
  }

  reset() {
    this.close(false);
    this.count = 0;
    this.display.textContent = "";
  }

  /** @returns {boolean} whether that was a key of a telephone. */
  press(digit) {
    if (digit.length !== 1 || !KEYS.includes(digit)) return false;
    this.count += 1;
    this.display.textContent = "•".repeat(Math.min(this.count, MOST_DOTS));
    this.display.setAttribute("aria-label", `${this.count} pressed`);
    this.pressed(digit);
    return true;
  }
}
