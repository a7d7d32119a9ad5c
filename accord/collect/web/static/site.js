// What every page has: a menu that closes by itself, questions before what cannot be undone, and one submit a form.

for (const menu of document.querySelectorAll("details.menu")) {
  document.addEventListener("click", (event) => {
    if (!menu.contains(event.target)) menu.open = false;
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
}

// <form data-confirm="Remove Anna?"> asks first.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.confirm && !window.confirm(form.dataset.confirm)) {
    event.preventDefault();
    return;
  }
  if (form.dataset.sent) event.preventDefault();
  else if (form.method === "post" && form.target !== "_blank") form.dataset.sent = "yes";
});

// A page that comes back from the browser's own store can be sent again.
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

// <select data-go> in a form of GET needs no button.
for (const select of document.querySelectorAll("select[data-go]")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}

// <button data-copy="ID"> puts the text or value of that element on the clipboard.
for (const button of document.querySelectorAll("button[data-copy]")) {
  button.addEventListener("click", async () => {
    const from = document.getElementById(button.dataset.copy);
    const text = "value" in from ? from.value : from.textContent;
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else if ("select" in from) from.select();
    button.textContent = navigator.clipboard ? "Copied" : "Marked: press Ctrl-C";
  });
}

// <button data-opens="ID"> opens a dialog; a button with data-closes in it closes it.
for (const button of document.querySelectorAll("button[data-opens]")) {
  button.addEventListener("click", () => document.getElementById(button.dataset.opens).showModal());
}
for (const button of document.querySelectorAll("button[data-closes]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}

// Times are shown in the reader's own zone: <time datetime="2026-11-30T02:17:08Z">.
for (const time of document.querySelectorAll("time[datetime]")) {
  const at = new Date(time.dateTime);
  if (Number.isNaN(at.valueOf())) continue;
  time.title = at.toString();
  time.textContent = at.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}
