// Watches the console's pages show news by themselves: node live.mjs CHROMIUM URL
// The browser's clock stands still, so whatever is shown came by the stream, unless the clock is moved on. Between
// browser and CRM is a proxy that cuts streams. Prints what it saw as JSON.
import net from "node:net";
import { chromium } from "playwright-core";

const [executablePath, url] = process.argv.slice(2);
const seen = { complaints: [] };

// What the proxy does with a stream: passes it on, refuses it, or hangs up.
let streams = "pass";
const open = new Set();
const asked = [];
const proxy = net.createServer((client) => {
  const service = net.connect(Number(new URL(url).port), "127.0.0.1");
  const part = () => {
    open.delete(client);
    client.destroy();
    service.destroy();
  };
  for (const end of [client, service]) end.on("error", part).on("close", part);
  client.on("data", (piece) => {
    const head = piece.toString("latin1");
    if (!head.startsWith("GET /console/live")) return service.write(piece);
    asked.push(head);
    if (streams === "hang up") return part();
    if (streams === "refuse") {
      client.end("HTTP/1.1 503 Later\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
      return service.destroy();
    }
    open.add(client);
    service.write(piece);
  });
  service.on("data", (piece) => client.write(piece));
});
await new Promise((ready) => proxy.listen(0, "127.0.0.1", ready));
const address = `http://127.0.0.1:${proxy.address().port}`;
const cut = () => open.forEach((client) => client.destroy());

async function until(condition, what) {
  const giveUpAt = Date.now() + 20_000;
  while (!(await condition())) {
    if (Date.now() > giveUpAt) throw new Error(`not in time: ${what}`);
    await new Promise((next) => setTimeout(next, 20));
  }
}

async function call(method, path, body) {
  const headers = { Authorization: "Bearer admin123", "Content-Type": "application/json" };
  const answer = await fetch(url + path, { method, headers, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
}
const register = (name) => call("POST", "/api/customers", { name, email: `${name.toLowerCase()}@example.com` });

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });

async function signedIn(role) {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  // The browser's words for what the proxy does, and for the end of a session.
  const isExpected = (text) => /net::ERR_|status of (401|503)/.test(text);
  page.on("console", (message) => {
    if (message.type() === "error" && !isExpected(message.text())) seen.complaints.push(message.text());
  });
  page.on("pageerror", (error) => seen.complaints.push(String(error)));
  await page.clock.install();
  await page.goto(`${address}/console/sign-in`);
  await page.getByRole("button", { name: role, exact: true }).click();
  await page.waitForURL(`${address}/console`);
  return page;
}
const shows = (page, name) => page.locator("#live").getByText(name, { exact: true }).waitFor();

// The overview is told.
const page = await signedIn("agent");
await until(() => open.size === 1, "the page opens a stream");
await page.evaluate(() => (window.stillTheSamePage = true));
await page.keyboard.press("Tab");
while (!(await page.locator("#live a[href$='/tickets']:focus").count())) await page.keyboard.press("Tab");
await register("Ada");
await shows(page, "Ada");
seen.keepsFocus = await page.locator("#live a[href$='/tickets']:focus").count();

// A stream that is cut goes on from where it was, though the browser can't connect again at once.
asked.length = 0;
streams = "hang up";
cut();
await register("Bob");
await until(() => asked.length > 0, "the browser tries to connect again");
streams = "pass";
await shows(page, "Bob");
seen.lastEventId = /^last-event-id: (\S+)\r$/im.exec(asked.at(-1))?.[1] ?? null;

// Where streams are refused, the page asks by the clock.
streams = "refuse";
cut();
asked.length = 0;
await until(() => asked.length > 0, "the browser is refused");
await register("Cid");
await page.clock.fastForward(11_000);
await shows(page, "Cid");
streams = "pass";
await page.clock.fastForward(31_000);
await until(() => open.size === 1, "the page tries a stream again");

// A page that nobody looks at has none, and is told of what it has missed.
const look = (isHidden) =>
  page.evaluate((value) => {
    Object.defineProperty(document, "hidden", { get: () => value, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, isHidden);
await look(true);
await until(() => open.size === 0, "the hidden page leaves its stream");
asked.length = 0;
await register("Dan");
await page.clock.fastForward(31_000);
seen.askedWhileHidden = asked.length;
await look(false);
await shows(page, "Dan");
seen.isSamePage = await page.evaluate(() => window.stillTheSamePage === true);

// A ticket shows what others add, and what is being typed stays.
await page.goto(`${address}/console/tickets/1`);
await until(() => open.size === 1, "the ticket opens a stream, and the overview's has ended");
await page.getByLabel("Reply").fill("It is on its w");
// What a screen reader is told of: changes within a live region that stays.
await page.evaluate(() => {
  window.told = "";
  const note = (changes) => {
    for (const change of changes) for (const node of change.addedNodes) window.told += node.textContent;
  };
  new MutationObserver(note).observe(document.querySelector("[aria-live=polite]"), { childList: true, subtree: true });
});
await call("POST", "/api/tickets/1/notes", { body: "The carrier has called.", visibility: "internal" });
await page.locator("#thread").getByText("The carrier has called.").waitFor();
seen.typed = await page.locator("textarea:focus").inputValue();
seen.told = await page.evaluate(() => window.told);

// Once the session is ended in another window, the page says so.
await page.goto(`${address}/console`);
await until(() => open.size === 1, "the overview opens a stream");
const other = await page.context().newPage();
await other.goto(`${address}/console/customers`);
await other.getByText("agent", { exact: true }).click();
await other.getByRole("button", { name: "Sign out everywhere" }).click();
await page.waitForURL(/sign-in/);

await browser.close();
proxy.close();
process.stdout.write(JSON.stringify(seen));
