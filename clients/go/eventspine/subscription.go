package eventspine

import (
	"context"
	"iter"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "eventspine.example/client/gen/eventspine/v1"
)

// Batches iterates over the batches of a subscription. When the connection ends, it resumes from the
// last cursor, on whichever instance answers: no event is lost and none comes twice. It ends with an
// error when the request is refused or the context ends. To go on another day, keep the Cursor of the
// last batch whose events were dealt with.
func Batches(ctx context.Context, queries pb.QueryServiceClient, request *pb.SubscribeRequest) iter.Seq2[*pb.EventBatch, error] {
	return func(yield func(*pb.EventBatch, error) bool) {
		request := proto.CloneOf(request)
		pause := firstPause
		for {
			came, err := connection(ctx, queries, request, yield)
			if err == nil {
				return // the caller has had enough
			}
			if came {
				pause = firstPause
			}
			if !Transient(err) || !wait(ctx, pause) {
				yield(nil, err)
				return
			}
			pause = min(2*pause, longestPause)
		}
	}
}

// connection yields the batches of one connection, notes in the request where to go on, and tells
// whether anything came. Its error is nil only when the caller wants no more.
func connection(ctx context.Context, queries pb.QueryServiceClient, request *pb.SubscribeRequest, yield func(*pb.EventBatch, error) bool) (came bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := queries.Subscribe(ctx, request)
	if err != nil {
		return false, err
	}
	for {
		message, err := stream.Recv()
		if err != nil {
			return came, ended(err)
		}
		came = true
		if batch := message.GetBatch(); batch != nil && !yield(batch, nil) {
			return came, nil
		}
		if cursor := cursorOf(message); cursor != "" {
			request.Start = &pb.SubscribeRequest_Cursor{Cursor: cursor}
		}
	}
}

// ended turns the end of a stream, which a subscription never has by itself, into a reason to resume.
func ended(err error) error {
	if _, isStatus := status.FromError(err); isStatus {
		return err
	}
	return status.Error(codes.Unavailable, "the stream ended: "+err.Error())
}

// cursorOf returns where the next connection goes on.
func cursorOf(message *pb.SubscribeResponse) string {
	switch message.GetMessage().(type) {
	case *pb.SubscribeResponse_Confirmation:
		return message.GetConfirmation().GetCursor()
	case *pb.SubscribeResponse_Batch:
		return message.GetBatch().GetCursor()
	case *pb.SubscribeResponse_Checkpoint:
		return message.GetCheckpoint().GetCursor()
	case *pb.SubscribeResponse_CaughtUp:
		return message.GetCaughtUp().GetCursor()
	case *pb.SubscribeResponse_FellBehind:
		return message.GetFellBehind().GetCursor()
	case *pb.SubscribeResponse_Heartbeat:
		return message.GetHeartbeat().GetCursor()
	}
	return ""
}
