// Making elements. Texts become text nodes, never markup.

/** Of an element with a text that the page has not written: in whatever direction and language it is. */
export const SAID = { dir: "auto", lang: "" };

/** The element with an id; it is in index.html. */
export const byId = (id) => document.getElementById(id);

/** An element with attributes (`on...`: listeners; null or false: left out) and children (elements, or texts). */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === false || value === undefined) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

/** One of the pictures in index.html; it says nothing to a screen reader. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** A button with a picture and a text. */
export function button(text, picture, onclick, attributes = {}) {
  const inside = [picture && icon(picture), element("span", {}, text)].filter(Boolean);
  return element("button", { type: "button", class: "quiet", onclick, ...attributes }, ...inside);
}

/** Hand a text to the browser as a file to keep. */
export function download(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "application/x-ndjson" }));
  const link = element("a", { href: url, download: name, hidden: true });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
