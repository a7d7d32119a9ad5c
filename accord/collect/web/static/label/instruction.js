// The instruction: the conversation to which the outputs answer, its tools, its category.

import { h } from "./element.js";
import { conversation, folded, plainText, veiled, visible } from "./texts.js";

const CATEGORIES = {
  generation: "Generation", open_qa: "Open QA", brainstorm: "Brainstorm", brainstorming: "Brainstorm", chat: "Chat", rewrite: "Rewrite",
  summarise: "Summarise", summarization: "Summarise", code: "Code", classify: "Classify", closed_qa: "Closed QA", extract: "Extract",
};

export function instruction({ page, veils, revealed }) {
  const category = page.category && h("span.badge.accent", { title: "Category" }, CATEGORIES[page.category] ?? visible(page.category));
  const text = h("div.stack", {}, folded(conversation(page.prompt), plainText(page.prompt)), tools(page.tools));
  return h("section.card.instruction", { "aria-labelledby": "instruction-title" },
    h("div.spread", {}, h("h2.instruction-title", { id: "instruction-title" }, "Instruction"), category),
    veils ? veiled(text, "prompt", revealed) : text);
}

function tools(given) {
  if (!given || !given.length) return null;
  const names = given.map((tool) => tool?.function?.name ?? tool?.name ?? "unnamed").map((name) => visible(String(name)));
  return h("details.fold", {}, h("summary", {}, `Tools: ${names.join(", ")}`), h("pre.code", {}, visible(JSON.stringify(given, null, 2))));
}
