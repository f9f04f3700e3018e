"use strict";
// Without this script the page shows the same tables, charts and pictures; it adds sorting, sliders and the theme button.

(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const label = () => { button.textContent = dark() ? "Light" : "Dark"; };
  button.hidden = false;
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; label(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);
  label();
})();

for (const input of document.querySelectorAll(".compare input")) {
  input.hidden = false;
  input.addEventListener("input", () => input.parentElement.style.setProperty("--split", `${input.value}%`));
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const rising = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      sortRows(table.tBodies[0], column, rising ? 1 : -1, head.classList.contains("number"));
    });
  });
}

/** Sorts rows by their cells' data-sort; what has none stays last whichever way. */
function sortRows(body, column, sign, numeric) {
  const key = (row) => row.cells[column].dataset.sort;
  const compare = (a, b) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    return sign * (numeric ? Number(a) - Number(b) : a.localeCompare(b, undefined, { numeric: true }));
  };
  body.append(...[...body.rows].sort((a, b) => compare(key(a), key(b))));
}
