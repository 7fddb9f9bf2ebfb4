// Package eventspine has what a caller of the platform needs beside the generated stubs: what an
// error means, commands that are sent again until they are answered, and subscriptions that resume.
package eventspine

import (
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "eventspine.example/client/gen/eventspine/v1"
)

// Reason returns the reason that an error carries, such as "ERROR_REASON_STREAM_VERSION_CONFLICT" or
// a refusal of the domain; empty for an error that did not come from the platform.
func Reason(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}

// Conflict returns what a refused command has missed: the stream's version and the events that came
// between (cut when there are many; then Truncated is set). Nil for any other error.
func Conflict(err error) *pb.VersionConflict {
	for _, detail := range status.Convert(err).Details() {
		if conflict, ok := detail.(*pb.VersionConflict); ok {
			return conflict
		}
	}
	return nil
}

// Transient tells whether the same request may be sent again: the platform could not be reached, is
// overloaded or stopping, or does not know the outcome. A command is then sent with the same id.
func Transient(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.ResourceExhausted:
		return Reason(err) != "ERROR_REASON_LIMIT_EXCEEDED"
	}
	return false
}
