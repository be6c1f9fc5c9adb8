// What a reply was chosen from: all hypotheses with their scores, and one sentence that says why this one won.

import { SAID, element, icon } from "./dom.js";
import { t } from "./texts.js";

const backwardOf = ({ scores }) => (Number.isFinite(scores.mmi) ? scores.mmi : null);
const kindOf = (reason) => reason.split(":")[0];

function reasonText(reason) {
  const kind = kindOf(reason);
  const text = t(`reason ${kind}`);
  const known = text === `reason ${kind}` ? kind : text;
  return known + reason.slice(kind.length);
}

/** Why the first of the hypotheses was said. */
export function why(hypotheses) {
  const rejected = hypotheses.filter((hypothesis) => hypothesis.rejected !== null);
  const left = hypotheses.length - rejected.length;
  const sentences = [t(reasonOf(hypotheses, left), { n: hypotheses.length })];
  if (rejected.length) {
    const reasons = [...new Set(rejected.map((hypothesis) => reasonText(kindOf(hypothesis.rejected))))].join(", ");
    sentences.push(t("whyRejected", { n: rejected.length, reasons }));
  }
  return sentences.join(" ");
}

function reasonOf(hypotheses, left) {
  const some = left < hypotheses.length;
  if (left === 0) return "whyNone";
  if (left === 1) return some ? "whyOnlyLeft" : "whyOnly";
  if (backwardOf(hypotheses[0]) !== null) return "forward a token" in hypotheses[0].scores ? "whyBoth" : "whyMmi";
  return some ? "whyFirstLeft" : "whyFirst";
}

/** The panel under a reply; it is hidden. */
export function hypothesesPanel(hypotheses) {
  const scored = hypotheses.some((hypothesis) => backwardOf(hypothesis) !== null);
  const told = hypotheses.some((hypothesis) => hypothesis.forward !== undefined);
  const columns = ["rank", "hypothesis", ...(told ? ["forward"] : []), ...(scored ? ["backward"] : []), "tokens"];
  const head = columns.map((name) =>
    element("th", { scope: "col", role: "columnheader", class: name === "hypothesis" ? "words" : "number" }, t(name)),
  );
  const rows = hypotheses.map((hypothesis, index) => row(hypothesis, index, told, scored));
  const table = element(
    "table",
    { role: "table", "aria-label": t("hypothesesTable") },
    element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, ...head)),
    element("tbody", { role: "rowgroup" }, ...rows),
  );
  return element(
    "section",
    { class: "hypotheses", hidden: true },
    element("p", { class: "why" }, why(hypotheses)),
    table,
    told ? element("p", { class: "hint" }, t("legendForward")) : null,
    scored ? element("p", { class: "hint" }, t("legendBackward")) : null,
  );
}

function row(hypothesis, index, told, scored) {
  const out = hypothesis.rejected !== null;
  const won = index === 0 && !out;
  const text = element("span", { class: "text", ...SAID }, hypothesis.text || t("emptyText"));
  const chosen = won ? element("span", { class: "badge" }, icon("chosen"), t("chosen")) : null;
  const reason = out ? `${t("rejected")}: ${reasonText(hypothesis.rejected)}` : "";
  const refused = out ? element("span", { class: "badge out" }, reason) : null;
  const backward = backwardOf(hypothesis);
  const number = (name, value) => element("td", { role: "cell", class: `number ${name}`, "data-name": t(name) },
    element("bdi", { dir: "ltr" }, value));
  return element(
    "tr",
    { role: "row", class: won ? "won" : out ? "rejected" : null },
    number("rank", String(index + 1)),
    element("td", { role: "cell", class: "words" }, text, chosen, refused),
    told ? number("forward", hypothesis.forward?.toFixed(2) ?? "–") : null,
    scored ? number("backward", backward === null ? "–" : backward.toFixed(2)) : null,
    number("tokens", String(hypothesis.tokens)),
  );
}
