// An answer's text as elements: paragraphs, lists, quotes, code, bold, and citations. Never as HTML.
import { h } from "./dom.js";

const INLINE = /(\*\*[^*\n]+\*\*|`[^`\n]+`|\[\d+(?:\s*,\s*\d+)*\])/;

function inline(text, cite) {
  return text.split(INLINE).flatMap((part) => {
    if (part.startsWith("**") && part.length > 4) return [h("strong", {}, part.slice(2, -2))];
    if (part.startsWith("`") && part.length > 2) return [h("code", {}, part.slice(1, -1))];
    if (/^\[\d/.test(part)) return part.slice(1, -1).split(",").map((n) => cite(Number(n))).filter(Boolean);
    return part ? [part] : [];
  });
}

function lines(block, cite) {
  return block.flatMap((line, index) => (index ? [h("br"), ...inline(line, cite)] : inline(line, cite)));
}

// `cite(n)` returns the element for citation n, or null for one that does not exist.
export function render(text, cite) {
  const blocks = [];
  let current = null;
  const flush = () => { if (current) blocks.push(current); current = null; };
  const push = (kind, line) => {
    if (current?.kind !== kind) { flush(); current = { kind, lines: [] }; }
    current.lines.push(line);
  };
  for (const line of text.split("\n")) {
    if (current?.kind === "code") {
      if (line.startsWith("```")) flush();
      else current.lines.push(line);
    } else if (line.startsWith("```")) { flush(); current = { kind: "code", lines: [] };
    } else if (/^\s*[-*•]\s+/.test(line)) push("ul", line.replace(/^\s*[-*•]\s+/, ""));
    else if (/^\s*\d+[.)]\s+/.test(line)) push("ol", line.replace(/^\s*\d+[.)]\s+/, ""));
    else if (/^>\s?/.test(line)) push("quote", line.replace(/^>\s?/, ""));
    else if (!line.trim()) flush();
    else push("p", line.replace(/^#{1,6}\s+/, ""));
  }
  flush();
  return blocks.map(({ kind, lines: content }) => {
    if (kind === "code") return h("pre", {}, h("code", {}, content.join("\n")));
    if (kind === "ul" || kind === "ol") return h(kind, {}, ...content.map((line) => h("li", {}, ...inline(line, cite))));
    return h(kind === "quote" ? "blockquote" : "p", {}, ...lines(content, cite));
  });
}
