// The sheet that a citation opens: the passage, marked, in the text of its page.
import { json, post } from "./api.js";
import { closeButton, closeOnBackdrop } from "./dialogs.js";
import { $, h } from "./dom.js";
import { number, t } from "./i18n.js";
import { closestSentence } from "./closest.js";

const dialog = $("passage");
closeOnBackdrop(dialog);

const isPdf = (name) => name.toLowerCase().endsWith(".pdf");

// A PDF opens in the browser's own viewer, at its page; anything else is handed over as a file. The address
// carries a ticket, since a viewer cannot send the key.
export async function openFile(id, name, page) {
  // Opened at once: after the answer of the server a browser takes it for an unwanted window.
  const tab = isPdf(name) ? window.open("about:blank", "_blank") : null;
  try {
    const { url } = await (await post(`/documents/${id}/ticket`, {})).json();
    if (tab) {
      tab.opener = null;
      tab.location.replace(page ? `${url}#page=${page}` : url);
    } else h("a", { href: url, download: name }).click();
  } catch (error) {
    tab?.close();
    throw error;
  }
}

// The passage with the sentence that stands out for the answer.
function marked(source) {
  const best = closestSentence(source.text, source.answer);
  if (!best) return [source.text];
  return [source.text.slice(0, best.start), h("b", {}, source.text.slice(best.start, best.end)), source.text.slice(best.end)];
}

function excerpt(source) {
  const best = closestSentence(source.text, source.answer);
  const text = best ? source.text.slice(best.start) : source.text;
  return source.heading && !best?.start ? `${source.heading} — ${text}` : text;
}

function fill(source, passage, problem) {
  const place = h("div", { class: "sheet-place" },
    source.page ? h("span", { class: "tag page-tag" }, t("page", { n: source.page })) : null,
    source.heading ? h("span", {}, source.heading) : null,
    source.similarity ? h("span", { class: "tag" }, t("similarity", { s: number(source.similarity, 3) })) : null,
  );
  const body = h("div", { class: "sheet-body", tabindex: "0" },
    passage?.before ? h("span", { class: "around" }, passage.before) : null,
    h("mark", { id: "marked" }, ...marked(source)),
    passage?.after ? h("span", { class: "around" }, passage.after.trimStart()) : null,
    problem ? h("p", { class: "help" }, problem) : null,
  );
  const open = h("button", { class: "plain", type: "button", on: { click: async () => {
    try {
      await openFile(source.document, source.file.split("/").pop(), source.page);
    } catch (error) {
      open.after(h("span", {}, error.message));
    }
  } } }, isPdf(source.file) && source.page ? t("openPdf", { n: source.page }) : t("download"));
  dialog.replaceChildren(
    h("header", { class: "sheet-head" },
      source.number ? h("span", { class: "source-number" }, String(source.number)) : null,
      h("div", { class: "sheet-title" }, h("h2", { id: "passage-title" }, source.file), place),
      closeButton(dialog)),
    body,
    h("footer", { class: "sheet-foot" }, open),
  );
  return body;
}

export async function openPassage(source) {
  fill(source, null, "");
  if (!dialog.open) dialog.showModal();
  let body;
  try {
    body = fill(source, await json(source.url), "");
  } catch (error) {
    body = fill(source, null, error.message);
  }
  const mark = body.querySelector("mark");
  body.scrollTop = Math.max(0, mark.offsetTop - body.offsetTop - 90);
  body.focus();
}

export function sourceCard(source) {
  return h("button", { class: "source", type: "button", "aria-label": t("openSource", { n: source.number, file: source.file }), on: { click: () => openPassage(source) } },
    h("span", { class: "source-head" },
      h("span", { class: "source-number" }, String(source.number)),
      h("b", {}, source.file.split("/").pop()),
      source.page ? h("span", { class: "page" }, t("page", { n: source.page })) : null),
    h("span", { class: "excerpt" }, excerpt(source)),
  );
}

export function citation(source) {
  const label = source.page ? `${source.file}, ${t("page", { n: source.page })}` : source.file;
  return h("button", { class: "cite", type: "button", title: label, "aria-label": t("openSource", { n: source.number, file: label }), on: { click: () => openPassage(source) } }, String(source.number));
}

