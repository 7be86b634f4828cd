// Works in the console as its people do: node console.mjs CHROMIUM URL FOLDER PATHS
// PATHS is a JSON array of pages to look at. Prints what it saw as JSON; FOLDER gets the pictures.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { launch } from "./browser.mjs";

const [executablePath, url, folder, paths] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const { browser, heard, open, signIn } = await launch(executablePath, url);
const seen = { wide: [], barriers: [], pages: {}, packed: {}, received: {} };
const console_ = `${url}/console`;

async function look(page, name) {
  const { width } = page.viewportSize();
  const tooWide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  if (tooWide > 0) seen.wide.push(`${name} at ${width}: ${tooWide}`);
  const isInSight = await page.evaluate(() => {
    const here = document.querySelector(".rail [aria-current]")?.getBoundingClientRect();
    return !here || (here.left >= 0 && here.right < window.innerWidth + 1);
  });
  if (!isInSight) seen.wide.push(`${name} at ${width}: its place in the menu is out of sight`);
  await page.screenshot({ path: `${folder}/${name}-${width}.png` });
}

async function examine(page, name) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run());
  for (const { id, nodes } of violations) {
    seen.barriers.push(`${name}: ${id}: ${nodes.map((node) => node.html.slice(0, 120)).join(" | ")}`);
  }
}

// Every page, at both widths, light and dark.
for (const width of [390, 1280]) {
  for (const colorScheme of ["light", "dark"]) {
    const page = await open(width, { colorScheme });
    await page.goto(`${console_}/sign-in`);
    await look(page, `sign-in-${colorScheme}`);
    await examine(page, `sign-in ${colorScheme}`);
    await signIn(page, "admin");
    for (const path of JSON.parse(paths)) {
      const answer = await page.goto(console_ + path);
      seen.pages[path] = answer.status();
      const name = path.replace(/[^a-z0-9]+/gi, "-").replace(/^-|-$/g, "") || "overview";
      await look(page, `${name}-${colorScheme}`);
      await examine(page, `${path} ${width} ${colorScheme}`);
    }
    await page.context().close();
  }
}

// The pictures of the README and of docs/console.md, where somebody asks for them.
const PICTURES = [
  ["console-light", "light", "admin", ""],
  ["console-dark", "dark", "admin", ""],
  ["console-agent", "light", "agent", "/tickets/1"],
  ["console-clerk", "light", "clerk", "/packing?all=yes"],
  ["console-operator", "light", "admin", "/deliveries"],
  ["console-developer", "light", "admin", "/feed"],
];
for (const [name, colorScheme, role, path] of process.env.README_PICTURES ? PICTURES : []) {
  const page = await open(1280, { colorScheme, viewport: { width: 1280, height: 560 } });
  await signIn(page, role);
  await page.goto(console_ + path);
  await page.screenshot({ path: `${process.env.README_PICTURES}/${name}.png` });
  await page.context().close();
}

// An agent answers a ticket, and reads who it is.
const agent = await open(1280);
await signIn(agent, "agent");
await agent.getByRole("link", { name: "Tickets" }).first().click();
await agent.getByRole("link", { name: "Where is my parcel?" }).click();
await agent.getByLabel("Reply").fill("It is next door.");
await agent.getByRole("button", { name: "Send and set pending" }).click();
await agent.getByRole("status").waitFor();
seen.answered = await agent.locator(".thread").innerText();
await agent.context().close();

// A clerk packs what is due and receives stock, at both widths; without a script on the small one.
for (const width of [390, 1280]) {
  const clerk = await open(width, { javaScriptEnabled: width > 390 });
  await signIn(clerk, "clerk");
  await clerk.getByRole("link", { name: "Packing" }).click();
  await clerk.getByRole("checkbox").first().check();
  await clerk.getByRole("button", { name: "Pack chosen" }).click();
  seen.packed[width] = await clerk.getByRole("status").innerText();
  await clerk.getByRole("link", { name: "Stock", exact: true }).click();
  await clerk.getByRole("link", { name: "MUG-BLUE" }).click();
  await clerk.getByLabel("How many").fill("50");
  await clerk.getByLabel("Why", { exact: true }).fill("delivery 4711");
  await clerk.getByRole("button", { name: "Receive" }).click();
  await clerk.getByRole("status").waitFor();
  seen.received[width] = await clerk.locator(".levels").innerText();
  await clerk.context().close();
}

// A file of customers is checked; the page shows its end by itself.
const importer = await open(1280);
await signIn(importer, "admin");
await importer.goto(`${console_}/imports`);
const rows = "name,email\nKatherine Johnson,katherine@example.com\nNobody,nonsense\n";
await importer
  .getByLabel("CSV file")
  .setInputFiles({ name: "customers.csv", mimeType: "text/csv", buffer: Buffer.from(rows) });
await importer.getByRole("button", { name: "Check, and write nothing" }).click();
seen.checked = await importer.getByRole("heading", { level: 1 }).innerText();
await importer.locator(".sign", { hasText: "finished" }).waitFor();
await look(importer, "import");
await examine(importer, "import");
await importer.context().close();

// An operator sees what is wrong without reloading, and settles it.
const operator = await open(1280);
await operator.clock.install();
await signIn(operator, "admin");
seen.before = await operator.locator("#live").innerText();
await operator.evaluate(() => (window.stillTheSamePage = true));
await operator.request.post(`${console_}/deliveries/pause`, { headers: { Origin: url } });
await operator.clock.fastForward(11_000);
await operator.getByText("Deliveries are paused.").waitFor();
seen.isSamePage = await operator.evaluate(() => window.stillTheSamePage === true);
// What can't be had now takes away nothing of what is shown; once the session is over it says so.
await operator.route(console_, (route) => route.fulfill({ status: 503, body: "Later" }));
const refused = operator.waitForResponse((answer) => answer.status() === 503);
await operator.clock.fastForward(11_000);
await (await refused).finished();
seen.duringOutage = await operator.locator("#live").innerText();
await operator.unroute(console_);
await operator.getByRole("button", { name: "Resume" }).click();
await operator.goto(console_);
await operator.getByRole("link", { name: "Open Nora Night" }).click();
await operator.getByRole("link", { name: "Dismiss" }).click();
await operator.getByLabel("Why no package is needed").fill("She has one.");
await operator.getByRole("button", { name: "Dismiss" }).click();
await operator.getByRole("status").waitFor();
await operator.goto(console_);
seen.after = await operator.locator("#live").innerText();
await operator.context().clearCookies();
await operator.clock.fastForward(11_000);
await operator.waitForURL(/sign-in/);
await operator.context().close();

// Instants are in the reader's zone, with UTC on hover; without a script they are in UTC.
for (const javaScriptEnabled of [true, false]) {
  const reader = await open(1280, { timezoneId: "Asia/Kathmandu", javaScriptEnabled });
  await signIn(reader, "admin");
  await reader.goto(`${console_}/customers/1`);
  const time = reader.locator(".timeline time").first();
  const key = javaScriptEnabled ? "local" : "plain";
  seen[key] = [await time.getAttribute("datetime"), await time.innerText()];
  await reader.context().close();
}

// Without JavaScript: the same forms do the same.
const plain = await open(390, { javaScriptEnabled: false });
await signIn(plain, "agent");
await plain.goto(`${console_}/customers/new`);
await plain.getByLabel("Name").fill("Ada <b>Example</b>");
await plain.getByLabel("E-mail").fill("ada@example.com");
await plain.getByRole("button", { name: "Register" }).click();
await plain.getByRole("status").waitFor();
seen.registered = await plain.getByRole("heading", { level: 1 }).innerText();
await plain.getByText("agent", { exact: true }).click();
await plain.getByRole("button", { name: "Sign out", exact: true }).click();
seen.signedOut = new URL(plain.url()).pathname;
await plain.context().close();

// Another port of this host is the same site, and yet another origin.
const other = await open(1280);
await signIn(other, "admin");
const [, port] = url.split(/:(?=\d+$)/);
const elsewhere = url.replace(port, String(Number(port) === 65535 ? 65534 : Number(port) + 1));
await other.route(`${elsewhere}/**`, (route) =>
  route.fulfill({
    contentType: "text/html",
    body: `<form method="post" action="${console_}/sign-out"><button>Win</button></form>`,
  }),
);
await other.goto(elsewhere);
await other.getByRole("button", { name: "Win" }).click();
await other.getByRole("heading", { name: "Not from another page" }).waitFor();
await other.goto(console_);
seen.stillSignedIn = new URL(other.url()).pathname;
seen.complaints = heard.complaints;
seen.elsewhere = heard.elsewhere.filter((address) => !address.startsWith(elsewhere));

await browser.close();
process.stdout.write(JSON.stringify(seen));
