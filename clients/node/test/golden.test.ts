// Every message is read and written back as the contract has it. The file is the one that
// `eventspine contract export` hands out; GOLDEN_MESSAGES names another place.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  createRegistry,
  equals,
  fromBinary,
  fromJson,
  type JsonValue,
  toBinary,
  toJson,
} from "@bufbuild/protobuf";
import { file_bank_v1_account } from "../gen/bank/v1/account_pb.js";
import { file_bank_v1_views } from "../gen/bank/v1/views_pb.js";
import { file_eventspine_v1_admin } from "../gen/eventspine/v1/admin_pb.js";
import { file_eventspine_v1_change } from "../gen/eventspine/v1/change_pb.js";
import { file_eventspine_v1_command } from "../gen/eventspine/v1/command_pb.js";
import { file_eventspine_v1_query } from "../gen/eventspine/v1/query_pb.js";
import { file_eventspine_v1_record } from "../gen/eventspine/v1/record_pb.js";
import { file_eventspine_v1_subscription } from "../gen/eventspine/v1/subscription_pb.js";
import { file_flights_v1_flight } from "../gen/flights/v1/flight_pb.js";
import { file_flights_v1_views } from "../gen/flights/v1/views_pb.js";

const path =
  process.env["GOLDEN_MESSAGES"] ??
  new URL("../../../contract/golden_messages.json", import.meta.url);
const golden: Record<string, { message: string; bytes: string; json: JsonValue }> = JSON.parse(
  readFileSync(path, "utf8"),
);
const registry = createRegistry(
  file_bank_v1_account,
  file_bank_v1_views,
  file_eventspine_v1_admin,
  file_eventspine_v1_change,
  file_eventspine_v1_command,
  file_eventspine_v1_query,
  file_eventspine_v1_record,
  file_eventspine_v1_subscription,
  file_flights_v1_flight,
  file_flights_v1_views,
);

test("every message is read and written back as the contract has it", async (t) => {
  assert(Object.keys(golden).length > 100);
  for (const [name, want] of Object.entries(golden)) {
    await t.test(name, () => {
      const schema = registry.getMessage(want.message);
      assert(schema !== undefined, `no ${want.message} in the stubs`);
      const read = fromBinary(schema, Buffer.from(want.bytes, "hex"));
      assert.equal(Buffer.from(toBinary(schema, read)).toString("hex"), want.bytes);
      assert(equals(schema, read, fromJson(schema, want.json, { registry })));
      assert.deepEqual(toJson(schema, read, { registry }), want.json);
    });
  }
});
