// For tests: contrast of all visible text against the ground it stands on, as WCAG 2 counts it.
() => {
  const pen = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = colour;
    pen.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] > 0.99) return colour;
    }
    return [255, 255, 255, 1];
  };
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const contrast = (a, b) => {
    const [dark, bright] = [light(a), light(b)].sort((x, y) => x - y);
    return (bright + 0.05) / (dark + 0.05);
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility({ visibilityProperty: true }) || element.closest(":disabled, .unseen")) continue;
    found.push([contrast(rgba(getComputedStyle(element).color), ground(element)), `${element.className} ${text}`]);
  }
  for (const input of [...document.querySelectorAll("input")].filter((item) => item.checkVisibility())) {
    found.push([contrast(rgba(getComputedStyle(input, "::placeholder").color), ground(input)), "placeholder"]);
    // The edge of a field must be seen against what surrounds it: 3 is enough, counted here on the scale of text.
    found.push([1.5 * contrast(rgba(getComputedStyle(input).borderTopColor), ground(input.parentElement)), "edge"]);
  }
  for (const mark of [...document.querySelectorAll(".part, .dot, .lamp")].filter((item) => item.checkVisibility())) {
    found.push([1.5 * contrast(rgba(getComputedStyle(mark).backgroundColor), ground(mark.parentElement)), mark.dataset.stage ?? "lamp"]);
  }
  return found.sort((a, b) => a[0] - b[0]);
};
