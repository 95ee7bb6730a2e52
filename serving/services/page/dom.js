// Making elements. Text goes in as text: nothing that a caller or a model said is ever parsed as HTML.

/**
 * @param {string} what tag and classes: `p.you.partial`.
 * @param {...(Node | string | number | null | false)} children
 */
export function make(what, ...children) {
  const [tag, ...classes] = what.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  element.append(...children.filter((child) => child !== null && child !== false && child !== "").map((child) =>
    child instanceof Node ? child : document.createTextNode(String(child)),
  ));
  return element;
}

/** `make` with attributes. */
export function makeWith(attributes, what, ...children) {
  const element = make(what, ...children);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Words from an identifier: `no_entry_with_this_signature`. */
export const inWords = (name) => String(name ?? "").replaceAll("_", " ");

/** A duration as people read it: `0.4 ms`, `38 ms`, `1.24 s`. */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  const ms = seconds * 1_000;
  if (Math.abs(ms) >= 1_000) return `${seconds.toFixed(2)} s`;
  return Math.abs(ms) >= 10 || ms === 0 ? `${ms.toFixed(0)} ms` : `${ms.toFixed(1)} ms`;
}
