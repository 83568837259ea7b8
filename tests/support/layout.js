// What is wrong with the layout of the page that is shown: a list of sentences. All folded parts are opened first.
(() => {
  document.querySelectorAll("details").forEach((one) => (one.open = true));
  const wrong = [];
  const told = (node) => (node.textContent ?? "").trim().replace(/\s+/g, " ").slice(0, 60);
  const where = (element) => `<${element.tagName.toLowerCase()} ${element.getAttribute("class") ?? ""}>`;
  const scrolls = (element) => ["auto", "scroll"].includes(getComputedStyle(element).overflowX);
  const inPlot = (element) => element.closest("svg") !== null;
  const ancestors = function* (element) { for (let one = element.parentElement; one; one = one.parentElement) yield one; };
  const cut = (box, other) => ({ left: Math.max(box.left, other.left), right: Math.min(box.right, other.right), top: Math.max(box.top, other.top), bottom: Math.min(box.bottom, other.bottom) });
  const meet = (one, two) => { const both = cut(one, two); return both.right - both.left > 1.5 && both.bottom - both.top > 1.5; };

  // ------------------------------------------------------------------------------------------- nothing leaves its parent
  if (document.documentElement.scrollWidth > innerWidth) wrong.push(`the page is ${document.documentElement.scrollWidth} wide on ${innerWidth}`);
  const elements = [...document.body.querySelectorAll("*")].filter((one) => one.checkVisibility());
  for (const element of elements) {
    const parent = element.parentElement, box = element.getBoundingClientRect();
    if (inPlot(element) || box.width === 0) continue;
    if (parent && !scrolls(parent) && !(inPlot(parent))) {
      const room = parent.getBoundingClientRect(), inline = getComputedStyle(parent).display === "inline";
      if (!inline && (box.right > room.right + 1 || box.left < room.left - 1 || box.bottom > room.bottom + 1 || box.top < room.top - 1)) wrong.push(`overflow: ${where(element)} "${told(element)}" leaves ${where(parent)}`);
    }
    if (!scrolls(element) && element.clientWidth && element.scrollWidth > element.clientWidth + 1) wrong.push(`overflow: the content of ${where(element)} "${told(element)}"`);
  }
  const main = document.querySelector("main").getBoundingClientRect();
  if (innerWidth >= 1280 && innerWidth - main.width > 130) wrong.push(`the page leaves ${innerWidth - main.width} pixels empty`);
  for (const frame of document.querySelectorAll(".wide")) {
    if (frame.scrollWidth > frame.clientWidth + 1 && main.width - (frame.closest("pre, .side > *") ?? frame).offsetWidth > 2) wrong.push(`cut: a table is cut though there is room for it, "${told(frame)}"`);
    if (innerWidth >= 1280 && frame.scrollWidth > frame.clientWidth + 1) wrong.push(`cut: a table is ${frame.scrollWidth} wide in a frame of ${frame.clientWidth}, "${told(frame)}"`);
    if (getComputedStyle(frame).borderLeftWidth === "0px") wrong.push("cut: a table that scrolls has no frame");
  }

  // ------------------------------------------------------------------------------------------------------------- texts
  const texts = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode()); ) {
    const parent = node.parentElement;
    if (!node.data.trim() || !parent.checkVisibility() || ["STYLE", "TITLE"].includes(parent.tagName.toUpperCase())) continue;
    const range = document.createRange();
    for (const word of node.data.matchAll(/[\p{L}\p{N}]+(?:[.,'’][\p{L}\p{N}]+)*/gu)) {
      range.setStart(node, word.index); range.setEnd(node, word.index + word[0].length);
      const lines = new Set([...range.getClientRects()].filter((box) => box.width > 0).map((box) => Math.round(box.top / 4)));
      if (lines.size > 1 && !inPlot(parent)) wrong.push(`broken: "${word[0]}" in ${where(parent)}`);
    }
    const next = node.nextSibling?.nodeName === "WBR" ? node.nextSibling.nextSibling : null;  // a word that may break within
    if (next?.nodeType === Node.TEXT_NODE && (/[\p{L}\p{N}]$/u.test(node.data) || /\d[.,]$/.test(node.data)) && /^[\p{L}\p{N}]/u.test(next.data))
      wrong.push(`broken: "${node.data.slice(-9)}|${next.data.slice(0, 9)}" may be`);
    range.selectNodeContents(node);
    for (let box of range.getClientRects()) {
      for (const one of ancestors(node)) if (scrolls(one)) box = cut(box, one.getBoundingClientRect());
      if (box.right - box.left > 1 && box.bottom - box.top > 1) texts.push({ node, parent, box });
    }
  }
  texts.sort((one, two) => one.box.top - two.box.top);
  texts.forEach((one, place) => {
    for (let next = place + 1; next < texts.length && texts[next].box.top < one.box.bottom; next++)
      if (texts[next].node !== one.node && meet(one.box, texts[next].box)) wrong.push(`overlap: "${told(one.node)}" and "${told(texts[next].node)}"`);
  });

  // ---------------------------------------------------------------------------------------------- contrast (WCAG 2, 1.4.3)
  const parsed = (colour) => { const [r, g, b, a = 1] = colour.match(/[\d.]+/g).map(Number); return { r, g, b, a }; };
  const over = (top, below) => ({ r: top.r * top.a + below.r * (1 - top.a), g: top.g * top.a + below.g * (1 - top.a), b: top.b * top.a + below.b * (1 - top.a), a: 1 });
  const luminance = ({ r, g, b }) => { const [x, y, z] = [r, g, b].map((part) => { const share = part / 255; return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4; }); return 0.2126 * x + 0.7152 * y + 0.0722 * z; };
  const behind = (element) => { const layers = [parsed(getComputedStyle(element).backgroundColor)]; for (const one of ancestors(element)) layers.push(parsed(getComputedStyle(one).backgroundColor)); return layers.reverse().reduce((below, top) => over(top, below), { r: 255, g: 255, b: 255, a: 1 }); };
  const judged = new Set();
  for (const { parent, node } of texts) {
    if (judged.has(parent)) continue;
    judged.add(parent);
    const shown = getComputedStyle(parent), ground = behind(parent), ink = over(parsed(inPlot(parent) ? shown.fill : shown.color), ground);
    const [low, high] = [luminance(ink), luminance(ground)].sort((one, two) => one - two), ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) wrong.push(`contrast: ${ratio.toFixed(2)} of "${told(node)}" in ${where(parent)}`);
  }

  // ------------------------------------------------------------------------------------ plots: labels are cut or crossed by nothing
  for (const plot of document.querySelectorAll("figure > svg, svg.strip")) {
    const room = plot.getBoundingClientRect();
    const labels = [...plot.querySelectorAll("text")].map((label) => ({ label, box: label.getBoundingClientRect() }));
    const lines = [...plot.querySelectorAll("path, line")].filter((line) => !line.closest("defs, clipPath, .sign") && getComputedStyle(line).stroke !== "none");
    const marks = [...plot.querySelectorAll("use")];
    for (const { label, box } of labels) {
      if (box.left < room.left - 1 || box.right > room.right + 1 || box.top < room.top - 1 || box.bottom > room.bottom + 1) wrong.push(`overflow: the label "${told(label)}" leaves its plot`);
      const inner = { left: box.left + 1, right: box.right - 1, top: box.top + box.height * 0.25, bottom: box.bottom - box.height * 0.25 };
      for (const mark of marks) if (meet(inner, mark.getBoundingClientRect())) wrong.push(`crossed: a marker on the label "${told(label)}"`);
      for (const line of lines) {
        if (!meet({ ...inner, left: inner.left - 2, right: inner.right + 2, top: inner.top - 2, bottom: inner.bottom + 2 }, grown(line.getBoundingClientRect()))) continue;
        const back = line.getScreenCTM().inverse();
        let crossed = false;
        const [across, down] = [inner.right - inner.left, inner.bottom - inner.top].map((size) => Math.max(Math.min(Math.ceil(size * 1.5), 150), 1));
        for (let x = 0; x <= across && !crossed; x++) for (let y = 0; y <= down && !crossed; y++)
          crossed = line.isPointInStroke(new DOMPoint(inner.left + ((inner.right - inner.left) * x) / across, inner.top + ((inner.bottom - inner.top) * y) / down).matrixTransform(back));
        if (crossed) wrong.push(`crossed: a line through the label "${told(label)}"`);
      }
    }
  }
  function grown(box) { return { left: box.left - 2, right: box.right + 2, top: box.top - 2, bottom: box.bottom + 2 }; }
  return wrong;
})();
