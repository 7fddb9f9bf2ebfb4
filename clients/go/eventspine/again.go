package eventspine

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	firstPause   = 50 * time.Millisecond
	longestPause = 2 * time.Second
)

// Again calls until the answer is more than "not now", or the context ends. The request must be the
// same each time, for a command with the same command id: however often it arrives, it takes effect
// once.
func Again[Response any](ctx context.Context, call func(context.Context) (Response, error)) (Response, error) {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		response, err := call(ctx)
		if err == nil || !Transient(err) || !wait(ctx, pause) {
			return response, err
		}
	}
}

// wait lets between half of a pause and all of it pass, and tells whether the context still goes on.
func wait(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause/2 + rand.N(pause/2))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
