// Whether this browser tells of ended jobs: asked for by a click, kept in this browser alone.
const [on, off] = [document.getElementById("browser-on"), document.getElementById("browser-off")];
const words = document.getElementById("browser-words");
function show() {
  const can = "Notification" in window;
  const wanted = can && Notification.permission === "granted" && localStorage.getItem("announce") === "yes";
  on.hidden = !can || wanted || Notification.permission === "denied";
  off.hidden = !wanted;
  if (!can) words.textContent = "This browser cannot show messages.";
  else if (Notification.permission === "denied") words.textContent = "This browser was told not to show messages of this address; its settings can change that.";
  else if (wanted) words.textContent = "This browser tells you, as long as a page of lorasmith is open in it.";
}
on.addEventListener("click", async () => {
  if (await Notification.requestPermission() === "granted") localStorage.setItem("announce", "yes");
  show();
});
off.addEventListener("click", () => { localStorage.removeItem("announce"); show(); });
show();
