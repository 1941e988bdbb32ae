// The settings: language, appearance, how answers are made and passages found, the key.
import { json } from "./api.js";
import { closeButton, closeOnBackdrop } from "./dialogs.js";
import { $, h } from "./dom.js";
import { number, setLanguage, t } from "./i18n.js";
import { key, save, server, settings } from "./state.js";

const dialog = $("settings");
closeOnBackdrop(dialog);
let redraw = () => {};

export async function loadStatus() {
  const state = $("state"), early = !server.modes.length;
  try {
    Object.assign(server, await json("/status"));
    state.className = `state ${server.problem ? "bad" : "good"}`;
    state.textContent = server.problem ? t("noModel") : t("ready", { model: server.model, n: number(server.passages) });
    state.title = server.problem;
  } catch (error) {
    state.className = "state bad";
    state.textContent = t("offline");
    state.title = error.message;
  }
  drawPill();
  if (early && dialog.open) open(); // opened before the server said what can be chosen
}

const value = (name) => settings[name] ?? server[name];

export function drawPill() {
  $("quick").textContent = `${t(`mode_${value("mode")}`)} · ${t(`retrieve_${value("retrieve")}`)} · ${number(value("top_k"))}`;
}

function segments(name, legend, options, chosen, choose, help) {
  const note = help ? h("p", { class: "help" }, help(chosen)) : null;
  return h("fieldset", {}, h("legend", {}, legend),
    h("div", { class: "segments" }, ...options.map(([option, label]) =>
      h("label", {},
        h("input", { type: "radio", name, value: option, checked: option === chosen, on: { change: () => {
          choose(option);
          if (note) note.textContent = help(option);
        } } }),
        h("span", {}, label)))),
    note);
}

function open() {
  const k = h("input", { type: "range", id: "top-k", min: "1", max: String(server.max_top_k), value: String(value("top_k")) });
  const kValue = h("span", {}, number(value("top_k")));
  k.addEventListener("input", () => {
    kValue.textContent = number(Number(k.value));
    save({ top_k: Number(k.value) });
    drawPill();
  });
  const change = (name) => (chosen) => { save({ [name]: chosen }); drawPill(); };
  const fact = (name, text) => [h("dt", {}, name), h("dd", {}, text || "–")];
  dialog.replaceChildren(
    h("div", { class: "box-head" }, h("h2", { id: "settings-title" }, t("settings")), closeButton(dialog)),
    h("div", { class: "box-body" },
      segments("mode", t("answerMode"), server.modes.map((name) => [name, t(`mode_${name}`)]), value("mode"), change("mode"), (name) => t(`help_${name}`)),
      segments("retrieve", t("retrieveMode"), server.retrieve_modes.map((name) => [name, t(`retrieve_${name}`)]), value("retrieve"), change("retrieve"), (name) => t(`help_${name}`)),
      h("div", {}, h("label", { class: "label", for: "top-k" }, h("span", {}, t("topK")), kValue), k),
      segments("language", t("language"), [["ko", "한국어"], ["en", "English"]], settings.language, (chosen) => {
        save({ language: chosen });
        setLanguage(chosen);
        redraw();
        open();
      }),
      segments("theme", t("theme"), ["auto", "light", "dark"].map((name) => [name, t(`theme_${name}`)]), settings.theme, (chosen) => save({ theme: chosen })),
      key.get() ? h("button", { class: "plain", type: "button", on: { click: () => { key.forget(); location.reload(); } } }, t("keyForget")) : null,
      h("dl", { class: "facts" },
        ...fact(t("model"), server.model),
        ...fact(t("generation"), server.generation),
        ...(server.problem ? fact(t("problem"), server.problem) : [])),
    ),
  );
  if (!dialog.open) dialog.showModal();
}

export function startSettings(drawAll) {
  redraw = drawAll;
  for (const id of ["open-settings", "quick"]) $(id).addEventListener("click", open);
}
