// A certified OpenID provider: node oidc.mjs [PORT], with its keys as JSON on standard input. Prints
// its issuer. People sign in by any name and password; a client can have a token for itself.
import { createServer } from "node:http";
import { text } from "node:stream/consumers";
import Provider from "oidc-provider";

const server = createServer();
await new Promise((listening) => server.listen(Number(process.argv[2] ?? 0), "127.0.0.1", listening));
const issuer = `http://127.0.0.1:${server.address().port}`;
const ROLES = { ann: ["crm-admins"], bob: ["warehouse"] };
const RESOURCE = "https://crmsys.example.com/";

const provider = new Provider(issuer, {
  jwks: JSON.parse(await text(process.stdin)),
  clients: [
    {
      client_id: "warehouse-tool",
      client_secret: "a-secret-of-the-tests",
      grant_types: ["authorization_code", "client_credentials"],
      redirect_uris: ["http://127.0.0.1:9/signed-in", "http://127.0.0.1:9/console/signed-in"],
      id_token_signed_response_alg: "RS256",
    },
  ],
  cookies: { keys: ["a-secret-of-the-tests"] },
  clientBasedCORS: () => false,
  claims: { profile: ["preferred_username"] },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, preferred_username: id }),
  }),
  extraTokenClaims: (_, token) => ({
    preferred_username: token.accountId,
    realm_access: { roles: ROLES[token.accountId] ?? ["on-call"] },
  }),
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => RESOURCE,
      useGrantedResource: () => true,
      getResourceServerInfo: (_, resource) => ({
        audience: resource === RESOURCE ? "crmsys" : resource,
        scope: "",
        accessTokenFormat: "jwt",
        accessTokenTTL: 600,
        jwt: { sign: { alg: "RS256" } },
      }),
    },
  },
});
server.on("request", provider.callback());
console.log(`issuer ${issuer}`);
