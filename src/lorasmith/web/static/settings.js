// Whether this browser tells when a job has ended; the browser itself has to be asked first.
import { toast } from "./app.js";

const wish = document.getElementById("in-browser");
const able = "Notification" in window;
wish.checked = able && Notification.permission === "granted" && localStorage.getItem("announce") === "yes";
wish.disabled = !able;
wish.addEventListener("change", async () => {
  if (wish.checked && Notification.permission !== "granted" && (await Notification.requestPermission()) !== "granted") {
    wish.checked = false;
    toast("The browser does not allow it. Its settings for this page can.");
  }
  localStorage.setItem("announce", wish.checked ? "yes" : "no");
});
