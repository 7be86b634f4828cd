// Opens /docs and /redoc as a person does: node docs.mjs CHROMIUM URL FOLDER
// Prints what it saw as JSON; FOLDER gets a picture of each page.
import { chromium } from "playwright-core";

const [executablePath, url, folder] = process.argv.slice(2);
// Redoc would show it and does well without; the page's policy keeps the browser from fetching it.
const REDOCS_LOGO = "https://cdn.redoc.ly/redoc/logo-mini.svg";
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const seen = { elsewhere: [], complaints: [] };

async function open(path) {
  const page = await browser.newPage({ viewport: { width: 1280, height: 1600 } });
  page.setDefaultTimeout(20_000);
  page.on("request", (request) => {
    const address = request.url();
    const isOwn = address.startsWith(url) || /^(data|blob):/.test(address);
    if (!isOwn && address !== REDOCS_LOGO) seen.elsewhere.push(address);
  });
  page.on("response", (response) => {
    if (response.url() === REDOCS_LOGO) seen.elsewhere.push(response.url());
  });
  page.on("console", (message) => {
    const isError = message.type() === "error" && !message.text().includes(REDOCS_LOGO);
    if (isError) seen.complaints.push(`${path}: ${message.text()}`);
  });
  page.on("pageerror", (error) => seen.complaints.push(`${path}: ${error}`));
  await page.goto(url + path);
  return page;
}

const docs = await open("/docs");
await docs.locator("button.authorize").first().click();
await docs.locator(".modal-ux input").fill("agent123");
await docs.locator(".modal-ux button.authorize").click();
await docs.locator(".modal-ux button.btn-done").click();
const operation = docs.locator("[id='operations-customers-get_customer']");
await operation.locator(".opblock-summary-control").click();
await operation.locator("button.execute").click();
const answer = operation.locator(".live-responses-table tbody tr.response");
await answer.waitFor();
seen.status = await answer.locator(".response-col_status").innerText();
seen.body = await answer.locator(".response-col_description .highlight-code pre").first().innerText();
const documented = operation.locator(".responses-table:not(.live-responses-table)");
seen.documented = await documented.innerText();
await operation.screenshot({ path: `${folder}/operation.png` });
await docs.screenshot({ path: `${folder}/docs.png` });

const redoc = await open("/redoc");
await redoc.getByRole("heading", { name: "Look up a customer" }).first().waitFor();
seen.redoc = await redoc.locator("h1").first().innerText();
await redoc.screenshot({ path: `${folder}/redoc.png` });

await browser.close();
console.log(JSON.stringify(seen));
