// The look that was chosen last, applied before anything is painted. Runs as a plain script in the head.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("voicebot.look");
  } catch {
    // Storage may be forbidden; the system's look holds then.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.look = chosen;
})();
