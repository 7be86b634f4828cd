// Shows instants in the reader's time zone; the server writes them in UTC, which stays on hover.
const forms = {
  clock: { hour: "2-digit", minute: "2-digit", second: "2-digit" },
  exact: { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" },
  full: { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" },
};

function localise() {
  for (const time of document.querySelectorAll("time[data-form]")) {
    const at = new Date(time.dateTime);
    time.textContent = at.toLocaleString("en-GB", { ...forms[time.dataset.form], hourCycle: "h23" });
    time.removeAttribute("data-form");
  }
}

localise();
document.addEventListener("htmx:after:swap", localise);

// On a small screen the menu is a row that scrolls: what one is looking at is in sight.
document.querySelector(".rail [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

// Buttons that print the page. Without a script they are hidden, and the browser's menu prints.
for (const button of document.querySelectorAll("button[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => window.print());
}

// Parts of a page load themselves anew on "news". A stream tells of what happens in the CRM, while the page is looked
// at; a clock asks for what other services know too, and for everything where there is no stream.
const POLL_MILLISECONDS = 10_000;
const AGAIN_MILLISECONDS = 30_000;
const { stream: address, cursor } = document.body.dataset;
let stream = null;
let behind = cursor;
let mayOpenAt = 0;

function tell(parts) {
  for (const part of document.querySelectorAll(parts)) part.dispatchEvent(new Event("news"));
}

function listen() {
  if (!address || stream || document.hidden || Date.now() < mayOpenAt) return;
  const opened = (stream = new EventSource(`${address}?after=${encodeURIComponent(behind)}`));
  opened.addEventListener("news", (news) => {
    behind = news.lastEventId;
    tell("[data-live]");
  });
  opened.addEventListener("error", () => {
    // The browser connects again by itself after a cut, with the last cursor; not after a refusal.
    if (opened.readyState !== EventSource.CLOSED || stream !== opened) return;
    stream = null;
    mayOpenAt = Date.now() + AGAIN_MILLISECONDS;
    tell("[data-live]");
  });
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    stream?.close();
    stream = null;
  } else {
    listen();
    tell(stream ? "[data-live=services]" : "[data-live]");
  }
});
setInterval(() => {
  if (document.hidden) return;
  listen();
  tell(stream?.readyState === EventSource.OPEN ? "[data-live=services]" : "[data-live]");
}, POLL_MILLISECONDS);
listen();
