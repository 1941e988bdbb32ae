// Puts the page together.
import { onKeyNeeded } from "./api.js";
import { startChat, updateSend } from "./chat.js";
import { askForKey } from "./dialogs.js";
import { draw, refresh, startDocuments } from "./documents.js";
import { $, h, icon } from "./dom.js";
import { setLanguage, t } from "./i18n.js";
import { drawPill, loadStatus, startSettings } from "./settings.js";
import { settings } from "./state.js";

function fillIcons() {
  const places = { "close-side": "close", "open-side": "menu", "new-chat-narrow": "plus", "open-settings": "gear", send: "send",
    "drop-icon": "upload", "step-1": "upload", "step-2": "chat", "step-3": "quote", "overlay-icon": "upload" };
  for (const [id, name] of Object.entries(places)) $(id).replaceChildren(icon(name, id === "overlay-icon" ? 44 : 20));
}

function drawWords() {
  setLanguage(settings.language);
  $("new-chat").replaceChildren(icon("plus", 18), h("span", {}, t("newChat")));
  drawPill();
  draw();
  updateSend();
}

function startSide() {
  const show = (open) => {
    $("side").classList.toggle("open", open);
    $("veil").hidden = !open;
    $("open-side").setAttribute("aria-expanded", String(open));
    if (open) $("close-side").focus();
  };
  $("open-side").addEventListener("click", () => show(true));
  for (const id of ["close-side", "veil", "new-chat"]) $(id).addEventListener("click", () => show(false));
  $("side").addEventListener("keydown", (event) => { if (event.key === "Escape") show(false); });
}

onKeyNeeded(askForKey);
fillIcons();
startChat();
startSide();
startDocuments(loadStatus);
startSettings(() => { drawWords(); loadStatus(); });
drawWords();
$("question").focus();
try {
  await refresh();
} catch (error) {
  console.error(error);
  await loadStatus();
}
