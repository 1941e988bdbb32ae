// The documents: list, filter, upload by button or drag and drop with progress, delete.
import { ApiError, call, json, upload } from "./api.js";
import { confirmDelete } from "./dialogs.js";
import { $, announce, h, icon } from "./dom.js";
import { bytes, has, number, t } from "./i18n.js";
import { openFile } from "./passage.js";

const POLL_MS = 400;
const SHOWN_MS = 5000;
const FILTER_FROM = 8;
let known = { data: [], kinds: [], max_bytes: 0 };
let onChange = () => {};

const suffixOf = (name) => (name.includes(".") ? name.slice(name.lastIndexOf(".")).toLowerCase() : "");
const wait = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

export async function refresh() {
  known = await json("/documents");
  draw();
  onChange();
}

export function draw() {
  const wanted = $("filter").value.trim().toLowerCase();
  $("filter").hidden = known.data.length < FILTER_FROM;
  const shown = known.data.filter((entry) => entry.name.toLowerCase().includes(wanted));
  $("document-count").textContent = known.data.length ? t("documentCount", { n: number(known.data.length) }) : "";
  const kinds = [...new Set(known.kinds.map((kind) => kind.slice(1).toUpperCase()))].filter((kind) => ["PDF", "DOCX", "MD", "HTML", "CSV", "TXT"].includes(kind));
  $("drop-hint").textContent = t("dropHint", { kinds: kinds.join(" "), size: bytes(known.max_bytes) });
  $("files").accept = known.kinds.join(",");
  const items = shown.map(row);
  const empty = h("li", { class: "empty" }, t(known.data.length ? "noMatch" : "noDocuments"));
  $("document-list").replaceChildren(...(items.length ? items : [empty]));
}

function row(entry) {
  const name = entry.name.split("/").pop();
  const kind = suffixOf(name).slice(1) || "web";
  const detail = entry.problem
    ? h("small", { class: "bad", title: entry.problem }, entry.problem)
    : h("small", { title: entry.warnings.join("\n") }, `${t("passages", { n: number(entry.passages) })} · ${bytes(entry.bytes)}`);
  return h("li", { class: "document" },
    h("span", { class: `kind ${kind}`, "aria-hidden": "true" }, kind.toUpperCase().slice(0, 5)),
    h("button", { class: "document-name", type: "button", title: t("openFile", { name: entry.name }), on: { click: () => open(entry, name) } }, h("b", {}, name), detail),
    h("button", { class: "icon-button", type: "button", title: t("remove", { name }), "aria-label": t("remove", { name }), on: { click: () => remove(entry, name) } }, icon("trash", 17)),
  );
}

async function open(entry, name) {
  try {
    await openFile(entry.id, name);
  } catch (error) {
    card(name).fail(error);
  }
}

// A card tells how one job stands, and goes away when it ended well.
function card(title) {
  const state = h("span", { class: "job-state" });
  const bar = h("progress", { max: "1" });
  const head = h("div", { class: "job-head" }, h("b", {}, title));
  const element = h("div", { class: "job" }, head, state, bar);
  $("jobs").append(element);
  const dismiss = h("button", { class: "icon-button", type: "button", title: t("close"), "aria-label": t("close"), on: { click: () => element.remove() } }, icon("close", 15));
  return {
    show(text, share) {
      state.textContent = text;
      if (share === null) bar.removeAttribute("value");
      else bar.value = share;
    },
    end(text) {
      element.classList.add("good");
      bar.remove();
      state.textContent = text;
      announce(`${title}: ${text}`);
      setTimeout(() => element.remove(), SHOWN_MS);
    },
    fail(error) {
      element.classList.add("bad");
      bar.remove();
      head.append(dismiss);
      state.textContent = error instanceof ApiError && has(error.code) ? t(error.code) : error.message;
      announce(`${title}: ${state.textContent}`);
    },
  };
}

function stageText(job) {
  if (job.state === "queued") return t("queued");
  if (job.kind === "remove") return t("removing");
  const counts = { done: number(job.done), total: number(job.total) };
  return t(job.stage || "starting", counts);
}

async function follow(job, view, ended) {
  for (;;) {
    if (job.state === "done") {
      const skipped = Object.entries(job.skipped).map(([name, kind]) => t("notRead", { name, kind }));
      const problems = [...Object.values(job.problems), ...skipped];
      if (problems.length) view.fail(new Error(problems.join("; ")));
      else view.end(ended);
      break;
    }
    if (job.state === "failed") {
      view.fail(new Error(t("jobFailed", { problem: job.problem })));
      break;
    }
    const share = job.stage === "embedding" && job.total ? job.done / job.total : null;
    view.show(stageText(job), share);
    await wait(POLL_MS);
    job = await json(job.url);
  }
  await refresh();
}

async function add(files) {
  const good = [];
  for (const file of files) {
    if (known.kinds.length && !known.kinds.includes(suffixOf(file.name))) card(file.name).fail(new Error(t("wrongKind", { name: file.name })));
    else if (known.max_bytes && file.size > known.max_bytes) card(file.name).fail(new Error(t("tooLarge", { name: file.name, size: bytes(known.max_bytes) })));
    else good.push(file);
  }
  if (!good.length) return;
  const view = card(good.length > 1 ? t("many", { name: good[0].name, n: good.length - 1 }) : good[0].name);
  view.show(t("uploading", { n: 0 }), 0);
  try {
    const job = await upload(good, (share) => view.show(t("uploading", { n: Math.round(share * 100) }), share));
    await follow(job, view, t("done"));
  } catch (error) {
    view.fail(error);
  }
}

async function remove(entry, name) {
  if (!(await confirmDelete(t(entry.origin === "upload" ? "removeUpload" : "removeOther", { name })))) return;
  const view = card(name);
  view.show(t("removing"), null);
  try {
    const job = await (await call(`/documents/${entry.id}`, { method: "DELETE" })).json();
    await follow(job, view, t("removed"));
  } catch (error) {
    view.fail(error);
  }
}

export function startDocuments(changed) {
  onChange = changed;
  $("drop").addEventListener("click", () => $("files").click());
  $("files").addEventListener("change", () => {
    add([...$("files").files]);
    $("files").value = "";
  });
  $("filter").addEventListener("input", draw);
  let inside = 0;
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  window.addEventListener("dragenter", (event) => {
    if (!hasFiles(event)) return;
    inside += 1;
    $("overlay").hidden = false;
  });
  window.addEventListener("dragleave", (event) => {
    if (!hasFiles(event)) return;
    inside -= 1;
    if (inside <= 0) $("overlay").hidden = true;
  });
  window.addEventListener("dragover", (event) => { if (hasFiles(event)) event.preventDefault(); });
  window.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    inside = 0;
    $("overlay").hidden = true;
    add([...event.dataTransfer.files]);
  });
}
