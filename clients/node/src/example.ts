// Opens an account, puts money into it, reads the balance that the deposit demands, and prints the
// events of all accounts until Ctrl-C.
//
//     npm run example 127.0.0.1:7070

import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { AccountCommands } from "../gen/bank/v1/account_pb.js";
import { AccountQueries } from "../gen/bank/v1/views_pb.js";
import { QueryService, StalePolicy } from "../gen/eventspine/v1/query_pb.js";
import { again } from "./again.js";
import { batches } from "./subscription.js";

const address = process.argv[2] ?? "127.0.0.1:7070";
const transport = createGrpcTransport({ baseUrl: `http://${address}` });
const accounts = createClient(AccountCommands, transport);
const balances = createClient(AccountQueries, transport);

const accountId = `node-${Date.now()}`;
await again(() =>
  accounts.openAccount({ header: { commandId: `open-${accountId}` }, accountId, owner: "Node" }),
);
const deposited = await again(() =>
  accounts.deposit({ header: { commandId: `pay-${accountId}` }, accountId, amountCents: 5000n }),
);
const balance = await balances.getAccountBalance({
  header: { token: deposited.result?.token, stalePolicy: StalePolicy.FAIL },
  accountId,
});
console.log(`balance of ${accountId} is ${balance.row?.balanceCents} cents`);

const events = batches(createClient(QueryService, transport), {
  start: { case: "beginning", value: {} },
  filter: { categories: ["account"] },
});
for await (const batch of events) {
  for (const record of batch.records) {
    console.log(`${record.stream} ${record.streamVersion} ${record.type}`);
  }
}
