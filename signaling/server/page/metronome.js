// A worker that ticks at an even pace. Timers of a page in the background are
// held back to one a second; a worker's are not.
let timer = 0;

onmessage = ({data: fps}) => {
  clearTimeout(timer);
  if (!fps) return;
  const period = 1000 / fps;
  let next = performance.now();
  const tick = () => {
    const now = performance.now();
    if (now - next > 10 * period) next = now; // the machine slept
    next += period;
    postMessage(0);
    timer = setTimeout(tick, Math.max(0, next - performance.now()));
  };
  tick();
};
