// Does five jobs in the console, each from the overview: node jobs.mjs CHROMIUM SERVICES
// SERVICES is a JSON object of the addresses. Each job is written once and done by three hands: with the mouse,
// whose presses the page counts; with the keyboard alone; and with the keyboard, without JavaScript. A press of the
// mouse's button is a click, also one that puts the cursor into a field; typing and Enter are none. Prints what
// each hand met, as JSON.
import { launch } from "./browser.mjs";

const [executablePath, services] = process.argv.slice(2);
const { crm, inventory, integration } = JSON.parse(services);
const { browser, heard, open, signIn } = await launch(executablePath, crm);
const console_ = `${crm}/console`;
const MOST_STOPS = 80;
const PATIENCE = 20_000;

async function until(condition, what) {
  const giveUpAt = Date.now() + PATIENCE;
  for (;;) {
    const found = await condition();
    if (found) return found;
    if (Date.now() > giveUpAt) throw new Error(`not in time: ${what}`);
    await new Promise((next) => setTimeout(next, 20));
  }
}

async function call(method, address, body) {
  const headers = { Authorization: "Bearer admin123", "Content-Type": "application/json" };
  const answer = await fetch(address, { method, headers, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
  return answer.status === 204 ? null : answer.json();
}

// A browser gives the focus to what asks for it a moment after the page is loaded.
async function settled(page) {
  const asks = page.locator("[autofocus]");
  if (await asks.count()) await until(() => page.locator("[autofocus]:focus").count(), "the focus is given");
}

// Whoever works, and what the browser tells a screen reader of where the focus is.
class Hand {
  steps = [];

  constructor(page, devtools) {
    this.page = page;
    this.devtools = devtools;
  }

  async focus() {
    const { result } = await this.devtools.send("Runtime.evaluate", { expression: "document.activeElement" });
    if (!result.objectId || result.className === "HTMLBodyElement") return { role: "page", name: await this.page.title() };
    const { objectId } = result;
    const { nodes } = await this.devtools.send("Accessibility.getPartialAXTree", { objectId, fetchRelatives: false });
    const text = await this.devtools.send("Runtime.callFunctionOn", {
      objectId,
      functionDeclaration: "function () { return this.innerText; }",
      returnByValue: true,
    });
    return { role: nodes[0].role.value, name: nodes[0].name?.value ?? "", text: text.result.value };
  }

  // Does something that leads to another page. Notes where the focus is there, and what the page is called.
  async follow(act, what) {
    const loaded = this.page.waitForEvent("load");
    await act();
    await loaded;
    await settled(this.page);
    const headings = await this.page.getByRole("heading", { level: 1 }).allInnerTexts();
    const title = await this.page.title();
    const { role, name, text } = await this.focus();
    const said = ["page", "button"].includes(role) ? name : text.replace(/\s+/g, " ");
    this.steps.push({ what, headings, title, focus: `${role}: ${said}` });
  }

  enter() {
    return this.follow(() => this.page.keyboard.press("Enter"), "Enter");
  }
}

class Mouse extends Hand {
  press(role, name) {
    return this.follow(() => this.page.getByRole(role, { name }).first().click(), `${role} ${name}`);
  }

  async type(role, name, text) {
    await this.page.getByRole(role, { name }).click();
    await this.page.keyboard.type(text);
  }

  async choose() {} // what is chosen already is good enough
}

class Keyboard extends Hand {
  stops = 0;

  async reach(role, name) {
    const passed = [];
    for (let stop = 0; stop < MOST_STOPS; stop += 1) {
      await this.page.keyboard.press("Tab");
      this.stops += 1;
      const at = await this.focus();
      if (at.role === role && (name instanceof RegExp ? name.test(at.name) : at.name === name)) return;
      passed.push(`${at.role} ${at.name}`);
    }
    throw new Error(`Tab does not reach ${role} ${name}, but ${passed.join(", ")}`);
  }

  async press(role, name) {
    // Unless the focus is there by itself.
    const at = await this.focus();
    if (!(at.role === role && at.name.match(name))) await this.reach(role, name);
    await this.follow(() => this.page.keyboard.press(role === "link" ? "Enter" : "Space"), `${role} ${name}`);
  }

  async type(role, name, text) {
    await this.reach(role, name);
    await this.page.keyboard.type(text);
  }

  async choose(role, name, value) {
    await this.reach(role, name);
    await until(async () => {
      await this.page.keyboard.press("ArrowDown");
      return (await this.page.locator(":focus").inputValue()) === value;
    }, `the arrow leads to ${value}`);
  }
}

// The jobs: what there is to do, how a hand does it, and what has come of it.
const jobs = {
  why: {
    async begin() {},
    async work(hand) {
      await hand.type("searchbox", "Search everything", "nora@example.com");
      await hand.enter();
    },
    end: (page) => page.getByRole("main").innerText(),
  },
  answer: {
    async begin(key) {
      const { id: customer_id } = await call("GET", `${crm}/api/customers?limit=1`).then(([first]) => first);
      const subject = `Nothing came, ${key}`;
      const ticket = { customer_id, subject, description: "Where is it?", priority: "urgent" };
      return { subject, ...(await call("POST", `${crm}/api/tickets`, ticket)) };
    },
    async work(hand, { subject }) {
      await hand.press("link", new RegExp(subject));
      await hand.type("textbox", "Reply", "It is next door.");
      await hand.press("button", "Send and set pending");
    },
    async end(page, { id }) {
      const notes = await call("GET", `${crm}/api/tickets/${id}/notes`);
      return [notes.map((note) => note.body), (await call("GET", `${crm}/api/tickets/${id}`)).status];
    },
  },
  pack: {
    async begin(key) {
      for (const name of ["Ann", "Ben"]) {
        const email = `${name}.${key}@example.com`.toLowerCase();
        const { uid } = await call("POST", `${crm}/api/customers`, { name: `${name} Example`, email });
        await call("GET", `${integration}/deliveries/${uid}/wait?timeout=15`);
      }
    },
    async work(hand) {
      await hand.press("link", /^Packing/);
      await hand.press("link", /^Choose all/);
      await hand.press("button", "Pack chosen");
    },
    end: () => call("GET", `${inventory}/package-requests?status=pending`),
  },
  retry: {
    async begin() {
      await until(async () => (await call("GET", `${integration}/deliveries?state=dead`)).length === 1, "one is dead");
    },
    async work(hand) {
      await hand.press("link", "1 dead");
      await hand.press("link", /^Retry: see what it would do/);
      await hand.press("button", "Retry 1");
    },
    async end() {
      const [{ customer_uid }] = await until(async () => {
        const dead = await call("GET", `${integration}/deliveries?state=dead`);
        return dead.length ? dead : null;
      }, "it was tried again, and is dead again");
      return (await call("GET", `${integration}/deliveries/${customer_uid}`)).attempts.length;
    },
  },
  token: {
    async begin() {},
    async work(hand, _, key) {
      await hand.press("link", "Tokens");
      await hand.type("textbox", "Name", `shop-${key}`);
      await hand.choose("combobox", "Role", "clerk");
      await hand.press("button", "Issue token");
    },
    async end(page, _, key) {
      const token = await page.getByRole("status").locator("pre").innerText();
      const answer = await fetch(`${crm}/me`, { headers: { Authorization: `Bearer ${token}` } });
      return (await answer.json()).name === `shop-${key}`;
    },
  },
};

async function mouse() {
  const page = await open(1280);
  await page.exposeBinding("pressed", () => (clicks += 1));
  await page.addInitScript(() => addEventListener("pointerdown", () => window.pressed(), true));
  await signIn(page, "admin");
  return page;
}

let clicks = 0;
let firstStops = null;

// Signs in by typing, and goes past the bar and the menu, as the first stop offers.
async function keyboard(javaScriptEnabled) {
  const page = await open(1280, { javaScriptEnabled });
  await page.goto(`${console_}/sign-in`);
  await settled(page);
  await page.keyboard.type("admin123"); // the field has the focus
  await page.keyboard.press("Enter");
  await page.waitForURL(console_);
  const hand = new Keyboard(page, await page.context().newCDPSession(page));
  await page.keyboard.press("Tab");
  const first = await hand.focus();
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  const [second, isInPage] = [await hand.focus(), await page.locator("main :focus").count()];
  firstStops = [first.name, second.role, isInPage];
  return page;
}

const seen = { jobs: {}, firstStops: {} };
const hands = {
  mouse: [Mouse, mouse],
  keyboard: [Keyboard, () => keyboard(true)],
  plain: [Keyboard, () => keyboard(false)],
};
for (const [name, [Kind, begin]] of Object.entries(hands)) {
  const page = await begin();
  const devtools = await page.context().newCDPSession(page);
  seen.jobs[name] = {};
  if (Kind === Keyboard) seen.firstStops[name] = firstStops;
  for (const [job, { begin: prepare, work, end }] of Object.entries(jobs)) {
    const given = await prepare(name);
    await page.goto(console_);
    const hand = new Kind(page, devtools);
    clicks = 0;
    const beganAt = performance.now();
    await work(hand, given, name);
    const seconds = (performance.now() - beganAt) / 1000;
    seen.jobs[name][job] = { clicks, stops: hand.stops, seconds, steps: hand.steps, found: await end(page, given, name) };
  }
  await page.context().close();
}

await browser.close();
process.stdout.write(JSON.stringify({ ...seen, ...heard }));
