// A receiver of webhooks that verifies by the standard's own library: node webhooks.mjs SECRET
// Prints its port, then each event that it has verified as a line of JSON.
import { createServer } from "node:http";
import { buffer } from "node:stream/consumers";
import { Webhook } from "standardwebhooks";

const webhook = new Webhook(process.argv[2]);
const server = createServer(async (request, response) => {
  const body = await buffer(request);
  try {
    const event = webhook.verify(body.toString("utf8"), request.headers);
    console.log(JSON.stringify(event));
    response.writeHead(204).end();
  } catch (error) {
    response.writeHead(401, { "content-type": "text/plain" }).end(error.message);
  }
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
console.log(server.address().port);
