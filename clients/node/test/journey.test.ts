// What a client of the platform relies on, from a command to a subscription.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { AccountCommands, MoneyDepositedSchema } from "../gen/bank/v1/account_pb.js";
import { AccountQueries } from "../gen/bank/v1/views_pb.js";
import { QueryService, StalePolicy } from "../gen/eventspine/v1/query_pb.js";
import { again } from "../src/again.js";
import { conflict, reason } from "../src/failure.js";
import { batches } from "../src/subscription.js";
import { Server } from "./server.js";

const LIMIT = { timeout: 90_000 };

/** Somebody with the generated stubs. */
class User {
  readonly accounts;
  readonly balances;
  readonly queries;

  constructor(server: Server) {
    const transport = createGrpcTransport({ baseUrl: `http://${server.address}` });
    this.accounts = createClient(AccountCommands, transport);
    this.balances = createClient(AccountQueries, transport);
    this.queries = createClient(QueryService, transport);
  }

  async open(accountId: string) {
    const request = { header: { commandId: `open-${accountId}` }, accountId, owner: "Ann" };
    return result(await again(() => this.accounts.openAccount(request)));
  }

  async deposit(accountId: string, commandId: string, amountCents: bigint, version?: bigint) {
    const expected =
      version === undefined ? undefined : { kind: { case: "version", value: version } as const };
    const request = { header: { commandId, expected }, accountId, amountCents };
    return result(await again(() => this.accounts.deposit(request)));
  }

  async balance(accountId: string, token: string) {
    const header = { token, stalePolicy: StalePolicy.FAIL };
    const answer = await this.balances.getAccountBalance({ header, accountId });
    return answer.row?.balanceCents;
  }
}

function result<Result>(response: { result?: Result }): Result {
  assert(response.result !== undefined);
  return response.result;
}

describe("a client in TypeScript", () => {
  let server: Server;
  let user: User;

  before(async () => {
    server = await Server.start();
    user = new User(server);
  });
  after(async () => server.stop());

  test("a command sent again answers as first, also after a crash", LIMIT, async () => {
    await user.open("again");
    const first = await user.deposit("again", "pay", 500n);
    await server.restart();
    const second = await user.deposit("again", "pay", 500n);
    assert.equal(first.replayed, false);
    assert.equal(second.replayed, true);
    assert.equal(second.lastVersion, first.lastVersion);
    await assert.rejects(
      user.deposit("again", "pay", 501n),
      (error) => reason(error) === "ERROR_REASON_COMMAND_ID_REUSED",
    );
  });

  test("a refusal carries the reason that the domain declares", LIMIT, async () => {
    await assert.rejects(user.deposit("nobody", "pay", 500n), (error) => {
      assert.equal(ConnectError.from(error).code, Code.NotFound);
      return reason(error) !== "";
    });
  });

  test("a conflict is resolved from the events that were missed", LIMIT, async () => {
    let known = (await user.open("conflict")).lastVersion;
    await user.deposit("conflict", "of somebody else", 700n);
    const missed = await user.deposit("conflict", "mine", 300n, known).then(
      () => assert.fail("there was no conflict"),
      (error) => conflict(error),
    );
    assert(missed !== undefined);
    // What was missed is looked at: another deposit does not stand in the way of this one.
    for (const record of missed.missed) {
      assert.equal(record.type, MoneyDepositedSchema.typeName);
      assert.equal(fromBinary(MoneyDepositedSchema, record.payload).amountCents, 700n);
      known = record.streamVersion;
    }
    assert.equal(known, missed.actualVersion);
    await user.deposit("conflict", "mine", 300n, known);
  });

  test("a query with a token shows what the command wrote", LIMIT, async () => {
    await user.open("token");
    for (let n = 1n; n <= 20n; n++) {
      const { token } = await user.deposit("token", `pay ${n}`, 100n);
      assert.equal(await user.balance("token", token), 100n * n);
    }
  });

  test("a watch shows the row and each change", LIMIT, async () => {
    await user.open("watch");
    const { token } = await user.deposit("watch", "first", 100n);
    assert.equal(await user.balance("watch", token), 100n);
    const seen: bigint[] = [];
    for await (const { row } of user.balances.watchAccountBalance({ accountId: "watch" })) {
      if (row === undefined) continue;
      seen.push(row.balanceCents);
      if (row.balanceCents === 150n) break;
      if (seen.length === 1) await user.deposit("watch", "second", 50n);
    }
    assert.deepEqual(seen, [100n, 150n]);
  });

  test("a subscription resumes after its server was killed", LIMIT, async () => {
    const deposits = 60n;
    await user.open("resume");
    const written = (async () => {
      for (let n = 0n; n < deposits; n++) await user.deposit("resume", `pay ${n}`, 1n);
    })();
    const wanted = {
      start: { case: "beginning", value: {} },
      filter: { stream: "account/resume" },
      batchRecordsMax: 5,
    } as const;
    let next = 1n;
    for await (const batch of batches(user.queries, wanted)) {
      for (const record of batch.records) {
        assert.equal(record.streamVersion, next);
        if (next === 20n || next === 40n) await server.restart();
        next++;
      }
      if (next > deposits + 1n) break;
    }
    await written;
  });
});
