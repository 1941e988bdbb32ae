// The conversation: sends, streams, shows the sources, stops.
import { events, post } from "./api.js";
import { $, announce, h, icon } from "./dom.js";
import { has, number, t } from "./i18n.js";
import { citation, sourceCard } from "./passage.js";
import { settings } from "./state.js";
import { render } from "./text.js";

const MOST_MESSAGES = 20;
let history = [];
let running = null;

const scroll = $("scroll");
const nearEnd = () => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 140;
const toEnd = () => { scroll.scrollTop = scroll.scrollHeight; };

export function newChat() {
  running?.abort();
  history = [];
  $("messages").replaceChildren();
  $("welcome").hidden = false;
  $("question").focus();
}

function request(question) {
  const options = {};
  for (const name of ["mode", "retrieve", "top_k"]) if (settings[name] !== null) options[name] = settings[name];
  return {
    messages: [...history.slice(-MOST_MESSAGES), { role: "user", content: question }],
    stream: true,
    stream_options: { include_usage: true },
    quantserve: options,
  };
}

function setRunning(controller) {
  running = controller;
  const button = $("send");
  button.classList.toggle("stop", Boolean(controller));
  button.replaceChildren(icon(controller ? "stop" : "send"));
  button.title = t(controller ? "stop" : "send");
  button.setAttribute("aria-label", button.title);
  updateSend();
}

export function updateSend() {
  $("send").disabled = !running && !$("question").value.trim();
}

class AnswerView {
  constructor() {
    this.body = h("div", { class: "answer-text" });
    this.thinking = h("div", { class: "thinking" }, h("span", { class: "dots" }, h("i"), h("i"), h("i")), h("span", {}, t("searching")));
    this.rest = h("div");
    this.element = h("article", { class: "turn-answer" }, this.thinking, this.body, this.rest);
    this.sources = [];
    this.text = "";
    this.frame = 0;
  }

  found(sources) {
    this.sources = sources;
    this.thinking.lastChild.textContent = t("found", { n: sources.length });
  }

  add(piece) {
    this.text += piece;
    // Many pieces come in one frame; one drawing is enough.
    this.frame ||= requestAnimationFrame(() => {
      const follow = nearEnd();
      this.frame = 0;
      this.thinking.hidden = true;
      this.draw(true);
      if (follow) toEnd();
    });
  }

  draw(isOpen) {
    const cite = (n) => {
      const source = this.sources.find((candidate) => candidate.number === n);
      return source ? citation(source) : null;
    };
    const blocks = render(this.text, cite);
    this.body.replaceChildren(...blocks);
    if (isOpen) this.body.lastElementChild?.classList.add("caret");
  }

  settle() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    this.thinking.hidden = true;
  }

  done(extension, usage) {
    this.settle();
    this.sources = extension.sources.map((source) => ({ ...source, answer: extension.text }));
    this.text = extension.text;
    this.draw(false);
    const notes = [];
    if (extension.withdrawn) notes.push(t("withdrawn"));
    if (extension.mode === "extract") notes.push(t("extracted"));
    if (extension.attributed) notes.push(t("attributed"));
    if (extension.invented_citations) notes.push(t("invented", { n: extension.invented_citations }));
    const cited = this.sources.filter((source) => source.cited);
    const others = this.sources.filter((source) => !source.cited);
    this.rest.replaceChildren(
      ...notes.map((text) => h("p", { class: "note" }, icon("info", 15), h("span", {}, text))),
      this.sourceList(cited, others),
      this.foot(extension, usage),
    );
  }

  sourceList(cited, others) {
    const grid = (sources) => h("div", { class: "source-grid" }, ...sources.map(sourceCard));
    return h("section", { class: "sources", "aria-label": t("sources") },
      cited.length ? h("h3", {}, t("sources")) : null,
      cited.length ? grid(cited) : null,
      others.length ? h("details", { class: "others" }, h("summary", {}, t("others", { n: others.length })), grid(others)) : null);
  }

  foot(extension, usage) {
    const { seconds } = extension;
    const copy = h("button", { class: "icon-button", type: "button", title: t("copy"), "aria-label": t("copy"), on: { click: async () => {
      await navigator.clipboard.writeText(extension.text);
      copy.replaceChildren(icon("check", 16));
      announce(t("copied"));
      setTimeout(() => copy.replaceChildren(icon("copy", 16)), 1500);
    } } }, icon("copy", 16));
    const figures = [
      extension.model,
      extension.cached ? t("cached") : "",
      seconds.retrieve !== undefined ? t("time_retrieve", { s: number(seconds.retrieve, 2) }) : "",
      seconds.generate ? t("time_generate", { s: number(seconds.generate, 1) }) : "",
      usage?.completion_tokens ? t("tokens", { n: number(usage.completion_tokens) }) : "",
    ].filter(Boolean);
    return h("div", { class: "answer-foot" }, h("span", { class: "badge" }, t(`mode_${extension.mode}`)), ...figures.map((text) => h("span", {}, text)), copy);
  }

  stopped() {
    this.settle();
    this.draw(false);
    this.rest.replaceChildren(h("p", { class: "note" }, t("stopped")));
  }

  failed(error, retry) {
    this.settle();
    this.draw(false);
    const sources = error.extension?.sources ?? [];
    const known = has(error.code) ? t(error.code) : error.message;
    this.rest.replaceChildren(
      h("div", { class: "failure", role: "alert" }, h("b", {}, t("failed")),
        h("p", {}, known, sources.length ? ` ${t("foundAnyway")}` : ""),
        h("button", { class: "plain", type: "button", on: { click: retry } }, t("retry"))),
      sources.length ? this.sourceList(sources, []) : "",
    );
    announce(`${t("failed")}. ${known}`);
  }
}

export async function ask(question) {
  if (running) return;
  $("welcome").hidden = true;
  const asked = h("div", { class: "turn-user" }, question);
  const view = new AnswerView();
  $("messages").append(asked, view.element);
  toEnd();
  const controller = new AbortController();
  setRunning(controller);
  let extension = null;
  let usage = null;
  try {
    const response = await post("/v1/chat/completions", request(question), { signal: controller.signal });
    for await (const chunk of events(response)) {
      const choice = chunk.choices[0];
      if (chunk.quantserve?.passages) view.found(chunk.quantserve.passages);
      if (chunk.quantserve?.sources) extension = chunk.quantserve;
      if (choice?.delta.content) view.add(choice.delta.content);
      if (chunk.usage) usage = chunk.usage;
    }
    view.done(extension, usage);
    history.push({ role: "user", content: question }, { role: "assistant", content: extension.text || "-" });
    announce(t("answered"));
  } catch (error) {
    if (error.name === "AbortError") view.stopped();
    else view.failed(error, () => {
      asked.remove();
      view.element.remove();
      ask(question);
    });
  } finally {
    setRunning(null);
    toEnd();
  }
}

export function startChat() {
  const question = $("question");
  const fit = () => {
    question.style.height = "auto";
    question.style.height = `${question.scrollHeight}px`;
    updateSend();
  };
  question.addEventListener("input", fit);
  question.addEventListener("keydown", (event) => {
    // While a Korean syllable is being composed, Enter belongs to the input method.
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      $("composer").requestSubmit();
    }
  });
  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    if (running) {
      running.abort();
      return;
    }
    const text = question.value.trim();
    if (!text) return;
    question.value = "";
    fit();
    ask(text);
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, dialog");
    if (event.key === "/" && !typing) {
      event.preventDefault();
      question.focus();
    }
  });
  for (const id of ["new-chat", "new-chat-narrow"]) $(id).addEventListener("click", newChat);
  setRunning(null);
}
