// Subscriptions that resume.

import { clone, create, type MessageInitShape } from "@bufbuild/protobuf";
import type { Client } from "@connectrpc/connect";
import type { QueryService } from "../gen/eventspine/v1/query_pb.js";
import { type EventBatch, SubscribeRequestSchema } from "../gen/eventspine/v1/subscription_pb.js";
import { Pauses } from "./again.js";
import { transient } from "./failure.js";

/**
 * Iterates over the batches of a subscription. When the connection ends, it resumes from the last
 * cursor, on whichever instance answers: no event is lost and none comes twice. Throws when the
 * request is refused or the signal ends it. To go on another day, keep the `cursor` of the last batch
 * whose events were dealt with.
 */
export async function* batches(
  queries: Client<typeof QueryService>,
  wanted: MessageInitShape<typeof SubscribeRequestSchema>,
  signal?: AbortSignal,
): AsyncGenerator<EventBatch> {
  const request = clone(SubscribeRequestSchema, create(SubscribeRequestSchema, wanted));
  const pauses = new Pauses();
  for (;;) {
    try {
      for await (const { message } of queries.subscribe(request, { signal })) {
        pauses.succeeded();
        if (message.case === "batch") yield message.value;
        if (message.value?.cursor) request.start = { case: "cursor", value: message.value.cursor };
      }
    } catch (error) {
      if (signal?.aborted || !transient(error)) throw error;
    }
    await pauses.wait(signal);
  }
}
