// Reads an AsyncAPI description by the standard's own parser: node asyncapi.mjs FILE
// Prints what it has to say, and the messages of each operation, as JSON.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const [file] = process.argv.slice(2);
const { document, diagnostics } = await new Parser().parse(readFileSync(file, "utf8"));
const said = diagnostics.map(({ code, message, path, severity }) => ({ code, message, path, severity }));
const operations = Object.fromEntries(
  (document?.operations().all() ?? []).map((operation) => [
    operation.id(),
    operation.messages().all().map((message) => message.id()),
  ]),
);
console.log(JSON.stringify({ said, operations }));
