// What an error of the platform means.

import { Code, ConnectError } from "@connectrpc/connect";
import { type VersionConflict, VersionConflictSchema } from "../gen/eventspine/v1/record_pb.js";
import { ErrorInfoSchema } from "../gen/google/rpc/error_details_pb.js";

/**
 * The reason that an error carries, such as "ERROR_REASON_STREAM_VERSION_CONFLICT" or a refusal of the
 * domain; empty for an error that did not come from the platform.
 */
export function reason(error: unknown): string {
  return ConnectError.from(error).findDetails(ErrorInfoSchema)[0]?.reason ?? "";
}

/**
 * What a refused command has missed: the stream's version and the events that came between (cut when
 * there are many; then `truncated` is set). Undefined for any other error.
 */
export function conflict(error: unknown): VersionConflict | undefined {
  return ConnectError.from(error).findDetails(VersionConflictSchema)[0];
}

/**
 * Whether the same request may be sent again: the platform could not be reached, is overloaded or
 * stopping, or does not know the outcome. A command is then sent with the same id.
 */
export function transient(error: unknown): boolean {
  const { code } = ConnectError.from(error);
  const passing = code === Code.Unavailable || code === Code.ResourceExhausted;
  return (passing && reason(error) !== "ERROR_REASON_LIMIT_EXCEEDED") || dropped(error);
}

const BROKEN = [Code.Aborted, Code.Canceled, Code.Internal];

/** The transport tells of a connection that broke in the middle of a call by one of these, without a reason. */
function dropped(error: unknown): boolean {
  return BROKEN.includes(ConnectError.from(error).code) && reason(error) === "";
}
