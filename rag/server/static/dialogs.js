// Dialogs: the browser keeps the focus inside, closes on Escape and gives the focus back.
import { $, h, icon } from "./dom.js";
import { t } from "./i18n.js";
import { key } from "./state.js";

export function closeButton(dialog) {
  return h("button", { class: "icon-button", type: "button", title: t("close"), "aria-label": t("close"), on: { click: () => dialog.close() } }, icon("close"));
}

export function closeOnBackdrop(dialog) {
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
}

export function confirmDelete(text) {
  const dialog = $("confirm");
  return new Promise((resolve) => {
    const yes = h("button", { class: "danger", type: "button", on: { click: () => dialog.close("yes") } }, t("confirm"));
    const no = h("button", { class: "plain", type: "button", on: { click: () => dialog.close("no") } }, t("cancel"));
    dialog.replaceChildren(
      h("div", { class: "box-head" }, h("h2", { id: "confirm-title" }, t("removeTitle"))),
      h("div", { class: "box-body" }, h("p", {}, text)),
      h("div", { class: "box-foot" }, no, yes),
    );
    dialog.returnValue = "no";
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
    dialog.showModal();
    no.focus();
  });
}

let asking = null;

// Ask for the key; several requests that fail at once ask once.
export function askForKey(wrong) {
  asking ??= new Promise((resolve) => {
    const dialog = $("key");
    const field = h("input", { class: "field", type: "password", autocomplete: "off", spellcheck: "false", "aria-label": t("key"), placeholder: "rag-…", required: true });
    const form = h("form", { method: "dialog", on: { submit: (event) => {
      event.preventDefault();
      key.set(field.value.trim());
      dialog.close("given");
    } } },
      h("div", { class: "box-head" }, h("h2", { id: "key-title" }, t("keyTitle"))),
      h("div", { class: "box-body" }, h("p", { class: "help" }, t(wrong ? "keyWrong" : "keyHelp")), field),
      h("div", { class: "box-foot" }, h("button", { class: "primary", type: "submit" }, t("keyUse"))),
    );
    dialog.replaceChildren(form);
    dialog.returnValue = "";
    dialog.addEventListener("close", () => { asking = null; resolve(dialog.returnValue === "given"); }, { once: true });
    dialog.showModal();
    field.focus();
  });
  return asking;
}
