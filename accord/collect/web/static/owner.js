// Owners' pages: numbers that refresh themselves, rows that are added and removed, files that are dropped.

// <div data-refresh="ADDRESS"> is filled again every ten seconds, while somebody looks.
for (const box of document.querySelectorAll("[data-refresh]")) {
  const mark = document.getElementById("live-mark");
  let before = null;
  const refresh = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(box.dataset.refresh, { headers: { accept: "text/html" }, redirect: "error" });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const text = await answer.text();
      if (text !== before) replace(box, text);
      before = text;
      mark.classList.remove("lost");
      mark.textContent = `Live, seen at ${new Date().toLocaleTimeString()}`;
    } catch {
      mark.classList.add("lost");
      mark.textContent = "No connection: numbers may be old";
    }
  };
  window.setInterval(refresh, 10_000);
  document.addEventListener("visibilitychange", refresh);
}

// The window's place stays, since nothing above the box changes; tables that were scrolled sideways
// keep theirs, and what was opened stays open.
function replace(box, text) {
  const scrolled = new Map([...box.querySelectorAll("[id]")].map((part) => [part.id, part.scrollLeft]));
  const focused = box.contains(document.activeElement) ? document.activeElement.id : "";
  const top = window.scrollY;
  const open = [...box.querySelectorAll("details[open][id]")].map((part) => part.id);
  box.innerHTML = text;
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  for (const [id, left] of scrolled) if (left) document.getElementById(id)?.scrollTo(left, 0);
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  window.scrollTo(window.scrollX, top);
}

// [data-rows] holds rows; the <template> beside it is an empty one.
for (const rows of document.querySelectorAll("[data-rows]")) {
  const around = rows.parentElement;
  for (const button of around.querySelectorAll("[data-add], [data-remove], [data-clear]")) button.hidden = false;
  around.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if ("remove" in button.dataset) {
      const row = button.parentElement;
      const near = row.nextElementSibling || row.previousElementSibling;
      row.remove();
      near?.querySelector("input:not([type=hidden])")?.focus();
    } else if ("clear" in button.dataset) {
      rows.replaceChildren();
      around.querySelector("[data-add]").focus();
    } else if ("add" in button.dataset) {
      rows.append(around.querySelector("template").content.cloneNode(true));
      const made = rows.lastElementChild;
      for (const remove of made.querySelectorAll("[data-remove]")) remove.hidden = false;
      made.querySelector("input:not([type=hidden])").focus();
    }
  });
}

for (const area of document.querySelectorAll("[data-drop]")) {
  const input = area.querySelector("input[type=file]");
  area.addEventListener("dragover", (event) => {
    event.preventDefault();
    area.classList.add("over");
  });
  area.addEventListener("dragleave", () => area.classList.remove("over"));
  area.addEventListener("drop", (event) => {
    event.preventDefault();
    area.classList.remove("over");
    if (event.dataTransfer.files.length) input.files = event.dataTransfer.files;
  });
  input.form.addEventListener("submit", () => {
    input.form.querySelector("[data-sending]").hidden = false;
  });
}

// <form data-then="ID"> downloads something; what stands under ID is then fetched anew, until it has changed.
for (const form of document.querySelectorAll("form[data-then]")) {
  form.addEventListener("submit", async () => {
    const here = () => document.getElementById(form.dataset.then);
    const before = here().textContent;
    for (let tries = 0; tries < 30 && here().textContent === before; tries += 1) {
      await new Promise((done) => window.setTimeout(done, 1000));
      const answer = await fetch(location.href, { redirect: "error" }).catch(() => null);
      if (!answer?.ok) continue;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      here().replaceChildren(...page.getElementById(form.dataset.then).childNodes);
    }
  });
}
