// Both voices over the last seconds, the caller above the line and the bot below: barge-in can be seen.
// Drawn from loudness alone; the colours are the style sheet's.

const STEP_S = 0.02;
const STEPS = 500; // ten seconds
const QUIETEST_DB = -60;
const CALM_MS = 500; // between two drawings where the person asked for less motion
const METER_MS = 500; // between two values for assistive technology

const height = (level) => (level > 0 ? Math.max(0, 1 - (20 * Math.log10(level)) / QUIETEST_DB) : 0);

export class Lanes {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{you: HTMLElement, bot: HTMLElement}} meters elements with role `meter`.
   */
  constructor(canvas, meters) {
    this.canvas = canvas;
    this.meters = meters;
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    this.now = { you: 0, bot: 0 };
    this.running = false;
    new ResizeObserver(() => this.fit()).observe(canvas);
  }

  start() {
    this.past = { you: new Float32Array(STEPS), bot: new Float32Array(STEPS) };
    this.now = { you: 0, bot: 0 };
    this.steps = 0;
    this.began = performance.now();
    this.drawnAt = this.metersAt = -Infinity;
    if (!this.running) requestAnimationFrame(() => this.tick());
    this.running = true;
  }

  stop() {
    this.running = false;
    this.now = { you: 0, bot: 0 };
    this.measure();
  }

  /** Loudness of a side from now on, as root mean square of samples within ±1. */
  level(side, value) {
    this.now[side] = height(value);
  }

  tick() {
    if (!this.running) return;
    const time = performance.now();
    const due = Math.floor((time - this.began) / 1_000 / STEP_S);
    for (this.steps = Math.max(this.steps, due - STEPS); this.steps < due; this.steps++) {
      for (const side of ["you", "bot"]) this.past[side][this.steps % STEPS] = this.now[side];
    }
    if (!this.calm.matches || time - this.drawnAt >= CALM_MS) {
      this.drawnAt = time;
      this.draw();
    }
    if (time - this.metersAt >= METER_MS) {
      this.metersAt = time;
      this.measure();
    }
    requestAnimationFrame(() => this.tick());
  }

  measure() {
    for (const side of ["you", "bot"]) {
      this.meters[side].setAttribute("aria-valuenow", String(Math.round(100 * this.now[side])));
    }
  }

  fit() {
    const { clientWidth, clientHeight } = this.canvas;
    this.canvas.width = Math.round(clientWidth * devicePixelRatio);
    this.canvas.height = Math.round(clientHeight * devicePixelRatio);
    if (this.past) this.draw();
  }

  draw() {
    const { width, height: tall } = this.canvas;
    const pen = this.canvas.getContext("2d");
    const middle = tall / 2;
    const reach = middle - 2;
    const wide = width / STEPS;
    pen.clearRect(0, 0, width, tall);
    for (const [side, up] of [["you", true], ["bot", false]]) {
      pen.fillStyle = getComputedStyle(this.meters[side]).color;
      for (let i = 0; i < STEPS; i++) {
        const size = this.past[side][(this.steps + i) % STEPS] * reach;
        if (size > 0) pen.fillRect(i * wide, up ? middle - size : middle, Math.max(1, wide), size);
      }
    }
    pen.fillStyle = getComputedStyle(this.canvas).color;
    pen.fillRect(0, Math.round(middle), width, 1);
  }
}
