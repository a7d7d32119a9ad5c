// Elements from plain data. Texts become text nodes: nothing that an annotator or a model wrote is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** h("button.button.small", {type: "button", onclick}, "Next"): children are texts, elements, or nothing. */
export function h(selector, attributes = {}, ...children) {
  const [tag, ...classes] = selector.split(".");
  const made = document.createElement(tag);
  if (classes.length) made.className = classes.join(" ");
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** One of the pictures in icons.html; it is decoration, the words stand beside it. */
export function icon(name) {
  const picture = document.createElementNS(SVG, "svg");
  picture.setAttribute("class", "icon");
  picture.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  picture.append(use);
  return picture;
}

/** HTML that the site made and cleaned itself (accord.collect.markdown), and nothing else. */
export function cleanHtml(html) {
  const made = h("div.markdown", { dir: "auto" });
  made.innerHTML = html;
  return made;
}

let last = 0;
/** An id for an element, each once. */
export function newId(prefix) {
  last += 1;
  return `${prefix}-${last}`;
}
