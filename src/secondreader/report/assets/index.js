"use strict";
// Sorting by a column's heading, and a filter over the text of a row.
const body = document.querySelector("#exams tbody");

function value(row, column) {
  const text = row.cells[column].textContent.trim();
  const number = Number(text.replace("%", ""));
  return text !== "" && !Number.isNaN(number) ? number : text === "–" ? -Infinity : text;
}

document.querySelectorAll("#exams th button").forEach((button, column) => {
  button.addEventListener("click", () => {
    const up = button.dataset.up !== "yes";
    const rows = [...body.rows].sort((a, b) => {
      const x = value(a, column), y = value(b, column);
      const order = typeof x === "number" && typeof y === "number" ? x - y
        : String(x).localeCompare(String(y), undefined, { numeric: true });
      return up ? order : -order;
    });
    body.append(...rows);
    document.querySelectorAll("#exams th button").forEach((b) => {
      delete b.dataset.up;
      b.closest("th").removeAttribute("aria-sort");
    });
    button.dataset.up = up ? "yes" : "no";
    button.closest("th").setAttribute("aria-sort", up ? "ascending" : "descending");
  });
});

document.getElementById("filter").addEventListener("input", (event) => {
  const wanted = event.target.value.toLowerCase();
  for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
});
