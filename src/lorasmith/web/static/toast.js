// A line that tells something and goes away. A file of its own: app.js, imported from elsewhere, would run twice.
export function toast(text) {
  const line = document.createElement("div");
  line.className = "toast-line";
  line.textContent = text;
  document.getElementById("toasts").append(line);
  setTimeout(() => line.remove(), 8000);
}
