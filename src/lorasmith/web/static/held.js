// Whether a button is pressed or something is dragged right now: what is replaced between the two halves of a click loses
// it. A press that never ended, because the pointer left the window, is forgotten after a while.
const LONGEST = { pointerdown: 5_000, dragstart: 60_000 }; // ms
let until = 0;

for (const [kind, longest] of Object.entries(LONGEST)) addEventListener(kind, () => { until = performance.now() + longest; }, true);
// The click comes after its pointerup. A drag with the mouse cancels the pointer it began with and goes on.
for (const kind of ["pointerup", "dragend", "drop"]) addEventListener(kind, () => setTimeout(() => { until = 0; }), true);
addEventListener("pointercancel", (event) => { if (event.pointerType !== "mouse") until = 0; }, true);

export const held = () => performance.now() < until;
